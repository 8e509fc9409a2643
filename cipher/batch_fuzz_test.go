package cipher_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// FuzzBatch cuts a batch out of shape, four bytes a frame: text's length, additional data's, where the frames
// lie, and what becomes of a frame on its way. A batch does what Seal and Open do
// with one frame after the other, by the same keys.
func FuzzBatch(f *testing.F) {
	f.Add(bytes.Repeat([]byte{96, 12, 0, 0}, 8), uint64(1), uint16(300), uint8(0))
	f.Add(bytes.Repeat([]byte{96, 12, 0, 0, 70, 12, 0, 1, 99, 3, 0, 2}, 6), uint64(1)<<40, uint16(250), uint8(1))
	f.Add([]byte{9, 1, 1, 3, 240, 30, 2, 4, 20, 0, 3, 5}, uint64(7), uint16(0), uint8(2))
	suites := []*cipher.Suite{cipher.AES128GCM(), cipher.AES256GCM(), cipher.AES128CTRHMAC80(), cipher.AES256CTRHMAC80()}
	f.Fuzz(func(t *testing.T, shape []byte, kid uint64, skip uint16, which uint8) {
		s := suites[int(which)%len(suites)]
		skipUnavailable(t, s)
		base := random(int(skip), s.BaseKeySize())
		one, many := must(s.NewSealKey(cipher.KeyID(kid), base, startAt(uint64(skip)))), must(s.NewSealKey(cipher.KeyID(kid), base, startAt(uint64(skip))))
		n := min(len(shape)/4, 40)
		if n == 0 {
			return
		}
		memory := make([]byte, n*1000)
		frames, wants := make([]cipher.Frame, n), make([][]byte, n)
		place := func(i, size int) []byte {
			switch at := memory[1000*i:]; shape[4*i+2] % 4 {
			case 0:
				return at[:0:900]
			case 1:
				return nil
			case 2:
				return at[:0:min(size, 900)]
			default:
				return at[:3:40]
			}
		}
		for i := range frames {
			size := int(shape[4*i]) * (1 + 2*int(shape[4*i+2]>>7))
			f := &frames[i]
			f.Src, f.AAD = random(i, size), random(i, int(shape[4*i+1])%70)
			f.Dst = place(i, size+20)
			wants[i] = must(one.Seal(slices.Clone(f.Dst), f.Src, f.AAD))
		}
		if failed := many.SealBatch(frames); failed != 0 {
			t.Fatalf("%s: %d failed", s, failed)
		}
		sealed := make([][]byte, n)
		for i := range frames {
			if !bytes.Equal(frames[i].Dst, wants[i]) {
				t.Fatalf("%s: frame %d of %d, %d bytes: not what Seal gives", s, i, n, len(frames[i].Src))
			}
			in := slices.Clone(wants[i][len(place(i, 0)):])
			switch how := shape[4*i+3]; how % 8 {
			case 1:
				in[int(how)%len(in)] ^= 1 << (how >> 5)
			case 2:
				in = in[:int(how>>3)%len(in)]
			case 3:
				if i > 0 {
					in = sealed[int(how>>3)%i]
				}
			}
			sealed[i] = in
		}
		a, b := must(s.NewOpenKey(cipher.KeyID(kid), base)), must(s.NewOpenKey(cipher.KeyID(kid), base))
		memory = make([]byte, len(memory)) // all was zero
		for i := range frames {
			frames[i] = cipher.Frame{Src: sealed[i], AAD: frames[i].AAD, Dst: place(i, len(sealed[i])), Err: cipher.ErrShort}
		}
		a.OpenBatch(frames)
		for i := range frames {
			f := &frames[i]
			want, err := b.Open(slices.Clone(place(i, 0)), sealed[i], f.AAD)
			if err != f.Err || !bytes.Equal(want, f.Dst) {
				t.Fatalf("%s: frame %d of %d: batch gives %v and %d bytes, Open %v and %d", s, i, n, f.Err, len(f.Dst), err, len(want))
			}
			if spare := f.Dst[len(f.Dst):cap(f.Dst)]; err != nil && bytes.Count(spare, []byte{0}) != len(spare) {
				t.Fatalf("%s: frame %d of %d: something of what is refused is left", s, i, n)
			}
		}
	})
}
