package onecall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/chanseal/chanseal/recording"
	"github.com/chanseal/chanseal/rtpseal"
)

// Result is what of a call arrived.
type Result struct {
	Packets, Lost, Frames, Passes int
	Epochs                        int // in which was sealed
	PlainBytes, SealedBytes       int // of all packets
}

// Check compares what arrived with what was sent: packets bit for bit and, if nothing was
// lost, frames.
func (c *Call) Check() (r Result, err error) {
	came, size, lost := c.Net.counts()
	r = Result{Packets: len(c.sent), Lost: lost, Passes: c.source.pass, SealedBytes: size}
	if came != len(c.sent) {
		return r, fmt.Errorf("%d packets came to the media network, %d were sent", came, len(c.sent))
	}
	epochs := map[uint64]bool{}
	for _, kid := range c.Net.passed {
		epochs[kid&0xF] = true
	}
	r.Epochs = len(epochs)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.bad > 0 {
		return r, fmt.Errorf("%d packets came out twice", c.out.bad)
	}
	var arrived [][]byte // in the order they were sent
	for _, p := range c.sent {
		r.PlainBytes += len(p.Data)
		got, ok := c.out.got[p.id()]
		if _, passed := c.Net.passed[p.id()]; ok != passed {
			return r, fmt.Errorf("packet %d: passed on %v, came out %v", p.id().seq, passed, ok)
		}
		if ok && !bytes.Equal(got, p.Data) {
			return r, fmt.Errorf("packet %d came out as another one", p.id().seq)
		}
		if ok {
			arrived = append(arrived, got)
		}
	}
	if len(c.out.all) != len(arrived) {
		return r, fmt.Errorf("%d packets came out, %d were sent", len(c.out.all), len(arrived))
	}
	if lost > 0 {
		return r, nil
	}
	frames, err := c.w.o.Clip.Join(arrived)
	if err != nil {
		return r, err
	}
	for _, s := range c.w.o.Clip.Streams {
		if err := s.Same(frames[s.SSRC], c.source.pass); err != nil {
			return r, err
		}
		r.Frames += len(frames[s.SSRC])
	}
	return r, nil
}

// Recorded waits until the recorder has all that was passed on.
func (c *Call) Recorded(ctx context.Context) error {
	came, _, lost := c.Net.counts()
	for {
		n, err := countRecorded(c.file)
		if err != nil {
			return err
		}
		if n >= came-lost {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-c.record.done:
			return c.record.failed()
		case <-ctx.Done():
			return fmt.Errorf("the recorder has %d of %d packets: %w", n, came-lost, context.Cause(ctx))
		}
	}
}

// EndRecording stops the recorder in order.
func (c *Call) EndRecording() error {
	if code := c.record.Stop(); code != 0 && runtime.GOOS != "windows" { // where it is killed
		return c.record.failed()
	}
	return nil
}

func countRecorded(file string) (n int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := recording.NewReader(f)
	for err == nil {
		if _, err = r.Next(); err == nil {
			n++
		}
	}
	return n, nil
}

// OpenRecording opens what the recorder kept as "open" does, with a member's ring, and
// wants the frames of every stream.
func (c *Call) OpenRecording(ctx context.Context, uid uint32) (frames int, err error) {
	for i, s := range c.w.o.Clip.Streams {
		ext, _ := recording.Extension(s.Codec.Name, "")
		out := c.w.path(fmt.Sprintf("%s.%d%s", c.channel, i, ext))
		args := []string{"open", "--channel", c.channel, "--codec", s.Codec.Name, "--ssrc", fmt.Sprint(s.SSRC), "--force", "-o", out, c.file}
		if c.w.o.Suite != "" {
			args = append(args, "--suite", c.w.o.Suite)
		}
		c.w.show(false, args...)
		if _, err := c.w.run(ctx, c.w.memberRing(uid), args...); err != nil {
			// Other streams are left out, which it says with an exit status of its own.
			if e := (*CommandError)(nil); !errors.As(err, &e) || e.Code != 1 || len(c.w.o.Clip.Streams) == 1 {
				return frames, err
			}
		}
		f, err := os.Open(out)
		if err != nil {
			return frames, err
		}
		opened, err := ReadClip(f)
		f.Close()
		if err != nil {
			return frames, fmt.Errorf("%s: %w", out, err)
		}
		var got [][]byte
		for _, f := range opened.Streams[0].Frames {
			got = append(got, f.Data)
		}
		if err := s.Same(got, c.source.pass); err != nil {
			return frames, fmt.Errorf("the recording: %w", err)
		}
		frames += len(got)
	}
	return frames, nil
}

// Opens returns which of the recorded packets a member can open, and which not.
func (c *Call) Opens(ctx context.Context, uid uint32) (opened, not map[packetID]uint64, err error) {
	out := c.w.path(fmt.Sprintf("%s.%d.rtpdump", c.channel, uid))
	args := []string{"open", "--channel", c.channel, "--force", "-o", out, c.file}
	if c.w.o.Suite != "" {
		args = append(args, "--suite", c.w.o.Suite)
	}
	if _, err := c.w.run(ctx, c.w.memberRing(uid), args...); err != nil {
		if e := (*CommandError)(nil); !errors.As(err, &e) || e.Code != 3 && e.Code != 1 {
			return nil, nil, err
		}
	}
	opened, not = map[packetID]uint64{}, map[packetID]uint64{}
	f, err := os.Open(out)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	r, err := recording.NewReader(f)
	for err == nil {
		var p recording.Packet
		if p, err = r.Next(); err == nil {
			h, _, err := rtpseal.ParsePacket(p.Data)
			if err != nil {
				return nil, nil, err
			}
			opened[packetID{h.SSRC, h.Timestamp, h.Sequence}] = 0
		}
	}
	c.Net.mu.Lock()
	defer c.Net.mu.Unlock()
	for id, kid := range c.Net.passed {
		if _, ok := opened[id]; ok {
			opened[id] = kid
		} else {
			not[id] = kid
		}
	}
	return opened, not, nil
}

// epochsOf returns the numbers of the epochs that a ring has of the channel.
func (c *Call) epochsOf(ctx context.Context, ring string) ([]uint64, error) {
	out, err := c.w.run(ctx, ring, "channel", "show", c.channel, "--json")
	if err != nil {
		return nil, err
	}
	var got struct {
		Epochs []struct {
			Epoch uint64 `json:"epoch"`
		} `json:"epochs"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return nil, err
	}
	var all []uint64
	for _, e := range got.Epochs {
		all = append(all, e.Epoch)
	}
	slices.Sort(all)
	return all, nil
}
