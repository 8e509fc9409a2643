package ciphertest

import (
	"bytes"
	"slices"

	"github.com/chanseal/chanseal/cipher"
)

// checkBatch: a batch does what as many single calls do, and one bad frame among many
// is its own affair.
func checkBatch(x *exam) {
	s, o := x.twins()
	same := x.deterministic()
	const n = 37
	for round := range 3 {
		frames := make([]cipher.Frame, n)
		want := make([][]byte, n)
		for i := range frames {
			frames[i] = cipher.Frame{Src: random(i, 97*i%1500), AAD: random(i, i%20)}
			switch i % 3 { // nil, tight and roomy
			case 1:
				frames[i].Dst = append(make([]byte, 0, 6), "prefix"...)
			case 2:
				frames[i].Dst = append(make([]byte, 0, 4000), "prefix"...)
			}
			want[i] = append(slices.Clone(frames[i].Dst), x.seal(s[1], frames[i].Src, frames[i].AAD)...)
		}
		if failed := s[0].SealBatch(frames); failed != 0 {
			x.t.Fatalf("SealBatch: %d frames failed, the first with %v", failed, frames[0].Err)
		}
		opened := make([]cipher.Frame, n)
		for i, f := range frames {
			if same && !bytes.Equal(f.Dst, want[i]) || f.Err != nil {
				x.t.Errorf("SealBatch, frame %d: not what Seal gives, error %v", i, f.Err)
			}
			prefix := min(i%3, 1) * len("prefix")
			if i%3 > 0 && !bytes.HasPrefix(f.Dst, []byte("prefix")) {
				x.t.Errorf("SealBatch, frame %d: what lay in dst is no longer there", i)
			}
			h, _, err := cipher.ParseHeader(f.Dst[prefix:])
			if err != nil || h.CTR != uint64(round*n+i) {
				x.t.Errorf("SealBatch, frame %d: counter %d, error %v, want %d", i, h.CTR, err, round*n+i)
			}
			opened[i] = cipher.Frame{Src: f.Dst[prefix:], AAD: f.AAD, Dst: []byte("kept")}
		}
		x.openBatch(o[0], opened, frames)
	}
	if s[0].SealBatch(nil) != 0 || o[0].OpenBatch([]cipher.Frame{}) != 0 {
		x.t.Errorf("an empty batch fails")
	}
	s[0].Retire()
	o[0].Retire()
	gone := []cipher.Frame{{Src: []byte("a"), Dst: []byte("kept")}, {Src: []byte("b")}}
	if s[0].SealBatch(gone) != 2 || gone[0].Err != cipher.ErrUnknownKey || string(gone[0].Dst) != "kept" {
		x.t.Errorf("SealBatch with a retired key: error %v", gone[0].Err)
	}
}

// openBatch opens with one frame that is another's twice over and, if that can be
// noticed, one that was changed.
func (x *exam) openBatch(o *cipher.OpenKey, opened, frames []cipher.Frame) {
	x.t.Helper()
	wrong := map[int]error{9: cipher.ErrReplayed}
	opened[9] = cipher.Frame{Src: slices.Clone(opened[8].Src), AAD: opened[8].AAD, Dst: []byte("kept")}
	if !x.not(NoAuth) {
		bad := slices.Clone(opened[20].Src)
		bad[len(bad)-1] ^= 0x80
		opened[20].Src, wrong[20] = bad, cipher.ErrAuth
	}
	failed := o.OpenBatch(opened)
	if failed != len(wrong) {
		x.t.Errorf("OpenBatch: %d frames failed, want %d", failed, len(wrong))
	}
	for i, f := range opened {
		want := append([]byte("kept"), frames[i].Src...)
		if wrong[i] != nil {
			want = []byte("kept")
		}
		if f.Err != wrong[i] || !bytes.Equal(f.Dst, want) {
			x.t.Errorf("OpenBatch, frame %d: error %v, want %v, or another frame came out", i, f.Err, wrong[i])
		}
	}
}

// checkBatchOverlap: elements that would write into each other are refused by a panic
// before anything is written; elements that only touch are not.
func checkBatchOverlap(x *exam) {
	s, o := x.keys(examKID, cipher.FreshKey)
	const n = 64
	size := n + 3 + x.suite.Overhead() // KID of two bytes, counter in the config byte
	for _, c := range []struct {
		name   string
		frames func(m []byte) []cipher.Frame
		refuse bool
	}{
		{"side by side", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[0:0:size], Src: m[1000:1064]}, {Dst: m[size : size : 2*size], Src: m[1064:1128]}}
		}, false},
		{"side by side, the other way round", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[size : size : 2*size], Src: m[1064:1128]}, {Dst: m[0:0:size], Src: m[1000:1064]}}
		}, false},
		{"dst among dst", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[0:0], Src: m[1000:1064]}, {Dst: m[size-1 : size-1], Src: m[1064:1128]}}
		}, true},
		{"dst on an earlier src", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[0:0], Src: m[1000:1064]}, {Dst: m[1063:1063], Src: m[500:564]}}
		}, true},
		{"dst on a later src", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[1063:1063], Src: m[500:564]}, {Dst: m[0:0], Src: m[1000:1064]}}
		}, true},
		{"dst just large enough on a later src", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[1000 : 1000 : 1000+size], Src: m[500:564]}, {Src: m[1000+size-1 : 1063+size]}}
		}, true},
		{"dst too small on a later src, so that it is not written", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[1000 : 1000 : 1000+size-1], Src: m[500:564]}, {Src: m[1000:1064]}}
		}, false},
		{"dst on another's additional data", func(m []byte) []cipher.Frame {
			return []cipher.Frame{{Dst: m[0:0], Src: m[1000:1064], AAD: m[1500:1510]}, {Dst: m[1509:1509], Src: m[1064:1128]}}
		}, true},
	} {
		memory := random(6, 2000)
		before := slices.Clone(memory)
		frames := c.frames(memory)
		left := s.Left()
		did := panics(func() { s.SealBatch(frames) })
		if did != c.refuse {
			x.t.Errorf("SealBatch, %s: panicked %v, want %v", c.name, did, c.refuse)
		}
		if did && !bytes.Equal(memory, before) {
			x.t.Errorf("SealBatch, %s: something was written before the panic", c.name)
		}
		if !did && left-s.Left() != uint64(len(frames)) {
			x.t.Errorf("SealBatch, %s: %d counters for %d frames", c.name, left-s.Left(), len(frames))
		}
		// A new key each time keeps the counter in the config byte.
		s, o = x.keys(examKID, cipher.FreshKey)
	}
	one, two := x.seal(s, random(7, n), nil), x.seal(s, random(8, n), nil)
	memory := slices.Concat(make([]byte, 500), one, two)
	src := memory[500:]
	frames := []cipher.Frame{{Dst: memory[0:0], Src: src[:len(one)]}, {Dst: memory[n-1 : n-1], Src: src[len(one):]}}
	if !panics(func() { o.OpenBatch(frames) }) {
		x.t.Errorf("OpenBatch, dst among dst: no panic")
	}
	frames[1].Dst = memory[490:490]
	if !panics(func() { o.OpenBatch(frames) }) {
		x.t.Errorf("OpenBatch, dst on another's src: no panic")
	}
	frames[1].Dst = memory[200:200]
	if failed := o.OpenBatch(frames); failed != 0 || !bytes.Equal(frames[0].Dst, random(7, n)) || !bytes.Equal(frames[1].Dst, random(8, n)) {
		x.t.Errorf("OpenBatch of frames that do not meet: %d failed", failed)
	}
}
