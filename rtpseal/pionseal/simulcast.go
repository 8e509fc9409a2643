package pionseal

import (
	"errors"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Of an encoding among several (RFC 8853), the other side learns by two header extensions
// which media section and which encoding a stream is: they stand in clear on every packet.
const (
	midURI = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ridURI = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"

	maxRID = 16 // bytes that an extension's element can hold (RFC 8285), of a MID as well
)

// AddSimulcast adds several encodings of one picture to a connection. The Tracks have one
// ID, StreamID and codec, and a RID each. They may share one Sealer: then counters tell
// all their frames apart, and an SFU may switch between them under one key ID. With keys
// derived for each SSRC it may not, as it gives what it passes on one SSRC.
func AddSimulcast(pc *webrtc.PeerConnection, encodings ...*Track) (*webrtc.RTPSender, error) {
	if len(encodings) == 0 {
		return nil, errors.New("pionseal: no encodings")
	}
	for _, t := range encodings {
		if t.o.RID == "" {
			return nil, errors.New("pionseal: every encoding needs a RID")
		}
	}
	sender, err := pc.AddTrack(encodings[0])
	if err != nil {
		return nil, err
	}
	for _, t := range encodings[1:] {
		if err := sender.AddEncoding(t); err != nil {
			return nil, errors.Join(err, pc.RemoveTrack(sender))
		}
	}
	for _, transceiver := range pc.GetTransceivers() {
		if transceiver.Sender() != sender {
			continue
		}
		for _, t := range encodings {
			t.mu.Lock()
			t.mid = transceiver.Mid
			t.mu.Unlock()
		}
	}
	return sender, nil
}

// names are what packets of an encoding say of themselves.
type names struct {
	midID, ridID uint8 // numbers of the extensions
	mid, rid     string
}

func (t *Track) names(c webrtc.TrackLocalContext) (n names) {
	if t.o.RID == "" {
		return names{}
	}
	n.rid = t.o.RID
	for _, x := range c.HeaderExtensions() {
		switch x.URI {
		case midURI:
			n.midID = uint8(x.ID)
		case ridURI:
			n.ridID = uint8(x.ID)
		}
	}
	return n
}

// room is how many bytes of a packet they take at most.
func (n *names) room() int {
	if n.rid == "" {
		return 0
	}
	return 4 + (1+maxRID+1+len(n.rid)+3)/4*4
}

// set writes them into a header.
func (n *names) set(h *rtp.Header) error {
	if n.rid == "" {
		return nil
	}
	if n.midID != 0 && n.mid != "" && len(n.mid) <= maxRID {
		if err := h.SetExtension(n.midID, []byte(n.mid)); err != nil {
			return err
		}
	}
	if n.ridID != 0 {
		return h.SetExtension(n.ridID, []byte(n.rid))
	}
	return nil
}
