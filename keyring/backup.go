package keyring

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// A backup holds the ring's records as the store has them, sealed:
//
//	"chanseal ring backup" ‖ version (1 byte, 1) ‖ for each record, the header first: BE16(length of key) ‖ key ‖ BE32(length) ‖ value
//	‖ BE16(0) ‖ BE64(number of records) ‖ HMAC-SHA-256(HKDF-SHA-256(root key, ring ID, "chanseal 1 ring backup", 32), all before)
const (
	backupMagic   = "chanseal ring backup"
	backupVersion = 1
)

// DefaultSkip is how many numbers of epochs Restore leaves out, if not told otherwise.
const DefaultSkip = 16

func backupMAC(root secret, ringID []byte) hash.Hash {
	key := root.derive(ringID, "chanseal 1 ring backup", sha256.Size)
	defer clear(key)
	return hmac.New(sha256.New, key)
}

// Backup writes all that is needed to make the ring again with [Restore], but for what
// opens it: a KEK of the ring is needed then. A backup is as secret as the store: all
// of it is sealed. A ring that is not resealed to the end is refused with ErrResealing.
func (r *Ring) Backup(ctx context.Context, w io.Writer) error {
	if err := r.backup(ctx, w); err != nil {
		return fmt.Errorf("keyring: back the ring up: %w", err)
	}
	return nil
}

func (r *Ring) backup(ctx context.Context, w io.Writer) error {
	_, rev, err := r.header(ctx)
	if err != nil {
		return err
	}
	if r.Resealing() {
		return ErrResealing
	}
	if err := r.knowsAll(ctx); err != nil {
		return err
	}
	head, err := r.store.Get(ctx, headerKey)
	if err != nil {
		return err
	}
	root, err := r.key()
	if err != nil {
		return err
	}
	mac := backupMAC(root, r.ringID)
	root.wipe()
	buffered := bufio.NewWriter(w)
	out := io.MultiWriter(buffered, mac)
	put := func(b []byte) error { _, err := out.Write(b); return err }
	if err := put(append([]byte(backupMagic), backupVersion)); err != nil {
		return err
	}
	count := uint64(0)
	record := func(e Entry) error {
		count++
		b := str(nil, e.Key)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.Value)))
		return put(append(b, e.Value...))
	}
	if err := record(head); err != nil {
		return err
	}
	err = each(ctx, r.store, "", func(e Entry) error {
		if e.Key == headerKey {
			return nil
		}
		return record(e)
	})
	if err != nil {
		return err
	}
	if err := put(binary.BigEndian.AppendUint64([]byte{0, 0}, count)); err != nil {
		return err
	}
	if _, err := buffered.Write(mac.Sum(nil)); err != nil {
		return err
	}
	if _, now, err := r.header(ctx); err != nil {
		return err
	} else if now != rev {
		return fmt.Errorf("the ring was rekeyed meanwhile: begin again: %w", ErrConflict)
	}
	return buffered.Flush()
}

// RestoreOptions of [Restore]; the zero value is a good choice.
type RestoreOptions struct {
	// Skip is how many numbers of epochs are left out, for epochs that were begun
	// after the backup was made: members that saw them take no epoch with one of
	// their numbers, and none with a lower one. 0 is DefaultSkip, -1 is none.
	Skip int
	// Overwrite removes records that are there without a header, as a Restore
	// that was interrupted leaves them.
	Overwrite bool
}

// Restore makes a ring from a backup, in a store that holds none. Every channel begins
// an epoch with a fresh secret, so that nothing is ever sealed under a key that the
// ring, or a copy of it, may have used since; a staged epoch, which others may have
// taken into use, is destroyed. Older epochs still open. In channels that somebody else
// keeps the ring opens, and seals only when it is given sender numbers again.
//
// Until all was read and authenticated, the store has no header, and no ring opens.
func Restore(ctx context.Context, store Store, backup io.Reader, o Options, ro RestoreOptions) (*Ring, error) {
	r, err := restore(ctx, store, backup, o, ro)
	if err != nil {
		return nil, fmt.Errorf("keyring: restore the ring: %w", err)
	}
	return r, nil
}

func restore(ctx context.Context, store Store, backup io.Reader, o Options, ro RestoreOptions) (*Ring, error) {
	if err := vacate(ctx, store, ro.Overwrite); err != nil {
		return nil, err
	}
	in := &backupReader{in: bufio.NewReader(backup)}
	magic := make([]byte, len(backupMagic)+1)
	if err := in.read(magic); err != nil || string(magic[:len(backupMagic)]) != backupMagic {
		return nil, fmt.Errorf("this is no backup of a ring: %w", ErrDamaged)
	}
	if v := magic[len(backupMagic)]; v != backupVersion {
		return nil, fmt.Errorf("a backup of version %d: %w", v, ErrVersion)
	}
	head, err := in.next()
	if err != nil {
		return nil, err
	}
	if head.Key != headerKey {
		return nil, fmt.Errorf("the backup does not begin with the ring's header: %w", ErrDamaged)
	}
	h, root, err := openHeader(head.Value, o.KEKs)
	if err != nil {
		return nil, err
	}
	r, err := newRing(store, h, root, 0, o)
	if err != nil {
		return nil, err
	}
	if r.Resealing() {
		return nil, ErrResealing
	}
	in.mac = backupMAC(root, h.ringID)
	in.mac.Write(in.before)
	for {
		e, err := in.next()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if err := r.restoreRecord(ctx, e, ro.Skip); err != nil {
			return nil, err
		}
	}
	if r.fence, err = store.CAS(ctx, headerKey, head.Value, 0); errors.Is(err, ErrConflict) {
		return nil, ErrRingExists
	} else if err != nil {
		return nil, err
	}
	return r, nil
}

// vacate makes sure that a store is empty.
func vacate(ctx context.Context, store Store, overwrite bool) error {
	err := noRing(ctx, store)
	switch {
	case err == nil:
		return ErrRingExists
	case errors.Is(err, ErrNoRing):
		return nil
	case !overwrite || !errors.Is(err, ErrDamaged):
		return err
	}
	return each(ctx, store, "", func(e Entry) error {
		if e.Key == headerKey {
			return ErrRingExists
		}
		return store.Delete(ctx, e.Key, e.Rev)
	})
}

// restoreRecord writes a record of the backup; a channel begins a fresh epoch.
func (r *Ring) restoreRecord(ctx context.Context, e Entry, skip int) error {
	kind := kindOf(e.Key)
	value := e.Value
	switch kind {
	case "":
		return fmt.Errorf("the backup holds a record of a kind that this version does not know: %w", ErrVersion)
	case kindChannel:
		st, err := r.open(e, 0)
		if err != nil {
			return err
		}
		defer st.wipe()
		if st.active() != nil {
			if err := st.restored(r.now(), skip); err != nil {
				return fmt.Errorf("a channel: %w", err)
			}
		}
		payload := st.encode()
		defer clear(payload)
		root, err := r.key()
		if err != nil {
			return err
		}
		defer root.wipe()
		if value, err = sealRecord(root, kind, e.Key, st.revision+1, payload); err != nil {
			return err
		}
	default:
		plain, err := unseal(r.root, kind, e)
		clear(plain)
		if err != nil {
			return err
		}
	}
	_, err := r.store.CAS(ctx, e.Key, value, 0)
	if errors.Is(err, ErrConflict) {
		return fmt.Errorf("a record is there twice: %w", ErrDamaged)
	}
	return err
}

// restored begins a fresh epoch, some numbers on. In a channel that somebody else keeps
// this ring cannot: there it seals no more until it is given sender numbers again.
func (s *state) restored(now time.Time, skip int) error {
	if k := s.keeper(); k != nil {
		k.senders = nil
		k.serial++ // the last grant, which it may have used, is not to be taken again
		s.more = s.more.set(fieldKeeper, k.encode())
		return nil
	}
	const reason = "restored from a backup"
	if skip == 0 {
		skip = DefaultSkip
	}
	if e := s.staged(); e != nil {
		e.forget()
	}
	for range min(skip, MaxEpochs-1-len(s.epochs)) {
		e, err := s.stage(now, reason)
		if err != nil {
			return err
		}
		e.forget()
	}
	return s.rotate(now, reason, true)
}

// backupReader reads the records of a backup, and authenticates what it read.
type backupReader struct {
	in     *bufio.Reader
	before []byte    // what was read before mac was known
	mac    hash.Hash // nil at first
	count  uint64
}

func (b *backupReader) read(p []byte) error {
	if _, err := io.ReadFull(b.in, p); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = fmt.Errorf("the backup is cut: %w", ErrDamaged)
		}
		return err
	}
	if b.mac != nil {
		b.mac.Write(p)
	} else {
		b.before = append(b.before, p...)
	}
	return nil
}

// next returns the next record; io.EOF at the end, if all of it is authentic.
func (b *backupReader) next() (e Entry, err error) {
	var size [4]byte
	if err := b.read(size[:2]); err != nil {
		return e, err
	}
	n := int(binary.BigEndian.Uint16(size[:2]))
	if n == 0 {
		return e, b.end()
	}
	if n > MaxKey {
		return e, fmt.Errorf("a key of %d bytes: %w", n, ErrDamaged)
	}
	key := make([]byte, n)
	if err := b.read(key); err != nil {
		return e, err
	}
	if err := b.read(size[:]); err != nil {
		return e, err
	}
	m := binary.BigEndian.Uint32(size[:])
	if m > MaxValue {
		return e, fmt.Errorf("a record of %d bytes: %w", m, ErrDamaged)
	}
	value := make([]byte, m)
	if err := b.read(value); err != nil {
		return e, err
	}
	b.count++
	return Entry{Key: string(key), Value: value, Rev: 1}, nil
}

func (b *backupReader) end() error {
	var count [8]byte
	if err := b.read(count[:]); err != nil {
		return err
	}
	if b.mac == nil {
		return fmt.Errorf("the backup is empty: %w", ErrDamaged)
	}
	want, got := b.mac.Sum(nil), make([]byte, sha256.Size)
	if err := b.read(got); err != nil {
		return err
	}
	if !hmac.Equal(got, want) || binary.BigEndian.Uint64(count[:]) != b.count {
		return fmt.Errorf("the backup does not authenticate: %w", ErrDamaged)
	}
	if _, err := b.in.ReadByte(); err != io.EOF {
		return fmt.Errorf("the backup goes on behind its end: %w", ErrDamaged)
	}
	return io.EOF
}
