package rtpseal

import "bytes"

// h264Cutter makes RTP payloads of H.264 access units in Annex B form (RFC 6184): single
// NAL units, and FU-As of those that are too long. Unlike pion's payloader it drops
// nothing, access unit delimiters and filler included.
type h264Cutter struct{}

const fuA = 28

func (h264Cutter) Payload(mtu uint16, frame []byte) (payloads [][]byte) {
	for len(frame) > 0 {
		nal, rest := nextNAL(frame)
		frame = rest
		if len(nal) == 0 {
			continue
		}
		if len(nal) <= int(mtu) {
			payloads = append(payloads, nal)
			continue
		}
		room := int(mtu) - 2
		if room < 1 {
			return nil
		}
		indicator, header := nal[0]&0xE0|fuA, nal[0]&0x1F|0x80
		for body := nal[1:]; len(body) > 0; header &^= 0x80 {
			n := min(room, len(body))
			if n == len(body) {
				header |= 0x40
			}
			payloads = append(payloads, append([]byte{indicator, header}, body[:n]...))
			body = body[n:]
		}
	}
	return payloads
}

// nextNAL cuts the first NAL unit off a byte stream. Of zeros before a start code one
// belongs to it, which makes it 4 bytes long, as joiners write it. Others are the NAL
// unit's: none should end with one, but encoders write such parameter sets. Zeros alone
// are none.
func nextNAL(b []byte) (nal, rest []byte) {
	i := bytes.Index(b, []byte{0, 0, 1})
	if i < 0 {
		return b, nil
	}
	nal, rest = bytes.TrimSuffix(b[:i], []byte{0}), b[i+3:]
	if len(bytes.Trim(nal, "\x00")) == 0 {
		nal = nil
	}
	return nal, rest
}
