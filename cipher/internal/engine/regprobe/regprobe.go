//go:build amd64

// Package regprobe lets the engine's tests look at the vector registers a
// kernel leaves behind.
package regprobe

// Dump copies the 32 vector registers of AVX-512 to r and clears them.
//
//go:noescape
func Dump(r *[32][64]byte)

// InUse is XINUSE (XGETBV with ECX 1): a bit for each register file that is not
// in its initial state. Bit 2 is the upper halves of Y0-Y15, bit 6 those of
// Z0-Z15, bit 7 is Z16-Z31. The CPU must have XGETBV1.
func InUse() uint32

// Dirty sets the upper halves of Z0-Z15 and all of Z16-Z31: the negative control.
func Dirty()
