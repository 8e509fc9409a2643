package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
)

// Member is a membership that is kept up until Close, or until a server ends it.
type Member struct {
	o    Options
	http *http.Client
	key  *wrapping

	identity *keyring.Identity // whom bundles are sealed to; nil: no blind channel

	cancel context.CancelFunc
	done   chan struct{}
	first  chan struct{} // closed when the first epochs are kept
	ready  sync.Once

	mu     sync.Mutex
	server int            // index of the one that is used
	seat   api.Membership // without keys
	err    error
	lost   time.Time         // since when there is no stream; zero: there is
	ahead  time.Duration     // of this machine's clock before the server's; 0 if it is about right
	used   [sha256.Size]byte // hash of the card that the membership is by
}

// How often a lost connection is tried again: at once, then after twice the time, up to
// the longest, each between half and one and a half of it.
const (
	firstWait = 100 * time.Millisecond
	longWait  = 5 * time.Second
)

// silence is after how long without even a heartbeat a stream is taken for dead.
const silence = 40 * time.Second

// Join enters the channel and returns when its epochs have been kept. After that the
// member goes on until Close; ctx is for the entry alone.
func Join(ctx context.Context, o Options) (*Member, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	tr, err := o.transport()
	if err != nil {
		return nil, err
	}
	m := &Member{o: o, http: &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, done: make(chan struct{}), first: make(chan struct{})}
	switch {
	case o.Issuer != "":
		m.identity, err = keyring.NewIdentity("")
	case !o.Plain:
		m.key, err = newWrapping()
	}
	if err != nil {
		return nil, err
	}
	if err := m.enterAnywhere(ctx); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go m.run(run)
	select {
	case <-m.first:
		return m, nil
	case <-m.done:
		return nil, m.Err()
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), m.Close())
	}
}

// ID is the membership's opaque ID, as it stands in the server's records.
func (m *Member) ID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seat.Member
}

// Sender is the number to seal frames with. It changes if the membership had to begin
// anew.
func (m *Member) Sender() uint16 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seat.Sender
}

// Done is closed when the membership has ended.
func (m *Member) Done() <-chan struct{} { return m.done }

// Err says why the membership ended; nil after Close, or while it goes on.
func (m *Member) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Lost returns since when there is no connection to a server; zero if there is one.
func (m *Member) Lost() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

// Close leaves the channel.
func (m *Member) Close() error {
	m.cancel()
	<-m.done
	m.mu.Lock()
	ended := m.err != nil
	m.err = nil
	m.mu.Unlock()
	if ended {
		return nil
	}
	err := m.leave()
	m.http.CloseIdleConnections()
	return err
}

// next goes to the next server.
func (m *Member) next() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server = (m.server + 1) % len(m.o.Servers)
}

func (m *Member) address(path string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.o.Servers[m.server] + "/v1/channels/" + url.PathEscape(m.o.Channel) + path
}

// enterAnywhere enters at the first server that answers. What a server refuses for good,
// others refuse, too.
func (m *Member) enterAnywhere(ctx context.Context) (err error) {
	for range m.o.Servers {
		if err = m.enter(ctx); err == nil || final(err) {
			return err
		}
		m.next()
	}
	return err
}

// enter enters with a card.
func (m *Member) enter(ctx context.Context) error {
	for again := range 2 {
		card, err := m.o.Card(ctx)
		if err != nil {
			return fmt.Errorf("client: fetch a card: %w", err)
		}
		if err = m.sit(ctx, card); err == nil {
			m.mu.Lock()
			m.used = sha256.Sum256([]byte(card))
			m.mu.Unlock()
		}
		if r := Reason(err); again == 0 && (r == "entry-over" || r == "replayed") {
			continue // a newer one may do
		}
		return err
	}
	return nil
}

var errSameCard = errors.New("the service ends soon, and the card is the one that is in use: get a new one")

// isUsed reports whether the membership is by this card.
func (m *Member) isUsed(card string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used == sha256.Sum256([]byte(card))
}

// sit begins or brings back a membership.
func (m *Member) sit(ctx context.Context, bearer string) error {
	req := api.EnterRequest{UID: m.o.UID}
	if m.identity != nil {
		req.Recipient = m.identity.Recipient().String()
	} else if m.key != nil {
		req.Kem, req.PublicKey = m.key.kem, m.key.key.PublicKey().Bytes()
	}
	var seat api.Membership
	if err := call(ctx, m.http, http.MethodPost, m.address("/members"), bearer, &req, &seat, m.compare); err != nil {
		return err
	}
	keys := seat.Keys
	seat.Keys = api.Keys{}
	m.mu.Lock()
	m.seat = seat
	m.mu.Unlock()
	err := m.keep(ctx, &keys)
	if err != nil {
		_ = m.leave() // the seat is of no use; the server sees that in half a minute, too
	}
	return err
}

// rightClock is by how much two clocks may differ without a rotation losing a frame.
const rightClock = 2 * time.Second

// compare looks how this machine's clock stands to the server's.
func (m *Member) compare(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	ahead := m.o.Now().Sub(date.Add(time.Second / 2)) // Date has whole seconds
	if ahead.Abs() <= rightClock {
		ahead = 0
	}
	m.mu.Lock()
	before := m.ahead
	m.ahead = ahead
	m.mu.Unlock()
	if (ahead - before).Abs() > rightClock {
		m.o.Logger.Warn("client: this machine's clock and the server's differ; rotations go by the server's", "ahead", ahead.Round(time.Second))
	}
}

// shift tells moments by this machine's clock. Where that is wrong the member would switch
// minutes before or after everybody else.
func (m *Member) shift(k *api.Keys) {
	m.mu.Lock()
	by := m.ahead.Milliseconds()
	m.mu.Unlock()
	for i := range k.Epochs {
		for _, at := range []*int64{&k.Epochs[i].ActivateAt, &k.Epochs[i].Activated, &k.Epochs[i].Until} {
			if *at != 0 {
				*at += by
			}
		}
	}
}

// leave tells the server.
func (m *Member) leave() error {
	m.mu.Lock()
	token := m.seat.Token
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	return call(ctx, m.http, http.MethodDelete, m.address("/members/me"), token.Reveal(), nil, nil)
}

// keep opens what is wrapped and has it kept.
func (m *Member) keep(ctx context.Context, k *api.Keys) error {
	defer func() {
		for i := range k.Epochs {
			clear(k.Epochs[i].Secret)
		}
	}()
	m.shift(k)
	if k.Channel != m.o.Channel {
		return fmt.Errorf("client: the server sends keys of another channel")
	}
	if m.o.Issuer != "" {
		return m.keepBundle(ctx, k)
	}
	if k.Blind {
		return errors.New("client: the channel is blind: set Options.Issuer to who keeps it")
	}
	if k.Wrapped != nil {
		if m.key == nil {
			return errors.New("client: the server wraps keys, but was given no public key")
		}
		if err := Unwrap(k, m.ID(), m.key.key); err != nil {
			return err
		}
	} else if m.key != nil {
		return errors.New("client: the server sends keys in clear that it was to wrap")
	}
	if !slices.ContainsFunc(k.Epochs, func(e api.Epoch) bool { return len(e.Secret) > 0 }) {
		return nil // the first that this member may have is still to be made
	}
	if err := m.o.Keep(ctx, k, m.Sender()); err != nil {
		return err
	}
	m.ready.Do(func() { close(m.first) })
	return nil
}

// keepBundle takes what the channel's keeper gave. Who just came waits for theirs.
func (m *Member) keepBundle(ctx context.Context, k *api.Keys) error {
	switch {
	case k.Blind && !keyring.SameFingerprint(k.Keeper, m.o.Issuer): // what the server says is no proof; a bundle is
		return fmt.Errorf("client: %w", keyring.ErrBundleIssuer)
	case k.Blind && len(k.Bundle) == 0:
		return nil
	case !k.Blind:
		return errors.New("client: the server makes the channel's keys itself, which was not to be: leave Options.Issuer out")
	}
	_, err := m.o.Ring.Import(ctx, k.Bundle, keyring.ImportOptions{Identities: []*keyring.Identity{m.identity}, From: m.o.Issuer})
	switch {
	case errors.Is(err, keyring.ErrBundleRecipient):
		return nil
	case err != nil && !errors.Is(err, keyring.ErrBundleReplayed):
		return fmt.Errorf("client: %w", err)
	}
	m.ready.Do(func() { close(m.first) })
	return nil
}

// final reports whether trying again is of no use.
func final(err error) bool {
	var r *Refused
	if !errors.As(err, &r) {
		return false
	}
	return r.Status >= 400 && r.Status < 500 && r.Status != http.StatusTooManyRequests
}

// run keeps the stream up.
func (m *Member) run(ctx context.Context) {
	defer close(m.done)
	wait := firstWait
	var last string // the revision that is kept
	for ctx.Err() == nil {
		began := time.Now()
		err := m.stream(ctx, &last)
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		first := m.lost.IsZero()
		if first {
			m.lost = time.Now()
		}
		m.mu.Unlock()
		if out := (*putOut)(nil); errors.As(err, &out) {
			if out.Reason != "moved" {
				m.end(&Refused{out.Problem})
				return
			}
			err = &Refused{out.Problem} // the token is worth nothing here any more
		}
		if first {
			m.o.Logger.Warn("client: the key server is lost; the keys that are here serve on, and it is tried again until it is back", "error", err)
		} else {
			m.o.Logger.Info("client: no stream from the key server", "error", err)
		}
		if time.Since(began) > longWait {
			wait = firstWait
		}
		if final(err) { // the server knows the membership no more
			if err := m.comeBack(ctx); err == nil {
				last = ""
				continue
			} else if final(err) {
				m.end(err)
				return
			}
		}
		jittered := wait/2 + rand.N(wait)
		wait = min(2*wait, longWait)
		select {
		case <-ctx.Done():
		case <-time.After(jittered):
		}
		m.next()
	}
}

// comeBack brings the membership back with the resume token, or else begins another one
// with a card.
func (m *Member) comeBack(ctx context.Context) error {
	m.mu.Lock()
	resume := m.seat.Resume
	m.mu.Unlock()
	err := m.sit(ctx, resume.Reveal())
	if final(err) {
		err = m.enter(ctx)
	}
	return err
}

func (m *Member) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// putOut is the last event of a membership.
type putOut struct{ api.Problem }

func (e *putOut) Error() string { return "client: put out: " + e.Reason }

// stream reads events until it ends. last is the revision of the keys that are kept.
func (m *Member) stream(ctx context.Context, last *string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m.mu.Lock()
	token := m.seat.Token
	m.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.address("/watch"), nil)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	if *last != "" {
		req.Header.Set("Last-Event-ID", *last)
	}
	dead := time.AfterFunc(silence, func() { cancel(errors.New("client: nothing is heard from the server")) })
	defer dead.Stop()
	resp, err := m.http.Do(req)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	defer resp.Body.Close()
	if err := refusal(resp); err != nil {
		return err
	}
	m.compare(resp.Header)
	m.mu.Lock()
	since := m.lost
	m.lost = time.Time{}
	m.mu.Unlock()
	if !since.IsZero() {
		m.o.Logger.Info("client: the key server is back", "after", time.Since(since).Round(time.Millisecond))
	}
	return readEvents(ctx, resp.Body, dead, func(name, id string, data []byte) error {
		if err := m.event(ctx, name, data); err != nil {
			return err
		}
		if name == "keys" {
			*last = id
		}
		return nil
	})
}

// readEvents reads server-sent events until do fails or they end. dead is put off by each
// line; the data is wiped after do.
func readEvents(ctx context.Context, r io.Reader, dead *time.Timer, do func(name, id string, data []byte) error) error {
	lines := bufio.NewReader(r)
	var name, id string
	for {
		line, err := readLine(lines)
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		dead.Reset(silence)
		field, value, _ := bytes.Cut(line, []byte(": "))
		switch string(field) {
		case "event":
			name = string(value)
		case "id":
			id = string(value)
		case "data":
			err := do(name, id, value)
			clear(line)
			if err != nil {
				return err
			}
		}
	}
}

// event does what an event says.
func (m *Member) event(ctx context.Context, name string, data []byte) error {
	switch name {
	case "keys":
		var k api.Keys
		if err := json.Unmarshal(data, &k); err != nil {
			return fmt.Errorf("client: an event cannot be read: %w", err)
		}
		return m.keep(ctx, &k)
	case "put-out":
		var p api.Problem
		if err := json.Unmarshal(data, &p); err != nil {
			return fmt.Errorf("client: an event cannot be read: %w", err)
		}
		return &putOut{p}
	case "will-expire":
		go m.renew(ctx)
	}
	return nil
}

// renew goes on with a new card. If it fails the membership ends when its service does.
func (m *Member) renew(ctx context.Context) {
	told := ""
	for wait := firstWait; ctx.Err() == nil; wait = min(2*wait, longWait) {
		card, err := m.o.Card(ctx)
		if err == nil && m.isUsed(card) {
			err = errSameCard
		}
		if err == nil {
			m.mu.Lock()
			token := m.seat.Token
			m.mu.Unlock()
			var e api.Expiry
			err = call(ctx, m.http, http.MethodPost, m.address("/renew"), token.Reveal(), &api.RenewRequest{Card: api.Token(card)}, &e)
			if err == nil {
				m.mu.Lock()
				m.seat.ServiceEnd, m.used = e.ServiceEnd, sha256.Sum256([]byte(card))
				m.mu.Unlock()
				m.o.Logger.Info("client: the membership is renewed", "service_end", moment(e.ServiceEnd*1000))
				return
			}
		}
		if text := err.Error(); text != told { // once, not at every try
			told = text
			m.o.Logger.Warn("client: the membership cannot be renewed yet", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// readLine reads a line of at most maxReply bytes, without its end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxReply {
			return nil, errors.New("client: the server sends an event that is too long")
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		default:
			return bytes.TrimRight(line, "\r\n"), nil
		}
	}
}
