package program

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs/av1/obu"
	"github.com/pion/webrtc/v4"
)

// dependencies is the header extension by which SFUs choose layers of AV1. It stays in
// clear, and goes through gateways that seal packets.
const dependencies = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"

// TestGatewayChromium: Chromium sends video to the gateways and gets it back from them,
// by way of two connections of pion that know RTP only. Its packetizers and
// depacketizers are a second implementation of the payload formats, of AV1 the one that
// matters. Each frame that comes is the one that was sent, in its turn, and plays.
func TestGatewayChromium(t *testing.T) {
	t.Parallel()
	bin, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not here")
	}
	home := newTestRing(t)
	for i, c := range []struct{ codec, frames string }{
		{"AV1", ""}, // those below in the long form
		{"AV1", "av1"},
		{"VP8", ""}, {"VP8", "vp8"}, {"VP9", ""}, {"VP9", "vp9"}, {"H264", ""}, {"H264", "h264"},
	} {
		if i > 0 && os.Getenv("CHANSEAL_LONG") == "" {
			break
		}
		t.Run(strings.TrimSuffix(c.codec+" by frames of "+c.frames, " by frames of "), func(t *testing.T) {
			ports := freePorts(t, 2)
			at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
			sink := listenAt(t, "127.0.0.1:0")
			args := func(a ...string) []string {
				a = append(a, "--channel", "stage", "--rtcp-mux")
				if c.frames != "" {
					a = append(a, "--per-frame", c.frames)
				}
				return a
			}
			background(t, home, args("gateway", "open", "--listen", at(1), "--to", sink.LocalAddr().String())...)
			background(t, home, args("gateway", "seal", "--listen", at(0), "--to", at(1))...)
			src, err := net.Dial("udp4", at(0))
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			b := &browserCall{t: t, plain: src, back: sink, codec: c.codec, result: make(chan callResult, 1)}
			defer b.close()
			r := b.make(bin)
			if r.Error != "" {
				if strings.HasPrefix(r.Error, "Error: no codec") {
					t.Skip(r.Error)
				}
				t.Fatal(r.Error)
			}
			next, first := 0, -1
			for i, f := range r.Received {
				for next < len(r.Sent) && !sameFrame(c.codec, r.Sent[next].Data, f.Data) {
					next++ // not all come where the machine is busy, and nobody plays what came too late
				}
				if next == len(r.Sent) {
					t.Fatalf("frame %d of %d that came is none of the %d sent, or not in its turn: %x", i, len(r.Received), len(r.Sent), f.Data[:min(len(f.Data), 64)])
				}
				if first < 0 {
					first = next
				}
				next++
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(r.Received) < callFrames || !r.Received[0].Key || r.Decoded < callFrames/2 || r.Width != 320 {
				t.Errorf("%d frames came and %d were decoded, %d pixels wide", len(r.Received), r.Decoded, r.Width)
			}
			t.Logf("%d frames sent, %d came (from the %d. on), %d decoded; %d packets, %d with a dependency descriptor, which came on %d", len(r.Sent), len(r.Received), first+1, r.Decoded, b.packets, b.described, b.kept)
			if c.codec == "AV1" && (b.packets < 2*callFrames || b.described < callFrames || c.frames == "" && b.kept < b.described*9/10) {
				t.Errorf("%d packets were sent, %d with a dependency descriptor, and %d came with one", b.packets, b.described, b.kept)
			}
		})
	}
}

// callFrames is how many frames have to come.
const callFrames = 40

// callResult is what the page says.
type callResult struct {
	Error          string
	Sent, Received []struct {
		Key  bool
		Data []byte
	}
	Decoded, Width int
}

// browserCall is a call of a browser with itself, through connections of pion on either
// side of what plain and back are the ends of.
type browserCall struct {
	t      *testing.T
	plain  io.Writer
	back   net.PacketConn
	codec  string
	result chan callResult

	mu                 sync.Mutex
	sending, receiving *webrtc.PeerConnection
	ssrc               webrtc.SSRC // of what is sent
	packets, described int         // sent by the browser
	kept               int         // descriptors that came back of the gateways
	running            sync.WaitGroup
}

// make has the browser call and returns what it saw.
func (b *browserCall) make(bin string) callResult {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir("testdata/chromium")))
	signal := func(f func(offer webrtc.SessionDescription) (*webrtc.SessionDescription, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var offer webrtc.SessionDescription
			err := json.NewDecoder(r.Body).Decode(&offer)
			var answer *webrtc.SessionDescription
			if err == nil {
				answer, err = f(offer)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			json.NewEncoder(w).Encode(answer)
		}
	}
	mux.HandleFunc("POST /receive", signal(b.receive))
	mux.HandleFunc("POST /send", signal(b.send))
	mux.HandleFunc("POST /result", func(w http.ResponseWriter, r *http.Request) {
		var res callResult
		if err := json.NewDecoder(r.Body).Decode(&res); err != nil {
			res.Error = err.Error()
		}
		select {
		case b.result <- res:
		default:
		}
	})
	page := httptest.NewServer(mux)
	b.t.Cleanup(page.Close)
	home := b.t.TempDir()
	ctx, cancel := context.WithCancel(b.t.Context())
	browser := exec.CommandContext(ctx, bin, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--allow-loopback-in-peer-connection",
		"--disable-features=WebRtcHideLocalIpsWithMdns", "--user-data-dir="+home, "--remote-debugging-port=0",
		fmt.Sprintf("%s/call.html?codec=%s&frames=%d", page.URL, b.codec, callFrames))
	browser.Env = append(os.Environ(), "HOME="+home)
	browser.Cancel = func() error { return browser.Process.Signal(os.Interrupt) }
	browser.WaitDelay = 10 * time.Second
	if err := browser.Start(); err != nil {
		b.t.Skip(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- browser.Wait() }()
	b.t.Cleanup(func() { cancel(); <-ended })
	select {
	case err := <-ended:
		ended <- err
		b.t.Skipf("chromium ends at once: %v", err)
	case <-time.After(90 * time.Second):
		b.t.Fatal("the page says nothing")
	case r := <-b.result:
		return r
	}
	return callResult{}
}

func (b *browserCall) close() {
	b.mu.Lock()
	peers := []*webrtc.PeerConnection{b.sending, b.receiving}
	b.mu.Unlock()
	for _, pc := range peers {
		if pc != nil {
			pc.Close()
		}
	}
	b.back.Close()
	b.running.Wait()
}

// peer makes a connection of pion that stays on loopback and answers the browser.
func (b *browserCall) peer(offer webrtc.SessionDescription, begin func(*webrtc.PeerConnection) error) (*webrtc.SessionDescription, error) {
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: dependencies}, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, err
	}
	registry := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(m, registry); err != nil {
		return nil, err
	}
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	if err := begin(pc); err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	if err := pc.SetRemoteDescription(offer); err != nil {
		return nil, err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return nil, err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return nil, err
	}
	<-gathered
	return pc.LocalDescription(), nil
}

// send answers the browser's connection that sends: what it sends goes to the gateway.
func (b *browserCall) send(offer webrtc.SessionDescription) (*webrtc.SessionDescription, error) {
	return b.peer(offer, func(pc *webrtc.PeerConnection) error {
		b.mu.Lock()
		b.sending = pc
		b.mu.Unlock()
		pc.OnTrack(func(in *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
			b.mu.Lock()
			b.ssrc = in.SSRC()
			b.mu.Unlock()
			id := extensionID(r.GetParameters().HeaderExtensions)
			for {
				pkt, _, err := in.ReadRTP()
				if err != nil {
					return
				}
				b.mu.Lock()
				b.packets++
				if pkt.GetExtension(id) != nil {
					b.described++
				}
				b.mu.Unlock()
				raw, err := pkt.Marshal()
				if err != nil {
					b.t.Error(err)
					return
				}
				b.plain.Write(raw)
			}
		})
		return nil
	})
}

// receive answers the browser's connection that receives: what comes of the gateway goes
// to it, and its wishes for keyframes to the other one.
func (b *browserCall) receive(offer webrtc.SessionDescription) (*webrtc.SessionDescription, error) {
	return b.peer(offer, func(pc *webrtc.PeerConnection) error {
		b.mu.Lock()
		b.receiving = pc
		b.mu.Unlock()
		out, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: "video/" + b.codec, ClockRate: 90000}, "video", "call")
		if err != nil {
			return err
		}
		sender, err := pc.AddTrack(out)
		if err != nil {
			return err
		}
		b.running.Go(func() {
			for {
				pkts, _, err := sender.ReadRTCP()
				if err != nil {
					return
				}
				for _, p := range pkts {
					if _, ok := p.(*rtcp.PictureLossIndication); ok {
						b.mu.Lock()
						ssrc, sending := b.ssrc, b.sending
						b.mu.Unlock()
						if ssrc != 0 {
							sending.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(ssrc)}})
						}
					}
				}
			}
		})
		b.running.Go(func() {
			buf := make([]byte, 1<<16)
			for {
				n, _, err := b.back.ReadFrom(buf)
				if err != nil {
					return
				}
				var pkt rtp.Packet
				if err := pkt.Unmarshal(bytes.Clone(buf[:n])); err != nil {
					b.t.Errorf("not RTP: %v", err)
					return
				}
				b.number(&pkt, sender)
				out.WriteRTP(&pkt)
			}
		})
		return nil
	})
}

// number gives a dependency descriptor the number that it has on the connection that
// receives.
func (b *browserCall) number(pkt *rtp.Packet, sender *webrtc.RTPSender) {
	var content []byte
	b.mu.Lock()
	if b.sending != nil {
		for _, r := range b.sending.GetReceivers() {
			content = pkt.GetExtension(extensionID(r.GetParameters().HeaderExtensions))
		}
	}
	if content != nil {
		b.kept++
	}
	b.mu.Unlock()
	pkt.Extension, pkt.Extensions = false, nil
	if id := extensionID(sender.GetParameters().HeaderExtensions); content != nil && id != 0 {
		pkt.SetExtension(id, content)
	}
}

func extensionID(all []webrtc.RTPHeaderExtensionParameter) uint8 {
	for _, x := range all {
		if x.URI == dependencies {
			return uint8(x.ID)
		}
	}
	return 0
}

// sameFrame reports that two frames have the same content, as far as the codec's payload
// format keeps it: that of AV1 takes temporal delimiters and the sizes of OBUs off, that
// of H.264 the length of start codes.
func sameFrame(codec string, a, b []byte) bool {
	switch codec {
	case "AV1":
		a, b = bareOBUs(a), bareOBUs(b)
	case "H264":
		a, b = bytes.ReplaceAll(a, []byte{0, 0, 0, 1}, []byte{0, 0, 1}), bytes.ReplaceAll(b, []byte{0, 0, 0, 1}, []byte{0, 0, 1})
	}
	return len(a) > 0 && bytes.Equal(a, b)
}

// bareOBUs are the OBUs of a temporal unit, each with its size, without delimiters.
func bareOBUs(unit []byte) (out []byte) {
	for len(unit) > 0 {
		h, err := obu.ParseOBUHeader(unit)
		if err != nil {
			return nil
		}
		body := unit[h.Size():]
		if h.HasSizeField {
			size, n, err := obu.ReadLeb128(body)
			if err != nil || uint(len(body)) < n+size {
				return nil
			}
			body, unit = body[n:n+size], body[n+size:]
		} else {
			unit = nil
		}
		if h.Type != obu.OBUTemporalDelimiter {
			h.HasSizeField = true
			out = append(append(append(out, h.Marshal()...), obu.WriteToLeb128(uint(len(body)))...), body...)
		}
	}
	return out
}
