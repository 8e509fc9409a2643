package client

import (
	"context"
	"fmt"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
)

// keeperPrefix is what a ring knows a channel by that a key server keeps.
const keeperPrefix = "keyserver "

// into puts the epochs into a ring.
func into(ring *keyring.Ring) func(context.Context, *api.Keys, uint16) error {
	return func(ctx context.Context, k *api.Keys, sender uint16) error {
		a := keyring.Acceptance{Keeper: []byte(keeperPrefix + k.Keeper), Serial: k.Revision, Grace: time.Duration(k.GraceSeconds) * time.Second,
			Senders: []keyring.SenderRange{{First: sender, Last: sender}}}
		active := false
		for _, e := range k.Epochs {
			if len(e.Secret) == 0 {
				continue // it retires: who was there then has it
			}
			g := keyring.Given{Number: e.Epoch, Kind: kindOf(e.Kind), State: keyring.Active, Suite: cipher.SuiteID(e.SuiteID), Created: time.Now(),
				ActivateAt: moment(e.ActivateAt), Activated: moment(e.Activated), Secret: e.Secret, Barred: e.Barred}
			// Who may not have the active epoch seals under the next one as soon as it is
			// there: everybody opens it already.
			if e.State == api.StateStaged && active {
				g.State = keyring.Staged
			} else {
				active = true
				g.ActivateAt = time.Time{}
			}
			a.Epochs = append(a.Epochs, g)
		}
		if _, err := ring.Accept(ctx, k.Channel, a); err != nil {
			return fmt.Errorf("client: %w", err)
		}
		return nil
	}
}

func kindOf(name string) keyring.Kind {
	for _, k := range []keyring.Kind{keyring.Random, keyring.Ratchet, keyring.Vendor, keyring.Exported} {
		if k.String() == name {
			return k
		}
	}
	return keyring.Random
}

// moment reads unix milliseconds, 0 for none.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
