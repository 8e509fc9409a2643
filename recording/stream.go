package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4/pkg/media/oggwriter"
)

// Stream writes the frames of one stream of RTP, opened, into a file of their codec:
// VP8, VP9 and AV1 as IVF, H.264 and H.265 as byte streams (Annex B), Opus as Ogg.
type Stream struct {
	w     io.Writer
	form  form
	begun bool
	last  uint32
	at    int64 // of last, in units of the RTP clock since the first frame
	ogg   *oggwriter.OggWriter
	seq   uint16
}

type form struct {
	codec      string
	extensions []string // the usual one first
	fourCC     string   // of IVF
}

var forms = []form{
	{"vp8", []string{".ivf"}, "VP80"},
	{"vp9", []string{".ivf"}, "VP90"},
	{"av1", []string{".ivf"}, "AV01"},
	{"h264", []string{".h264", ".264", ".avc"}, ""},
	{"h265", []string{".h265", ".265", ".hevc"}, ""},
	{"opus", []string{".ogg", ".opus", ".oga"}, ""},
}

// Extension returns the usual file name extension for frames of a codec, and whether
// ext is one of those it may have.
func Extension(codec, ext string) (usual string, fits bool) {
	for _, f := range forms {
		if f.codec == codec {
			return f.extensions[0], slices.Contains(f.extensions, strings.ToLower(ext))
		}
	}
	return "", false
}

// NewStream begins a file. codec is a name of rtpseal's: opus, vp8, vp9, h264, h265, av1.
func NewStream(w io.Writer, codec string) (*Stream, error) {
	for _, f := range forms {
		if f.codec == codec {
			return &Stream{w: w, form: f}, nil
		}
	}
	return nil, fmt.Errorf("recording: no file for codec %q", codec)
}

// errLength says that a frame is longer than the file can say.
var errLength = errors.New("recording: a frame of 4 GiB or more")

// Write appends a frame. Frames come in the order of their timestamps, in units of the
// codec's RTP clock, which may wrap.
func (s *Stream) Write(timestamp uint32, frame []byte) error {
	if uint64(len(frame)) > 1<<32-1 {
		return errLength
	}
	if !s.begun {
		if err := s.begin(timestamp, frame); err != nil {
			return err
		}
	}
	s.at += int64(int32(timestamp - s.last))
	s.last = timestamp
	switch {
	case s.ogg != nil:
		if len(frame) == 0 { // silence that was not sent
			return nil
		}
		s.seq++
		return s.ogg.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: s.seq, Timestamp: timestamp}, Payload: frame})
	case s.form.fourCC != "":
		if s.form.codec == "av1" && (len(frame) < 2 || frame[0]>>3&15 != 2) {
			frame = slices.Concat([]byte{2<<3 | 2, 0}, frame) // RTP leaves the temporal delimiter out
		}
		b := binary.LittleEndian.AppendUint32(nil, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint64(b, uint64(max(0, s.at)))
		if _, err := s.w.Write(b); err != nil {
			return err
		}
	}
	_, err := s.w.Write(frame)
	return err
}

func (s *Stream) begin(timestamp uint32, frame []byte) (err error) {
	s.begun, s.last = true, timestamp
	switch {
	case s.form.codec == "opus":
		channels := uint16(1)
		if len(frame) > 0 && frame[0]&4 != 0 { // RFC 6716, Section 3.1
			channels = 2
		}
		s.ogg, err = oggwriter.NewWith(s.w, 48000, channels)
		return err
	case s.form.fourCC == "":
		return nil
	}
	var width, height uint16
	if s.form.codec == "vp8" && len(frame) >= 10 && frame[0]&1 == 0 { // RFC 6386, Section 9.1
		width, height = binary.LittleEndian.Uint16(frame[6:])&0x3fff, binary.LittleEndian.Uint16(frame[8:])&0x3fff
	}
	b := append([]byte("DKIF"), 0, 0, 32, 0)
	b = append(b, s.form.fourCC...)
	b = binary.LittleEndian.AppendUint16(b, width)
	b = binary.LittleEndian.AppendUint16(b, height)
	b = binary.LittleEndian.AppendUint32(b, 90000)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, make([]byte, 8)...) // the number of frames is not known
	_, err = s.w.Write(b)
	return err
}

// Close ends the file; the Writer below stays open.
func (s *Stream) Close() error {
	if s.ogg != nil {
		return s.ogg.Close()
	}
	return nil
}
