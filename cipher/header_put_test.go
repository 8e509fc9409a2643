package cipher

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestPutApart: the faster way writes the same header, in any room.
func TestPutApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shift := rapid.IntRange(0, 63)
		kid, ctr := rapid.Uint64().Draw(t, "kid")>>shift.Draw(t, "shift"), rapid.Uint64().Draw(t, "ctr")>>shift.Draw(t, "shift")
		h := newHeaderTemplate(KeyID(kid))
		size := h.len(ctr)
		var want [MaxHeader]byte
		h.put(want[:], ctr)
		got := make([]byte, rapid.IntRange(size, 40).Draw(t, "room"))
		h.putApart(got, ctr)
		if !bytes.Equal(got[:size], want[:size]) {
			t.Fatalf("KID %#x, CTR %#x: %x, want %x", kid, ctr, got[:size], want[:size])
		}
		for _, b := range got[min(len(got), MaxHeader):] {
			if b != 0 {
				t.Fatal("wrote beyond the longest header")
			}
		}
	})
}
