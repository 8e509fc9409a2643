//go:build amd64 && !purego

package engine

//go:noescape
func cpuid(leaf, sub uint32) (a, b, c, d uint32)

func xgetbv() (a uint32)

// cpuTier asks CPUID for the best tier this CPU and this system can run. An
// extension counts only if the system saves its registers (XCR0).
func cpuTier() tier {
	const (
		pclmul, aes, osxsave, avx = 1 << 1, 1 << 25, 1 << 27, 1 << 28             // leaf 1, ECX
		bmi1, avx2, bmi2          = 1 << 3, 1 << 5, 1 << 8                        // leaf 7, EBX
		avx512                    = 1<<16 | 1<<17 | 1<<30 | 1<<31                 // F, DQ, BW, VL
		vbmi, vaes, vpclmul       = 1 << 1, 1 << 9, 1 << 10                       // leaf 7, ECX
		ymm, zmm                  = 1<<1 | 1<<2, 1<<1 | 1<<2 | 1<<5 | 1<<6 | 1<<7 // XCR0
	)
	top, _, _, _ := cpuid(0, 0)
	if top < 7 {
		return generic
	}
	_, _, c1, _ := cpuid(1, 0)
	if !has(c1, pclmul|aes|osxsave|avx) {
		return generic
	}
	saved := xgetbv()
	_, b7, c7, _ := cpuid(7, 0)
	if !has(saved, ymm) || !has(b7, bmi1|avx2|bmi2) || !has(c7, vaes|vpclmul) {
		return generic
	}
	if !has(saved, zmm) || !has(b7, avx512) || !has(c7, vbmi) {
		return avx2VAES
	}
	return avx512VAES
}

// cpuSHA asks CPUID for the SHA extensions and the SSE they are used with.
func cpuSHA() bool {
	const ssse3, sse41, sha = 1 << 9, 1 << 19, 1 << 29 // leaf 1, ECX; leaf 7, EBX
	top, _, _, _ := cpuid(0, 0)
	if top < 7 {
		return false
	}
	_, _, c1, _ := cpuid(1, 0)
	_, b7, _, _ := cpuid(7, 0)
	return has(c1, ssse3|sse41) && has(b7, sha)
}

// cpuAMD asks CPUID whether the CPU is one of AMD's.
func cpuAMD() bool {
	_, b, c, d := cpuid(0, 0)
	return b == 0x68747541 && d == 0x69746e65 && c == 0x444d4163 // "Auth" "enti" "cAMD"
}

func has(word, bits uint32) bool { return word&bits == bits }
