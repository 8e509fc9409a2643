package keyring

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/chanseal/chanseal/cipher"
)

// kidTable finds a key by its KID: without a lock, a write or an allocation when
// reading. Writers are serialised by their owner.
//
// It is a hash table with linear probing that is at most half full. An insertion
// fills one empty slot; a removal builds a new table.
type kidTable struct {
	slots atomic.Pointer[kidSlots]
	count int // entries, for the writers
}

type kidSlots struct {
	factor uint64 // odd and random, so that nobody chooses KIDs that collide
	shift  uint
	slot   []atomic.Pointer[kidEntry]
}

// kidEntry is a KID that authenticated a frame.
type kidEntry struct {
	kid    cipher.KeyID
	origin Origin
	key    *cipher.OpenKey
	short  atomic.Pointer[shortKey] // nil as long as nobody asked for it
	serial uint64                   // grows with every KID that enters
	used   atomic.Bool              // since the last sweep
	idle   int                      // sweeps without use; for the writers
}

const kidTableMin = 6 // log2 of the smallest number of slots

func newKidSlots(bits uint) *kidSlots {
	return &kidSlots{factor: rand.Uint64() | 1, shift: 64 - bits, slot: make([]atomic.Pointer[kidEntry], 1<<bits)}
}

func (s *kidSlots) start(kid cipher.KeyID) int { return int(uint64(kid) * s.factor >> s.shift) }

func (s *kidSlots) put(e *kidEntry) {
	i := s.start(e.kid)
	for s.slot[i].Load() != nil {
		i = (i + 1) & (len(s.slot) - 1)
	}
	s.slot[i].Store(e)
}

// get returns the entry of a KID, or nil.
func (t *kidTable) get(kid cipher.KeyID) *kidEntry {
	s := t.slots.Load()
	if s == nil {
		return nil
	}
	for i := s.start(kid); ; i = (i + 1) & (len(s.slot) - 1) {
		e := s.slot[i].Load()
		if e == nil || e.kid == kid {
			return e
		}
	}
}

// all returns the entries. For writers only.
func (t *kidTable) all() []*kidEntry {
	var out []*kidEntry
	if s := t.slots.Load(); s != nil {
		for i := range s.slot {
			if e := s.slot[i].Load(); e != nil {
				out = append(out, e)
			}
		}
	}
	return out
}

// put adds an entry whose KID is not in the table.
func (t *kidTable) put(e *kidEntry) {
	s := t.slots.Load()
	if s == nil || 2*(t.count+1) > len(s.slot) {
		t.set(append(t.all(), e))
		return
	}
	s.put(e)
	t.count++
}

// set replaces all entries.
func (t *kidTable) set(entries []*kidEntry) {
	bits := uint(kidTableMin)
	for 2*len(entries) > 1<<bits {
		bits++
	}
	s := newKidSlots(bits)
	for _, e := range entries {
		s.put(e)
	}
	t.count = len(entries)
	t.slots.Store(s)
}

// remove takes out the entries that drop names, and returns them.
func (t *kidTable) remove(drop func(*kidEntry) bool) (removed []*kidEntry) {
	var kept []*kidEntry
	for _, e := range t.all() {
		if drop(e) {
			removed = append(removed, e)
		} else {
			kept = append(kept, e)
		}
	}
	if len(removed) > 0 {
		t.set(kept)
	}
	return removed
}
