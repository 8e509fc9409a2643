package sealedfile

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/chanseal/chanseal/media"
)

// maxTracks is the most tracks a sealed file can have.
const maxTracks = 127

// The sealed header's content is the recording's media.Info, then the elements that
// came before the first frame. Numbers are varints of encoding/binary unless said
// otherwise, floats their 8 bytes big endian, strings and elements have their length
// in front.

func appendInfo(b []byte, in *media.Info) []byte {
	b = append(b, byte(in.Format))
	b = binary.AppendUvarint(b, in.TimestampScale)
	b = appendFloat(b, in.Duration)
	b = binary.AppendUvarint(b, uint64(len(in.Tracks)))
	for i := range in.Tracks {
		t := &in.Tracks[i]
		b = append(b, byte(t.Type))
		b = appendString(b, t.CodecID)
		for _, v := range numbers(t) {
			b = binary.AppendUvarint(b, *v)
		}
		b = appendFloat(b, t.SampleRate)
		b = appendFloat(b, t.OutputSampleRate)
	}
	return b
}

// numbers lists a track's whole numbers in the order in which they are stored.
func numbers(t *media.Track) []*uint64 {
	return []*uint64{
		&t.Number, &t.DefaultDuration, &t.CodecDelay, &t.SeekPreRoll,
		&t.Width, &t.Height, &t.DisplayWidth, &t.DisplayHeight, &t.DisplayUnit, &t.AlphaMode,
		&t.Channels, &t.BitDepth,
	}
}

func appendFloat(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errInfo = errors.New("sealedfile: malformed header record")

// decoder reads what was authenticated, and still checks every bound: a member of the
// channel may be faulty or hostile too.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) float() float64 {
	if b := d.bytes(8); b != nil {
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }

func (d *decoder) info() (*media.Info, error) {
	in := &media.Info{Format: media.Format(d.byte()), TimestampScale: d.uvarint(), Duration: d.float()}
	n := d.uvarint()
	if d.bad || n > maxTracks {
		return nil, errInfo
	}
	in.Tracks = make([]media.Track, n)
	for i := range in.Tracks {
		t := &in.Tracks[i]
		t.Type = media.TrackType(d.byte())
		t.CodecID = d.string()
		for _, v := range numbers(t) {
			*v = d.uvarint()
		}
		t.SampleRate, t.OutputSampleRate = d.float(), d.float()
	}
	if d.bad || checkInfo(in) != nil {
		return nil, errInfo
	}
	return in, nil
}
