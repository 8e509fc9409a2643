package keyring_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// issuing is a ring that exports, and its channel.
func issuing(t testing.TB) (*keyring.Ring, *keyring.Channel, string) {
	r := newRing(t, keyringtest.NewMemory())
	ch := must(r.Create(t.Context(), "stage", keyring.ChannelOptions{}))(t)
	return r, ch, must(r.Fingerprint(t.Context()))(t)
}

func newIdentity(t testing.TB, kem string) *keyring.Identity {
	t.Helper()
	if kem != "age" && kem != "age-pq" {
		return must(keyring.NewIdentity(kem))(t)
	}
	var text string
	if kem == "age" {
		text = must(age.GenerateX25519Identity())(t).String()
	} else {
		text = must(age.GenerateHybridIdentity())(t).String()
	}
	return must(keyring.ParseIdentities(strings.NewReader("# mine\n\n" + text + "\n")))(t)[0]
}

func export(t testing.TB, ch *keyring.Channel, grants ...keyring.Grant) []byte {
	t.Helper()
	return must(ch.Export(t.Context(), keyring.ExportOptions{To: grants}))(t)
}

// A bundle takes a channel to another ring, whatever the recipients' keys are: each may
// seal under its own numbers, or not at all, and everybody opens what all seal.
func TestBundle(t *testing.T) {
	ctx := t.Context()
	home, ch, from := issuing(t)
	if again := must(home.Fingerprint(ctx))(t); again != from || len(from) != 39 {
		t.Fatalf("fingerprint %q, then %q", from, again)
	}
	must(ch.Rotate(ctx, ""))(t)
	must(ch.Stage(ctx, ""))(t)
	kinds := []string{"", "mlkem768-x25519", "x25519", "p256", "age", "age-pq"}
	var ids []*keyring.Identity
	var grants []keyring.Grant
	for i, kem := range kinds {
		ids = append(ids, newIdentity(t, kem))
		to := must(keyring.ParseRecipient(ids[i].Recipient().String()))(t)
		g := keyring.Grant{To: to}
		if i%2 == 0 {
			g.Senders = []keyring.SenderRange{{uint16(10 * i), uint16(10*i + 3)}, {1000, 1000}}
		}
		grants = append(grants, g)
	}
	bundle := export(t, ch, grants...)
	homeSender, homeReceiver := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
	fromHome := seal(t, homeSender, "from home")
	for i, id := range ids {
		t.Run("kem="+kinds[i], func(t *testing.T) {
			r := newRing(t, keyringtest.NewMemory())
			info := must(r.Import(ctx, bundle, keyring.ImportOptions{Identities: []*keyring.Identity{newIdentity(t, "x25519"), id}, From: strings.ToUpper(from)}))(t)
			want := must(ch.Show(ctx))(t)
			if info.Name != "stage" || info.Epoch != want.Epoch || info.Fingerprint != want.Fingerprint || len(info.Epochs) != len(want.Epochs) || info.Keeper == nil {
				t.Fatalf("imported %+v\nwant %+v", info, want)
			}
			there := must(r.Channel(ctx, "stage"))(t)
			opens(t, receiver(t, there, keyring.ReceiverOptions{}), fromHome, "from home")
			for number, may := range map[uint16]bool{uint16(10 * i): i%2 == 0, uint16(10*i + 3): i%2 == 0, uint16(10*i + 4): false, 999: false, 1000: i%2 == 0, 65535: false} {
				s, err := there.Sender(ctx, number, keyring.SenderOptions{})
				if !may {
					wantErr(t, err, keyring.ErrNotGranted)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				opens(t, homeReceiver, seal(t, s, "from there"), "from there")
				s.Close()
			}
			// Who was given a channel does not make its epochs, nor gives it on.
			for what, err := range map[string]error{
				"rotate": second(there.Rotate(ctx, "")), "revoke": second(there.Revoke(ctx, "")), "stage": second(there.Stage(ctx, "")),
				"activate": second(there.Activate(ctx)), "put out": second(there.PutOut(ctx, 1)), "policy": second(there.SetPolicy(ctx, keyring.Policy{Age: time.Hour})),
				"export": second(there.Export(ctx, keyring.ExportOptions{To: grants[:1]})), "create": second(r.Create(ctx, "stage", keyring.ChannelOptions{})),
			} {
				if !errors.Is(err, keyring.ErrKept) && !errors.Is(err, keyring.ErrChannelExists) {
					t.Errorf("%s: %v", what, err)
				}
			}
			// Pinned now; and again is once too often.
			_, err := r.Import(ctx, bundle, keyring.ImportOptions{Identities: ids})
			wantErr(t, err, keyring.ErrBundleReplayed, keyring.ErrBundle)
		})
	}
}

func second[T any](_ T, err error) error { return err }

// What a bundle is refused for, each with its own reason.
func TestBundleRefused(t *testing.T) {
	ctx := t.Context()
	home, ch, from := issuing(t)
	me, other := newIdentity(t, "x25519"), newIdentity(t, "x25519")
	mine := []*keyring.Identity{me}
	bundle := export(t, ch, keyring.Grant{To: me.Recipient()})
	r := newRing(t, keyringtest.NewMemory())
	try := func(b []byte, o keyring.ImportOptions) error { return second(r.Import(ctx, b, o)) }

	wantErr(t, try(bundle, keyring.ImportOptions{Identities: mine}), keyring.ErrBundleIssuer)                                            // not pinned
	wantErr(t, try(bundle, keyring.ImportOptions{Identities: mine, From: strings.Repeat("0000-", 7) + "0000"}), keyring.ErrBundleIssuer) // planted
	wantErr(t, try(bundle, keyring.ImportOptions{Identities: mine, From: from[:34]}), keyring.ErrBundleIssuer)
	wantErr(t, try(bundle, keyring.ImportOptions{Identities: []*keyring.Identity{other}, From: from}), keyring.ErrBundleRecipient)
	wantErr(t, try(nil, keyring.ImportOptions{Identities: mine, From: from}), keyring.ErrBundleForm)
	next := bytes.Clone(bundle)
	next[len("chanseal bundle")]++ // a version to come
	wantErr(t, try(next, keyring.ImportOptions{Identities: mine, From: from}), keyring.ErrBundleForm)
	for at := range bundle { // altered, cut
		bad := bytes.Clone(bundle)
		bad[at] ^= 1
		if err := try(bad, keyring.ImportOptions{Identities: mine, From: from}); !errors.Is(err, keyring.ErrBundle) {
			t.Fatalf("byte %d changed: %v", at, err)
		}
		if at%7 == 0 {
			if err := try(bundle[:at], keyring.ImportOptions{Identities: mine, From: from}); !errors.Is(err, keyring.ErrBundle) {
				t.Fatalf("cut at %d: %v", at, err)
			}
		}
	}
	// Another issuer signs what this one sealed: it is another bundle, whose parts are for
	// another issuer.
	thief := newRing(t, keyringtest.NewMemory())
	stolen := must(keyring.Resign(bundle, thief))(t)
	wantErr(t, try(stolen, keyring.ImportOptions{Identities: mine, From: must(thief.Fingerprint(ctx))(t)}), keyring.ErrBundleRecipient)
	// Early and late.
	now := time.Now()
	keyring.SetClock(r, func() time.Time { return now.Add(-2 * time.Minute) })
	wantErr(t, try(bundle, keyring.ImportOptions{Identities: mine, From: from}), keyring.ErrBundleEarly)
	keyring.SetClock(r, func() time.Time { return now.Add(8 * 24 * time.Hour) })
	wantErr(t, try(bundle, keyring.ImportOptions{Identities: mine, From: from}), keyring.ErrBundleExpired)
	keyring.SetClock(r, time.Now)
	if n := len(must(r.Channels(ctx))(t)); n != 0 {
		t.Fatalf("%d channels after refusals", n)
	}
	wantErr(t, try(bundle, keyring.ImportOptions{Identities: mine}), keyring.ErrBundleIssuer) // nor was anybody pinned

	// An older one after a newer one.
	must(ch.Rotate(ctx, ""))(t)
	newer := export(t, ch, keyring.Grant{To: me.Recipient()})
	if err := try(newer, keyring.ImportOptions{Identities: mine, From: from}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, try(bundle, keyring.ImportOptions{Identities: mine}), keyring.ErrBundleReplayed)
	// The channel of one issuer from another; of this ring itself, too.
	rogue, rogueCh, rogueFrom := issuing(t)
	_ = rogue
	wantErr(t, try(export(t, rogueCh, keyring.Grant{To: me.Recipient()}), keyring.ImportOptions{Identities: mine, From: rogueFrom}), keyring.ErrOtherKeeper)
	wantErr(t, second(home.Import(ctx, export(t, rogueCh, keyring.Grant{To: me.Recipient()}), keyring.ImportOptions{Identities: mine, From: rogueFrom})), keyring.ErrOtherKeeper)
}

// A ring follows the channel by bundles: what is known stays, what rotates goes on, and
// what was forgotten comes not back.
func TestBundleFollows(t *testing.T) { synctest.Test(t, testBundleFollows) }

func testBundleFollows(t *testing.T) {
	ctx := t.Context()
	_, ch, from := issuing(t)
	me := newIdentity(t, "x25519")
	r := newRing(t, keyringtest.NewMemory())
	o := keyring.ImportOptions{Identities: []*keyring.Identity{me}, From: from}
	give := func() keyring.Info {
		t.Helper()
		return must(r.Import(ctx, must(ch.Export(ctx, keyring.ExportOptions{To: []keyring.Grant{{To: me.Recipient(), Senders: []keyring.SenderRange{{7, 7}}}}, Archive: true}))(t), o))(t)
	}
	news := synctest.Wait // Senders and Receivers have heard of it
	give()
	there := must(r.Channel(ctx, "stage"))(t)
	s := must(there.Sender(ctx, 7, keyring.SenderOptions{}))(t)
	old := seal(t, s, "old")
	for range 300 {
		must(ch.Rotate(ctx, ""))(t)
	}
	if info := give(); info.Epoch != 301 {
		t.Fatalf("epoch %d", info.Epoch)
	}
	news()
	opens(t, receiver(t, ch, keyring.ReceiverOptions{}), seal(t, s, "new"), "new")
	opens(t, receiver(t, there, keyring.ReceiverOptions{Archive: true}), old, "old")
	must(there.Forget(ctx, 1))(t)
	must(ch.Revoke(ctx, ""))(t)
	if info := give(); info.Epoch != 302 || info.Epochs[0].Number == 1 && info.Epochs[0].State != keyring.Forgotten {
		t.Fatalf("epoch %d; the first listed is %d, %v", info.Epoch, info.Epochs[0].Number, info.Epochs[0].State)
	}
	refuses(t, receiver(t, there, keyring.ReceiverOptions{Archive: true}), old)
	// Excluded: nothing of what follows opens.
	must(ch.Revoke(ctx, "put out"))(t)
	refuses(t, receiver(t, there, keyring.ReceiverOptions{}), seal(t, sender(t, ch), "not for them"))
}

// Another secret for a known epoch, and epochs that go back, are refused, whoever signs.
func TestAcceptRefuses(t *testing.T) {
	ctx := t.Context()
	r := newRing(t, keyringtest.NewMemory())
	secret := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	given := func(n uint64, state keyring.State, b byte) keyring.Given {
		return keyring.Given{Number: n, State: state, Suite: 4, Created: time.Now(), Secret: secret(b)}
	}
	accept := func(serial uint64, epochs ...keyring.Given) error {
		return second(r.Accept(ctx, "stage", keyring.Acceptance{Keeper: []byte("k"), Serial: serial, Epochs: epochs}))
	}
	if err := accept(5, given(4, keyring.Retiring, 4), given(5, keyring.Active, 5), given(6, keyring.Staged, 6)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"serial":        {accept(4, given(5, keyring.Active, 5)), keyring.ErrOlder},
		"other secret":  {accept(6, given(5, keyring.Active, 50)), keyring.ErrOtherSecret},
		"other staged":  {accept(6, given(5, keyring.Active, 5), given(6, keyring.Staged, 60)), keyring.ErrOtherSecret},
		"other retired": {accept(6, given(4, keyring.Archived, 40), given(5, keyring.Active, 5)), keyring.ErrOtherSecret},
		"lower epoch":   {accept(6, given(4, keyring.Active, 4)), keyring.ErrOlder},
		"lower unknown": {accept(6, given(3, keyring.Active, 3)), keyring.ErrOlder},
		"far":           {accept(6, given(5+keyring.MaxEpochs, keyring.Active, 9)), keyring.ErrFull},
		"other keeper":  {second(r.Accept(ctx, "stage", keyring.Acceptance{Keeper: []byte("x"), Serial: 9, Epochs: []keyring.Given{given(7, keyring.Active, 7)}})), keyring.ErrOtherKeeper},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if err := accept(6, given(5, keyring.Active, 50)); strings.Count(err.Error(), "-") != 14 {
		t.Errorf("two fingerprints to compare are missing: %v", err)
	}
	for name, epochs := range map[string][]keyring.Given{
		"none":           {},
		"no active":      {given(6, keyring.Staged, 6)},
		"two active":     {given(6, keyring.Active, 6), given(7, keyring.Active, 7)},
		"order":          {given(7, keyring.Active, 7), given(6, keyring.Staged, 6)},
		"zero":           {given(0, keyring.Active, 7)},
		"staged before":  {given(6, keyring.Staged, 6), given(7, keyring.Active, 7)},
		"forgotten":      {given(7, keyring.Forgotten, 7)},
		"short":          {{Number: 7, State: keyring.Active, Suite: 4, Secret: secret(7)[:31]}},
		"unknown suite":  {{Number: 7, State: keyring.Active, Suite: 0xfff0, Secret: secret(7)}},
		"retired behind": {given(7, keyring.Active, 7), given(8, keyring.Retiring, 8)},
	} {
		if err := accept(6, epochs...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	info := must(must(r.Channel(ctx, "stage"))(t).Show(ctx))(t)
	if info.Epoch != 5 || len(info.Epochs) != 3 {
		t.Fatalf("what was refused left traces: %+v", info)
	}
	// A clock that is ahead has activated what is still staged there: no step back.
	if err := accept(6, given(5, keyring.Retiring, 5), given(6, keyring.Active, 6)); err != nil {
		t.Fatal(err)
	}
	if err := accept(7, given(5, keyring.Active, 5), given(6, keyring.Staged, 6)); err != nil {
		t.Fatal(err)
	}
	if info := must(must(r.Channel(ctx, "stage"))(t).Show(ctx))(t); info.Epoch != 6 {
		t.Fatalf("back to epoch %d", info.Epoch)
	}
}

// The secrets of identities and bundles are not printed, and their text comes back.
func TestIdentityText(t *testing.T) {
	for _, kem := range []string{"mlkem768-x25519", "x25519", "p256"} {
		id := newIdentity(t, kem)
		text := must(id.Secret())(t)
		back := must(keyring.ParseIdentities(strings.NewReader(text)))(t)[0]
		if back.Recipient().String() != id.Recipient().String() || !strings.HasPrefix(text, "hpke-secret:"+kem+":") {
			t.Errorf("%s does not come back", kem)
		}
		if out := fmt.Sprintf("%v %+v %#v %s", id, id, id, id); out != "REDACTED REDACTED REDACTED REDACTED" {
			t.Errorf("an identity prints as %q", out)
		}
	}
	for _, bad := range []string{"", "# nothing", "hpke-secret:x25519:AAAA", "hpke-secret:x448:AAAA", "age1qqqq", "hpke-secret:x25519:" + strings.Repeat("A", 70000)} {
		if _, err := keyring.ParseIdentities(strings.NewReader(bad)); err == nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%.30q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "hpke:", "hpke:x25519:", "hpke:x25519:AA==", "age1", "age1pq1", "ssh-ed25519 AAAA", "hpke:p256:" + strings.Repeat("A", 87)} {
		if _, err := keyring.ParseRecipient(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// Debian's age opens a part that is sealed to an age recipient.
func TestBundleAgeProgram(t *testing.T) {
	program, err := exec.LookPath("age")
	if err != nil {
		t.Skip("age is not here")
	}
	id := must(age.GenerateX25519Identity())(t)
	to := must(keyring.ParseRecipient(id.Recipient().String()))(t)
	_, ch, _ := issuing(t)
	parts, info := keyring.Parts(must(keyring.ParseBundle(export(t, ch, keyring.Grant{To: to, Senders: []keyring.SenderRange{{3, 4}}})))(t))
	dir := t.TempDir()
	key, part := filepath.Join(dir, "key"), filepath.Join(dir, "part")
	for path, data := range map[string][]byte{key: []byte(id.String() + "\n"), part: parts[0]} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), program, "-d", "-i", key, part).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out, info) || len(out) != len(info)+32+2+4 || !bytes.HasSuffix(out, []byte{0, 1, 0, 3, 0, 4}) {
		t.Fatalf("%d bytes, not what the format says", len(out))
	}
}

// Nothing but what was exported is imported.
func FuzzBundle(f *testing.F) {
	_, ch, from := issuing(f)
	me := newIdentity(f, "x25519")
	r := newRing(f, keyringtest.NewMemory())
	good := export(f, ch, keyring.Grant{To: me.Recipient()})
	f.Add(good)
	f.Add([]byte("chanseal bundle\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := r.Import(t.Context(), b, keyring.ImportOptions{Identities: []*keyring.Identity{me}, From: from})
		if err == nil && !bytes.Equal(b, good) {
			t.Fatal("imported")
		}
	})
}

// A rotation for 1,000 members: their parts of a bundle, and the signature.
func BenchmarkBundle(b *testing.B) {
	for _, kem := range []string{"x25519", "mlkem768-x25519", "p256"} {
		b.Run("kem="+kem+"/recipients=1000", func(b *testing.B) {
			_, ch, _ := issuing(b)
			var grants []keyring.Grant
			for i := range 1000 {
				grants = append(grants, keyring.Grant{To: newIdentity(b, kem).Recipient(), Senders: []keyring.SenderRange{{uint16(i), uint16(i)}}})
			}
			for b.Loop() {
				export(b, ch, grants...)
			}
		})
	}
}
