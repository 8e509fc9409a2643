package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"testing"
	"time"
)

// TestRecords: over TLS each message comes in a record of its own, also where many wait,
// and from the connection's first on. A Read of a tls.Conn returns one record at most.
func TestRecords(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ours, peers := tcpPair(t)
	server := tls.Server(ours, l.tlsConfig())
	client := tls.Client(peers, &tls.Config{InsecureSkipVerify: true})
	hands := make(chan error, 1)
	go func() { hands <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-hands; err != nil {
		t.Fatal(err)
	}

	a := newAcceptor(l.Server, overTLS, ours.LocalAddr())
	go a.hand(&firstByte{Conn: server}, func() {})
	accepted, err := a.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := accepted.(*stream)
	defer s.Close()
	var sizes []int
	s.mu.Lock() // so that all of them wait together
	s.since = time.Now()
	for i := range 40 {
		message := make([]byte, channelHeaderLen+172)
		if i%3 == 0 {
			message = make([]byte, channelHeaderLen+1400)
		}
		binary.BigEndian.PutUint16(message, 0x4000)
		binary.BigEndian.PutUint16(message[2:], uint16(len(message)-channelHeaderLen))
		sizes = append(sizes, len(message))
		s.out = append(s.out, message...)
	}
	s.mu.Unlock()
	s.wake <- struct{}{}

	b := make([]byte, 32<<10)
	client.SetReadDeadline(time.Now().Add(30 * time.Second))
	for i, size := range sizes {
		if n, err := client.Read(b); err != nil || n != size {
			t.Fatalf("record %d has %d bytes (%v), message %d has %d", i, n, err, i, size)
		}
	}
}
