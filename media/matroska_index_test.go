package media

import (
	"bytes"
	"testing"

	"github.com/chanseal/chanseal/media/ebml"
)

// The SeekHead and the Cues of a file written by us point at what they say, and
// every size is the true one.
func TestMatroskaIndex(t *testing.T) {
	var clusters []byte
	for n := range 50 {
		clusters = append(clusters, cluster(uint64(1000*n), simple(2, -3, 0x80, 'a'), simple(1, 0, 0x80, 'k', byte(n)), simple(1, 40, 0, 'd'),
			el(idBlockGroup, el(idBlock, blockBody(1, 500, 0, 'K'))))...)
	}
	doc := rewrite(t, mkv(el(idChapters, []byte("chap")), clusters, el(idAttachments, []byte("att")), el(idTags, []byte("tags"))))

	_, _, rest, err := ebml.Split(doc)
	if err != nil {
		t.Fatal(err)
	}
	h, segment, rest, err := ebml.Split(rest)
	if err != nil || h.ID != idSegment || len(rest) != 0 {
		t.Fatalf("Segment of %d bytes, %d behind it, %v", len(segment), len(rest), err)
	}
	at := func(pos uint64) (ebml.ID, []byte) {
		h, body, _, err := ebml.Split(segment[pos:])
		if err != nil {
			t.Fatal(err)
		}
		return h.ID, body
	}
	seeks := map[ebml.ID]uint64{}
	_, seekHead := at(0)
	each(t, seekHead, func(_ ebml.ID, seek []byte) {
		var id ebml.ID
		var pos uint64
		each(t, seek, func(field ebml.ID, b []byte) {
			v, _ := ebml.Uint(b)
			if field == idSeekID {
				id = ebml.ID(v)
			} else {
				pos = v
			}
		})
		if got, _ := at(pos); got != id {
			t.Errorf("SeekHead says %#x, there is %#x", uint32(id), uint32(got))
		}
		seeks[id] = pos
	})
	for _, id := range []ebml.ID{idInfo, idTracks, idChapters, idAttachments, idTags, idCues} {
		if _, ok := seeks[id]; !ok {
			t.Errorf("SeekHead does not name %#x", uint32(id))
		}
	}
	_, cues := at(seeks[idCues])
	count, last := 0, uint64(0)
	each(t, cues, func(_ ebml.ID, point []byte) {
		v := map[ebml.ID]uint64{}
		each(t, point, func(id ebml.ID, b []byte) {
			if id == idCueTrackPos {
				each(t, b, func(id ebml.ID, b []byte) { v[id], _ = ebml.Uint(b) })
			} else {
				v[id], _ = ebml.Uint(b)
			}
		})
		id, body := at(v[idCueClusterPos])
		if id != idCluster {
			t.Fatalf("cue at %d points at %#x", v[idCueTime], uint32(id))
		}
		ts, _ := ebml.Uint(body[2 : 2+body[1]&0x7F])
		h, block, _, err := ebml.Split(body[v[idCueRelativePos]:])
		if err != nil {
			t.Fatal(err)
		}
		if h.ID == idBlockGroup {
			_, block, _, _ = ebml.Split(block)
		}
		k, err := parseBlock(block, 0)
		if err != nil || k.track != 1 || v[idCueTrack] != 1 || uint64(int64(ts)+int64(k.relative)) != v[idCueTime] || v[idCueTime] < last {
			t.Errorf("cue %v points at track %d, time %d", v, k.track, int64(ts)+int64(k.relative))
		}
		last = v[idCueTime]
		count++
	})
	if count != 100 {
		t.Errorf("%d cues for 100 key frames", count)
	}
}

func each(t *testing.T, body []byte, f func(ebml.ID, []byte)) {
	t.Helper()
	for len(body) > 0 {
		h, b, rest, err := ebml.Split(body)
		if err != nil {
			t.Fatal(err)
		}
		if h.ID != ebml.IDVoid {
			f(h.ID, b)
		}
		body = rest
	}
}

// The index of a recording of any length is bounded, and its cues stay spread.
func TestCuesAreBounded(t *testing.T) {
	var l cueList
	for n := range int64(1_000_000) {
		l.add(cue{time: n, track: 1, cluster: n}, false)
	}
	if l.len() > maxCues || l.len() < maxCues/4 {
		t.Fatalf("%d cues", l.len())
	}
	for n := 1; n < l.len(); n++ {
		if step := l.cues[n].time - l.cues[n-1].time; step < 1 || step > 64 {
			t.Fatalf("cue %d is %d after the one before", n, step)
		}
	}
	if b := l.append(nil); len(b) > 64*maxCues {
		t.Errorf("%d bytes of Cues", len(b))
	}
	var audio cueList
	for n := range int64(100) {
		audio.add(cue{time: n, track: 1 + uint64(n%2), cluster: n / 10}, true)
	}
	if audio.len() != 20 {
		t.Errorf("%d cues for 10 Clusters of two tracks", audio.len())
	}
}

// More elements than the SeekHead has room for do not overrun it.
func TestSeekHeadFits(t *testing.T) {
	for n := range 40 {
		seeks := make([]seekEntry, n)
		for i := range seeks {
			seeks[i] = seekEntry{idAttachments, ebml.MaxSize}
		}
		if b := appendSeekHead(nil, seeks); len(b) != seekHeadSpace {
			t.Fatalf("%d entries: %d bytes", n, len(b))
		}
	}
	rewrite(t, mkv(bytes.Repeat(el(idTags, []byte("tags")), 40), cluster(0, simple(1, 0, 0x80, 1))))
}
