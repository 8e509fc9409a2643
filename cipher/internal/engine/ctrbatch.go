package engine

import (
	"crypto/subtle"
	"encoding/binary"
)

// ctrRun is how many frames of a batch are worked on together.
const ctrRun = 8

// SealCTRBatch seals every frame, as Seal does; no Dst may overlap another frame's
// memory. The hashes of several run side by side: one alone waits for itself.
func SealCTRBatch(frames []CTRFrame) {
	for len(frames) > 1 {
		if n := together(frames, true); n > 0 {
			frames = frames[n:]
			continue
		}
		run := frames[:min(len(frames), ctrRun)]
		var macs [ctrRun]MAC
		var heads [ctrRun][macHead + 16]byte
		for i := range run {
			f := &run[i]
			n := len(f.Src)
			f.Dst = f.Dst[:n+f.Key.tag]
			hideKey(f.Key).ctr.XOR(f.Dst[:n], f.Src, f.Hi, f.Lo)
			macs[i].Key, macs[i].A, macs[i].B, macs[i].C = &hideKey(f.Key).mac, f.putHead(&heads[i], n), f.AAD, f.Dst[:n]
		}
		SumBatch(macs[:len(run)])
		for i := range run {
			f := &run[i]
			copy(f.Dst[len(f.Src):], macs[i].Out[:])
		}
		frames = frames[len(run):]
	}
	for i := range frames {
		frames[i].Seal()
	}
}

// OpenCTRBatch is SealCTRBatch for Open.
func OpenCTRBatch(frames []CTRFrame) {
	for len(frames) > 1 {
		if n := together(frames, false); n > 0 {
			frames = frames[n:]
			continue
		}
		run := frames[:min(len(frames), ctrRun)]
		var macs [ctrRun]MAC
		var heads [ctrRun][macHead + 16]byte
		for i := range run {
			f := &run[i]
			n := max(0, len(f.Src)-f.Key.tag)
			macs[i].Key, macs[i].A, macs[i].B, macs[i].C = &hideKey(f.Key).mac, f.putHead(&heads[i], n), f.AAD, f.Src[:n]
		}
		SumBatch(macs[:len(run)])
		for i := range run {
			run[i].decrypt(&macs[i].Out)
		}
		frames = frames[len(run):]
	}
	for i := range frames {
		frames[i].Open()
	}
}

// decrypt compares the tag with what it should be, in constant time, and decrypts the
// text if it is right: nothing is decrypted that did not authenticate.
func (f *CTRFrame) decrypt(want *[MACSize]byte) {
	k := hideKey(f.Key)
	n := len(f.Src) - k.tag
	if f.OK = n >= 0 && sameTag(want, f.Src[n:]); !f.OK || n == 0 {
		return
	}
	f.Dst = f.Dst[:n]
	if s := k.ctr.asm; s != nil { // without XOR's call
		s.ctr(f.Dst, f.Src[:n], f.Hi, f.Lo)
		return
	}
	k.ctr.XOR(f.Dst, f.Src[:n], f.Hi, f.Lo)
}

// sameTag compares the whole of got, in constant time: SFrame's tags by words, others by
// bytes.
func sameTag(want *[MACSize]byte, got []byte) bool {
	le := binary.LittleEndian
	switch len(got) {
	case 10:
		return le.Uint64(want[:])^le.Uint64(got)|uint64(le.Uint16(want[8:])^le.Uint16(got[8:])) == 0
	case 8:
		return le.Uint64(want[:])^le.Uint64(got) == 0
	case 4:
		return le.Uint32(want[:])^le.Uint32(got) == 0
	}
	return subtle.ConstantTimeCompare(want[:len(got)], got) == 1
}
