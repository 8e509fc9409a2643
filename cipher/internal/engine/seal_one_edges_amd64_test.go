//go:build unix && !purego

package engine

import (
	"math/rand/v2"
	"testing"
)

// TestGCMSealOneAtPageEdges has all parts against absent pages.
func TestGCMSealOneAtPageEdges(t *testing.T) {
	src, dst, extra := newFence(t, 400), newFence(t, 400), newFence(t, 64)
	eachLone(t, func(t *testing.T, c *loneCase, r *rand.ChaCha8) {
		for n := range 200 {
			headLen, aadLen := 1+n%16, n*7%20
			for bit := range 8 {
				text, out, aad := src.slice(n, bit&1 != 0), dst.slice(headLen+n+TagSize, bit&2 != 0), extra.slice(aadLen, bit&4 != 0)
				r.Read(text)
				r.Read(aad)
				c.sealOne(t, out, fill(r, headLen), text, aad, r.Uint64())
			}
		}
	})
}
