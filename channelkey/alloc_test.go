package channelkey

import (
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// TestAllocations: verifying dk1 to dk4 allocates nothing, whether it ends well or
// with a refusal; the others stay within a few.
func TestAllocations(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("counts mean nothing under the race detector")
	}
	v := newVerifier(t, testApp(), Policy{})
	for n, s := range samples() {
		token := mint(t, s.card)
		limit := 0.0
		switch s.card.Format {
		case DK5:
			limit = 3
		case V006:
			limit = 2
		case V007:
			limit = 2
		}
		good := testing.AllocsPerRun(200, func() {
			if _, err := v.Verify(token, s.claim); err != nil {
				t.Fatal(err)
			}
		})
		other := s.claim
		other.Channel, other.User, other.At = "hall", UID(9), at(299)
		bad := testing.AllocsPerRun(200, func() {
			if _, err := v.Verify(token, other); err == nil && s.card.Format != DK1 {
				t.Fatal("accepted")
			}
		})
		if good > limit || bad > limit {
			t.Errorf("%s #%d: %v allocations to accept, %v to refuse, at most %v wanted", s.card.Format, n, good, bad, limit)
		}
		t.Logf("%s #%d: %v and %v", s.card.Format, n, good, bad)
	}
}
