package pionseal_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
	"github.com/chanseal/chanseal/rtpseal/pionseal"
)

const ssrc = 0xC0FFEE

// TestPayloader: frames that go through pion's Packetizer come out bit for bit, with
// shared keys and with keys for each SSRC, and nothing of them is in clear on the way.
func TestPayloader(t *testing.T) {
	frames := [][]byte{
		[]byte("\xfc\xff\xfe"), // Opus, DTX
		[]byte("\x00\x00\x00\x01\x67an SPS of H.264\x00\x00\x01\x65and a slice behind 3 bytes"),
		bytes.Repeat([]byte("a frame of many packets "), 1000),
		[]byte("\x12\x00\x0a\x0aOBUs of AV1"),
	}
	for _, how := range []rtpseal.Derivation{rtpseal.SharedKey, rtpseal.PerSSRC} {
		suite, base := cipher.AES128GCM(), bytes.Repeat([]byte{7}, 32)
		seal, err := rtpseal.NewSealKeys(suite, how, 9, base, cipher.FreshKey)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := rtpseal.NewKeys(suite, how)
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Add(9, base); err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{
			Opener:  keys,
			Frame:   func(_ *rtpseal.Unit, f []byte) { got = append(got, bytes.Clone(f)) },
			Refused: func(_ *rtpseal.Unit, err error) { t.Errorf("refused: %v", err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		p := rtp.NewPacketizer(1200, 96, ssrc,
			pionseal.NewPayloader(seal, ssrc, func(err error) { t.Error(err) }), rtp.NewFixedSequencer(65533), 90000)
		for i, f := range frames {
			for _, pkt := range p.Packetize(f, 3000) {
				raw, err := pkt.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if len(raw) > 1200 {
					t.Errorf("frame %d: a packet of %d bytes, want at most 1200", i, len(raw))
				}
				if len(f) > 8 && bytes.Contains(raw, f[4:min(len(f), 12)]) {
					t.Errorf("frame %d leaves in clear", i)
				}
				if err := r.Push(raw, time.Unix(1, 0)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(got) != len(frames) {
			t.Fatalf("%d frames came, want %d", len(got), len(frames))
		}
		for i := range frames {
			if !bytes.Equal(got[i], frames[i]) {
				t.Errorf("frame %d came changed", i)
			}
		}
	}
}

type broken struct{}

var errBroken = errors.New("no key")

func (broken) SealStream(_ uint32, dst, unit []byte) ([]byte, error) {
	return append(dst, unit...), errBroken
}
func (broken) Overhead() int { return 0 }

// TestPayloaderFails: what cannot be sealed or cut does not leave, and is told of.
func TestPayloaderFails(t *testing.T) {
	var told []error
	p := pionseal.NewPayloader(broken{}, ssrc, func(err error) { told = append(told, err) })
	if out := p.Payload(1188, []byte("frame")); out != nil || len(told) != 1 || !errors.Is(told[0], errBroken) {
		t.Errorf("%q leaves of what was not sealed; told: %v", out, told)
	}
	if out := p.Payload(10, []byte("frame")); out != nil || len(told) != 2 {
		t.Errorf("%q leaves in an MTU that is too small; told: %v", out, told)
	}
	if out := pionseal.NewPayloader(broken{}, ssrc, nil).Payload(1188, []byte("frame")); out != nil {
		t.Errorf("%q leaves", out)
	}
}
