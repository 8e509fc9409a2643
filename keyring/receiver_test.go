package keyring_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// forge returns a frame that nobody sealed, with the KID of a Sender that never was.
func forge(epoch, instance uint64) []byte {
	o := keyring.Origin{Epoch: epoch, Sender: 9, Instance: instance}
	return append(cipher.AppendHeader(nil, cipher.Header{KID: o.KID()}), make([]byte, 60)...)
}

// TestUnseenLimit: forged KIDs cost at most 64 key derivations a second, and do
// not keep out the KIDs that are known.
func TestUnseenLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		known, late, familiar := sender(t, ch), sender(t, ch), sender(t, ch)
		r := receiver(t, ch, keyring.ReceiverOptions{})
		opens(t, r, seal(t, known, "first"), "first")
		for second := range uint64(3) {
			derived := 0
			for i := range uint64(500) {
				_, err := r.Open(nil, forge(1, second*1000+i+1), nil)
				switch {
				case errors.Is(err, keyring.ErrLimited):
				case errors.Is(err, cipher.ErrAuth):
					derived++
				default:
					t.Fatal(err)
				}
			}
			if derived != keyring.MaxUnseen {
				t.Errorf("second %d: %d derivations", second, derived)
			}
			opens(t, r, seal(t, known, "known"), "known")
			refuses(t, r, seal(t, late, "unseen"), keyring.ErrLimited, cipher.ErrUnknownKey)
			if second == 2 { // frames from where others came count apart, and as strictly
				out, err := r.OpenFamiliar(nil, seal(t, familiar, "new"), nil)
				if err != nil || string(out) != "new" {
					t.Errorf("%q, %v", out, err)
				}
				for i := range uint64(keyring.MaxUnseen + 1) {
					if _, err := r.OpenFamiliar(nil, forge(1, 9000+i), nil); errors.Is(err, keyring.ErrLimited) != (i == keyring.MaxUnseen) {
						t.Errorf("familiar frame %d: %v", i, err)
					}
				}
			}
			time.Sleep(time.Second)
		}
		opens(t, r, seal(t, late, "unseen"), "unseen")
		// Frames that authenticate do not count.
		for range 3 * keyring.MaxUnseen {
			s := must(ch.Sender(t.Context(), 1, keyring.SenderOptions{}))(t)
			opens(t, r, seal(t, s, "x"), "x")
			s.Close()
		}
	})
}

// TestTableLimit fills the table of KIDs. Idle ones make room, for good; those in
// use do not.
func TestTableLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		_, ring, ch := stage(t, keyring.ChannelOptions{})
		var n uint64
		keyring.SetDraw(ring, func() uint64 { n++; return n })
		r := receiver(t, ch, keyring.ReceiverOptions{})
		first := sender(t, ch)
		opens(t, r, seal(t, first, "x"), "x")
		idle := sender(t, ch)
		opens(t, r, seal(t, idle, "x"), "x")
		for range keyring.MaxKIDs - 2 {
			s := must(ch.Sender(ctx, 1, keyring.SenderOptions{}))(t)
			opens(t, r, seal(t, s, "x"), "x")
			s.Close()
		}
		late := sender(t, ch)
		refuses(t, r, seal(t, late, "all are in use"), keyring.ErrTableFull, cipher.ErrUnknownKey)
		for range 3 { // minutes, in which all but one are idle
			opens(t, r, seal(t, first, "x"), "x")
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		opens(t, r, seal(t, late, "now"), "now")
		evicted := keyring.EvictedKIDs(r)
		if len(evicted) != 1 || evicted[0] == first.Origin().KID() {
			t.Fatalf("evicted %v", evicted)
		}
		opens(t, r, seal(t, first, "x"), "x")
		for i := uint64(0); i < n; i++ { // find the Sender that had to leave
			kid := keyring.Origin{Epoch: 1, Sender: 1, Instance: i + 1}.KID()
			_, err := r.Open(nil, append(cipher.AppendHeader(nil, cipher.Header{KID: kid, CTR: 5}), make([]byte, 20)...), nil)
			if want := map[bool]error{true: keyring.ErrEvicted, false: cipher.ErrAuth}[kid == evicted[0]]; !errors.Is(err, want) {
				t.Fatalf("%#x: %v, want %v", kid, err, want)
			}
		}
		// The next epoch has a fresh table.
		must(ch.Rotate(ctx, ""))(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := keyring.EvictedKIDs(r); len(got) != 0 {
			t.Errorf("of an epoch that is over, %d evicted KIDs are remembered", len(got))
		}
		opens(t, r, seal(t, idle, "y"), "y")
	})
}

// TestFirstFrameOnce: the first frame of a KID, opened by many goroutines at
// once, opens exactly once.
func TestFirstFrameOnce(t *testing.T) {
	_, _, ch := stage(t, keyring.ChannelOptions{})
	r := receiver(t, ch, keyring.ReceiverOptions{})
	for range 50 {
		s := must(ch.Sender(t.Context(), 1, keyring.SenderOptions{}))(t)
		sealed := seal(t, s, "once")
		var opened, replayed atomic.Int64
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				<-start
				switch _, err := r.Open(nil, sealed, nil); {
				case err == nil:
					opened.Add(1)
				case errors.Is(err, cipher.ErrReplayed):
					replayed.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if opened.Load() != 1 || replayed.Load() != 7 {
			t.Fatalf("opened %d times, refused %d", opened.Load(), replayed.Load())
		}
		s.Close()
	}
}

func TestFrom(t *testing.T) {
	_, _, ch := stage(t, keyring.ChannelOptions{})
	a := must(ch.Sender(t.Context(), 5, keyring.SenderOptions{}))(t)
	b := must(ch.Sender(t.Context(), 6, keyring.SenderOptions{}))(t)
	r := receiver(t, ch, keyring.ReceiverOptions{From: []uint16{6, 7}})
	refuses(t, r, seal(t, a, "x"), cipher.ErrUnknownKey)
	opens(t, r, seal(t, b, "x"), "x")
}

// TestOtherChannels: a frame opens on its own channel and ring only.
func TestOtherChannels(t *testing.T) {
	_, ring, ch := stage(t, keyring.ChannelOptions{})
	other := must(ring.Create(t.Context(), "other", keyring.ChannelOptions{}))(t)
	_, _, foreign := stage(t, keyring.ChannelOptions{})
	s := sender(t, ch)
	for _, c := range []*keyring.Channel{other, foreign} {
		refuses(t, receiver(t, c, keyring.ReceiverOptions{}), seal(t, s, "x"), cipher.ErrAuth)
		refuses(t, receiver(t, c, keyring.ReceiverOptions{Archive: true}), seal(t, s, "x"), cipher.ErrAuth)
	}
	r := receiver(t, ch, keyring.ReceiverOptions{})
	for _, bad := range [][]byte{nil, {0xFF}, {0x88, 0, 0}} {
		if _, err := r.Open(nil, bad, nil); err == nil {
			t.Errorf("%x opens", bad)
		}
	}
	sealed := seal(t, s, "x")
	for i := range sealed {
		altered := bytes.Clone(sealed)
		altered[i] ^= 1
		if _, err := r.Open(nil, altered, nil); err == nil {
			t.Errorf("byte %d altered, and opens", i)
		}
	}
	opens(t, r, sealed, "x")
}

// TestSuites seals by other suites than the channel's.
func TestSuites(t *testing.T) {
	_, _, ch := stage(t, keyring.ChannelOptions{})
	plain := receiver(t, ch, keyring.ReceiverOptions{})
	for _, suite := range cipher.Suites() {
		s := must(ch.Sender(t.Context(), 1, keyring.SenderOptions{Suite: suite}))(t)
		r := receiver(t, ch, keyring.ReceiverOptions{Suites: []*cipher.Suite{cipher.AES256GCM(), suite}})
		sealed := seal(t, s, "by another suite")
		if len(sealed) > len("by another suite")+s.Overhead() {
			t.Errorf("%v: Overhead is too small", suite)
		}
		opens(t, r, sealed, "by another suite")
		if suite != cipher.AES128GCM() {
			if _, err := plain.Open(nil, sealed, nil); err == nil {
				t.Errorf("%v opens as %v", suite, cipher.AES128GCM())
			}
		}
		s.Close()
	}
	_, err := ch.Receiver(t.Context(), keyring.ReceiverOptions{Suites: make([]*cipher.Suite, 9)})
	if err == nil {
		t.Error("nine suites")
	}
	_, err = ch.Receiver(t.Context(), keyring.ReceiverOptions{Window: 1})
	if err == nil {
		t.Error("a window of one frame")
	}
}

// TestCustomSuite: a channel of a suite that the program has to bring.
func TestCustomSuite(t *testing.T) {
	suite, err := cipher.NewSuite(cipher.Spec{
		ID: cipher.MinCustomID + 5, Name: "mine", KeySize: 32, Overhead: 16, Hash: sha256.New, New: func(key []byte) (cipher.AEAD, error) { return chacha20poly1305.New(key) },
	})
	if err != nil {
		t.Fatal(err)
	}
	m := keyringtest.NewMemory()
	ring := newRing(t, m.Again())
	ch := must(ring.Create(t.Context(), "own", keyring.ChannelOptions{Suite: suite}))(t)
	sealed := seal(t, sender(t, ch), "mine")
	opens(t, receiver(t, ch, keyring.ReceiverOptions{}), sealed, "mine")
	// Another process that does not have it.
	without := must(reopen(t, m).Channel(t.Context(), "own"))(t)
	_, err = without.Sender(t.Context(), 1, keyring.SenderOptions{})
	wantErr(t, err, keyring.ErrNoSuite)
	refuses(t, receiver(t, without, keyring.ReceiverOptions{}), sealed, keyring.ErrNoSuite)
	if info := must(without.Show(t.Context()))(t); info.Suite != "0xf105" {
		t.Errorf("suite %q", info.Suite)
	}
	// And one that does.
	o := testOptions
	o.Suites = []*cipher.Suite{suite}
	with := must(keyring.Open(t.Context(), m.Again(), o))(t)
	defer with.Close()
	opens(t, receiver(t, must(with.Channel(t.Context(), "own"))(t), keyring.ReceiverOptions{}), sealed, "mine")
}

func TestInPlace(t *testing.T) {
	_, _, ch := stage(t, keyring.ChannelOptions{})
	s, r := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
	for i := range 3 { // the first frame takes another way than the others
		buf := make([]byte, 100)
		off := cipher.MaxHeader
		copy(buf[off:], "in place")
		sealed := must(s.SealInPlace(buf, off, 8, []byte("aad")))(t)
		again := bytes.Clone(sealed)
		out, from, err := r.OpenInPlace(sealed, []byte("aad"))
		if err != nil || string(out) != "in place" || from != s.Origin() {
			t.Fatalf("frame %d: %q from %+v, %v", i, out, from, err)
		}
		if out[0]++; !bytes.Contains(sealed, out) { // it is a part of sealed
			t.Fatal("not in place")
		}
		if _, _, err := r.OpenInPlace(again, []byte("aad")); !errors.Is(err, cipher.ErrReplayed) || !bytes.Equal(again, make([]byte, len(again))) {
			t.Fatalf("frame %d replayed: %v, content %x", i, err, again)
		}
	}
	forged := forge(1, 5)
	if _, _, err := r.OpenInPlace(forged, nil); !errors.Is(err, cipher.ErrAuth) || !bytes.Equal(forged, make([]byte, len(forged))) {
		t.Errorf("forged: %v, content %x", err, forged)
	}
}

// TestAllocations: a frame costs no allocation, neither sealed, nor opened, nor
// refused.
func TestAllocations(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	_, _, ch := stage(t, keyring.ChannelOptions{})
	s, r := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
	frame, aad := make([]byte, 1200), []byte("aad")
	sealed, out := make([]byte, 0, 2000), make([]byte, 0, 2000)
	step := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	check := func(err, want error) {
		if err != want {
			t.Fatal(err)
		}
	}
	step("seal and open", func() {
		b, err := s.Seal(sealed, frame, aad)
		check(err, nil)
		_, _, err = r.OpenFrom(out, b, aad)
		check(err, nil)
	})
	buf := make([]byte, 2000)
	step("in place", func() {
		b, err := s.SealInPlace(buf, cipher.MaxHeader, 1200, aad)
		check(err, nil)
		_, _, err = r.OpenInPlace(b, aad)
		check(err, nil)
	})
	b := must(s.Seal(nil, frame, aad))(t)
	_, err := r.Open(nil, b, aad)
	check(err, nil)
	step("replayed", func() {
		_, err := r.Open(out, b, aad)
		check(err, cipher.ErrReplayed)
	})
	altered := must(s.Seal(nil, frame, aad))(t)
	altered[len(altered)-1] ^= 1
	step("altered", func() {
		_, err := r.Open(out, altered, aad)
		check(err, cipher.ErrAuth)
	})
	malformed := []byte{0x88, 0}
	step("malformed", func() {
		_, err := r.Open(out, malformed, aad)
		check(err, cipher.ErrShort)
	})
	for i := range uint64(keyring.MaxUnseen) {
		r.Open(nil, forge(1, i), nil)
	}
	forged := forge(1, 1<<30)
	for { // until the limit holds, wherever in a second that is
		if _, err := r.Open(nil, forged, nil); err == keyring.ErrLimited {
			break
		}
	}
	limited := 0
	step("over the limit", func() {
		if _, err := r.Open(out, forged, nil); err == keyring.ErrLimited {
			limited++
		}
	})
	if limited == 0 {
		t.Error("the limit was never met")
	}
	only := receiver(t, ch, keyring.ReceiverOptions{From: []uint16{3}})
	step("not from there", func() {
		_, err := only.Open(out, b, aad)
		check(err, cipher.ErrUnknownKey)
	})
	s.Close()
	step("closed", func() {
		_, err := s.Seal(out, frame, aad)
		check(err, keyring.ErrClosed)
	})
}
