// Command pionsfu is a call through an SFU that cannot listen: a sender, an SFU and a
// receiver, three ends of pion/webrtc connections in one process on loopback.
//
//	go run ./examples/pionsfu testdata/media/vp8-opus.webm
//	go run ./examples/pionsfu -packets testdata/media/h264-opus.mkv
//
// The sender seals each frame of a Matroska or WebM file, the SFU passes packets on as
// SFUs do, and the receiver opens them. At the end all is compared: every frame has to
// come out bit for bit, and no packet at the SFU may show anything of one.
//
// Frames are sealed by a pionseal.Track and read by a pionseal.Reader. With -packets the
// tracks are pion's own, and a pionseal.Interceptor seals each of their packets: what to
// choose where an application is not to be changed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/chanseal/chanseal/media"
)

func main() {
	packets := flag.Bool("packets", false, "seal packets (T=1), not frames (T=0)")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: pionsfu [-packets] FILE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout, flag.Arg(0), *packets); err != nil {
		fmt.Fprintln(os.Stderr, "pionsfu:", err)
		os.Exit(1)
	}
}

// track is a track of the file.
type track struct {
	mime, fmtp string
	clock      uint32
	channels   uint16
	each       time.Duration // how long a frame lasts
	frames     [][]byte
}

var known = map[string]track{
	"A_OPUS":           {mime: "audio/opus", fmtp: "minptime=10;useinbandfec=1", clock: 48000, channels: 2, each: 20 * time.Millisecond},
	"V_VP8":            {mime: "video/VP8", clock: 90000, each: 40 * time.Millisecond},
	"V_VP9":            {mime: "video/VP9", fmtp: "profile-id=0", clock: 90000, each: 40 * time.Millisecond},
	"V_AV1":            {mime: "video/AV1", clock: 90000, each: 40 * time.Millisecond},
	"V_MPEG4/ISO/AVC":  {mime: "video/H264", fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", clock: 90000, each: 40 * time.Millisecond},
	"V_MPEGH/ISO/HEVC": {mime: "video/H265", clock: 90000, each: 40 * time.Millisecond},
}

// readTracks reads the frames of all tracks that a call can have.
func readTracks(path string) ([]*track, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := media.NewReader(f)
	if err != nil {
		return nil, err
	}
	byNumber := map[uint64]*track{}
	var all []*track
	for _, t := range r.Info().Tracks {
		if c, ok := known[t.CodecID]; ok {
			byNumber[t.Number] = &c
			all = append(all, &c)
		}
	}
	if r.Info().Format != media.FormatMatroska || len(all) == 0 {
		return nil, errors.New("a Matroska or WebM file with Opus, VP8, VP9, AV1, H.264 or H.265 is needed")
	}
	var item media.Item
	for {
		if err := r.Next(&item); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		t := byNumber[item.Track]
		if item.Kind != media.KindFrame || t == nil || len(item.Data) < 2 || item.Data[0]&6 != 0 {
			continue // not of a track that is sent, or laced
		}
		frame := append([]byte(nil), item.Data[1:]...) // behind the flags of the block
		if t.mime == "video/H264" || t.mime == "video/H265" {
			if frame, err = media.ToAnnexB(nil, frame, 4); err != nil {
				return nil, err
			}
		}
		t.frames = append(t.frames, frame)
	}
}
