package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// plainKEK wraps nothing: for tests that are not about wrapping.
type plainKEK struct{}

func (plainKEK) Kind() string                              { return "test" }
func (plainKEK) Wrap(root, id []byte) ([]byte, error)      { return bytes.Clone(root), nil }
func (plainKEK) Unwrap(wrapped, id []byte) ([]byte, error) { return bytes.Clone(wrapped), nil }

var testOptions = keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newRing makes a ring on store that the test closes.
func newRing(t testing.TB, store keyring.Store) *keyring.Ring {
	t.Helper()
	r := must(keyring.Create(t.Context(), store, testOptions))(t)
	t.Cleanup(func() { r.Close() })
	return r
}

// reopen opens a ring again, as another process does.
func reopen(t testing.TB, store *keyringtest.Memory) *keyring.Ring {
	t.Helper()
	r := must(keyring.Open(t.Context(), store.Again(), testOptions))(t)
	t.Cleanup(func() { r.Close() })
	return r
}

func wantErr(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Fatalf("error %v, want %v", err, w)
		}
	}
}

func TestSealAndOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		ring := newRing(t, keyringtest.NewMemory())
		ch := must(ring.Create(ctx, "stage", keyring.ChannelOptions{}))(t)
		sender := must(ch.Sender(ctx, 7, keyring.SenderOptions{}))(t)
		receiver := must(ch.Receiver(ctx, keyring.ReceiverOptions{}))(t)
		for i := range 3 {
			frame := []byte{byte(i), 1, 2, 3}
			sealed := must(sender.Seal(nil, frame, []byte("aad")))(t)
			if len(sealed) > len(frame)+sender.Overhead() {
				t.Fatalf("%d bytes more, Overhead says %d", len(sealed)-len(frame), sender.Overhead())
			}
			out, from, err := receiver.OpenFrom(nil, sealed, []byte("aad"))
			if err != nil || !bytes.Equal(out, frame) {
				t.Fatalf("opened %x, %v", out, err)
			}
			if from != sender.Origin() || from.Sender != 7 || from.Epoch != 1 {
				t.Fatalf("from %+v, sealed by %+v", from, sender.Origin())
			}
			_, err = receiver.Open(nil, sealed, []byte("aad"))
			wantErr(t, err, cipher.ErrReplayed)
		}
		old := seal(t, sender, "late")
		info := must(ch.Rotate(ctx, "because"))(t)
		if info.Epoch != 2 || info.Epochs[0].State != keyring.Retiring || info.Epochs[1].Reason != "because" {
			t.Fatalf("after a rotation: %+v", info)
		}
		synctest.Wait()
		if n := sender.Origin().Epoch; n != 2 {
			t.Fatalf("the sender is in epoch %d", n)
		}
		if _, err := receiver.Open(nil, old, nil); err != nil {
			t.Fatalf("within the grace: %v", err)
		}
		late := must(sender.Seal(nil, []byte("x"), nil))(t)
		_ = late
		time.Sleep(10 * time.Second)
		synctest.Wait()
		_, err := receiver.Open(nil, old, nil)
		wantErr(t, err, keyring.ErrArchived, cipher.ErrUnknownKey)
		archive := must(ch.Receiver(ctx, keyring.ReceiverOptions{Archive: true}))(t)
		if _, err := archive.Open(nil, old, nil); err != nil {
			t.Fatalf("from the archive: %v", err)
		}
		must(ch.Forget(ctx, 1))(t)
		synctest.Wait()
		_, err = archive.Open(nil, old, nil)
		wantErr(t, err, keyring.ErrForgotten)
		ring.Close()
		_, err = sender.Seal(nil, []byte("x"), nil)
		wantErr(t, err, keyring.ErrClosed)
		_, err = receiver.Open(nil, late, nil)
		wantErr(t, err, keyring.ErrClosed)
		_, err = ring.Channel(context.Background(), "stage")
		wantErr(t, err, keyring.ErrClosed)
	})
}
