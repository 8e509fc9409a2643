package cipher_test

import (
	"bytes"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// caesar is the vendor's sample in spirit: it changes every byte, differently by stream.
type caesar struct{ drop, long bool }

func (c *caesar) shift(p *cipher.Packet, by byte) bool {
	out := make([]byte, len(p.Buffer)) // another slice, as the SDK allows
	for i, b := range p.Buffer {
		out[i] = b + by
	}
	p.Buffer = out
	if c.long {
		p.Buffer = make([]byte, cipher.MaxPacket+1)
	}
	return !c.drop
}

func (c *caesar) OnSendAudioPacket(p *cipher.Packet) bool    { return c.shift(p, 3) }
func (c *caesar) OnSendVideoPacket(p *cipher.Packet) bool    { return c.shift(p, 5) }
func (c *caesar) OnReceiveAudioPacket(p *cipher.Packet) bool { return c.shift(p, 253) }
func (c *caesar) OnReceiveVideoPacket(p *cipher.Packet) bool { return c.shift(p, 251) }

func TestObserverAsHook(t *testing.T) {
	o := &caesar{}
	for _, stream := range []cipher.Stream{cipher.Audio, cipher.Video} {
		h := hookOf(nil, 0, cipher.AES128CTRHMAC80())
		h.New = func(cipher.KeyID, []byte) (cipher.Sealer, cipher.Opener, error) {
			s, op := cipher.ObserverSealer(o, stream, 0)
			return s, op, nil
		}
		s, err := cipher.NewHook(h)
		if err != nil {
			t.Fatal(err)
		}
		sealKey, openKey := customPair(t, s)
		frame, before := random(1, 500), random(1, 500)
		sealed, err := sealKey.Seal(nil, frame, nil)
		if err != nil || !bytes.Equal(frame, before) {
			t.Fatalf("error %v; the caller's frame is as it was: %v", err, bytes.Equal(frame, before))
		}
		if back, err := openKey.Open(nil, sealed, nil); err != nil || !bytes.Equal(back, frame) {
			t.Errorf("stream %d: error %v, or another frame", stream, err)
		}
		if _, err := sealKey.Seal(nil, make([]byte, cipher.MaxPacket+1), nil); err == nil {
			t.Error("a packet of 1201 bytes was sealed")
		}
		*o = caesar{drop: true}
		if out, err := sealKey.Seal(nil, frame, nil); err == nil || out != nil {
			t.Error("a dropped packet was sealed")
		}
		*o = caesar{long: true}
		if out, err := sealKey.Seal(nil, frame, nil); err == nil || out != nil {
			t.Error("a packet that became too long was sealed")
		}
		*o = caesar{}
	}
	audio, _ := cipher.ObserverSealer(o, cipher.Audio, 9)
	video, _ := cipher.ObserverSealer(o, cipher.Video, 9)
	a, _ := audio.Seal([]byte("x"), []byte("same"), nil)
	v, _ := video.Seal([]byte("x"), []byte("same"), nil)
	if audio.Overhead() != 9 || string(a) == string(v) || string(a[:1]) != "x" {
		t.Errorf("audio %q, video %q", a, v)
	}
}

func TestObserverOfKeys(t *testing.T) {
	s := cipher.AES128CTRHMAC80()
	audioSeal, audioOpen := customPair(t, s)
	videoSeal, videoOpen := customPair(t, s)
	o := &cipher.Observer{SendAudio: audioSeal, SendVideo: videoSeal, ReceiveAudio: audioOpen, ReceiveVideo: videoOpen}
	var _ cipher.PacketObserver = o
	for _, c := range []struct{ send, receive func(*cipher.Packet) bool }{
		{o.OnSendAudioPacket, o.OnReceiveAudioPacket}, {o.OnSendVideoPacket, o.OnReceiveVideoPacket},
	} {
		p := &cipher.Packet{Buffer: []byte("a packet")}
		if !c.send(p) || bytes.Contains(p.Buffer, []byte("a packet")) {
			t.Errorf("sent as %q", p.Buffer)
		}
		again := &cipher.Packet{Buffer: bytes.Clone(p.Buffer)}
		if !c.receive(p) || string(p.Buffer) != "a packet" {
			t.Errorf("received as %q", p.Buffer)
		}
		if c.receive(again) || len(again.Buffer) > 0 {
			t.Errorf("a replayed packet was received as %q", again.Buffer)
		}
		// Whatever is dropped leaves nothing that could go out in clear.
		long := &cipher.Packet{Buffer: make([]byte, cipher.MaxPacket-1)}
		if c.send(long) || len(long.Buffer) > 0 {
			t.Errorf("a packet that grows too long was sent with %d bytes", len(long.Buffer))
		}
	}
	none := &cipher.Observer{}
	for i, f := range []func(*cipher.Packet) bool{none.OnSendAudioPacket, none.OnSendVideoPacket, none.OnReceiveAudioPacket, none.OnReceiveVideoPacket} {
		p := &cipher.Packet{Buffer: []byte("in clear")}
		if f(p) || len(p.Buffer) > 0 {
			t.Errorf("callback %d without a key lets %q through", i, p.Buffer)
		}
	}
}
