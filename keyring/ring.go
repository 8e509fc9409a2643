package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/clock"
)

// Options of [Open] and [Create].
type Options struct {
	// KEKs open the ring: any one that fits. A new ring is wrapped by all.
	KEKs []KEK
	// Suites are the custom suites that channels of this ring may use, beside
	// the built-in ones.
	Suites []*cipher.Suite
	// Witness remembers what was seen, over restarts, so that a store that went back
	// is noticed; nil remembers nothing. The Ring closes it.
	Witness *Witness
	// Now is the wall clock, for tests; nil for the system's. A Ring takes no notice of one
	// that is set back: epochs begin and end when they would have.
	Now func() time.Time
}

// Ring holds channels. It is safe for concurrent use.
type Ring struct {
	store  Store
	ringID []byte
	keks   []KEK         // open the header again when it changed
	fresh  sync.Mutex    // one renewal at a time
	draw   func() uint64 // draws an instance number; replaced by tests
	now    func() time.Time

	witness *Witness // nil: nothing is remembered over restarts

	mu    sync.Mutex
	root  secret // empty once closed
	old   secret // the root key before it, while records are resealed; else empty
	names secret // what channels' names are hashed under; empty: it follows from root
	fence uint64 // the header's revision that these keys are of

	generation uint64 // how often the root key was renewed
	suites     []*cipher.Suite
	seen       map[string]uint64 // the highest revision of each channel's record that was seen
	followers  map[string]*follower
	stopWatch  context.CancelFunc // ends the goroutine that waits for changes
	running    sync.WaitGroup     // it, and those of the followers
}

const channelPrefix = "c/"

// Create makes a ring in an empty store. ErrRingExists says that there is one;
// a store that holds anything else is ErrDamaged.
func Create(ctx context.Context, store Store, o Options) (*Ring, error) {
	if err := noRing(ctx, store); !errors.Is(err, ErrNoRing) {
		if err == nil {
			err = ErrRingExists
		}
		return nil, err
	}
	root, h := newSecret(), newHeader()
	defer root.wipe()
	if err := h.wrap(root, o.KEKs); err != nil {
		return nil, err
	}
	rev, err := store.CAS(ctx, headerKey, h.encode(root), 0)
	if errors.Is(err, ErrConflict) {
		return nil, ErrRingExists
	} else if err != nil {
		return nil, fmt.Errorf("keyring: create the ring: %w", err)
	}
	return newRing(store, h, root.clone(), rev, o)
}

// noRing returns nil if there is a ring's header, ErrNoRing if the store is empty.
func noRing(ctx context.Context, store Store) error {
	_, err := store.Get(ctx, headerKey)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrNotFound) {
		if err = each(ctx, store, "", func(Entry) error { return errStop }); err == nil {
			return ErrNoRing
		}
	}
	if errors.Is(err, errStop) {
		return fmt.Errorf("keyring: the store holds records, but no ring's header: %w", ErrDamaged)
	}
	return fmt.Errorf("keyring: look for a ring: %w", err)
}

// Open opens the ring in a store. It makes none: ErrNoRing says that the store
// is empty, ErrLocked that no KEK fits. [Ring.Close] closes the store.
func Open(ctx context.Context, store Store, o Options) (*Ring, error) {
	e, err := store.Get(ctx, headerKey)
	if errors.Is(err, ErrNotFound) {
		if err = noRing(ctx, store); err == nil {
			err = ErrConflict // made just now
		}
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: open the ring: %w", err)
	}
	h, root, err := openHeader(e.Value, o.KEKs)
	if err != nil {
		return nil, err
	}
	return newRing(store, h, root, e.Rev, o)
}

// newRing takes over root.
func newRing(store Store, h *header, root secret, rev uint64, o Options) (*Ring, error) {
	c, err := h.carried(root)
	if err != nil {
		root.wipe()
		return nil, err
	}
	defer c.wipe()
	return &Ring{
		store: store, ringID: slices.Clone(h.ringID), keks: slices.Clone(o.KEKs), root: root, old: c.old.clone(), names: c.names.clone(), generation: c.generation, fence: rev, witness: o.Witness, draw: drawInstance, now: clock.New(o.Now).Now,
		suites: slices.Clone(o.Suites), seen: map[string]uint64{}, followers: map[string]*follower{},
	}, nil
}

// drawInstance returns 40 random bits.
func drawInstance() uint64 {
	var b [8]byte
	rand.Read(b[8-instanceBits/8:])
	return binary.BigEndian.Uint64(b[:])
}

// Close ends all Senders and Receivers, wipes the ring's secrets and closes the store.
func (r *Ring) Close() error {
	r.mu.Lock()
	if r.root.key == nil {
		r.mu.Unlock()
		return nil
	}
	for _, k := range []*secret{&r.root, &r.old, &r.names} {
		k.wipe()
		*k = secret{}
	}
	r.keks = nil
	followers := r.followers
	r.followers = map[string]*follower{}
	if r.stopWatch != nil {
		r.stopWatch()
		r.stopWatch = nil
	}
	r.mu.Unlock()
	for _, f := range followers {
		f.shut()
	}
	r.running.Wait()
	return errors.Join(r.store.Close(), r.witness.Close())
}

// ID identifies the ring: 16 random bytes, in hexadecimal. A copy has the same.
func (r *Ring) ID() string { return hex.EncodeToString(r.ringID) }

// Format prints no field: some hold secrets.
func (r *Ring) Format(s fmt.State, _ rune) { io.WriteString(s, "keyring.Ring("+redacted+")") }

// key returns a copy of the root key for the caller to wipe.
func (r *Ring) key() (secret, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root.key == nil {
		return secret{}, ErrClosed
	}
	return r.root.clone(), nil
}

// channelID is the keyed hash a channel is stored under:
// HMAC-SHA-256(HKDF-SHA-256(root key, ring ID, "chanseal 1 channel names", 32), name), its first 16 bytes, in hexadecimal.
func (r *Ring) channelID(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	k, err := r.nameKey()
	if err != nil {
		return "", err
	}
	defer k.wipe()
	m := hmac.New(sha256.New, k.key[:])
	m.Write([]byte(name))
	return hex.EncodeToString(m.Sum(nil)[:16]), nil
}

// takeSet is where a store records the instances of an epoch.
func takeSet(id string, epoch uint64) string {
	return "t/" + id + "/" + strconv.FormatUint(epoch, 10)
}

// known returns the highest revision of a channel's record that this Ring saw. It
// is asked before the record is read: what is read then is no older, or the store
// went back. (Two reads at once may end in either order.)
func (r *Ring) known(key string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[key]
}

// open opens a channel's record and checks that it is the one of this key, and of
// revision known or later.
func (r *Ring) open(e Entry, known uint64) (*state, error) {
	root, err := r.keyOf(kindChannel, e)
	if err != nil {
		return nil, err
	}
	defer root.wipe()
	payload, format, revision, err := openFormat(root, kindChannel, e.Key, e.Value)
	if err != nil {
		return nil, err
	}
	defer clear(payload)
	st, err := decodeState(format, payload)
	if err != nil {
		return nil, err
	}
	st.revision = revision
	if id, err := r.channelID(st.name); err != nil || channelPrefix+id != e.Key {
		st.wipe()
		return nil, fmt.Errorf("keyring: a channel's record has another channel's name: %w", ErrDamaged)
	}
	if revision < known {
		st.wipe()
		return nil, fmt.Errorf("keyring: revision %d of a channel's record, but %d was seen: %w", revision, known, ErrRollback)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[e.Key] = max(r.seen[e.Key], revision)
	st.advance(r.now())
	return st, nil
}

// load reads a channel's record. ErrNotFound is left to the caller.
func (r *Ring) load(ctx context.Context, id string) (st *state, rev uint64, err error) {
	for {
		known, keys := r.known(channelPrefix+id), r.keysOf()
		seen := r.witness.epoch(r.ringID, channelPrefix+id) // before the record is read, like known: another process may go on meanwhile
		e, err := r.store.Get(ctx, channelPrefix+id)
		if err != nil {
			if errors.Is(err, ErrNotFound) && (known > 0 || seen > 0) {
				return nil, 0, fmt.Errorf("keyring: a channel's record is gone: %w", ErrRollback)
			}
			return nil, 0, err
		}
		st, err = r.open(e, known)
		if errors.Is(err, ErrDamaged) { // or it was sealed under a root key that is newer than ours
			if renewed, rerr := r.renew(ctx, keys); rerr != nil {
				return nil, 0, rerr
			} else if renewed {
				continue
			}
		}
		if err != nil {
			return nil, 0, err
		}
		if st.top() < seen {
			top := st.top()
			st.wipe()
			return nil, 0, fmt.Errorf("keyring: epoch %d is a channel's newest, but epoch %d was seen: %w", top, seen, ErrRollback)
		}
		r.witness.note(r.ringID, e.Key, st.top())
		return st, e.Rev, nil
	}
}

// save writes st as the next revision of the record that has rev in the store.
func (r *Ring) save(ctx context.Context, id string, st *state, rev uint64) error {
	payload := st.encode()
	defer clear(payload)
	_, err := r.write(ctx, channelPrefix+id, rev, func(root secret) ([]byte, error) {
		return sealRecord(root, kindChannel, channelPrefix+id, st.revision+1, payload)
	})
	if err != nil {
		return err
	}
	st.revision++
	r.witness.note(r.ringID, channelPrefix+id, st.top())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[channelPrefix+id] = max(r.seen[channelPrefix+id], st.revision)
	return nil
}

// suite finds a suite by its number.
func (r *Ring) suite(id cipher.SuiteID) (*cipher.Suite, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.suites {
		if s.ID() == id {
			return s, nil
		}
	}
	s, err := cipher.ByID(id)
	if err != nil {
		return nil, fmt.Errorf("suite %#04x: %w", uint16(id), ErrNoSuite)
	}
	return s, nil
}

// ChannelOptions of [Ring.Create]; the zero value is a good choice.
type ChannelOptions struct {
	Suite  *cipher.Suite // nil is AES-128-GCM
	Policy Policy
}

// Create makes a channel with one active epoch: number 1, or, if a channel of
// that name was forgotten, the next number after it.
func (r *Ring) Create(ctx context.Context, name string, o ChannelOptions) (*Channel, error) {
	sec := newSecret()
	defer sec.wipe()
	return r.create(ctx, name, o, Random, sec)
}

// create makes the first epoch of a secret, which it copies.
func (r *Ring) create(ctx context.Context, name string, o ChannelOptions, kind Kind, sec secret) (*Channel, error) {
	id, err := r.channelID(name)
	if err != nil {
		return nil, err
	}
	policy, err := o.Policy.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Suite == nil {
		o.Suite = cipher.AES128GCM()
	}
	if o.Suite.Custom() {
		r.mu.Lock()
		if !slices.Contains(r.suites, o.Suite) {
			r.suites = append(r.suites, o.Suite)
		}
		r.mu.Unlock()
	}
	st, rev, err := r.load(ctx, id)
	if errors.Is(err, ErrNotFound) {
		st = &state{name: name}
	} else if err != nil {
		return nil, fmt.Errorf("keyring: create the channel %q: %w", name, err)
	}
	defer st.wipe()
	if rev != 0 && (st.active() != nil || st.staged() != nil) {
		return nil, fmt.Errorf("%w: %q", ErrChannelExists, name)
	}
	if err := st.mayMake(); err != nil {
		return nil, fmt.Errorf("keyring: create the channel %q: %w", name, err)
	}
	st.policy, st.suite = policy, o.Suite.ID()
	now := r.now()
	if _, err := st.append(now, "", kind, sec.clone()); err != nil {
		return nil, err
	}
	if err := st.activate(now); err != nil {
		return nil, err
	}
	if err := r.save(ctx, id, st, rev); errors.Is(err, ErrConflict) {
		return nil, fmt.Errorf("%w: %q", ErrChannelExists, name)
	} else if err != nil {
		return nil, fmt.Errorf("keyring: create the channel %q: %w", name, err)
	}
	return &Channel{ring: r, name: name, id: id}, nil
}

// Channel returns the channel of that name; ErrNoChannel if there is none. A
// channel that was forgotten is still there, without any secret.
func (r *Ring) Channel(ctx context.Context, name string) (*Channel, error) {
	id, err := r.channelID(name)
	if err != nil {
		return nil, err
	}
	st, _, err := r.load(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %q", ErrNoChannel, name)
	} else if err != nil {
		return nil, fmt.Errorf("keyring: open the channel %q: %w", name, err)
	}
	st.wipe()
	return &Channel{ring: r, name: name, id: id}, nil
}

// Channels describes all channels, in the order of their names. Those that were
// forgotten have Epoch 0.
func (r *Ring) Channels(ctx context.Context) ([]Info, error) {
	r.mu.Lock()
	known := maps.Clone(r.seen)
	r.mu.Unlock()
	var out []Info
	err := each(ctx, r.store, channelPrefix, func(e Entry) error {
		st, err := r.open(e, known[e.Key])
		if errors.Is(err, ErrDamaged) { // if it is not: resealed since it was read
			st, _, err = r.load(ctx, strings.TrimPrefix(e.Key, channelPrefix))
		}
		if err != nil {
			return err
		}
		out = append(out, r.describe(st, r.now()))
		st.wipe()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keyring: list the channels: %w", err)
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
