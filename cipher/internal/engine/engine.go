// Package engine holds the AES and SHA-256 kernels of package cipher: AES-GCM,
// AES-CTR, AES-XTS and HMAC-SHA256, each as assembly for the CPUs that can run
// it and as a portable twin on the standard library.
//
// Which tier serves is decided once, when the program starts, by CPUID, the
// GODEBUG variable, the build tag purego and FIPS mode; every key made later
// keeps it. Nonces come in registers (12 bytes as a big-endian uint32 and a
// big-endian uint64), no call allocates, and all methods but Wipe are safe for
// concurrent use.
//
// Memory: dst and src must be the same memory or must not overlap; the
// kernels do not check (package cipher does, before it calls). No single
// assembly call works for more than about 100 µs, so that the scheduler and
// the collector are never kept waiting; longer frames are cut between calls.
//
// The .s files are written by cipher/_asm; its comments hold register plans,
// schedules and the constant-time review.
package engine

import (
	"crypto/fips140"
	"iter"
	"os"
	"strings"
)

// tier orders the kernels: a CPU that can run one can run those below it.
type tier uint8

const (
	generic    tier = iota // the standard library
	avx2VAES               // VAES and VPCLMULQDQ on 256-bit registers (Zen 3, Alder Lake)
	avx512VAES             // the same on 512-bit registers, with VBMI (Ice Lake, Zen 4)
)

func (t tier) String() string {
	return [...]string{"generic", "avx2-vaes", "avx512-vaes"}[t]
}

// maxPiece is the longest piece of text that one assembly call works on, in
// bytes: under 25 µs here, which leaves slower CPUs a margin. It is a multiple of
// 256 blocks, for GCM's round table.
const maxPiece = 256 << 10

// best is the tier that new keys use.
var best = choose(cpuTier(), os.Getenv("GODEBUG"), fips140.Enabled())

// bestSHA says whether new HMAC keys use the SHA extensions.
var bestSHA = chooseSHA(cpuSHA(), os.Getenv("GODEBUG"), fips140.Enabled())

// Tier names the AES kernels in use: "avx512-vaes", "avx2-vaes" or "generic",
// the standard library.
func Tier() string { return best.String() }

// choose lowers what the CPU can do to what the program is told to use.
// GODEBUG=cpu.NAME=off switches off as in the Go runtime: all, aes, pclmulqdq,
// avx and avx2 leave the generic tier, as does vaes; avx512 and each avx512
// extension leave the AVX2 tier. FIPS mode uses the standard library only.
func choose(can tier, godebug string, fips bool) tier {
	if fips {
		return generic
	}
	for name := range switchedOff(godebug) {
		switch {
		case strings.HasPrefix(name, "avx512"):
			can = min(can, avx2VAES)
		case name == "all", name == "aes", name == "pclmulqdq", name == "vaes", name == "vpclmulqdq",
			name == "avx", name == "avx2", name == "ssse3", name == "sse41":
			can = generic
		}
	}
	return can
}

// chooseSHA is choose for the SHA extensions: all, sha, ssse3 and sse41 switch
// them off.
func chooseSHA(can bool, godebug string, fips bool) bool {
	for name := range switchedOff(godebug) {
		switch name {
		case "all", "sha", "ssse3", "sse41":
			can = false
		}
	}
	return can && !fips
}

// switchedOff yields each NAME of a cpu.NAME=off in GODEBUG's value.
func switchedOff(godebug string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for setting := range strings.SplitSeq(godebug, ",") {
			name, off := strings.CutSuffix(strings.TrimSpace(setting), "=off")
			name, cpu := strings.CutPrefix(name, "cpu.")
			if off && cpu && !yield(name) {
				return
			}
		}
	}
}
