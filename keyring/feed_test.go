package keyring_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestFeed: a Feed shows what another process did, and what it must not show it does
// not print.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := keyringtest.NewMemory()
		here := newRing(t, store.Again())
		ch := must(here.Create(ctx, "stage", keyring.ChannelOptions{}))(t)
		feed := must(ch.Feed(ctx))(t)
		first := must(feed.Current())(t)
		if len(first.Keys) != 1 || first.Keys[0].State != keyring.Active || first.Keys[0].SuiteName != "aes-128-gcm" || len(first.Retiring) != 0 {
			t.Fatalf("at first: %+v", first)
		}
		secret := first.Keys[0].Secret()
		if len(secret) != 32 || bytes.Equal(secret, make([]byte, 32)) {
			t.Fatal("no secret")
		}
		if out := fmt.Sprintf("%v %+v %#v", first, first, first); bytes.Contains([]byte(out), secret) || bytes.Contains([]byte(out), fmt.Append(nil, secret[0], " ", secret[1])) {
			t.Fatal("a handout prints its secrets")
		}

		there := reopen(t, store)
		other := must(there.Channel(ctx, "stage"))(t)
		must(other.Stage(ctx, ""))(t)
		<-feed.Changed()
		staged := must(feed.Current())(t)
		if len(staged.Keys) != 2 || staged.Keys[1].State != keyring.Staged || staged.Revision <= first.Revision {
			t.Fatalf("after a Stage: %+v", staged)
		}
		must(other.Revoke(ctx, "left"))(t)
		<-feed.Changed()
		now := must(feed.Current())(t)
		if len(now.Keys) != 1 || now.Keys[0].Number != 3 || len(now.Retiring) != 1 || now.Retiring[0].Number != 1 {
			t.Fatalf("after a Revoke: %+v", now)
		}
		if s := now.Keys[0].Secret(); bytes.Equal(s, secret) || bytes.Equal(s, staged.Keys[1].Secret()) {
			t.Fatal("the new epoch has a secret that was handed out before")
		}
		now.Wipe()
		if !bytes.Equal(now.Keys[0].Secret(), make([]byte, 32)) {
			t.Fatal("not wiped")
		}
		feed.Close()
		feed.Close()
		_, err := feed.Current()
		wantErr(t, err, keyring.ErrClosed)
		feed = must(ch.Feed(ctx))(t)
		here.Close()
		<-feed.Changed()
		_, err = feed.Current()
		wantErr(t, err, keyring.ErrClosed)
		feed.Close()
	})
}
