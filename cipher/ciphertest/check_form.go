package ciphertest

import (
	"bytes"
	"slices"

	"github.com/chanseal/chanseal/cipher"
)

// checkSizes: every size comes back, and grows by no more than Overhead says.
func checkSizes(x *exam) {
	s, o := x.fresh()
	for i, n := range sizes {
		frame, aad := random(n, n), random(i, i%41)
		sealed := x.seal(s, frame, aad)
		if grown := len(sealed) - n; grown > s.Overhead() || grown < 0 {
			x.t.Errorf("a frame of %d bytes grew by %d, Overhead says at most %d", n, grown, s.Overhead())
		}
		if n >= 16 && bytes.Contains(sealed, frame) {
			x.t.Errorf("a frame of %d bytes lies in its sealed form as it was", n)
		}
		x.opens(o, sealed, aad, frame)
	}
	for _, n := range []int{100, 255, 256, 1000, 70000} {
		aad := random(-n, n)
		x.opens(o, x.seal(s, []byte("long additional data"), aad), aad, []byte("long additional data"))
	}
	x.opens(o, x.seal(s, nil, nil), []byte{}, nil)
}

// room is a dst with a prefix, and what lies behind it.
type room struct {
	name  string
	spare int // bytes behind the prefix
}

// checkAppend: the result is appended to dst, into its spare room where that suffices,
// and not a byte before or behind is touched.
func checkAppend(x *exam) {
	s, o := x.fresh()
	for _, n := range fewSizes {
		frame, aad := random(n, n), random(n+1, 9)
		most := n + s.Overhead()
		for _, r := range []room{{"no room", 0}, {"one byte too few", most - 1}, {"just enough", most}, {"more than enough", most + 100}} {
			out, err := x.appended(r, most, frame, aad, s.Seal)
			if err != nil {
				x.t.Fatalf("Seal of %d bytes, dst with %s: %v", n, r.name, err)
			}
			most := len(out) // an opener may use as much room as it was given
			back, err := x.appended(room{r.name, max(0, most+r.spare-n-s.Overhead())}, most, out, aad, o.Open)
			if err != nil {
				x.t.Errorf("Open of %d bytes, dst with %s: %v", n, r.name, err)
			} else if !bytes.Equal(back, frame) {
				x.t.Errorf("Open of %d bytes, dst with %s: another frame came out", n, r.name)
			}
		}
	}
}

// appended calls f with such a dst, and returns what it appended.
func (x *exam) appended(r room, most int, in, aad []byte, f func(dst, in, aad []byte) ([]byte, error)) ([]byte, error) {
	x.t.Helper()
	const before = 11
	memory := filled(before + r.spare + 64)
	dst := memory[: before : before+r.spare]
	out, err := f(dst, in, aad)
	if err != nil {
		return nil, err
	}
	if len(out) < before || !bytes.Equal(out[:before], filled(before)) || !bytes.Equal(dst, filled(before)) {
		x.t.Errorf("dst with %s: what lay in it is no longer there", r.name)
		return nil, nil
	}
	untouched := before
	if r.spare >= most {
		if !inside(out, memory) {
			x.t.Errorf("dst with %s: the result lies in other memory", r.name)
		}
		untouched += most
	} else if inside(out, memory) {
		untouched += r.spare // it needed less than the most
	}
	if !bytes.Equal(memory[untouched:], filled(len(memory))[untouched:]) {
		x.t.Errorf("dst with %s: bytes behind the result were written", r.name)
	}
	return slices.Clone(out[before:]), nil
}

// checkInput: neither frame nor sealed nor aad is written, whether it succeeds or not.
func checkInput(x *exam) {
	s, o := x.fresh()
	for _, n := range fewSizes {
		in := newInput(random(n, n), random(n+1, 21))
		sealed, err := s.Seal(nil, in.data, in.aad)
		if err != nil {
			x.t.Fatalf("sealing %d bytes: %v", n, err)
		}
		in.unchanged(x, "Seal of %d bytes", n)
		if inside(sealed, in.data) {
			x.t.Errorf("Seal of %d bytes: the result lies in the input's memory", n)
		}
		if !x.not(NoAuth) {
			bad := slices.Clone(sealed)
			bad[len(bad)-1]++
			in = newInput(bad, in.aad)
			o.Open(make([]byte, 0, n+64), in.data, in.aad)
			in.unchanged(x, "failing Open of %d bytes", n)
		}
		in = newInput(sealed, in.aad)
		back, err := o.Open(nil, in.data, in.aad)
		if err != nil {
			x.t.Errorf("opening %d bytes: %v", n, err)
		}
		in.unchanged(x, "Open of %d bytes", n)
		if inside(back, in.data) {
			x.t.Errorf("Open of %d bytes: the result lies in the input's memory", n)
		}
	}
}

// input is a call's two inputs, each amid memory that is none of the cipher's.
type input struct{ data, aad, memory, before []byte }

func newInput(data, aad []byte) input {
	const margin = 40
	memory := slices.Concat(filled(margin), data, filled(margin), aad, filled(margin))
	in := input{memory: memory, before: slices.Clone(memory)}
	in.data = memory[margin : margin+len(data)]
	in.aad = memory[2*margin+len(data) : 2*margin+len(data)+len(aad)]
	return in
}

func (in *input) unchanged(x *exam, format string, args ...any) {
	x.t.Helper()
	if !bytes.Equal(in.memory, in.before) {
		x.t.Errorf("the input was written by "+format, args...)
	}
}

// checkOverlap: spare room that meets frame or aad is refused by a panic, before
// anything is written. Pairs of no suite may as well do the right thing.
func checkOverlap(x *exam) {
	s, o := x.fresh()
	const n, in, aad = 100, 200, 500 // the input's length and place, the additional data's place
	for _, c := range []struct {
		name string
		dst  int // where the room begins
	}{
		{"reaches into the input", in - n/2}, {"begins where the input does", in},
		{"begins one byte into the input", in + 1}, {"begins at the input's last byte", in + n - 1},
		{"reaches into the additional data", aad - n/2}, {"begins in the additional data", aad + 5},
	} {
		frame, data := random(1, n), random(2, 16)
		arena := func(input []byte) (memory, src, ad []byte) {
			memory = filled(2000)
			copy(memory[in:], input)
			copy(memory[aad:], data)
			return memory, memory[in : in+len(input)], memory[aad : aad+len(data)]
		}
		memory, src, ad := arena(frame)
		before := slices.Clone(memory)
		var sealed []byte
		var err error
		if panics(func() { sealed, err = s.Seal(memory[c.dst:c.dst], src, ad) }) {
			if !bytes.Equal(memory, before) {
				x.t.Errorf("Seal, dst that %s: something was written before the panic", c.name)
			}
		} else if x.suite != nil {
			x.t.Errorf("Seal, dst that %s: no panic", c.name)
		} else if err == nil {
			x.opens(o, slices.Clone(sealed), data, frame)
		}

		good := x.seal(s, frame, data)
		memory, src, ad = arena(good)
		before = slices.Clone(memory)
		var back []byte
		if panics(func() { back, err = o.Open(memory[c.dst:c.dst], src, ad) }) {
			if !bytes.Equal(memory, before) {
				x.t.Errorf("Open, dst that %s: something was written before the panic", c.name)
			}
		} else if x.suite != nil {
			x.t.Errorf("Open, dst that %s: no panic", c.name)
		} else if err == nil && !bytes.Equal(back, frame) {
			x.t.Errorf("Open, dst that %s: another frame came out", c.name)
		}
	}
	// Neighbours are no overlap.
	memory := filled(2000)
	frame := random(3, n)
	src := memory[in : in+copy(memory[in:], frame)]
	x.opens(o, x.neighbour(s, memory[in+n:in+n], src), nil, frame)
	start := in - n - s.Overhead()
	x.opens(o, x.neighbour(s, memory[start:start], src), nil, frame)
}

func (x *exam) neighbour(s cipher.Sealer, dst, src []byte) (sealed []byte) {
	x.t.Helper()
	if panics(func() { sealed = slices.Concat(x.sealTo(s, dst, src)) }) {
		x.t.Fatalf("Seal panics though dst only lies beside the frame")
	}
	return sealed
}

func (x *exam) sealTo(s cipher.Sealer, dst, frame []byte) []byte {
	x.t.Helper()
	sealed, err := s.Seal(dst, frame, nil)
	if err != nil {
		x.t.Fatalf("sealing %d bytes: %v", len(frame), err)
	}
	return sealed
}

// checkShort: whatever is too short, or nothing at all, is refused without a panic.
func checkShort(x *exam) {
	s, o := x.fresh()
	for n := range s.Overhead() + 20 {
		for _, in := range [][]byte{make([]byte, n), bytes.Repeat([]byte{0xff}, n), random(n, n)} {
			var err error
			if panics(func() { _, err = o.Open(nil, in, nil) }) {
				x.t.Errorf("Open panics on %d bytes: %x", n, in)
			} else if err == nil && !x.not(NoAuth) {
				x.t.Errorf("Open accepts %d bytes that nobody sealed: %x", n, in)
			}
		}
	}
}
