package engine

import (
	"bytes"
	"crypto/aes"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// TestCTRBatch mixes lengths, keys, kernels and changed frames.
func TestCTRBatch(t *testing.T) {
	rounds := 300
	if long {
		rounds = 30_000
	}
	wide := wideSHA
	defer func() { wideSHA = wide }()
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(70)
		pairs := make([]macPair, 4)
		for i := range pairs {
			p := &pairs[i]
			*p = macPair{key: fill(r, 16+16*(i/3)), mk: fill(r, 32), tag: []int{10, 8, 4, 10}[i]}
			if err := p.ours.init(p.key, p.mk, p.tag, tr, cpuSHA() && i != 2); err != nil {
				t.Fatal(err)
			}
			p.block, _ = aes.NewCipher(p.key)
		}
		for round := range rounds {
			v := r.Uint64()
			batch := make([]CTRFrame, v%14)
			texts, aads, wants := make([][]byte, len(batch)), make([][]byte, len(batch)), make([][]byte, len(batch))
			for i := range batch {
				u := r.Uint64()
				p := &pairs[0]
				if v>>8&3 == 0 {
					p = &pairs[u%4]
				}
				n := 96
				if v>>10&1 == 0 {
					n = int(u >> 2 % uint64(50<<(v>>12&3)))
				}
				if u>>40&63 == 0 {
					n = int(u >> 8 % 4000)
				}
				texts[i], aads[i] = fill(r, n), fill(r, int(u>>50%31))
				p.frame(&batch[i], uint32(u), r.Uint64(), aads[i], int(u>>44&7))
				wants[i] = p.seal(batch[i].Hi, batch[i].Lo, texts[i], aads[i])
				batch[i].Src, batch[i].Dst = bytes.Clone(texts[i]), make([]byte, len(wants[i])+1)
				if u>>60&1 == 1 { // in place
					copy(batch[i].Dst, texts[i])
					batch[i].Src = batch[i].Dst[:n]
				}
			}
			wideSHA = canWide && round%3 > 0 // both ways, where there are two
			SealCTRBatch(batch)
			for i := range batch {
				f := &batch[i]
				if got := f.Dst[: len(wants[i]) : len(wants[i])+1]; !bytes.Equal(got, wants[i]) || got[:len(got)+1][len(got)] != 0 {
					t.Fatalf("round %d, %d frames: frame %d of %d bytes, sealed text differs", round, len(batch), i, len(texts[i]))
				}
				f.Src, f.Dst = f.Dst[:len(wants[i])], bytes.Repeat([]byte{0xa5}, len(texts[i]))
				if f.Lo&7 == 0 {
					f.Src[f.Lo>>3%uint64(len(f.Src))] ^= 0x10
				}
			}
			OpenCTRBatch(batch)
			for i := range batch {
				f := &batch[i]
				if want := f.Lo&7 != 0; f.OK != want {
					t.Fatalf("round %d: frame %d: OK is %v, want %v", round, i, f.OK, want)
				} else if want && !bytes.Equal(f.Dst, texts[i]) {
					t.Fatalf("round %d: frame %d: text differs", round, i)
				} else if !want && len(bytes.Trim(f.Dst, "\xa5")) > 0 {
					t.Fatalf("round %d: frame %d was refused, and its Dst touched", round, i)
				}
			}
		}
	})
}

func TestCTRBatchAllocs(t *testing.T) {
	if raceflag.Enabled || enforced() {
		t.Skip("allocation counts mean nothing here")
	}
	eachMAC(t, func(t *testing.T, p *macPair) {
		src, dst := make([]byte, 2000), make([]byte, 2000)
		for _, n := range []int{5, 96, 1200} {
			if a := testing.AllocsPerRun(5, func() {
				var aad [12]byte
				var fs [8]CTRFrame
				for i := range fs {
					fs[i].Key, fs[i].Dst, fs[i].Src, fs[i].AAD = &p.ours, dst, src[:n], aad[:]
				}
				SealCTRBatch(fs[:])
				for i := range fs {
					fs[i].Dst, fs[i].Src = src, dst[:n+p.tag]
				}
				OpenCTRBatch(fs[:])
			}); a != 0 {
				t.Errorf("%s: %d bytes: %v allocations", p.name, n, a)
			}
		}
	})
}
