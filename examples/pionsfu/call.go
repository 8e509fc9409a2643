package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
	"github.com/chanseal/chanseal/rtpseal/pionseal"
)

// speed is how much faster than life the call is.
const speed = 10

// run makes the call.
func run(ctx context.Context, w io.Writer, path string, packets bool) error {
	tracks, err := readTracks(path)
	if err != nil {
		return err
	}
	// In an application both come from a keyring: channel.Sender and channel.Receiver.
	base := make([]byte, 32)
	rand.Read(base)
	seal, err := cipher.AES128GCM().NewSealKey(7, base, cipher.FreshKey)
	if err != nil {
		return err
	}
	open, err := cipher.AES128GCM().NewOpenKeyWindow(7, base, cipher.PacketWindow)
	if err != nil {
		return err
	}
	c := &call{packets: packets, sealer: rtpseal.SharedSealer(seal), opener: rtpseal.Shared(open)}
	var sends, receives interceptor.Factory
	if packets {
		if sends, err = pionseal.NewInterceptor(pionseal.InterceptorOptions{Sealer: c.sealer}); err != nil {
			return err
		}
		if receives, err = pionseal.NewInterceptor(pionseal.InterceptorOptions{Opener: c.opener}); err != nil {
			return err
		}
	}
	if c.sender, err = newPeer(sends); err != nil {
		return err
	}
	defer c.sender.Close()
	if c.receiver, err = newPeer(receives); err != nil {
		return err
	}
	defer c.receiver.Close()
	s, err := newSFU(tracks)
	if err != nil {
		return err
	}
	defer s.from.Close()
	defer s.to.Close()
	came, err := c.make(ctx, s, tracks)
	if err != nil {
		return err
	}
	for i, t := range tracks {
		if err := compare(t.frames, came[i].frames); err != nil {
			return fmt.Errorf("%s: %w", t.mime, err)
		}
		fmt.Fprintf(w, "%s: %d frames sent, %d came, bit for bit\n", t.mime, len(t.frames), len(came[i].frames))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(w, "the SFU passed %d packets on, %d of which showed anything of a frame\n", s.packets, s.seen)
	if s.seen > 0 {
		return errors.New("the SFU saw frames in clear")
	}
	return nil
}

func newPeer(own interceptor.Factory) (*webrtc.PeerConnection, error) {
	api, err := newAPI(own)
	if err != nil {
		return nil, err
	}
	return api.NewPeerConnection(webrtc.Configuration{})
}

func (t *track) capability() webrtc.RTPCodecCapability {
	return webrtc.RTPCodecCapability{MimeType: t.mime, ClockRate: t.clock, Channels: t.channels, SDPFmtpLine: t.fmtp}
}

// call is what both ends of it share.
type call struct {
	packets          bool
	sealer           rtpseal.StreamSealer
	opener           rtpseal.StreamOpener
	sender, receiver *webrtc.PeerConnection
}

// arrived is what came of a track.
type arrived struct {
	mu     sync.Mutex
	want   int
	frames [][]byte
	first  chan struct{} // closed when something comes
	last   chan struct{} // closed when all came
	once   sync.Once
}

// probe is sent until something comes: nobody knows when the last of three connections
// passes media. It begins like a frame of any codec.
var probe = []byte("\x00\x00\x00\x01\x65probe")

func (a *arrived) take(frame []byte) {
	a.once.Do(func() { close(a.first) })
	if bytes.Equal(frame, probe) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frames = append(a.frames, bytes.Clone(frame))
	if len(a.frames) == a.want {
		close(a.last)
	}
}

// writer is a track of either kind.
type writer interface {
	webrtc.TrackLocal
	WriteSample(media.Sample) error
}

func (c *call) newTrack(t *track) (writer, error) {
	if c.packets {
		return webrtc.NewTrackLocalStaticSample(t.capability(), t.mime, "call")
	}
	return pionseal.NewTrack(pionseal.TrackOptions{Codec: t.capability(), ID: t.mime, StreamID: "call", Sealer: c.sealer})
}

// make makes the call and returns what came of each track.
func (c *call) make(ctx context.Context, s *sfu, tracks []*track) ([]*arrived, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came, byMIME := make([]*arrived, len(tracks)), map[string]*arrived{}
	for i, t := range tracks {
		came[i] = &arrived{want: len(t.frames), first: make(chan struct{}), last: make(chan struct{})}
		byMIME[t.mime] = came[i]
	}
	failed := make(chan error, 2*len(tracks)+1)
	c.receiver.OnTrack(func(in *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if a := byMIME[in.Codec().MimeType]; a != nil {
			failed <- c.receive(in, a)
		}
	})
	if err := connect(ctx, s.to, c.receiver); err != nil {
		return nil, err
	}
	var sending sync.WaitGroup
	defer func() { cancel(); sending.Wait() }()
	var begin []func()
	for i, t := range tracks {
		out, err := c.newTrack(t)
		if err != nil {
			return nil, err
		}
		sender, err := c.sender.AddTrack(out)
		if err != nil {
			return nil, err
		}
		go drain(sender)
		begin = append(begin, func() {
			sending.Go(func() {
				if err := send(ctx, out, t, came[i]); err != nil {
					failed <- err
				}
			})
		})
	}
	if err := connect(ctx, c.sender, s.from); err != nil {
		return nil, err
	}
	for _, b := range begin {
		b()
	}
	for i, a := range came {
		select {
		case <-a.last:
		case err := <-failed:
			return nil, err
		case <-ctx.Done():
			a.mu.Lock()
			defer a.mu.Unlock()
			return nil, fmt.Errorf("%s: %d of %d frames came: %w", tracks[i].mime, len(a.frames), a.want, ctx.Err())
		}
	}
	return came, nil
}

// send sends probes until something comes, then the frames, then probes again: what
// puts packets together may want to see the next frame's before it gives one out.
func send(ctx context.Context, out writer, t *track, a *arrived) error {
	clock := time.NewTicker(t.each / speed)
	defer clock.Stop()
	var first <-chan struct{} = a.first
	for n := 0; ; {
		frame := probe
		if first == nil && n < len(t.frames) {
			frame = t.frames[n]
			n++
		}
		if err := out.WriteSample(media.Sample{Data: frame, Duration: t.each}); err != nil {
			return err
		}
		select {
		case <-clock.C:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-first:
			first = nil
		default:
		}
	}
}

// receive reads the frames of a track.
func (c *call) receive(in *webrtc.TrackRemote, a *arrived) error {
	if c.packets {
		return receivePackets(in, a)
	}
	r, err := pionseal.NewReader(in, pionseal.ReaderOptions{
		Opener:  c.opener,
		InOrder: 500 * time.Millisecond,
		Keyframe: func() {
			c.receiver.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(in.SSRC())}})
		},
	})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return fmt.Errorf("%s ended: %w", in.Codec().MimeType, err)
		}
		a.take(f.Data)
	}
}

// receivePackets reads a track as any application of pion does: what it reads is plain.
func receivePackets(in *webrtc.TrackRemote, a *arrived) error {
	var d rtp.Depacketizer
	switch in.Codec().MimeType {
	case webrtc.MimeTypeOpus:
		d = &codecs.OpusPacket{}
	case webrtc.MimeTypeVP8:
		d = &codecs.VP8Packet{}
	case webrtc.MimeTypeH264:
		d = &codecs.H264Packet{}
	default:
		return fmt.Errorf("-packets: no depacketizer for %s", in.Codec().MimeType)
	}
	frames := samplebuilder.New(200, d, in.Codec().ClockRate)
	for {
		pkt, _, err := in.ReadRTP()
		if err != nil {
			return fmt.Errorf("%s ended: %w", in.Codec().MimeType, err)
		}
		frames.Push(pkt)
		for s := frames.Pop(); s != nil; s = frames.Pop() {
			a.take(s.Data)
		}
	}
}

func compare(want, got [][]byte) error {
	if len(want) != len(got) {
		return fmt.Errorf("%d frames sent, %d came", len(want), len(got))
	}
	for i := range want {
		if !bytes.Equal(want[i], got[i]) {
			return fmt.Errorf("frame %d came changed", i)
		}
	}
	return nil
}
