package keyring_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// Sender numbers that a later bundle does not grant any more stop a Sender that runs; one
// that grants them again lets it go on.
func TestGrantWithdrawn(t *testing.T) { synctest.Test(t, testGrantWithdrawn) }

func testGrantWithdrawn(t *testing.T) {
	ctx := t.Context()
	_, ch, from := issuing(t)
	me := newIdentity(t, "x25519")
	r := newRing(t, keyringtest.NewMemory())
	give := func(senders ...keyring.SenderRange) {
		t.Helper()
		bundle := export(t, ch, keyring.Grant{To: me.Recipient(), Senders: senders})
		must(r.Import(ctx, bundle, keyring.ImportOptions{Identities: []*keyring.Identity{me}, From: from}))(t)
		time.Sleep(time.Second) // in the bubble: Senders have heard of it
		synctest.Wait()
	}
	give(keyring.SenderRange{7, 8})
	there := must(r.Channel(ctx, "stage"))(t)
	s7, s8 := must(there.Sender(ctx, 7, keyring.SenderOptions{}))(t), must(there.Sender(ctx, 8, keyring.SenderOptions{}))(t)
	defer s7.Close()
	defer s8.Close()
	home := receiver(t, ch, keyring.ReceiverOptions{})
	opens(t, home, seal(t, s7, "7"), "7")

	give(keyring.SenderRange{8, 9})
	_, err := s7.Seal(nil, []byte("frame"), nil)
	wantErr(t, err, keyring.ErrNotGranted)
	opens(t, home, seal(t, s8, "8"), "8")
	give()
	_, err = s8.Seal(nil, []byte("frame"), nil)
	wantErr(t, err, keyring.ErrNotGranted)

	must(ch.Rotate(ctx, ""))(t)
	give(keyring.SenderRange{7, 7})
	opens(t, home, seal(t, s7, "7 again"), "7 again")
	_, err = s8.Seal(nil, []byte("frame"), nil)
	wantErr(t, err, keyring.ErrNotGranted)
}

// A key string of a vendor makes no epoch of a channel that somebody else keeps.
func TestKeptFromVendor(t *testing.T) {
	ctx := t.Context()
	_, ch, from := issuing(t)
	me := newIdentity(t, "x25519")
	r := newRing(t, keyringtest.NewMemory())
	want := must(r.Import(ctx, export(t, ch, keyring.Grant{To: me.Recipient()}), keyring.ImportOptions{Identities: []*keyring.Identity{me}, From: from}))(t)
	_, _, err := r.ImportVendor(ctx, "stage", keyring.VendorKey{Mode: "aes-128-xts", Key: []byte("a key")}, keyring.Policy{})
	wantErr(t, err, keyring.ErrKept)
	if got := must(must(r.Channel(ctx, "stage"))(t).Show(ctx))(t); got.Epoch != want.Epoch || got.Fingerprint != want.Fingerprint {
		t.Fatalf("epoch %d", got.Epoch)
	}
}

// Who was away for more epochs than a channel keeps is told so, and comes back by giving
// up what they have; what was forgotten stays so.
func TestAwayForLong(t *testing.T) {
	ctx := t.Context()
	r := newRing(t, keyringtest.NewMemory())
	accept := func(serial, number uint64) error {
		return second(r.Accept(ctx, "stage", keyring.Acceptance{Keeper: []byte("k"), Serial: serial, Epochs: []keyring.Given{
			{Number: number, State: keyring.Active, Suite: 4, Created: time.Now(), Secret: bytes.Repeat([]byte{byte(number)}, 32)}}}))
	}
	if err := accept(1, 1); err != nil {
		t.Fatal(err)
	}
	const far = 2 * keyring.MaxEpochs
	wantErr(t, accept(2, far), keyring.ErrFull)
	ch := must(r.Channel(ctx, "stage"))(t)
	must(ch.ForgetAll(ctx))(t)
	if err := accept(3, far); err != nil {
		t.Fatal(err)
	}
	if info := must(ch.Show(ctx))(t); info.Epoch != far || info.Floor != far-1 || len(info.Epochs) != 1 {
		t.Fatalf("epoch %d, floor %d, %d epochs", info.Epoch, info.Floor, len(info.Epochs))
	}
	wantErr(t, accept(4, far-1), keyring.ErrOlder)
}

// What a trusted issuer seals is taken or refused whatever it is, and what was taken can
// be read back.
func FuzzBundleBody(f *testing.F) {
	_, ch, _ := issuing(f)
	must(ch.Rotate(f.Context(), ""))(f)
	must(ch.Stage(f.Context(), ""))(f)
	me := newIdentity(f, "x25519")
	u := must(keyring.ParseBundle(export(f, ch, keyring.Grant{To: me.Recipient(), Senders: []keyring.SenderRange{{1, 2}, {9, 9}}})))(f)
	ranges, body, err := keyring.Body(u, me)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ranges, body)
	f.Add([]byte{0, 0}, body)
	f.Add([]byte{0, 0}, body[:40])
	f.Fuzz(func(t *testing.T, ranges, body []byte) {
		r := must(keyring.Create(t.Context(), keyringtest.NewMemory(), testOptions))(t)
		defer r.Close()
		if keyring.AcceptBody(t.Context(), r, ranges, body) != nil {
			if all := must(r.Channels(t.Context()))(t); len(all) != 0 {
				t.Fatalf("%d channels of what was refused", len(all))
			}
			return
		}
		all := must(r.Channels(t.Context()))(t)
		if len(all) != 1 || all[0].Epoch == 0 {
			t.Fatalf("taken, and then: %+v", all)
		}
		if err := keyring.AcceptBody(t.Context(), r, ranges, body); err != nil {
			t.Fatalf("taken once, then: %v", err)
		}
	})
}
