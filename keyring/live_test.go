package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// stage makes a ring in memory with one channel.
func stage(t testing.TB, o keyring.ChannelOptions) (*keyringtest.Memory, *keyring.Ring, *keyring.Channel) {
	t.Helper()
	m := keyringtest.NewMemory()
	r := newRing(t, m.Again())
	return m, r, must(r.Create(t.Context(), "stage", o))(t)
}

func sender(t testing.TB, ch *keyring.Channel) *keyring.Sender {
	t.Helper()
	s := must(ch.Sender(t.Context(), 1, keyring.SenderOptions{}))(t)
	t.Cleanup(func() { s.Close() })
	return s
}

func receiver(t testing.TB, ch *keyring.Channel, o keyring.ReceiverOptions) *keyring.Receiver {
	t.Helper()
	r := must(ch.Receiver(t.Context(), o))(t)
	t.Cleanup(func() { r.Close() })
	return r
}

func seal(t testing.TB, s cipher.Sealer, frame string) []byte {
	t.Helper()
	return must(s.Seal(nil, []byte(frame), nil))(t)
}

func opens(t testing.TB, r cipher.Opener, sealed []byte, frame string) {
	t.Helper()
	out, err := r.Open(nil, sealed, nil)
	if err != nil || string(out) != frame {
		t.Fatalf("opened %q, %v, want %q", out, err, frame)
	}
}

func refuses(t testing.TB, r cipher.Opener, sealed []byte, want ...error) {
	t.Helper()
	dst := make([]byte, 3, 3+len(sealed))
	out, err := r.Open(dst, sealed, nil)
	wantErr(t, err, want...)
	if len(out) != 3 || bytes.ContainsFunc(dst[3:cap(dst)], func(r rune) bool { return r != 0 }) {
		t.Fatalf("refused, with %x left behind dst", dst[3:cap(dst)])
	}
}

// TestManyRotations: after 300 rotations, epochs that share the low bits of
// their numbers are told apart by authentication alone.
func TestManyRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		_, _, ch := stage(t, keyring.ChannelOptions{})
		s := sender(t, ch)
		files := map[uint64][]byte{1: seal(t, s, "frame of epoch 1")}
		for n := uint64(2); n <= 301; n++ {
			must(ch.Rotate(ctx, ""))(t)
			synctest.Wait()
			files[n] = seal(t, s, fmt.Sprint("frame of epoch ", n))
		}
		archive := receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		for n, sealed := range files {
			out, from, err := archive.OpenFrom(nil, sealed, nil)
			if err != nil || string(out) != fmt.Sprint("frame of epoch ", n) || from.Epoch != n {
				t.Fatalf("epoch %d: %q from %+v, %v", n, out, from, err)
			}
		}
		live := receiver(t, ch, keyring.ReceiverOptions{})
		opens(t, live, files[301], "frame of epoch 301")
		opens(t, live, files[300], "frame of epoch 300") // in its grace
		// Epoch 45 had to make room for 301, which has the same low bits.
		refuses(t, live, files[45], cipher.ErrAuth)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		refuses(t, live, files[300], keyring.ErrArchived)
		refuses(t, live, files[100], keyring.ErrArchived)

		must(ch.Forget(ctx, 1))(t)
		must(ch.Forget(ctx, 100))(t)
		synctest.Wait()
		refuses(t, archive, files[100], keyring.ErrForgotten, cipher.ErrUnknownKey)
		refuses(t, archive, files[1], keyring.ErrForgotten, cipher.ErrAuth) // 257 is left, and does not open it
		fresh := receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		opens(t, fresh, files[257], "frame of epoch 257")
		opens(t, fresh, files[2], "frame of epoch 2")
		info := must(ch.Show(ctx))(t)
		if info.Floor != 1 || info.Epoch != 301 || len(info.Epochs) != 300 {
			t.Errorf("floor %d, epoch %d, %d listed", info.Floor, info.Epoch, len(info.Epochs))
		}
	})
}

func TestStageActivateRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		other := must(reopen(t, m).Channel(ctx, "stage"))(t) // another process
		r := receiver(t, other, keyring.ReceiverOptions{})
		s := sender(t, ch)
		_, err := ch.Activate(ctx)
		wantErr(t, err, keyring.ErrNotStaged)
		info := must(ch.Stage(ctx, "soon"))(t)
		if info.Epoch != 1 || info.Epochs[1].State != keyring.Staged {
			t.Fatalf("%+v", info)
		}
		_, err = ch.Stage(ctx, "")
		wantErr(t, err, keyring.ErrStaged)
		staged := info.Epochs[1].Fingerprint
		synctest.Wait()
		if s.Origin().Epoch != 1 {
			t.Fatal("a staged epoch seals")
		}
		info = must(ch.Activate(ctx))(t)
		if info.Epoch != 2 || info.Fingerprint != staged || info.Epochs[0].State != keyring.Retiring {
			t.Fatalf("%+v", info)
		}
		synctest.Wait()
		opens(t, r, seal(t, s, "two"), "two")

		info = must(ch.Stage(ctx, "handed out"))(t)
		staged = info.Epochs[2].Fingerprint
		info = must(ch.Revoke(ctx, "left"))(t)
		if info.Epoch != 4 || info.Fingerprint == staged || info.Epochs[2].State != keyring.Forgotten || info.Epochs[3].Reason != "left" {
			t.Fatalf("%+v", info)
		}
		synctest.Wait()
		opens(t, r, seal(t, s, "four"), "four")

		info = must(ch.Stage(ctx, ""))(t)
		if info = must(ch.Rotate(ctx, ""))(t); info.Epoch != 5 {
			t.Fatalf("a rotation does not take the staged epoch: %d", info.Epoch)
		}
	})
}

func TestForgetAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		_, ring, ch := stage(t, keyring.ChannelOptions{})
		s, r := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
		archive := receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		must(ch.Rotate(ctx, ""))(t)
		synctest.Wait()
		key := must(s.Key())(t)
		sealed := seal(t, s, "x")
		_, err := ch.Forget(ctx, 2)
		wantErr(t, err, keyring.ErrEpochActive)
		_, err = ch.Forget(ctx, 3)
		wantErr(t, err, keyring.ErrNoEpoch)
		must(ch.ForgetAll(ctx))(t)
		synctest.Wait()
		_, err = s.Seal(nil, nil, nil)
		wantErr(t, err, keyring.ErrForgotten)
		_, err = s.Key()
		wantErr(t, err, keyring.ErrForgotten)
		_, err = key.Seal(nil, nil, nil)
		wantErr(t, err, cipher.ErrUnknownKey)
		refuses(t, r, sealed, keyring.ErrForgotten)
		refuses(t, archive, sealed, keyring.ErrForgotten)
		for _, f := range []func(context.Context, string) (keyring.Info, error){ch.Rotate, ch.Stage} {
			_, err = f(ctx, "")
			wantErr(t, err, keyring.ErrForgotten)
		}
		_, err = ch.Revoke(ctx, "")
		wantErr(t, err, keyring.ErrForgotten)
		_, err = ch.PutOut(ctx)
		wantErr(t, err, keyring.ErrForgotten)
		_, err = ch.Sender(ctx, 1, keyring.SenderOptions{})
		wantErr(t, err, keyring.ErrForgotten)
		info := must(ring.Channels(ctx))(t)
		if len(info) != 1 || info[0].Epoch != 0 {
			t.Fatalf("%+v", info)
		}
		// Its numbers go on: an old frame is never of a new epoch.
		again := must(ring.Create(ctx, "stage", keyring.ChannelOptions{Suite: cipher.AES256GCM()}))(t)
		if info := must(again.Show(ctx))(t); info.Epoch != 3 || info.Suite != "aes-256-gcm" {
			t.Fatalf("%+v", info)
		}
		synctest.Wait()
		if s.Origin().Epoch != 3 {
			t.Errorf("a Sender that was kept is in epoch %d", s.Origin().Epoch)
		}
		opens(t, r, seal(t, s, "again"), "again")
		refuses(t, archive, sealed, keyring.ErrForgotten)
	})
}

// TestForgetAtOnce: when Forget returns, nothing of this process opens or seals under
// the epoch any more, however busy it is.
func TestForgetAtOnce(t *testing.T) {
	ctx := t.Context()
	ring := newRing(t, keyringtest.NewMemory())
	for round := range 20 {
		ch := must(ring.Create(ctx, fmt.Sprint("c", round), keyring.ChannelOptions{}))(t)
		s, archive := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		key := must(s.Key())(t)
		opens(t, archive, seal(t, s, "first"), "first")
		second := seal(t, s, "second")
		third := must(key.Seal(nil, []byte("third"), nil))(t)
		must(ch.Rotate(ctx, ""))(t)
		opens(t, archive, second, "second")
		must(ch.Forget(ctx, 1))(t)
		refuses(t, archive, third, keyring.ErrForgotten)
		_, err := key.Seal(nil, nil, nil)
		wantErr(t, err, cipher.ErrUnknownKey)
		opens(t, archive, seal(t, s, "of the next epoch"), "of the next epoch")
		must(ch.ForgetAll(ctx))(t)
		_, err = s.Seal(nil, nil, nil)
		wantErr(t, err, keyring.ErrForgotten)
	}
}

// TestRotators: of two processes that rotate at once, each makes epochs of its
// own, and every number comes exactly once.
func TestRotators(t *testing.T) {
	const each = 50
	channels := 15
	if *long {
		channels = 100 // 10,000 rotations
	}
	m := keyringtest.NewMemory()
	ring := newRing(t, m.Again())
	for c := range channels {
		name := fmt.Sprint("c", c)
		must(ring.Create(t.Context(), name, keyring.ChannelOptions{}))(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := map[uint64]string{}
		for range 2 {
			ch := must(reopen(t, m).Channel(t.Context(), name))(t)
			wg.Go(func() {
				for range each {
					info, err := ch.Rotate(t.Context(), "")
					mu.Lock()
					if _, ok := made[info.Epoch]; ok || err != nil {
						t.Errorf("epoch %d made twice, or %v", info.Epoch, err)
					}
					made[info.Epoch] = info.Fingerprint
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		ch := must(ring.Channel(t.Context(), name))(t)
		info := must(ch.Show(t.Context()))(t)
		if info.Epoch != 2*each+1 || len(made) != 2*each {
			t.Fatalf("%d epochs, %d acknowledged", info.Epoch, len(made))
		}
		for _, e := range info.Epochs[1:] {
			if made[e.Number] != e.Fingerprint {
				t.Fatalf("epoch %d is not the one that was acknowledged", e.Number)
			}
		}
	}
}

// TestPolicyFrames: many Senders, in two processes, reach the policy's frames;
// the channel is rotated once for each time they do.
func TestPolicyFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{Policy: keyring.Policy{Frames: 100, Delay: keyring.AtOnce}})
		other := must(reopen(t, m).Channel(ctx, "stage"))(t)
		var senders []*keyring.Sender
		for range 4 {
			senders = append(senders, sender(t, ch), sender(t, other))
		}
		r := receiver(t, other, keyring.ReceiverOptions{})
		for want := uint64(1); want < 5; want++ {
			for i := range 100 {
				for _, s := range senders {
					// Who seals his last frame when another one has had the channel rotated
					// already seals it in the next epoch, and is one ahead there.
					if got := s.Origin().Epoch; got != want && (i < 100-int(want) || got != want+1) {
						t.Fatalf("epoch %d before frame %d of %d", got, i, want)
					}
				}
				for _, s := range senders {
					opens(t, r, seal(t, s, "x"), "x")
				}
				if i < 99 {
					synctest.Wait()
				}
			}
			synctest.Wait()
			if info := must(ch.Show(ctx))(t); info.Epoch != want+1 {
				t.Fatalf("epoch %d after %d frames of each Sender in epoch %d", info.Epoch, 100, want)
			}
		}
	})
}

func TestPolicyAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{Policy: keyring.Policy{Age: time.Hour}})
		other := must(reopen(t, m).Channel(ctx, "stage"))(t)
		a, b := sender(t, ch), sender(t, other)
		start := time.Now()
		for n := uint64(1); n < 6; n++ {
			synctest.Wait()
			if a.Origin().Epoch != n || b.Origin().Epoch != n {
				t.Fatalf("after %v: epochs %d and %d, want %d", time.Since(start), a.Origin().Epoch, b.Origin().Epoch, n)
			}
			time.Sleep(time.Hour)
		}
		a.Close()
		b.Close()
		synctest.Wait()
		before := must(ch.Show(ctx))(t).Epoch
		receiver(t, ch, keyring.ReceiverOptions{}) // does not rotate
		time.Sleep(10 * time.Hour)
		if after := must(ch.Show(ctx))(t).Epoch; after != before {
			t.Errorf("without a Sender the channel was rotated %d times", after-before)
		}
	})
}

func TestPolicyBounds(t *testing.T) {
	r := newRing(t, keyringtest.NewMemory())
	for _, p := range []keyring.Policy{{Grace: -1}, {Grace: time.Second}, {Grace: 25 * time.Hour}, {Age: time.Second}, {Age: -1},
		{Delay: -2}, {Delay: 2 * time.Hour}, {Debounce: -2}, {OnJoin: keyring.Fresh}, {OnLeave: keyring.Step}, {OnJoin: 9}} {
		if _, err := r.Create(t.Context(), "c", keyring.ChannelOptions{Policy: p}); err == nil {
			t.Errorf("%+v passes", p)
		}
	}
	info := must(must(r.Create(t.Context(), "c", keyring.ChannelOptions{}))(t).Show(t.Context()))(t)
	if info.Policy != (keyring.Policy{Frames: 1 << 31, Grace: 10 * time.Second, Delay: 5 * time.Second, Debounce: 5 * time.Second,
		OnJoin: keyring.Keep, OnLeave: keyring.Fresh}) || info.Suite != "aes-128-gcm" {
		t.Errorf("%+v", info)
	}
	_, err := r.Create(t.Context(), "c", keyring.ChannelOptions{})
	wantErr(t, err, keyring.ErrChannelExists)
	_, err = r.Channel(t.Context(), "d")
	wantErr(t, err, keyring.ErrNoChannel)
}

// faulty is a store that a test switches off in parts.
type faulty struct {
	keyring.Store
	down, deaf atomic.Bool // everything fails; Watch says nothing
}

var errDown = errors.New("the store is down")

func (s *faulty) Get(ctx context.Context, key string) (keyring.Entry, error) {
	if s.down.Load() {
		return keyring.Entry{}, errDown
	}
	return s.Store.Get(ctx, key)
}

func (s *faulty) Take(ctx context.Context, set, member string) error {
	if s.down.Load() {
		return errDown
	}
	return s.Store.Take(ctx, set, member)
}

func (s *faulty) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	if s.deaf.Load() {
		return func(func(keyring.Event, error) bool) { <-ctx.Done() }
	}
	return s.Store.Watch(ctx, prefix, after)
}

// noTake is a store that fails to record instances, when told.
type noTake struct {
	keyring.Store
	on atomic.Bool
}

func (s *noTake) Take(ctx context.Context, set, member string) error {
	if s.on.Load() {
		return errDown
	}
	return s.Store.Take(ctx, set, member)
}

// TestStale: a Sender that sees a rotation, but gets no key of the new epoch,
// goes on for the grace, then stops, and goes on when it can.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		store := &noTake{Store: m.Again()}
		ring := must(keyring.Open(ctx, store, testOptions))(t)
		defer ring.Close()
		s := sender(t, must(ring.Channel(ctx, "stage"))(t))
		r := receiver(t, ch, keyring.ReceiverOptions{})
		store.on.Store(true)
		must(ch.Rotate(ctx, ""))(t)
		time.Sleep(9 * time.Second)
		opens(t, r, seal(t, s, "in the grace"), "in the grace")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_, err := s.Seal(nil, nil, nil)
		wantErr(t, err, keyring.ErrStale)
		store.on.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		opens(t, r, seal(t, s, "again"), "again")
	})
}

// TestFrameBeforeNews: a Receiver that heard nothing of a rotation yet finds the
// epoch of a frame by itself, but not at any rate a forger likes.
func TestFrameBeforeNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		store := &faulty{Store: m.Again()}
		store.deaf.Store(true)
		ring := must(keyring.Open(ctx, store, testOptions))(t)
		defer ring.Close()
		r := receiver(t, must(ring.Channel(ctx, "stage"))(t), keyring.ReceiverOptions{})
		s := sender(t, ch)
		for range 5 {
			must(ch.Rotate(ctx, ""))(t)
			synctest.Wait()
			opens(t, r, seal(t, s, "first"), "first")
		}
		counting := &counter{Store: store.Store}
		store.Store = counting
		forged := cipher.AppendHeader(nil, cipher.Header{KID: keyring.Origin{Epoch: 77, Instance: 5}.KID()})
		forged = append(forged, make([]byte, 40)...)
		for range 1000 {
			refuses(t, r, forged, cipher.ErrUnknownKey)
		}
		if n := counting.gets.Load(); n > 20 {
			t.Errorf("1000 forged frames made %d reads of the store", n)
		}
		store.down.Store(true)
		time.Sleep(time.Second)
		refuses(t, r, forged, cipher.ErrUnknownKey)
	})
}

type counter struct {
	keyring.Store
	gets atomic.Int64
}

func (s *counter) Get(ctx context.Context, key string) (keyring.Entry, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, key)
}

// TestKey: a key that was handed out outlives rotations.
func TestKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		_, _, ch := stage(t, keyring.ChannelOptions{})
		s := sender(t, ch)
		archive := receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		key := must(s.Key())(t)
		if again := must(s.Key())(t); again != key || key.KeyID() != s.Origin().KID() {
			t.Fatal("another key, without a rotation")
		}
		must(ch.Rotate(ctx, ""))(t)
		time.Sleep(time.Hour)
		next := must(s.Key())(t)
		if next.KeyID() == key.KeyID() {
			t.Fatal("the same key after a rotation")
		}
		opens(t, archive, seal(t, key, "old"), "old")
		opens(t, archive, seal(t, next, "new"), "new")
		must(ch.Forget(ctx, 1))(t)
		synctest.Wait()
		_, err := key.Seal(nil, nil, nil)
		wantErr(t, err, cipher.ErrUnknownKey)
		opens(t, archive, seal(t, next, "newer"), "newer")
		s.Close()
		_, err = next.Seal(nil, nil, nil)
		wantErr(t, err, cipher.ErrUnknownKey)
		_, err = s.Key()
		wantErr(t, err, keyring.ErrClosed)
		if s.Close() != nil {
			t.Error("closed twice")
		}
	})
}

// TestTaken: instances that the store knows are drawn again.
func TestTaken(t *testing.T) {
	m, ring, ch := stage(t, keyring.ChannelOptions{})
	again := reopen(t, m)
	var n, of atomic.Uint64
	of.Store(5)
	for _, r := range []*keyring.Ring{ring, again} {
		keyring.SetDraw(r, func() uint64 { return n.Add(1)%of.Load() + 1 })
	}
	seen := map[keyring.Origin]bool{}
	for i := range 5 {
		if i == 3 {
			ch = must(again.Channel(t.Context(), "stage"))(t)
		}
		o := sender(t, ch).Origin()
		if seen[o] {
			t.Fatalf("%+v twice", o)
		}
		seen[o] = true
	}
	_, err := ch.Sender(t.Context(), 2, keyring.SenderOptions{})
	wantErr(t, err, keyring.ErrConflict)
	// And the next epoch has its own, of which the five Senders take one each.
	of.Store(11)
	must(ch.Rotate(t.Context(), ""))(t)
	if o := sender(t, ch).Origin(); o.Epoch != 2 {
		t.Errorf("%+v", o)
	}
}

// TestTakenWhileRotating: the epoch ends between the moment an instance is
// recorded and the first frame. The Sender starts in the new one.
func TestTakenWhileRotating(t *testing.T) {
	ctx := t.Context()
	m, _, ch := stage(t, keyring.ChannelOptions{})
	store := &hooked{Store: m.Again()}
	ring := must(keyring.Open(ctx, store, testOptions))(t)
	defer ring.Close()
	left := 3
	store.afterTake = func() {
		if left--; left >= 0 {
			must(ch.Rotate(ctx, ""))(t)
		}
	}
	s := must(must(ring.Channel(ctx, "stage"))(t).Sender(ctx, 1, keyring.SenderOptions{}))(t)
	defer s.Close()
	if s.Origin().Epoch != 4 {
		t.Errorf("the Sender is in epoch %d", s.Origin().Epoch)
	}
}

type hooked struct {
	keyring.Store
	afterTake func()
}

func (s *hooked) Take(ctx context.Context, set, member string) error {
	err := s.Store.Take(ctx, set, member)
	s.afterTake()
	return err
}

// TestKeyPolicy: who seals with a key that was handed out is told of a new one
// once the policy's frames are sealed.
func TestKeyPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{Policy: keyring.Policy{Frames: 10, Delay: keyring.AtOnce}})
		s := sender(t, ch)
		key := must(s.Key())(t)
		for range 10 {
			seal(t, key, "x")
		}
		must(s.Key())(t)
		synctest.Wait()
		if must(s.Key())(t) == key || s.Origin().Epoch != 2 {
			t.Errorf("still in epoch %d", s.Origin().Epoch)
		}
	})
}

func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{Policy: keyring.Policy{Frames: 10, Delay: keyring.AtOnce}})
		s, r := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
		for epoch := uint64(1); epoch < 4; epoch++ {
			frames := make([]cipher.Frame, 10)
			for i := range frames {
				frames[i].Src = fmt.Append(nil, "frame ", i)
			}
			if failed := s.SealBatch(frames); failed != 0 {
				t.Fatalf("%d failed: %v", failed, frames[0].Err)
			}
			for i, f := range frames {
				opens(t, r, f.Dst, fmt.Sprint("frame ", i))
			}
			synctest.Wait()
			if s.Origin().Epoch != epoch+1 {
				t.Fatalf("epoch %d after the policy's frames in epoch %d", s.Origin().Epoch, epoch)
			}
		}
		s.Close()
		frames := make([]cipher.Frame, 2)
		if s.SealBatch(frames) != 2 || frames[1].Err != keyring.ErrClosed {
			t.Errorf("after Close: %v", frames[1].Err)
		}
	})
}

// TestShortTags: a Receiver says when forgeries of short tags ask for a rotation.
func TestShortTags(t *testing.T) {
	suite := must(cipher.ByID(3))(t) // 32 bits of tag
	_, _, ch := stage(t, keyring.ChannelOptions{Suite: suite})
	s, r := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
	sealed := seal(t, s, "x")
	opens(t, r, sealed, "x")
	if r.Condition() != cipher.Healthy {
		t.Error(r.Condition())
	}
	forged := seal(t, s, "y")
	forged[len(forged)-1] ^= 1
	for range 1 << 12 {
		r.Open(nil, forged, nil)
	}
	if r.Condition() != cipher.Report {
		t.Error(r.Condition())
	}
}

// TestConcurrentUse has everything happen at once: what fails must fail by an
// error that says why.
func TestConcurrentUse(t *testing.T) {
	ctx := t.Context()
	m, ring, ch := stage(t, keyring.ChannelOptions{Policy: keyring.Policy{Frames: 500}})
	other := must(reopen(t, m).Channel(ctx, "stage"))(t)
	live := receiver(t, other, keyring.ReceiverOptions{Window: cipher.MaxWindow})
	archive := receiver(t, ch, keyring.ReceiverOptions{Archive: true, Window: cipher.MaxWindow})
	senders := []*keyring.Sender{sender(t, ch), sender(t, other)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var opened atomic.Int64
	until := func(work func()) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					work()
				}
			}
		})
	}
	expect := func(err error, allowed ...error) {
		for _, a := range allowed {
			if errors.Is(err, a) {
				return
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
	// A goroutine that is held up between sealing and opening must not fall out of the
	// window: the other one of the same Sender waits for it.
	var rounds [4]atomic.Int64
	for i := range 4 {
		s := senders[i%2]
		until(func() {
			if rounds[i].Load() > rounds[(i+2)%4].Load()+cipher.MaxWindow/4 {
				runtime.Gosched()
				return
			}
			defer rounds[i].Add(1)
			sealed, err := s.Seal(nil, []byte("frame"), nil)
			expect(err, keyring.ErrClosed)
			if err != nil {
				return
			}
			// Rotations come faster than a Receiver looks for unknown epochs.
			out, err := live.Open(nil, sealed, nil)
			expect(err, keyring.ErrClosed, cipher.ErrUnknownKey)
			if err == nil && string(out) != "frame" {
				t.Errorf("%q", out)
			}
			_, err = archive.Open(nil, sealed, nil)
			expect(err, keyring.ErrClosed, cipher.ErrUnknownKey)
			opened.Add(1)
		})
	}
	until(func() {
		live.Open(nil, forge(1, 1), nil)
		archive.Open(nil, forge(2, 2), nil)
	})
	until(func() {
		s, err := other.Sender(ctx, 3, keyring.SenderOptions{})
		expect(err)
		if err == nil {
			s.Close()
		}
	})
	for range 30 {
		info, err := ch.Rotate(ctx, "")
		expect(err)
		if err == nil && info.Epoch > 3 {
			_, err = other.Forget(ctx, info.Epoch-3)
			expect(err, keyring.ErrNoEpoch)
		}
		for n := opened.Load(); opened.Load() < n+20 && !t.Failed(); {
			runtime.Gosched()
		}
	}
	ring.Close()
	_, err := senders[0].Seal(nil, nil, nil)
	wantErr(t, err, keyring.ErrClosed)
	close(stop)
	wg.Wait()
}
