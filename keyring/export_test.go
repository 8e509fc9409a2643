package keyring

import (
	"maps"
	"slices"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// SetDraw replaces how a ring draws instance numbers.
func SetDraw(r *Ring, draw func() uint64) { r.draw = draw }

// SetClock replaces a ring's clock.
func SetClock(r *Ring, now func() time.Time) { r.now = now }

// EvictedKIDs returns the KIDs that had to leave a Receiver's table.
func EvictedKIDs(r *Receiver) []cipher.KeyID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.gone))
}
