package cipher_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// shortBatch is n frames of the lengths that length gives, whose rooms lie in one piece of
// memory with four guard bytes and a prefix of two around each.
func shortBatch(n, overhead int, length func(i int) int, aad int) (frames []cipher.Frame, intact func() bool) {
	const guard = 0x5a
	memory := bytes.Repeat([]byte{guard}, n*400)
	frames = make([]cipher.Frame, n)
	for i := range frames {
		at := 400*i + 4
		frames[i] = cipher.Frame{Dst: memory[at:][: 2 : length(i)+overhead+2], Src: random(i, length(i)), AAD: random(i, aad), Err: cipher.ErrAuth}
	}
	return frames, func() bool {
		for i := range frames {
			room := memory[400*i:][:400]
			end := 4 + len(frames[i].Dst)
			if bytes.Count(room[:6], []byte{guard}) != 6 || bytes.Count(room[end:], []byte{guard}) != 400-end {
				return false
			}
		}
		return true
	}
}

// TestBatchOfShortFrames has batches that go through the engine in runs, of every number
// of frames round a run's and with headers of many lengths, do what Seal and Open do.
func TestBatchOfShortFrames(t *testing.T) {
	if _, err := gcm(make([]byte, 16)); err != nil {
		t.Skip(err)
	}
	const mixed = -1
	for _, s := range []*cipher.Suite{cipher.AES128GCM(), cipher.AES256GCM()} {
		for _, kid := range []cipher.KeyID{1, 9, 1 << 20, 1 << 40, 1 << 63} {
			for _, base := range []int{0, 40, 100, 160, mixed} {
				for n := 1; n < 20; n++ {
					name := fmt.Sprintf("%s, KID %d, %d frames from %d bytes on", s, kid, n, base)
					key := random(n, s.BaseKeySize())
					one, many, open, again := must(s.NewSealKey(kid, key, cipher.FreshKey)), must(s.NewSealKey(kid, key, cipher.FreshKey)), must(s.NewOpenKey(kid, key)), must(s.NewOpenKey(kid, key))
					// Rounds begin on both sides of counters at which the header gets longer; a batch over them is TestBatchHeaderGrows's.
					for round := range 3 {
						skip := []int{8, 256 - n/2, 0}[round]
						for range skip {
							must(one.Seal(nil, nil, nil))
							must(many.Seal(nil, nil, nil))
						}
						length, aad := func(i int) int { return base + i%9 }, 12
						if base == mixed {
							length, aad = func(i int) int { return i * 97 % 300 }, 30*(round%2)
						}
						frames, intact := shortBatch(n, 40, length, aad)
						if failed := many.SealBatch(frames); failed != 0 || !intact() {
							t.Fatalf("%s: %d failed, or guard bytes were written", name, failed)
						}
						back, intact := shortBatch(n, 40, length, aad)
						for i := range frames {
							want := must(one.Seal(nil, random(i, length(i)), frames[i].AAD))
							if !bytes.Equal(frames[i].Dst[2:], want) || frames[i].Err != nil {
								t.Fatalf("%s, frame %d: not what Seal gives: %x, want %x", name, i, frames[i].Dst[2:], want)
							}
							if got, err := open.Open(nil, want, frames[i].AAD); err != nil || !bytes.Equal(got, random(i, length(i))) {
								t.Fatalf("%s, frame %d: %v", name, i, err)
							}
							back[i].Src = want
						}
						if failed := again.OpenBatch(back); failed != 0 || !intact() {
							t.Fatalf("%s: opening: %d failed, or guard bytes were written", name, failed)
						}
						for i := range back {
							if !bytes.Equal(back[i].Dst[2:], random(i, length(i))) || back[i].Err != nil {
								t.Fatalf("%s, frame %d: opened wrongly: %v", name, i, back[i].Err)
							}
						}
					}
				}
			}
		}
	}
}

// TestBatchOfShortFramesRefuses has one frame of a run be forged, of another key, sent
// twice, too old, or too short: it alone fails, with Open's error, and nothing of it is
// left.
func TestBatchOfShortFramesRefuses(t *testing.T) {
	if _, err := gcm(make([]byte, 16)); err != nil {
		t.Skip(err)
	}
	s := cipher.AES128GCM()
	const n, size = 8, 100
	length := func(int) int { return size }
	for at := range n {
		for name, c := range map[string]struct {
			change func(src []byte) []byte
			want   error
		}{
			"forged":      {func(b []byte) []byte { b[len(b)-3] ^= 1; return b }, cipher.ErrAuth},
			"text":        {func(b []byte) []byte { b[20] ^= 1; return b }, cipher.ErrAuth},
			"another KID": {func(b []byte) []byte { b[0] ^= 0x10; return b }, cipher.ErrUnknownKey},
			"header of another form": {func(b []byte) []byte {
				return append([]byte{b[0] | 1, 0}, b[1:]...)
			}, cipher.ErrMalformed},
			"cut": {func(b []byte) []byte { return b[:10] }, cipher.ErrShort},
		} {
			key := random(at, s.BaseKeySize())
			seal, open := must(s.NewSealKey(1, key, cipher.FreshKey)), must(s.NewOpenKey(1, key))
			for range 20 {
				must(seal.Seal(nil, nil, nil))
			}
			frames, _ := shortBatch(n, 40, length, 12)
			if seal.SealBatch(frames) != 0 {
				t.Fatal("does not seal")
			}
			back, intact := shortBatch(n, 40, length, 12)
			for i := range back {
				if back[i].Src = frames[i].Dst[2:]; i == at {
					back[i].Src = c.change(bytes.Clone(back[i].Src))
				}
			}
			if failed := open.OpenBatch(back); failed != 1 {
				t.Fatalf("%s, frame %d: %d failed", name, at, failed)
			}
			for i := range back {
				want := append([]byte{0x5a, 0x5a}, random(i, size)...)
				if i == at {
					want = want[:2]
				}
				if ok := i != at; ok != (back[i].Err == nil) || !ok && !errors.Is(back[i].Err, c.want) || !bytes.Equal(back[i].Dst, want) {
					t.Fatalf("%s, frame %d: frame %d: %v", name, at, i, back[i].Err)
				}
			}
			// Of the refused frame's room only what is behind its text may be other than it was, or 0.
			back[at].Dst = append(back[at].Dst, back[at].Dst[2:cap(back[at].Dst)]...)
			for _, b := range back[at].Dst[2:] {
				if b != 0 && b != 0x5a {
					t.Fatalf("%s, frame %d: something of it is left", name, at)
				}
			}
			if !intact() {
				t.Fatalf("%s, frame %d: guard bytes were written", name, at)
			}
			// The same again: now the others are replays, of which nothing may be left, either.
			spare := func(f *cipher.Frame) []byte { return f.Dst[2:cap(f.Dst)] }
			for i := range back {
				back[i].Dst = back[i].Dst[:2]
				clear(spare(&back[i]))
			}
			if failed := open.OpenBatch(back); failed != n {
				t.Fatalf("%s, frame %d: of the same again %d fail", name, at, failed)
			}
			for i := range back {
				if b := spare(&back[i]); bytes.Count(b, []byte{0}) != len(b) {
					t.Fatalf("%s, frame %d: something of frame %d, a replay, is left", name, at, i)
				}
			}
			// All as they were: each is a replay but for the one refused.
			for i := range back {
				back[i].Dst = back[i].Dst[:2]
				back[i].Src = frames[i].Dst[2:]
			}
			if failed := open.OpenBatch(back); failed != n-1 || back[at].Err != nil {
				t.Fatalf("%s, frame %d: of all again %d fail, the one left %v", name, at, failed, back[at].Err)
			}
			for i := range back {
				if i != at && back[i].Err != cipher.ErrReplayed {
					t.Fatalf("%s, frame %d again: %v", name, i, back[i].Err)
				}
			}
		}
	}
}

// TestBatchOfShortFramesTwice has two copies of one frame in a run, and frames in any order.
func TestBatchOfShortFramesTwice(t *testing.T) {
	if _, err := gcm(make([]byte, 16)); err != nil {
		t.Skip(err)
	}
	s := cipher.AES128GCM()
	const n = 8
	for i := range n {
		for j := range n {
			seal, open := must(s.NewSealKey(1, make([]byte, 32), cipher.FreshKey)), must(s.NewOpenKey(1, make([]byte, 32)))
			for range 28 { // the run goes over the end of one of the window's blocks
				must(seal.Seal(nil, nil, nil))
			}
			frames, _ := shortBatch(n, 40, func(int) int { return 70 }, 0)
			seal.SealBatch(frames)
			back, _ := shortBatch(n, 40, func(int) int { return 70 }, 0)
			for k := range back {
				back[k].Src = frames[(k*3+1)%n].Dst[2:]
			}
			back[j].Src = back[i].Src
			want := 0
			if i != j {
				want = 1
			}
			failed := open.OpenBatch(back)
			if later := max(i, j); failed != want || i != j && (back[later].Err != cipher.ErrReplayed || len(back[later].Dst) != 2) {
				t.Fatalf("frames %d and %d are one: %d failed, %v", i, j, failed, back[max(i, j)].Err)
			}
		}
	}
}

// TestBatchOfShortFramesLongForm has an honest but wrong sender spell one counter of a
// run in more bytes than it takes: the tag is right, the form is not.
func TestBatchOfShortFramesLongForm(t *testing.T) {
	if _, err := gcm(make([]byte, 16)); err != nil {
		t.Skip(err)
	}
	s, base := cipher.AES128GCM(), random(1, 32)
	r := references[s.Name()]
	key, salt := r.keys(1, base)
	for _, c := range []struct {
		size  int
		wrong uint64
	}{{1, 7}, {2, 255}, {4, 1<<24 - 1}} {
		back, _ := shortBatch(8, 40, func(int) int { return 64 }, 5)
		for i := range back {
			ctr := 1<<(8*c.size-1) + uint64(i)
			if i == 3 {
				ctr = c.wrong
			}
			h := []byte{0x18 | byte(c.size-1)}
			for k := c.size - 1; k >= 0; k-- {
				h = append(h, byte(ctr>>(8*k)))
			}
			nonce := xor(salt, binary.BigEndian.AppendUint64(make([]byte, 4), ctr))
			back[i].Src = append(h, r.seal(key, nonce, append(h[:len(h):len(h)], back[i].AAD...), random(i, 64))...)
		}
		if failed := must(s.NewOpenKey(1, base)).OpenBatch(back); failed != 1 || back[3].Err != cipher.ErrMalformed {
			t.Errorf("counter %d in %d bytes: %d failed, the one with %v", c.wrong, c.size, failed, back[3].Err)
		}
	}
}
