package keyring_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestImportVendor: two rings that never met, given the same, open each other's frames;
// given anything else, they do not, and the fingerprints tell.
func TestImportVendor(t *testing.T) {
	ctx := t.Context()
	end := func(name string, keys ...keyring.VendorKey) (*keyring.Channel, keyring.Info) {
		r := newRing(t, keyringtest.NewMemory())
		var ch *keyring.Channel
		var info keyring.Info
		var err error
		for _, k := range keys {
			ch, info, err = r.ImportVendor(ctx, name, k, keyring.Policy{})
			if err != nil {
				t.Fatal(err)
			}
		}
		return ch, info
	}
	digits := "00112233445566778899aabbccddeeff"
	text := keyring.VendorKey{Mode: "7", Key: []byte(digits), Hex: keyring.HexAsText, Salt: "X5w9T+50kzxVOnkJKiY/lUk82/bES2kATOt3vBuGEDw="}
	raw := text
	raw.Hex = keyring.HexAsBytes
	mode := text
	mode.Mode, mode.Salt = "5", ""
	a, infoA := end("stage", text)
	b, infoB := end("stage", text)
	if infoA.Epoch != 1 || infoA.Suite != "aes-128-gcm" || infoA.Epochs[0].Kind != keyring.Vendor || infoA.Fingerprint != infoB.Fingerprint {
		t.Fatalf("%+v, %+v", infoA, infoB)
	}
	sealed := seal(t, sender(t, a), "a frame")
	opens(t, receiver(t, b, keyring.ReceiverOptions{}), sealed, "a frame")
	for what, other := range map[string]struct {
		name string
		keys []keyring.VendorKey
	}{
		"the other reading": {"stage", []keyring.VendorKey{raw}},
		"another mode":      {"stage", []keyring.VendorKey{mode}},
		"another channel":   {"stage 2", []keyring.VendorKey{text}},
		"another epoch":     {"stage", []keyring.VendorKey{raw, text}},
	} {
		ch, info := end(other.name, other.keys...)
		if info.Fingerprint == infoA.Fingerprint {
			t.Errorf("%s: the same fingerprint", what)
		}
		if _, err := receiver(t, ch, keyring.ReceiverOptions{}).Open(nil, sealed, nil); err == nil {
			t.Errorf("%s: opens", what)
		}
	}
}

// TestImportAgain: the same key is imported once; another one begins an epoch, on both
// ends with the same number; and no policy makes one that the other end lacks.
func TestImportAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r := newRing(t, keyringtest.NewMemory())
		one, two := keyring.VendorKey{Mode: "5", Key: []byte("one")}, keyring.VendorKey{Mode: "6", Key: []byte("two")}
		policy := keyring.Policy{Frames: 10, Age: time.Minute, Ahead: true}
		ch, _, err := r.ImportVendor(ctx, "stage", one, policy)
		if err != nil {
			t.Fatal(err)
		}
		s := sender(t, ch)
		for range 20 {
			seal(t, s, "x")
		}
		time.Sleep(time.Hour)
		_, info, err := r.ImportVendor(ctx, "stage", one, policy)
		if err != nil || info.Epoch != 1 || len(info.Epochs) != 1 {
			t.Fatalf("%+v, %v", info, err)
		}
		_, info, err = r.ImportVendor(ctx, "stage", two, policy)
		if err != nil || info.Epoch != 2 || info.Suite != "aes-256-gcm" || info.Epochs[0].State != keyring.Retiring {
			t.Fatalf("%+v, %v", info, err)
		}
		synctest.Wait()
		if s.Origin().Epoch != 2 {
			t.Error("the Sender did not follow")
		}
		must(ch.Stage(ctx, ""))(t)
		_, _, err = r.ImportVendor(ctx, "stage", one, policy)
		wantErr(t, err, keyring.ErrStaged)
		must(ch.ForgetAll(ctx))(t)
		if _, info, err = r.ImportVendor(ctx, "stage", one, policy); err != nil || info.Epoch != 4 {
			t.Fatalf("%+v, %v", info, err)
		}
		if _, _, err = r.ImportVendor(ctx, " stage", one, policy); err == nil {
			t.Error("a name that Create refuses")
		}
	})
}
