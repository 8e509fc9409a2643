package media

import (
	"encoding/binary"
	"math"

	"github.com/chanseal/chanseal/media/ebml"
)

// The Data of a Matroska frame is
//
//	byte                the Block's flags that are not in Item.Flags, and blockExtras
//	varint, elements    with blockExtras only: length and bytes of the BlockGroup's
//	                    other children (BlockAdditions, CodecState, ...), as they were
//	payload             the Block from behind its flags: lacing header, if any, and frame data
//
// The varint is that of ebml.AppendVint. Most frames are a byte and the payload.
const (
	blockKey         = 0x80 // SimpleBlock only; reserved in a Block
	blockInvisible   = 0x08
	blockLacing      = 0x06
	blockLacingXiph  = 0x02
	blockDiscardable = 0x01 // SimpleBlock only; reserved in a Block

	blockExtras = blockInvisible // of Data's first byte: that flag is in Item.Flags always
)

// A block is a Block or SimpleBlock taken apart (RFC 9559, Section 10).
type block struct {
	track    uint64
	relative int16 // ticks from the Cluster's Timestamp
	flags    byte
	at       int // where in the element's body the flags are; the payload follows
}

// parseBlock takes a block's body apart and checks its lacing. The offset is
// that of the body in the stream.
func parseBlock(b []byte, offset int64) (block, error) {
	track, width, err := ebml.ParseVint(b)
	if err != nil || len(b) < width+3 {
		return block{}, damaged(FormatMatroska, offset, "block of %d bytes, shorter than its header,", len(b))
	}
	k := block{track: track, relative: int16(binary.BigEndian.Uint16(b[width:])), flags: b[width+2], at: width + 2}
	if k.flags&blockLacing != 0 {
		if err := checkLacing(b[k.at+1:], k.flags&blockLacing); err != "" {
			return block{}, damaged(FormatMatroska, offset, "%s in a block", err)
		}
	}
	return k, nil
}

// checkLacing returns what is wrong with a laced payload, "" if nothing is
// (RFC 9559, Section 10.3).
func checkLacing(b []byte, lacing byte) string {
	if len(b) == 0 {
		return "no lacing header"
	}
	more, b := int(b[0]), b[1:] // frames besides the last one, whose size is what is left
	sum := int64(0)
	switch lacing {
	case 0x02: // Xiph: runs of 255 and a rest
		for range more {
			for {
				if len(b) == 0 {
					return "cut off Xiph lacing header"
				}
				n := b[0]
				b = b[1:]
				sum += int64(n)
				if n != 255 {
					break
				}
			}
		}
	case 0x04: // fixed size
		if len(b)%(more+1) != 0 {
			return "fixed size lacing of unequal frames"
		}
	case 0x06: // EBML: a size, then differences
		size := int64(0)
		for i := range more {
			v, width, err := ebml.ParseVint(b)
			if err != nil {
				return "cut off EBML lacing header"
			}
			b = b[width:]
			if i == 0 {
				size = int64(v)
			} else {
				size += int64(v) - (1<<(7*width-1) - 1)
			}
			if size < 0 || size > MaxFrame {
				return "impossible frame size in EBML lacing"
			}
			sum += size
		}
	}
	if sum > int64(len(b)) {
		return "lacing that reaches past its end"
	}
	return ""
}

// simpleBlock fills item from the body of a SimpleBlock, which it overwrites.
func (r *mkvReader) simpleBlock(item *Item, b []byte, offset int64) error {
	k, err := parseBlock(b, offset)
	if err != nil {
		return err
	}
	if err := r.place(item, k, offset); err != nil {
		return err
	}
	if k.flags&blockKey != 0 {
		item.Flags |= FlagKey
	}
	if k.flags&blockDiscardable != 0 {
		item.Flags |= FlagDiscardable
	}
	b[k.at] = k.flags &^ (blockKey | blockInvisible | blockDiscardable)
	item.Data = b[k.at:]
	item.Span = r.known[k.track].spanOf(k.flags&blockLacing, b[k.at+1:])
	return nil
}

// blockGroup fills item from the body of a BlockGroup, which it overwrites.
func (r *mkvReader) blockGroup(item *Item, body []byte, offset int64) error {
	var blockBody []byte
	var blockOffset int64
	hasDuration := false
	r.extras = r.extras[:0]
	r.refs = r.refs[:0]
	item.Duration, item.DiscardPadding = NoDuration, 0

	if err := ebml.CheckCRC(body); err != nil {
		return fromEBML(err, offset)
	}
	for rest, at := body, offset; len(rest) > 0; {
		h, b, next, err := ebml.Split(rest)
		if err != nil {
			return fromEBML(err, at)
		}
		whole := rest[:len(rest)-len(next)]
		switch h.ID {
		case idBlock:
			if blockBody != nil {
				return damaged(FormatMatroska, at, "second Block in a BlockGroup")
			}
			blockBody, blockOffset = b, at+int64(h.Len())
		case idBlockDuration:
			d, err := ebml.Uint(b)
			if err != nil || d > math.MaxInt64 || hasDuration {
				return damaged(FormatMatroska, at, "BlockDuration twice or out of range")
			}
			item.Duration, hasDuration = int64(d), true
		case idReferenceBlock:
			ref, err := ebml.Int(b)
			if err != nil {
				return fromEBML(err, at)
			}
			if len(r.refs) == maxReferences {
				return tooLarge(FormatMatroska, at, "more than %d ReferenceBlocks", maxReferences)
			}
			r.refs = append(r.refs, ref)
		case idDiscardPadding:
			p, err := ebml.Int(b)
			if err != nil || item.DiscardPadding != 0 {
				return damaged(FormatMatroska, at, "DiscardPadding twice or out of range")
			}
			if item.DiscardPadding = p; p == 0 { // says nothing, but it is there
				r.extras = append(r.extras, whole...)
			}
		case ebml.IDCRC32, ebml.IDVoid:
		default:
			r.extras = append(r.extras, whole...)
		}
		at += int64(len(whole))
		rest = next
	}
	if blockBody == nil {
		return damaged(FormatMatroska, offset, "BlockGroup without a Block")
	}
	k, err := parseBlock(blockBody, blockOffset)
	if err != nil {
		return err
	}
	if err := r.place(item, k, blockOffset); err != nil {
		return err
	}
	item.Flags |= FlagGroup
	if len(r.refs) == 0 {
		item.Flags |= FlagKey
	} else {
		item.References = r.refs
	}
	if !hasDuration {
		item.Span = r.known[k.track].spanOf(k.flags&blockLacing, blockBody[k.at+1:])
	}
	first := k.flags &^ blockInvisible
	if len(r.extras) == 0 {
		blockBody[k.at] = first
		item.Data = blockBody[k.at:]
		return nil
	}
	r.data = append(r.data[:0], first|blockExtras)
	r.data = ebml.AppendVint(r.data, uint64(len(r.extras)))
	r.data = append(r.data, r.extras...)
	r.data = append(r.data, blockBody[k.at+1:]...)
	item.Data = r.data
	return nil
}

// place sets what SimpleBlock and BlockGroup have in common: track, time and
// the flags of where the frame lies.
func (r *mkvReader) place(item *Item, k block, offset int64) error {
	if !r.hasTime {
		return damaged(FormatMatroska, offset, "block in a Cluster without a Timestamp in front of it")
	}
	if _, ok := r.known[k.track]; !ok {
		return damaged(FormatMatroska, offset, "block of track %d, which Tracks does not list,", k.track)
	}
	item.Kind, item.Track = KindFrame, k.track
	item.Timestamp = r.clusterTime + int64(k.relative) // parse of Timestamp left room for it
	item.Flags, item.Span = 0, 0
	if k.flags&blockInvisible != 0 {
		item.Flags |= FlagInvisible
	}
	if r.firstInCluster {
		item.Flags |= FlagCluster
		r.firstInCluster = false
	}
	return nil
}

// splitData takes the Data of a Matroska frame apart again. The extras are
// checked to be elements that may lie in a BlockGroup as they are.
func splitData(data []byte) (flags byte, extras, payload []byte, ok bool) {
	if len(data) == 0 {
		return 0, nil, nil, false
	}
	flags, payload = data[0], data[1:]
	if flags&blockExtras == 0 {
		return flags, nil, payload, true
	}
	n, width, err := ebml.ParseVint(payload)
	if err != nil || n > uint64(len(payload)-width) || n == 0 {
		return 0, nil, nil, false
	}
	extras, payload = payload[width:width+int(n)], payload[width+int(n):]
	for rest := extras; len(rest) > 0; {
		h, _, next, err := ebml.Split(rest)
		if err != nil {
			return 0, nil, nil, false
		}
		switch h.ID {
		case idBlock, idBlockDuration, idReferenceBlock, ebml.IDVoid, ebml.IDCRC32:
			return 0, nil, nil, false
		}
		rest = next
	}
	return flags &^ blockExtras, extras, payload, true
}
