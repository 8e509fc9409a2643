package onecall

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"crypto/x509"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/keyserver"
)

// Options say how a call is made. Dir, Run and Self are needed.
type Options struct {
	Dir string // an empty directory for all files
	// Run runs a command of the program in this process, as its main function would, and
	// returns its exit status.
	Run func(ctx context.Context, c Command) int
	// Self runs the program in a process of its own: its file, then argv from the
	// program's name on. Env is set there beside this process's environment.
	Self []string
	Env  []string
	// Suite is the channels' suite, "" for the default. Custom are the program's own.
	Suite  string
	Custom []*cipher.Suite
	Clip   *Clip
	// Short leaves the door, the end of service, the certificates and the revocation out.
	Short bool
	// Loss is how much the media network loses, 0 to 1.
	Loss float64
	// Before, if set, is called before each step of Make, for who wants to break something.
	Before func(step string, w *World, c *Call) error
	// Secrets are others that must be nowhere, by what they are.
	Secrets map[string]string
	// Show is told of commands as they are run, Say of what was found; nil for nothing.
	Show func(args []string, background bool)
	Say  func(format string, args ...any)
}

// World is what calls take place in: a project, a key server, a cloud proxy, a firewall.
type World struct {
	o    Options
	Desk *Desk

	server, admin, pin string // the key server
	keys               *Process
	proxy              *Process
	control            string // the proxy's control service
	Wall               *Wall
	ring               *keyring.Ring // the server's, to know what is to be looked for
	feeds              sync.WaitGroup
	stopFeeds          context.CancelFunc

	mu        sync.Mutex
	processes []*Process
	logs      []named
	cards     []string
	epochs    map[string][]byte // secrets by channel and epoch
}

type named struct {
	name string
	said *words
}

func (w *World) path(name string) string { return filepath.Join(w.o.Dir, name) }

func (w *World) keep(name string, said *words) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs = append(w.logs, named{name, said})
}

func (w *World) say(format string, args ...any) {
	if w.o.Say != nil {
		w.o.Say(format, args...)
	}
}

// show shows a command line, without the directory.
func (w *World) show(background bool, args ...string) {
	if w.o.Show == nil {
		return
	}
	short := make([]string, len(args))
	for i, a := range args {
		short[i] = strings.ReplaceAll(a, w.o.Dir+string(filepath.Separator), "")
	}
	w.o.Show(short, background)
}

// activateDelay is how long the channels' policy hands an epoch out before it seals.
const activateDelay = "400ms"

// Start makes a world with these channels. Close it after use, whether or not there is
// an error.
func Start(ctx context.Context, o Options, channels ...string) (w *World, err error) {
	w = &World{o: o, epochs: map[string][]byte{}}
	do := func(args ...string) {
		if err == nil {
			_, err = w.run(ctx, w.path("server"), args...)
		}
	}
	app := w.path("app.json")
	w.show(false, "token", "app", "create", "-o", app)
	do("token", "app", "create", "-o", app)
	if err != nil {
		return w, stepError("make the project", err)
	}
	if w.Desk, err = NewDesk(app); err != nil {
		return w, stepError("make the project", err)
	}
	for i, name := range channels {
		args := []string{"channel", "create", name, "--activate-delay", activateDelay, "--debounce", "1s"}
		if o.Suite != "" {
			args = append(args, "--suite", o.Suite)
		}
		if i == 0 {
			w.show(false, args...)
		}
		do(args...)
	}
	if err != nil {
		return w, stepError("make the channel", err)
	}
	if err = w.startServer(ctx); err != nil {
		return w, stepError("start the key server", err)
	}
	do("serve", "admin", "person", "add", "oscar", "--role", "operator")
	do("serve", "admin", "person", "token", "oscar", "-o", w.path("oscar.token"))
	if err != nil {
		return w, stepError("appoint an operator", err)
	}
	if err = w.follow(ctx, channels); err != nil {
		return w, stepError("know the secrets that are to be looked for", err)
	}
	if err = w.startProxy(ctx); err != nil {
		return w, stepError("start the cloud proxy", err)
	}
	list := []string{"proxy", "allowlist", "--server", w.control, "--insecure", "--format", "json"}
	w.show(false, list...)
	rows, err := w.run(ctx, w.path("nobody"), list...)
	if err == nil {
		w.Wall, err = NewWall([]byte(rows))
	}
	if err != nil {
		return w, stepError("make the firewall's rules of the allow-list", err)
	}
	return w, nil
}

// stepError names the step of a call that failed.
func stepError(step string, err error) error { return fmt.Errorf("%s: %w", step, err) }

func (w *World) startServer(ctx context.Context) error {
	args := []string{"serve", "--app-certificate-file", w.path("app.json"), "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}
	w.show(true, args...)
	w.keys = w.start(ctx, w.path("server"), nil, args...)
	var err error
	for text, into := range map[string]*string{"serving at ": &w.server, "fingerprint is ": &w.pin, "administration at ": &w.admin} {
		if *into, err = w.keys.Says(ctx, text); err != nil {
			return err
		}
	}
	_, err = w.keys.Says(ctx, "running")
	return err
}

// startProxy runs the cloud proxy in a process of its own. Its ports are chosen
// beforehand, and others if somebody was faster.
func (w *World) startProxy(ctx context.Context) (err error) {
	if err := WriteCertificate(w.path("proxy")); err != nil {
		return err
	}
	for range 5 {
		var ports [3]string
		if err := freePorts(ports[:]); err != nil {
			return err
		}
		args := []string{"proxy", "--app-certificate-file", w.path("app.json"), "--listen-address", "127.0.0.1", "--relay-address", "127.0.0.1", "--media", "127.0.0.1",
			"--control-ports", ports[0], "--edge-ports", ports[1], "--tls-ports", ports[2], "--media-ports", "none", "--socks-ports", "none",
			"--tls-certificate", w.path("proxy.pem"), "--tls-key", w.path("proxy.key"), "--drain-time", "1ms"}
		if w.proxy, err = w.spawn(ctx, args...); err != nil {
			return err
		}
		if _, err = w.proxy.Says(ctx, "listening for tls "); err == nil {
			w.show(true, args...)
			w.control = "127.0.0.1:" + ports[0]
			return nil
		}
		if !strings.Contains(w.proxy.Said(), "in use") {
			return err
		}
	}
	return err
}

// WriteCertificate makes a certificate that signs itself for this machine, in NAME.pem,
// with its key in NAME.key.
func WriteCertificate(name string) error {
	cert, err := keyserver.SelfSigned("127.0.0.1")
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	for ext, b := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, ".key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(name+ext, pem.EncodeToMemory(b), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// freePorts finds ports that are free for TCP and UDP.
func freePorts(into []string) error {
	var open []interface{ Close() error }
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := 0; i < len(into); {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		open = append(open, l)
		u, err := net.ListenPacket("udp4", l.Addr().String())
		if err != nil {
			continue
		}
		open = append(open, u)
		_, into[i], _ = net.SplitHostPort(l.Addr().String())
		i++
	}
	return nil
}

// follow notes the secret of every epoch that the channels ever have.
func (w *World) follow(ctx context.Context, channels []string) error {
	var err error
	if w.ring, err = boltstore.OpenRing(ctx, w.path("server"), boltstore.RingOptions{Suites: w.o.Custom}); err != nil {
		return err
	}
	ctx, w.stopFeeds = context.WithCancel(ctx)
	for _, name := range channels {
		ch, err := w.ring.Channel(ctx, name)
		if err != nil {
			return err
		}
		feed, err := ch.Feed(ctx)
		if err != nil {
			return err
		}
		note := func() {
			h, err := feed.Current()
			if err != nil {
				return
			}
			defer h.Wipe()
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, k := range h.Keys {
				w.epochs[fmt.Sprintf("secret of %s's epoch %d", name, k.Number)] = k.Secret()
			}
		}
		note()
		w.feeds.Go(func() {
			defer feed.Close()
			for {
				select {
				case <-ctx.Done():
					return
				case <-feed.Changed():
					note()
				}
			}
		})
	}
	return nil
}

// Card issues a card and writes it into a file.
func (w *World) Card(d *Desk, f channelkey.Format, channel string, uid uint32, ago, service time.Duration) (string, error) {
	card, err := d.Issue(f, channel, uid, ago, service)
	if err != nil {
		return "", err
	}
	w.mu.Lock()
	w.cards = append(w.cards, card)
	file := w.path(fmt.Sprintf("%d.card", len(w.cards)))
	w.mu.Unlock()
	return file, os.WriteFile(file, []byte(card+"\n"), 0o600)
}

func (w *World) joinArgs(channel string, uid uint32, card string, more ...string) []string {
	return append([]string{"channel", "join", channel, "--server", w.server, "--pin", w.pin, "--uid", fmt.Sprint(uid), "--card-file", card}, more...)
}

// joined is what stands before a member's sender number.
const joined = "seal under sender number "

// Join has a member join a channel and stay, with a ring of their own.
func (w *World) Join(ctx context.Context, channel string, uid uint32, card string) (*Process, error) {
	p := w.start(ctx, w.memberRing(uid), nil, w.joinArgs(channel, uid, card)...)
	_, err := p.Says(ctx, joined)
	return p, err
}

// Visit has a member join and leave again.
func (w *World) Visit(ctx context.Context, channel string, uid uint32, card string) error {
	_, err := w.run(ctx, w.memberRing(uid), w.joinArgs(channel, uid, card, "--once")...)
	return err
}

// VisitPinned is Visit where the server is to have another certificate.
func (w *World) VisitPinned(ctx context.Context, channel string, uid uint32, card, pin string) error {
	_, err := w.run(ctx, w.memberRing(uid), w.joinArgs(channel, uid, card, "--once", "--pin", pin)...)
	return err
}

func (w *World) memberRing(uid uint32) string { return w.path(fmt.Sprintf("member%d", uid)) }

// administer runs a command of the operator.
func (w *World) administer(ctx context.Context, args ...string) error {
	args = append([]string{"serve", "admin"}, args...)
	w.show(false, append(slices.Clone(args), "…")...)
	_, err := w.run(ctx, w.path("nobody"), append(args, "--server", w.admin, "--pin", w.pin, "--token-file", w.path("oscar.token"))...)
	return err
}

// Close ends everything that runs.
func (w *World) Close() error {
	w.mu.Lock()
	all := slices.Clone(w.processes)
	w.mu.Unlock()
	for _, p := range slices.Backward(all) {
		p.stop()
	}
	for _, p := range all {
		<-p.done
	}
	if w.stopFeeds != nil {
		w.stopFeeds()
	}
	w.feeds.Wait()
	var err error
	if w.ring != nil {
		err = errors.Join(err, w.ring.Close())
	}
	return err
}

// Proxy is the cloud proxy's process, KeyServer the key server.
func (w *World) Proxy() *Process     { return w.proxy }
func (w *World) KeyServer() *Process { return w.keys }

// Logs returns what all commands of a name have said so far.
func (w *World) Logs(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, l := range w.logs {
		if strings.HasPrefix(l.name, name) {
			b.WriteString(l.said.String())
		}
	}
	return b.String()
}

// LogSecret writes a secret into a log, as no part may: for a test of the search.
func (w *World) LogSecret() error {
	said := newWords()
	w.keep("a careless one", said)
	w.mu.Lock()
	defer w.mu.Unlock()
	for what, secret := range w.epochs {
		if strings.HasSuffix(what, " 1") {
			_, err := fmt.Fprintf(said, "opening with %s\n", base64.StdEncoding.EncodeToString(secret))
			return err
		}
	}
	return errors.New("no secret is known")
}
