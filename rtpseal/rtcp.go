package rtpseal

import "encoding/binary"

// checkRTCP reports whether a packet is a compound packet of RTCP (RFC 3550, Section
// 6.1) as far as its lengths tell, and calls bye for every SSRC that leaves.
func checkRTCP(pkt []byte, bye func(ssrc uint32)) bool {
	if !isRTCP(pkt) {
		return false
	}
	for rest := pkt; len(rest) > 0; {
		if len(rest) < 4 || rest[0]>>6 != 2 {
			return false
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(rest[2:]))
		if n > len(rest) {
			return false
		}
		rest = rest[n:]
	}
	if bye == nil {
		return true
	}
	for rest := pkt; len(rest) > 0; {
		n := 4 + 4*int(binary.BigEndian.Uint16(rest[2:]))
		if rest[1] == 203 {
			for i := range int(rest[0] & 31) {
				if at := 4 + 4*i; at+4 <= n {
					bye(binary.BigEndian.Uint32(rest[at:]))
				}
			}
		}
		rest = rest[n:]
	}
	return true
}
