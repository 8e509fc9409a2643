package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// wordKEK "wraps" by a word that both have to know: for tests of who may open.
type wordKEK string

func (wordKEK) Kind() string { return "word" }
func (k wordKEK) Wrap(root, id []byte) ([]byte, error) {
	return append([]byte(string(k)+":"), root...), nil
}
func (k wordKEK) Unwrap(wrapped, id []byte) ([]byte, error) {
	root, ok := bytes.CutPrefix(wrapped, []byte(string(k)+":"))
	if !ok {
		return nil, keyring.ErrLocked
	}
	return bytes.Clone(root), nil
}

func words(list ...string) keyring.Options {
	var o keyring.Options
	for _, w := range list {
		o.KEKs = append(o.KEKs, wordKEK(w))
	}
	return o
}

// openAs opens the ring in a store with words.
func openAs(t testing.TB, s keyring.Store, list ...string) *keyring.Ring {
	t.Helper()
	r := must(keyring.Open(t.Context(), s, words(list...)))(t)
	t.Cleanup(func() { r.Close() })
	return r
}

// epochsOf lists the fingerprints of all epochs of all channels.
func epochsOf(t testing.TB, r *keyring.Ring) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, info := range must(r.Channels(t.Context()))(t) {
		for _, e := range info.Epochs {
			if e.Fingerprint != "" {
				out[fmt.Sprint(info.Name, " ", e.Number)] = e.Fingerprint
			}
		}
	}
	return out
}

// fill makes channels with some epochs.
func fill(t testing.TB, r *keyring.Ring, n int) {
	t.Helper()
	for i := range n {
		ch := must(r.Create(t.Context(), fmt.Sprint("channel ", i), keyring.ChannelOptions{}))(t)
		for range i % 3 {
			must(ch.Rotate(t.Context(), ""))(t)
		}
	}
}

func TestRewrap(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	r := must(keyring.Create(ctx, m.Again(), words("first")))(t)
	defer r.Close()
	fill(t, r, 2)
	if err := r.Rewrap(ctx, words("second", "recovery").KEKs, nil); err != nil {
		t.Fatal(err)
	}
	second := openAs(t, m.Again(), "second")
	list := must(second.Wrappings(ctx))(t)
	var opens []bool
	for _, w := range list {
		opens = append(opens, w.Opens)
	}
	if fmt.Sprint(opens) != "[false true false]" {
		t.Fatal(list)
	}
	// What opens the one taken out, and the one that stays, is not at hand.
	if err := second.Rewrap(ctx, nil, []string{list[0].ID}); err != nil {
		t.Fatal(err)
	}
	_, err := keyring.Open(ctx, m.Again(), words("first"))
	wantErr(t, err, keyring.ErrLocked)
	openAs(t, m.Again(), "recovery")
	wantErr(t, second.Rewrap(ctx, nil, []string{list[0].ID}), keyring.ErrNotFound)
	if err := second.Rewrap(ctx, nil, []string{list[1].ID, list[2].ID}); err == nil {
		t.Error("a ring that nothing opens")
	}
	// A ring that is open goes on: its root key is the same.
	must(r.Create(ctx, "after", keyring.ChannelOptions{}))(t)
	must(openAs(t, m.Again(), "second").Channel(ctx, "after"))(t)
	// A KEK that does not unwrap what it wraps is refused.
	if err := r.Rewrap(ctx, []keyring.KEK{lossyKEK{}}, nil); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Error(err)
	}
}

// lossyKEK wraps something else.
type lossyKEK struct{ wordKEK }

func (lossyKEK) Wrap(root, id []byte) ([]byte, error) {
	return []byte(":" + string(make([]byte, 32))), nil
}

// TestReseal: after it the old key opens nothing, neither what the store holds nor old
// copies put back, and everything is there.
func TestReseal(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	r := must(keyring.Create(ctx, m.Again(), words("old")))(t)
	defer r.Close()
	fill(t, r, 20)
	stay := openAs(t, m.Again(), "old", "new")
	out := openAs(t, m.Again(), "old")
	ch := must(stay.Channel(ctx, "channel 1"))(t)
	s, rc := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
	before := epochsOf(t, r)
	shelf := must(r.Shelf("service"))(t)
	place := must(shelf.Name("a name"))(t)
	must(shelf.CAS(ctx, place, []byte("kept"), 0))(t)
	late := must(stay.Shelf("service"))(t)
	old, _, err := m.List(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	if err := r.Reseal(ctx, words("new").KEKs, func(n int) { looked = n }); err != nil {
		t.Fatal(err)
	}
	if looked != 21 || r.Resealing() {
		t.Errorf("looked at %d records, unfinished: %v", looked, r.Resealing())
	}
	for name, ring := range map[string]*keyring.Ring{"it": r, "one opened before": stay, "a new one": openAs(t, m.Again(), "new")} {
		got := epochsOf(t, ring)
		maps.DeleteFunc(got, func(epoch, _ string) bool { return !strings.HasPrefix(epoch, "channel ") })
		if !maps.Equal(got, before) {
			t.Errorf("%s: %d epochs of %d", name, len(got), len(before))
		}
		must(ring.Create(ctx, name, keyring.ChannelOptions{}))(t)
	}
	opens(t, rc, seal(t, s, "goes on"), "goes on")
	for _, shelf := range []*keyring.Shelf{late, must(openAs(t, m.Again(), "new").Shelf("service"))(t)} {
		name := must(shelf.Name("a name"))(t)
		if e := must(shelf.Get(ctx, name))(t); string(e.Value) != "kept" {
			t.Errorf("a service's record is %q", e.Value)
		} else {
			must(shelf.CAS(ctx, name, e.Value, e.Rev))(t)
		}
	}
	must(ch.Rotate(ctx, ""))(t)

	_, err = keyring.Open(ctx, m.Again(), words("old"))
	wantErr(t, err, keyring.ErrLocked)
	_, err = out.Channel(ctx, "channel 1")
	wantErr(t, err, keyring.ErrLocked)
	_, err = out.Create(ctx, "more", keyring.ChannelOptions{})
	wantErr(t, err, keyring.ErrLocked)

	// Records from before, put back, do not open; nor does the old header open new ones.
	again := openAs(t, m.Again(), "new")
	for _, e := range old {
		now := must(m.Get(ctx, e.Key))(t)
		must(m.CAS(ctx, e.Key, e.Value, now.Rev))(t)
		if e.Key == "ring" {
			stolen := openAs(t, m.Again(), "old")
			_, err := stolen.Channel(ctx, "it")
			wantErr(t, err, keyring.ErrDamaged)
			stolen.Close()
		} else {
			_, err = again.Channels(ctx)
			if strings.HasPrefix(e.Key, "x/") {
				_, err = must(again.Shelf("service"))(t).Get(ctx, place)
			}
			wantErr(t, err, keyring.ErrDamaged)
		}
		back := must(m.Get(ctx, e.Key))(t)
		must(m.CAS(ctx, e.Key, now.Value, back.Rev))(t)
	}
	if r.ID() != again.ID() {
		t.Error("the ring's ID changed")
	}
}

// TestResealRaces reseals, several times and by two at once, while others create and
// rotate: nothing is lost.
func TestResealRaces(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	r := must(keyring.Create(ctx, m.Again(), words("w")))(t)
	defer r.Close()
	fill(t, r, 10)
	var wg sync.WaitGroup
	made := make([]int, 3)
	stop := make(chan struct{})
	for w := range made {
		ring := openAs(t, m.Again(), "w")
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					made[w] = n
					return
				default:
				}
				ch, err := ring.Create(ctx, fmt.Sprintf("%d of %d", n%50, w), keyring.ChannelOptions{})
				if n >= 50 {
					ch, err = ring.Channel(ctx, fmt.Sprintf("%d of %d", n%50, w))
				}
				if err == nil && n%100 < 50 {
					_, err = ch.Rotate(ctx, "")
				}
				if err != nil {
					t.Errorf("worker %d: %v", w, err)
					return
				}
			}
		})
	}
	var resealers sync.WaitGroup
	for range 2 {
		ring := openAs(t, m.Again(), "w")
		resealers.Go(func() {
			for range 3 { // in all fewer than a header has ancestors
				if err := ring.Reseal(ctx, words("w").KEKs, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	resealers.Wait()
	close(stop)
	wg.Wait()
	last := openAs(t, m.Again(), "w")
	if last.Resealing() {
		t.Error("it is not finished")
	}
	names := map[string]bool{}
	for _, info := range must(last.Channels(ctx))(t) {
		names[info.Name] = info.Epoch > 0
	}
	for w, n := range made {
		for i := range min(n, 50) {
			if !names[fmt.Sprintf("%d of %d", i, w)] {
				t.Fatalf("channel %d of %d is lost", i, w)
			}
		}
	}
}

// looseFence forgets to look at the fence: the negative control of the one above.
type looseFence struct{ *keyringtest.Memory }

func (s looseFence) CASFenced(ctx context.Context, key string, value []byte, rev uint64, _ string, _ uint64) (uint64, error) {
	return s.CAS(ctx, key, value, rev)
}

// TestResealFence: who opened the ring before cannot write under the old root key; with
// a store that does not keep him from it, a channel is lost.
func TestResealFence(t *testing.T) {
	ctx := t.Context()
	for _, fenced := range []bool{true, false} {
		m := keyringtest.NewMemory()
		handle := func() keyring.Store {
			if fenced {
				return m.Again()
			}
			return looseFence{m.Again()}
		}
		r := must(keyring.Create(ctx, handle(), words("w")))(t)
		late := must(keyring.Open(ctx, handle(), words("w")))(t)
		if err := r.Reseal(ctx, words("w").KEKs, nil); err != nil {
			t.Fatal(err)
		}
		must(late.Create(ctx, "late", keyring.ChannelOptions{}))(t)
		_, err := openAs(t, handle(), "w").Channel(ctx, "late")
		if fenced != (err == nil) {
			t.Errorf("fenced: %v: %v", fenced, err)
		}
		r.Close()
		late.Close()
	}
}

// TestHeaderFollows: a ring that is open does not go back to a header from before its root
// key was renewed, or from before that was finished, and takes none from somebody who did
// not know its root key, though it is wrapped for it.
func TestHeaderFollows(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	r := must(keyring.Create(ctx, m.Again(), words("w")))(t)
	defer r.Close()
	fill(t, r, 3)
	put := func(header []byte) {
		t.Helper()
		must(m.CAS(ctx, "ring", header, must(m.Get(ctx, "ring"))(t).Rev))(t)
	}
	ch := must(r.Channel(ctx, "channel 0"))(t)
	refused := func(what string, header []byte) {
		t.Helper()
		now := must(m.Get(ctx, "ring"))(t).Value
		put(header)
		_, err := ch.Rotate(ctx, "")
		if !errors.Is(err, keyring.ErrRollback) {
			t.Errorf("%s: %v", what, err)
		}
		wantErr(t, r.Rekey(ctx, wordKEK("w")), keyring.ErrRollback)
		put(now)
		must(ch.Rotate(ctx, ""))(t)
	}
	first := must(m.Get(ctx, "ring"))(t).Value
	refused("a forged header", keyring.ForgeHeader(r, wordKEK("w"), false))
	refused("a forged header of a later generation", keyring.ForgeHeader(r, wordKEK("w"), true))
	left := 2
	dying := must(keyring.Open(ctx, dyingStore{m.Again(), new(sync.Mutex), &left, false}, words("w")))(t)
	wantErr(t, dying.Reseal(ctx, words("w").KEKs, nil), errDied)
	dying.Close()
	must(ch.Rotate(ctx, ""))(t)
	begun := must(m.Get(ctx, "ring"))(t).Value
	if !r.Resealing() {
		t.Fatal("the ring does not know that it is resealed")
	}
	refused("a header from before", first)
	if err := r.FinishReseal(ctx, nil); err != nil {
		t.Fatal(err)
	}
	refused("a header from before it was finished", begun)
	refused("a header from before it was begun", first)
	refused("a forged header after that", keyring.ForgeHeader(r, wordKEK("w"), true))
	// Who was away for some generations follows; for more than the header knows, not.
	for n, want := range map[int]error{7: nil, 9: keyring.ErrRollback} {
		away := openAs(t, m.Again(), "w")
		for range n {
			if err := r.Reseal(ctx, words("w").KEKs, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := away.Channel(ctx, "channel 0"); !errors.Is(err, want) {
			t.Errorf("after %d generations: %v", n, err)
		}
	}
}

// dyingStore fails for good after some writes: what a killed process leaves.
type dyingStore struct {
	*keyringtest.Memory
	mu   *sync.Mutex
	left *int
	last bool // the one that it dies at is still done
}

var errDied = errors.New("died")

func (s dyingStore) write(do func() (uint64, error)) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.left--
	if *s.left > 0 {
		return do()
	}
	if *s.left == 0 && s.last {
		do()
	}
	return 0, errDied
}

func (s dyingStore) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	return s.write(func() (uint64, error) { return s.Memory.CAS(ctx, key, value, rev) })
}

func (s dyingStore) CASFenced(ctx context.Context, key string, value []byte, rev uint64, fence string, at uint64) (uint64, error) {
	return s.write(func() (uint64, error) { return s.Memory.CASFenced(ctx, key, value, rev, fence, at) })
}

func (s dyingStore) Delete(ctx context.Context, key string, rev uint64) error {
	_, err := s.write(func() (uint64, error) { return 0, s.Memory.Delete(ctx, key, rev) })
	return err
}

// TestResealInterrupted dies at every write of a Reseal, before and after it was done:
// the ring opens by the old or the new key, everything is there at once, and the rest
// is done later.
func TestResealInterrupted(t *testing.T) {
	ctx := t.Context()
	for n := 1; ; n++ {
		finished := false
		for _, last := range []bool{false, true} {
			m := keyringtest.NewMemory()
			r := must(keyring.Create(ctx, m.Again(), words("old")))(t)
			fill(t, r, 9)
			before := epochsOf(t, r)
			r.Close()
			left := n
			dying := must(keyring.Open(ctx, dyingStore{m.Again(), new(sync.Mutex), &left, last}, words("old")))(t)
			err := dying.Reseal(ctx, words("new").KEKs, nil)
			finished = err == nil
			if err != nil && !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			dying.Close()
			after, err := keyring.Open(ctx, m.Again(), words("new"))
			if begun := n > 1 || last; begun != (err == nil) {
				t.Fatalf("after %d writes (last done: %v): %v", n, last, err)
			}
			if err != nil {
				after = openAs(t, m.Again(), "old")
			}
			if got := epochsOf(t, after); !maps.Equal(got, before) {
				t.Fatalf("after %d writes: %d epochs of %d", n, len(got), len(before))
			}
			ch := must(after.Channel(ctx, "channel 5"))(t) // and it can be used
			must(ch.Rotate(ctx, ""))(t)
			before = epochsOf(t, after)
			if err := after.FinishReseal(ctx, nil); err != nil {
				t.Fatal(err)
			}
			if got := epochsOf(t, after); !maps.Equal(got, before) || after.Resealing() {
				t.Fatalf("finished after %d writes: %d epochs of %d", n, len(got), len(before))
			}
			after.Close()
			if got := epochsOf(t, openAs(t, m.Again(), "new", "old")); !maps.Equal(got, before) {
				t.Fatalf("opened again after %d writes: %d epochs of %d", n, len(got), len(before))
			}
		}
		if finished {
			if n < 11 { // two headers, nine records
				t.Errorf("a Reseal of %d writes", n-1)
			}
			return
		}
	}
}

func TestRecipient(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	dir := t.TempDir()
	recovery := must(keyring.CreateKeyFile(dir + "/recovery"))(t)
	r := must(keyring.Create(ctx, m.Again(), words("w")))(t)
	defer r.Close()
	const to = "age1y8m84r6pwd4da5d45zzk03rlgv2xr7fn9px80suw3psrahul44ashl0usm" // of age's documentation
	k := must(keyring.RecipientKEK(to + "\n"))(t)
	if err := r.Rewrap(ctx, []keyring.KEK{k, recovery}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := keyring.Open(ctx, m.Again(), keyring.Options{KEKs: []keyring.KEK{k}})
	wantErr(t, err, keyring.ErrLocked)
	opened := must(keyring.Open(ctx, m.Again(), keyring.Options{KEKs: []keyring.KEK{recovery}}))(t)
	opened.Close()
	for _, text := range []string{"", "age1", "age1qqq", "AGE-SECRET-KEY-1QQQ", to + "\n" + to} {
		if _, err := keyring.RecipientKEK(text); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// backup returns a ring's backup.
func backup(t testing.TB, r *keyring.Ring) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := r.Backup(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRestore: every channel of a restored ring begins a fresh epoch, some numbers on,
// what was sealed before opens, and no KID comes twice.
func TestRestore(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	r := must(keyring.Create(ctx, m.Again(), words("w")))(t)
	defer r.Close()
	fill(t, r, 12)
	keyring.SetDraw(r, func() uint64 { return 7 })
	ch := must(r.Channel(ctx, "channel 4"))(t)
	gone := must(r.Channel(ctx, "channel 5"))(t)
	must(gone.ForgetAll(ctx))(t)
	staged := must(ch.Stage(ctx, ""))(t)
	file := backup(t, r)
	if bytes.Contains(file, []byte("channel")) {
		t.Error("a name shows")
	}
	// Life goes on after the backup: the staged epoch is used, and others after it.
	must(ch.Activate(ctx))(t)
	s := sender(t, ch)
	frame := seal(t, s, "sealed after the backup")
	must(ch.Rotate(ctx, ""))(t)
	now := must(ch.Show(ctx))(t)

	for skip, next := range map[int]uint64{0: 20, -1: 4, 5: 9} {
		fresh := keyringtest.NewMemory()
		restored := must(keyring.Restore(ctx, fresh.Again(), bytes.NewReader(file), words("w"), keyring.RestoreOptions{Skip: skip}))(t)
		keyring.SetDraw(restored, func() uint64 { return 7 }) // as unlucky as can be
		if restored.ID() != r.ID() {
			t.Error("another ID")
		}
		again := must(restored.Channel(ctx, "channel 4"))(t)
		info := must(again.Show(ctx))(t)
		if info.Epoch != next {
			t.Errorf("skipped %d: epoch %d, want %d", skip, info.Epoch, next)
		}
		for _, e := range info.Epochs {
			if e.State == keyring.Forgotten {
				continue
			}
			if e.Number > 2 && slices.ContainsFunc(now.Epochs, func(o keyring.Epoch) bool { return o.Fingerprint == e.Fingerprint }) {
				t.Errorf("epoch %d has a secret that the ring used since", e.Number)
			}
			if e.Number == staged.Epochs[len(staged.Epochs)-1].Number {
				t.Errorf("the staged epoch is %v", e.State)
			}
		}
		refuses(t, receiver(t, again, keyring.ReceiverOptions{Archive: true}), frame)
		if o := sender(t, again).Origin(); skip != -1 && o.KID() == s.Origin().KID() {
			t.Errorf("KID %#x twice", o.KID())
		}
		other := must(restored.Channel(ctx, "channel 2"))(t)
		was := must(must(r.Channel(ctx, "channel 2"))(t).Show(ctx))(t)
		if is := must(other.Show(ctx))(t); is.Epoch <= was.Epoch || is.Epochs[0].Fingerprint != was.Epochs[0].Fingerprint {
			t.Errorf("%+v, was %+v", is, was)
		}
		if is := must(must(restored.Channel(ctx, "channel 5"))(t).Show(ctx))(t); is.Epoch != 0 {
			t.Error("a forgotten channel came back")
		}
		restored.Close()
		if got := len(must(openAs(t, fresh.Again(), "w").Channels(ctx))(t)); got != 12 {
			t.Errorf("%d channels", got)
		}
		_, err := keyring.Restore(ctx, fresh.Again(), bytes.NewReader(file), words("w"), keyring.RestoreOptions{Overwrite: true})
		wantErr(t, err, keyring.ErrRingExists)
	}
	_, err := keyring.Restore(ctx, keyringtest.NewMemory(), bytes.NewReader(file), words("x"), keyring.RestoreOptions{})
	wantErr(t, err, keyring.ErrLocked)
}

// TestRestoreKept: in a channel that another ring keeps, a restored ring opens, and seals
// only when it is granted sender numbers anew.
func TestRestoreKept(t *testing.T) {
	ctx := t.Context()
	r := must(keyring.Create(ctx, keyringtest.NewMemory(), words("w")))(t)
	defer r.Close()
	grant := func(r *keyring.Ring, serial uint64) error {
		_, err := r.Accept(ctx, "theirs", keyring.Acceptance{
			Keeper: []byte("k"), Serial: serial, Senders: []keyring.SenderRange{{First: 1, Last: 1}}, Grace: 10 * time.Second,
			Epochs: []keyring.Given{{Number: 3, State: keyring.Active, Suite: 4, Created: time.Now(), Secret: bytes.Repeat([]byte{3}, 32)}},
		})
		return err
	}
	if err := grant(r, 7); err != nil {
		t.Fatal(err)
	}
	frame := seal(t, sender(t, must(r.Channel(ctx, "theirs"))(t)), "frame")
	restored := must(keyring.Restore(ctx, keyringtest.NewMemory(), bytes.NewReader(backup(t, r)), words("w"), keyring.RestoreOptions{}))(t)
	defer restored.Close()
	ch := must(restored.Channel(ctx, "theirs"))(t)
	opens(t, receiver(t, ch, keyring.ReceiverOptions{}), frame, "frame")
	_, err := ch.Sender(ctx, 1, keyring.SenderOptions{})
	wantErr(t, err, keyring.ErrNotGranted)
	wantErr(t, grant(restored, 7), keyring.ErrOlder)
	if err := grant(restored, 9); err != nil {
		t.Fatal(err)
	}
	sender(t, ch)
}

// TestDamagedBackup flips, cuts and rearranges a backup: no ring comes of it.
func TestDamagedBackup(t *testing.T) {
	ctx := t.Context()
	r := must(keyring.Create(ctx, keyringtest.NewMemory(), words("w")))(t)
	defer r.Close()
	fill(t, r, 2)
	file := backup(t, r)
	refused := func(what string, b []byte) {
		t.Helper()
		m := keyringtest.NewMemory()
		_, err := keyring.Restore(ctx, m.Again(), bytes.NewReader(b), words("w"), keyring.RestoreOptions{})
		if !errors.Is(err, keyring.ErrDamaged) && !errors.Is(err, keyring.ErrVersion) && !errors.Is(err, keyring.ErrLocked) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := keyring.Open(ctx, m.Again(), words("w")); err == nil {
			t.Errorf("%s: a ring", what)
		}
	}
	for i := range file {
		b := bytes.Clone(file)
		b[i] ^= 1 << (i % 8)
		refused(fmt.Sprint("flipped at ", i), b)
		refused(fmt.Sprint("cut at ", i), file[:i])
	}
	refused("longer", append(bytes.Clone(file), 0))
	other := must(keyring.Create(ctx, keyringtest.NewMemory(), words("w")))(t)
	defer other.Close()
	fill(t, other, 1)
	refused("two together", append(bytes.Clone(file[:len(file)-42]), backup(t, other)...))
}

// TestRestoreInterrupted dies at every write of a Restore: no ring is there, and with
// Overwrite it is made.
func TestRestoreInterrupted(t *testing.T) {
	ctx := t.Context()
	r := must(keyring.Create(ctx, keyringtest.NewMemory(), words("w")))(t)
	defer r.Close()
	fill(t, r, 5)
	file := backup(t, r)
	for n := 1; n <= 6; n++ {
		m := keyringtest.NewMemory()
		left := n
		_, err := keyring.Restore(ctx, dyingStore{m.Again(), new(sync.Mutex), &left, false}, bytes.NewReader(file), words("w"), keyring.RestoreOptions{})
		wantErr(t, err, errDied)
		if _, err := keyring.Open(ctx, m.Again(), words("w")); err == nil {
			t.Fatal("half a ring")
		}
		_, err = keyring.Restore(ctx, m.Again(), bytes.NewReader(file), words("w"), keyring.RestoreOptions{})
		if n > 1 {
			wantErr(t, err, keyring.ErrDamaged)
		}
		if _, err := keyring.Create(ctx, m.Again(), words("w")); err == nil {
			t.Fatal("a new ring over half a one")
		}
		if n > 1 {
			restored := must(keyring.Restore(ctx, m.Again(), bytes.NewReader(file), words("w"), keyring.RestoreOptions{Overwrite: true}))(t)
			if got := len(must(restored.Channels(ctx))(t)); got != 5 {
				t.Fatal(got)
			}
		}
	}
}

// FuzzRestore gives Restore anything: where it fails no ring is there.
func FuzzRestore(f *testing.F) {
	r := must(keyring.Create(f.Context(), keyringtest.NewMemory(), words("w")))(f)
	defer r.Close()
	fill(f, r, 2)
	whole := backup(f, r)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte("chanseal ring backup\x01\x00\x04ring\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := keyringtest.NewMemory()
		restored, err := keyring.Restore(t.Context(), m.Again(), bytes.NewReader(b), words("w"), keyring.RestoreOptions{})
		if err == nil {
			restored.Close()
			return
		}
		if _, err := keyring.Open(t.Context(), m.Again(), words("w")); err == nil {
			t.Fatal("a ring of a backup that was refused")
		}
	})
}
