//go:build race

// Package raceflag says whether the race detector is on: allocation counts
// mean nothing under it, since it makes sync.Pool and the runtime allocate.
package raceflag

// Enabled reports that the program was built with -race.
const Enabled = true
