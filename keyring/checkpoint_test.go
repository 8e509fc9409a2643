package keyring_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestCheckpoint: what a Receiver opened does not open again for the one that takes its
// place, under full key IDs and short ones, in this epoch and the one before; what it did not
// open does. The control is one that is given none.
func TestCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		senders := []*keyring.Sender{sender(t, ch)}
		for range 6 { // more than a short KID can tell apart
			s := must(ch.Sender(ctx, 5, keyring.SenderOptions{Compact: true}))(t)
			t.Cleanup(func() { s.Close() })
			senders = append(senders, s)
		}
		xts := must(ch.Sender(ctx, 6, keyring.SenderOptions{Suite: cipher.AES256XTSHMAC()}))(t)
		defer xts.Close()
		senders = append(senders, xts)
		options := keyring.ReceiverOptions{Suites: []*cipher.Suite{cipher.AES256XTSHMAC()}, Window: 128}
		first := receiver(t, ch, options)
		var played, kept [][]byte
		for epoch := range 2 {
			for _, s := range senders {
				for i := range 20 {
					sealed := seal(t, s, "a frame")
					if i%5 == 3 {
						kept = append(kept, sealed)
						continue
					}
					if _, err := first.Open(nil, sealed, nil); err == nil {
						played = append(played, sealed)
					} else if h, _, _ := cipher.ParseHeader(sealed); h.KID > 1<<20 {
						t.Fatal(err)
					}
				}
			}
			if epoch == 0 {
				must(ch.Rotate(ctx, ""))(t)
				synctest.Wait()
			}
		}
		saved := must(first.Checkpoint())(t)
		for range 2 { // of a checkpoint of a checkpoint, too
			first.Close()
			if _, err := first.Checkpoint(); err != keyring.ErrClosed {
				t.Error(err)
			}
			options.Checkpoint = saved
			first = receiver(t, must(reopen(t, m).Channel(ctx, "stage"))(t), options)
			saved = must(first.Checkpoint())(t)
		}
		for i, sealed := range played {
			if _, err := first.Open(nil, sealed, nil); err == nil {
				t.Fatalf("frame %d of %d opens again", i, len(played))
			}
		}
		opened := 0
		for _, sealed := range kept {
			if _, err := first.Open(nil, sealed, nil); err == nil {
				opened++
			}
		}
		options.Checkpoint = nil
		control := receiver(t, ch, options)
		again := 0
		for _, sealed := range played {
			if _, err := control.Open(nil, sealed, nil); err == nil {
				again++
			}
		}
		if opened < len(kept)/2 || again < len(played)/2 {
			t.Errorf("%d of %d that were not opened open; without a checkpoint %d of %d open again", opened, len(kept), again, len(played))
		}

		// The epoch it was in when it ended is over: nothing of it opens, checkpoint or not.
		time.Sleep(11 * time.Second)
		synctest.Wait()
		options.Checkpoint = saved
		refuses(t, receiver(t, ch, options), played[0], keyring.ErrArchived)
	})
}

// TestCheckpointRefused: none but the ring's own, of this channel, whole.
func TestCheckpointRefused(t *testing.T) {
	ctx := t.Context()
	m, ring, ch := stage(t, keyring.ChannelOptions{})
	r := receiver(t, ch, keyring.ReceiverOptions{})
	opens(t, r, seal(t, sender(t, ch), "x"), "x")
	saved := must(r.Checkpoint())(t)
	refused := func(ch *keyring.Channel, saved []byte, want error) {
		t.Helper()
		_, err := ch.Receiver(ctx, keyring.ReceiverOptions{Checkpoint: saved})
		wantErr(t, err, want)
	}
	for i := range saved {
		altered := bytes.Clone(saved)
		altered[i] ^= 0x40
		want := keyring.ErrDamaged
		if i == len("chanseal checkpoint") {
			want = keyring.ErrVersion
		}
		refused(ch, altered, want)
		refused(ch, saved[:i], keyring.ErrDamaged)
	}
	refused(must(ring.Create(ctx, "another", keyring.ChannelOptions{}))(t), saved, keyring.ErrDamaged)
	refused(must(newRing(t, keyringtest.NewMemory()).Create(ctx, "stage", keyring.ChannelOptions{}))(t), saved, keyring.ErrDamaged)
	must(ch.Rotate(ctx, ""))(t)
	must(ch.Forget(ctx, 1))(t)
	must(ch.Receiver(ctx, keyring.ReceiverOptions{Checkpoint: saved}))(t).Close() // of an epoch that is gone
	must(must(reopen(t, m).Channel(ctx, "stage"))(t).Receiver(ctx, keyring.ReceiverOptions{Checkpoint: saved}))(t).Close()
}
