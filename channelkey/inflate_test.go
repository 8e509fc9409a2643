package channelkey

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"testing"
)

// reference inflates with the standard library: the content, and how many bytes of
// the stream are left over.
func referenceInflate(src []byte, max int) (out []byte, left int, ok bool) {
	r := bytes.NewReader(src)
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, 0, false
	}
	out, err = io.ReadAll(io.LimitReader(z, int64(max)+1))
	if err != nil || len(out) > max {
		return nil, 0, false
	}
	return out, r.Len(), true
}

func checkInflate(t *testing.T, src []byte, max int) {
	t.Helper()
	want, left, ok := referenceInflate(src, max)
	got, n, err := inflate([]byte("abc"), src, max)
	if (err == nil) != ok {
		t.Fatalf("%x: %v, the standard library says %v", src, err, ok)
	}
	if ok && (!bytes.Equal(got, append([]byte("abc"), want...)) || n != len(src)-left) {
		t.Fatalf("%x: inflates to %x, taking %d bytes, want %x and %d", src, got[3:], n, want, len(src)-left)
	}
	if n > len(src) || len(got) > 3+max {
		t.Fatalf("%x: took %d bytes, gave %d", src, n, len(got))
	}
}

func deflated(data []byte, level int) []byte {
	var b bytes.Buffer
	z, _ := zlib.NewWriterLevel(&b, level)
	z.Write(data)
	z.Close()
	return b.Bytes()
}

// TestInflate compares with the standard library, over kinds of data, levels, cuts,
// tails, limits and single flipped bits.
func TestInflate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := bytes.Repeat([]byte("the card can be used to enter for five minutes, "), 40)
	noise, few := make([]byte, 3000), make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	for i := range few { // a few symbols, very unlike in number: long codes
		few[i] = byte(min(rnd.ExpFloat64()*3, 200))
	}
	far := append(bytes.Repeat(noise, 10), noise...) // copies from near and as far as DEFLATE can
	for i := range 20 {
		far = append(far, far[len(far)-32768+i*97:][:60]...)
		far = append(far, byte(i))
	}
	for _, data := range [][]byte{nil, {7}, text, noise, few, far, make([]byte, MaxPayload), make([]byte, MaxPayload+1)} {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			z := deflated(data, level)
			for _, max := range []int{0, len(data) - 1, len(data), MaxPayload} {
				if max >= 0 {
					checkInflate(t, z, max)
				}
			}
			checkInflate(t, append(bytes.Clone(z), 0), MaxPayload)
			for range 40 {
				checkInflate(t, z[:rnd.IntN(len(z))], MaxPayload)
				flipped := bytes.Clone(z)
				flipped[rnd.IntN(len(z))] ^= 1 << rnd.IntN(8)
				checkInflate(t, flipped, MaxPayload)
			}
		}
	}
}

func FuzzInflate(f *testing.F) {
	for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
		f.Add(deflated([]byte("abcabcabcabcdabc"), level))
		f.Add(deflated(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, 300), level))
	}
	f.Add([]byte("\x78\x9c\x03\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, src []byte) {
		checkInflate(t, src, 1<<12)
		// Behind a good header, and without the checksum in the way.
		checkInflate(t, append([]byte{0x78, 0x9c}, src...), 1<<12)
		want, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(src)), 1<<12+1))
		got, _, mine := inflate(nil, append([]byte{0x78, 0x9c}, src...), 1<<12)
		if err == nil && len(want) <= 1<<12 && mine != errTooBig && !bytes.Equal(got, want) {
			t.Fatalf("%x: inflates to %x, want %x", src, got, want)
		}
	})
}
