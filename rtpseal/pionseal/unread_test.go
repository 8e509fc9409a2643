package pionseal

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

var errEnd = errors.New("no more packets")

// later opens under the keys that have come.
type later map[cipher.KeyID]*cipher.OpenKey

func (l later) OpenStream(_ uint32, dst, sealed []byte) ([]byte, error) {
	h, _, err := cipher.ParseHeader(sealed)
	if err != nil {
		return dst, err
	}
	if k := l[h.KID]; k != nil {
		return k.Open(dst, sealed, nil)
	}
	return dst, cipher.ErrUnknownKey
}

// remembering remembers all memory that something was opened into.
type remembering struct {
	rtpseal.StreamOpener
	all [][]byte
}

func (r *remembering) OpenStream(ssrc uint32, dst, sealed []byte) ([]byte, error) {
	out, err := r.StreamOpener.OpenStream(ssrc, dst, sealed)
	if err == nil {
		r.all = append(r.all, out)
	}
	return out, err
}

// waited is a stream with one packet read, of key ID 9, and three that were opened with
// it and wait to be read: of 10, 11 and 10, which had waited for their keys.
func waited(t *testing.T) (f *Interceptor, r *remote, dropped func() []rtpseal.Drop) {
	t.Helper()
	keys := later{}
	var packets [][]byte
	var drops []rtpseal.Drop
	f, err := NewInterceptor(InterceptorOptions{Opener: &remembering{StreamOpener: keys}, Dropped: func(d rtpseal.Drop) { drops = append(drops, d) }})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := f.NewInterceptor("")
	r = c.BindRemoteStream(&interceptor.StreamInfo{SSRC: 5}, interceptor.RTPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		if len(packets) == 0 {
			return 0, a, errEnd
		}
		n := copy(b, packets[0])
		packets = packets[1:]
		return n, a, nil
	})).(*remote)
	base := bytes.Repeat([]byte{7}, 32)
	seals := map[cipher.KeyID]*cipher.SealKey{}
	for i, kid := range []cipher.KeyID{10, 11, 10, 9} {
		if seals[kid] == nil {
			if seals[kid], err = cipher.AES128GCM().NewSealKey(kid, base, cipher.FreshKey); err != nil {
				t.Fatal(err)
			}
		}
		pkt, err := seals[kid].Seal([]byte{0x80, 96, 0, byte(i), 0, 0, 0, 0, 0, 0, 0, 5, 0xE0}, []byte{'p', '0' + byte(i)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, pkt)
	}
	last := packets[3]
	packets = packets[:3]
	buf := make([]byte, 1500)
	if _, _, err := r.Read(buf, nil); err != errEnd || r.opening.Kept() == 0 {
		t.Fatalf("without a key: %v", err)
	}
	for kid := range seals {
		if keys[kid], err = cipher.AES128GCM().NewOpenKeyWindow(kid, base, cipher.PacketWindow); err != nil {
			t.Fatal(err)
		}
	}
	packets = append(packets, last)
	if n, _, err := r.Read(buf, nil); err != nil || string(buf[12:n]) != "p3" || r.unread.packets.Len() != 4 {
		t.Fatalf("%v, %q, %d packets are opened", err, buf[12:n], r.unread.packets.Len())
	}
	return f, r, func() []rtpseal.Drop { return drops }
}

// memoryOf shows what is in the memory of a stream's packets, later, too.
func memoryOf(r *remote) func() []byte {
	var all [][]byte
	for i := range r.unread.packets.Len() {
		all = append(all, r.unread.packets.At(i))
	}
	return func() []byte { return bytes.Join(all, nil) }
}

func reads(t *testing.T, r *remote, want ...string) {
	t.Helper()
	buf := make([]byte, 1500)
	for _, w := range want {
		if n, _, err := r.Read(buf, nil); err != nil || string(buf[12:n]) != w {
			t.Errorf("%v, %q is read, want %q", err, buf[12:n], w)
		}
	}
	if n, _, err := r.Read(buf, nil); err != errEnd {
		t.Errorf("behind it: %v, %q", err, buf[12:n])
	}
}

// TestUnread: packets that are opened and not read yet come in order, each once; those of
// a sender who is put out are wiped at once, and all that nobody reads in time. No copies
// are left where the memory of several grew.
func TestUnread(t *testing.T) {
	_, r, dropped := waited(t)
	reads(t, r, "p0", "p1", "p2")
	if len(dropped()) != 0 {
		t.Errorf("dropped: %v", dropped())
	}

	f, r, dropped := waited(t)
	memory := memoryOf(r)
	f.PutOut(func(kid cipher.KeyID) bool { return kid == 10 })
	if bytes.Contains(memory(), []byte("p0")) || bytes.Contains(memory(), []byte("p2")) || !bytes.Contains(memory(), []byte("p1")) {
		t.Errorf("after one of two was put out: %q", memory())
	}
	reads(t, r, "p1")
	if d := dropped(); len(d) != 1 || d[0] != (rtpseal.Drop{SSRC: 5, Packets: 2, Why: "left"}) {
		t.Errorf("dropped: %v", d)
	}

	f, r, _ = waited(t)
	memory = memoryOf(r)
	f.PutOut(func(cipher.KeyID) bool { return true })
	if !bytes.Equal(memory(), make([]byte, len(memory()))) {
		t.Errorf("after all were put out: %q", memory())
	}
	for i, b := range f.o.Opener.(*remembering).all {
		if len(bytes.Trim(b, "\x00")) > 0 {
			t.Errorf("of the opening number %d this is left: %q", i, b)
		}
	}
	reads(t, r)

	synctest.Test(t, func(t *testing.T) { // nobody reads, and nothing comes
		_, r, dropped := waited(t)
		memory := memoryOf(r)
		look := func() (left bool, b []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.unread.left(), memory()
		}
		time.Sleep(unreadAge)
		if left, _ := look(); !left {
			t.Error("in time they are not there any more")
		}
		time.Sleep(2 * sweepEvery)
		if left, b := look(); left || !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("behind it: %v, %q", left, b)
		}
		reads(t, r)
		if d := dropped(); len(d) != 1 || d[0].Why != "age" || d[0].Packets != 3 {
			t.Errorf("dropped: %v", d)
		}
	})
}

// TestFramesUnread: frames that nobody reads are wiped before they are as old as
// rtpseal.MaxAge, and a keyframe is asked for when somebody reads again.
func TestFramesUnread(t *testing.T) {
	src, seal, opener := sealedFrames(t)
	asked := 0
	r, err := NewReader(src, ReaderOptions{Opener: opener, InOrder: time.Hour, Keyframe: func() { asked++ }})
	if err != nil {
		t.Fatal(err)
	}
	seal(1, 3, 4) // 2 is lost
	if f, err := r.ReadFrame(); err != nil || string(f.Data) != "f1" {
		t.Fatalf("%v, %q", err, f.Data)
	}
	if _, err := r.ReadFrame(); err != errEnd || len(r.order.frames) != 2 {
		t.Fatalf("%v, %d frames wait", err, len(r.order.frames))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	memory := [][]byte{r.order.frames[0].f.Data, r.order.frames[1].f.Data}
	heard := r.order.frames[0].heard
	r.sweep(heard.Add(rtpseal.MaxAge / 2))
	if len(r.order.frames) != 2 {
		t.Error("they are dropped early")
	}
	r.sweep(heard.Add(rtpseal.MaxAge - idleSweep))
	if r.order.waits() || !bytes.Equal(bytes.Join(memory, nil), make([]byte, 4)) {
		t.Errorf("at the end there are %d, and %q", len(r.order.frames), memory)
	}
	if r.ask(); asked != 1 {
		t.Errorf("a keyframe is asked for %d times", asked)
	}
}

// TestFramesLeft: a track that ends while frames wait for those before them leaves nothing
// behind, though ReadFrame is not called again.
func TestFramesLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, seal, opener := sealedFrames(t)
		r, err := NewReader(src, ReaderOptions{Opener: opener, InOrder: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		seal(1, 3, 4) // 2 is lost
		if f, err := r.ReadFrame(); err != nil || string(f.Data) != "f1" {
			t.Fatalf("%v, %q", err, f.Data)
		}
		if _, err := r.ReadFrame(); err != errEnd {
			t.Fatal(err)
		}
		r.mu.Lock()
		var memory [][]byte
		for _, w := range r.order.frames {
			memory = append(memory, w.f.Data)
		}
		r.mu.Unlock()
		if string(bytes.Join(memory, nil)) != "f3f4" {
			t.Fatalf("%q waits", memory)
		}
		time.Sleep(rtpseal.MaxAge)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.order.waits() || !bytes.Equal(bytes.Join(memory, nil), make([]byte, 4)) {
			t.Errorf("%v behind it there are %d, and %q", rtpseal.MaxAge, len(r.order.frames), memory)
		}
	})
}

// sealedFrames is a track, what seals frames by their numbers and has them come there, and
// what opens them.
func sealedFrames(t *testing.T) (src *frames, seal func(seqs ...byte), opener rtpseal.StreamOpener) {
	t.Helper()
	base := bytes.Repeat([]byte{7}, 32)
	key, err := cipher.AES128GCM().NewSealKey(9, base, cipher.FreshKey)
	if err != nil {
		t.Fatal(err)
	}
	open, err := cipher.AES128GCM().NewOpenKeyWindow(9, base, cipher.PacketWindow)
	if err != nil {
		t.Fatal(err)
	}
	src = new(frames)
	return src, func(seqs ...byte) {
		for _, seq := range seqs {
			pkt, err := key.Seal([]byte{0x80, 0x80 | 96, 0, seq, 0, 0, 0, seq, 0, 0, 0, 5, 0xC0}, []byte{'f', '0' + seq}, nil)
			if err != nil {
				t.Fatal(err)
			}
			*src = append(*src, pkt)
		}
	}, rtpseal.Shared(open)
}

// frames is a track.
type frames [][]byte

func (f *frames) Read(b []byte) (int, interceptor.Attributes, error) {
	if len(*f) == 0 {
		return 0, nil, errEnd
	}
	n := copy(b, (*f)[0])
	*f = (*f)[1:]
	return n, nil, nil
}

func (*frames) SetReadDeadline(time.Time) error { return nil }

// TestFramesGoOn: what is dropped because it waited for too long is not waited for: the
// next frame comes in its turn.
func TestFramesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, seal, opener := sealedFrames(t)
		r, err := NewReader(src, ReaderOptions{Opener: opener, InOrder: rtpseal.MaxAge})
		if err != nil {
			t.Fatal(err)
		}
		seal(1, 3) // 2 is lost
		if f, err := r.ReadFrame(); err != nil || string(f.Data) != "f1" {
			t.Fatalf("%v, %q", err, f.Data)
		}
		if _, err := r.ReadFrame(); err != errEnd {
			t.Fatal(err)
		}
		time.Sleep(rtpseal.MaxAge)
		seal(4)
		if f, err := r.ReadFrame(); err != nil || string(f.Data) != "f4" {
			t.Errorf("%v, %q, want f4", err, f.Data)
		}
	})
}
