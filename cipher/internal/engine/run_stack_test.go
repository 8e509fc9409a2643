//go:build amd64 && !purego

package engine

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// TestRunLeavesNoStack looks below the stack's end right after a run was sealed for what is nearly the
// first round key: the first words of the blocks that are encrypted, salt XOR key.
func TestRunLeavesNoStack(t *testing.T) {
	eachRunKey(t, func(t *testing.T, c *runCase, r *rand.ChaCha8) {
		for v := 1; v <= runVectorsMost; v++ {
			for count := 1; count <= 3; count++ {
				memory, src := make([]byte, 300*count), fill(r, 64*v-16)
				frames := make([]RunFrame, count)
				for i := range frames {
					frames[i].Dst, frames[i].Src = memory[300*i:][:0:300], src
				}
				var run GCMRun
				if run.Salt = c.salt; !run.Init(&c.g, 7) {
					t.Fatal("no kernel")
				}
				grow()
				// Inverted, lest what is looked for lie there because it is.
				not := ^(run.Salt[0] ^ *(*uint64)(unsafe.Pointer(run.key)))
				sealed, _ := run.SealShort(frames, nil)
				if below(not) || !sealed {
					t.Errorf("%d vectors, %d frames: sealed %v; the first round key is left on the stack", v, count, sealed)
				}
			}
		}
	})
}

const stackSeen = 2048

// grow makes sure that so much of the stack can be looked at.
//
//go:noinline
func grow() byte {
	var b [2 * stackSeen]byte
	return b[len(grown)]
}

var grown = make([]byte, 7)

// below reports whether a word of which not is the inverse lies below the stack's end.
//
//go:noinline
func below(not uint64) bool {
	var here uint64
	for at := 8; at < stackSeen; at += 8 {
		if *(*uint64)(unsafe.Add(unsafe.Pointer(&here), -at))^not == ^uint64(0) {
			return true
		}
	}
	return false
}
