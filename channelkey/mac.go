package channelkey

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"sync"
)

const (
	sha1HexLen = 2 * sha1.Size
	day        = 24 * 60 * 60 // seconds
)

// work is the scratch memory of one signature or verification: a keyed hash and
// buffers that keep their room.
type work struct {
	mac     hash.Hash
	msg     []byte // what is signed
	payload []byte // decoded from base64
	plain   []byte // inflated
	// the services of a 007, and their privileges
	services   []Grant007
	privileges []PrivilegeLife
	sum        [64]byte
}

// sign returns the MAC of w.msg, valid until the next call.
func (w *work) sign() []byte {
	w.mac.Reset()
	w.mac.Write(w.msg)
	return w.mac.Sum(w.sum[:0])
}

// signer is one key under one hash, with its schedule computed once. It may be
// used by many goroutines.
type signer struct{ pool sync.Pool }

func newSigner(h func() hash.Hash, key []byte) *signer {
	return &signer{sync.Pool{New: func() any { return &work{mac: hmac.New(h, key)} }}}
}

func (s *signer) get() *work { return s.pool.Get().(*work) }

// maxKept bounds the room that a pooled buffer may keep, in bytes.
const maxKept = 4 << 10

// put gives the scratch memory back, without what it held of the key text.
func (s *signer) put(w *work) {
	if cap(w.msg) > maxKept {
		w.msg = nil
	}
	if cap(w.payload) > maxKept {
		w.payload = nil
	}
	if cap(w.plain) > maxKept {
		w.plain = nil
	}
	if cap(w.services) > maxKept/64 || cap(w.privileges) > maxKept/8 {
		w.services, w.privileges = nil, nil
	}
	s.pool.Put(w)
}

// hmacSHA256 is HMAC-SHA-256 (RFC 2104) for keys that are used once, as 007
// derives them: crypto/hmac would allocate its two states anew for each. buf is
// scratch. The key has at most 64 bytes.
func hmacSHA256(buf, key, msg []byte) (sum [32]byte, room []byte) {
	buf = pad(buf[:0], key, &innerPad)
	room = append(buf, msg...)
	inner := sha256.Sum256(room)
	buf = pad(room[:0], key, &outerPad)
	return sha256.Sum256(append(buf, inner[:]...)), room
}

// The blocks that pad starts from.
var (
	innerPad = [sha256.BlockSize]byte(bytes.Repeat([]byte{0x36}, sha256.BlockSize))
	outerPad = [sha256.BlockSize]byte(bytes.Repeat([]byte{0x5c}, sha256.BlockSize))
)

// pad appends a block XOR the key.
func pad(dst, key []byte, block *[sha256.BlockSize]byte) []byte {
	n := len(dst)
	dst = append(dst, block[:]...)
	subtle.XORBytes(dst[n:], key, block[:len(key)])
	return dst
}
