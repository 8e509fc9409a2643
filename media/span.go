package media

import (
	"encoding/binary"
	"math"

	"github.com/chanseal/chanseal/media/ebml"
)

// A spanner tells how long a frame of one sound track plays, in nanoseconds; 0 if it
// cannot. Matroska leaves that to the codec, so that only who knows the codec can list
// durations: whoever seals a recording does, whoever looks at the sealed file does not.
type spanner func(frame []byte) int64

// newSpanner makes a track's spanner; nil for codecs whose frames are not known here.
// private is the track's CodecPrivate, which is not kept.
func newSpanner(t *Track, private []byte) spanner {
	switch t.CodecID {
	case "A_OPUS":
		return func(frame []byte) int64 {
			if samples, ok := opusSamples(frame); ok {
				return samplesToNanos(samples)
			}
			return 0
		}
	case "A_VORBIS":
		return vorbisSpanner(private)
	case "A_AAC":
		samples, rate := aacFrame(private)
		return fixedSpanner(samples, rate)
	case "A_MPEG/L3", "A_MPEG/L2":
		return mpegSpan
	case "A_AC3":
		return fixedSpanner(1536, t.SampleRate)
	case "A_EAC3":
		return eac3Span
	case "A_FLAC":
		return flacSpanner(private)
	case "A_PCM/INT/LIT", "A_PCM/INT/BIG", "A_PCM/FLOAT/IEEE":
		rate, size := t.SampleRate, t.Channels*t.BitDepth/8
		if size > 0 {
			return func(frame []byte) int64 { return span(float64(uint64(len(frame))/size), rate) }
		}
	}
	return nil
}

// UsualSpan is how long most frames of the track play, in nanoseconds: its
// DefaultDuration or, of sound whose container states none, what is usual for the
// codec; 0 if nothing is. What a frame plays in fact is its Item's Duration or Span.
func (t *Track) UsualSpan() uint64 {
	switch {
	case t.DefaultDuration != 0:
		return t.DefaultDuration
	case t.Type != TrackAudio:
		return 0
	}
	samples := 0.0
	switch t.CodecID {
	case "A_OPUS":
		return 20_000_000
	case "A_AAC":
		samples = 1024
	case "A_MPEG/L3", "A_MPEG/L2":
		if samples = 1152; t.CodecID == "A_MPEG/L3" && t.SampleRate < 32000 {
			samples = 576
		}
	case "A_AC3", "A_EAC3":
		samples = 1536
	}
	return uint64(span(samples, t.SampleRate))
}

// span is the length of samples in nanoseconds, 0 if that is no sensible number.
func span(samples, rate float64) int64 {
	if ns := samples / rate * 1e9; ns > 0 && ns < math.MaxInt64/512 { // a lace has up to 256 of them
		return int64(ns)
	}
	return 0
}

func fixedSpanner(samples, rate float64) spanner {
	ns := span(samples, rate)
	return func([]byte) int64 { return ns }
}

// aacFrame reads an AudioSpecificConfig (ISO/IEC 14496-3, Section 1.6.2.1) as far as it
// says how many samples a frame has, at which rate.
func aacFrame(config []byte) (samples, rate float64) {
	rates := [...]float64{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
	r := bitReader{b: config}
	frequency := func() float64 {
		i := r.bits(4)
		switch {
		case i == 15:
			return float64(r.bits(24))
		case int(i) < len(rates):
			return rates[i]
		}
		return 0
	}
	object := r.bits(5)
	rate = frequency()
	r.skip(4)                        // channels
	if object == 5 || object == 29 { // SBR: a frame of the core plays as long
		frequency()
		object = r.bits(5)
	}
	samples = 1024
	if r.flag() { // frameLengthFlag
		samples = 960
	}
	if object == 31 || r.short {
		return 0, 0
	}
	return samples, rate
}

// mpegSpan reads the header of an MPEG audio frame, layer II or III (ISO/IEC 11172-3,
// Section 2.4.2.3, and 13818-3).
func mpegSpan(frame []byte) int64 {
	if len(frame) < 4 || frame[0] != 0xFF || frame[1]&0xE0 != 0xE0 {
		return 0
	}
	rate := [...]float64{44100, 48000, 32000, 0}[frame[2]>>2&3]
	samples := 1152.0
	version, layer := frame[1]>>3&3, frame[1]>>1&3
	if version != 3 { // MPEG-2, or 2.5
		rate /= 2
		if version == 0 {
			rate /= 2
		}
		if layer == 1 { // layer III
			samples = 576
		}
	}
	return span(samples, rate)
}

// eac3Span reads the header of an Enhanced AC-3 frame (ETSI TS 102 366, Annex E). The
// independent substream counts, which comes first.
func eac3Span(frame []byte) int64 {
	if len(frame) < 5 || frame[0] != 0x0B || frame[1] != 0x77 {
		return 0
	}
	blocks := [...]float64{1, 2, 3, 6}[frame[4]>>4&3]
	rate := [...]float64{48000, 44100, 32000, 0}[frame[4]>>6]
	if rate == 0 {
		rate = [...]float64{24000, 22050, 16000, 0}[frame[4]>>4&3]
		blocks = 6
	}
	return span(blocks*256, rate)
}

// flacSpanner reads frame headers (RFC 9639, Section 9.1); the rate is that of the
// stream (Section 8.2).
func flacSpanner(private []byte) spanner {
	const streamInfo = 4 + 4 // "fLaC" and the block's header
	if len(private) < streamInfo+18 {
		return nil
	}
	rate := float64(binary.BigEndian.Uint32(private[streamInfo+10:]) >> 12)
	return func(frame []byte) int64 {
		if len(frame) < 5 || frame[0] != 0xFF || frame[1]&0xFE != 0xF8 {
			return 0
		}
		var samples int
		switch code := frame[2] >> 4; {
		case code == 1:
			samples = 192
		case code >= 2 && code <= 5:
			samples = 144 << code
		case code >= 8:
			samples = 1 << code
		case code == 6 || code == 7: // behind the coded number, which is as long as its first byte says
			at := 5
			for lead := frame[4]; lead >= 0xC0 && lead&0x40 != 0; lead <<= 1 {
				at++
			}
			if len(frame) < at+2 {
				return 0
			}
			if samples = int(frame[at]) + 1; code == 7 {
				samples = int(binary.BigEndian.Uint16(frame[at:])) + 1
			}
		}
		return span(float64(samples), rate)
	}
}

// spanOf is how long a block plays that says nothing of it: each of its frames as long
// as the track's default, or as its codec says.
func (k *knownTrack) spanOf(lacing byte, payload []byte) int64 {
	frames := int64(1)
	if lacing != 0 {
		frames += int64(payload[0])
	}
	switch {
	case k.perFrame > math.MaxInt64/512:
		return 0
	case k.perFrame > 0:
		return frames * int64(k.perFrame)
	case k.spanner == nil:
		return 0
	case lacing == 0:
		return k.spanner(payload)
	}
	sum := int64(0)
	eachLaced(payload, lacing, func(frame []byte) { sum += k.spanner(frame) })
	return sum
}

// knownTrack is what the reader keeps of a track.
type knownTrack struct {
	perFrame uint64 // DefaultDuration
	spanner         // nil: none
}

// eachLaced calls f with the frames of a laced payload that checkLacing found in order.
func eachLaced(b []byte, lacing byte, f func(frame []byte)) {
	sizes := make([]int, b[0], 256)
	b = b[1:]
	for i := range sizes {
		switch lacing {
		case 0x02:
			for more := true; more; b = b[1:] {
				sizes[i] += int(b[0])
				more = b[0] == 255
			}
		case 0x04:
			sizes[i] = len(b) / (len(sizes) + 1)
		case 0x06:
			v, width, _ := ebml.ParseVint(b)
			b = b[width:]
			if sizes[i] = int(v); i > 0 {
				sizes[i] = sizes[i-1] + int(v) - (1<<(7*width-1) - 1)
			}
		}
	}
	for _, n := range sizes {
		f(b[:n])
		b = b[n:]
	}
	f(b)
}
