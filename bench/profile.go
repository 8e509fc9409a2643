package bench

import (
	"errors"
	"fmt"
	"io"

	"github.com/chanseal/chanseal/media"
)

// Profile is a stream of frames: their sizes in order, and how fast they come.
type Profile struct {
	Name   string
	Source string  // where the figures come from
	Sizes  []int   // bytes of each frame; the stream repeats them
	FPS    float64 // frames a second
}

// BitRate is the stream's rate in bits a second, before sealing.
func (p *Profile) BitRate() float64 {
	n := 0
	for _, s := range p.Sizes {
		n += s
	}
	return float64(n) * 8 / float64(len(p.Sizes)) * p.FPS
}

// Rates from outside. A key frame comes every 2 s and has 6 times the bytes of another
// frame: the interval is what YouTube asks of encoders, the ratio an assumption, on
// which the cost hardly depends.
const (
	keyInterval = 2 // seconds
	keyRatio    = 6

	sourceOpus    = "32 kbit/s, 20 ms: fullband speech, RFC 7587, Section 3.1.1 (28 to 40 kbit/s)"
	sourceAgora   = "docs.agora.io, Video profile settings, live streaming"
	sourceYouTube = "support.google.com/youtube/answer/2853702, recommended for H.264"
)

// Profiles are the named ones.
func Profiles() []Profile {
	return []Profile{
		{Name: "opus-voice", Source: sourceOpus, Sizes: []int{80}, FPS: 50},
		video("720p30", 3_420_000, 30, sourceAgora),
		video("1080p30", 6_300_000, 30, sourceAgora),
		video("4k30", 30_000_000, 30, sourceYouTube),
		video("screen-1080p15", 4_160_000, 15, sourceAgora+", 1920 x 1080 at 15 frames a second"),
	}
}

// video spreads a bit rate over the frames between two key frames.
func video(name string, bitsPerSecond, fps int, source string) Profile {
	n := keyInterval * fps
	share := bitsPerSecond * keyInterval / 8 / (n - 1 + keyRatio)
	p := Profile{Name: name, FPS: float64(fps), Source: fmt.Sprintf("%.4g Mbit/s: %s", float64(bitsPerSecond)/1e6, source)}
	for i := range n {
		size := share
		if i == 0 {
			size *= keyRatio
		}
		p.Sizes = append(p.Sizes, size)
	}
	return p
}

// FindProfile finds one by its name.
func FindProfile(name string) (Profile, error) {
	known := ""
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		known += ", " + p.Name
	}
	return Profile{}, fmt.Errorf("bench: no profile %q, known are %s", name, known[2:])
}

// maxTrace bounds a trace in frames and in bytes: what is beyond is left out, since the
// same frames are sealed again and again.
const (
	maxTraceFrames = 1 << 14
	maxTraceBytes  = 64 << 20
)

// Trace reads the sizes, the order and the rate of a recording's frames. At most the
// first 16,384 frames and 64 MiB are taken.
func Trace(name string, r io.Reader) (Profile, error) {
	in, err := media.NewReader(r)
	if err != nil {
		return Profile{}, err
	}
	scale := in.Info().TimestampScale
	p := Profile{Name: name}
	var item media.Item
	var first, last int64
	total, cut := 0, false
	for {
		err := in.Next(&item)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Profile{}, err
		}
		if item.Kind != media.KindFrame {
			continue
		}
		if len(p.Sizes) == maxTraceFrames || total+len(item.Data) > maxTraceBytes {
			cut = true
			break
		}
		if len(p.Sizes) == 0 {
			first, last = item.Timestamp, item.Timestamp
		}
		first, last = min(first, item.Timestamp), max(last, item.Timestamp)
		total += len(item.Data)
		p.Sizes = append(p.Sizes, len(item.Data))
	}
	if len(p.Sizes) == 0 {
		return Profile{}, fmt.Errorf("bench: %s: no frame in it", name)
	}
	p.Source = fmt.Sprintf("%d frames, in file order", len(p.Sizes))
	if cut {
		p.Source += ", the first of the recording"
	}
	// n frames span n-1 intervals between the first and the last.
	if seconds := float64(last-first) * float64(scale) / 1e9; seconds > 0 && len(p.Sizes) > 1 {
		p.FPS = float64(len(p.Sizes)-1) / seconds
	} else {
		p.FPS = 30
		p.Source += "; the file has no times, 30 frames a second are assumed"
	}
	return p, nil
}
