package keyserver

import (
	"crypto/hpke"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
)

// snapshot is what members are given at a moment. Its secrets are wiped when the last
// one who uses it has released it.
type snapshot struct {
	mu   sync.Mutex
	refs int

	keys   api.Keys     // with secrets
	plain  []byte       // keys in JSON
	blind  *blindSource // nil: the ring has the secrets
	active uint64       // number of the active epoch
	staged bool         // the next epoch is there
}

func newSnapshot(h *keyring.Handout, keeper string) (*snapshot, error) {
	s := &snapshot{refs: 1, keys: api.Keys{Channel: h.Channel, Keeper: keeper, Revision: h.Revision, GraceSeconds: int64(h.Grace.Seconds()), Epochs: []api.Epoch{}}}
	for i := range h.Keys {
		k := &h.Keys[i]
		e := api.Epoch{Epoch: k.Number, Kind: k.Kind.String(), State: api.StateActive, Suite: k.SuiteName, SuiteID: uint16(k.Suite), Fingerprint: k.Fingerprint, Barred: k.Barred, Secret: k.Secret()}
		if k.State == keyring.Staged {
			e.State = api.StateStaged
			s.staged = true
			if !k.ActivateAt.IsZero() {
				e.ActivateAt = k.ActivateAt.UnixMilli()
			}
		} else {
			e.Activated = k.Activated.UnixMilli()
			s.active = k.Number
		}
		s.keys.Epochs = append(s.keys.Epochs, e)
	}
	for _, g := range h.Retiring {
		s.keys.Epochs = append(s.keys.Epochs, api.Epoch{Epoch: g.Number, State: api.StateRetiring, Until: g.Until.UnixMilli()})
	}
	var err error
	if s.plain, err = json.Marshal(&s.keys); err != nil {
		return nil, fmt.Errorf("keyserver: %w", err)
	}
	return s, nil
}

func (s *snapshot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs--; s.refs > 0 {
		return
	}
	clear(s.plain)
	for i := range s.keys.Epochs {
		clear(s.keys.Epochs[i].Secret)
	}
}

// newer reports whether s tells members something that old does not. The record changes
// for other reasons, too, and an epoch becomes active at its moment without a change.
func (s *snapshot) newer(old *snapshot) bool {
	if old == nil {
		return true
	}
	if s.keys.Revision < old.keys.Revision {
		return false
	}
	same := func(a, b api.Epoch) bool {
		return a.Epoch == b.Epoch && a.State == b.State && a.ActivateAt == b.ActivateAt && a.Until == b.Until
	}
	return slices.ContainsFunc(s.keys.Epochs, func(e api.Epoch) bool {
		return !slices.ContainsFunc(old.keys.Epochs, func(o api.Epoch) bool { return same(e, o) })
	}) || s.staged != old.staged || s.blind != nil && s.keys.Revision > old.keys.Revision
}

// bars reports whether members refuse a sender number in an epoch that lives.
func (s *snapshot) bars(number uint16) bool {
	return slices.ContainsFunc(s.keys.Epochs, func(e api.Epoch) bool {
		_, found := slices.BinarySearch(e.Barred, number)
		return found
	})
}

// revision is the one of what a member is given: of a blind channel, when their bundle came.
func (s *snapshot) revision(m *member) uint64 {
	if s.blind != nil {
		return s.blind.bundleOf(m).revision
	}
	return s.keys.Revision
}

// etag names what a member is given.
func (s *snapshot) etag(m *member) string {
	return `"` + strconv.FormatUint(s.revision(m), 10) + "-" + strconv.FormatUint(s.active, 10) + `"`
}

// since returns the epochs that a member may be given who may have none before a number.
// The secrets are the snapshot's own.
func (s *snapshot) since(first uint64) api.Keys {
	k := s.keys
	k.Epochs = make([]api.Epoch, 0, len(s.keys.Epochs))
	for _, e := range s.keys.Epochs {
		if e.State == api.StateRetiring || e.Epoch >= first {
			k.Epochs = append(k.Epochs, e)
		}
	}
	return k
}

// body returns the epochs as this member gets them, in JSON. The caller does not change
// it, and uses it before it releases the snapshot.
func (s *snapshot) body(m *member) ([]byte, error) {
	to := m.wrapTo()
	if s.blind == nil && to == nil && (len(s.keys.Epochs) == 0 || m.first <= s.keys.Epochs[0].Epoch) {
		return s.plain, nil
	}
	k, err := s.forMember(m, to)
	if err != nil {
		return nil, err
	}
	return json.Marshal(k)
}

// forMember returns the epochs as a member gets them: with a public key, without their
// secrets, which are wrapped to it.
func (s *snapshot) forMember(m *member, to hpke.PublicKey) (k api.Keys, err error) {
	k = s.since(m.first)
	if s.blind != nil {
		b := s.blind.bundleOf(m)
		k.Bundle, k.Revision = b.bytes, b.revision
		return k, nil
	}
	if to != nil {
		k.Wrapped, err = wrap(to, m.id, &k)
	}
	return k, err
}
