package program

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/sealedfile"
)

// unlocking finds the key for a sealed file, and says more of a file that has another.
type unlocking struct {
	p       *program
	ctx     context.Context
	file    string // for messages
	channel string

	suite    *cipher.Suite
	ring     *keyring.Ring
	receiver *keyring.Receiver
	head     sealedfile.Head
	failed   error // of unlock: nothing that the file is to blame for
	tried    bool
	sealed   []byte // the first piece, if it did not open
	aad      []byte
}

// unlock is the [sealedfile.Unlock].
func (u *unlocking) unlock(head sealedfile.Head) (cipher.Opener, error) {
	u.head = head
	if u.failed = u.prepare(); u.failed != nil {
		return nil, u.failed
	}
	return u, nil
}

func (u *unlocking) prepare() (err error) {
	if u.suite, err = u.p.suiteByID(u.head.Suite, u.head.SuiteName); err != nil {
		return hinted(&named{u.file, err.Error(), err})
	}
	if u.ring, err = u.p.openRing(u.ctx, u.channel); err != nil {
		return err
	}
	ch, err := u.p.openChannel(u.ctx, u.ring, u.channel)
	if err != nil {
		return err
	}
	u.receiver, err = u.receive(ch)
	return err
}

func (u *unlocking) receive(ch *keyring.Channel) (*keyring.Receiver, error) {
	return ch.Receiver(u.ctx, keyring.ReceiverOptions{Archive: true, Suites: []*cipher.Suite{u.suite}})
}

// Open opens a piece of the file. It keeps the first one if that does not open.
func (u *unlocking) Open(dst, sealed, aad []byte) ([]byte, error) {
	out, err := u.receiver.Open(dst, sealed, aad)
	if err != nil && !u.tried {
		u.sealed, u.aad = slices.Clone(sealed), slices.Clone(aad)
	}
	u.tried = true
	return out, err
}

func (u *unlocking) close() {
	if u.receiver != nil {
		u.receiver.Close()
	}
	if u.ring != nil {
		u.ring.Close()
	}
}

// explain makes of a refusal what the user can do something with: here is the ring, so
// it is no secret which of its channels a file is of.
func (u *unlocking) explain(err error) error {
	switch {
	case u.failed != nil:
		return u.failed
	case !errors.Is(err, sealedfile.ErrKey) || u.sealed == nil:
		return fileError(u.file, err)
	}
	name, file := u.file, quoteArg(u.file)
	if other := u.otherChannel(); other != "" {
		return refuse(err, fmt.Sprintf("%s: sealed for another channel than %q", name, u.channel),
			"it is of a channel of this ring: chanseal open --channel "+quoteArg(other)+" "+file)
	}
	switch {
	case errors.Is(err, keyring.ErrForgotten) && errors.Is(err, cipher.ErrAuth):
		return refuse(err, fmt.Sprintf("%s: the epoch of channel %q that it was sealed under was forgotten, or it is of another channel or ring", name, u.channel),
			"what was forgotten opens never again; the epochs that are left: chanseal channel show "+quoteArg(u.channel))
	case errors.Is(err, keyring.ErrForgotten):
		return refuse(err, fmt.Sprintf("%s: the epoch of channel %q that it was sealed under was forgotten", name, u.channel),
			"its secret was destroyed: the file opens never again with this ring")
	case errors.Is(err, cipher.ErrUnknownKey):
		return refuse(err, fmt.Sprintf("%s: sealed under an epoch that channel %q does not have", name, u.channel),
			"it is of another channel or ring, or of an epoch that this ring was not given: chanseal channel show "+quoteArg(u.channel))
	}
	return refuse(err, fmt.Sprintf("%s: does not open with the keys of channel %q: sealed for another channel or ring, or its beginning was changed", name, u.channel),
		"see what it shows without a key: chanseal inspect "+file, u.p.fingerprintHint(u.ctx, u.ring, u.channel))
}

// fingerprintHint says what this ring has for a channel, to be compared with what who
// sealed has.
func (p *program) fingerprintHint(ctx context.Context, ring *keyring.Ring, channel string) string {
	if ch, err := ring.Channel(ctx, channel); err == nil {
		if info, err := ch.Show(ctx); err == nil && info.Epoch != 0 {
			return fmt.Sprintf("compare with who sealed it: here epoch %d of %q has the fingerprint %s", info.Epoch, channel, info.Fingerprint)
		}
	}
	return "the channel's epochs: chanseal channel show " + quoteArg(channel)
}

func refuse(err error, text string, hints ...string) error {
	return &failure{err: &reworded{text, err}, code: exitAuth, hints: hints}
}

// reworded is an error with other words.
type reworded struct {
	text string
	err  error
}

func (e *reworded) Error() string { return e.text }
func (e *reworded) Unwrap() error { return e.err }

// maxOthers bounds how many channels are tried for a hint.
const maxOthers = 100

// otherChannel finds the channel of the ring that does open the file; "" if none does.
func (u *unlocking) otherChannel() string {
	all, err := u.ring.Channels(u.ctx)
	if err != nil {
		return ""
	}
	for i, info := range all {
		if i == maxOthers {
			break
		}
		if info.Name != u.channel && u.opensWith(info.Name) {
			return info.Name
		}
	}
	return ""
}

func (u *unlocking) opensWith(channel string) bool {
	ch, err := u.ring.Channel(u.ctx, channel)
	if err != nil {
		return false
	}
	r, err := u.receive(ch)
	if err != nil {
		return false
	}
	defer r.Close()
	content, err := r.Open(nil, u.sealed, u.aad)
	clear(content)
	return err == nil
}
