package pionseal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
	"github.com/chanseal/chanseal/rtpseal/pionseal"
)

var errEnd = errors.New("no more packets")

// wire is a connection between two interceptors: what one writes the other reads.
type wire struct{ packets [][]byte }

func (w *wire) Write(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
	raw, err := (&rtp.Packet{Header: *h, Payload: payload}).Marshal()
	w.packets = append(w.packets, raw)
	return len(raw), err
}

func (w *wire) Read(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
	if len(w.packets) == 0 {
		return 0, a, errEnd
	}
	n := copy(b, w.packets[0])
	w.packets = w.packets[1:]
	a = interceptor.Attributes{"kept": true}
	a.GetRTPHeader(b[:n]) // as interceptors below do
	return n, a, nil
}

func keysOf(t *testing.T) (rtpseal.StreamSealer, rtpseal.StreamOpener) {
	t.Helper()
	base := bytes.Repeat([]byte{7}, 32)
	seal, err := cipher.AES128GCM().NewSealKey(9, base, cipher.FreshKey)
	if err != nil {
		t.Fatal(err)
	}
	open, err := cipher.AES128GCM().NewOpenKeyWindow(9, base, cipher.PacketWindow)
	if err != nil {
		t.Fatal(err)
	}
	return rtpseal.SharedSealer(seal), rtpseal.Shared(open)
}

func connection(t *testing.T, o pionseal.InterceptorOptions) (interceptor.Interceptor, *pionseal.Interceptor) {
	t.Helper()
	f, err := pionseal.NewInterceptor(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.NewInterceptor("")
	if err != nil {
		t.Fatal(err)
	}
	return c, f
}

// TestInterceptor: every packet comes out as it went in, in one piece or several, with
// elements of the header that others put there on the way, and nothing is in clear
// between. What others remember of a packet's header does not outlive the change.
func TestInterceptor(t *testing.T) {
	seal, open := keysOf(t)
	sends, _ := connection(t, pionseal.InterceptorOptions{Sealer: seal})
	receives, _ := connection(t, pionseal.InterceptorOptions{Opener: open, Refused: func(_ *rtpseal.Unit, err error) { t.Errorf("refused: %v", err) }})
	net := &wire{}
	congestion := interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		if err := h.SetExtension(3, []byte{1, 2}); err != nil {
			t.Error(err)
		}
		return net.Write(h, payload, a)
	})
	info := &interceptor.StreamInfo{SSRC: 5, MimeType: "video/H264"}
	w, r := sends.BindLocalStream(info, congestion), receives.BindRemoteStream(info, net)
	sizes := []int{0, 1, 100, 1188, 3000, 40, 0, 1188, 9000}
	buf := make([]byte, 1<<16)
	for i, n := range sizes {
		payload := bytes.Repeat([]byte{byte(i + 1)}, n)
		h := &rtp.Header{Version: 2, PayloadType: 102, SequenceNumber: uint16(65533 + i), Timestamp: 9, SSRC: 5, Marker: i%2 == 0}
		if i%3 == 0 {
			h.SetExtension(1, []byte{byte(i)})
		}
		if i == 2 { // padding does not travel
			h.Padding, h.PaddingSize = true, 20
		}
		if _, err := w.Write(h, payload, nil); err != nil {
			t.Fatal(err)
		}
		for _, pkt := range net.packets {
			if len(pkt) > pionseal.DefaultInterceptorMTU+8 { // what is added below it is not its own
				t.Errorf("%d bytes of payload: a packet of %d bytes", n, len(pkt))
			}
			if n >= 40 && bytes.Contains(pkt, payload[:40]) {
				t.Errorf("%d bytes of payload leave in clear", n)
			}
		}
		if n == 1188 && i == 3 && len(net.packets) != 1 {
			t.Errorf("a packet of 1200 bytes leaves as %d", len(net.packets))
		}
		got, a, err := r.Read(buf, interceptor.Attributes{})
		if err != nil {
			t.Fatal(err)
		}
		var pkt rtp.Packet
		if err := pkt.Unmarshal(buf[:got]); err != nil {
			t.Fatal(err)
		}
		cached, err := a.GetRTPHeader(buf[:got])
		if err != nil || a.Get("kept") != true {
			t.Errorf("attributes: %v, %v", a, err)
		}
		if !bytes.Equal(pkt.Payload, payload) || pkt.SequenceNumber != h.SequenceNumber || pkt.Marker != h.Marker || pkt.Timestamp != 9 || pkt.PayloadType != 102 ||
			cached.SequenceNumber != h.SequenceNumber || !bytes.Equal(pkt.GetExtension(1), h.GetExtension(1)) || !bytes.Equal(pkt.GetExtension(3), []byte{1, 2}) ||
			pkt.GetExtension(rtpseal.SequenceID) != nil {
			t.Errorf("packet %d came as %v with %d bytes", i, pkt.Header, len(pkt.Payload))
		}
		if len(net.packets) != 0 {
			t.Errorf("packet %d: %d packets are left", i, len(net.packets))
		}
	}
	if _, _, err := r.Read(buf, nil); err != errEnd {
		t.Errorf("at the end: %v", err)
	}
}

// TestInterceptorResent: a packet that was lost and comes again in an RTX stream is
// opened there, once.
func TestInterceptorResent(t *testing.T) {
	seal, open := keysOf(t)
	refused := 0
	sends, _ := connection(t, pionseal.InterceptorOptions{Sealer: seal})
	receives, _ := connection(t, pionseal.InterceptorOptions{Opener: open, Refused: func(*rtpseal.Unit, error) { refused++ }})
	net, again := &wire{}, &wire{}
	w := sends.BindLocalStream(&interceptor.StreamInfo{SSRC: 5, MimeType: "video/VP8"}, net)
	r := receives.BindRemoteStream(&interceptor.StreamInfo{SSRC: 6, MimeType: "video/rtx"}, again)
	payload := []byte("a packet that is lost")
	w.Write(&rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: 777, SSRC: 5}, payload, nil)
	var lost rtp.Packet
	if err := lost.Unmarshal(net.packets[0]); err != nil {
		t.Fatal(err)
	}
	probe := rtp.Header{Version: 2, PayloadType: 97, SequenceNumber: 1, SSRC: 6}
	again.Write(&probe, nil, nil)
	for range 2 {
		again.Write(&rtp.Header{Version: 2, PayloadType: 97, SequenceNumber: 2, SSRC: 6}, append(binary.BigEndian.AppendUint16(nil, 777), lost.Payload...), nil)
	}
	buf := make([]byte, 1500)
	n, _, err := r.Read(buf, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got rtp.Packet
	if err := got.Unmarshal(buf[:n]); err != nil {
		t.Fatal(err)
	}
	if got.SSRC != 6 || got.PayloadType != 97 || binary.BigEndian.Uint16(got.Payload) != 777 || !bytes.Equal(got.Payload[2:], payload) {
		t.Errorf("came as %v, %q", got.Header, got.Payload)
	}
	if _, _, err := r.Read(buf, nil); err != errEnd || refused != 1 {
		t.Errorf("the same again: %v, refused %d", err, refused)
	}
}

// TestInterceptorClosed: without a key nothing is sent or let in; what is in clear or
// forged does not pass; what waits is dropped at BYE, when its sender is put out, and at
// the end.
func TestInterceptorClosed(t *testing.T) {
	seal, open := keysOf(t)
	info := &interceptor.StreamInfo{SSRC: 5, MimeType: "audio/opus"}
	h := &rtp.Header{Version: 2, PayloadType: 111, SSRC: 5}
	buf := make([]byte, 1500)

	net := &wire{}
	only, _ := connection(t, pionseal.InterceptorOptions{Opener: open})
	if _, err := only.BindLocalStream(info, net).Write(h, []byte("clear"), nil); err != pionseal.ErrNoSealer || len(net.packets) != 0 {
		t.Errorf("without a Sealer: %v, %d packets leave", err, len(net.packets))
	}
	only, _ = connection(t, pionseal.InterceptorOptions{Sealer: seal})
	net.Write(h, []byte("clear"), nil)
	if n, _, err := only.BindRemoteStream(info, net).Read(buf, nil); err != pionseal.ErrNoOpener || n != 0 {
		t.Errorf("without an Opener: %v, %d bytes pass", err, n)
	}
	if _, err := pionseal.NewInterceptor(pionseal.InterceptorOptions{}); err == nil {
		t.Error("an Interceptor without any key")
	}
	broken, _ := connection(t, pionseal.InterceptorOptions{Sealer: broken{}})
	net.packets = nil
	if _, err := broken.BindLocalStream(info, net).Write(h, []byte("clear"), nil); !errors.Is(err, errBroken) || len(net.packets) != 0 {
		t.Errorf("a Sealer that fails: %v, %d packets leave", err, len(net.packets))
	}

	refused := 0
	c, _ := connection(t, pionseal.InterceptorOptions{Opener: open, Refused: func(*rtpseal.Unit, error) { refused++ }})
	r := c.BindRemoteStream(info, net)
	net.Write(h, []byte("clear"), nil)
	net.Write(h, nil, nil)
	net.Write(h, []byte("\xE0\x80\x09forged, under a key that is known"), nil)
	if n, _, err := r.Read(buf, nil); err != errEnd || n != 0 || refused != 3 {
		t.Errorf("%d bytes pass, %v, %d are refused", n, err, refused)
	}
	// A unit of an unknown key waits.
	for _, way := range []string{"bye", "put out", "unbind"} {
		dropped := 0
		c, f := connection(t, pionseal.InterceptorOptions{Opener: open, Dropped: func(d rtpseal.Drop) { dropped += d.Packets }})
		r = c.BindRemoteStream(info, net)
		other, err := cipher.AES128GCM().NewSealKey(10, make([]byte, 32), cipher.FreshKey)
		if err != nil {
			t.Fatal(err)
		}
		sealed, _ := other.Seal([]byte{0xE0}, []byte("of another"), nil)
		net.Write(h, sealed, nil)
		h.SequenceNumber++
		net.Write(h, append([]byte{0xA0}, sealed[1:]...), nil) // incomplete
		if _, _, err := r.Read(buf, nil); err != errEnd {
			t.Fatal(err)
		}
		switch way {
		case "bye":
			bye := interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
				raw, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{}, &rtcp.Goodbye{Sources: []uint32{5}}})
				return copy(b, raw), nil, err
			})
			if _, _, err := c.BindRTCPReader(bye).Read(buf, nil); err != nil {
				t.Fatal(err)
			}
		case "put out":
			f.PutOut(func(kid cipher.KeyID) bool { return kid == 10 })
		case "unbind":
			c.UnbindRemoteStream(info)
			if _, _, err := r.Read(buf, nil); err != io.EOF {
				t.Errorf("reading goes on: %v", err)
			}
		}
		if dropped != 1 { // told of what was incomplete
			t.Errorf("%s: %d packets are dropped", way, dropped)
		}
	}
}
