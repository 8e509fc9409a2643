package cipher

import "github.com/chanseal/chanseal/cipher/internal/engine"

// Engine names the AES kernels that this program's keys use, for reports:
// "avx512-vaes", "avx2-vaes", or "generic", which is the standard library. It is chosen
// once, at start, by CPUID, GODEBUG (cpu.avx512f=off, cpu.all=off), the build tag purego
// and FIPS mode.
func Engine() string { return engine.Tier() }
