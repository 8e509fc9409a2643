package onecall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/audit"
	"github.com/chanseal/chanseal/keyserver/client"
	"github.com/chanseal/chanseal/rtpseal"
)

// The call by a clock that stands still: to the second, and without sockets.

// plainKEK wraps nothing: this is not about rings at rest.
type plainKEK struct{}

func (plainKEK) Kind() string                              { return "test" }
func (plainKEK) Wrap(root, id []byte) ([]byte, error)      { return bytes.Clone(root), nil }
func (plainKEK) Unwrap(wrapped, id []byte) ([]byte, error) { return bytes.Clone(wrapped), nil }

// pipes is a listener whose connections are pipes.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newRing(t *testing.T) *keyring.Ring {
	t.Helper()
	r, err := keyring.Create(t.Context(), keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// studio is a key server in a bubble, with its members.
type studio struct {
	t         *testing.T
	desk      *Desk
	gate      *channelkey.Gate
	transport *http.Transport
	record    string
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	desk, err := newDesk(channelkey.NewApp())
	must(err)
	verifier, err := channelkey.NewVerifier(desk.app, channelkey.Policy{})
	must(err)
	gate, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier})
	must(err)
	ring := newRing(t)
	_, err = ring.Create(t.Context(), channel, keyring.ChannelOptions{})
	must(err)
	s := &studio{t: t, desk: desk, gate: gate, record: filepath.Join(t.TempDir(), "audit.log")}
	log, err := audit.Open(s.record)
	must(err)
	srv, err := keyserver.New(keyserver.Config{Ring: ring, Gate: gate, Audit: log})
	must(err)
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	hs := &http.Server{Handler: srv}
	served := make(chan struct{})
	go func() { hs.Serve(l); close(served) }()
	s.transport = &http.Transport{DialTLSContext: l.dial}
	t.Cleanup(func() {
		srv.Drain()
		s.transport.CloseIdleConnections()
		hs.Close()
		<-served
		if err := errors.Join(srv.Close(), log.Close(), ring.Close()); err != nil {
			t.Error(err)
		}
		gate.Close()
		time.Sleep(time.Second)
		if _, err := audit.VerifyFile(s.record, nil); err != nil {
			t.Error(err)
		}
	})
	return s
}

// member is somebody inside, with a ring.
type member struct {
	*client.Member
	ring *keyring.Ring
}

func (s *studio) join(uid uint32, card func() (string, error)) (*member, error) {
	ring := newRing(s.t)
	m, err := client.Join(s.t.Context(), client.Options{Servers: []string{"https://keys"}, Channel: channel, UID: fmt.Sprint(uid), Ring: ring, Transport: s.transport,
		Card: func(context.Context) (string, error) { return card() }})
	if err != nil {
		ring.Close()
		return nil, err
	}
	s.t.Cleanup(func() { m.Close(); ring.Close() })
	return &member{m, ring}, nil
}

// inside wants somebody to be let in, with a card for a service of this length. Who renews
// fetches another one whenever it is over.
func (s *studio) inside(uid uint32, f channelkey.Format, service time.Duration, renews bool) *member {
	s.t.Helper()
	card, err := s.desk.Issue(f, channel, uid, 0, service)
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := s.join(uid, func() (string, error) {
		if renews {
			return s.desk.Issue(f, channel, uid, 0, service)
		}
		return card, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// ended waits for the end of a membership, for a time in which one that renews itself for
// ever is noticed.
func ended(t *testing.T, m *member) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(5 * time.Minute):
		t.Fatal("still inside after five minutes")
	}
}

// TestFiveMinutes: with a card of every generation somebody comes and goes until 4:59; at
// 5:01 a dynamic key opens no more.
func TestFiveMinutes(t *testing.T) {
	for _, f := range Generations {
		synctest.Test(t, func(t *testing.T) {
			s := newStudio(t)
			card, err := s.desk.Issue(f, channel, sender, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			issued := time.Now()
			for _, at := range []struct {
				after time.Duration
				want  string
			}{{0, ""}, {time.Minute, ""}, {4*time.Minute + 59*time.Second, ""}, {5*time.Minute + time.Second, "entry-over"}} {
				time.Sleep(time.Until(issued.Add(at.after)))
				m, err := s.join(sender, func() (string, error) { return card, nil })
				want := at.want
				if f == channelkey.V006 || f == channelkey.V007 {
					want = "" // good for a day
				}
				if client.Reason(err) != want || (want == "") != (err == nil) {
					t.Errorf("%s, %v after its issue: %v, want %q", f, at.after, err, want)
				}
				if e := (*client.Refused)(nil); errors.As(err, &e) && e.Code != 109 {
					t.Errorf("%s: code %d, want 109", f, e.Code)
				}
				if err == nil {
					m.Close()
				}
			}
		})
	}
}

// listener opens packets with a member's ring.
type listener struct {
	open *rtpseal.Opening
	out  rtpseal.Packets
	got  int
}

func newListener(t *testing.T, m *member) *listener {
	t.Helper()
	ch, err := m.ring.Channel(t.Context(), channel)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ch.Receiver(t.Context(), keyring.ReceiverOptions{Window: cipher.MaxWindow})
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{}
	if l.open, err = rtpseal.NewOpening(rtpseal.OpeningOptions{Opener: rtpseal.Shared(r), Limits: rtpseal.Limits{Age: time.Second}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.open.Close(); r.Close() })
	return l
}

func (l *listener) hear(t *testing.T, sealed []byte, plain []byte) {
	l.out.Reset()
	_ = l.open.Push(sealed, time.Now(), &l.out)
	l.open.Sweep(time.Now(), &l.out)
	for i := range l.out.Len() {
		l.got++
		if plain != nil && l.out.Len() == 1 && !bytes.Equal(l.out.At(i), plain) {
			t.Error("another packet came out")
		}
	}
}

// TestCallByTheClock: minutes of a call, in which a member leaves, a service ends, somebody
// renews, somebody is revoked, and the certificate changes: the receiver loses no packet,
// and who is out hears nothing of what follows.
func TestCallByTheClock(t *testing.T) {
	data, err := os.ReadFile("../demo/talk.webm")
	if err != nil {
		t.Fatal(err)
	}
	clip, err := ReadClip(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStudio(t)
		from, to := s.inside(sender, channelkey.DK4, 0, false), s.inside(receiver, channelkey.V007, 0, false)
		leaver, out, renews := s.inside(700, channelkey.DK2, 0, false), s.inside(short, channelkey.DK4, 40*time.Second, false), s.inside(prolonged, channelkey.DK5, time.Minute, true)
		revoked := s.inside(eve, channelkey.DK3, 0, false)
		ends := time.Now().Add(40 * time.Second).Truncate(time.Second)

		ch, err := from.ring.Channel(t.Context(), channel)
		if err != nil {
			t.Fatal(err)
		}
		seal, err := ch.Sender(t.Context(), from.Sender(), keyring.SenderOptions{Compact: true})
		if err != nil {
			t.Fatal(err)
		}
		defer seal.Close()
		sealing, err := rtpseal.NewSealing(rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(seal)})
		if err != nil {
			t.Fatal(err)
		}
		hears, outHears, eveHears := newListener(t, to), newListener(t, out), newListener(t, revoked)
		src := &source{clip: clip}
		var sealed rtpseal.Packets
		sent := 0
		epochs := map[uint64]bool{}
		// play sends the clip in its own time for as long.
		play := func(long time.Duration) {
			t.Helper()
			for until := time.Now().Add(long); time.Now().Before(until); {
				packets, err := src.next()
				if err != nil {
					t.Fatal(err)
				}
				begun, first := time.Now(), packets[0].At
				for _, p := range packets {
					if early := time.Until(begun.Add(p.At - first)); early >= 40*time.Millisecond {
						time.Sleep(early)
					}
					sealed.Reset()
					if err := sealing.Push(p.Data, &sealed); err != nil {
						t.Fatal(err)
					}
					sent++
					epochs[seal.Origin().Epoch] = true
					pkt := sealed.At(0)
					hears.hear(t, pkt, p.Data)
					outHears.hear(t, pkt, nil)
					eveHears.hear(t, pkt, nil)
				}
				time.Sleep(time.Until(begun.Add(clip.Length)))
			}
			if hears.got != sent {
				t.Fatalf("the receiver has %d of %d packets, in %d epochs", hears.got, sent, len(epochs))
			}
		}

		play(5 * time.Second)
		if err := leaver.Close(); err != nil {
			t.Fatal(err)
		}
		play(20 * time.Second)
		if len(epochs) < 2 {
			t.Fatal("nobody rotated when a member left")
		}
		if outHears.got != sent || eveHears.got != sent {
			t.Fatalf("others have %d and %d of %d packets", outHears.got, eveHears.got, sent)
		}

		// The end of service: at that second, with its reason.
		ended(t, out)
		if late := time.Since(ends); late < 0 || late > time.Second {
			t.Errorf("put out %v after the end of service", late)
		}
		if e := (*client.Refused)(nil); !errors.As(out.Err(), &e) || e.Code != 109 || e.Problem.Reason != "service-ended" {
			t.Errorf("put out with %v", out.Err())
		}
		play(20 * time.Second)
		if outHears.got == sent {
			t.Error("who was put out hears all that follows")
		}
		stays := outHears.got
		play(10 * time.Second)
		if outHears.got != stays {
			t.Error("who was put out goes on hearing")
		}
		if renews.Err() != nil || !s.gate.IsInside(channel, channelkey.UID(prolonged), channelkey.Media) {
			t.Errorf("who renewed is out: %v", renews.Err())
		}

		if err := s.gate.Revoke(channelkey.Revocation{User: channelkey.UID(eve), Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		ended(t, revoked)
		if client.Reason(revoked.Err()) != "revoked" {
			t.Errorf("put out with %v", revoked.Err())
		}
		play(20 * time.Second)
		stays = eveHears.got
		play(10 * time.Second)
		if eveHears.got != stays || stays == sent {
			t.Error("who was revoked hears what follows")
		}
		play(time.Minute)
		if renews.Err() != nil {
			t.Errorf("who renewed is out: %v", renews.Err())
		}

		// The secondary certificate takes over: what the primary one signed is revoked.
		desk, err := s.desk.Secondary()
		if err != nil {
			t.Fatal(err)
		}
		primary := s.desk.app.CertificateID(s.desk.app.Primary)
		if err := s.gate.Revoke(channelkey.Revocation{Certificate: primary, Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		ended(t, to)
		if _, err := s.join(receiver, func() (string, error) { return s.desk.Issue(channelkey.V007, channel, receiver, 0, 0) }); client.Reason(err) != "revoked" {
			t.Errorf("a card of the primary certificate: %v", err)
		}
		if m, err := s.join(receiver, func() (string, error) { return desk.Issue(channelkey.V007, channel, receiver, 0, 0) }); err != nil {
			t.Errorf("a card of the secondary certificate: %v", err)
		} else {
			m.Close()
		}
		t.Logf("%d packets in %d epochs; who was put out heard %d, who was revoked %d", sent, len(epochs), outHears.got, eveHears.got)
	})
}
