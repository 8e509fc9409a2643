package pionseal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

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
	// RID names one of several encodings of the same picture; see [AddSimulcast].
	RID string
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
	mid       func() string // of its media section, once that is negotiated; nil: not needed
}

var _ webrtc.TrackLocal = (*Track)(nil)

// binding is the way to one PeerConnection.
type binding struct {
	inner   *webrtc.TrackLocalStaticRTP
	id      string
	ssrc    uint32
	packets *rtpseal.Packetizer
	out     webrtc.TrackLocalWriter
	names   names
}

// NewTrack makes a Track.
func NewTrack(o TrackOptions) (*Track, error) {
	if o.Sealer == nil {
		return nil, errors.New("pionseal: a Track needs a Sealer")
	}
	if o.Codec.ClockRate == 0 {
		return nil, errors.New("pionseal: a Track needs the clock rate of its codec: 48000 for Opus, 90000 for video")
	}
	if len(o.RID) > maxRID {
		return nil, fmt.Errorf("pionseal: a RID of %d characters, want at most %d", len(o.RID), maxRID)
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

// RID names the encoding, if there are several.
func (t *Track) RID() string { return t.o.RID }

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
	names := t.names(c)
	mtu := t.o.MTU
	if mtu == 0 {
		mtu = rtpseal.DefaultMTU
	}
	packets, err := rtpseal.NewPacketizer(rtpseal.PacketizerOptions{
		SSRC: uint32(c.SSRC()), PayloadType: uint8(codec.PayloadType), Sequence: uint16(rand.Uint32()), MTU: mtu - names.room(),
	})
	if err != nil {
		return codec, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound = append(t.bound, &binding{inner: inner, id: c.ID(), ssrc: uint32(c.SSRC()), packets: packets, out: c.WriteStream(), names: names})
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
	return t.WriteLayers(s.Duration, s.PrevDroppedPackets, s.Data)
}

// WriteLayers seals each layer of a picture (SVC) for itself, the base first, so that an
// SFU can leave the upper ones out, and sends them under one timestamp. The marker stands
// on the last. dropped is how many pictures before it did not leave.
func (t *Track) WriteLayers(lasts time.Duration, dropped uint16, layers ...[]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ticks := lasts.Seconds()*float64(t.o.Codec.ClockRate) + t.rest
	t.timestamp += uint32(int64(ticks)) * uint32(dropped)
	at := t.timestamp
	t.timestamp += uint32(int64(ticks))
	t.rest = ticks - float64(int64(ticks))

	var failed []error
	for _, b := range t.bound {
		if t.mid != nil {
			b.names.mid = t.mid()
		}
		for i, layer := range layers {
			sealed, err := t.o.Sealer.SealStream(b.ssrc, t.sealed[:0], layer)
			if err != nil {
				failed = append(failed, err)
				break // the layers above it are of no use
			}
			t.sealed = sealed
			if err := b.packets.Packetize(sealed, at, i == len(layers)-1, 0, b.send); err != nil {
				failed = append(failed, err)
				break
			}
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
	if err := b.names.set(&h); err != nil {
		return err
	}
	_, err = b.out.WriteRTP(&h, pkt[n:])
	return err
}
