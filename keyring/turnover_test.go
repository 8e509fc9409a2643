package keyring_test

import (
	"context"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestBarred: what a sender number sealed in the epoch it was put out of does not open,
// before the next one is there, after it, and when it was never heard before. Others do.
func TestBarred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		_, _, ch := stage(t, keyring.ChannelOptions{})
		number := func(n uint16, compact bool) *keyring.Sender {
			s := must(ch.Sender(ctx, n, keyring.SenderOptions{Compact: compact}))(t)
			t.Cleanup(func() { s.Close() })
			return s
		}
		kicked, short, other := number(3, false), number(4, true), number(5, false)
		unheard := number(3, false)
		live, archive := receiver(t, ch, keyring.ReceiverOptions{}), receiver(t, ch, keyring.ReceiverOptions{Archive: true})
		opens(t, live, seal(t, kicked, "before"), "before")
		opens(t, live, seal(t, short, "announced"), "announced")
		opens(t, live, seal(t, short, "short"), "short")
		var late [][]byte
		for _, s := range []*keyring.Sender{kicked, short, unheard} {
			late = append(late, seal(t, s, "late"))
		}
		info := must(ch.PutOut(ctx, 4, 3, 3))(t)
		if info.Epoch != 1 || len(info.Epochs) != 2 || info.Epochs[1].State != keyring.Staged || !info.Epochs[1].ActivateAt.Equal(time.Now().Add(5*time.Second)) {
			t.Fatalf("%+v", info)
		}
		synctest.Wait()
		refuses(t, live, late[0], keyring.ErrBarred, cipher.ErrUnknownKey)
		refuses(t, live, late[1], cipher.ErrUnknownKey)
		refuses(t, live, late[2], keyring.ErrBarred)
		opens(t, archive, late[0], "late")
		opens(t, live, seal(t, other, "still"), "still")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if kicked.Origin().Epoch != 2 || other.Origin().Epoch != 2 {
			t.Fatalf("epochs %d and %d", kicked.Origin().Epoch, other.Origin().Epoch)
		}
		refuses(t, live, late[2], keyring.ErrBarred)
		opens(t, live, seal(t, kicked, "the number may be somebody else's now"), "the number may be somebody else's now")
		must(ch.Revoke(ctx, "", 5))(t)
		synctest.Wait()
		opens(t, live, seal(t, other, "in the next"), "in the next")
	})
}

// TestActivateAt: everybody switches at the moment that was said, without a word more
// and without the store; the record is written with the next change.
func TestActivateAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		_, err := ch.ActivateAt(ctx, time.Now())
		wantErr(t, err, keyring.ErrNotStaged)
		feed := must(ch.Feed(ctx))(t)
		defer feed.Close()
		s, r := sender(t, ch), receiver(t, ch, keyring.ReceiverOptions{})
		must(ch.Stage(ctx, ""))(t)
		at := time.Now().Add(time.Hour)
		must(ch.ActivateAt(ctx, at))(t)
		synctest.Wait()
		<-feed.Changed()
		if h := must(feed.Current())(t); len(h.Keys) != 2 || !h.Keys[1].ActivateAt.Equal(at) {
			t.Fatalf("%+v", h)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		synctest.Wait()
		old := seal(t, s, "old")
		select {
		case <-feed.Changed():
			t.Error("told of nothing")
		default:
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s.Origin().Epoch != 2 {
			t.Fatalf("in epoch %d", s.Origin().Epoch)
		}
		<-feed.Changed()
		if h := must(feed.Current())(t); len(h.Keys) != 1 || h.Keys[0].Number != 2 || len(h.Retiring) != 1 || !h.Retiring[0].Until.Equal(at.Add(10*time.Second)) {
			t.Fatalf("%+v", h)
		}
		opens(t, r, old, "old")
		opens(t, r, seal(t, s, "new"), "new")
		// Who opens the ring now sees it, and so does who changes it.
		again := must(reopen(t, m).Channel(ctx, "stage"))(t)
		if info := must(again.Show(ctx))(t); info.Epoch != 2 || info.Epochs[0].State != keyring.Retiring {
			t.Fatalf("%+v", info)
		}
		if info := must(again.Rotate(ctx, ""))(t); info.Epoch != 3 || !info.Epochs[1].Activated.Equal(at) {
			t.Fatalf("%+v", info)
		}
	})
}

// TestPendingOutlives: a leave that was told by a process that then ended is answered by
// another one.
func TestPendingOutlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, _, ch := stage(t, keyring.ChannelOptions{})
		s := sender(t, ch)
		there := reopen(t, m)
		info := must(must(there.Channel(ctx, "stage"))(t).Left(ctx))(t)
		if info.Pending != keyring.Fresh || !info.Due.Equal(time.Now().Add(5*time.Second)) {
			t.Fatalf("%+v", info)
		}
		there.Close()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if s.Origin().Epoch != 2 {
			t.Fatalf("in epoch %d", s.Origin().Epoch)
		}
		if info := must(ch.Show(ctx))(t); info.Pending != 0 || info.Epochs[1].Reason != "leave" {
			t.Fatalf("%+v", info)
		}
	})
}

// original is what an operator writes to; members see it later.
type original struct {
	keyring.Store
	mu   sync.Mutex
	then []version
}

type version struct {
	at    time.Time
	entry keyring.Entry
}

func (s *original) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.Store.CAS(ctx, key, value, rev)
	if err == nil {
		s.then = append(s.then, version{time.Now(), keyring.Entry{Key: key, Value: value, Rev: next}})
	}
	return next, err
}

// member sees records as they were a while ago, and hears of changes as late. It
// writes none.
type member struct {
	*original
	late time.Duration
}

func (s member) Get(ctx context.Context, key string) (keyring.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := keyring.Entry{}
	for _, v := range s.then {
		if v.entry.Key == key && (found.Rev == 0 || time.Since(v.at) >= s.late) {
			found = v.entry
		}
	}
	return found, nil
}

func (s member) CAS(context.Context, string, []byte, uint64) (uint64, error) { return 0, errDown }

func (s member) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	return func(yield func(keyring.Event, error) bool) {
		for ev, err := range s.Store.Watch(ctx, prefix, after) {
			select {
			case <-time.After(s.late):
			case <-ctx.Done():
				return
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// call is a conversation of members whose clocks differ by up to two seconds, and who
// hear of everything up to a second late.
type call struct {
	t         *testing.T
	rand      *rand.Rand
	operator  *keyring.Channel
	original  *original
	senders   []*keyring.Sender
	receivers []*keyring.Receiver
	underway  sync.WaitGroup

	mu           sync.Mutex
	lost, opened int
	captured     [][]byte // by the network, since the member was put out
	capturing    bool
}

func newCall(t *testing.T, p keyring.Policy) *call {
	ctx := t.Context()
	c := &call{t: t, rand: rand.New(rand.NewPCG(1, 2)), original: &original{Store: keyringtest.NewMemory()}}
	ring := newRing(t, c.original)
	c.operator = must(ring.Create(ctx, "stage", keyring.ChannelOptions{Policy: p}))(t)
	feed := must(c.operator.Feed(ctx))(t)
	t.Cleanup(feed.Close)
	for i, skew := range []time.Duration{-time.Second, time.Second, 300 * time.Millisecond, 0} {
		r := must(keyring.Open(ctx, member{c.original, time.Duration(i+1) * time.Second / 4}, testOptions))(t)
		t.Cleanup(func() { r.Close() })
		keyring.SetClock(r, func() time.Time { return time.Now().Add(skew) })
		ch := must(r.Channel(ctx, "stage"))(t)
		s := must(ch.Sender(ctx, uint16(i), keyring.SenderOptions{}))(t)
		c.senders = append(c.senders, s)
		c.receivers = append(c.receivers, receiver(t, ch, keyring.ReceiverOptions{}))
	}
	return c
}

// talk has every member send 50 frames a second for a while, 200 in all. Of each copy the
// network loses one of fifty, and delivers the others up to a second later, in any order.
func (c *call) talk(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for i, s := range c.senders {
			c.send(i, must(s.Seal(nil, []byte("a frame"), nil))(c.t))
		}
	}
	c.underway.Wait()
}

func (c *call) send(from int, sealed []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.capturing {
		c.captured = append(c.captured, sealed)
	}
	for to, r := range c.receivers {
		delay := time.Duration(c.rand.Int64N(int64(time.Second)))
		if to == from || c.rand.IntN(50) == 0 {
			continue
		}
		c.underway.Go(func() {
			time.Sleep(delay)
			_, err := r.Open(nil, sealed, nil)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				if c.lost++; c.lost < 4 {
					h, _, _ := cipher.ParseHeader(sealed)
					c.t.Logf("%d of epoch %d to %d after %v: %v", from, keyring.ParseKID(h.KID).Epoch, to, delay, err)
				}
				return
			}
			c.opened++
		})
	}
}

// putOut captures what is sealed from now on, for a member who has all that is in the
// ring at this moment.
func (c *call) putOut(sound bool) (his *keyring.Receiver) {
	copied := keyringtest.NewMemory()
	all, _, err := c.original.List(c.t.Context(), "")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range all {
		must(copied.CAS(c.t.Context(), e.Key, e.Value, 0))(c.t)
	}
	ch := must(reopen(c.t, copied).Channel(c.t.Context(), "stage"))(c.t)
	if sound {
		must(c.operator.PutOut(c.t.Context()))(c.t)
	} else {
		must(c.operator.ActivateAt(c.t.Context(), time.Now().Add(5*time.Second)))(c.t)
	}
	c.mu.Lock()
	c.captured, c.capturing = nil, true
	c.mu.Unlock()
	return receiver(c.t, ch, keyring.ReceiverOptions{Archive: true})
}

// TestNoFrameIsLost: however an epoch ends, every frame that arrives opens, with clocks that
// differ by two seconds, news that are late and a network that mixes everything. The
// controls: without the delay, and with the shortest grace, frames are lost.
func TestNoFrameIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		policy keyring.Policy
		loses  bool
	}{
		"policy":       {policy: keyring.Policy{Age: 20 * time.Second, OnJoin: keyring.Step}},
		"staged ahead": {policy: keyring.Policy{Age: 20 * time.Second, Ahead: true, OnJoin: keyring.Renewal}},
		"no delay":     {policy: keyring.Policy{Age: 20 * time.Second, Delay: keyring.AtOnce}, loses: true},
		"no grace":     {policy: keyring.Policy{Age: 20 * time.Second, Grace: 2 * time.Second}, loses: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call := newCall(t, c.policy)
				call.talk(25 * time.Second)
				_, _, err := call.operator.Joined(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				call.talk(3 * time.Second)
				must(call.operator.Left(t.Context()))(t)
				call.talk(12 * time.Second)
				must(call.operator.PutOut(t.Context()))(t)
				call.talk(12 * time.Second)
				epoch := call.senders[0].Origin().Epoch
				if (call.lost > 0) != c.loses || call.opened < 10000 || epoch < 4 {
					t.Errorf("%d frames lost, %d opened, epoch %d", call.lost, call.opened, epoch)
				}
				for _, s := range call.senders {
					s.Close()
				}
			})
		})
	}
}

// TestPutOut: who was put out opens what is sealed until the fresh epoch is active, a few
// seconds later, and nothing after, whatever he was given before. The control: with a
// rotation that uses what was staged he opens everything.
func TestPutOut(t *testing.T) {
	for _, sound := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			call := newCall(t, keyring.Policy{Ahead: true})
			call.talk(2 * time.Second)
			his := call.putOut(sound)
			call.talk(12 * time.Second)
			call.capturing = false
			opened := map[uint64]int{}
			total := map[uint64]int{}
			for _, sealed := range call.captured {
				h, _, err := cipher.ParseHeader(sealed)
				if err != nil {
					t.Fatal(err)
				}
				epoch := keyring.ParseKID(h.KID).Epoch
				total[epoch]++
				if _, err := his.Open(nil, sealed, nil); err == nil {
					opened[epoch]++
				}
			}
			if call.lost > 0 {
				t.Errorf("the others lost %d frames", call.lost)
			}
			newest := call.senders[3].Origin().Epoch
			if opened[1] == 0 || opened[1] != total[1] || total[newest] < 100 || newest < 2 {
				t.Fatalf("opened %v of %v", opened, total)
			}
			if (opened[newest] == 0) != sound {
				t.Errorf("who was put out opens %d frames of %d in epoch %d", opened[newest], total[newest], newest)
			}
			for _, s := range call.senders {
				s.Close()
			}
		})
	}
}
