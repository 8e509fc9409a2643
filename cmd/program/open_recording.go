package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/recording"
	"github.com/chanseal/chanseal/rtpseal"
)

// rtpdumpExtension is what recordings of RTP are named by.
const rtpdumpExtension = ".rtpdump"

// opening is a recording of sealed RTP that is being opened.
type opening struct {
	codec    rtpseal.Codec
	ssrc     uint32
	any      bool // no SSRC was named: the first stream is it
	streams  []uint32
	packets  *recording.Writer // of plain RTP; nil: frames are written
	frames   *recording.Stream
	join     *rtpseal.FrameJoiner
	now      time.Time
	opened   uint64
	written  uint64
	refused  uint64
	dropped  uint64
	missing  uint64 // as a FrameJoiner tells
	late     uint64
	refusal  error
	needs    bool // a codec
	writeErr error
}

// isRecording looks at how a file begins.
func isRecording(in *input) bool {
	b := bufio.NewReaderSize(in.Reader, 4096)
	head, _ := b.Peek(len(recording.Magic))
	in.Reader = b
	return recording.Is(head)
}

// openRecording opens a recording of sealed RTP.
func (p *program) openRecording(ctx context.Context, in *input, o openOptions) error {
	var codec rtpseal.Codec
	var err error
	if o.codec != "" {
		if codec, err = rtpseal.LookupCodec(o.codec); err != nil {
			return &failure{err: err, code: exitUsage}
		}
	}
	if o.out == "" {
		if o.out = openedRecordingName(o.in, codec.Name); in.stdin {
			o.out = "-"
		}
	}
	ext := strings.ToLower(filepath.Ext(o.out))
	asPackets := codec.Name == "" || ext == rtpdumpExtension
	if usual, fits := recording.Extension(codec.Name, ext); !asPackets && o.out != "-" && !fits {
		return &failure{err: fmt.Errorf("%s: frames of %s go into a *%s", o.out, codec.Name, usual), code: exitUsage,
			hints: []string{"name it *" + usual + ", or *" + rtpdumpExtension + " for RTP packets; ffmpeg -i IN -c copy OUT.mkv puts it into another container"}}
	}
	if codec.Name == "" && o.out != "-" && ext != rtpdumpExtension {
		return &failure{err: fmt.Errorf("%s: without --codec the packets are written, into a *%s", o.out, rtpdumpExtension), code: exitUsage,
			hints: []string{"say what the RTP carries: --codec vp8"}}
	}
	dst, err := p.newTarget(o.out, o.force, in)
	if err != nil {
		return err
	}
	ring, err := p.openRing(ctx, o.channel)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := p.openChannel(ctx, ring, o.channel)
	if err != nil {
		return err
	}
	ro := keyring.ReceiverOptions{Archive: true, Window: cipher.MaxWindow}
	if o.suite != nil {
		ro.Suites = []*cipher.Suite{o.suite}
	}
	receiver, err := ch.Receiver(ctx, ro)
	if err != nil {
		return senderError(o.channel, err)
	}
	defer receiver.Close()

	shown := p.progress(in, "opening")
	defer shown.done()
	r, err := recording.NewReader(shown)
	if err != nil {
		return &named{in.name, strings.TrimPrefix(err.Error(), "recording: "), err}
	}
	out, err := p.create(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	w := bufio.NewWriterSize(out, 256<<10)
	op := &opening{codec: codec, ssrc: o.ssrc, any: !o.ssrcGiven, now: r.Start()}
	if asPackets {
		op.packets, err = recording.NewWriter(w, r.Start(), r.Address())
	} else if op.frames, err = recording.NewStream(w, codec.Name); err == nil {
		op.join, err = rtpseal.NewFrameJoiner(codec, func(h rtpseal.Header, frame []byte) error {
			op.frame(h.SSRC, h.Timestamp, frame)
			return nil
		}, op.drop)
	}
	if err != nil {
		return err
	}
	torn, err := op.run(ctx, r, receiver)
	if err == nil && op.frames != nil {
		err = op.frames.Close()
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return out.error(err)
	}
	shown.done()
	if op.written == 0 {
		return op.nothing(in, o, p.fingerprintHint(ctx, ring, o.channel))
	}
	if err := out.commit(ctx); err != nil {
		return err
	}
	what := "packet"
	if op.frames != nil {
		what = "frame"
	}
	p.notef("opened %s to %s: %s", in.name, out.path, count(op.written, what))
	return op.verdict(in, torn)
}

func openedRecordingName(in, codec string) string {
	stem, ok := strings.CutSuffix(in, ".sealed"+rtpdumpExtension)
	if !ok {
		stem = strings.TrimSuffix(in, filepath.Ext(in)) + ".open"
	}
	if usual, _ := recording.Extension(codec, ""); usual != "" {
		return stem + usual
	}
	return stem + rtpdumpExtension
}

// run takes the packets in at the times when they came.
func (op *opening) run(ctx context.Context, r *recording.Reader, opener cipher.Opener) (torn bool, err error) {
	open, err := rtpseal.NewOpening(rtpseal.OpeningOptions{
		Opener: rtpseal.Shared(opener),
		Frames: op,
		Refused: func(_ *rtpseal.Unit, err error) {
			if op.refused++; op.refusal == nil {
				op.refusal = err
			}
		},
		Dropped: op.drop,
	})
	if err != nil {
		return false, err
	}
	var out rtpseal.Packets
	var swept time.Time
	give := func() {
		for i := range out.Len() {
			op.packet(out.At(i))
		}
		out.Reset()
	}
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		pkt, err := r.Next()
		if err == recording.ErrTorn || err == io.EOF {
			torn = err == recording.ErrTorn
			break
		}
		if err != nil {
			return false, err
		}
		if now := r.Start().Add(pkt.At); now.After(op.now) {
			op.now = now
		}
		if pkt.RTCP {
			if op.packets != nil {
				op.keep(pkt.Data, true)
			}
			continue
		}
		if err := open.Push(pkt.Data, op.now, &out); err != nil {
			op.refused++
			if op.refusal == nil {
				op.refusal = err
			}
		}
		if op.now.Sub(swept) > 100*time.Millisecond {
			swept = op.now
			open.Sweep(op.now, &out)
			if op.join != nil {
				give()
				op.join.Sweep(op.now)
			}
		}
		give()
		if op.writeErr != nil {
			return torn, op.writeErr
		}
	}
	// What still waits has waited long enough.
	op.now = op.now.Add(rtpseal.MaxAge / 3)
	open.Sweep(op.now, &out)
	give()
	if op.join != nil {
		op.join.Sweep(op.now)
	}
	return torn, op.writeErr
}

// packet takes a packet of plain RTP.
func (op *opening) packet(pkt []byte) {
	op.opened++
	h, _, err := rtpseal.ParsePacket(pkt)
	if err != nil || !op.wanted(h.SSRC) {
		return
	}
	if op.packets != nil {
		op.keep(pkt, false)
	} else if err := op.join.Push(pkt, op.now); err != nil {
		op.dropped++
	}
}

func (op *opening) keep(pkt []byte, rtcp bool) {
	if op.writeErr == nil {
		op.writeErr = op.packets.Write(pkt, rtcp, op.now)
	}
	if !rtcp {
		op.written++
	}
}

// Cut takes a frame that was sealed as a whole (T=0).
func (op *opening) Cut(u *rtpseal.Unit, frame []byte, _ *rtpseal.Packets) error {
	op.opened++
	if op.frames == nil {
		op.needs = true
		return rtpseal.ErrNoCodec
	}
	if op.wanted(u.SSRC) {
		op.frame(u.SSRC, u.Timestamp, frame)
	}
	return nil
}

// wanted reports whether a stream is the one to write: with frames there can be one.
func (op *opening) wanted(ssrc uint32) bool {
	if !slices.Contains(op.streams, ssrc) && len(op.streams) < 32 {
		op.streams = append(op.streams, ssrc)
	}
	switch {
	case op.any && op.packets != nil:
		return true
	case op.any:
		op.any, op.ssrc = false, ssrc
	}
	return ssrc == op.ssrc
}

func (op *opening) frame(_, timestamp uint32, frame []byte) {
	if op.writeErr == nil {
		op.writeErr = op.frames.Write(timestamp, frame)
	}
	op.written++
}

func (op *opening) drop(d rtpseal.Drop) {
	switch d.Why {
	case "missing":
		op.missing += uint64(d.Packets)
	case "late":
		op.late += uint64(d.Packets)
	default:
		op.dropped += uint64(max(1, d.Packets))
	}
}

// nothing explains why no packet came out; hint is about the channel's key.
func (op *opening) nothing(in *input, o openOptions, hint string) error {
	switch {
	case op.needs:
		return &failure{err: fmt.Errorf("%s: holds whole frames, which are no RTP packets", in.name), code: exitUsage, hints: []string{"say what they are: --codec vp8"}}
	case op.opened > 0 && op.written == 0 && !op.any && len(op.streams) > 0:
		return &failure{err: fmt.Errorf("%s: no frame of SSRC %d and codec %s; it has the streams %s", in.name, op.ssrc, op.codec.Name, ssrcs(op.streams)), code: exitUsage,
			hints: []string{"choose one: --ssrc " + fmt.Sprint(op.streams[0])}}
	case op.refused+op.dropped > 0:
		err := op.refusal
		if err == nil {
			err = cipher.ErrUnknownKey
		}
		return refuse(err, fmt.Sprintf("%s: none of its packets opens with the keys of channel %q: sealed for another channel or ring, or with another suite", in.name, o.channel),
			hint)
	}
	return &named{in.name, "holds no packets", errors.New("empty")}
}

func ssrcs(all []uint32) string {
	var text []string
	for _, s := range all {
		text = append(text, fmt.Sprint(s))
	}
	return strings.Join(text, ", ")
}

// verdict says what did not come out.
func (op *opening) verdict(in *input, torn bool) error {
	var parts []string
	if op.refused > 0 {
		parts = append(parts, count(op.refused, "packet")+" did not authenticate")
	}
	if op.dropped > 0 {
		parts = append(parts, count(op.dropped, "packet")+" belong to frames that are not complete, or whose key was never announced")
	}
	if op.missing > 0 {
		parts = append(parts, count(op.missing, "packet")+" missing or late: their frames are lost")
	}
	if op.late > 0 {
		parts = append(parts, count(op.late, "packet")+" came, but too late")
	}
	if torn {
		parts = append(parts, "it ends within a packet")
	}
	if len(op.streams) > 1 && op.frames != nil {
		parts = append(parts, "other streams were left out, choose with --ssrc: "+ssrcs(op.streams))
	}
	if len(parts) == 0 {
		return nil
	}
	text := in.name + ": " + strings.Join(parts, "; ")
	if op.refused > 0 {
		return refuse(op.refusal, text, "what did authenticate is in the output")
	}
	return &failure{err: errors.New(text), code: exitFailed}
}
