package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/recording"
	"github.com/chanseal/chanseal/rtpseal"
)

// clip is the first video track of a recording, or, without one, the first of sound.
type clip struct {
	codec  rtpseal.Codec
	clock  int64 // a second's, of RTP
	frames []frame
}

type frame struct {
	at   time.Duration
	data []byte
}

var codecNames = map[string]string{"V_VP8": "vp8", "V_VP9": "vp9", "V_AV1": "av1", "V_MPEG4/ISO/AVC": "h264", "V_MPEGH/ISO/HEVC": "h265", "A_OPUS": "opus"}

func readClip(name string) (*clip, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := media.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	info := r.Info()
	var track *media.Track
	for i := range info.Tracks {
		if t := &info.Tracks[i]; track == nil || t.Type == media.TrackVideo && track.Type != media.TrackVideo {
			track = t
		}
	}
	if track == nil {
		return nil, fmt.Errorf("%s: has no track", name)
	}
	c := &clip{clock: 90_000}
	if track.Type == media.TrackAudio {
		c.clock = 48_000
	}
	short, known := codecNames[track.CodecID]
	if !known {
		return nil, fmt.Errorf("%s: without ffmpeg only %s are sent, not %s", name, "vp8, vp9, av1, h264, h265 and opus", track.CodecID)
	}
	if c.codec, err = rtpseal.LookupCodec(short); err != nil {
		return nil, err
	}
	for {
		var it media.Item
		if err := r.Next(&it); err == io.EOF {
			return c, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if it.Kind != media.KindFrame || it.Track != track.Number {
			continue
		}
		f := frame{at: time.Duration(it.Timestamp * int64(info.TimestampScale))}
		// What a container has of its own comes in front of the frame: see package media.
		switch {
		case info.Format == media.FormatIVF && len(it.Data) > 8:
			f.data = bytes.Clone(it.Data[8:])
		case info.Format == media.FormatMatroska && len(it.Data) > 1 && it.Data[0] == 0:
			f.data = bytes.Clone(it.Data[1:])
		default:
			return nil, fmt.Errorf("%s: without ffmpeg only plain frames of Matroska, WebM and IVF are sent", name)
		}
		if strings.HasPrefix(short, "h26") && info.Format == media.FormatMatroska {
			if f.data, err = media.ToAnnexB(nil, f.data, 4); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		c.frames = append(c.frames, f)
	}
}

// send sends a clip as RTP, at its own pace.
func send(ctx context.Context, f *flag.FlagSet, args []string) error {
	to := f.String("to", "", "")
	speed := f.Float64("speed", 1, "")
	f.Parse(args)
	c, err := readClip(f.Arg(0))
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp", *to)
	if err != nil {
		return err
	}
	defer conn.Close()
	cut, err := rtpseal.NewCutter(c.codec, 1200)
	if err != nil {
		return err
	}
	var out rtpseal.Packets
	begun := time.Now()
	sent := 0
	for _, fr := range c.frames {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(begun.Add(time.Duration(float64(fr.at) / *speed)))):
		}
		ts := uint32(fr.at.Microseconds() * c.clock / 1_000_000)
		head := []byte{0x80, 0x80 | 96, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01}
		binary.BigEndian.PutUint32(head[4:], ts)
		h, _, err := rtpseal.ParsePacket(head)
		if err != nil {
			return err
		}
		out.Reset()
		if err := cut.Cut(&rtpseal.Unit{Header: h, Head: head, Packets: 1}, fr.data, &out); err != nil {
			return err
		}
		for i := range out.Len() {
			if _, err := conn.Write(out.At(i)); err != nil {
				return err
			}
			sent++
		}
	}
	fmt.Printf("%d frames in %d packets\n", len(c.frames), sent)
	return nil
}

// receive puts N frames together and prints their hashes.
func receive(ctx context.Context, f *flag.FlagSet, args []string) error {
	listen, codec := f.String("listen", "", ""), f.String("codec", "", "")
	want := f.Int("frames", 0, "")
	f.Parse(args)
	c, err := rtpseal.LookupCodec(*codec)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", *listen)
	if err != nil {
		return err
	}
	defer conn.Close()
	context.AfterFunc(ctx, func() { conn.Close() })
	n := 0
	join, err := rtpseal.NewFrameJoiner(c, func(_ rtpseal.Header, data []byte) error {
		n++
		_, err := fmt.Printf("%x\n", sha256.Sum256(data))
		return err
	}, nil)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "running")
	buf := make([]byte, 1<<16)
	for n < *want {
		size, _, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("%d frames came, %d were to: %w", n, *want, err)
		}
		if err := join.Push(buf[:size], time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// frames prints the hashes of a clip's frames, as receive does.
func frames(_ context.Context, f *flag.FlagSet, args []string) error {
	codec := f.Bool("codec", false, "print the codec's name and how many there are")
	raw := f.Bool("raw", false, "print the frames")
	f.Parse(args)
	c, err := readClip(f.Arg(0))
	if err != nil {
		return err
	}
	if *codec {
		fmt.Println(c.codec.Name, len(c.frames))
		return nil
	}
	for _, fr := range c.frames {
		if *raw {
			if _, err := os.Stdout.Write(fr.data); err != nil {
				return err
			}
			continue
		}
		fmt.Printf("%x\n", sha256.Sum256(fr.data))
	}
	return nil
}

// epochs counts the packets of a recording under each epoch, by the low bits in the key
// IDs that stand in clear.
func epochs(_ context.Context, f *flag.FlagSet, args []string) error {
	f.Parse(args)
	file, err := os.Open(f.Arg(0))
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := recording.NewReader(file)
	if err != nil {
		return err
	}
	count := map[uint64]int{}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if p.RTCP {
			continue
		}
		if e, ok := epochOf(p.Data); ok {
			count[e]++
		}
	}
	for e := range uint64(16) {
		if count[e] > 0 {
			fmt.Printf("%d:%d ", e, count[e])
		}
	}
	fmt.Println()
	return nil
}
