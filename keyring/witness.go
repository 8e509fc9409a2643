package keyring

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// Witness remembers, outside a ring's store and across restarts, the newest epoch of
// each channel that was seen: a store that was put back to an older state, or a server
// that plays one back, is refused with ErrRollback. It holds no secret and no name.
//
// It can only notice what happens without it. Who puts back the witness with the store
// deceives it; so keep it where the store is not, if somebody else keeps the store. And
// it notices epochs only: an older record of the same epochs it takes.
//
// It is a file of fixed size, of [witnessSets] sets of entries, of which a channel uses
// one. A full set forgets an entry: a witness may forget, and does not err.
type Witness struct {
	path   string
	mu     sync.Mutex
	file   *os.File // nil as long as there is none
	ro     bool     // what is new is not noted
	closed bool
}

// An entry is the first 16 bytes of SHA-256(ring ID ‖ the record's key) ‖ BE64(epoch) ‖ the first 8
// bytes of SHA-256 of all before, so that no accident makes a number too high.
const (
	witnessSets  = 8192
	witnessWays  = 8
	witnessEntry = 32
	witnessSize  = witnessSets * witnessWays * witnessEntry
)

// OpenWitness opens the witness at path. If there is none, it is made when there is
// something to remember. Where nothing can be written it only compares.
func OpenWitness(path string) (*Witness, error) {
	w := &Witness{path: path}
	return w, w.open(0)
}

// open opens the file unless it is open; it is no error if there is none.
func (w *Witness) open(flags int) error {
	if w.file != nil {
		return nil
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|flags, 0o600)
	if err != nil && flags == 0 && !errors.Is(err, fs.ErrNotExist) {
		w.ro = true
		f, err = os.Open(w.path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("keyring: open the witness: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no regular file", w.path)
	case info.Size() != witnessSize && !w.ro: // a new one, or one that was cut: what is missing is forgotten
		err = f.Truncate(witnessSize)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("keyring: open the witness: %w", err)
	}
	w.file = f
	return nil
}

// place is where a record's entry would be, and how it begins.
func (*Witness) place(ringID []byte, key string) (at int64, id [16]byte) {
	h := sha256.New()
	h.Write(ringID)
	h.Write([]byte(key))
	copy(id[:], h.Sum(nil))
	return int64(binary.BigEndian.Uint16(id[:])%witnessSets) * witnessWays * witnessEntry, id
}

func witnessSum(entry []byte) [8]byte {
	s := sha256.Sum256(entry[:24])
	return [8]byte(s[:8])
}

// set reads a set of entries; what cannot be read is empty.
func (w *Witness) set(at int64) []byte {
	b := make([]byte, witnessWays*witnessEntry)
	if w.file == nil {
		return b
	}
	if n, err := w.file.ReadAt(b, at); err != nil && err != io.EOF {
		clear(b)
	} else {
		clear(b[n:])
	}
	return b
}

// epoch returns the newest epoch that was seen of a record, 0 for none.
func (w *Witness) epoch(ringID []byte, key string) uint64 {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at, id := w.place(ringID, key)
	_, n := find(w.set(at), id)
	return n
}

// find returns the offset of a record's entry in a set, -1 if there is none.
func find(set []byte, id [16]byte) (at int, epoch uint64) {
	for i := 0; i < len(set); i += witnessEntry {
		if e := set[i:][:witnessEntry]; [16]byte(e[:16]) == id && [8]byte(e[24:]) == witnessSum(e) {
			return i, binary.BigEndian.Uint64(e[16:])
		}
	}
	return -1, 0
}

// note remembers an epoch, unless a newer one was seen. It does what it can: no work is
// kept from being done because it could not be noted.
func (w *Witness) note(ringID []byte, key string, epoch uint64) {
	if w == nil || w.ro {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.open(os.O_CREATE) != nil || w.file == nil {
		return
	}
	at, id := w.place(ringID, key)
	set := w.set(at)
	i, seen := find(set, id)
	if seen >= epoch {
		return
	}
	if i < 0 { // a free place, or else one that the channel's name chooses
		i = int(id[15]) % witnessWays * witnessEntry
		for j := 0; j < len(set); j += witnessEntry {
			if e := set[j:][:witnessEntry]; [8]byte(e[24:]) != witnessSum(e) {
				i = j
				break
			}
		}
	}
	e := binary.BigEndian.AppendUint64(append(make([]byte, 0, witnessEntry), id[:]...), epoch)
	sum := witnessSum(e)
	w.file.WriteAt(append(e, sum[:]...), at+int64(i))
}

// Close closes the file.
func (w *Witness) Close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
