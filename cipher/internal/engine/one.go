package engine

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// OneText is the longest text that SealOne takes, in bytes.
const OneText = 176

// Open opens header, text and tag at sealed, of which the first headLen bytes, 1 to 16, are
// header, to dst, which has just the room for the text, and reports whether the tag was right.
// If not, dst is cleared. What is authenticated is header and aad. The nonce is salt, its first
// byte the lowest one of the first word, with ctr added bit by bit, big endian, to its last
// eight bytes. dst overlaps neither aad nor sealed, or begins where sealed's text begins.
func (g *GCM) Open(dst, sealed, aad []byte, headLen int, ctr uint64, salt *[2]uint64) bool {
	return g.openRaw(unsafe.SliceData(dst), unsafe.SliceData(sealed), len(sealed), headLen, unsafe.SliceData(aad), len(aad), ctr, salt)
}

// openFrame is openRaw by a GCMFrame.
func (g *GCM) openFrame(dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64, salt *[2]uint64) bool {
	whole := unsafe.Slice(sealed, n)
	var f GCMFrame
	f.Key, f.Dst, f.Src, f.AAD = g, unsafe.Slice(dst, n-headLen-TagSize), whole[headLen:], unsafe.Slice(aad, aadLen)
	// The header's bytes, of 16 that are there since a tag follows.
	f.Head[0], f.Head[1], f.HeadLen = binary.LittleEndian.Uint64(whole), 0, int32(headLen)
	if headLen <= 8 {
		f.Head[0] &= ^uint64(0) >> (64 - 8*headLen)
	} else {
		f.Head[1] = binary.LittleEndian.Uint64(whole[8:]) & (^uint64(0) >> (128 - 8*headLen))
	}
	r := bits.ReverseBytes64(ctr)
	f.Nonce[0], f.Nonce[1] = salt[0]^r<<32, salt[1]^r>>32
	return f.Open()
}
