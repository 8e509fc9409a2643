package program

import "github.com/chanseal/chanseal/rtpseal"

// whyNot says of the reasons for which packets did not go on what a person can do.
var whyNot = map[rtpseal.Reason]string{
	rtpseal.NotRTP:       "no RTP: is something else sent to this port?",
	rtpseal.NoDescriptor: "not sealed: is gateway seal at the other end?",
	rtpseal.UnknownKID:   "no key came for them: is the channel the same at both ends, and channel join running?",
	rtpseal.Unauthentic:  "did not authenticate: changed on the way, or sealed for another channel; compare fingerprints (channel show)",
	rtpseal.Replayed:     "came twice, or too late",
	rtpseal.NotSealed:    "could not be sealed: was the channel forgotten?",
	rtpseal.NoCodec:      "whole frames: name their codec, --per-frame",
	rtpseal.CodecForm:    "not of the codec that --per-frame names",
	rtpseal.Uncuttable:   "longer than --mtu",
	rtpseal.GivenUp:      "pieces whose other pieces did not come: the network loses packets",
	rtpseal.Missing:      "not there when their turn came, so that frames are lost: the network loses or delays packets; a keyframe is needed",
	rtpseal.Late:         "came when others had not waited for them any longer: the network delays packets by more than 64, or 200 ms",
	rtpseal.NotSent:      "refused by the network: does somebody receive there, and is the proxy up?",
}

// gatewaySummary says what passed, and why the rest did not.
func (p *program) gatewaySummary(s *rtpseal.Stats) {
	p.notef("%s in, %s out", count(s.PacketsIn.Load(), "packet"), grouped(s.PacketsOut.Load()))
	for _, r := range rtpseal.Reasons() {
		if n := s.Refused[r].Load(); n > 0 {
			p.notef("%s did not go on: %s", count(n, "packet"), whyNot[r])
		}
	}
}
