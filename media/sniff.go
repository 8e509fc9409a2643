package media

import (
	"bytes"
	"encoding/binary"
	"io"
)

// sniffLen is how many bytes of a recording decide what it is: an MPEG transport
// stream is known by its third packet.
const sniffLen = 3 * 192

// NewReader returns a Reader of the recording in r. It knows the container by its
// first bytes, never by a name. What this package does not read is an
// UnsupportedError.
func NewReader(r io.Reader) (Reader, error) {
	head := make([]byte, sniffLen)
	n, err := readSome(r, head)
	if err != nil {
		return nil, err
	}
	head = head[:n]
	src := io.MultiReader(bytes.NewReader(head), r)
	switch {
	case has(head, 0, "\x1a\x45\xdf\xa3"):
		return reader(newMatroskaReader(src))
	case has(head, 0, "DKIF"):
		return reader(newIVFReader(src))
	case has(head, 0, "OggS"):
		return reader(newOggReader(src))
	}
	if f := annexBFormat(head); f != 0 {
		return reader(newAnnexBReader(src, f))
	}
	if name := foreign(head); name != "" {
		return nil, &UnsupportedError{What: name, Hint: remux}
	}
	return nil, &UnsupportedError{What: "a file that is neither Matroska, WebM, IVF, Ogg Opus nor H.264 or H.265 Annex B"}
}

// reader makes a nil *T a nil Reader.
func reader[T Reader](r T, err error) (Reader, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

// readSome fills p, or less of it if the stream ends before.
func readSome(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

func has(head []byte, at int, magic string) bool {
	return len(head) >= at+len(magic) && string(head[at:at+len(magic)]) == magic
}

// annexBFormat tells a byte stream by the header of its first NAL unit, 0 if it is
// none. The types of H.265 that a stream begins with have, as H.264 headers, values
// that the standard forbids.
func annexBFormat(b []byte) Format {
	i := bytes.Index(b, startCode)
	if i < 0 || len(b) < i+5 || len(bytes.Trim(b[:i], "\x00")) > 0 {
		return 0
	}
	b = b[i+len(startCode):]
	if b[0]&0x81 == 0 && b[1] == 1 {
		switch t := b[0] >> 1; {
		case t >= h265BLA && t <= h265CRA, t >= h265VPS && t <= h265AUD, t == h265PrefixSEI:
			return FormatH265
		}
	}
	switch t, ref := b[0]&31, b[0]>>5; {
	case ref > 3: // forbidden_zero_bit
	case t == h264SEI && ref == 0, t == h264AUD && ref == 0, t == h264SPS && ref > 0, t == h264PPS && ref > 0, t == h264IDR && ref > 0, t == h264Slice:
		return FormatH264
	}
	return 0
}

// foreign names a file that is known and not read here, "" if it is not known.
func foreign(b []byte) string {
	switch {
	case has(b, 4, "ftyp"), has(b, 4, "moov"), has(b, 4, "mdat"), has(b, 4, "wide"), has(b, 4, "styp"), has(b, 4, "free"), has(b, 4, "skip"):
		return "MP4 or QuickTime"
	case has(b, 0, "RIFF") && has(b, 8, "AVI "):
		return "AVI"
	case has(b, 0, "RIFF") && has(b, 8, "WAVE"), has(b, 0, "RF64"):
		return "WAV"
	case has(b, 0, "RIFF") && has(b, 8, "WEBP"):
		return "a WebP picture"
	case has(b, 0, "FLV\x01"):
		return "Flash video"
	case has(b, 0, "fLaC"):
		return "FLAC"
	case has(b, 0, "ID3"), len(b) >= 2 && b[0] == 0xFF && b[1]&0xE6 == 0xE2:
		return "MP3"
	case len(b) >= 2 && b[0] == 0xFF && b[1]&0xF6 == 0xF0:
		return "AAC (ADTS)"
	case has(b, 0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
		return "Windows Media (ASF)"
	case has(b, 0, "\x00\x00\x01\xba"):
		return "an MPEG program stream"
	case has(b, 0, "\x00\x00\x01\xb3"):
		return "MPEG-1 or MPEG-2 video"
	case has(b, 0, "YUV4MPEG2"):
		return "uncompressed video (YUV4MPEG2)"
	case has(b, 0, "FORM") && (has(b, 8, "AIFF") || has(b, 8, "AIFC")):
		return "AIFF"
	case has(b, 0, ".snd"):
		return "AU audio"
	case has(b, 0, "#!AMR"):
		return "AMR"
	case has(b, 0, "\x06\x0e\x2b\x34"):
		return "MXF"
	case len(b) >= 2 && binary.BigEndian.Uint16(b) == 0x0B77:
		return "AC-3"
	}
	for _, packet := range []int{188, 192} {
		at := packet - 188
		if has(b, at, "G") && has(b, at+packet, "G") && has(b, at+2*packet, "G") {
			return "an MPEG transport stream"
		}
	}
	return ""
}
