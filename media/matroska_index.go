package media

import (
	"cmp"
	"slices"

	"github.com/chanseal/chanseal/media/ebml"
)

// seekHeadSpace is what is kept free in front of a Segment for its SeekHead, in
// bytes: room for maxSeeks entries.
const (
	maxSeeks      = 12
	seekHeadSpace = 300
)

// A seekEntry says where a child of the Segment lies (RFC 9559, Section 5.1.1).
type seekEntry struct {
	id  ebml.ID
	pos int64 // bytes from the start of the Segment's body
}

// appendSeekHead appends a SeekHead and a Void, seekHeadSpace bytes together. Of
// more than maxSeeks elements the last ones are named: the first follow it anyway.
func appendSeekHead(b []byte, seeks []seekEntry) []byte {
	var body []byte
	for _, s := range seeks[max(0, len(seeks)-maxSeeks):] {
		entry := ebml.AppendBytes(nil, idSeekID, ebml.AppendID(nil, s.id))
		entry = ebml.AppendUint(entry, idSeekPos, uint64(s.pos))
		body = ebml.AppendBytes(body, idSeek, entry)
	}
	n := len(b)
	b = ebml.AppendBytes(b, idSeekHead, body)
	return ebml.AppendVoid(b, seekHeadSpace-(len(b)-n))
}

// maxCues bounds the index of a recording of any length.
const maxCues = 1 << 16

// A cue says where a player can begin (RFC 9559, Section 5.1.5).
type cue struct {
	time     int64 // ticks
	track    uint64
	cluster  int64 // bytes from the start of the Segment's body
	relative int64 // bytes from the start of the Cluster's body
}

// A cueList keeps the cues of a recording. Whenever there are too many it drops
// every second one and takes half as many from then on.
type cueList struct {
	cues []cue
	skip int // candidates passed over for each one taken
	seen int
}

func (l *cueList) len() int { return len(l.cues) }

// add adds a cue; once says that one for each track in a Cluster is enough, as it is
// where every frame is a key frame.
func (l *cueList) add(c cue, once bool) {
	for i := len(l.cues) - 1; once && i >= 0 && l.cues[i].cluster == c.cluster; i-- {
		if l.cues[i].track == c.track {
			return
		}
	}
	if l.seen++; l.seen%(l.skip+1) != 0 {
		return
	}
	if len(l.cues) == maxCues {
		for i := range maxCues / 2 {
			l.cues[i] = l.cues[2*i]
		}
		l.cues = l.cues[:maxCues/2]
		l.skip = 2*l.skip + 1
	}
	l.cues = append(l.cues, c)
}

// append appends the Cues element, in the order of time.
func (l *cueList) append(b []byte) []byte {
	slices.SortStableFunc(l.cues, func(a, b cue) int { return cmp.Compare(a.time, b.time) })
	var body, point, pos []byte
	for _, c := range l.cues {
		pos = ebml.AppendUint(pos[:0], idCueTrack, c.track)
		pos = ebml.AppendUint(pos, idCueClusterPos, uint64(c.cluster))
		pos = ebml.AppendUint(pos, idCueRelativePos, uint64(c.relative))
		point = ebml.AppendUint(point[:0], idCueTime, uint64(c.time))
		point = ebml.AppendBytes(point, idCueTrackPos, pos)
		body = ebml.AppendBytes(body, idCuePoint, point)
	}
	return ebml.AppendBytes(b, idCues, body)
}
