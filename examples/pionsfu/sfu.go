package main

import (
	"bytes"
	"context"
	"net"
	"sync"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// newAPI makes an API that stays on loopback. own, which may be nil, goes behind all
// other interceptors.
func newAPI(own interceptor.Factory) (*webrtc.API, error) {
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	registry := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(m, registry); err != nil {
		return nil, err
	}
	if own != nil {
		registry.Add(own)
	}
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	return webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(s)), nil
}

// connect has one side offer and the other answer, and waits until both are connected.
func connect(ctx context.Context, offering, answering *webrtc.PeerConnection) error {
	connected := make(chan struct{}, 2)
	for _, pc := range []*webrtc.PeerConnection{offering, answering} {
		var once sync.Once
		pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
			if s == webrtc.PeerConnectionStateConnected {
				once.Do(func() { connected <- struct{}{} })
			}
		})
	}
	offer, err := offering.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(offering)
	if err := offering.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	if err := answering.SetRemoteDescription(*offering.LocalDescription()); err != nil {
		return err
	}
	answer, err := answering.CreateAnswer(nil)
	if err != nil {
		return err
	}
	gathered = webrtc.GatheringCompletePromise(answering)
	if err := answering.SetLocalDescription(answer); err != nil {
		return err
	}
	<-gathered
	if err := offering.SetRemoteDescription(*answering.LocalDescription()); err != nil {
		return err
	}
	for range 2 {
		select {
		case <-connected:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sfu passes the tracks of one connection on to another. It has no key.
type sfu struct {
	from, to *webrtc.PeerConnection
	tracks   map[string]*webrtc.TrackLocalStaticRTP // by MIME type

	mu      sync.Mutex
	packets int
	sight   [][]byte // what it must not see
	seen    int
}

func newSFU(tracks []*track) (*sfu, error) {
	api, err := newAPI(nil)
	if err != nil {
		return nil, err
	}
	s := &sfu{tracks: map[string]*webrtc.TrackLocalStaticRTP{}}
	if s.from, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, err
	}
	if s.to, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, err
	}
	for _, t := range tracks {
		out, err := webrtc.NewTrackLocalStaticRTP(t.capability(), t.mime, "call")
		if err != nil {
			return nil, err
		}
		sender, err := s.to.AddTrack(out)
		if err != nil {
			return nil, err
		}
		s.tracks[t.mime] = out
		go drain(sender)
		for _, f := range t.frames {
			if len(f) >= 64 { // the middle of a frame: what codecs' own headers do not touch
				s.sight = append(s.sight, f[len(f)/2:len(f)/2+16])
			}
		}
	}
	s.from.OnTrack(func(in *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		out := s.tracks[in.Codec().MimeType]
		for {
			pkt, _, err := in.ReadRTP()
			if err != nil {
				return
			}
			s.look(pkt.Payload)
			if out != nil {
				pkt.Extension, pkt.Extensions = false, nil // numbered differently on each connection
				out.WriteRTP(pkt)
			}
		}
	})
	s.to.OnConnectionStateChange(func(webrtc.PeerConnectionState) {})
	return s, nil
}

// look looks for anything of a frame in clear.
func (s *sfu) look(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packets++
	for _, x := range s.sight {
		if bytes.Contains(payload, x) {
			s.seen++
		}
	}
}

// drain reads RTCP, which has interceptors send lost packets again.
func drain(s interface {
	ReadRTCP() ([]rtcp.Packet, interceptor.Attributes, error)
}) {
	for {
		if _, _, err := s.ReadRTCP(); err != nil {
			return
		}
	}
}
