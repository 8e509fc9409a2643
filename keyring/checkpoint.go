package keyring

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/chanseal/chanseal/cipher"
)

// A checkpoint is a Receiver's memory of what it opened:
//
//	"chanseal checkpoint" ‖ version (1 byte, 1) ‖ str(the channel's keyed hash) ‖
//	BE32(number of key IDs) ‖ for each, in the order in which they came: BE64(KID) ‖ BE64(epoch) ‖ BE16(suite) ‖
//	  BE32(length) ‖ replay window ‖ BE32(length) ‖ replay window of the short KID (empty if it was not used)
//	‖ BE32(number of key IDs that had to leave) ‖ for each: BE64(KID) ‖ BE64(epoch)
//	‖ HMAC-SHA-256(HKDF-SHA-256(key of channels' names, ring ID, "chanseal 1 checkpoint", 32), all before)
//
// The windows are those of [cipher.OpenKey.AppendReplayState].
const (
	checkpointMagic   = "chanseal checkpoint"
	checkpointVersion = 1
)

// Checkpoint returns the Receiver's memory of what it opened, for
// ReceiverOptions.Checkpoint of one that takes its place after a restart: what is in it does
// not open again. What is opened after it is not in it. It holds no secret; the ring
// authenticates it, but cannot tell an older one from the newest.
func (r *Receiver) Checkpoint() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return nil, ErrClosed
	}
	b := str(append([]byte(checkpointMagic), checkpointVersion), r.f.ch.id)
	entries := r.table.all()
	slices.SortFunc(entries, func(a, b *kidEntry) int { return cmp.Compare(a.serial, b.serial) })
	b = binary.BigEndian.AppendUint32(b, uint32(len(entries)))
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e.kid))
		b = binary.BigEndian.AppendUint64(b, e.origin.Epoch)
		b = binary.BigEndian.AppendUint16(b, uint16(e.key.Suite().ID()))
		b = appendBlock(b, e.key.AppendReplayState(nil))
		var short []byte
		if k := e.short.Load(); k != nil {
			short = k.key.AppendReplayState(nil)
		}
		b = appendBlock(b, short)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.gone)))
	for kid, epoch := range r.gone {
		b = binary.BigEndian.AppendUint64(b, uint64(kid))
		b = binary.BigEndian.AppendUint64(b, epoch)
	}
	mac, err := r.f.ch.ring.checkpointMAC(b)
	if err != nil {
		return nil, err
	}
	return append(b, mac...), nil
}

func appendBlock(b, block []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(block))), block...)
}

func (d *decoder) block() []byte { return d.next(int(min(d.u32(), 1<<30))) }

// checkpointMAC is under a key that a renewed root key does not change.
func (r *Ring) checkpointMAC(b []byte) ([]byte, error) {
	names, err := r.nameKey()
	if err != nil {
		return nil, err
	}
	defer names.wipe()
	key := names.derive(r.ringID, "chanseal 1 checkpoint", sha256.Size)
	defer clear(key)
	m := hmac.New(sha256.New, key)
	m.Write(b)
	return m.Sum(nil), nil
}

// restore takes a checkpoint in, before the Receiver is used.
func (r *Receiver) restore(b []byte) error {
	wrong := func(what string) error {
		return fmt.Errorf("keyring: the receiver's checkpoint %s: %w", what, ErrDamaged)
	}
	if len(b) < len(checkpointMagic)+1+sha256.Size || string(b[:len(checkpointMagic)]) != checkpointMagic {
		return wrong("is none")
	}
	if v := b[len(checkpointMagic)]; v != checkpointVersion {
		return fmt.Errorf("keyring: a receiver's checkpoint of version %d: %w", v, ErrVersion)
	}
	body := b[:len(b)-sha256.Size]
	mac, err := r.f.ch.ring.checkpointMAC(body)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, b[len(body):]) {
		return wrong("does not authenticate: it is of another ring, or altered")
	}
	d := decoder{b: body[len(checkpointMagic)+1:]}
	if d.str() != r.f.ch.id {
		return wrong("is of another channel")
	}
	for n := d.u32(); n > 0 && !d.bad; n-- {
		o := ParseKID(cipher.KeyID(d.u64()))
		o.Epoch = d.u64()
		id, window, short := cipher.SuiteID(d.u16()), d.block(), d.block()
		if d.bad {
			break
		}
		if err := r.restoreKID(o, id, window, short); err != nil {
			return err
		}
	}
	for n := d.u32(); n > 0 && !d.bad; n-- {
		kid, epoch := cipher.KeyID(d.u64()), d.u64()
		r.gone[kid] = epoch
	}
	if !d.done() {
		return wrong("is not well formed")
	}
	return nil
}

// suiteByID finds a suite among those that the Receiver tries.
func (r *Receiver) suiteByID(id cipher.SuiteID) (*cipher.Suite, error) {
	for _, s := range r.suites {
		if s.ID() == id {
			return s, nil
		}
	}
	return r.f.ch.ring.suite(id)
}

// opensEpoch reports whether the Receiver opens anything of an epoch.
func (r *Receiver) opensEpoch(number uint64) bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if r.f.st == nil {
		return false
	}
	now := r.f.ch.ring.now()
	r.f.st.advance(now)
	e := r.f.st.epoch(number)
	return e != nil && (e.live(now) || r.archive && e.state != Forgotten)
}

// restoreKID puts a key ID back into the table, unless its epoch is over.
func (r *Receiver) restoreKID(o Origin, suiteID cipher.SuiteID, window, short []byte) error {
	if !r.opensEpoch(o.Epoch) {
		return nil
	}
	secret, ok := r.f.secretOf(o.Epoch)
	if !ok {
		return nil
	}
	defer secret.wipe()
	suite, err := r.suiteByID(suiteID)
	if err != nil {
		return fmt.Errorf("keyring: the receiver's checkpoint: %w", err)
	}
	base, err := baseKey(suite, secret, r.f.ch.name, o)
	if err != nil {
		return err
	}
	defer clear(base)
	key, err := suite.NewOpenKeyWindow(o.KID(), base, r.window)
	if err != nil {
		return err
	}
	if err := key.RestoreReplayState(window); err != nil {
		return fmt.Errorf("keyring: the receiver's checkpoint: %w", err)
	}
	r.serial++
	e := &kidEntry{kid: o.KID(), origin: o, key: key, serial: r.serial}
	e.used.Store(true)
	if len(short) > 0 {
		k, err := suite.NewOpenKeyWindow(o.ShortKID(), base, r.window)
		if err == nil {
			err = k.RestoreReplayState(short)
		}
		if err != nil {
			return fmt.Errorf("keyring: the receiver's checkpoint: %w", err)
		}
		e.short.Store(&shortKey{key: k, entry: e})
	}
	r.table.put(e)
	return nil
}
