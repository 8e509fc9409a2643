package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// TestHostile: a running proxy gets what is malformed, on every port and over every
// transport, from strangers and from somebody with credentials. Whoever is in a call
// notices nothing; strangers get no more bytes than they sent; and in the end nothing is
// left of them.
//
// CHANSEAL_LONG=1 goes on for a minute, with other messages each time.
func TestHostile(t *testing.T) {
	l := newLab(t, func(c *Config) { c.UnauthenticatedPerSecond = -1 })
	user, password := l.credentials(1, 0)

	// The calls.
	stop := make(chan struct{})
	var calls sync.WaitGroup
	var exchanged atomic.Int64
	for _, over := range transports[:3] {
		c, err := l.turnClient(over, user, password).Allocate()
		if err != nil {
			t.Fatal(err)
		}
		calls.Go(func() {
			defer c.Close()
			for {
				if err := exchange(c, l.echo, "a frame of a call over "+over); err != nil {
					t.Errorf("a call over %s: %v", over, err)
					return
				}
				exchanged.Add(1)
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	l.eventually("the calls have begun", func() bool { return exchanged.Load() > 10 })
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines, tokens := runtime.NumGoroutine(), l.callers.len()

	var end time.Time
	var run uint64
	if os.Getenv("CHANSEAL_LONG") != "" {
		end, run = time.Now().Add(time.Minute), rand.Uint64()
		t.Logf("run %d", run)
	}
	more := func(i, n int) bool {
		if end.IsZero() {
			return i < n
		}
		return time.Now().Before(end)
	}
	var sent, got, messages atomic.Int64
	var attackers sync.WaitGroup
	datagrams := func(seed uint64, service string, n int) {
		attackers.Go(func() {
			m := malformer{rand.New(rand.NewPCG(run+seed, 1))}
			c, err := net.Dial("udp", l.at(service, "udp").String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 65536)
			for i := 0; more(i, n); i++ {
				b := m.message()
				if service == "socks" {
					b = m.socksDatagram()
				}
				c.Write(b)
				sent.Add(int64(len(b)))
				messages.Add(1)
				if i%64 == 0 { // what came back
					for c.SetReadDeadline(time.Now().Add(time.Millisecond)) == nil {
						k, err := c.Read(buf)
						if err != nil {
							break
						}
						got.Add(int64(k))
					}
				}
			}
		})
	}
	streams := func(seed uint64, n int, connect func() (net.Conn, error), message func(*malformer) []byte) {
		attackers.Go(func() {
			m := &malformer{rand.New(rand.NewPCG(run+seed, 2))}
			buf := make([]byte, 65536)
			for i := 0; more(i, n); i++ {
				c, err := connect()
				if err != nil {
					t.Error(err)
					return
				}
				for range 1 + m.IntN(8) {
					b := message(m)
					sent.Add(int64(len(b)))
					messages.Add(1)
					if _, err := c.Write(b); err != nil {
						break
					}
				}
				if m.IntN(2) == 0 {
					c.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
					k, _ := c.Read(buf)
					got.Add(int64(k))
				}
				c.Close()
			}
		})
	}
	dial := func(service string) func() (net.Conn, error) {
		return func() (net.Conn, error) { return net.Dial("tcp", l.at(service, "tcp").String()) }
	}
	secure := func(alpn ...string) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			return tls.Dial("tcp", l.at("tls", "tcp").String(), &tls.Config{InsecureSkipVerify: true, NextProtos: alpn})
		}
	}
	turns := (*malformer).message
	datagrams(1, "edge", 4000)
	datagrams(2, "media", 4000)
	datagrams(3, "socks", 4000)
	streams(4, 400, dial("edge"), turns)
	streams(5, 60, secure(alpnTURN), turns)
	streams(6, 60, secure(), turns)
	streams(7, 400, dial("socks"), (*malformer).socksStream)
	streams(8, 100, dial("tls"), turns)     // no TLS at all
	streams(9, 100, dial("control"), turns) // nor here
	for i, over := range transports[:3] {   // somebody with credentials
		attackers.Go(func() {
			m := malformer{rand.New(rand.NewPCG(run+uint64(i), 3))}
			for i := 0; more(i, 10); i++ {
				c := l.newRawTURN(over, user, password)
				if _, code := c.try(stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}); code != 0 && code != -1 && code != 437 { // 437: the port of one before
					t.Errorf("allocate: %d", code)
				}
				for range 50 {
					c.Write(m.authentic(c))
					if m.IntN(4) == 0 {
						c.Write(m.message())
					}
					messages.Add(1)
				}
				c.Close()
			}
		})
	}
	attackers.Wait()
	was := exchanged.Load()
	l.eventually("the calls go on", func() bool { return exchanged.Load() > was+20 })
	close(stop)
	calls.Wait()
	l.endAll(endedShutdown, func(*session) bool { return true }) // allocations over UDP that nobody ended
	l.eventually("no session is left", func() bool { return l.Sessions() == 0 })
	l.eventually("no connection is left", func() bool { return l.callers.len() <= tokens })
	l.eventually("no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
	if free := l.ports.left(); free != l.cfg.RelayPorts.Len() {
		t.Errorf("%d relay ports of %d are free", free, l.cfg.RelayPorts.Len())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d messages, %d bytes, answered by %d; %d exchanges of calls; heap %d KiB, before %d", messages.Load(), sent.Load(), got.Load(), exchanged.Load(),
		after.HeapAlloc>>10, before.HeapAlloc>>10)
	if got.Load() > sent.Load() {
		t.Errorf("%d bytes were answered by %d", sent.Load(), got.Load())
	}
	if after.HeapAlloc > before.HeapAlloc+32<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before.HeapAlloc, after.HeapAlloc)
	}
}

func (l *lab) endAll(why string, f func(*session) bool) { l.reg.endAll(why, f) }

// malformer makes messages that are nearly right.
type malformer struct{ *rand.Rand }

func (m malformer) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

// message is a STUN or ChannelData message, or none.
func (m malformer) message() []byte {
	var b []byte
	switch m.IntN(8) {
	case 0:
		return m.bytes(m.IntN(100))
	case 1:
		b = append([]byte{0x40 | byte(m.IntN(64)), byte(m.Uint32()), 0, 0}, m.bytes(m.IntN(1300))...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	default:
		b = m.attributes().Raw
	}
	for range m.IntN(4) { // and wrong somewhere
		if len(b) == 0 {
			break
		}
		switch i := m.IntN(len(b)); m.IntN(4) {
		case 0:
			b[i] ^= 1 << m.IntN(8)
		case 1:
			b = b[:i]
		case 2:
			b = append(b, m.bytes(m.IntN(40))...)
		case 3:
			if len(b) >= 4 {
				binary.BigEndian.PutUint16(b[2:], uint16(m.Uint32()))
			}
		}
	}
	return b
}

// attributes is a well-formed message of random attributes.
func (m malformer) attributes() *stun.Message {
	msg := &stun.Message{Type: stun.NewType(stun.Method(m.IntN(0x0E)), stun.MessageClass(m.IntN(4)))}
	copy(msg.TransactionID[:], m.bytes(12))
	msg.WriteHeader()
	kinds := []stun.AttrType{stun.AttrUsername, stun.AttrMessageIntegrity, stun.AttrErrorCode, stun.AttrChannelNumber, stun.AttrLifetime, stun.AttrXORPeerAddress,
		stun.AttrData, stun.AttrRealm, stun.AttrNonce, stun.AttrXORRelayedAddress, stun.AttrRequestedAddressFamily, stun.AttrEvenPort, stun.AttrRequestedTransport,
		stun.AttrDontFragment, stun.AttrReservationToken, stun.AttrXORMappedAddress, stun.AttrFingerprint, stun.AttrSoftware, stun.AttrConnectionID}
	for range m.IntN(6) {
		n := []int{0, 1, 4, 8, 20, m.IntN(300)}[m.IntN(6)]
		msg.Add(kinds[m.IntN(len(kinds))], m.bytes(n))
	}
	return msg
}

// authentic is a message of random attributes under a client's key.
func (m malformer) authentic(c *rawTURN) []byte {
	msg := m.attributes()
	msg.SetType(stun.NewType(msg.Type.Method, stun.ClassRequest))
	stun.NewUsername(c.user).AddTo(msg)
	stun.NewRealm(c.realm).AddTo(msg)
	stun.NewNonce(c.nonce).AddTo(msg)
	c.key.AddTo(msg)
	return msg.Raw
}

func (m malformer) socksDatagram() []byte {
	b := append([]byte{0, 0, byte(m.IntN(3) / 2), byte(m.IntN(6))}, m.bytes(m.IntN(60))...)
	return b[:m.IntN(len(b)+1)]
}

func (m *malformer) socksStream() []byte {
	switch m.IntN(4) {
	case 0:
		return append([]byte{5, byte(m.IntN(256))}, m.bytes(m.IntN(256))...)
	case 1:
		return append([]byte{5, 1, 2, 1, byte(m.IntN(256))}, m.bytes(m.IntN(300))...)
	case 2:
		return []byte("\x05\x01\x02\x01\x04user\x04pass\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
	}
	return m.bytes(m.IntN(600))
}
