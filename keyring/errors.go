package keyring

import (
	"errors"
	"fmt"
	"strings"

	"github.com/chanseal/chanseal/cipher"
)

// What a [Store] returns.
var (
	// ErrNotFound says that a store holds nothing under a key.
	ErrNotFound = errors.New("keyring: not found in the store")
	// ErrConflict says that a record is not at the revision the caller knew.
	ErrConflict = errors.New("keyring: the record was changed by someone else")
	// ErrTaken says that a number was recorded before.
	ErrTaken = errors.New("keyring: the number is taken already")
	// ErrCompacted says that a store no longer knows all that happened since
	// the revision asked for: list, and watch from the list's revision.
	ErrCompacted = errors.New("keyring: the store no longer keeps changes from that revision on")
	// ErrBusy says that another process held the store for too long.
	ErrBusy = errors.New("keyring: the ring is busy")
	// ErrUnreachable says that a store on other machines gave no answer in time.
	ErrUnreachable = errors.New("keyring: the ring is unreachable")
	// ErrFenced says that the record a write depends on was changed: nothing was written.
	ErrFenced = errors.New("keyring: another record was changed that the write depends on")
	// ErrTooLarge says that a key or value is longer than a store takes.
	ErrTooLarge = errors.New("keyring: the record is larger than a store takes")
)

// What a [Ring] returns.
var (
	// ErrNoRing says that there is no ring yet.
	ErrNoRing = errors.New("keyring: there is no ring here")
	// ErrRingExists says that a ring would be overwritten.
	ErrRingExists = errors.New("keyring: there is a ring here already")
	// ErrLocked says that none of the key-encryption keys opens the ring: a
	// wrong passphrase, another ring's key file, or a damaged header.
	ErrLocked = errors.New("keyring: the passphrase or key file does not open this ring")
	// ErrDamaged says that what the store holds is not what a ring wrote there.
	ErrDamaged = errors.New("keyring: the ring is damaged")
	// ErrRollback says that the store gave an older record than it gave before.
	ErrRollback = errors.New("keyring: the store went back to an older record")
	// ErrVersion says that the ring was written by a newer program.
	ErrVersion = errors.New("keyring: the ring has a format this version does not know")
	// ErrClosed says that a Ring, Sender or Receiver was closed.
	ErrClosed = errors.New("keyring: closed")
)

// What a [Channel] returns.
var (
	// ErrNoChannel says that the ring holds no channel of that name.
	ErrNoChannel = errors.New("keyring: no such channel")
	// ErrChannelExists says that a channel would be overwritten.
	ErrChannelExists = errors.New("keyring: the channel exists already")
	// ErrNoEpoch says that the channel has no epoch of that number.
	ErrNoEpoch = errors.New("keyring: the channel has no such epoch")
	// ErrEpochActive says that the active epoch cannot be forgotten on its own.
	ErrEpochActive = errors.New("keyring: the epoch is active: rotate first")
	// ErrStaged says that an epoch is staged already.
	ErrStaged = errors.New("keyring: an epoch is staged already")
	// ErrNotStaged says that there is no staged epoch to activate.
	ErrNotStaged = errors.New("keyring: no epoch is staged")
	// ErrFull says that the channel holds MaxEpochs epochs.
	ErrFull = errors.New("keyring: the channel holds too many epochs: forget old ones")
	// ErrNoSuite says that the channel's suite is not known to this program.
	ErrNoSuite = errors.New("keyring: the channel's cipher suite is not known here")
)

// What a [Sender] and a [Receiver] return beside the errors of package cipher.
// They are made once: returning them allocates nothing.
var (
	// ErrStale says that a Sender's epoch was replaced, that its grace is over,
	// and that no key of the new epoch could be made, as the store did not answer.
	ErrStale error = errors.New("keyring: the epoch is over and the ring gave no key of the next one")
	// ErrForgotten says that a frame's epoch was forgotten, or that a channel was.
	// [errors.Is] also finds cipher.ErrUnknownKey in it.
	ErrForgotten error = &frameError{"keyring: the epoch was forgotten: its secret is destroyed", cipher.ErrUnknownKey}
	// ErrArchived says that a live Receiver got a frame of an archived epoch.
	// [errors.Is] also finds cipher.ErrUnknownKey in it.
	ErrArchived error = &frameError{"keyring: the epoch is archived: live receivers refuse it", cipher.ErrUnknownKey}
	// ErrBarred says that a live Receiver got a frame of a sender number that was put
	// out. [errors.Is] also finds cipher.ErrUnknownKey in it.
	ErrBarred error = &frameError{"keyring: the sender number was put out of the epoch", cipher.ErrUnknownKey}
	// ErrLimited says that more unknown key IDs came in a second than a Receiver
	// looks at. [errors.Is] also finds cipher.ErrUnknownKey in it.
	ErrLimited error = &frameError{"keyring: too many unknown key IDs at once", cipher.ErrUnknownKey}
	// ErrTableFull says that a Receiver knows MaxKIDs key IDs, all of them in use.
	// [errors.Is] also finds cipher.ErrUnknownKey in it.
	ErrTableFull error = &frameError{"keyring: too many key IDs in this epoch: rotate the channel", cipher.ErrUnknownKey}
	// ErrEvicted says that a key ID had to leave the Receiver's table, and with
	// it the memory of what was played: it is refused for the rest of the epoch.
	// [errors.Is] also finds cipher.ErrUnknownKey in it.
	ErrEvicted error = &frameError{"keyring: the key ID left the receiver's table: the sender must start anew", cipher.ErrUnknownKey}

	// errForgottenOrForged: nothing that is left of the ring authenticates the
	// frame, and an epoch it may be from was forgotten.
	errForgottenOrForged error = &frameError{"keyring: no epoch that is left opens the frame, and one it may be from was forgotten", errors.Join(ErrForgotten, cipher.ErrAuth)}
)

// LockedError says that no KEK opened a ring, and how it is wrapped: by "age" (a
// key file) or "argon2id" (a passphrase), for example. It is ErrLocked.
type LockedError struct {
	Kinds []string // each once
	Tried bool     // a KEK of one of these kinds was given, but is not the right one
	Why   error    // what kept a KEK from trying, such as an age plugin that is not installed; or nil
}

func (e *LockedError) Error() string {
	if e.Why != nil {
		return ErrLocked.Error() + ": " + e.Why.Error()
	}
	if e.Tried {
		return ErrLocked.Error()
	}
	return fmt.Sprintf("keyring: the ring is locked by %s, and none was given", strings.Join(e.Kinds, " or "))
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

// frameError is a sentinel that stands for a more general one, too.
type frameError struct {
	text string
	also error
}

func (e *frameError) Error() string { return e.text }
func (e *frameError) Unwrap() error { return e.also }
