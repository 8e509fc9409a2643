package rtpseal

import (
	"encoding/binary"
	"net/netip"
)

// A Gateway answers STUN Binding requests (RFC 8489) on the port that it takes RTP in at
// (RFC 7983 tells them from RTP): a sender that may go directly or through a proxy sees by
// the answer whether it can go directly.

const (
	stunHeader  = 20
	stunCookie  = 0x2112A442
	bindingAsk  = 0x0001
	bindingTold = 0x0101
	xorMapped   = 0x0020
)

// isBinding reports whether a packet is a Binding request. RTP and RTCP begin otherwise.
func isBinding(pkt []byte) bool {
	return len(pkt) >= stunHeader && pkt[0] == 0 && binary.BigEndian.Uint16(pkt) == bindingAsk && binary.BigEndian.Uint32(pkt[4:]) == stunCookie &&
		int(binary.BigEndian.Uint16(pkt[2:])) == len(pkt)-stunHeader
}

// bindingAnswer appends the answer to a Binding request. There is none to a request that
// is shorter: with a forged address nobody makes a gateway send more than he sent.
func bindingAnswer(dst, request []byte, from netip.AddrPort) []byte {
	ip := from.Addr().Unmap()
	value := 4 + ip.BitLen()/8
	if !ip.IsValid() || len(request) < stunHeader+4+value {
		return dst
	}
	begin := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, bindingTold)
	dst = binary.BigEndian.AppendUint16(dst, uint16(4+value))
	dst = append(dst, request[4:stunHeader]...)
	mask := dst[begin+4 : begin+stunHeader]
	dst = binary.BigEndian.AppendUint16(dst, xorMapped)
	dst = binary.BigEndian.AppendUint16(dst, uint16(value))
	family := uint16(1)
	if ip.Is6() {
		family = 2
	}
	dst = binary.BigEndian.AppendUint16(dst, family)
	dst = binary.BigEndian.AppendUint16(dst, from.Port()^stunCookie>>16)
	for i, b := range ip.AsSlice() {
		dst = append(dst, b^mask[i])
	}
	return dst
}

// answer answers Binding requests and takes them out of a batch. It reports whether
// anything is left.
func (g *Gateway) answer(b *batch) bool {
	left := false
	for i := range b.msgs {
		m := &b.msgs[i]
		if m.seg != 0 || !isBinding(m.data) {
			left = true
			continue
		}
		from := b.source(i)
		b.out.Reset()
		if answer := bindingAnswer(nil, m.data, from); answer != nil {
			b.out.Add(answer)
			g.in.write(&b.out, from)
		}
		m.data = nil
	}
	return left
}
