package keyring_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestHeapBundle looks through the process's memory for the secrets of epochs that went
// from one ring to another in a bundle, and were forgotten in both.
func TestHeapBundle(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("the race detector's own memory is too large to look through")
	}
	if os.Getenv("CHANSEAL_LONG") == "" {
		t.Skip("it depends on when freed memory is used again, and takes its time: CHANSEAL_LONG=1 runs it")
	}
	var left string
	for range 5 { // see TestHeap
		if left = heapBundle(t); left == "" {
			return
		}
	}
	t.Error(left)
}

// heapBundle returns what is wrong.
func heapBundle(t *testing.T) string {
	ctx := t.Context()
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	var gone []masked
	for _, kem := range []string{"mlkem768-x25519", "age"} {
		_, ch, from := issuing(t)
		me := newIdentity(t, kem)
		bundle := export(t, ch, keyring.Grant{To: me.Recipient()})
		r := newRing(t, keyringtest.NewMemory())
		must(r.Import(ctx, bundle, keyring.ImportOptions{Identities: []*keyring.Identity{me}, From: from}))(t)
		there := must(r.Channel(ctx, "stage"))(t)
		opens(t, receiver(t, there, keyring.ReceiverOptions{}), seal(t, sender(t, ch), "a frame"), "a frame")
		m := maskActive(t, there)
		if m.found(t) == 0 {
			t.Fatal("the control: a secret in use is not found")
		}
		gone = append(gone, m)
		must(ch.ForgetAll(ctx))(t)
		must(there.ForgetAll(ctx))(t)
	}
	left := len(gone)
	for round := 0; round < 30 && left > 0; round++ {
		debug.FreeOSMemory()
		other := newRing(t, keyringtest.NewMemory()) // somebody else uses what is free
		for i := range 50 {
			ch := must(other.Create(ctx, fmt.Sprint(i), keyring.ChannelOptions{}))(t)
			must(ch.Rotate(ctx, ""))(t)
			s := sender(t, ch)
			opens(t, receiver(t, ch, keyring.ReceiverOptions{Archive: true}), seal(t, s, "a frame"), "a frame")
			opens(t, receiver(t, ch, keyring.ReceiverOptions{}), seal(t, s, "a frame"), "a frame")
		}
		other.Close()
		left = 0
		for i := range gone {
			if gone[i].found(t) != 0 {
				left++
			}
		}
	}
	if left != 0 {
		return fmt.Sprintf("%d secrets of %d are left", left, len(gone))
	}
	return ""
}
