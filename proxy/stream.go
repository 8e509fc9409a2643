package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// stream is a TURN client over TCP or TLS. For pion/turn it is a connection out of
// which only the protocol comes, one message a Read; payloads are sent on right here.
// What goes to the client waits in out, is written by a goroutine of its own, many
// messages a time, and wiped.
type stream struct {
	net.Conn
	srv    *Server
	relay  atomic.Pointer[relay]
	secure bool // it is TLS

	in         []byte // unread bytes are in[r:w]
	r, w, wipe int

	turns sync.Mutex // held while pion/turn handles a request
	busy  bool       // it is held: of the goroutine that reads
	asked request    // that pion/turn handles

	mu     sync.Mutex
	out    []byte    // complete messages
	since  time.Time // when the first of them came
	spare  []byte
	wake   chan struct{}
	dead   bool
	closed sync.Once

	unwatch func()
	onClose func()
}

const (
	streamRead = 4096
	// maxStreamMessage is the longest message over a stream: ChannelData with a full
	// payload.
	maxStreamMessage = channelHeaderLen + 65536
	// maxQueued bounds the bytes that wait for a client that reads slowly; more is
	// dropped, as on the way it would be over UDP.
	maxQueued = 256 << 10
	// firstMessage is how long a client may take to get an allocation.
	firstMessage = 30 * time.Second
)

// newStream begins to serve a connection, secure if it is TLS.
func newStream(srv *Server, c net.Conn, secure bool) *stream {
	s := &stream{Conn: c, srv: srv, secure: secure, wake: make(chan struct{}, 1)}
	c.SetReadDeadline(time.Now().Add(firstMessage))
	s.unwatch = srv.backlogs.watch(c, func() { s.Close() })
	go s.write()
	return s
}

var errFraming = errors.New("proxy: neither STUN nor ChannelData")

// Read returns the next message of the protocol; p must have room for it.
func (s *stream) Read(p []byte) (int, error) {
	if s.busy {
		s.busy = false
		s.turns.Unlock()
	}
	for {
		b, err := s.message()
		if err != nil {
			clear(s.in)
			return 0, err
		}
		now := time.Now().UnixNano()
		r := s.relay.Load()
		if isChannelData(b) {
			number, payload, ok := splitChannelData(b)
			if r == nil || !ok {
				return 0, errFraming
			}
			r.sendChannel(number, payload, now)
			continue
		}
		t := stunType(b)
		switch {
		case t == typeSend:
			dst, payload, ok := splitSend(b)
			if r == nil || !ok {
				s.srv.stray.Add(1)
				continue
			}
			r.sendTo(dst, payload, now)
			continue
		case !isRequest(t):
			continue
		case len(b) > min(maxControl, len(p)):
			return 0, errFraming
		}
		s.turns.Lock()
		s.busy = true
		s.asked.begin(b)
		return copy(p, b), nil
	}
}

// message returns the next message, good until the next call, which wipes it.
func (s *stream) message() ([]byte, error) {
	clear(s.in[s.wipe:s.r])
	s.wipe = s.r
	for {
		if n, err := frameLen(s.in[s.r:s.w]); err != nil {
			return nil, err
		} else if n > 0 && n <= s.w-s.r {
			b := s.in[s.r : s.r+n]
			s.r += n
			return b, nil
		} else if limit := s.limit(); n > limit {
			return nil, errFraming
		} else if need := max(n, streamRead); len(s.in)-s.r < need {
			s.grow(need)
		}
		n, err := s.Conn.Read(s.in[s.w:])
		s.w += n
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// limit is what a message may need: little as long as nobody is authenticated.
func (s *stream) limit() int {
	if s.relay.Load() == nil {
		return maxControl
	}
	return maxStreamMessage
}

// grow makes room for need bytes from r on.
func (s *stream) grow(need int) {
	old, n := s.in, s.w-s.r
	if len(old) < need {
		s.in = make([]byte, (need+4095)&^4095)
	}
	copy(s.in, old[s.r:s.w])
	if len(old) >= need {
		clear(s.in[n:s.w])
	} else {
		clear(old)
	}
	s.r, s.w, s.wipe = 0, n, 0
}

// frameLen is the length of the message that b begins with, 0 if that is not known yet
// (RFC 8656, Section 12.5).
func frameLen(b []byte) (int, error) {
	switch {
	case len(b) < 4:
		return 0, nil
	case b[0]>>6 == 1:
		if n := binary.BigEndian.Uint16(b); n > maxChannel {
			return 0, errFraming
		}
		return channelHeaderLen + (int(binary.BigEndian.Uint16(b[2:]))+3)&^3, nil
	case b[0]>>6 == 0:
		if len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != stunCookie {
			return 0, errFraming
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n%4 != 0 {
			return 0, errFraming
		}
		return stunHeaderLen + n, nil
	}
	return 0, errFraming
}

// push queues a message for the client. It does not wait.
func (s *stream) push(b []byte) {
	s.mu.Lock()
	if s.dead || len(s.out)+len(b) > maxQueued {
		s.mu.Unlock()
		if r := s.relay.Load(); r != nil {
			r.sess.traffic.dropped.Add(1)
		}
		return
	}
	if cap(s.out)-len(s.out) < len(b) { // as append does, but wiping what it leaves
		bigger := make([]byte, len(s.out), max(4096, 2*(len(s.out)+len(b))))
		copy(bigger, s.out)
		clear(s.out)
		s.out = bigger
	}
	if len(s.out) == 0 {
		s.since = time.Now()
	}
	s.out = append(s.out, b...)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Write queues an answer of the protocol.
func (s *stream) Write(b []byte) (int, error) {
	s.push(s.srv.answer(&s.asked, b))
	return len(b), nil
}

// write writes what is queued, until the stream is closed.
func (s *stream) write() {
	for range s.wake {
		s.mu.Lock()
		if s.dead {
			s.mu.Unlock()
			return
		}
		out, since := s.out, s.since
		s.out, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		if len(out) == 0 {
			s.mu.Lock()
			s.spare = out
			s.mu.Unlock()
			continue
		}
		s.Conn.SetWriteDeadline(since.Add(maxOwnQueueTime))
		err := s.send(out)
		clear(out)
		if err != nil {
			s.Close()
			return
		}
		if cap(out) > 64<<10 { // of a burst
			out = nil
		}
		s.mu.Lock()
		s.spare = out
		s.mu.Unlock()
	}
}

// send writes messages, over TLS each as a record of its own (those of more than 16 KiB
// need several). To TLS they are a stream of bytes, but clients are about, coturn's for
// one, that take no more than one message out of a record.
func (s *stream) send(messages []byte) error {
	for len(messages) > 0 {
		n := len(messages)
		if s.secure {
			if m, err := frameLen(messages); err == nil && m > 0 {
				n = min(n, m)
			}
		}
		if _, err := s.Conn.Write(messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// ended is called when the allocation is over and the client stays. What waits for it
// may not wait for long.
func (s *stream) ended() {
	tcp := tcpOf(s.Conn)
	if tcp == nil {
		return
	}
	at := time.Now()
	acked, waiting, _ := tcpProgress(tcp)
	end := acked + waiting
	time.AfterFunc(maxEndedTime, func() {
		acked, waiting, ok := tcpProgress(tcp)
		s.mu.Lock()
		late := ok && waiting > 0 && acked < end || len(s.out) > 0 && s.since.Before(at)
		s.mu.Unlock()
		if late {
			s.Close()
		}
	})
}

// Close closes the connection and wipes what waits.
func (s *stream) Close() error {
	err := io.ErrClosedPipe
	s.closed.Do(func() {
		s.mu.Lock()
		s.dead = true
		clear(s.out[:cap(s.out)])
		s.out = nil
		s.mu.Unlock()
		select {
		case s.wake <- struct{}{}:
		default:
		}
		s.unwatch()
		err = discard(s.Conn)
		s.onClose()
	})
	return err
}

// SetDeadline and its kin are the stream's own business.
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }
