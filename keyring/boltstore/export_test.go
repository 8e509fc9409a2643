package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/chanseal/chanseal/keyring"
)

// OpenNoSync opens a store that never syncs: what it acknowledges a power cut
// takes back.
func OpenNoSync(path string) (*Store, error) { return open(path, Options{}, false, true) }

// OpenLazily opens a store that looks at the pages of a file as it reads them, however
// small it is.
func OpenLazily(path string, o Options) (*Store, error) { return openLazy(path, o, false, false, 0) }

// SetBusy changes how long a store waits for other processes.
func SetBusy(s *Store, d time.Duration) { s.busy = d }

// Check is the page check.
var Check = check

// SetPath points a store to another file.
func SetPath(s *Store, path string) { s.path = path }

// Bulk writes records into a store at once, as so many CAS would.
func Bulk(s *Store, records []keyring.Entry) error {
	return s.update(context.Background(), func(v *view) error {
		st, err := v.state()
		if err != nil {
			return err
		}
		for _, e := range records {
			st.rev++
			st.count++
			one := sum([]byte(e.Key), st.rev, e.Value)
			st.xor ^= one
			stored := binary.BigEndian.AppendUint64(nil, st.rev)
			stored = append(binary.BigEndian.AppendUint64(stored, one), e.Value...)
			if err := errors.Join(v.Bucket(bucketKV).Put([]byte(e.Key), stored), v.changed(st.rev, e.Key)); err != nil {
				return err
			}
		}
		return saveState(v.Tx, st)
	})
}
