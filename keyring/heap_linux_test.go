package keyring_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// masked is a secret to look for that is not itself found: its bytes lie XORed.
type masked struct{ mask, hidden [32]byte }

// maskActive masks the secret of a channel's active epoch.
func maskActive(t *testing.T, ch *keyring.Channel) (m masked) {
	t.Helper()
	rand.Read(m.mask[:])
	if err := keyring.UseActiveSecret(t.Context(), ch, func(s []byte) {
		for i := range m.mask {
			m.hidden[i] = s[i] ^ m.mask[i]
		}
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

// hashed reports whether what begins here is the block buffer of a SHA-256 of the standard
// library that took 32 bytes after a block, as HKDF's extraction does. Nobody wipes those:
// they go when the memory, which is free by then, is used again. SECURITY.md says so.
func hashed(b []byte) bool {
	return len(b) >= 80 && bytes.Equal(b[32:64], make([]byte, 32)) &&
		binary.LittleEndian.Uint64(b[64:]) == 32 && binary.LittleEndian.Uint64(b[72:]) == 96
}

// found counts where the process's memory holds the first half of the secret, which is
// more than chance puts there.
func (m *masked) found(t *testing.T) (n int) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Skip(err)
	}
	defer mem.Close()
	buf := make([]byte, 1<<20)
	own := int64(uintptr(unsafe.Pointer(&buf[0])))
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) - 32 {
			got, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			b := buf[:got]
			for i := 0; i+32/2 <= len(b); i++ {
				j := bytes.IndexByte(b[i:], m.hidden[0]^m.mask[0])
				if j < 0 {
					break
				}
				i += j
				same := i+32/2 <= len(b)
				for k := 0; same && k < 32/2; k++ {
					same = b[i+k] == m.hidden[k]^m.mask[k]
				}
				// What was just read lies in the buffer as well.
				if itself := at + int64(i) - own; same && (itself < 0 || itself >= int64(len(buf))) && !hashed(b[i:]) {
					n++
				}
			}
		}
	}
	clear(buf)
	return n
}

// TestHeap looks through the whole memory of the process for the secrets of epochs, of each
// kind, after they were forgotten; and for that of a channel's after the ring was closed.
func TestHeap(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("the race detector's own memory is too large to look through")
	}
	// A copy that the library keeps is there each time; one that lies in memory which nobody
	// happened to use again is not.
	var left string
	for range 3 {
		if left = heapOnce(t); left == "" {
			return
		}
	}
	t.Error(left)
}

// heapOnce returns what is wrong.
func heapOnce(t *testing.T) (wrong string) {
	ctx := t.Context()
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	m := keyringtest.NewMemory()
	r := newRing(t, m.Again())
	ch := must(r.Create(ctx, "stage", keyring.ChannelOptions{Policy: keyring.Policy{OnJoin: keyring.Step, Delay: keyring.AtOnce, Debounce: keyring.AtOnce}}))(t)
	vendor := must(r.Create(ctx, "vendor", keyring.ChannelOptions{}))(t)
	use := func(ch *keyring.Channel) {
		s, archive := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		opens(t, archive, seal(t, s, "a frame"), "a frame")
		live := receiver(t, ch, keyring.ReceiverOptions{})
		opens(t, live, seal(t, s, "a frame"), "a frame")
	}
	var gone []masked
	forget := func(ch *keyring.Channel) {
		use(ch)
		gone = append(gone, maskActive(t, ch))
		if gone[len(gone)-1].found(t) == 0 {
			t.Fatal("the control: a secret in use is not found")
		}
		epoch := must(ch.Show(ctx))(t).Epoch
		must(ch.Rotate(ctx, ""))(t)
		must(ch.Forget(ctx, epoch))(t)
	}
	forget(ch)
	if _, _, err := ch.Joined(ctx); err != nil { // steps
		t.Fatal(err)
	}
	if info := must(ch.Show(ctx))(t); info.Epochs[len(info.Epochs)-1].Kind != keyring.Ratchet {
		t.Fatalf("%+v", info)
	}
	forget(ch)
	if _, _, err := r.ImportVendor(ctx, "vendor", keyring.VendorKey{Mode: "5", Key: []byte("a key")}, keyring.Policy{}); err != nil {
		t.Fatal(err)
	}
	forget(vendor)
	look := func(when string) {
		// The same is true of other buffers in the standard library: so somebody else uses
		// the memory.
		left := len(gone)
		for round := 0; round < 10 && left > 0; round++ {
			debug.FreeOSMemory()
			other := newRing(t, keyringtest.NewMemory())
			for i := range 50 {
				ch := must(other.Create(ctx, fmt.Sprint(i), keyring.ChannelOptions{}))(t)
				must(ch.Rotate(ctx, ""))(t)
				use(ch)
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
			wrong = fmt.Sprintf("%s: %d secrets of %d are left", when, left, len(gone))
		}
	}
	look("forgotten")
	use(ch)
	gone = append(gone, maskActive(t, ch))
	r.Close()
	look("closed")
	return wrong
}
