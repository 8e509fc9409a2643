package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/chanseal/chanseal/cmd/program/onecall"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/recording"
	"github.com/chanseal/chanseal/rtpseal"
)

// readClip reads the first video track of a recording, or, without one, the first of sound.
func readClip(name string) (*onecall.Stream, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c, err := onecall.ReadClip(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, s := range c.Streams {
		if s.Codec.Name != "opus" {
			return s, nil
		}
	}
	return c.Streams[0], nil
}

// hashOf is a hash of a frame without what RTP does not carry of it.
func hashOf(s *onecall.Stream, frame []byte) (string, error) {
	c, err := s.Canonical(frame)
	return fmt.Sprintf("%x", sha256.Sum256(c)), err
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
	cut, err := rtpseal.NewCutter(c.Codec, 1200)
	if err != nil {
		return err
	}
	var out rtpseal.Packets
	begun := time.Now()
	sent := 0
	for _, fr := range c.Frames {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(begun.Add(time.Duration(float64(fr.At) / *speed)))):
		}
		ts := uint32(fr.At.Microseconds() * int64(c.Clock) / 1_000_000)
		head := []byte{0x80, 0x80 | 96, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01}
		binary.BigEndian.PutUint32(head[4:], ts)
		h, _, err := rtpseal.ParsePacket(head)
		if err != nil {
			return err
		}
		out.Reset()
		if err := cut.Cut(&rtpseal.Unit{Header: h, Head: head, Packets: 1}, fr.Data, &out); err != nil {
			return err
		}
		for i := range out.Len() {
			if _, err := conn.Write(out.At(i)); err != nil {
				return err
			}
			sent++
		}
	}
	fmt.Printf("%d frames in %d packets\n", len(c.Frames), sent)
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
		hash, err := hashOf(&onecall.Stream{Codec: c}, data)
		fmt.Println(hash)
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
	slices := f.Bool("slices", false, "of H.264 and H.265 hash pictures only: sessions describe parameter sets elsewhere")
	f.Parse(args)
	c, err := readClip(f.Arg(0))
	if err != nil {
		return err
	}
	if *codec {
		fmt.Println(c.Codec.Name, len(c.Frames))
		return nil
	}
	for _, fr := range c.Frames {
		if *raw {
			if _, err := os.Stdout.Write(fr.Data); err != nil {
				return err
			}
			continue
		}
		data := fr.Data
		if *slices {
			data = pictures(c.Codec.Name, data)
		}
		hash, err := hashOf(c, data)
		if err != nil {
			return err
		}
		fmt.Println(hash)
	}
	return nil
}

// pictures leaves in a frame of H.264 or H.265 the NAL units that hold slices (types 1 to 5
// by H.264, Table 7-1; below 32 by H.265, Table 7-1).
func pictures(codec string, frame []byte) (kept []byte) {
	for rest := media.FromAnnexB(nil, frame); len(rest) > 4; {
		size := 4 + int(binary.BigEndian.Uint32(rest))
		unit := rest[4:size]
		rest = rest[size:]
		if len(unit) == 0 {
			continue
		}
		if n := unit[0] & 31; codec == "h264" && 1 <= n && n <= 5 || codec == "h265" && unit[0]>>1&63 < 32 {
			kept = append(append(kept, 0, 0, 0, 1), unit...)
		}
	}
	return kept
}

// opened prints a hash of each packet of RTP in a recording that was opened, or, with a codec, of each
// frame, as receive does.
func opened(_ context.Context, f *flag.FlagSet, args []string) error {
	codec := f.String("codec", "", "")
	f.Parse(args)
	push := func(pkt []byte) error {
		_, err := fmt.Printf("%x\n", sha256.Sum256(pkt))
		return err
	}
	if *codec != "" {
		c, err := rtpseal.LookupCodec(*codec)
		if err != nil {
			return err
		}
		join, err := rtpseal.NewFrameJoiner(c, func(_ rtpseal.Header, data []byte) error {
			hash, err := hashOf(&onecall.Stream{Codec: c}, data)
			fmt.Println(hash)
			return err
		}, nil)
		if err != nil {
			return err
		}
		push = func(pkt []byte) error { return join.Push(pkt, time.Now()) }
	}
	return eachPacket(f.Arg(0), push)
}

// eachPacket calls f with each packet of RTP in a recording.
func eachPacket(name string, f func(pkt []byte) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := recording.NewReader(file)
	if err != nil {
		return err
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.RTCP {
			continue
		}
		if err := f(p.Data); err != nil {
			return err
		}
	}
}

// epochs counts the packets of a recording under each epoch, by the low bits in the key
// IDs that stand in clear.
func epochs(_ context.Context, f *flag.FlagSet, args []string) error {
	f.Parse(args)
	count := map[uint64]int{}
	err := eachPacket(f.Arg(0), func(pkt []byte) error {
		if e, ok := epochOf(pkt); ok {
			count[e]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	for e := range uint64(16) {
		if count[e] > 0 {
			fmt.Printf("%d:%d ", e, count[e])
		}
	}
	fmt.Println()
	return nil
}
