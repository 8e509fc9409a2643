package keyring_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
)

// TestBarred: what a sender number sealed in the epoch it was put out of does not open,
// before the next one is there, after it, and when it was never heard before. Others do.
func TestBarred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		_, _, ch := stage(t, keyring.ChannelOptions{})
		number := func(n uint16, compact bool) *keyring.Sender {
			s := must(ch.Sender(ctx, n, keyring.SenderOptions{Compact: compact}))(t)
			t.Cleanup(func() { s.Close() })
			return s
		}
		kicked, short, other := number(3, false), number(4, true), number(5, false)
		unheard := number(3, false)
		live, archive := receiver(t, ch, keyring.ReceiverOptions{}), receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		opens(t, live, seal(t, kicked, "before"), "before")
		opens(t, live, seal(t, short, "announced"), "announced")
		opens(t, live, seal(t, short, "short"), "short")
		var late [][]byte
		for _, s := range []*keyring.Sender{kicked, short, unheard} {
			late = append(late, seal(t, s, "late"))
		}
		info := must(ch.PutOut(ctx, 4, 3, 3))(t)
		if info.Epoch != 1 || len(info.Epochs) != 2 || info.Epochs[1].State != keyring.Staged || !info.Epochs[1].ActivateAt.Equal(time.Now().Add(5*time.Second)) {
			t.Fatalf("%+v", info)
		}
		synctest.Wait()
		refuses(t, live, late[0], keyring.ErrBarred, cipher.ErrUnknownKey)
		refuses(t, live, late[1], cipher.ErrUnknownKey)
		refuses(t, live, late[2], keyring.ErrBarred)
		opens(t, archive, late[0], "late")
		opens(t, live, seal(t, other, "still"), "still")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if kicked.Origin().Epoch != 2 || other.Origin().Epoch != 2 {
			t.Fatalf("epochs %d and %d", kicked.Origin().Epoch, other.Origin().Epoch)
		}
		refuses(t, live, late[2], keyring.ErrBarred)
		opens(t, live, seal(t, kicked, "the number may be somebody else's now"), "the number may be somebody else's now")
		must(ch.Revoke(ctx, "", 5))(t)
		synctest.Wait()
		opens(t, live, seal(t, other, "in the next"), "in the next")
	})
}

// TestActivateAt: everybody switches at the moment that was said, without a word more
// and without the store; the record is written with the next change.
func TestActivateAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		_, err := ch.ActivateAt(ctx, time.Now())
		wantErr(t, err, keyring.ErrNotStaged)
		feed := must(ch.Feed(ctx))(t)
		defer feed.Close()
		s, r := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
		must(ch.Stage(ctx, ""))(t)
		at := time.Now().Add(time.Hour)
		must(ch.ActivateAt(ctx, at))(t)
		synctest.Wait()
		<-feed.Changed()
		if h := must(feed.Current())(t); len(h.Keys) != 2 || !h.Keys[1].ActivateAt.Equal(at) {
			t.Fatalf("%+v", h)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		synctest.Wait()
		old := seal(t, s, "old")
		select {
		case <-feed.Changed():
			t.Error("told of nothing")
		default:
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s.Origin().Epoch != 2 {
			t.Fatalf("in epoch %d", s.Origin().Epoch)
		}
		<-feed.Changed()
		if h := must(feed.Current())(t); len(h.Keys) != 1 || h.Keys[0].Number != 2 || len(h.Retiring) != 1 || !h.Retiring[0].Until.Equal(at.Add(10*time.Second)) {
			t.Fatalf("%+v", h)
		}
		opens(t, r, old, "old")
		opens(t, r, seal(t, s, "new"), "new")
		// Who opens the ring now sees it, and so does who changes it.
		again := must(reopen(t, m).Channel(ctx, "stage"))(t)
		if info := must(again.Show(ctx))(t); info.Epoch != 2 || info.Epochs[0].State != keyring.Retiring {
			t.Fatalf("%+v", info)
		}
		if info := must(again.Rotate(ctx, ""))(t); info.Epoch != 3 || !info.Epochs[1].Activated.Equal(at) {
			t.Fatalf("%+v", info)
		}
	})
}

// TestPendingOutlives: a leave that was told by a process that then ended is answered by
// another one.
func TestPendingOutlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		s := sender(t, ch)
		there := reopen(t, m)
		info := must(must(there.Channel(ctx, "stage"))(t).Left(ctx))(t)
		if info.Pending != keyring.Fresh || !info.Due.Equal(time.Now().Add(5*time.Second)) {
			t.Fatalf("%+v", info)
		}
		there.Close()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if s.Origin().Epoch != 2 {
			t.Fatalf("in epoch %d", s.Origin().Epoch)
		}
		if info := must(ch.Show(ctx))(t); info.Pending != 0 || info.Epochs[1].Reason != "leave" {
			t.Fatalf("%+v", info)
		}
	})
}
