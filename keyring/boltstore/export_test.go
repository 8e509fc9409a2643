package boltstore

import "time"

// OpenNoSync opens a store that never syncs: what it acknowledges a power cut
// takes back.
func OpenNoSync(path string) (*Store, error) { return open(path, Options{}, false, true) }

// SetBusy changes how long a store waits for other processes.
func SetBusy(s *Store, d time.Duration) { s.busy = d }

// Check is the page check.
var Check = check

// SetPath points a store to another file.
func SetPath(s *Store, path string) { s.path = path }
