package etcdstore

import "time"

// SetBeat changes how often a Watch asks whether its member is still there.
func SetBeat(s *Store, d time.Duration) { s.beat = d }

// OnWatch has f called whenever a member is about to be asked for changes.
func OnWatch(s *Store, f func()) { s.watching = f }
