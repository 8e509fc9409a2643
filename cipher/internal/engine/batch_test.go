package engine

import (
	"bytes"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// TestGCMBatch mixes keys of both sizes and all tiers, lengths, long and short
// AAD, in place and apart, and some forged frames: a batch must do what calls
// one by one do.
func TestGCMBatch(t *testing.T) {
	needGCM(t)
	r := source(50)
	var pairs []*gcmPair
	for _, tr := range tiers() {
		for _, size := range []int{16, 16, 32} {
			pairs = append(pairs, newGCMPair(t, fill(r, size), tr))
		}
	}
	rounds := 400
	if long {
		rounds = 40_000
	}
	for range rounds {
		frames := make([]GCMFrame, r.Uint64()%20)
		texts, wants := make([][]byte, len(frames)), make([][]byte, len(frames))
		oneKey := r.Uint64()%2 == 0
		for i := range frames {
			v := r.Uint64()
			p := pairs[v>>8%uint64(len(pairs))]
			if oneKey {
				p = pairs[len(pairs)-1-int(v>>8%3%2)]
			}
			n := int(v >> 16 % 300)
			if v>>60 == 0 {
				n = int(v >> 16 % 3000)
			}
			if v>>56&0xff == 3 {
				n += maxPiece
			}
			f := &frames[i]
			aad := fill(r, int(v>>32%20))
			if v>>52&7 == 0 {
				aad = fill(r, int(v>>32%100))
			}
			texts[i] = fill(r, n)
			lo := r.Uint64()
			*f = makeFrame(&p.ours, nil, nil, uint32(v), lo, aad)
			wants[i] = p.std.Seal(nil, stdNonce(uint32(v), lo), texts[i], aad)
			f.Dst = make([]byte, n+TagSize)
			f.Src = bytes.Clone(texts[i])
			if v>>40&1 == 1 {
				copy(f.Dst, texts[i])
				f.Src = f.Dst[:n]
			}
		}
		SealBatch(frames)
		for i := range frames {
			if !bytes.Equal(frames[i].Dst, wants[i]) {
				t.Fatalf("batch of %d: frame %d, %d bytes: sealed text differs", len(frames), i, len(texts[i]))
			}
		}
		forged := map[int]bool{}
		for i := range frames {
			f := &frames[i]
			f.Src = f.Dst
			if r.Uint64()%2 == 0 {
				f.Src = bytes.Clone(f.Dst)
			}
			switch r.Uint64() % 12 {
			case 0:
				f.Src[int(r.Uint64()>>33)%len(f.Src)] ^= 4
				forged[i] = true
			case 1:
				f.Src = f.Src[:r.Uint64()%TagSize]
				forged[i] = true
			}
		}
		OpenBatch(frames)
		for i := range frames {
			f := &frames[i]
			n := max(0, len(f.Src)-TagSize)
			want := texts[i]
			if forged[i] {
				want = make([]byte, n)
			}
			if f.OK == forged[i] || len(f.Src) >= TagSize && !bytes.Equal(f.Dst[:n], want) {
				t.Fatalf("batch of %d: frame %d, %d bytes, forged %v: opened %v", len(frames), i, n, forged[i], f.OK)
			}
		}
	}
}

// TestGCMBatchEveryLength has all lengths of the kernels for short frames in one batch,
// forwards, backwards and each by two, and refuses each frame of a batch in turn.
func TestGCMBatchEveryLength(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(51)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			for _, order := range []func(i int) int{
				func(i int) int { return i }, func(i int) int { return 199 - i }, func(i int) int { return i / 2 }, func(i int) int { return i * 83 % 200 },
			} {
				frames, wants := make([]GCMFrame, 200), make([][]byte, 200)
				for i := range frames {
					text, aad := fill(r, order(i)), fill(r, (i*7)%34)
					wants[i] = p.std.Seal(nil, stdNonce(9, uint64(i)), text, aad)
					frames[i] = makeFrame(&p.ours, make([]byte, len(wants[i])), text, 9, uint64(i), aad)
				}
				SealBatch(frames)
				for i := range frames {
					if !bytes.Equal(frames[i].Dst, wants[i]) {
						t.Fatalf("AES-%d: frame %d of %d bytes differs", 8*size, i, len(frames[i].Src))
					}
				}
			}
			const most = 7
			step := 11
			if long {
				step = 1
			}
			for bad := range most {
				for bit := bad; bit < 8*(20+TagSize); bit += step {
					frames := make([]GCMFrame, most)
					for i := range frames {
						text, aad := fill(r, 20), fill(r, 5)
						sealed := p.std.Seal(nil, stdNonce(9, uint64(i)), text, aad)
						if i == bad {
							sealed[bit/8] ^= 1 << (bit % 8)
						}
						frames[i] = makeFrame(&p.ours, text, sealed, 9, uint64(i), aad)
					}
					OpenBatch(frames)
					for i := range frames {
						if f := &frames[i]; f.OK == (i == bad) || !f.OK && !bytes.Equal(f.Dst, make([]byte, 20)) {
							t.Fatalf("AES-%d: bit %d of frame %d flipped: frame %d opened %v, %x", 8*size, bit, bad, i, f.OK, f.Dst)
						}
					}
				}
			}
		}
	})
}

// FuzzGCMBatch cuts frames out of the input, two lengths and a key's number each, and
// has a batch of them do what the standard library does.
func FuzzGCMBatch(f *testing.F) {
	f.Add([]byte{96, 12, 0, 20, 3, 1, 170, 30, 2, 0, 0, 0}, uint64(1))
	f.Add(bytes.Repeat([]byte{100, 15, 0}, 9), uint64(1)<<40)
	f.Fuzz(func(t *testing.T, shape []byte, lo uint64) {
		r := source(lo)
		for _, tr := range tiers() {
			keys := []*gcmPair{newGCMPair(t, fill(r, 16), tr), newGCMPair(t, fill(r, 16), tr), newGCMPair(t, fill(r, 32), tr)}
			var frames []GCMFrame
			var wants [][]byte
			for s := shape; len(s) >= 3 && len(frames) < 300; s = s[3:] {
				p, text, aad := keys[int(s[2])%len(keys)], fill(r, int(s[0])), fill(r, int(s[1])%64)
				nonce := lo + uint64(len(frames))
				wants = append(wants, p.std.Seal(nil, stdNonce(1, nonce), text, aad))
				frames = append(frames, makeFrame(&p.ours, make([]byte, len(text)+TagSize), text, 1, nonce, aad))
			}
			SealBatch(frames)
			for i := range frames {
				if !bytes.Equal(frames[i].Dst, wants[i]) {
					t.Fatalf("%v: frame %d differs", tr, i)
				}
				frames[i].Src, frames[i].Dst = frames[i].Dst, make([]byte, len(frames[i].Src))
			}
			OpenBatch(frames)
			for i := range frames {
				if !frames[i].OK {
					t.Fatalf("%v: frame %d is refused", tr, i)
				}
			}
		}
	})
}

func TestGCMBatchAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	needGCM(t)
	eachTier(t, func(t *testing.T, tr tier) {
		var g GCM
		if err := g.init(make([]byte, 16), tr); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10*(100+TagSize))
		if a := testing.AllocsPerRun(20, func() {
			var frames [10]GCMFrame
			for i := range frames {
				b := buf[i*(100+TagSize):][:100+TagSize]
				frames[i] = GCMFrame{Key: &g, Dst: b, Src: b[:100], Nonce: [2]uint64{uint64(i)}}
			}
			SealBatch(frames[:])
			for i := range frames {
				frames[i].Src = frames[i].Dst
			}
			OpenBatch(frames[:])
			if !frames[9].OK {
				t.Error("refused")
			}
		}); a != 0 {
			t.Errorf("%v allocations", a)
		}
	})
}
