package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// XTS is AES-XTS (IEEE 1619, NIST SP 800-38E) under two keys, with the tweak
// E_K2(nonce || 00000000) of a 12-byte nonce and with ciphertext stealing for
// texts that are not whole blocks. A text under 16 bytes, for which XTS is not
// defined, is XORed with E_K2(nonce || 00000001). It does not authenticate. The
// zero value has no key; a copy shares the keys.
type XTS struct {
	asm         *xtsKey      // nil on the generic tier
	data, tweak cipher.Block // nil on the others
}

// Init sets the keys for data (K1) and tweak (K2), both 16 or both 32 bytes long.
func (x *XTS) Init(k1, k2 []byte) error { return x.init(k1, k2, best) }

func (x *XTS) init(k1, k2 []byte, t tier) error {
	if len(k1) != len(k2) || (len(k1) != 16 && len(k1) != 32) {
		return errKeySize
	}
	if t != generic {
		*x = XTS{asm: newXTSKey(k1, k2, t)}
		return nil
	}
	data, err := aes.NewCipher(k1)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	tweak, err := aes.NewCipher(k2)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	*x = XTS{data: data, tweak: tweak}
	return nil
}

// Encrypt writes src, encrypted, to the first len(src) bytes of dst. The nonce
// is the 4 bytes of hi and the 8 of lo, big endian. dst may begin where src
// begins, else they must not overlap. It panics if dst is too short.
func (x *XTS) Encrypt(dst, src []byte, hi uint32, lo uint64) {
	// What crypt would do with most texts, without its calls: they are a tenth of a
	// short text's time.
	if k := x.asm; k != nil && len(src)%aes.BlockSize == 0 && uint(len(src)-1) < maxPiece {
		k.crypt(dst[:len(src)], src, hi, lo, nil, true)
		return
	}
	x.crypt(dst, src, hi, lo, true)
}

// Decrypt is Encrypt's inverse.
func (x *XTS) Decrypt(dst, src []byte, hi uint32, lo uint64) {
	if k := x.asm; k != nil && len(src)%aes.BlockSize == 0 && uint(len(src)-1) < maxPiece {
		k.crypt(dst[:len(src)], src, hi, lo, nil, false)
		return
	}
	x.crypt(dst, src, hi, lo, false)
}

// Wipe destroys the keys. No call may be under way or follow. Copies inside the
// standard library are left to the collector.
func (x *XTS) Wipe() {
	if x.asm != nil {
		*x.asm = xtsKey{}
	}
	*x = XTS{}
}

func (x *XTS) crypt(dst, src []byte, hi uint32, lo uint64, encrypt bool) {
	dst = dst[:len(src)]
	var tweak [16]byte
	putNonce((*[12]byte)(tweak[:]), hi, lo)
	if len(src) < aes.BlockSize {
		tweak[15] = 1
		x.encryptTweak(&tweak)
		for i, b := range src {
			dst[i] = b ^ tweak[i]
		}
		clear(tweak[:])
		return
	}
	x.encryptTweak(&tweak)
	rest := len(src) % aes.BlockSize
	whole := len(src) - rest
	if rest != 0 {
		whole -= aes.BlockSize
	}
	x.blocks(dst[:whole], src[:whole], &tweak, encrypt)
	if rest != 0 {
		x.steal(dst[whole:], src[whole:], &tweak, encrypt)
	}
	clear(tweak[:])
}

// steal handles the last 17 to 31 bytes (IEEE 1619, section 5.3.2): the whole
// block is processed first, lends its end to fill up the short block, and the
// filled block takes its place. Decryption uses the two tweaks the other way
// round. Both outputs are written after all input is read.
func (x *XTS) steal(dst, src []byte, tweak *[16]byte, encrypt bool) {
	var first, filled [16]byte
	other := double(*tweak)
	t1, t2 := tweak, &other
	if !encrypt {
		t1, t2 = t2, t1
	}
	x.blocks(first[:], src[:16], t1, encrypt)
	filled = first
	copy(filled[:], src[16:])
	copy(dst[16:], first[:])
	x.blocks(dst[:16], filled[:], t2, encrypt)
	clear(first[:])
	clear(filled[:])
}

// blocks processes whole blocks and leaves in tweak what the next one takes.
func (x *XTS) blocks(dst, src []byte, tweak *[16]byte, encrypt bool) {
	if x.asm != nil {
		for len(src) > 0 {
			n := min(len(src), maxPiece)
			x.asm.crypt(dst[:n], src[:n], 0, 0, tweak, encrypt)
			dst, src = dst[n:], src[n:]
		}
		return
	}
	var b [16]byte
	for ; len(src) > 0; dst, src = dst[16:], src[16:] {
		xorBlock(&b, (*[16]byte)(src), tweak)
		if encrypt {
			x.data.Encrypt(hide(b[:]), hide(b[:]))
		} else {
			x.data.Decrypt(hide(b[:]), hide(b[:]))
		}
		xorBlock((*[16]byte)(dst), &b, tweak)
		*tweak = double(*tweak)
	}
	clear(b[:])
}

func (x *XTS) encryptTweak(tweak *[16]byte) {
	if x.asm != nil {
		x.asm.encryptTweak(tweak)
		return
	}
	x.tweak.Encrypt(hide(tweak[:]), hide(tweak[:]))
}

func xorBlock(dst, a, b *[16]byte) {
	le := binary.LittleEndian
	le.PutUint64(dst[:], le.Uint64(a[:])^le.Uint64(b[:]))
	le.PutUint64(dst[8:], le.Uint64(a[8:])^le.Uint64(b[8:]))
}

// double multiplies by x in XTS's field, GF(2^128) modulo x^128+x^7+x^2+x+1,
// without a branch.
func double(t [16]byte) [16]byte {
	le := binary.LittleEndian
	lo, hi := le.Uint64(t[:]), le.Uint64(t[8:])
	le.PutUint64(t[:], lo<<1^-(hi>>63)&0x87)
	le.PutUint64(t[8:], hi<<1|lo>>63)
	return t
}
