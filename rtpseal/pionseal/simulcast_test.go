package pionseal_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
	"github.com/chanseal/chanseal/rtpseal/pionseal"
)

var vp8 = webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}

// newPeer makes a connection that stays on loopback.
func newPeer(t *testing.T) *webrtc.PeerConnection {
	t.Helper()
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	registry := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(m, registry); err != nil {
		t.Fatal(err)
	}
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

// connect connects two peers with descriptions that say SFrame.
func connect(t *testing.T, a, b *webrtc.PeerConnection) {
	t.Helper()
	offer, err := a.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(a)
	if err := a.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	sent, err := rtpseal.OfferSFrame(a.LocalDescription().SDP)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: sent}); err != nil {
		t.Fatal(err)
	}
	answer, err := b.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered = webrtc.GatheringCompletePromise(b)
	if err := b.SetLocalDescription(answer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	back, err := rtpseal.AnswerSFrame(sent, b.LocalDescription().SDP)
	if err != nil {
		t.Fatal(err)
	}
	if stop, err := rtpseal.SFrameRefused(sent, back); err != nil || len(stop) > 0 {
		t.Fatalf("%v, to be stopped: %v", err, stop)
	}
	if err := a.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: back}); err != nil {
		t.Fatal(err)
	}
}

// switching is an SFU that passes one encoding of several on, as SFUs do: with one SSRC,
// and with sequence numbers that go on where the encoding changes.
type switching struct {
	mu   sync.Mutex
	out  *webrtc.TrackLocalStaticRTP
	want string // the encoding that is to be passed on
	now  string // the one that is
	next uint16
	seq  uint32 // what is added to those of now
	seen func(payload []byte)
}

func (s *switching) pass(rid string, pkt *rtp.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen(pkt.Payload)
	d, _, err := rtpseal.ParseDescriptor(pkt.Payload)
	if err != nil {
		return
	}
	if s.want == rid && s.now != rid && d&rtpseal.First != 0 { // between two frames; decoders want a keyframe, which a real SFU asked for
		s.seq = uint32(s.next - pkt.SequenceNumber)
		s.now = rid
	}
	if s.now != rid {
		return
	}
	pkt.SequenceNumber += uint16(s.seq)
	s.next = pkt.SequenceNumber + 1
	pkt.Extension, pkt.Extensions = false, nil
	s.out.WriteRTP(pkt)
}

// TestSimulcast: a sender has three encodings, an SFU without keys switches between them,
// and the receiver opens every frame of what is passed on, whether the encodings share a
// Sealer or have one each.
func TestSimulcast(t *testing.T) {
	rids := []string{"low", "mid", "high"}
	for _, shared := range []bool{true, false} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			defer cancel()
			suite := cipher.AES128GCM()
			keys, err := rtpseal.NewKeys(suite, rtpseal.SharedKey)
			if err != nil {
				t.Fatal(err)
			}
			sealer := func(kid cipher.KeyID) rtpseal.StreamSealer {
				base := bytes.Repeat([]byte{byte(kid)}, 32)
				if err := keys.Add(kid, base); err != nil {
					t.Fatal(err)
				}
				s, err := rtpseal.NewSealKeys(suite, rtpseal.SharedKey, kid, base, cipher.FreshKey)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			sender, in, out, receiver := newPeer(t), newPeer(t), newPeer(t), newPeer(t)
			one := sealer(7)
			var encodings []*pionseal.Track
			for i, rid := range rids {
				if !shared && i > 0 {
					one = sealer(cipher.KeyID(7 + i))
				}
				track, err := pionseal.NewTrack(pionseal.TrackOptions{Codec: vp8, ID: "video", StreamID: "call", RID: rid, Sealer: one})
				if err != nil {
					t.Fatal(err)
				}
				encodings = append(encodings, track)
			}
			if _, err := pionseal.AddSimulcast(sender, encodings...); err != nil {
				t.Fatal(err)
			}
			passed, err := webrtc.NewTrackLocalStaticRTP(vp8, "video", "call")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.AddTrack(passed); err != nil {
				t.Fatal(err)
			}
			shown := 0
			s := &switching{out: passed, want: "low", seen: func(payload []byte) {
				if bytes.Contains(payload, []byte("picture")) {
					shown++
				}
			}}
			var running sync.WaitGroup
			defer running.Wait()
			in.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
				running.Go(func() {
					for {
						pkt, _, err := remote.ReadRTP()
						if err != nil {
							return
						}
						s.pass(remote.RID(), pkt)
					}
				})
			})
			frames := make(chan string)
			refused := make(chan error, 100)
			receiver.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
				r, err := pionseal.NewReader(remote, pionseal.ReaderOptions{Opener: keys, InOrder: 200 * time.Millisecond, Refused: func(_ *rtpseal.Unit, err error) {
					if err == cipher.ErrReplayed { // what came late was sent again
						return
					}
					select {
					case refused <- err:
					default:
					}
				}})
				if err != nil {
					t.Error(err)
					return
				}
				running.Go(func() {
					for {
						f, err := r.ReadFrame()
						if err != nil {
							return
						}
						select {
						case frames <- string(f.Data):
						case <-ctx.Done():
							return
						}
					}
				})
			})
			connect(t, out, receiver)
			connect(t, sender, in)
			running.Go(func() {
				clock := time.NewTicker(2 * time.Millisecond)
				defer clock.Stop()
				for n := 0; ctx.Err() == nil; n++ {
					for i, track := range encodings {
						// The highest takes several packets.
						frame := fmt.Sprintf("picture %6d %s %s", n, rids[i], bytes.Repeat([]byte{'x'}, i*1500))
						if err := track.WriteSample(media.Sample{Data: []byte(frame), Duration: 20 * time.Millisecond}); err != nil {
							return
						}
					}
					select {
					case <-clock.C:
					case <-ctx.Done():
					}
				}
			})
			defer func() { cancel(); sender.Close(); in.Close(); out.Close(); receiver.Close() }()

			came := map[string]bool{}
			for step, rid := range []string{"low", "high", "mid", "high", "low"} {
				s.mu.Lock()
				s.want = rid
				s.mu.Unlock()
				for got := 0; got < 20; {
					select {
					case f := <-frames:
						var n int
						var of string
						if _, err := fmt.Sscanf(f, "picture %d %s", &n, &of); err != nil || !slices.Contains(rids, of) {
							t.Fatalf("%.60q came", f)
						}
						if want := fmt.Sprintf("picture %6d %s %s", n, of, bytes.Repeat([]byte{'x'}, slices.Index(rids, of)*1500)); f != want {
							t.Fatalf("picture %d came changed", n)
						}
						if came[f] {
							t.Fatalf("step %d: picture %d of %s came twice", step, n, of)
						}
						came[f] = true
						if of == rid {
							got++
						}
					case err := <-refused:
						t.Fatalf("step %d: %v", step, err)
					case <-ctx.Done():
						t.Fatalf("step %d: %d pictures of %s came", step, got, rid)
					}
				}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if shown > 0 {
				t.Errorf("%d packets showed a picture to the SFU", shown)
			}
		})
	}
}

// TestSDPOfPion: a peer that does not know SFrame answers without it, and what it answered
// is found. An answer that rejects what was offered without it is one that pion takes.
func TestSDPOfPion(t *testing.T) {
	a, b := newPeer(t), newPeer(t)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := a.AddTransceiverFromKind(kind); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.CreateDataChannel("data", nil); err != nil {
		t.Fatal(err)
	}
	offer, err := a.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	if err := b.SetRemoteDescription(offer); err != nil {
		t.Fatal(err)
	}
	answer, err := b.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := rtpseal.OfferSFrame(offer.SDP)
	if err != nil {
		t.Fatal(err)
	}
	if stop, err := rtpseal.SFrameRefused(sealed, answer.SDP); err != nil || !slices.Equal(stop, []int{0, 1}) {
		t.Errorf("to be stopped: %v, %v", stop, err)
	}
	rejecting, err := rtpseal.AnswerSFrame(offer.SDP, answer.SDP)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: rejecting}); err != nil {
		t.Fatalf("%v\n%s", err, rejecting)
	}
	sections, err := rtpseal.SDPSections(rejecting)
	if err != nil || sections[0].Live() || sections[1].Live() || sections[2].Port == 0 {
		t.Errorf("%v: %+v", err, sections)
	}
}

// TestLayers: layers of a picture are units of their own under one time, which an SFU may
// leave out; the marker stands on the last.
func TestLayers(t *testing.T) {
	seal, open := keysOf(t)
	w := &writes{}
	track, err := pionseal.NewTrack(pionseal.TrackOptions{Codec: vp8, ID: "v", StreamID: "s", Sealer: seal})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := track.Bind(w); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := track.WriteLayers(40*time.Millisecond, 0, []byte("base"), bytes.Repeat([]byte("upper"), 500)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	rx, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: open, Frame: func(u *rtpseal.Unit, frame []byte) {
		got = append(got, fmt.Sprintf("%.5s %v", frame, u.Marker))
	}})
	if err != nil {
		t.Fatal(err)
	}
	upper := false
	for i, pkt := range w.packets {
		if pkt.Timestamp != w.packets[i/4*4].Timestamp || i >= 4 && pkt.Timestamp-w.packets[0].Timestamp != 3600 {
			t.Errorf("packet %d has the time %d", i, pkt.Timestamp)
		}
		if upper = i%4 > 0; i >= 4 && upper {
			continue // the SFU leaves the upper layer of the second picture out
		}
		raw, err := pkt.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := rx.Push(raw, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"base false", "upper true", "base false"}; len(w.packets) != 8 || !slices.Equal(got, want) {
		t.Errorf("of %d packets came %q", len(w.packets), got)
	}
}

// writes is a connection that keeps what is written.
type writes struct {
	webrtc.TrackLocalContext
	packets []*rtp.Packet
}

func (*writes) ID() string                                             { return "writes" }
func (*writes) SSRC() webrtc.SSRC                                      { return 5 }
func (*writes) HeaderExtensions() []webrtc.RTPHeaderExtensionParameter { return nil }
func (w *writes) WriteStream() webrtc.TrackLocalWriter                 { return w }
func (*writes) CodecParameters() []webrtc.RTPCodecParameters {
	return []webrtc.RTPCodecParameters{{RTPCodecCapability: vp8, PayloadType: 96}}
}
func (*writes) SSRCRetransmission() webrtc.SSRC         { return 0 }
func (*writes) SSRCForwardErrorCorrection() webrtc.SSRC { return 0 }
func (w *writes) Write(b []byte) (int, error)           { return 0, fmt.Errorf("not used") }
func (w *writes) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	w.packets = append(w.packets, &rtp.Packet{Header: h.Clone(), Payload: bytes.Clone(payload)})
	return len(payload), nil
}
