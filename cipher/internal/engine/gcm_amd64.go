//go:build amd64 && !purego

package engine

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// gcmKey is what the kernels of both tiers read. Offsets are fixed: cipher/_asm
// has them as constants.
type gcmKey struct {
	rk     schedule
	pow    [70][2]uint64 // H^66 … H^1, 1, then zeros; byte-reflected, times x
	_      [2][2]uint64
	mids   [70][2]uint64   // of each entry of pow its halves' sum, twice
	_      [2][2]uint64    // pairs starts a cache line
	pairs  [3][4][8]uint64 // Karatsuba tables: low, high and middle halves; four vector pairs
	rounds [256][16]byte   // first-round table, see roundTable
}

const powTop = 66 // the exponent of pow's first entry

// The assembly's idea of the layout.
var (
	_ = [1]struct{}{}[unsafe.Offsetof(gcmKey{}.pow)-256]
	_ = [1]struct{}{}[unsafe.Offsetof(gcmKey{}.mids)-1408]
	_ = [1]struct{}{}[unsafe.Offsetof(gcmKey{}.pairs)-2560]
	_ = [1]struct{}{}[unsafe.Offsetof(gcmKey{}.rounds)-3328]
	_ = [1]struct{}{}[unsafe.Offsetof(gcmState{}.skip)-40]
	_ = [1]struct{}{}[unsafe.Offsetof(GCM{}.asm)-0]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMFrame{}.Src)-32]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMFrame{}.AAD)-56]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMFrame{}.Head)-80]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMFrame{}.HeadLen)-96]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMFrame{}.OK)-100]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMFrame{}.Nonce)-104]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMFrame{}.state)-120]
	_ = [1]struct{}{}[unsafe.Sizeof(GCMFrame{})-128]
)

//go:noescape
func fieldMul(out, a, b *[2]uint64)

//go:noescape
func roundTable(t *[256][16]byte, rk *schedule)

//go:noescape
func seal128AVX512(frames *GCMFrame, count int)

//go:noescape
func sealShort128AVX512(frames *GCMFrame, count, vectors int)

//go:noescape
func sealShort256AVX512(frames *GCMFrame, count, vectors int)

//go:noescape
func seal128AVX2(frames *GCMFrame, count int)

//go:noescape
func seal256AVX512(frames *GCMFrame, count int)

//go:noescape
func seal256AVX2(frames *GCMFrame, count int)

//go:noescape
func open128AVX512(frames *GCMFrame, count int)

//go:noescape
func openShort128AVX512(frames *GCMFrame, count, vectors int)

//go:noescape
func openShort256AVX512(frames *GCMFrame, count, vectors int)

//go:noescape
func open128AVX2(frames *GCMFrame, count int)

//go:noescape
func open256AVX512(frames *GCMFrame, count int)

//go:noescape
func open256AVX2(frames *GCMFrame, count int)

//go:noescape
func sealBody128AVX512(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func sealBody128AVX2(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func sealBody256AVX512(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func sealBody256AVX2(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func openBody128AVX512(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func openBody128AVX2(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func openBody256AVX512(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func openBody256AVX2(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)

//go:noescape
func hashAVX512(k *gcmKey, y *[2]uint64, p *byte, n int)

//go:noescape
func hashAVX2(k *gcmKey, y *[2]uint64, p *byte, n int)

// newGCMKey sets a key up: schedule, powers of H, tables. Nothing here branches
// on or is indexed by key bits.
func newGCMKey(key []byte, t tier) *gcmKey {
	// The tables want cache line alignment, which the allocator does not promise.
	mem := make([]byte, unsafe.Sizeof(gcmKey{})+63)
	k := (*gcmKey)(unsafe.Pointer(&mem[-uintptr(unsafe.Pointer(&mem[0]))&63]))
	var h [16]byte
	k.rk.expand(key, t)
	encryptBlock(&k.rk, k.rk.rounds(), &h, &h)

	// H, reflected, shifted left by one bit and reduced.
	hi, lo := binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])
	clear(h[:])
	carry := -(hi >> 63)
	hi, lo = hi<<1|lo>>63, lo<<1
	k.pow[powTop] = [2]uint64{1, 0xc2 << 56}
	h1 := &k.pow[powTop-1]
	*h1 = [2]uint64{lo ^ carry&1, hi ^ carry&(0xc2<<56)}
	for e := 2; e <= powTop; e++ { // each of two half as high, so that few wait for the one before
		fieldMul(&k.pow[powTop-e], &k.pow[powTop-e/2], &k.pow[powTop-(e-e/2)])
	}
	for i, h := range k.pow {
		k.mids[i] = [2]uint64{h[0] ^ h[1], h[0] ^ h[1]}
	}
	for p := range 4 {
		for lane := range 4 {
			for v := range 2 {
				h := k.pow[powTop-(32-8*p-4*v-lane)]
				k.pairs[0][p][2*lane+v] = h[0]
				k.pairs[1][p][2*lane+v] = h[1]
				k.pairs[2][p][2*lane+v] = h[0] ^ h[1]
			}
		}
	}
	roundTable(&k.rounds, &k.rk)
	return k
}

// maxAAD is the longest piece of AAD that one assembly call hashes, in bytes.
const maxAAD = 64 << 10

// absorb brings y forward by p, zero-padded to whole blocks.
func (k *gcmKey) absorb(y *[2]uint64, p []byte) {
	for len(p) > 0 {
		n := min(len(p), maxAAD)
		if k.rk.kind() >= avx512x128 {
			hashAVX512(k, y, &p[0], n)
		} else {
			hashAVX2(k, y, &p[0], n)
		}
		p = p[n:]
	}
}

// takes says whether one call can take the frame, with a text of n bytes, as it is.
func (k *gcmKey) takes(f *GCMFrame, n int) bool {
	if k.rk.kind() >= avx512x128 {
		return n <= maxPiece && int(f.HeadLen)+len(f.AAD) <= wholeHead
	}
	return n <= maxPiece && f.HeadLen == 0 && len(f.AAD) <= 16
}

// Seal encrypts Src and writes len(Src)+TagSize bytes to Dst. Dst may begin where Src
// begins, else they must not overlap; AAD must not overlap Dst. Seal panics if Dst is
// too short.
func (f *GCMFrame) Seal() {
	f.Dst = f.Dst[:len(f.Src)+TagSize]
	switch k := f.Key.asm; {
	case k == nil:
		f.sealStd()
	case !k.takes(f, len(f.Src)):
		k.sealLong(f)
	case k.rk.kind() == avx512x128: // called from here: one call less counts on a short frame
		seal128AVX512(f, 1)
	case k.rk.kind() == avx512x256:
		seal256AVX512(f, 1)
	default:
		sealFrames(k.rk.kind(), f, 1)
	}
}

// Open decrypts Src, a text and its tag, into the first len(Src)-TagSize bytes of Dst,
// and reports, in OK too, whether the tag was right. If not, those bytes of Dst are
// cleared. A text longer than GCM allows is refused and Dst left. Overlap is as for Seal.
func (f *GCMFrame) Open() bool {
	n := len(f.Src) - TagSize
	if uint64(n) > maxText { // or under 0
		f.OK = false
		return false
	}
	dst := f.Dst[:n]
	switch k := f.Key.asm; {
	case k == nil:
		f.openStd(dst)
	case !k.takes(f, n):
		k.openLong(f)
	case k.rk.kind() == avx512x128:
		open128AVX512(f, 1)
	case k.rk.kind() == avx512x256:
		open256AVX512(f, 1)
	default:
		openFrames(k.rk.kind(), f, 1)
	}
	if !f.OK {
		clear(dst)
	}
	return f.OK
}

// begin fills the state for a frame that one call cannot take as it is, with a text of
// n bytes; tail is for the last piece's AAD, if any is left for it.
func (k *gcmKey) begin(st *gcmState, f *GCMFrame, n int, tail *[joinSize]byte) (aad []byte) {
	if uint64(n) > maxText {
		panic("engine: text too long for GCM")
	}
	aad = f.AAD
	st.aadBits = uint64(int(f.HeadLen)+len(aad)) * 8
	if f.HeadLen > 0 {
		f.putHead(tail[:])
		m := int(f.HeadLen) + copy(tail[f.HeadLen:], aad)
		if m < joinSize {
			aad = tail[:m]
		} else {
			k.absorb(&st.y, tail[:])
			aad = aad[joinSize-int(f.HeadLen):]
		}
	}
	whole := (len(aad) - 1) &^ 15
	if n > maxPiece || len(aad) == 0 {
		whole, st.skip = len(aad), 16
	}
	k.absorb(&st.y, aad[:whole])
	return aad[whole:]
}

func (st *gcmState) advance(n int) {
	st.blocks += uint64(n) / 16
	st.textBits += uint64(n) * 8
}

func sealFrames(kind byte, frames *GCMFrame, count int) {
	switch kind {
	case avx512x128:
		seal128AVX512(frames, count)
	case avx512x256:
		seal256AVX512(frames, count)
	case avx2x128:
		seal128AVX2(frames, count)
	default:
		seal256AVX2(frames, count)
	}
}

func openFrames(kind byte, frames *GCMFrame, count int) {
	switch kind {
	case avx512x128:
		open128AVX512(frames, count)
	case avx512x256:
		open256AVX512(frames, count)
	case avx2x128:
		open128AVX2(frames, count)
	default:
		open256AVX2(frames, count)
	}
}

func (k *gcmKey) sealBody(dst, src *byte, n int, hi uint32, lo uint64, st *gcmState) {
	switch k.rk.kind() {
	case avx512x128:
		sealBody128AVX512(k, dst, src, n, uint64(hi), lo, st)
	case avx512x256:
		sealBody256AVX512(k, dst, src, n, uint64(hi), lo, st)
	case avx2x128:
		sealBody128AVX2(k, dst, src, n, uint64(hi), lo, st)
	default:
		sealBody256AVX2(k, dst, src, n, uint64(hi), lo, st)
	}
}

func (k *gcmKey) openBody(dst, src *byte, n int, hi uint32, lo uint64, st *gcmState) {
	switch k.rk.kind() {
	case avx512x128:
		openBody128AVX512(k, dst, src, n, uint64(hi), lo, st)
	case avx512x256:
		openBody256AVX512(k, dst, src, n, uint64(hi), lo, st)
	case avx2x128:
		openBody128AVX2(k, dst, src, n, uint64(hi), lo, st)
	default:
		openBody256AVX2(k, dst, src, n, uint64(hi), lo, st)
	}
}

// sealLong is Seal for what one call cannot take.
func (k *gcmKey) sealLong(f *GCMFrame) {
	var st gcmState
	var tail [joinSize]byte
	var last GCMFrame
	last.AAD = k.begin(&st, f, len(f.Src), &tail)
	dst, src := f.Dst, f.Src
	hi := bits.ReverseBytes32(uint32(f.Nonce[0]))
	lo := bits.ReverseBytes64(f.Nonce[0]>>32 | f.Nonce[1]<<32)
	for len(src) > maxPiece {
		k.sealBody(&dst[0], &src[0], maxPiece, hi, lo, &st)
		st.advance(maxPiece)
		dst, src = dst[maxPiece:], src[maxPiece:]
	}
	last.Key, last.Dst, last.Src, last.Nonce, last.state = f.Key, dst, src, f.Nonce, &st
	sealFrames(k.rk.kind(), &last, 1)
}

// openLong is Open for what one call cannot take.
func (k *gcmKey) openLong(f *GCMFrame) {
	var st gcmState
	var tail [joinSize]byte
	var last GCMFrame
	last.AAD = k.begin(&st, f, len(f.Src)-TagSize, &tail)
	dst, src := f.Dst, f.Src
	hi := bits.ReverseBytes32(uint32(f.Nonce[0]))
	lo := bits.ReverseBytes64(f.Nonce[0]>>32 | f.Nonce[1]<<32)
	for len(src)-TagSize > maxPiece {
		k.openBody(&dst[0], &src[0], maxPiece, hi, lo, &st)
		st.advance(maxPiece)
		dst, src = dst[maxPiece:], src[maxPiece:]
	}
	last.Key, last.Dst, last.Src, last.Nonce, last.state = f.Key, dst, src, f.Nonce, &st
	openFrames(k.rk.kind(), &last, 1)
	f.OK = last.OK
}
