package rtpseal_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/rtpseal"
)

const offerSDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 x=1; apt=96\r\n" +
	"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n"

func sections(t *testing.T, sdp string) []rtpseal.MediaSection {
	t.Helper()
	s, err := rtpseal.SDPSections(sdp)
	if err != nil {
		t.Fatalf("%v\n%s", err, sdp)
	}
	return s
}

// TestSDP: offer and answer are marked section by section, and what is not marked on
// both sides is to be stopped.
func TestSDP(t *testing.T) {
	offer, err := rtpseal.OfferSFrame(offerSDP)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := rtpseal.OfferSFrame(offer); err != nil || again != offer {
		t.Errorf("%v: an offer that is one already becomes\n%s", err, again)
	}
	if bare := strings.ReplaceAll(offer, "a=sframe\r\n", ""); bare != offerSDP || strings.Count(offer, "a=sframe\r\n") != 2 {
		t.Errorf("the offer is\n%s", offer)
	}
	s := sections(t, offer)
	if len(s) != 3 || !s[0].SFrame || !s[1].SFrame || s[2].SFrame || s[2].Live() || s[1].MID != "1" || s[1].Kind != "video" || s[1].Port != 9 {
		t.Errorf("the sections are %+v", s)
	}
	for i, want := range []struct {
		section int
		pt      uint8
		rtpseal.Format
	}{
		{0, 111, rtpseal.Format{PayloadType: 111, Encoding: "opus", ClockRate: 48000, Channels: 2, Resends: -1}},
		{0, 0, rtpseal.Format{Resends: -1}},
		{1, 97, rtpseal.Format{PayloadType: 97, Encoding: "rtx", ClockRate: 90000, Resends: 96}},
	} {
		if got, ok := s[want.section].Format(want.pt); !ok || got != want.Format {
			t.Errorf("%d: payload type %d is %+v", i, want.pt, got)
		}
	}
	if _, ok := s[0].Format(96); ok {
		t.Error("a payload type of another section is found")
	}

	plain := offerSDP // the peer's answer, before anybody looked at SFrame
	answer, err := rtpseal.AnswerSFrame(offer, plain)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(offer, answer string, want ...int) {
		t.Helper()
		stop, err := rtpseal.SFrameRefused(offer, answer)
		if err != nil || !slices.Equal(stop, want) {
			t.Errorf("to be stopped are %v, %v, want %v", stop, err, want)
		}
	}
	refused(offer, answer)
	refused(offer, plain, 0, 1)     // a peer that does not know it, or a relay that took it out
	refused(offerSDP, answer, 0, 1) // a relay that put it in
	refused(offer, strings.Replace(answer, "a=sframe\r\n", "a=sframe:1\r\n", 1), 0)
	refused(offer, strings.Replace(answer, "a=sframe\r\n", "", 1), 0)
	refused(offer, strings.Replace(plain, "t=0 0\r\n", "t=0 0\r\na=sframe\r\n", 1), 0, 1) // not of a section
	refused(offer, strings.Replace(plain, "m=audio 9", "m=audio 0", 1), 1)

	// An offer with SFrame for video only: audio is rejected, and leaves the group.
	half := strings.Replace(offer, "a=sframe\r\n", "", 1)
	answer, err = rtpseal.AnswerSFrame(half, plain)
	if err != nil {
		t.Fatal(err)
	}
	s = sections(t, answer)
	if s[0].Live() || s[0].SFrame || !s[1].Live() || !s[1].SFrame || !strings.Contains(answer, "a=group:BUNDLE 1 2\r\n") {
		t.Errorf("the answer is\n%s", answer)
	}
	refused(half, answer)
	// Offered bundle-only, a section is live with port 0, and rejected without that.
	only := strings.NewReplacer("m=video 9", "m=video 0", "a=mid:1\r\n", "a=mid:1\r\na=bundle-only\r\n").Replace(offerSDP)
	if s := sections(t, only); !s[1].Live() {
		t.Error("bundle-only is not live")
	}
	refused(offer, only, 0, 1)
	if answer, err = rtpseal.AnswerSFrame(offerSDP, only); err != nil || sections(t, answer)[1].Live() {
		t.Errorf("%v: the answer is\n%s", err, answer)
	}
	if unix := strings.ReplaceAll(offerSDP, "\r\n", "\n"); true {
		if got, err := rtpseal.OfferSFrame(unix); err != nil || strings.ReplaceAll(offer, "\r\n", "\n") != got {
			t.Errorf("%v: lines that end in LF become %q", err, got)
		}
	}
}

func TestSDPRefuses(t *testing.T) {
	offer, _ := rtpseal.OfferSFrame(offerSDP)
	for _, bad := range []string{
		"", "v=1\r\n", "m=audio 9 RTP/AVP 0", "v=0\r\nm=audio\r\n", "v=0\r\nm=audio x RTP/AVP 0\r\n", "v=0\r\nm=audio 9 RTP/AVP 128\r\n",
		"v=0\r\nm=audio 70000 RTP/AVP 0\r\n", "v=0\r\n" + strings.Repeat("a=x\r\n", 1<<18),
		strings.Replace(strings.Replace(offer, "a=sframe\r\n", "", 1), "111", "96", 1), // 96 sealed, and 96 not
	} {
		if _, err := rtpseal.SDPSections(bad); err == nil {
			t.Errorf("%.60q is read", bad)
		}
		if _, err := rtpseal.OfferSFrame(bad); err == nil {
			t.Errorf("%.60q is offered", bad)
		}
	}
	fewer := offerSDP[:strings.Index(offerSDP, "m=application")]
	other := strings.Replace(offerSDP, "m=audio", "m=video", 1)
	moved := strings.Replace(offerSDP, "a=mid:0", "a=mid:7", 1)
	for _, answer := range []string{fewer, other, moved, ""} {
		if _, err := rtpseal.SFrameRefused(offer, answer); err == nil {
			t.Errorf("an answer of other sections is read: %q", answer)
		}
		if _, err := rtpseal.AnswerSFrame(offer, answer); err == nil {
			t.Errorf("an answer of other sections is made: %q", answer)
		}
	}
}

// FuzzSDP: whatever is read is written again with the attribute where it belongs, and
// nothing that is live goes without it.
func FuzzSDP(f *testing.F) {
	f.Add(offerSDP)
	f.Add(strings.ReplaceAll(offerSDP, "\r\n", "\n") + "a=sframe")
	f.Add("v=0\nm=video 0 RTP/SAVPF 96 96\na=bundle-only\na=rtpmap:96 H264/90000\na=fmtp:96 apt=96;apt=300")
	f.Fuzz(func(t *testing.T, sdp string) {
		offer, err := rtpseal.OfferSFrame(sdp)
		if err != nil {
			return
		}
		s, err := rtpseal.SDPSections(offer)
		if err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		for _, m := range s {
			if m.Live() != m.SFrame {
				t.Fatalf("%+v", m)
			}
		}
		for _, o := range []string{sdp, offer} {
			answer, err := rtpseal.AnswerSFrame(o, sdp)
			if err != nil {
				t.Fatal(err)
			}
			if stop, err := rtpseal.SFrameRefused(o, answer); err != nil || len(stop) > 0 {
				t.Fatalf("%v, to be stopped: %v", err, stop)
			}
		}
	})
}
