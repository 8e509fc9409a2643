package onecall

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/rtpseal"
)

// Clip is a recording as a call sends it: the streams of those tracks whose codecs have a
// payload format of RTP.
type Clip struct {
	Streams []*Stream
	Length  time.Duration
	Left    []string // codecs of tracks that are not sent
}

// Stream is a track.
type Stream struct {
	Codec  rtpseal.Codec
	SSRC   uint32
	PT     uint8
	Clock  uint32
	Frames []Frame
}

// Frame is a frame and its time since the clip's beginning.
type Frame struct {
	Data []byte
	At   time.Duration
}

// codecNames are those of RTP for the tracks' own.
var codecNames = map[string]string{
	"A_OPUS": "opus", "V_VP8": "vp8", "V_VP9": "vp9", "V_AV1": "av1", "V_MPEG4/ISO/AVC": "h264", "V_MPEGH/ISO/HEVC": "h265",
}

var errLaced = errors.New("a track has several frames in a block (lacing), which RTP has not: ffmpeg -i IN -c copy OUT takes it out")

// ReadClip reads a recording of any kind that package media reads.
func ReadClip(r io.Reader) (*Clip, error) {
	rec, err := media.NewReader(r)
	if err != nil {
		return nil, err
	}
	info := rec.Info()
	c := &Clip{}
	byTrack := map[uint64]*Stream{}
	for _, t := range info.Tracks {
		codec, err := rtpseal.LookupCodec(codecNames[t.CodecID])
		if err != nil {
			c.Left = append(c.Left, t.CodecID)
			continue
		}
		s := &Stream{Codec: codec, SSRC: 0x10203040 + uint32(len(c.Streams)), PT: 96 + uint8(len(c.Streams)), Clock: 90000}
		if codec.Name == "opus" {
			s.Clock = 48000
		}
		byTrack[t.Number] = s
		c.Streams = append(c.Streams, s)
	}
	if len(c.Streams) == 0 {
		return nil, fmt.Errorf("no track that can be sent as RTP: %v", c.Left)
	}
	for {
		var item media.Item
		if err := rec.Next(&item); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		s := byTrack[item.Track]
		if item.Kind != media.KindFrame || s == nil {
			continue
		}
		data, err := payload(info.Format, item.Data)
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			continue
		}
		if info.Format == media.FormatMatroska && (s.Codec.Name == "h264" || s.Codec.Name == "h265") {
			if data, err = media.ToAnnexB(nil, data, 4); err != nil {
				return nil, err
			}
		}
		at := time.Duration(item.Timestamp) * time.Duration(info.TimestampScale)
		s.Frames = append(s.Frames, Frame{bytes.Clone(data), at})
		c.Length = max(c.Length, at)
	}
	c.Streams = slices.DeleteFunc(c.Streams, func(s *Stream) bool { return len(s.Frames) == 0 })
	if len(c.Streams) == 0 {
		return nil, errors.New("no frame in it")
	}
	c.Length += c.Streams[0].each()
	return c, nil
}

// Codecs names the streams' codecs.
func (c *Clip) Codecs() string {
	var names []string
	for _, s := range c.Streams {
		names = append(names, s.Codec.Name)
	}
	return strings.Join(names, " and ")
}

// payload takes the frame itself out of what a container's reader gives.
func payload(f media.Format, data []byte) ([]byte, error) {
	switch f {
	case media.FormatIVF: // behind the timestamp
		return data[8:], nil
	case media.FormatOgg: // behind what of its page the packet does not tell
		n, width := vint(data)
		at := uint64(width) + 18*n
		if width == 0 || at > uint64(len(data)) {
			return nil, errors.New("a packet of Ogg that cannot be read")
		}
		return data[at:], nil
	case media.FormatMatroska: // behind the block's flags
		switch {
		case len(data) == 0:
			return nil, nil
		case data[0]&6 != 0:
			return nil, errLaced
		case data[0]&8 != 0: // and elements beside it
			n, width := vint(data[1:])
			at := 1 + uint64(width) + n
			if width == 0 || at > uint64(len(data)) {
				return nil, errors.New("a block that cannot be read")
			}
			return data[at:], nil
		}
		return data[1:], nil
	}
	return data, nil
}

// vint reads EBML's number of variable size (RFC 8794, Section 4).
func vint(b []byte) (n uint64, width int) {
	for width = 1; width <= 8; width++ {
		if len(b) < width || b[0] == 0 {
			return 0, 0
		}
		if b[0]&(0x80>>(width-1)) != 0 {
			n = uint64(b[0]) & (0x7F >> (width - 1))
			for _, x := range b[1:width] {
				n = n<<8 | uint64(x)
			}
			return n, width
		}
	}
	return 0, 0
}

// each is how long a frame plays, roughly.
func (s *Stream) each() time.Duration {
	if n := len(s.Frames); n > 1 {
		if d := (s.Frames[n-1].At - s.Frames[0].At) / time.Duration(n-1); d > 0 {
			return d
		}
	}
	return 20 * time.Millisecond
}

// Packet is one of RTP, to be sent at a time since the beginning.
type Packet struct {
	Data []byte
	At   time.Duration
}

func (p *Packet) id() packetID {
	return packetID{binary.BigEndian.Uint32(p.Data[8:]), binary.BigEndian.Uint32(p.Data[4:]), binary.BigEndian.Uint16(p.Data[2:])}
}

// sealedRoom is what sealing may add to a packet, so that none is cut at the gateway's
// MTU: descriptor, header, tag, and a custom cipher's own 40 bytes.
const sealedRoom = 1 + 17 + 16 + 40

// Packets makes the clip's packets of RTP, as a sender does, the clip being sent a number
// of times one after the other.
func (c *Clip) Packets(times int) ([]Packet, error) {
	var all []Packet
	for _, s := range c.Streams {
		cutter, err := rtpseal.NewCutter(s.Codec, rtpseal.DefaultMTU-sealedRoom)
		if err != nil {
			return nil, err
		}
		seq := uint16(0xFF00) // it wraps
		var sent time.Duration
		var out rtpseal.Packets
		for pass := range times {
			for _, f := range s.Frames {
				at := f.At + time.Duration(pass)*c.Length
				sent = max(sent, at) // in the order of decoding, which is not that of showing
				h := rtpseal.Header{SSRC: s.SSRC, PayloadType: s.PT, Marker: true, Timestamp: uint32(at.Microseconds() * int64(s.Clock) / 1e6)}
				out.Reset()
				if err := cutter.Cut(&rtpseal.Unit{Header: h}, f.Data, &out); err != nil {
					return nil, fmt.Errorf("a frame of %s as RTP: %w", s.Codec.Name, err)
				}
				for i := range out.Len() {
					p := bytes.Clone(out.At(i))
					binary.BigEndian.PutUint16(p[2:], seq)
					seq++
					all = append(all, Packet{p, sent})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Packet) int { return cmp.Compare(a.At, b.At) })
	return all, nil
}

// Join makes the frames of packets again, by stream.
func (c *Clip) Join(packets [][]byte) (map[uint32][][]byte, error) {
	frames := map[uint32][][]byte{}
	for _, s := range c.Streams {
		j, err := rtpseal.NewFrameJoiner(s.Codec, func(h rtpseal.Header, frame []byte) error {
			frames[h.SSRC] = append(frames[h.SSRC], bytes.Clone(frame))
			return nil
		}, nil)
		if err != nil {
			return nil, err
		}
		now := time.Unix(1, 0)
		for _, p := range packets {
			if len(p) < 12 || binary.BigEndian.Uint32(p[8:]) != s.SSRC {
				continue
			}
			if err := j.Push(p, now); err != nil {
				return nil, err
			}
		}
		j.Sweep(now.Add(time.Minute))
	}
	return frames, nil
}

// Same compares frames of a stream with those of the clip, sent a number of times. What
// payload formats of RTP do not carry (start codes' lengths and the order of parameter
// sets; AV1's temporal delimiters) does not count.
func (s *Stream) Same(got [][]byte, times int) error {
	if len(got) != times*len(s.Frames) {
		return fmt.Errorf("%s: %d frames, want %d", s.Codec.Name, len(got), times*len(s.Frames))
	}
	for i, g := range got {
		want := s.Frames[i%len(s.Frames)].Data
		if bytes.Equal(g, want) {
			continue
		}
		a, err := s.Canonical(g)
		b, err2 := s.Canonical(want)
		if err = errors.Join(err, err2); err != nil {
			return fmt.Errorf("%s: frame %d: %w", s.Codec.Name, i, err)
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%s: frame %d of %d bytes is not the one that was sent, of %d", s.Codec.Name, i, len(g), len(want))
		}
	}
	return nil
}

// Canonical is a frame without what does not count.
func (s *Stream) Canonical(frame []byte) ([]byte, error) {
	switch s.Codec.Name {
	case "h264":
		return media.Canonical(media.H264, nil, frame)
	case "h265":
		return media.Canonical(media.H265, nil, frame)
	case "av1":
		return bytes.TrimPrefix(frame, []byte{2<<3 | 2, 0}), nil
	}
	return frame, nil
}
