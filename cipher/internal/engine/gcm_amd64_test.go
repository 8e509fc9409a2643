//go:build amd64 && !purego

package engine

import (
	"testing"
	"unsafe"

	"github.com/chanseal/chanseal/cipher/internal/engine/regprobe"
)

// TestKernelsLeaveNoRegisters looks at the vector registers right after kernels
// of every path: nothing in Z16-Z31 nor above bit 127 may be left, no copy of a
// secret in the rest, and the CPU must call the upper halves initial, since a
// dirty one slows all SSE code that follows (section 4 of AMD's and 15.3 of
// Intel's optimization manuals).
func TestKernelsLeaveNoRegisters(t *testing.T) {
	if cpuTier() != avx512VAES {
		t.Skip("no AVX-512 to look at")
	}
	xgetbv1 := false
	if a, _, _, _ := cpuid(0xd, 1); a&4 != 0 {
		xgetbv1 = true
	}
	upper := uint32(1<<2 | 1<<6 | 1<<7)
	if xgetbv1 {
		regprobe.Dirty()
		if regprobe.InUse()&upper != upper {
			t.Log("this CPU does not track register use; only values are checked")
			xgetbv1 = false
		}
	}
	var regs [32][64]byte
	regprobe.Dump(&regs)
	if regs[20][0] != 0xff || regs[3][63] != 0xff {
		t.Fatal("the negative control left no mark")
	}
	if xgetbv1 {
		// Dump cleared all by the same instructions as the kernels. Some CPUs call
		// Z16-Z31 in use from then on all the same; those have no penalty for it.
		if upper &^= regprobe.InUse() & (1 << 7); upper&(1<<7) == 0 {
			t.Log("this CPU goes on calling Z16-Z31 in use when they are zero; their values are checked")
		}
	}
	r := source(9)
	for _, size := range []int{16, 32} {
		k := newGCMKey(fill(r, size), avx512VAES)
		buf, aad := fill(r, 8192+TagSize), fill(r, 16)
		page := uintptr(unsafe.Pointer(&buf[0])) & 4095
		var st gcmState
		check := func(name string) {
			if xgetbv1 {
				if in := regprobe.InUse(); in&upper != 0 {
					t.Errorf("%s leaves register files %#x in use", name, in&upper)
				}
			}
			regprobe.Dump(&regs)
			for i, z := range regs {
				from := 16
				if i >= 16 {
					from = 0
				}
				if [64]byte(z) != [64]byte{} && string(z[from:]) != string(make([]byte, 64-from)) {
					t.Errorf("%s, AES-%d: Z%d keeps %x", name, 8*size, i, z[from:])
				}
			}
		}
		seal, open, sealBody, openBody := seal128AVX512, open128AVX512, sealBody128AVX512, openBody128AVX512
		if size == 32 {
			seal, open, sealBody, openBody = seal256AVX512, open256AVX512, sealBody256AVX512, openBody256AVX512
		}
		for _, n := range []int{0, 1, 64, 100, 512, 513, 1024, 1200, 8192} {
			// From the start, and so that the last vector crosses a page and is bounced.
			for _, at := range []int{0, int((4096 - page) & 4095)} {
				if at+n > 8192 {
					continue
				}
				p := &buf[at]
				sealed := unsafe.Slice(p, n+TagSize)
				frame := makeFrame(&GCM{asm: k}, sealed, sealed[:n], 1, 5, aad)
				seal(&frame, 1)
				check("seal")
				frame.Src = sealed
				open(&frame, 1)
				check("open")
				if !frame.OK {
					t.Fatalf("open refuses %d bytes", n)
				}
			}
		}
		sealShort, openShort := sealShort128AVX512, openShort128AVX512
		if size == 32 {
			sealShort, openShort = sealShort256AVX512, openShort256AVX512
		}
		for v := 1; v <= 3; v++ {
			for count := 1; count <= 5; count++ {
				frames := make([]GCMFrame, count)
				for i := range frames {
					sealed := buf[256*i:][:64*v-16+TagSize]
					frames[i] = makeFrame(&GCM{asm: k}, sealed, sealed[:64*v-16], 1, uint64(i), aad)
				}
				sealShort(&frames[0], count, v)
				check("sealShort")
				for i := range frames {
					frames[i].Src = frames[i].Dst
				}
				openShort(&frames[0], count, v)
				check("openShort")
				for i := range frames {
					if !frames[i].OK {
						t.Fatalf("openShort refuses frame %d of %d", i, count)
					}
				}
			}
		}
		for v := 1; v <= runVectorsMost; v++ {
			for count := 1; count <= RunMost; count++ {
				var run GCMRun
				n := 64*v - 16
				least := n
				if count%3 == 0 { // as if others were shorter
					least = 0
				}
				if run.Salt[0] = 3; !run.Init(&GCM{asm: k}, 7) || !run.Fit(least, n, len(aad)) {
					t.Fatal("no kernel for runs")
				}
				frames, memory := make([]RunFrame, count), make([]byte, 300*count)
				for i := range frames {
					frames[i].Dst, frames[i].Src, frames[i].AAD = memory[300*i:][:0:300], buf[:n], aad
				}
				run.Seal(frames)
				check("seal of a run")
				for i := range frames {
					frames[i].Dst = frames[i].Dst[:0]
				}
				if sealed, _ := run.SealShort(frames, nil); !sealed {
					t.Fatal("SealShort does not seal")
				}
				check("seal of a run of short ones")
				frames[count-1].Dst = frames[count-1].Dst[:300]
				if sealed, _ := run.SealShort(frames, nil); sealed {
					t.Fatal("SealShort seals without room")
				}
				check("a run of short ones that is not taken")
				frames[count-1].Dst = frames[count-1].Dst[:7+n+TagSize]
				for i := range frames {
					frames[i].Src, frames[i].Dst = frames[i].Dst, make([]byte, 0, n)
				}
				if !run.Open(frames) {
					t.Fatal("a run does not open")
				}
				check("open of a run")
				if frames[0].Src[9] ^= 1; run.Open(frames) {
					t.Fatal("a run opens with a changed frame")
				}
				check("refusal of a run")
			}
		}
		lone := loneCase{g: GCM{asm: k}}
		for _, n := range []int{0, 48, 96, 150, 300, 1200} {
			sealed := make([]byte, 5+n+TagSize)
			lone.seal(sealed, []byte("12345"), aad, 7)
			if !lone.g.Open(buf[:n], sealed, aad, 5, 7, &lone.salt) {
				t.Fatalf("Open refuses %d bytes", n)
			}
			check("open of one frame")
			if lone.g.SealOne(sealed, buf[:n], aad, 0x0504030201, 0, 5, 7, &lone.salt) {
				check("seal of one frame")
			} else if n <= OneText && n&63 <= oneLast && !atPageEnd(&sealed[0], n, 5) && !atPageEnd(&buf[0], n, 0) && !atPageEnd(&aad[0], 0, -5) {
				t.Fatalf("SealOne does not take %d bytes", n)
			}
			lone.seal(sealed, []byte("12345"), aad, 7)
			if sealed[2] ^= 1; lone.g.Open(buf[:n], sealed, aad, 5, 7, &lone.salt) {
				t.Fatal("opens a changed frame")
			}
		}
		sealBody(k, &buf[0], &buf[0], 8192, 1, 2, &st)
		check("sealBody")
		openBody(k, &buf[0], &buf[0], 8192, 1, 2, &st)
		check("openBody")
		for _, n := range []int{1, 63, 64, 4000} {
			hashAVX512(k, &st.y, &buf[0], n)
			check("hash")
		}
		var c CTRHMAC
		if err := c.init(fill(r, size), fill(r, 32), 10, avx512VAES, cpuSHA()); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{16, 64, 100, 1200, 1536, 4096, 70000} {
			if c.asm == nil {
				break
			}
			text := fill(r, n+10+4096)
			page := uintptr(unsafe.Pointer(&text[0])) & 4095
			for _, at := range []int{0, int((4096 - uintptr(n) - page) & 4095)} { // the last vector is bounced
				var f CTRFrame
				f.Key, f.Dst, f.Src, f.AAD, f.HeadLen = &c, text[at:], text[at:][:n], aad[:12], 3
				f.Seal()
				check("seal with HMAC")
				f.Dst, f.Src = text[at:], text[at:][:n+10]
				if !f.Open() {
					t.Fatalf("CTR with HMAC does not open %d bytes", n)
				}
				check("open with HMAC")
				if f.Src[1] ^= 1; f.Open() {
					t.Fatal("opens a changed frame")
				}
				check("refusal with HMAC")
			}
		}
		for _, b := range []struct{ n, count int }{{16, 4}, {96, 4}, {1536, 4}, {16, 8}, {96, 6}, {512, 8}, {1300, 8}} {
			if c.asm == nil {
				break
			}
			fs := make([]CTRFrame, b.count)
			for i := range fs {
				fs[i].Key, fs[i].Dst, fs[i].Src, fs[i].AAD, fs[i].HeadLen = &c, make([]byte, b.n+10), buf[:b.n], aad[:12], 3
			}
			SealCTRBatch(fs)
			check("seal of several with HMAC")
			for i := range fs {
				fs[i].Src = fs[i].Dst
			}
			OpenCTRBatch(fs)
			check("open of several with HMAC")
			if fs[3].Src[0] ^= 1; !fs[0].OK || !fs[b.count-1].OK {
				t.Fatal("several frames do not open")
			}
			OpenCTRBatch(fs)
			check("refusal of one of several with HMAC")
		}
		s, x, x2 := &k.rk, newXTSKey(fill(r, size), fill(r, size), avx512VAES), newXTSKey(fill(r, size), fill(r, size), avx2VAES)
		var tweak [16]byte
		for _, n := range []int{1, 16, 100, 512, 513, 2000, 8192} {
			for _, at := range []int{0, int((4096 - page) & 4095)} {
				if at+n > 8192 {
					continue
				}
				p := buf[at : at+n]
				s.ctr(p, p, 1, 2)
				check("ctr")
				if n < 16 {
					continue
				}
				for _, tw := range []*[16]byte{nil, &tweak} {
					x.crypt(p[:n&^15], p[:n&^15], 1, 2, tw, true)
					check("xts encrypt")
					x.crypt(p[:n&^15], p[:n&^15], 1, 2, tw, false)
					check("xts decrypt")
					x2.crypt(p[:n&^15], p[:n&^15], 1, 2, tw, true)
					check("xts encrypt with AVX2")
					x2.crypt(p[:n&^15], p[:n&^15], 1, 2, tw, false)
					check("xts decrypt with AVX2")
				}
			}
		}
	}
}
