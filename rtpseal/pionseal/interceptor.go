package pionseal

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// DefaultInterceptorMTU is the default of [InterceptorOptions].MTU. The packetizers of
// pion make packets of 1,200 bytes, which sealing makes longer by up to 44: these still
// leave in one piece.
const DefaultInterceptorMTU = 1250

// What an [Interceptor] without a Sealer or without an Opener says of packets.
var (
	ErrNoSealer = errors.New("pionseal: the interceptor has no Sealer: nothing is sent in clear")
	ErrNoOpener = errors.New("pionseal: the interceptor has no Opener: nothing is let in that did not authenticate")
)

// InterceptorOptions of [NewInterceptor].
type InterceptorOptions struct {
	Sealer rtpseal.StreamSealer // of all that is sent; nil: nothing is
	Opener rtpseal.StreamOpener // of all that comes; nil: nothing passes
	MTU    int                  // bytes of an RTP packet, 0 for DefaultInterceptorMTU
	Limits rtpseal.Limits       // of each stream
	// Refused, which may be nil, is told of units that did not open; Dropped, which may
	// be nil, of packets that were given up. They may be called by several goroutines,
	// and must return without calling the Interceptor.
	Refused func(u *rtpseal.Unit, err error)
	Dropped func(rtpseal.Drop)
}

// Interceptor seals every RTP packet that a PeerConnection sends and opens every one
// that comes (T=1), so that tracks know nothing of it. It is an interceptor.Factory;
// add it to the registry behind all others: packets are sealed before they are kept for
// retransmission, and opened after lost ones were asked for. Packets of RTX streams
// (RFC 4588) are opened inside; with keys derived for each SSRC they are refused,
// because they come under another one. An extension with the number
// rtpseal.SequenceID is not to be negotiated.
type Interceptor struct {
	o InterceptorOptions

	mu      sync.Mutex
	remotes map[*remote]struct{}
}

var _ interceptor.Factory = (*Interceptor)(nil)

// NewInterceptor makes an Interceptor for any number of PeerConnections.
func NewInterceptor(o InterceptorOptions) (*Interceptor, error) {
	if o.Sealer == nil && o.Opener == nil {
		return nil, errors.New("pionseal: an Interceptor needs a Sealer, an Opener or both")
	}
	if o.MTU == 0 {
		o.MTU = DefaultInterceptorMTU
	}
	if o.MTU < rtpseal.MinMTU || o.MTU > rtpseal.MaxMTU {
		return nil, errors.New("pionseal: the MTU is out of range")
	}
	if o.Refused == nil {
		o.Refused = func(*rtpseal.Unit, error) {}
	}
	return &Interceptor{o: o, remotes: map[*remote]struct{}{}}, nil
}

// NewInterceptor is for pion: one for each PeerConnection.
func (i *Interceptor) NewInterceptor(string) (interceptor.Interceptor, error) {
	return &connection{i: i, remotes: map[uint32]*remote{}}, nil
}

// PutOut drops and wipes at once what is held of senders for whose key ID gone reports
// true, in all connections, packets that were opened and not read yet included.
func (i *Interceptor) PutOut(gone func(cipher.KeyID) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for r := range i.remotes {
		r.mu.Lock()
		r.opening.LeaveSender(gone)
		r.dropped(r.unread.drop(func(o origin) bool { return gone(o.kid) }), "left")
		r.mu.Unlock()
	}
}

// connection is the interceptor of one PeerConnection.
type connection struct {
	interceptor.NoOp
	i *Interceptor

	mu      sync.Mutex
	remotes map[uint32]*remote
}

// BindLocalStream seals what is written.
func (c *connection) BindLocalStream(_ *interceptor.StreamInfo, next interceptor.RTPWriter) interceptor.RTPWriter {
	refuse := func(err error) interceptor.RTPWriter {
		return interceptor.RTPWriterFunc(func(*rtp.Header, []byte, interceptor.Attributes) (int, error) { return 0, err })
	}
	if c.i.o.Sealer == nil {
		return refuse(ErrNoSealer)
	}
	s, err := rtpseal.NewSealing(rtpseal.SealingOptions{Sealer: c.i.o.Sealer, MTU: c.i.o.MTU})
	if err != nil {
		return refuse(err)
	}
	return &local{sealing: s, next: next}
}

// local is a stream that is sent.
type local struct {
	next interceptor.RTPWriter

	mu      sync.Mutex
	sealing *rtpseal.Sealing
	in      []byte
	out     rtpseal.Packets
	header  rtp.Header
}

func (l *local) Write(h *rtp.Header, payload []byte, a interceptor.Attributes) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	plain := *h
	plain.Padding, plain.PaddingSize = false, 0 // it is not in the payload, and does not travel
	size := plain.MarshalSize()
	l.in = append(l.in[:0], make([]byte, size)...)
	if _, err := plain.MarshalTo(l.in); err != nil {
		return 0, err
	}
	l.in = append(l.in, payload...)
	l.out.Reset()
	if err := l.sealing.Push(l.in, &l.out); err != nil {
		return 0, err
	}
	for i := range l.out.Len() {
		pkt := l.out.At(i)
		_, sealed, err := rtpseal.ParsePacket(pkt)
		if err != nil {
			return n, err
		}
		if _, err := l.header.Unmarshal(pkt); err != nil {
			return n, err
		}
		l.header.Padding = false // of pieces, which a gateway's kernel likes to have of one size
		sent, err := l.next.Write(&l.header, sealed, a)
		n += sent
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// BindRemoteStream opens what is read.
func (c *connection) BindRemoteStream(info *interceptor.StreamInfo, next interceptor.RTPReader) interceptor.RTPReader {
	if c.i.o.Opener == nil {
		return interceptor.RTPReaderFunc(func([]byte, interceptor.Attributes) (int, interceptor.Attributes, error) {
			return 0, nil, ErrNoOpener
		})
	}
	r := &remote{i: c.i, next: next, ssrc: info.SSRC, resent: isRTX(info.MimeType)}
	var err error
	r.opening, err = rtpseal.NewOpening(rtpseal.OpeningOptions{Opener: noting{c.i.o.Opener, &r.unread}, Limits: c.i.o.Limits, Refused: c.i.o.Refused, Dropped: c.i.o.Dropped})
	if err != nil {
		return interceptor.RTPReaderFunc(func([]byte, interceptor.Attributes) (int, interceptor.Attributes, error) { return 0, nil, err })
	}
	c.mu.Lock()
	old := c.remotes[info.SSRC]
	c.remotes[info.SSRC] = r
	c.mu.Unlock()
	c.drop(old)
	c.i.mu.Lock()
	c.i.remotes[r] = struct{}{}
	c.i.mu.Unlock()
	return r
}

// UnbindRemoteStream drops and wipes what is held of a stream.
func (c *connection) UnbindRemoteStream(info *interceptor.StreamInfo) {
	c.mu.Lock()
	r := c.remotes[info.SSRC]
	delete(c.remotes, info.SSRC)
	c.mu.Unlock()
	c.drop(r)
}

// Close drops and wipes what is held of all streams.
func (c *connection) Close() error {
	c.mu.Lock()
	all := c.remotes
	c.remotes = map[uint32]*remote{}
	c.mu.Unlock()
	for _, r := range all {
		c.drop(r)
	}
	return nil
}

func (c *connection) drop(r *remote) {
	if r == nil {
		return
	}
	c.i.mu.Lock()
	delete(c.i.remotes, r)
	c.i.mu.Unlock()
	r.close()
}

// BindRTCPReader looks for streams that say BYE.
func (c *connection) BindRTCPReader(next interceptor.RTCPReader) interceptor.RTCPReader {
	return interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := next.Read(b, a)
		if err != nil {
			return n, a, err
		}
		if a == nil {
			a = interceptor.Attributes{}
		}
		pkts, e := a.GetRTCPPackets(b[:n])
		if e != nil {
			return n, a, nil // whoever reads them says so
		}
		for _, p := range pkts {
			if bye, ok := p.(*rtcp.Goodbye); ok {
				for _, ssrc := range bye.Sources {
					c.leave(ssrc)
				}
			}
		}
		return n, a, nil
	})
}

func (c *connection) leave(ssrc uint32) {
	c.mu.Lock()
	r := c.remotes[ssrc]
	c.mu.Unlock()
	if r != nil {
		r.mu.Lock()
		r.opening.Leave(ssrc)
		r.unread.wipe()
		r.mu.Unlock()
	}
}

// remote is a stream that comes.
type remote struct {
	i      *Interceptor
	next   interceptor.RTPReader
	ssrc   uint32
	resent bool // packets of another stream, sent again (RTX)

	mu      sync.Mutex
	opening *rtpseal.Opening
	unread  unread
	armed   bool
	closed  bool
	inner   []byte
	seq     uint16 // of RTX: what came first may open last
}

func isRTX(mime string) bool { return strings.HasSuffix(strings.ToLower(mime), "/rtx") }

// Read reads until a packet opens.
func (r *remote) Read(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
	for {
		if n, err := r.ready(b); n > 0 || err != nil {
			return n, fresh(a), err
		}
		n, attributes, err := r.next.Read(b, a)
		if err != nil {
			return n, attributes, err
		}
		a = attributes
		r.mu.Lock()
		if err = r.push(b[:n], time.Now()); err != nil {
			r.i.o.Refused(nil, err)
		}
		r.mu.Unlock()
	}
}

// fresh are attributes for a packet that has changed: what others took from it before
// goes.
func fresh(a interceptor.Attributes) interceptor.Attributes {
	out := interceptor.Attributes{}
	for k, v := range a {
		if _, isHeader := v.(*rtp.Header); !isHeader {
			out[k] = v
		}
	}
	return out
}

// ready hands a packet out that was opened.
func (r *remote) ready(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, io.EOF
	}
	defer r.arm()
	for pkt := r.unread.next(); pkt != nil; pkt = r.unread.next() {
		n := r.fill(b, pkt)
		clear(pkt)
		if n > 0 {
			return n, nil
		}
		r.i.o.Refused(nil, rtpseal.ErrTooLong)
	}
	return 0, nil
}

// fill copies a packet to where it is to be read; 0 if it is too long for that.
func (r *remote) fill(b, pkt []byte) int {
	if !r.resent {
		if len(pkt) > len(b) {
			return 0
		}
		return copy(b, pkt)
	}
	h, payload, err := rtpseal.ParsePacket(pkt)
	if err != nil || len(pkt)+2 > len(b) {
		return 0
	}
	copy(b, pkt[:h.Size])
	copy(b[h.Size:], pkt[2:4])
	copy(b[h.Size+2:], payload)
	binary.BigEndian.PutUint16(b[2:], r.seq)
	r.seq++
	return h.Size + 2 + len(payload)
}

func (r *remote) push(pkt []byte, now time.Time) error {
	r.unread.now = now
	if !r.resent {
		return r.opening.Push(pkt, now, &r.unread.packets)
	}
	// RTX: the sequence number that the packet had stands before its payload.
	h, payload, err := rtpseal.ParsePacket(pkt)
	if err != nil {
		return err
	}
	if len(payload) < 3 {
		return nil // padding, to probe the network
	}
	if d := rtpseal.Descriptor(payload[2]); d&(rtpseal.First|rtpseal.Last) != rtpseal.First|rtpseal.Last {
		return rtpseal.ErrDescriptor // a piece: the others came, or come, in the other stream
	}
	r.inner = append(append(r.inner[:0], pkt[:h.Size]...), payload[2:]...)
	r.inner[0] &^= 0x20
	copy(r.inner[2:4], payload)
	return r.opening.Push(r.inner, now, &r.unread.packets)
}

// arm has what waits swept as long as there is anything; mu is held.
func (r *remote) arm() {
	if r.armed || r.closed || r.opening.Kept() == 0 && !r.unread.left() {
		return
	}
	r.armed = true
	time.AfterFunc(sweepEvery, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.armed = false
		if !r.closed {
			r.sweep(time.Now())
			r.arm()
		}
	})
}

func (r *remote) sweep(now time.Time) {
	r.unread.now = now
	r.opening.Sweep(now, &r.unread.packets)
	r.dropped(r.unread.drop(func(o origin) bool { return now.Sub(o.at) > unreadAge }), "age")
}

// dropped tells of packets that were opened and will not be read.
func (r *remote) dropped(n int, why string) {
	if n > 0 && r.i.o.Dropped != nil {
		r.i.o.Dropped(rtpseal.Drop{SSRC: r.ssrc, Packets: n, Why: why})
	}
}

func (r *remote) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.opening.Close()
	r.unread.wipe()
}
