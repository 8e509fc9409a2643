package keyring_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// exporter stands for the exporter of an agreement in an epoch: all members have the same.
func exporter(epoch uint64) cipher.Exporter {
	return func(label string, context []byte, length int) ([]byte, error) {
		return hkdf.Key(sha256.New, fmt.Append(nil, "the secret of epoch ", epoch), context, label, length)
	}
}

// group makes a Group on a ring of its own.
func group(t testing.TB, ring *keyring.Ring, o keyring.GroupOptions) *keyring.Group {
	t.Helper()
	g := must(ring.Group("stage", o))(t)
	t.Cleanup(func() { g.Close() })
	return g
}

func advance(t testing.TB, g *keyring.Group, epoch, index uint64) {
	t.Helper()
	if err := g.Advance(t.Context(), epoch, index, exporter(epoch)); err != nil {
		t.Fatal(err)
	}
}

// TestGroup: members who only share the agreement's secret open each other's frames, and
// so does whoever follows RFC 9605, Section 5.2, to the letter.
func TestGroup(t *testing.T) {
	for _, suite := range cipher.Suites() {
		o := keyring.GroupOptions{Suite: suite}
		a, b := group(t, newRing(t, keyringtest.NewMemory()), o), group(t, newRing(t, keyringtest.NewMemory()), o)
		if _, err := a.Seal(nil, nil, nil); err != cipher.ErrUnknownKey {
			t.Fatalf("before any epoch: %v", err)
		}
		advance(t, a, 300, 7)
		sealed := seal(t, a, "a frame")
		refuses(t, b, sealed, cipher.ErrUnknownKey)
		advance(t, b, 300, 9)
		out, index, err := b.OpenFrom(nil, sealed, nil)
		if err != nil || string(out) != "a frame" || index != 7 {
			t.Fatalf("%v: %q from %d, %v", suite, out, index, err)
		}
		refuses(t, b, sealed, cipher.ErrReplayed)
		if len(sealed)-len("a frame") > a.Overhead() {
			t.Errorf("%v: %d bytes more, Overhead says %d", suite, len(sealed)-7, a.Overhead())
		}
		h, _, _ := cipher.ParseHeader(sealed)
		if uint64(h.KID)&0xFF != 300&0xFF || uint64(h.KID)>>8&0xFFFF != 7 {
			t.Errorf("KID %#x", h.KID)
		}
		base := must(cipher.MLSBaseKey(suite, exporter(300)))(t)
		key := must(suite.NewOpenKey(h.KID, base))(t)
		if out, err := key.Open(nil, sealed, nil); err != nil || string(out) != "a frame" {
			t.Errorf("%v: by the letter: %v", suite, err)
		}
	}
}

// TestGroupLife goes through epochs: the grace, the low bits that come round, what is
// refused.
func TestGroupLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := keyring.GroupOptions{Layout: cipher.MLSLayout{EpochBits: 2, SenderBits: 16}}
		a, b := group(t, newRing(t, keyringtest.NewMemory()), o), group(t, newRing(t, keyringtest.NewMemory()), o)
		var late [][]byte
		for epoch := uint64(0); epoch < 6; epoch++ {
			advance(t, a, epoch, 1)
			advance(t, b, epoch, 2)
			opens(t, b, seal(t, a, "new"), "new")
			late = append(late, seal(t, a, "late"), seal(t, a, "later"))
			time.Sleep(time.Second)
		}
		opens(t, b, late[4], "late") // epoch 2
		opens(t, b, late[6], "late")
		// Epochs 0 and 1 had to make room for 4 and 5.
		refuses(t, b, late[0], cipher.ErrAuth)
		refuses(t, b, late[2], cipher.ErrAuth)
		time.Sleep(8 * time.Second) // 10 after 3 came
		synctest.Wait()
		refuses(t, b, late[5], cipher.ErrUnknownKey)
		opens(t, b, late[9], "later") // epoch 4, retired 9 s ago
		time.Sleep(time.Second)
		synctest.Wait()
		refuses(t, b, late[8], cipher.ErrUnknownKey)
		opens(t, b, late[11], "later")

		ctx := t.Context()
		wantErr(t, a.Advance(ctx, 4, 1, exporter(4)), keyring.ErrOlder)
		wantErr(t, a.Advance(ctx, 5, 1, exporter(4)), keyring.ErrOtherSecret)
		advance(t, a, 5, 1)
		if a.Advance(ctx, 5, 2, exporter(5)) == nil {
			t.Error("another index in one epoch")
		}
		wantErr(t, a.Advance(ctx, 6, 1, func(string, []byte, int) ([]byte, error) { return nil, errDown }), errDown)
		if a.Advance(ctx, 6, 1, func(string, []byte, int) ([]byte, error) { return make([]byte, 5), nil }) == nil {
			t.Error("an exporter that gives too little")
		}
		if a.Advance(ctx, 6, 1<<16, exporter(6)) == nil {
			t.Error("an index that does not fit")
		}
		opens(t, b, seal(t, a, "still"), "still")
		wantErr(t, a.Forget(ctx, 5), keyring.ErrEpochActive)
		if err := a.Forget(ctx, 4); err != nil {
			t.Error(err)
		}
		a.Close()
		if _, err := a.Seal(nil, nil, nil); err != cipher.ErrUnknownKey {
			t.Error(err)
		}
		wantErr(t, a.Advance(ctx, 7, 1, exporter(7)), keyring.ErrClosed)
		if _, err := a.Open(nil, late[11], nil); !errors.Is(err, keyring.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestGroupRestarted: whoever comes to the same epoch again, after a restart or beside
// himself, seals under another key ID, however few there are to draw.
func TestGroupRestarted(t *testing.T) {
	m := keyringtest.NewMemory()
	newRing(t, m.Again())
	seen := map[cipher.KeyID]bool{}
	for n := range uint64(5) {
		ring := reopen(t, m)
		draws := uint64(0)
		keyring.SetDraw(ring, func() uint64 { draws++; return draws % 5 })
		g := group(t, ring, keyring.GroupOptions{})
		advance(t, g, 1, 3)
		h, _, err := cipher.ParseHeader(seal(t, g, "x"))
		if err != nil || seen[h.KID] || h.CTR != 0 {
			t.Fatalf("restart %d: KID %#x again, counter %d, %v", n, h.KID, h.CTR, err)
		}
		seen[h.KID] = true
	}
	ring := reopen(t, m)
	keyring.SetDraw(ring, func() uint64 { return 3 })
	g := group(t, ring, keyring.GroupOptions{})
	wantErr(t, g.Advance(t.Context(), 1, 3, exporter(1)), keyring.ErrConflict)
	advance(t, g, 2, 3) // each epoch has its own

	for what, o := range map[string]keyring.GroupOptions{
		"no room for a context": {Layout: cipher.MLSLayout{EpochBits: 9, SenderBits: 16}},
		"no epoch":              {Layout: cipher.MLSLayout{SenderBits: 16}},
		"a window":              {Window: 1},
		"a grace":               {Grace: time.Second},
	} {
		if _, err := ring.Group("stage", o); err == nil {
			t.Errorf("%s passes", what)
		}
	}
}

// TestGroupForged: frames of key IDs that nobody has cost a bounded number of derivations,
// and known ones open meanwhile without allocating.
func TestGroupForged(t *testing.T) {
	ring := newRing(t, keyringtest.NewMemory())
	a, b := group(t, ring, keyring.GroupOptions{}), group(t, ring, keyring.GroupOptions{})
	advance(t, a, 1, 1)
	advance(t, b, 1, 2)
	opens(t, b, seal(t, a, "first"), "first")
	now := time.Now()
	keyring.SetClock(ring, func() time.Time { return now })
	limited := 0
	for i := range uint64(200) {
		forged := cipher.AppendHeader(nil, cipher.Header{KID: cipher.KeyID(i<<24 | 1<<8 | 1)})
		if _, err := b.Open(nil, append(forged, make([]byte, 40)...), nil); err == keyring.ErrLimited {
			limited++
		} else if err != cipher.ErrAuth {
			t.Fatal(err)
		}
	}
	if limited != 200-keyring.MaxUnseen {
		t.Errorf("%d of 200 were not looked at", limited)
	}
	frame, out := []byte("a frame"), make([]byte, 0, 100)
	if raceflag.Enabled {
		return
	}
	sealed := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		s, err := a.Seal(sealed[:0], frame, nil)
		if err == nil {
			_, err = b.Open(out[:0], s, nil)
		}
		if err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if text := fmt.Sprintf("%v %+v %#v", a, a, a); bytes.Contains([]byte(text), []byte("base")) {
		t.Errorf("prints %s", text)
	}
}
