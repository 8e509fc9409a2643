package etcdstore

import "time"

// SetBeat changes how often a Watch asks whether its member is still there.
func SetBeat(s *Store, d time.Duration) { s.beat = d }
