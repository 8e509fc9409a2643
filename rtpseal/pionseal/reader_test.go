package pionseal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
	"github.com/chanseal/chanseal/rtpseal/pionseal"
)

// remoteTrack is a track whose packets come from a channel.
type remoteTrack struct {
	packets chan []byte

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{} // closed when the deadline changes
}

func newRemoteTrack() *remoteTrack {
	return &remoteTrack{packets: make(chan []byte, 100), changed: make(chan struct{})}
}

func (r *remoteTrack) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

func (r *remoteTrack) Read(b []byte) (int, interceptor.Attributes, error) {
	for {
		r.mu.Lock()
		deadline, changed := r.deadline, r.changed
		r.mu.Unlock()
		var late <-chan time.Time
		if !deadline.IsZero() {
			late = time.After(time.Until(deadline))
		}
		select {
		case pkt, ok := <-r.packets:
			if !ok {
				return 0, nil, io.EOF
			}
			return copy(b, pkt), nil, nil
		case <-late:
			return 0, nil, fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
		case <-changed:
		}
	}
}

// cut seals frames and cuts them into packets.
func cut(t *testing.T, seal rtpseal.StreamSealer, frames ...[]byte) (packets [][][]byte) {
	t.Helper()
	p, err := rtpseal.NewPacketizer(rtpseal.PacketizerOptions{SSRC: 5, PayloadType: 96, Sequence: 65534})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		sealed, err := seal.SealStream(5, nil, f)
		if err != nil {
			t.Fatal(err)
		}
		var of [][]byte
		p.Packetize(sealed, uint32(i), true, 0, func(pkt []byte) error { of = append(of, bytes.Clone(pkt)); return nil })
		packets = append(packets, of)
	}
	return packets
}

// TestReader: frames come in the order of their numbers if that is asked for, at once or
// when those before them were waited for long enough, and then a keyframe is asked for.
func TestReader(t *testing.T) {
	frames := [][]byte{[]byte("zero"), bytes.Repeat([]byte("one"), 1000), []byte("two"), []byte("three"), []byte("four")}
	for _, c := range []struct {
		name    string
		inOrder time.Duration
		arrive  []int // frames; -1 for half of frame 1
		want    []int
		waited  time.Duration
		ask     bool
	}{
		{"in order", time.Second, []int{0, 1, 2, 3, 4}, []int{0, 1, 2, 3, 4}, 0, false},
		{"out of order, brought into it", time.Second, []int{0, 3, 2, 1, 4}, []int{0, 1, 2, 3, 4}, 0, false},
		{"out of order, as they are complete", 0, []int{0, 3, 2, 1, 4}, []int{0, 3, 2, 1, 4}, 0, false},
		{"one is lost", time.Second, []int{0, 2, 3, 4}, []int{0, 2, 3, 4}, time.Second, true},
		{"half of one is lost", 0, []int{0, -1, 2, 3, 4}, []int{0, 2, 3, 4}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seal, open := keysOf(t)
				packets := cut(t, seal, frames...)
				src := newRemoteTrack()
				asked := 0
				r, err := pionseal.NewReader(src, pionseal.ReaderOptions{Opener: open, InOrder: c.inOrder, Keyframe: func() { asked++ }})
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range c.arrive {
					if i < 0 {
						src.packets <- packets[1][0]
						continue
					}
					for _, pkt := range packets[i] {
						src.packets <- pkt
					}
				}
				begun := time.Now()
				for _, i := range c.want {
					f, err := r.ReadFrame()
					if err != nil || !bytes.Equal(f.Data, frames[i]) || f.Timestamp != uint32(i) || !f.Marker {
						t.Fatalf("frame %d: %v, %d bytes at %d", i, err, len(f.Data), f.Timestamp)
					}
				}
				if waited := time.Since(begun); waited < c.waited || waited > c.waited+100*time.Millisecond {
					t.Errorf("waited %v", waited)
				}
				time.AfterFunc(5*time.Second, func() { close(src.packets) })
				if _, err := r.ReadFrame(); err != io.EOF {
					t.Errorf("at the end: %v", err)
				}
				if (asked > 0) != c.ask {
					t.Errorf("asked for %d keyframes", asked)
				}
				r.Close()
				if _, err := r.ReadFrame(); !errors.Is(err, os.ErrClosed) {
					t.Errorf("closed: %v", err)
				}
			})
		})
	}
}

// TestReaderLeaves: while ReadFrame waits, others drop what is held of a sender who left or
// was put out, frames that opened and wait for their turn included, and end the reading.
func TestReaderLeaves(t *testing.T) {
	for _, c := range []struct {
		name  string
		leave func(r *pionseal.Reader)
		whole bool // what came before comes out after all
	}{
		{"another is put out", func(r *pionseal.Reader) { r.PutOut(func(kid cipher.KeyID) bool { return kid != 9 }) }, true},
		{"put out", func(r *pionseal.Reader) { r.PutOut(func(kid cipher.KeyID) bool { return kid == 9 }) }, false},
		{"left", (*pionseal.Reader).Leave, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seal, open := keysOf(t)
				packets := cut(t, seal, []byte("zero"), bytes.Repeat([]byte("one"), 1000), []byte("two"), []byte("three"))
				src := newRemoteTrack()
				r, err := pionseal.NewReader(src, pionseal.ReaderOptions{Opener: open, InOrder: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				ended := make(chan error)
				go func() {
					for {
						f, err := r.ReadFrame()
						if err != nil {
							ended <- err
							return
						}
						got = append(got, fmt.Sprintf("%.5s", f.Data))
					}
				}()
				src.packets <- packets[0][0]
				src.packets <- packets[1][0] // of which the rest comes too late
				src.packets <- packets[2][0] // waits for its turn
				synctest.Wait()
				c.leave(r)
				for _, pkt := range append(packets[1][1:], packets[3]...) {
					src.packets <- pkt
				}
				time.Sleep(5 * time.Second)
				begun := time.Now()
				r.Close()
				if err := <-ended; err != os.ErrClosed || time.Since(begun) > 0 {
					t.Errorf("%v, %v after Close", err, time.Since(begun))
				}
				want := "[zero three]"
				if c.whole {
					want = "[zero oneon two three]"
				}
				if fmt.Sprint(got) != want {
					t.Errorf("%v came, want %s", got, want)
				}
			})
		})
	}
}

// TestReaderRefuses: what is in clear, forged or played again is told of, and gives no
// frame.
func TestReaderRefuses(t *testing.T) {
	seal, open := keysOf(t)
	good := cut(t, seal, []byte("a frame"))[0][0]
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	src := newRemoteTrack()
	for _, pkt := range [][]byte{append(bytes.Clone(good[:12]), "clear"...), forged, good, good} {
		src.packets <- pkt
	}
	close(src.packets)
	refused := 0
	r, err := pionseal.NewReader(src, pionseal.ReaderOptions{Opener: open, Refused: func(*rtpseal.Unit, error) { refused++ }})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := r.ReadFrame(); err != nil || string(f.Data) != "a frame" {
		t.Fatalf("%q, %v", f.Data, err)
	}
	if _, err := r.ReadFrame(); err != io.EOF || refused != 3 {
		t.Errorf("%v, refused %d", err, refused)
	}
	if _, err := pionseal.NewReader(nil, pionseal.ReaderOptions{Opener: open}); err == nil {
		t.Error("a Reader of nothing")
	}
	if _, err := pionseal.NewReader(src, pionseal.ReaderOptions{}); err == nil {
		t.Error("a Reader without a key")
	}
}
