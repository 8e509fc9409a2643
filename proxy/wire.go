package proxy

import (
	"encoding/binary"
	"net/netip"
)

// What the front reads and writes of TURN (RFC 8656) and SOCKS5 (RFC 1928) by itself:
// the messages that carry payload. All else is pion/turn's.

const (
	stunHeaderLen    = 20
	stunCookie       = 0x2112A442
	typeSend         = 0x0016 // Send indication
	typeData         = 0x0017 // Data indication
	typeChannelBind  = 0x0009
	typeBinding      = 0x0001
	typeAllocate     = 0x0003
	typeBound        = 0x0101 // Binding success response
	attrMapped       = 0x0020 // XOR-MAPPED-ADDRESS
	attrData         = 0x0013
	attrPeerAddress  = 0x0012 // XOR-PEER-ADDRESS
	attrDontFragment = 0x001A
	channelHeaderLen = 4

	// maxChannel is RFC 5766's: RFC 8656 narrowed it to 0x4FFF, but older clients use
	// all of it, and the two bits tell them from all else just as well.
	maxChannel = 0x7FFF

	// minAllocate is the shortest Allocate request: it has REQUESTED-TRANSPORT.
	minAllocate = stunHeaderLen + 8

	// maxControl is the longest STUN message without payload that is taken.
	maxControl = 1500
)

// headroom is kept free in front of a packet from a peer for the longest header that
// goes before it: a Data indication with an IPv6 peer.
const headroom = 64

// isChannelData reports whether a message is one by its first two bits (RFC 8656,
// Section 12).
func isChannelData(b []byte) bool { return len(b) >= channelHeaderLen && b[0]>>6 == 1 }

// isSTUN reports whether b is a STUN message of its own length (RFC 8489, Section 5).
func isSTUN(b []byte) bool {
	return len(b) >= stunHeaderLen && b[0]>>6 == 0 && binary.BigEndian.Uint32(b[4:]) == stunCookie &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-stunHeaderLen && len(b)%4 == 0
}

func stunType(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// isRequest reports whether a STUN message is a request: nothing else gets an answer.
func isRequest(t uint16) bool { return t&0x0110 == 0 }

// splitChannelData returns number and payload. Over UDP there may be padding behind
// the payload.
func splitChannelData(b []byte) (number uint16, payload []byte, ok bool) {
	number = binary.BigEndian.Uint16(b)
	n := int(binary.BigEndian.Uint16(b[2:]))
	if number < 0x4000 || number > maxChannel || n > len(b)-channelHeaderLen {
		return 0, nil, false
	}
	return number, b[channelHeaderLen : channelHeaderLen+n], true
}

// attribute finds the first attribute of a type in a STUN message.
func attribute(b []byte, want uint16) ([]byte, bool) {
	for rest := b[stunHeaderLen:]; len(rest) >= 4; {
		t, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := 4 + (n+3)&^3
		if padded > len(rest) {
			return nil, false
		}
		if t == want {
			return rest[4 : 4+n], true
		}
		rest = rest[padded:]
	}
	return nil, false
}

// peerAddress reads XOR-PEER-ADDRESS (RFC 8489, Section 14.2).
func peerAddress(b []byte) (netip.AddrPort, bool) {
	v, ok := attribute(b, attrPeerAddress)
	if !ok || len(v) < 4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(v[2:]) ^ stunCookie>>16
	switch {
	case v[1] == 1 && len(v) == 8:
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(v[4:])^stunCookie)
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), true
	case v[1] == 2 && len(v) == 20:
		var a [16]byte
		for i := range a {
			a[i] = v[4+i] ^ b[4+i] // cookie and transaction ID
		}
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), true
	}
	return netip.AddrPort{}, false
}

// splitSend returns peer and payload of a Send indication.
func splitSend(b []byte) (peer netip.AddrPort, payload []byte, ok bool) {
	if peer, ok = peerAddress(b); !ok {
		return peer, nil, false
	}
	if _, has := attribute(b, attrDontFragment); has {
		return peer, nil, false // comprehension-required, and not supported (RFC 8656, Section 11.3)
	}
	payload, ok = attribute(b, attrData)
	return peer, payload, ok
}

// putChannelHeader writes the header of a ChannelData message right before a payload
// that begins at off, and returns where the message begins.
func putChannelHeader(buf []byte, off, n int, number uint16) int {
	off -= channelHeaderLen
	binary.BigEndian.PutUint16(buf[off:], number)
	binary.BigEndian.PutUint16(buf[off+2:], uint16(n))
	return off
}

// putDataHeader writes all of a Data indication but the payload of n bytes at off, and
// its padding, for which there must be room; it returns begin and end of the message.
func putDataHeader(buf []byte, off, n int, peer netip.AddrPort, transaction uint64) (begin, end int) {
	pad := -n & 3
	end = off + n + pad
	clear(buf[off+n : end])
	addr := peer.Addr().Unmap()
	addrLen := 8
	if addr.Is6() {
		addrLen = 20
	}
	begin = off - 4 - addrLen - 4 - stunHeaderLen
	h := buf[begin:off]
	binary.BigEndian.PutUint16(h, typeData)
	binary.BigEndian.PutUint16(h[2:], uint16(end-begin-stunHeaderLen))
	binary.BigEndian.PutUint32(h[4:], stunCookie)
	binary.BigEndian.PutUint32(h[8:], uint32(transaction>>32))
	binary.BigEndian.PutUint64(h[12:], transaction*0x9E3779B97F4A7C15)
	v := h[stunHeaderLen:]
	binary.BigEndian.PutUint16(v, attrPeerAddress)
	binary.BigEndian.PutUint16(v[2:], uint16(addrLen))
	v[4] = 0
	binary.BigEndian.PutUint16(v[6:], peer.Port()^stunCookie>>16)
	if addr.Is4() {
		v[5] = 1
		a := addr.As4()
		binary.BigEndian.PutUint32(v[8:], binary.BigEndian.Uint32(a[:])^stunCookie)
	} else {
		v[5] = 2
		a := addr.As16()
		for i := range a {
			v[8+i] = a[i] ^ h[4+i]
		}
	}
	d := v[4+addrLen:]
	binary.BigEndian.PutUint16(d, attrData)
	binary.BigEndian.PutUint16(d[2:], uint16(n))
	return begin, end
}

// bindingAnswer answers a Binding request (RFC 8489, Section 3): how a client sees
// that a port is open.
func bindingAnswer(request []byte, from netip.AddrPort) []byte {
	buf := make([]byte, headroom)
	begin, _ := putDataHeader(buf, headroom, 0, from, 0)
	b := buf[begin : headroom-4] // without DATA
	binary.BigEndian.PutUint16(b, typeBound)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeaderLen))
	copy(b[4:stunHeaderLen], request[4:stunHeaderLen])
	binary.BigEndian.PutUint16(b[stunHeaderLen:], attrMapped)
	if a := from.Addr().Unmap(); a.Is6() { // masked with the request's transaction
		ip := a.As16()
		for i := range ip {
			b[stunHeaderLen+8+i] = ip[i] ^ b[4+i]
		}
	}
	return b
}

// splitSOCKS returns destination and payload of a SOCKS5 UDP datagram (RFC 1928,
// Section 7). Fragments and names are refused: media has neither.
func splitSOCKS(b []byte) (dst netip.AddrPort, payload []byte, ok bool) {
	if len(b) < 4 || b[0] != 0 || b[1] != 0 || b[2] != 0 {
		return dst, nil, false
	}
	switch {
	case b[3] == socksIPv4 && len(b) >= 10:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[8:])), b[10:], true
	case b[3] == socksIPv6 && len(b) >= 22:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[4:20])), binary.BigEndian.Uint16(b[20:])), b[22:], true
	}
	return dst, nil, false
}

// putSOCKSHeader writes the header of a SOCKS5 UDP datagram before a payload at off
// and returns where the datagram begins.
func putSOCKSHeader(buf []byte, off int, from netip.AddrPort) int {
	addr := from.Addr().Unmap()
	n := 10
	if addr.Is6() {
		n = 22
	}
	h := buf[off-n : off]
	h[0], h[1], h[2] = 0, 0, 0
	if addr.Is4() {
		h[3] = socksIPv4
		a := addr.As4()
		copy(h[4:], a[:])
	} else {
		h[3] = socksIPv6
		a := addr.As16()
		copy(h[4:], a[:])
	}
	binary.BigEndian.PutUint16(h[n-2:], from.Port())
	return off - n
}
