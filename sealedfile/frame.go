package sealedfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/chanseal/chanseal/media"
)

// The sealed payload of a frame is: its flags (varint), its duration (varint) if
// otherDuration is among the flags and it is no group, then the Data of its media.Item.

// otherDuration says that the block does not show the recording's own duration: a
// SimpleBlock shows none, and the sealed payload has it; a BlockGroup shows what the
// frame plays, of which the recording says nothing.
const otherDuration = 1 << 6

// maxReferences bounds the reference blocks of a frame; real ones have two.
const maxReferences = 16

// see says what a sealed file shows of an item of this track, and fills p with it.
func (p *place) see(item *media.Item, t *track, scale uint64) (hidden uint64, err error) {
	switch {
	case len(item.References) > maxReferences:
		return 0, fmt.Errorf("sealedfile: frame with %d reference blocks, the limit is %d", len(item.References), maxReferences)
	case item.Flags >= otherDuration:
		return 0, errors.New("sealedfile: frame with flags that the format does not know")
	case item.Duration < media.NoDuration:
		return 0, fmt.Errorf("sealedfile: frame with a duration of %d ticks", item.Duration)
	}
	*p = place{
		track:      item.Track,
		timestamp:  item.Timestamp,
		duration:   media.NoDuration,
		invisible:  item.Flags&media.FlagInvisible != 0,
		padding:    item.DiscardPadding,
		references: item.References,
	}
	hidden = uint64(item.Flags)
	// Sound and text have keyframes only, whatever the container says of them.
	key := item.Flags&media.FlagKey != 0 || t.kind != media.TrackVideo
	plays := item.Duration
	if plays < 0 && item.Span > 0 {
		plays = item.Span / int64(scale)
	}
	told := plays == t.usual && plays > 0 // by the track
	p.group = item.Flags&media.FlagGroup != 0 || p.padding != 0 || len(p.references) > 0 ||
		key && plays >= 0 && !told
	if p.group {
		p.key = len(p.references) == 0
		if p.duration = item.Duration; item.Duration < 0 && plays >= 0 && !told {
			p.duration = plays
			hidden |= otherDuration
		}
		return hidden, nil
	}
	p.key = key
	p.discardable = item.Flags&media.FlagDiscardable != 0
	if item.Duration >= 0 {
		hidden |= otherDuration
	}
	return hidden, nil
}

// appendPayload appends what is sealed of an item.
func appendPayload(b []byte, item *media.Item, hidden uint64) []byte {
	b = binary.AppendUvarint(b, hidden)
	if hidden&otherDuration != 0 && item.Duration >= 0 {
		b = binary.AppendUvarint(b, uint64(item.Duration))
	}
	return append(b, item.Data...)
}

// fill makes an item of what a block shows and what was sealed in it.
func (p *place) fill(item *media.Item, payload []byte) bool {
	hidden, n := binary.Uvarint(payload)
	if n <= 0 || hidden >= 2*otherDuration {
		return false
	}
	payload = payload[n:]
	*item = media.Item{
		Kind:           media.KindFrame,
		Track:          p.track,
		Timestamp:      p.timestamp,
		Duration:       p.duration,
		Flags:          media.Flags(hidden &^ otherDuration),
		DiscardPadding: p.padding,
		References:     p.references,
	}
	switch {
	case hidden&otherDuration == 0:
	case p.group:
		item.Duration = media.NoDuration
	default:
		d, n := binary.Uvarint(payload)
		if n <= 0 || d > math.MaxInt64 {
			return false
		}
		item.Duration = int64(d)
		payload = payload[n:]
	}
	item.Data = payload
	return true
}
