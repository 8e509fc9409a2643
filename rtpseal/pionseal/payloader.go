// Package pionseal seals what goes through pion/webrtc, for SFUs to pass on unseen.
//
//   - A [Track] seals whole frames (T=0) and a [Reader] opens them: any codec, the least
//     overhead, and the choice for applications of one's own. Several Tracks are the
//     encodings of one picture ([AddSimulcast]); layers are [Track.WriteLayers].
//   - An [Interceptor] seals every RTP packet of a PeerConnection (T=1) and opens those
//     that come: tracks, packetizers and what puts frames together again stay as they are.
//   - A [Payloader] is for who uses pion's packetizer without a PeerConnection.
//
// Keys come from a keyring, by rtpseal.SharedSealer(sender) and rtpseal.Shared(receiver),
// or from outside, as [rtpseal.Keys]. With keys derived for each SSRC an SFU has to leave
// SSRCs as they are, which most do not.
package pionseal

import (
	"github.com/pion/rtp"

	"github.com/chanseal/chanseal/rtpseal"
)

const header = 12 // bytes of an RTP header, which are not in the MTU that a payloader is given

// Payloader is an rtp.Payloader that seals whole frames (T=0), for rtp.NewPacketizer or
// a track's option WithPayloader, in place of the codec's own, which damages sealed
// frames. Frames come out at a Receiver. It is for one goroutine.
type Payloader struct {
	sealer rtpseal.StreamSealer
	ssrc   uint32
	failed func(error)
	cutter *rtpseal.Packetizer
	mtu    uint16
	sealed []byte
}

var _ rtp.Payloader = (*Payloader)(nil)

// NewPayloader makes a Payloader. ssrc is the stream's: it matters only with keys
// derived for each SSRC. failed, which may be nil, is told of frames that do not leave:
// rtp.Payloader has no errors.
func NewPayloader(s rtpseal.StreamSealer, ssrc uint32, failed func(error)) *Payloader {
	if failed == nil {
		failed = func(error) {}
	}
	return &Payloader{sealer: s, ssrc: ssrc, failed: failed}
}

// Payload seals a frame and returns the payloads of its packets, of at most mtu bytes
// each. What cannot be sealed or cut gives none: nothing leaves in clear, or in part.
func (p *Payloader) Payload(mtu uint16, frame []byte) [][]byte {
	if p.cutter == nil || p.mtu != mtu {
		cutter, err := rtpseal.NewPacketizer(rtpseal.PacketizerOptions{MTU: int(mtu) + header})
		if err != nil {
			p.failed(err)
			return nil
		}
		p.cutter, p.mtu = cutter, mtu
	}
	sealed, err := p.sealer.SealStream(p.ssrc, p.sealed[:0], frame)
	if err != nil {
		p.failed(err)
		return nil
	}
	p.sealed = sealed
	var payloads [][]byte
	err = p.cutter.Packetize(sealed, 0, false, 0, func(pkt []byte) error {
		payloads = append(payloads, append([]byte(nil), pkt[header:]...)) // pion keeps them
		return nil
	})
	if err != nil {
		p.failed(err)
		return nil
	}
	return payloads
}
