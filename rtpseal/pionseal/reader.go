package pionseal

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pion/interceptor"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// Source is where packets come from: a *webrtc.TrackRemote.
type Source interface {
	Read(b []byte) (n int, a interceptor.Attributes, err error)
	SetReadDeadline(time.Time) error
}

// ReaderOptions of [NewReader].
type ReaderOptions struct {
	Opener rtpseal.StreamOpener
	Limits rtpseal.Limits
	// InOrder is how long a frame waits for those before it; 0 has frames come as they
	// are complete. Decoders of video want a few round trips, say 200 ms, when lost
	// packets are sent again. It is 8.5 s at most, since nothing is held for longer than
	// rtpseal.MaxAge.
	InOrder time.Duration
	// Keyframe, which may be nil, is called when frames were given up, at most twice a
	// second: the sender is to be asked for a keyframe (RTCP PLI). Like Refused it must
	// return without calling the Reader.
	Keyframe func()
	// Refused, which may be nil, is told of units that did not open. It and Opener may be called from a goroutine
	// of a timer's, too, never from two at once.
	Refused func(u *rtpseal.Unit, err error)
}

// Frame is a frame that was opened.
type Frame struct {
	rtpseal.Header        // of its first packet, but for Marker, which is the last's
	Data           []byte // valid until the next ReadFrame
}

// Reader reads the frames that a [Track] sealed. ReadFrame is for one goroutine; Leave,
// PutOut and Close may be called by any.
type Reader struct {
	o   ReaderOptions
	src Source
	buf []byte

	mu     sync.Mutex // all below
	rx     *rtpseal.Receiver
	order  order
	asked  time.Time
	lost   bool
	now    time.Time
	armed  bool
	closed bool
}

const (
	readSize    = 1 << 16
	sweepEvery  = 50 * time.Millisecond
	idleSweep   = 500 * time.Millisecond // while nobody reads
	unreadMost  = rtpseal.MaxAge - 2*idleSweep
	keyframeGap = 500 * time.Millisecond
)

// NewReader makes a Reader of a remote track.
func NewReader(src Source, o ReaderOptions) (*Reader, error) {
	if src == nil {
		return nil, errors.New("pionseal: a Reader needs a track")
	}
	wait := min(o.InOrder, unreadMost-idleSweep) // or frames would be dropped, not given
	r := &Reader{o: o, src: src, buf: make([]byte, readSize), order: order{wait: wait}}
	var err error
	r.rx, err = rtpseal.NewReceiver(rtpseal.ReceiverOptions{
		Opener: o.Opener, Limits: o.Limits, Refused: o.Refused,
		Frame:   func(u *rtpseal.Unit, frame []byte) { r.order.put(u, frame, r.now) },
		Dropped: func(rtpseal.Drop) { r.lost = true },
	})
	return r, err
}

// ReadFrame waits for the next frame. It ends with the error of the track: io.EOF when
// that ended; os.ErrClosed after Close.
func (r *Reader) ReadFrame() (Frame, error) {
	for {
		f, ok, deadline, err := r.next()
		if ok || err != nil {
			return f, err
		}
		n, _, err := r.src.Read(r.buf)
		late := err != nil && !deadline.IsZero() && (errors.Is(err, os.ErrDeadlineExceeded) || timeout(err))
		if err := r.take(n, err, late); err != nil {
			return Frame{}, err
		}
	}
}

// next returns the next frame, or until when packets are to be waited for.
func (r *Reader) next() (f Frame, ok bool, deadline time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return Frame{}, false, deadline, os.ErrClosed
	}
	r.now = time.Now()
	f, ok = r.order.take(r.now)
	r.ask()
	if ok {
		r.arm()
		return f, true, deadline, nil
	}
	if r.rx.Kept() > 0 || r.order.waits() {
		deadline = r.now.Add(sweepEvery)
	}
	if err = r.src.SetReadDeadline(deadline); err != nil {
		r.arm()
	}
	return Frame{}, false, deadline, err
}

// arm has what is held dropped in time, though ReadFrame may not be called again; mu is
// held.
func (r *Reader) arm() {
	if r.armed || r.closed || r.rx.Kept() == 0 && !r.order.waits() {
		return
	}
	r.armed = true
	time.AfterFunc(idleSweep, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.armed = false
		if !r.closed {
			r.sweep(time.Now())
			r.arm()
		}
	})
}

func (r *Reader) sweep(now time.Time) {
	r.now = now
	r.rx.Sweep(now)
	r.order.drop(func(w *waiting) bool {
		old := now.Sub(w.heard) > unreadMost
		if old {
			r.lost = true
			r.order.pass(w)
		}
		return old
	})
}

// take takes in what was read.
func (r *Reader) take(n int, err error, late bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.now = time.Now(); {
	case r.closed:
		clear(r.buf[:n])
		return os.ErrClosed
	case err == nil:
		if err := r.rx.Push(r.buf[:n], r.now); err != nil && r.o.Refused != nil {
			r.o.Refused(nil, err)
		}
	case !late:
		r.arm() // whoever is told that the track ended may not come again
		return err
	}
	if r.rx.Kept() > 0 {
		r.rx.Sweep(r.now)
	}
	return nil
}

// ask asks for a keyframe if one is needed; mu is held.
func (r *Reader) ask() {
	lost := r.lost || r.order.gaveUp
	if lost && r.o.Keyframe != nil && r.now.Sub(r.asked) >= keyframeGap {
		r.lost, r.order.gaveUp, r.asked = false, false, r.now
		r.o.Keyframe()
	}
}

func timeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// PutOut drops and wipes at once what is held of senders for whose key ID gone reports
// true, frames that wait for their turn included.
func (r *Reader) PutOut(gone func(cipher.KeyID) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rx.LeaveSender(gone)
	r.order.drop(func(w *waiting) bool { return gone(w.kid) })
}

// Leave drops and wipes at once all that is held: the sender left, or said BYE.
func (r *Reader) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rx.Close()
	r.order.drop(func(*waiting) bool { return true })
}

// Close drops and wipes at once all that is held, and ends ReadFrame. The frame that it
// returned last stays as it is.
func (r *Reader) Close() {
	r.Leave()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.src.SetReadDeadline(time.Now())
}

// order brings frames into the order of their sequence numbers.
type order struct {
	wait   time.Duration
	begun  bool
	next   uint16 // the sequence number behind the last frame that was taken
	frames []waiting
	given  []byte // the frame that the caller has
	gaveUp bool   // a frame was not waited for any longer
	spare  [][]byte
}

type waiting struct {
	f       Frame
	kid     cipher.KeyID
	packets int
	at      time.Time // when it was opened
	heard   time.Time // when the first of it came
}

func (o *order) put(u *rtpseal.Unit, frame []byte, now time.Time) {
	var buf []byte
	if n := len(o.spare); n > 0 {
		buf, o.spare = o.spare[n-1][:0], o.spare[:n-1]
	}
	h, _, _ := cipher.ParseHeader(u.Sealed) // it opened
	w := waiting{Frame{u.Header, append(buf, frame...)}, h.KID, u.Packets, now, u.FirstHeard}
	i := len(o.frames)
	if o.wait > 0 {
		for i > 0 && int16(u.Sequence-o.frames[i-1].f.Sequence) < 0 {
			i--
		}
	}
	o.frames = append(o.frames, waiting{})
	copy(o.frames[i+1:], o.frames[i:])
	o.frames[i] = w
}

// take returns the next frame, if it is its turn or has waited for long enough. What
// comes after its turn has passed is given at once: the caller sees by its number.
func (o *order) take(now time.Time) (Frame, bool) {
	if len(o.frames) == 0 {
		return Frame{}, false
	}
	w := o.frames[0]
	if o.wait > 0 && o.begun && int16(w.f.Sequence-o.next) > 0 {
		if now.Sub(w.at) < o.wait {
			return Frame{}, false
		}
		o.gaveUp = true
	}
	o.pass(&w)
	o.begun = true
	o.frames = append(o.frames[:0], o.frames[1:]...)
	o.recycle()
	o.given = w.f.Data
	return w.f, true
}

// pass goes on to what is behind a frame, unless that was passed already.
func (o *order) pass(w *waiting) {
	if !o.begun || int16(w.f.Sequence-o.next) >= 0 || o.wait == 0 {
		o.next = w.f.Sequence + uint16(w.packets)
	}
}

// recycle wipes the frame that the caller had, and keeps its memory.
func (o *order) recycle() {
	if o.given == nil {
		return
	}
	clear(o.given)
	if len(o.spare) < 16 {
		o.spare = append(o.spare, o.given)
	}
	o.given = nil
}

func (o *order) waits() bool { return len(o.frames) > 0 }

// drop wipes frames that wait for their turn.
func (o *order) drop(which func(*waiting) bool) {
	o.frames = slices.DeleteFunc(o.frames, func(w waiting) bool {
		out := which(&w)
		if out {
			clear(w.f.Data)
		}
		return out
	})
}
