package ciphertest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/chanseal/chanseal/cipher"
)

// checkHeader: frames begin with SFrame's header in its shortest form, for KIDs and
// counters of every length, and Overhead covers it.
func checkHeader(x *exam) {
	values := []uint64{0, 1, 7, 8, 255, 256, 65535, 65536, 1<<24 - 1, 1 << 24, 1<<32 - 1, 1 << 32, 1<<40 - 1, 1<<48 + 5, 1<<56 - 1, 1 << 56, 1<<64 - 1}
	frame := random(1, 50)
	for _, kid := range values {
		for _, ctr := range values {
			if !reachable(ctr) {
				continue
			}
			s, o := x.keys(cipher.KeyID(kid), startAt(ctr))
			sealed := x.seal(s, frame, nil)
			want := cipher.AppendHeader(nil, cipher.Header{KID: cipher.KeyID(kid), CTR: ctr})
			if !bytes.HasPrefix(sealed, want) {
				x.t.Fatalf("KID %d, counter %d: the frame begins with %x, want %x", kid, ctr, sealed[:len(want)], want)
			}
			if grown := len(sealed) - len(frame); grown > s.Overhead() || grown-len(want) > x.suite.Overhead() {
				x.t.Errorf("KID %d, counter %d: the frame grew by %d bytes, Overhead says %d", kid, ctr, grown, s.Overhead())
			}
			if longer := lengthened(sealed, kid, ctr); longer != nil {
				if _, err := o.Open(nil, longer, nil); !errors.Is(err, cipher.ErrMalformed) {
					x.t.Errorf("KID %d, counter %d, header not in its shortest form: error %v, want %v", kid, ctr, err, cipher.ErrMalformed)
				}
			}
			x.opens(o, sealed, nil, frame)
		}
	}
}

// lengthened spells the header's KID with one byte more than needed; nil if that is
// not possible.
func lengthened(sealed []byte, kid, ctr uint64) []byte {
	switch config := sealed[0]; {
	case kid >= 1<<56:
		return nil
	case kid < 8: // extended though it fits
		return slices.Concat([]byte{0x80 | config&0x0f, byte(kid)}, sealed[1:])
	default:
		return slices.Concat([]byte{config + 0x10, 0}, sealed[1:])
	}
}

// checkKeys: another base key, KID or suite opens nothing, and says so by kind.
func checkKeys(x *exam) {
	frame := random(2, 64)
	s, o := x.keys(examKID, cipher.FreshKey)
	_, otherKey := x.keys(examKID, cipher.FreshKey)
	_, otherKID := x.keys(examKID+1, cipher.FreshKey)
	sealed := x.seal(s, frame, nil)
	authenticates := !x.not(NoAuth)
	if _, err := otherKey.Open(nil, sealed, nil); authenticates && !errors.Is(err, cipher.ErrAuth) {
		x.t.Errorf("another base key: error %v, want %v", err, cipher.ErrAuth)
	}
	if _, err := otherKID.Open(nil, sealed, nil); !errors.Is(err, cipher.ErrUnknownKey) {
		x.t.Errorf("another KID: error %v, want %v", err, cipher.ErrUnknownKey)
	}
	// The KID is bound into the key, not only written in front of the frame.
	h, size, err := cipher.ParseHeader(sealed)
	if err != nil {
		x.t.Fatalf("the header of a sealed frame: %v", err)
	}
	i := int(keysMade.Add(1))
	a, _ := x.keysOf(i, examKID, cipher.FreshKey)
	_, b := x.keysOf(i, examKID+1, cipher.FreshKey)
	moved := x.seal(a, frame, nil)
	moved = slices.Concat(cipher.AppendHeader(nil, cipher.Header{KID: examKID + 1, CTR: h.CTR}), moved[size:])
	if _, err := b.Open(nil, moved, nil); authenticates && !errors.Is(err, cipher.ErrAuth) {
		x.t.Errorf("a frame moved to another KID of the same base key: error %v, want %v", err, cipher.ErrAuth)
	}
	x.opens(o, sealed, nil, frame)
	o.Retire()
	s.Retire()
	if _, err := s.Seal(nil, frame, nil); !errors.Is(err, cipher.ErrUnknownKey) {
		x.t.Errorf("sealing with a retired key: error %v, want %v", err, cipher.ErrUnknownKey)
	}
	if _, err := o.Open(nil, sealed, nil); !errors.Is(err, cipher.ErrUnknownKey) {
		x.t.Errorf("opening with a retired key: error %v, want %v", err, cipher.ErrUnknownKey)
	}
}

// checkCounters: many goroutines on one key use each counter once and leave none out.
func checkCounters(x *exam) {
	s, _ := x.keys(examKID, cipher.FreshKey)
	left := s.Left()
	var mu sync.Mutex
	seen := map[uint64]bool{}
	x.together(func(int) error {
		for range framesPerWorker {
			sealed, err := s.Seal(nil, []byte("counted"), nil)
			if err != nil {
				return err
			}
			h, _, err := cipher.ParseHeader(sealed)
			if err != nil {
				return err
			}
			mu.Lock()
			twice := seen[h.CTR]
			seen[h.CTR] = true
			mu.Unlock()
			if twice {
				return fmt.Errorf("counter %d was used twice", h.CTR)
			}
		}
		return nil
	})
	const n = goroutines * framesPerWorker
	for ctr := range uint64(n) {
		if !seen[ctr] {
			x.t.Errorf("counter %d was left out", ctr)
			break
		}
	}
	if used := left - s.Left(); used != n {
		x.t.Errorf("Left went down by %d for %d frames", used, n)
	}
}

// checkInPlace: sealing and opening in place gives what appending gives, and writes
// nothing but the frame's own place.
func checkInPlace(x *exam) {
	s, o := x.twins()
	for i, n := range sizes {
		frame, aad := random(n, n), random(i, i%30)
		off := cipher.MaxHeader + i%20
		buf := slices.Concat(filled(off), frame, filled(x.suite.Overhead()+i%3*10))
		before, end := slices.Clone(buf), off+n+x.suite.Overhead()
		sealed, err := s[0].SealInPlace(buf, off, n, aad)
		if err != nil {
			x.t.Fatalf("SealInPlace of %d bytes: %v", n, err)
		}
		appended := x.seal(s[1], frame, aad)
		_, size, err := cipher.ParseHeader(sealed)
		if err != nil {
			x.t.Fatalf("SealInPlace of %d bytes: the header: %v", n, err)
		}
		if x.deterministic() && !bytes.Equal(sealed, appended) {
			x.t.Errorf("SealInPlace and Seal of %d bytes differ", n)
		}
		if !inside(sealed, buf) || !bytes.Equal(buf[:off-size], before[:off-size]) || !bytes.Equal(buf[end:], before[end:]) {
			x.t.Errorf("SealInPlace of %d bytes wrote beside the frame's place", n)
		}
		if cap(sealed) != len(sealed) {
			x.t.Errorf("SealInPlace of %d bytes: an append to the result would write into buf", n)
		}
		x.opens(o[1], slices.Clone(sealed), aad, frame)
		back, err := o[0].OpenInPlace(sealed, aad)
		if err != nil {
			x.t.Errorf("OpenInPlace of %d bytes: %v", n, err)
		} else if !bytes.Equal(back, frame) || n > 0 && !inside(back, sealed) {
			x.t.Errorf("OpenInPlace of %d bytes: another frame came out, or in another place", n)
		}
	}
}

// deterministic reports whether the suite seals equal frames under equal counters
// equally. A Hook with nonces of its own does not.
func (x *exam) deterministic() bool {
	s, _ := x.twins()
	frame := random(3, 40)
	return bytes.Equal(x.seal(s[0], frame, nil), x.seal(s[1], frame, nil))
}

// checkInPlaceRefused: without room SealInPlace leaves everything as it is and uses no
// counter; what fails to open in place is destroyed.
func checkInPlaceRefused(x *exam) {
	s, o := x.keys(examKID, cipher.FreshKey)
	const n = 100
	need := cipher.MaxHeader + n + x.suite.Overhead()
	for _, c := range []struct{ size, off, n int }{
		{need, cipher.MaxHeader - 1, n}, {need - 1, cipher.MaxHeader, n}, {need, cipher.MaxHeader + 1, n},
		{need, need + 1, 0}, {need, need - x.suite.Overhead() + 1, 0}, {need, -1, n}, {need, cipher.MaxHeader, -1}, {need, cipher.MaxHeader, 1 << 30}, {0, 0, 0},
	} {
		buf := filled(c.size)
		out, err := s.SealInPlace(buf, c.off, c.n, nil)
		if !errors.Is(err, cipher.ErrShort) || len(out) > 0 || !bytes.Equal(buf, filled(c.size)) {
			x.t.Errorf("SealInPlace of %d bytes at %d of %d: error %v, want %v and nothing written", c.n, c.off, c.size, err, cipher.ErrShort)
		}
	}
	buf := filled(need)
	if !panics(func() { s.SealInPlace(buf, cipher.MaxHeader, n, buf[need-5:]) }) || !bytes.Equal(buf, filled(need)) {
		x.t.Errorf("SealInPlace: additional data inside the buffer is not refused by a panic")
	}
	frame := random(4, n)
	sealed := x.seal(s, frame, nil)
	if h, _, err := cipher.ParseHeader(sealed); err != nil || h.CTR != 0 {
		x.t.Errorf("SealInPlace used a counter though it refused: the next is %d, error %v", h.CTR, err)
	}
	if !panics(func() { o.OpenInPlace(sealed, sealed[:3]) }) {
		x.t.Errorf("OpenInPlace: additional data inside the frame is not refused by a panic")
	}
	destroyed := func(what string, sealed []byte, aad []byte) {
		if out, err := o.OpenInPlace(sealed, aad); err == nil || out != nil {
			x.t.Errorf("OpenInPlace of %s: error %v, %d bytes", what, err, len(out))
		}
		if len(bytes.Trim(sealed, "\x00")) > 0 {
			x.t.Errorf("OpenInPlace of %s: its content is not destroyed", what)
		}
	}
	if !x.not(NoAuth) {
		bad := slices.Clone(sealed)
		bad[len(bad)-1] ^= 1
		destroyed("a changed frame", bad, nil)
		destroyed("a frame with other additional data", slices.Clone(sealed), []byte("x"))
		destroyed("a frame cut short", slices.Clone(sealed[:4]), nil)
	}
	other, _ := x.keys(examKID+1, cipher.FreshKey)
	destroyed("another key's frame", x.seal(other, frame, nil), nil)
	destroyed("a malformed frame", []byte{0x80, 1, 2, 3}, nil)
	destroyed("nothing", []byte{}, nil)
	x.opens(o, slices.Clone(sealed), nil, frame)
	destroyed("a replayed frame", sealed, nil)
}
