package media

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// opusRate is the rate of the clock of every Opus stream, in Hz (RFC 7845,
// Section 4).
const opusRate = 48000

// opusSeekPreRoll is what a decoder should be given before a place it seeks to,
// in nanoseconds: 80 ms (RFC 7845, Section 4.6).
const opusSeekPreRoll = 80_000_000

// opusSamples returns how long an Opus packet lasts, in samples at 48 kHz, by its
// table-of-contents byte (RFC 6716, Section 3.1). ok is false if it is no packet:
// empty, without its frame count, or longer than 120 ms.
func opusSamples(b []byte) (samples int64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	config := int(b[0] >> 3)
	var frame int64
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		frame = [...]int64{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		frame = 480 << (config & 1)
	default: // CELT: 2.5, 5, 10, 20 ms
		frame = 120 << (config & 3)
	}
	switch b[0] & 3 {
	case 0:
		return frame, true
	case 1, 2:
		return 2 * frame, true
	}
	if len(b) < 2 {
		return 0, false
	}
	samples = frame * int64(b[1]&0x3F)
	return samples, samples > 0 && samples <= 5760
}

// An opusHead is the part of the identification header that a container needs
// (RFC 7845, Section 5.1).
type opusHead struct {
	channels uint64
	preSkip  int64 // samples at 48 kHz
}

// parseOpusHead reads an identification header.
func parseOpusHead(b []byte) (opusHead, error) {
	switch {
	case len(b) < 19 || string(b[:8]) != "OpusHead":
		return opusHead{}, fmt.Errorf("identification header of %d bytes", len(b))
	case b[8]>>4 != 0:
		return opusHead{}, fmt.Errorf("identification header of version %d", b[8])
	case b[9] == 0:
		return opusHead{}, errors.New("identification header without channels")
	case b[18] == 0 && b[9] > 2, b[18] != 0 && len(b) < 21+int(b[9]):
		return opusHead{}, fmt.Errorf("identification header without the mapping of %d channels", b[9])
	}
	return opusHead{channels: uint64(b[9]), preSkip: int64(binary.LittleEndian.Uint16(b[10:]))}, nil
}

// samplesToTicks returns samples at 48 kHz in ticks of fineScale, rounded; -1 for
// what would not fit.
func samplesToTicks(samples int64) int64 {
	if samples < 0 || samples > 1<<60 {
		return -1
	}
	return samples/24*5 + (samples%24*5+12)/24
}

// ticksToSamples is the way back from samplesToTicks, to within two samples.
func ticksToSamples(ticks int64) int64 {
	if ticks < 0 || ticks > 1<<58 {
		return 0
	}
	return ticks/5*24 + ticks%5*24/5
}

// samplesToNanos returns samples at 48 kHz in nanoseconds, rounded.
func samplesToNanos(samples int64) int64 { return (samples*1e9 + opusRate/2) / opusRate }
