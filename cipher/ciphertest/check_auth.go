package ciphertest

import (
	"bytes"
	"errors"
	"slices"

	"github.com/chanseal/chanseal/cipher"
)

// checkTamper: every bit and the length of a sealed frame matter, and no forgery keeps
// the frame itself from being opened afterwards.
func checkTamper(x *exam) {
	if x.not(NoAuth) {
		return
	}
	s, o := x.fresh()
	aad := random(1, 7)
	other := x.seal(s, random(5, 33), aad)
	for _, n := range []int{0, 1, 16, 33} {
		frame := random(n, n)
		sealed := x.seal(s, frame, aad)
		bad := slices.Clone(sealed)
		for i := range bad {
			for bit := range 8 {
				bad[i] ^= 1 << bit
				x.refused(o, bad, aad, "bit %d of byte %d of %d was flipped (frame of %d bytes)", bit, i, len(bad), n)
				bad[i] ^= 1 << bit
			}
		}
		for i := range len(sealed) {
			x.refused(o, sealed[:i], aad, "only %d of %d bytes were left", i, len(sealed))
			if i > 0 {
				x.refused(o, sealed[i:], aad, "the first %d of %d bytes were cut off", i, len(sealed))
			}
		}
		for i := 1; i <= 33; i++ {
			x.refused(o, append(slices.Clone(sealed), make([]byte, i)...), aad, "%d bytes were added behind", i)
		}
		for _, cut := range []int{1, 4, len(sealed) / 2, len(sealed) - 4} {
			if cut <= 0 || cut >= len(other) {
				continue
			}
			spliced := slices.Concat(sealed[:len(sealed)-cut], other[len(other)-cut:])
			if !bytes.Equal(spliced, other) && !bytes.Equal(spliced, sealed) {
				x.refused(o, spliced, aad, "its last %d bytes are another frame's", cut)
			}
		}
		x.opens(o, sealed, aad, frame)
	}
	x.opens(o, other, aad, random(5, 33))
}

// checkAAD: every bit and the length of the additional data matter.
func checkAAD(x *exam) {
	if x.not(NoAAD) {
		return
	}
	s, o := x.fresh()
	for _, n := range []int{0, 1, 12, 16, 33} {
		frame, aad := random(n, 20), random(n+1, n)
		sealed := x.seal(s, frame, aad)
		bad := slices.Clone(aad)
		for i := range bad {
			for bit := range 8 {
				bad[i] ^= 1 << bit
				x.refused(o, sealed, bad, "bit %d of byte %d of %d of the additional data was flipped", bit, i, n)
				bad[i] ^= 1 << bit
			}
		}
		for i := range n {
			x.refused(o, sealed, aad[:i], "only %d of %d bytes of additional data were left", i, n)
		}
		for i := 1; i <= 17; i++ {
			x.refused(o, sealed, append(slices.Clone(aad), make([]byte, i)...), "%d bytes of additional data were added", i)
		}
		x.opens(o, sealed, aad, frame)
	}
}

// checkFailure: when opening fails, nothing of the frame is left in dst's room.
func checkFailure(x *exam) {
	if x.not(NoAuth) {
		return
	}
	s, o := x.fresh()
	for _, n := range []int{16, 33, 128, 1200} {
		frame, aad := random(n, n), random(n, 5)
		sealed := x.seal(s, frame, aad)
		for _, i := range []int{len(sealed) - 1, len(sealed) - n/2} {
			bad := slices.Clone(sealed)
			bad[i] ^= 0x10
			memory := filled(8 + 2*len(sealed))
			got, err := o.Open(memory[:8], bad, aad)
			if err == nil {
				x.t.Errorf("a changed frame of %d bytes was opened", n)
				continue
			}
			if len(got) != 8 || !bytes.Equal(memory[:8], filled(8)) {
				x.t.Errorf("on an error dst did not come back as it was")
			}
			if shares(frame, memory[8:], 8) {
				x.t.Errorf("a frame of %d bytes did not authenticate, and part of it was left behind dst", n)
			}
		}
	}
}

// secretRun is how many bytes in a row two sealed frames may not have in common. It is
// more than the longest part of a header that frames share.
const secretRun = 24

// checkSecrecy: frames of equal content look unlike each other, unlike themselves, and
// unlike their content. This finds a nonce that is used twice and a code book, not a
// weak cipher.
func checkSecrecy(x *exam) {
	s, o := x.fresh()
	frame := bytes.Repeat([]byte{0x5c}, 256)
	seen := map[string]int{}
	for i := range 64 {
		sealed := x.seal(s, frame, nil)
		if bytes.Contains(sealed, frame[:secretRun]) {
			x.t.Errorf("the content of a frame lies in its sealed form")
			return
		}
		for at := 0; at+secretRun <= len(sealed); at++ {
			run := string(sealed[at : at+secretRun])
			if j, ok := seen[run]; ok {
				x.t.Errorf("frames %d and %d of equal content have %d bytes of sealed form in common: a nonce was used twice", j, i, secretRun)
				return
			}
			seen[run] = i
		}
		x.opens(o, sealed, nil, frame)
	}
	content := random(9, 300)
	if shares(content, x.seal(s, content, nil), secretRun) {
		x.t.Errorf("part of the content of a frame lies in its sealed form")
	}
}

// checkReplay: a frame opens once. Frames that come in another order open too.
func checkReplay(x *exam) {
	s, o := x.fresh()
	var sealed [60][]byte
	for i := range sealed {
		sealed[i] = x.seal(s, random(i, 40), nil)
	}
	for i := range sealed {
		j := i * 37 % len(sealed)
		x.opens(o, sealed[j], nil, random(j, 40))
	}
	if x.not(NoReplay) {
		return
	}
	for i := range sealed {
		if x.refused(o, sealed[i], nil, "frame %d was opened before", i) && x.suite != nil {
			if _, err := o.Open(nil, sealed[i], nil); !errors.Is(err, cipher.ErrReplayed) {
				x.t.Errorf("opening a second time: error %v, want %v", err, cipher.ErrReplayed)
			}
		}
	}
}
