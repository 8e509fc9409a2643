package sealedfile

import (
	"errors"
	"io"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
)

// Inspection is what a sealed file shows to somebody without a key. None of it is
// authenticated.
type Inspection struct {
	Suite     cipher.SuiteID
	SuiteName string
	Info      media.Info // sealed codec IDs; Format is 0
	Tracks    []TrackUse // as in Info.Tracks
	Keys      []KeyUse   // in the order of their first use
	Frames    uint64
	Records   uint64 // header, element, segment and end records
	Sealed    uint64 // bytes of the sealed frames
	Overhead  uint64 // bytes of their headers and tags; 0 if the suite is not known
	Size      int64  // bytes of the file, as far as it was read
	Complete  bool   // the end record is there and nothing follows it
	Damage    error  // why the reading stopped early; nil if it did not
}

// TrackUse counts one track's frames.
type TrackUse struct {
	Number uint64
	Frames uint64
	Keys   uint64 // keyframes
	Sealed uint64 // bytes
}

// KeyUse tells how one key ID's counters run through the file.
type KeyUse struct {
	KID         cipher.KeyID
	Pieces      uint64 // frames and records
	First, Last uint64 // counters
	Missing     uint64 // counters that were jumped over
	Repeated    uint64 // counters that came again or too late
}

// Inspect reads a sealed file without any key. It returns an error only for what is
// no sealed file; damage further on is reported in the Inspection.
func Inspect(r io.Reader) (*Inspection, error) {
	s, p, err := newScanner(r)
	if err != nil {
		return nil, err
	}
	in := &Inspection{Suite: s.clear.suite, SuiteName: s.clear.name, Info: s.visible}
	index := make(map[uint64]int)
	for i, t := range s.visible.Tracks {
		index[t.Number] = i
		in.Tracks = append(in.Tracks, TrackUse{Number: t.Number})
	}
	tag := uint64(0)
	if suite, err := cipher.ByID(s.clear.suite); err == nil {
		tag = uint64(suite.Overhead())
	}
	for ; err == nil; p, err = s.next() {
		if err = in.add(s, &p, index, tag); err != nil {
			break
		}
	}
	in.Size = s.r.Offset()
	if err != io.EOF {
		var e *Error
		if !errors.As(err, &e) {
			return nil, err
		}
		in.Damage = err
	} else if !in.Complete {
		in.Damage = s.ended()
	}
	in.Complete = in.Complete && in.Damage == nil
	return in, nil
}

func (in *Inspection) add(s *scanner, p *piece, index map[uint64]int, tag uint64) error {
	h, size, err := cipher.ParseHeader(p.sealed)
	if err != nil {
		return s.fail(ErrAltered, "not an SFrame ciphertext", nil)
	}
	if in.Complete {
		return s.fail(ErrAltered, "something follows the end record", nil)
	}
	in.count(h)
	if p.kind != recordFrame {
		in.Records++
		in.Complete = p.kind == recordEnd
		return nil
	}
	i, ok := index[p.place.track]
	if !ok {
		return s.fail(ErrAltered, "a frame of a track that the file does not have", nil)
	}
	t := &in.Tracks[i]
	t.Frames++
	t.Sealed += uint64(len(p.sealed))
	if p.place.key {
		t.Keys++
	}
	s.frames++
	in.Frames++
	in.Sealed += uint64(len(p.sealed))
	if tag > 0 {
		in.Overhead += uint64(size) + tag
	}
	return nil
}

// maxKeyUses bounds the list; a file has one key ID for each turnover in it.
const maxKeyUses = 4096

func (in *Inspection) count(h cipher.Header) {
	var k *KeyUse
	for i := len(in.Keys) - 1; i >= 0 && k == nil; i-- { // the present one is the last
		if in.Keys[i].KID == h.KID {
			k = &in.Keys[i]
		}
	}
	switch {
	case k == nil && len(in.Keys) == maxKeyUses:
		return
	case k == nil:
		in.Keys = append(in.Keys, KeyUse{KID: h.KID, Pieces: 1, First: h.CTR, Last: h.CTR})
		return
	case h.CTR <= k.Last:
		k.Repeated++
	default:
		k.Missing += h.CTR - k.Last - 1
		k.Last = h.CTR
	}
	k.Pieces++
}
