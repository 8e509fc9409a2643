package client_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
	"github.com/chanseal/chanseal/keyserver/client"
)

// memberRing is a member with a ring of their own.
func (w *world) memberRing(o client.Options) (*client.Member, *keyring.Channel) {
	w.t.Helper()
	ring := must(keyring.Create(w.t.Context(), keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}, Now: o.Now}))(w.t)
	w.t.Cleanup(func() { ring.Close() })
	o.Ring = ring
	m := w.join(&kept{}, o)
	if o.Channel == "" {
		o.Channel = "stage"
	}
	return m, must(ring.Channel(w.t.Context(), o.Channel))(w.t)
}

// call has one seal frames, and others open them, every 20 ms for a while. It returns how
// many each of them could not open.
func call(t *testing.T, span time.Duration, from *keyring.Sender, to ...*keyring.Receiver) []int {
	t.Helper()
	lost := make([]int, len(to))
	for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		frame := []byte(time.Now().String())
		sealed := must(from.Seal(nil, frame, nil))(t)
		for i, r := range to {
			if got, err := r.Open(nil, sealed, nil); err != nil || !bytes.Equal(got, frame) {
				lost[i]++
			}
		}
	}
	return lost
}

// TestRingKept: a member's ring opens and seals through rotations, joins and leaves
// without a frame lost, and who was put out opens nothing of the epoch after.
func TestRingKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		must(w.ch.SetPolicy(t.Context(), keyring.Policy{}))(t)
		h := w.start("one", shared)
		a, chA := w.memberRing(client.Options{})
		b, chB := w.memberRing(client.Options{UID: "2", Plain: true})
		defer a.Close()
		ctx := t.Context()
		sender := must(chA.Sender(ctx, a.Sender(), keyring.SenderOptions{}))(t)
		defer sender.Close()
		opens := func(ch *keyring.Channel) *keyring.Receiver {
			r := must(ch.Receiver(ctx, keyring.ReceiverOptions{}))(t)
			t.Cleanup(func() { r.Close() })
			return r
		}
		home, other := opens(w.ch), opens(chB)
		if lost := call(t, 3*time.Second, sender, home, other); lost[0]+lost[1] != 0 {
			t.Fatalf("lost %v", lost)
		}
		// It seals under no other number, and makes no epochs of its own.
		if _, err := chA.Sender(ctx, a.Sender()+1, keyring.SenderOptions{}); !errors.Is(err, keyring.ErrNotGranted) {
			t.Fatalf("under another member's number: %v", err)
		}
		if _, err := chA.Revoke(ctx, ""); !errors.Is(err, keyring.ErrKept) {
			t.Fatalf("a member rotates: %v", err)
		}
		must(w.ch.PutOut(ctx))(t) // a rotation by the operator
		if lost := call(t, 20*time.Second, sender, home, other); lost[0]+lost[1] != 0 {
			t.Fatalf("lost %v in a rotation", lost)
		}
		c, _ := w.memberRing(client.Options{UID: "3"})
		c.Close()
		if lost := call(t, 30*time.Second, sender, home, other); lost[0]+lost[1] != 0 {
			t.Fatalf("lost %v in a join and a leave", lost)
		}

		// Put out: nothing of the next epoch opens, for the rest nothing is lost.
		if err := h.gate.Revoke(channelkey.Revocation{User: "2", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		if lost := call(t, 6*time.Second, sender, home); lost[0] != 0 {
			t.Fatalf("lost %v when another was put out", lost)
		}
		lost := call(t, 20*time.Second, sender, home, other)
		if lost[0] != 0 || lost[1] != 1000 {
			t.Fatalf("of 1000 frames %d are lost, and who was put out opens %d", lost[0], 1000-lost[1])
		}
	})
}

// TestMinuteAway: a minute without a server, with a rotation in it, is no gap: neither
// for what the member opens nor for what they seal.
func TestMinuteAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		must(w.ch.SetPolicy(t.Context(), keyring.Policy{Age: 50 * time.Second, Ahead: true}))(t)
		w.start("one", shared)
		m, ch := w.memberRing(client.Options{Card: w.oneCard("1")})
		ctx := t.Context()
		theirs := must(ch.Sender(ctx, m.Sender(), keyring.SenderOptions{}))(t)
		ours := must(w.ch.Sender(ctx, 9, keyring.SenderOptions{}))(t)
		opensTheirs := must(w.ch.Receiver(ctx, keyring.ReceiverOptions{}))(t)
		opensOurs := must(ch.Receiver(ctx, keyring.ReceiverOptions{}))(t)
		defer func() { theirs.Close(); ours.Close(); opensOurs.Close(); opensTheirs.Close(); m.Close() }()
		time.Sleep(20 * time.Second)
		before, _ := w.active()
		w.kill("one")
		for range 6 {
			if lost := call(t, 5*time.Second, ours, opensOurs); lost[0] != 0 {
				t.Fatalf("the member lost %d frames while the server was away", lost[0])
			}
			if lost := call(t, 5*time.Second, theirs, opensTheirs); lost[0] != 0 {
				t.Fatalf("%d frames of the member were lost while the server was away", lost[0])
			}
		}
		if now, _ := w.active(); now == before {
			t.Fatal("nothing rotated")
		}
		w.start("one", shared)
		time.Sleep(10 * time.Second)
		if m.Err() != nil || !m.Lost().IsZero() {
			t.Fatalf("not back: %v", m.Err())
		}
		for range 10 {
			if lost := call(t, 10*time.Second, ours, opensOurs); lost[0] != 0 {
				t.Fatalf("lost %d frames afterwards", lost[0])
			}
		}
	})
}

// TestPutOutIsRefused: what somebody who was put out goes on to seal, under the epochs that
// they had, members refuse as soon as they hold the next one.
func TestPutOutIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		must(w.ch.SetPolicy(t.Context(), keyring.Policy{}))(t)
		h := w.start("one", shared)
		a, chA := w.memberRing(client.Options{})
		b, chB := w.memberRing(client.Options{UID: "2"})
		defer a.Close()
		ctx := t.Context()
		theirs := must(chB.Sender(ctx, b.Sender(), keyring.SenderOptions{}))(t)
		ours := must(w.ch.Sender(ctx, 9, keyring.SenderOptions{}))(t)
		atA := must(chA.Receiver(ctx, keyring.ReceiverOptions{}))(t)
		defer func() { theirs.Close(); ours.Close(); atA.Close() }()
		if lost := call(t, time.Second, theirs, atA); lost[0] != 0 {
			t.Fatalf("lost %v", lost)
		}
		if err := h.gate.Revoke(channelkey.Revocation{User: "2", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		synctest.Wait()
		before, _ := w.active()
		if lost := call(t, 3*time.Second, theirs, atA); lost[0] != 150 {
			t.Errorf("members open %d frames of who was put out", 150-lost[0])
		}
		if now, _ := w.active(); now != before {
			t.Error("the next epoch became active meanwhile")
		}
		if lost := call(t, 3*time.Second, ours, atA); lost[0] != 0 {
			t.Errorf("lost %v of another", lost)
		}
	})
}

// TestMemberClockWrong: a member whose clock is minutes off from the server's loses no frame
// in a rotation, of others or their own.
func TestMemberClockWrong(t *testing.T) {
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute, 3 * time.Second} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				must(w.ch.SetPolicy(t.Context(), keyring.Policy{}))(t)
				w.start("one", shared)
				wrong := func() time.Time { return time.Now().Round(0).Add(off) }
				a, chA := w.memberRing(client.Options{Now: wrong})
				b, chB := w.memberRing(client.Options{UID: "2"})
				ctx := t.Context()
				theirs := must(chA.Sender(ctx, a.Sender(), keyring.SenderOptions{}))(t)
				ours := must(chB.Sender(ctx, b.Sender(), keyring.SenderOptions{}))(t)
				atA := must(chA.Receiver(ctx, keyring.ReceiverOptions{}))(t)
				atB := must(chB.Receiver(ctx, keyring.ReceiverOptions{}))(t)
				defer func() {
					theirs.Close()
					ours.Close()
					atA.Close()
					atB.Close()
					a.Close()
					b.Close()
				}()
				for range 3 {
					must(w.ch.PutOut(ctx))(t)
					for range 20 {
						if lost := call(t, 500*time.Millisecond, theirs, atB); lost[0] != 0 {
							t.Fatalf("%d frames of the member are lost", lost[0])
						}
						if lost := call(t, 500*time.Millisecond, ours, atA); lost[0] != 0 {
							t.Fatalf("the member loses %d frames", lost[0])
						}
					}
				}
			})
		})
	}
}
