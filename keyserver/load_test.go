package keyserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// The benchmarks of this file run a key server in a process of its own, with a ring and
// an audit record on disk, and its members, over TLS, in this one:
//
//	go test -run '^$' -bench . -benchtime 1x ./keyserver
const loadVariable = "CHANSEAL_LOAD_SERVER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(loadVariable); dir != "" {
		if err := loadServer(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if store := os.Getenv(peerVariable); store != "" {
		if err := peerServer(store); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var loadApp = channelkey.App{ID: appID, Primary: channelkey.NewCertificate([]byte("5cfd2fd1755d40ecb72977518be15d3b"))}

// serveRing begins a server with a ring, as chanseal serve does: the Gate's state and the
// members' stand in the ring, for other servers, too. Its audit record is in dir, and it
// prints its address. resume is how long who was lost may come back; 0 is the default.
func serveRing(ctx context.Context, ring *keyring.Ring, dir string, resume time.Duration) (*channelkey.Gate, error) {
	record, err := audit.Open(filepath.Join(dir, "audit.log"))
	if err != nil {
		return nil, err
	}
	verifier, err := channelkey.NewVerifier(loadApp, channelkey.Policy{})
	if err != nil {
		return nil, err
	}
	state, err := keyserver.GateStore(ring)
	if err != nil {
		return nil, err
	}
	gate, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier, Store: state})
	if err != nil {
		return nil, err
	}
	srv, err := keyserver.New(keyserver.Config{Ring: ring, Gate: gate, Audit: record, Shared: true, ResumeFor: resume,
		Limits: keyserver.Limits{AddressRate: 1e6, MemberRate: 1e6, Connections: 1e6, ConnectionsPerAddress: 1e6}})
	if err != nil {
		return nil, err
	}
	cert, err := keyserver.SelfSigned("127.0.0.1")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go srv.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{cert}})
	fmt.Println(l.Addr())
	return gate, nil
}

// loadServer serves until its input ends. A line "rotate" rotates the channel, "memory"
// prints the process's memory in bytes.
func loadServer(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ring, err := boltstore.CreateRing(ctx, filepath.Join(dir, "ring"), boltstore.RingOptions{})
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := ring.Create(ctx, "stage", keyring.ChannelOptions{})
	if err != nil {
		return err
	}
	if _, err := serveRing(ctx, ring, dir, 10*time.Minute); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "rotate":
			if _, err := ch.Revoke(ctx, "load"); err != nil {
				return err
			}
		case "memory":
			status, _ := os.ReadFile("/proc/self/status")
			_, rss, _ := bytes.Cut(status, []byte("VmRSS:"))
			kib, _ := strconv.Atoi(strings.Fields(string(rss) + " 0")[0])
			fmt.Println(kib << 10)
		}
	}
	return nil
}

// loadRig is the server's process, and what its members share.
type loadRig struct {
	b      *testing.B
	issuer *channelkey.Issuer
	in     io.WriteCloser
	out    *bufio.Scanner
	base   string
	client *http.Client
}

func newLoadRig(b *testing.B) *loadRig {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loadVariable+"="+b.TempDir())
	cmd.Stderr = os.Stderr
	in := must(cmd.StdinPipe())(b)
	out := must(cmd.StdoutPipe())(b)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 1 << 16, ReadBufferSize: 2 << 10, WriteBufferSize: 1 << 10}
	r := &loadRig{b: b, issuer: must(channelkey.NewIssuer(loadApp, channelkey.Legacy{}))(b), in: in, out: bufio.NewScanner(out), client: &http.Client{Transport: tr}}
	b.Cleanup(func() {
		in.Close()
		tr.CloseIdleConnections()
		cmd.Wait()
	})
	if !r.out.Scan() {
		b.Fatal("the server does not start")
	}
	r.base = "https://" + r.out.Text() + "/v1/channels/stage"
	return r
}

func (r *loadRig) memory() int {
	r.b.Helper()
	fmt.Fprintln(r.in, "memory")
	if !r.out.Scan() {
		r.b.Fatal("the server ended")
	}
	return must(strconv.Atoi(r.out.Text()))(r.b)
}

// loadMember is a member; key is nil for one whose secrets come in clear.
type loadMember struct {
	api.Membership
	key hpke.PrivateKey
}

func (r *loadRig) enter(uid int, kem string, generate func() (hpke.PrivateKey, error)) (*loadMember, error) {
	card, err := r.issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "stage", User: channelkey.UID(uint32(uid)), Issued: uint32(time.Now().Unix()), Random: channelkey.NewRandom()})
	if err != nil {
		return nil, err
	}
	m := &loadMember{}
	req := api.EnterRequest{UID: strconv.Itoa(uid)}
	if generate != nil {
		if m.key, err = generate(); err != nil {
			return nil, err
		}
		req.Kem, req.PublicKey = api.EnterRequestKem(kem), m.key.PublicKey().Bytes()
	}
	body, _ := json.Marshal(&req)
	hr, _ := http.NewRequestWithContext(r.b.Context(), "POST", r.base+"/members", bytes.NewReader(body))
	hr.Header.Set("Authorization", "Bearer "+card)
	hr.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(hr)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if err == nil {
		err = json.Unmarshal(answer, &m.Membership)
	}
	return m, err
}

// active returns the number of the active epoch, once its secret is opened.
func (m *loadMember) active(data []byte) (uint64, error) {
	var k api.Keys
	if err := json.Unmarshal(data, &k); err != nil {
		return 0, err
	}
	if m.key == nil {
		if len(k.Epochs[0].Secret) != 32 {
			return 0, fmt.Errorf("no secret in %s", data)
		}
		return k.Epochs[0].Epoch, nil
	}
	info := append([]byte("chanseal 1 keys\x00\x05stage\x00"), byte(len(m.Member)))
	info = append(info, m.Member...)
	var aad []byte
	for _, e := range k.Epochs {
		if e.State != api.StateRetiring {
			aad = binary.BigEndian.AppendUint64(aad, e.Epoch)
			aad = binary.BigEndian.AppendUint16(aad, e.SuiteID)
		}
	}
	rec, err := hpke.NewRecipient(k.Wrapped.Enc, m.key, hpke.HKDFSHA256(), hpke.AES128GCM(), info)
	if err == nil {
		_, err = rec.Open(aad, k.Wrapped.Ciphertext)
	}
	return k.Epochs[0].Epoch, err
}

// follow opens the member's stream and calls each with every epoch that is opened.
func (r *loadRig) follow(m *loadMember, each func(epoch uint64)) error {
	hr, _ := http.NewRequestWithContext(r.b.Context(), "GET", r.base+"/watch", nil)
	hr.Header.Set("Authorization", "Bearer "+m.Token.Reveal())
	resp, err := r.client.Do(hr)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("watch: %s", resp.Status)
	}
	go func() {
		defer resp.Body.Close()
		lines := bufio.NewReaderSize(resp.Body, 512)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				epoch, err := m.active(data)
				if err != nil {
					r.b.Error(err)
					return
				}
				each(epoch)
			}
		}
	}()
	return nil
}

// crowd lets n members in, with the uids from+1 and so on, a few at a time.
func (r *loadRig) crowd(from, n int, kem string, each func(epoch uint64)) (members []*loadMember) {
	r.b.Helper()
	generators := map[string]func() (hpke.PrivateKey, error){"x25519": hpke.DHKEM(ecdh.X25519()).GenerateKey, "mlkem768-x25519": hpke.MLKEM768X25519().GenerateKey}
	members = make([]*loadMember, n)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				m, err := r.enter(from+i+1, kem, generators[kem])
				if err == nil && each != nil {
					err = r.follow(m, each)
				}
				if err != nil {
					r.b.Error(err)
					return
				}
				members[i] = m
			}
		})
	}
	wg.Wait()
	if r.b.Failed() {
		r.b.FailNow()
	}
	return members
}

// BenchmarkRotation measures from the wish to rotate until the last member has opened the
// new epoch's secret: the median and the worst of several rotations. It says, too, how long
// it took to let the members in, each with a stream.
func BenchmarkRotation(b *testing.B) {
	for _, c := range []struct {
		kem     string
		members int
	}{{"x25519", 1000}, {"mlkem768-x25519", 1000}, {"none", 10_000}} {
		b.Run(fmt.Sprintf("kem=%s/members=%d", c.kem, c.members), func(b *testing.B) {
			r := newLoadRig(b)
			var mu sync.Mutex
			at, reached, newest, done := uint64(0), 0, uint64(0), make(chan struct{}, 1)
			each := func(epoch uint64) {
				mu.Lock()
				defer mu.Unlock()
				newest = max(newest, epoch)
				if epoch >= at {
					if reached++; reached == c.members {
						done <- struct{}{}
					}
				}
			}
			began := time.Now()
			r.crowd(0, c.members, c.kem, each)
			entered := time.Since(began)
			<-done
			var took []time.Duration
			const rounds = 9
			for b.Loop() {
				for range rounds {
					time.Sleep(2 * time.Second) // the next epoch is staged meanwhile, and nothing else happens
					mu.Lock()
					at, reached = newest+1, 0
					mu.Unlock()
					began := time.Now()
					fmt.Fprintln(r.in, "rotate")
					<-done
					took = append(took, time.Since(began))
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-max")
			b.ReportMetric(entered.Seconds(), "s-to-let-in")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func (r *loadRig) get(m *loadMember) (*http.Request, error) {
	hr, err := http.NewRequestWithContext(r.b.Context(), "GET", r.base+"/keys", nil)
	if err == nil {
		hr.Header.Set("Authorization", "Bearer "+m.Token.Reveal())
	}
	return hr, err
}

// BenchmarkMemory measures what a member with a stream costs the server's process.
func BenchmarkMemory(b *testing.B) {
	const members = 5000
	r := newLoadRig(b)
	before := r.memory() // as it stands: nothing is collected for the measurement
	var n atomic.Int64
	for b.Loop() {
		r.crowd(0, members, "none", func(uint64) { n.Add(1) })
	}
	after := r.memory()
	b.ReportMetric(float64(after-before)/members/1024, "KiB/member")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkKeyFetch measures GET keys over TLS connections that are kept: how many a
// second, and how long they take at half of that.
func BenchmarkKeyFetch(b *testing.B) {
	const connections = 16
	r := newLoadRig(b)
	members := r.crowd(0, connections, "none", nil)
	fetch := func(m *loadMember) error {
		hr, _ := r.get(m)
		resp, err := r.client.Do(hr)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("keys: %s", resp.Status)
		}
		return err
	}
	const span = 5 * time.Second
	var rate float64
	hist := hdrhistogram.New(1, 60_000_000, 3)
	for b.Loop() {
		var count atomic.Int64
		var wg sync.WaitGroup
		began := time.Now()
		for _, m := range members {
			wg.Go(func() {
				for time.Since(began) < span {
					if err := fetch(m); err != nil {
						b.Error(err)
						return
					}
					count.Add(1)
				}
			})
		}
		wg.Wait()
		rate = float64(count.Load()) / time.Since(began).Seconds()

		// At half of it, timed from when a request was due, not from when it went out.
		var mu sync.Mutex
		gap := time.Duration(float64(time.Second) / (rate / 2) * connections)
		began = time.Now()
		for i, m := range members {
			wg.Go(func() {
				due := began.Add(gap * time.Duration(i) / connections)
				for due.Sub(began) < span {
					time.Sleep(time.Until(due))
					if err := fetch(m); err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					hist.RecordValue(time.Since(due).Microseconds())
					mu.Unlock()
					due = due.Add(gap)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(rate, "fetches/s")
	b.ReportMetric(float64(hist.ValueAtQuantile(99))/1000, "ms-p99-at-half")
	b.ReportMetric(float64(hist.ValueAtQuantile(50))/1000, "ms-median-at-half")
	b.ReportMetric(0, "ns/op")
}
