package pionseal

import (
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/chanseal/chanseal/rtpseal"
)

// TrackOptions of [NewTrack].
type TrackOptions struct {
	Codec        webrtc.RTPCodecCapability // as it is negotiated; nothing looks into frames
	ID, StreamID string
	Sealer       rtpseal.StreamSealer
	MTU          int // bytes of an RTP packet, 0 for rtpseal.DefaultMTU
}

// Track is a webrtc.TrackLocal that seals whole frames (T=0), to be used where a
// webrtc.TrackLocalStaticSample would be. It works with every codec: none is looked
// into. With more than one PeerConnection each gets frames sealed for itself, because
// keys may be derived for each SSRC. It is safe for concurrent use.
type Track struct {
	o    TrackOptions
	self *webrtc.TrackLocalStaticRTP // what the codec's name tells

	mu        sync.Mutex
	bound     []*binding
	timestamp uint32
	rest      float64 // of a tick of the clock
	sealed    []byte
}

var _ webrtc.TrackLocal = (*Track)(nil)

// binding is the way to one PeerConnection.
type binding struct {
	inner   *webrtc.TrackLocalStaticRTP
	id      string
	ssrc    uint32
	packets *rtpseal.Packetizer
	out     webrtc.TrackLocalWriter
}

// NewTrack makes a Track.
func NewTrack(o TrackOptions) (*Track, error) {
	if o.Sealer == nil {
		return nil, errors.New("pionseal: a Track needs a Sealer")
	}
	if o.Codec.ClockRate == 0 {
		return nil, errors.New("pionseal: a Track needs the clock rate of its codec: 48000 for Opus, 90000 for video")
	}
	self, err := webrtc.NewTrackLocalStaticRTP(o.Codec, o.ID, o.StreamID)
	if err != nil {
		return nil, err
	}
	return &Track{o: o, self: self, timestamp: rand.Uint32()}, nil
}

// ID is the track's.
func (t *Track) ID() string { return t.o.ID }

// StreamID is that of the group of tracks.
func (t *Track) StreamID() string { return t.o.StreamID }

// RID is empty: a Track is one encoding.
func (t *Track) RID() string { return "" }

// Kind says whether it is audio or video.
func (t *Track) Kind() webrtc.RTPCodecType { return t.self.Kind() }

// Bind is for the PeerConnection.
func (t *Track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	inner, err := webrtc.NewTrackLocalStaticRTP(t.o.Codec, t.o.ID, t.o.StreamID)
	if err != nil {
		return webrtc.RTPCodecParameters{}, err
	}
	codec, err := inner.Bind(c)
	if err != nil {
		return codec, err
	}
	packets, err := rtpseal.NewPacketizer(rtpseal.PacketizerOptions{
		SSRC: uint32(c.SSRC()), PayloadType: uint8(codec.PayloadType), Sequence: uint16(rand.Uint32()), MTU: t.o.MTU,
	})
	if err != nil {
		return codec, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound = append(t.bound, &binding{inner, c.ID(), uint32(c.SSRC()), packets, c.WriteStream()})
	return codec, nil
}

// Unbind is for the PeerConnection.
func (t *Track) Unbind(c webrtc.TrackLocalContext) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, b := range t.bound {
		if b.id == c.ID() {
			t.bound = append(t.bound[:i], t.bound[i+1:]...)
			return b.inner.Unbind(c)
		}
	}
	return webrtc.ErrUnbindFailed
}

// WriteSample seals a frame and sends it. Of the sample only Data, Duration and
// PrevDroppedPackets matter: Duration is how long the frame lasts. What cannot be sealed
// does not leave.
func (t *Track) WriteSample(s media.Sample) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ticks := s.Duration.Seconds()*float64(t.o.Codec.ClockRate) + t.rest
	t.timestamp += uint32(int64(ticks)) * uint32(s.PrevDroppedPackets)
	at := t.timestamp
	t.timestamp += uint32(int64(ticks))
	t.rest = ticks - float64(int64(ticks))

	var failed []error
	for _, b := range t.bound {
		sealed, err := t.o.Sealer.SealStream(b.ssrc, t.sealed[:0], s.Data)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		t.sealed = sealed
		if err := b.packets.Packetize(sealed, at, true, 0, b.send); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (b *binding) send(pkt []byte) error {
	var h rtp.Header
	n, err := h.Unmarshal(pkt)
	if err != nil {
		return err
	}
	_, err = b.out.WriteRTP(&h, pkt[n:])
	return err
}
