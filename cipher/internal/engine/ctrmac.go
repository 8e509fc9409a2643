package engine

import (
	"encoding/binary"
	"errors"
)

var errTagSize = errors.New("engine: tags of HMAC-SHA256 have 1 to 32 bytes")

// CTRHMAC is AES in counter mode with HMAC-SHA256 over the ciphertext (RFC 9605,
// Section 4.4.1): a CTR and an HMAC under keys of their own, which frames go through
// together. The zero value has no key; a copy shares the keys.
type CTRHMAC struct {
	asm *ctrMACKey // nil where there are no kernels for both at once
	ctr CTR
	mac HMAC
	tag int
}

// Init sets the keys, AES's 16 or 32 bytes long, and the length of tags, at most 32.
func (c *CTRHMAC) Init(key, mac []byte, tag int) error { return c.init(key, mac, tag, best, bestSHA) }

func (c *CTRHMAC) init(key, mac []byte, tag int, t tier, sha bool) error {
	if tag < 1 || tag > MACSize {
		return errTagSize
	}
	*c = CTRHMAC{tag: tag}
	if err := c.ctr.init(key, t); err != nil {
		return err
	}
	c.mac.init(mac, sha)
	// The kernels are for what SFrame has: AES-128 and tags of 4, 8 and 10 bytes.
	if t == avx512VAES && sha && len(key) == 16 && (tag == 4 || tag >= 8 && tag < 16) {
		c.asm = newCTRMACKey(&c.ctr, &c.mac, tag)
	}
	return nil
}

// Wipe destroys the keys. No call may be under way or follow. Copies inside the
// standard library are left to the collector.
func (c *CTRHMAC) Wipe() {
	if c.asm != nil {
		*c.asm = ctrMACKey{}
	}
	c.ctr.Wipe()
	c.mac.Wipe()
	*c = CTRHMAC{}
}

// CTRFrame is one frame to seal or to open under Key. As a GCMFrame it lies where the
// kernels read it, and its fields are set one by one.
type CTRFrame struct {
	Key           *CTRHMAC
	Dst, Src, AAD []byte
	// Head is what the additional data begin with, as a GCMFrame's.
	Head    [2]uint64
	HeadLen int
	Lo      uint64 // the nonce: the 4 bytes of Hi and the 8 of Lo, big endian
	Hi      uint32
	OK      bool // set by Open
	state   *macState
	tag     [MACSize]byte // the whole HMAC, where only that is asked for
}

// macState is how far the HMAC of a frame in pieces has come, and what its next piece
// must know.
type macState struct {
	sha   shaState
	prev  *byte  // 64 bytes of message that end where the piece begins
	fill  int    // how many of them were not hashed yet, under 64
	total int    // bytes of the whole message, the padded key's 64 with it
	block uint64 // AES blocks in front of the piece
	more  int    // 1: another piece follows; this one has whole vectors
}

// Limits of one call of a kernel.
const (
	ctrHeadMost   = 27   // bytes of Head and AAD, without a macState
	ctrLeast      = 16   // bytes of text
	ctrStreamMost = 1536 // bytes of text that open has room for
	ctrPiece      = 64 * maxRun
)

// Seal encrypts Src and writes len(Src) bytes and the tag to Dst. Dst may begin where
// Src begins, else they must not overlap; AAD must not overlap Dst. Seal panics if Dst
// is too short.
func (f *CTRFrame) Seal() {
	k, n := hideKey(f.Key), len(f.Src)
	f.Dst = f.Dst[:n+k.tag]
	switch {
	case k.asm == nil || n < ctrLeast:
		k.ctr.XOR(f.Dst[:n], f.Src, f.Hi, f.Lo)
		f.sum(f.Dst[:n])
		copy(f.Dst[n:], f.tag[:k.tag])
	case n <= ctrPiece && f.HeadLen+len(f.AAD) <= ctrHeadMost:
		sealCTRMAC(f)
	default:
		f.pieces(true)
	}
}

// Open checks the tag at the end of Src and then decrypts what is in front of it into
// the first bytes of Dst. It reports, in OK too, whether the tag was right. If not,
// nothing was decrypted, and Dst is as it was. Overlap is as for Seal.
func (f *CTRFrame) Open() bool {
	k := hideKey(f.Key)
	n := len(f.Src) - k.tag
	if n < 0 {
		f.OK = false
		return false
	}
	f.Dst = f.Dst[:n]
	if k.asm != nil && n >= ctrLeast && n <= ctrStreamMost && f.HeadLen+len(f.AAD) <= ctrHeadMost {
		openCTRMAC(f)
		return f.OK
	}
	// The tag first, in constant time: nothing is decrypted that did not authenticate.
	f.sum(f.Src[:n])
	f.decrypt(&f.tag)
	return f.OK
}

// sum puts the HMAC over lengths, nonce, Head, AAD and the ciphertext into f.tag.
func (f *CTRFrame) sum(ct []byte) {
	if f.Key.asm == nil || len(ct) < ctrLeast {
		var head [macHead + 16]byte
		hideKey(f.Key).mac.Sum(&f.tag, f.putHead(&head, len(ct)), f.AAD, ct)
		return
	}
	var g CTRFrame
	g.Key, g.Src, g.AAD, g.Head, g.HeadLen, g.Lo, g.Hi = f.Key, ct, f.AAD, f.Head, f.HeadLen, f.Lo, f.Hi
	if len(ct) <= ctrPiece && f.HeadLen+len(f.AAD) <= ctrHeadMost {
		sumCTRMAC(&g)
	} else {
		g.pieces(false)
	}
	f.tag = g.tag
}

// macHead is the length of what the HMAC has in front of Head and AAD: the lengths of
// both together, of the ciphertext and of the tag, and the nonce.
const macHead = 3*8 + 12

// putHead writes that, and Head, and returns them.
func (f *CTRFrame) putHead(head *[macHead + 16]byte, n int) []byte {
	be := binary.BigEndian
	be.PutUint64(head[0:], uint64(f.HeadLen+len(f.AAD)))
	be.PutUint64(head[8:], uint64(n))
	be.PutUint64(head[16:], uint64(f.Key.tag))
	be.PutUint32(head[24:], f.Hi)
	be.PutUint64(head[28:], f.Lo)
	binary.LittleEndian.PutUint64(head[36:], f.Head[0])
	binary.LittleEndian.PutUint64(head[44:], f.Head[1])
	return head[:macHead+f.HeadLen]
}

// pieces takes f's text through a kernel, seal's or that for the HMAC alone, in pieces
// that are no longer than one call may take, with a head of any length.
func (f *CTRFrame) pieces(seal bool) {
	var st macState
	var head [macHead + 16]byte
	var prev [64]byte
	src, dst := f.Src, f.Dst
	st.sha = f.Key.mac.mid.inner
	st.total = 64 + macHead + f.HeadLen + len(f.AAD) + len(src)
	st.fill = st.absorb(&prev, 0, f.putHead(&head, len(src)))
	st.fill = st.absorb(&prev, st.fill, f.AAD)
	// What was not hashed goes to the end.
	copy(prev[64-st.fill:], prev[:st.fill])
	st.prev = &prev[0]
	var g CTRFrame // f.state = &st would have st allocated
	g.Key, g.Lo, g.Hi, g.state = f.Key, f.Lo, f.Hi, &st
	for st.more = 1; st.more == 1; {
		n := len(src)
		if n > ctrPiece+64 { // the last one is not too short for the kernels
			n = ctrPiece
		} else {
			st.more = 0
		}
		g.Src, g.Dst = src[:n], dst
		ct := src
		if seal {
			ct = dst
			sealCTRMAC(&g)
		} else {
			sumCTRMAC(&g)
		}
		if st.more == 1 {
			st.prev = &ct[n-64]
			st.block += uint64(n / 16)
			src = src[n:]
			if seal {
				dst = dst[n:]
			}
		}
	}
	f.tag = g.tag
	clear(prev[:])
	st.sha = shaState{}
}

// absorb hashes p behind the fill bytes in block, and returns how many are in block then.
func (st *macState) absorb(block *[64]byte, fill int, p []byte) int {
	for len(p) > 0 {
		if m := min(len(p)/64, maxRun); fill == 0 && m > 0 {
			shaBlocks(&st.sha, &p[0], m)
			p = p[64*m:]
			continue
		}
		m := copy(block[fill:], p)
		p = p[m:]
		if fill += m; fill == len(block) {
			shaBlocks(&st.sha, &block[0], 1)
			fill = 0
		}
	}
	return fill
}
