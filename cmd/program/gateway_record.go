package program

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/proxy/client"
	"github.com/chanseal/chanseal/recording"
	"github.com/chanseal/chanseal/rtpseal"
)

type recordOptions struct {
	listen, ifname, out string
	mux, force          bool
	limit               uint32
	from                string
	cloud               cloudFlags
	dialer              *client.Dialer // nil: at listen
}

func (p *program) gatewayRecord() *cobra.Command {
	o := recordOptions{limit: 16384}
	c := &cobra.Command{
		Use:   "record --listen ADDRESS -o FILE [flags]",
		Short: "keep sealed RTP as it comes, without a key",
		Long: `Keep sealed RTP in a file as it comes, without a key: what is sealed on the wire is
sealed in the file. "chanseal open" opens it, where the channel's keys are. What is
no RTP, or has no descriptor of a sealed unit, is not kept.

With --cloud-proxy packets come in at an address of a relay, in place of --listen. It is
printed as "ADDRESS FILE", and again when it changes.

FILE is in the format of rtpdump, which Wireshark reads. It is complete up to the last
second however the recorder ends; ctrl-c ends it in order.`,
		Example: `  chanseal gateway record --listen :6004 -o talk.sealed.rtpdump
  chanseal open --channel stage --codec vp8 -o talk.ivf talk.sealed.rtpdump`,
		Args: exactArgs(),
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "", "take packets in at `ADDRESS`")
	f.StringVar(&o.ifname, "interface", "", "listen to a multicast group on interface `NAME`")
	f.BoolVar(&o.mux, "rtcp-mux", false, "expect RTCP on the port of RTP, and open no other")
	f.StringVarP(&o.out, "output", "o", "", "write to `FILE`")
	f.BoolVar(&o.force, "force", false, "overwrite FILE if it exists")
	f.Uint32Var(&o.limit, "limit", o.limit, "end when FILE has so many `MIB`")
	o.cloud.add(c)
	o.cloud.addPeers(c, &o.from)
	c.PreRunE = func(c *cobra.Command, _ []string) error { return fromEnvironment(c, "CHANSEAL_GATEWAY_") }
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if o.dialer, err = o.cloud.dialer(p, c); err != nil {
			return err
		}
		switch {
		case o.dialer == nil && o.from != "":
			return usagef(c, "%s: --from is for --cloud-proxy", c.CommandPath())
		case o.dialer != nil && o.listen != "":
			return usagef(c, "%s: with --cloud-proxy packets come in at a relay's address: leave --listen out", c.CommandPath())
		case o.dialer != nil:
			o.mux = true // a relay's address has one port
		}
		for _, need := range []struct{ name, value string }{{"listen", o.listen}, {"output", o.out}} {
			if need.value == "" && (need.name != "listen" || o.dialer == nil) {
				return usagef(c, "%s: --%s is missing", c.CommandPath(), need.name)
			}
		}
		if o.limit == 0 {
			return usagef(c, "%s: --limit: want 1 MiB or more", c.CommandPath())
		}
		return p.record(c.Context(), &o)
	}
	return c
}

// recorder writes what several sockets receive into one file.
type recorder struct {
	mu      sync.Mutex
	buf     *bufio.Writer
	w       *recording.Writer
	left    int64 // bytes
	err     error
	packets uint64
	refused atomic.Uint64
}

var errFull = errors.New("the recording has reached --limit")

func (r *recorder) add(pkt []byte, rtcp bool, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if r.left -= int64(len(pkt)) + 8; r.left < 0 {
		r.err = errFull
	} else if r.err = r.w.Write(pkt, rtcp, now); r.err == nil {
		r.packets++
	}
	return r.err
}

// flush hands on to the system what was kept back.
func (r *recorder) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.buf.Flush(); r.err == nil {
		r.err = err
	}
	return r.err
}

func (p *program) record(parent context.Context, o *recordOptions) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	o.cloud.ended = cancel
	var in net.PacketConn
	var err error
	if o.dialer != nil {
		in, err = p.receive(ctx, o.dialer, o.from, o.out)
	} else {
		in, err = listenRTP(o.listen, o.ifname, 0)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	sockets := []net.PacketConn{in}
	if !o.mux {
		control, err := listenRTP(o.listen, o.ifname, 1)
		if err != nil {
			return hinted(err, "RTCP has the port above; if it comes on the same one: --rtcp-mux")
		}
		defer control.Close()
		sockets = append(sockets, control)
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if o.force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(o.out, flags, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return existsError(o.out)
	case err != nil:
		return fileError(o.out, err)
	}
	defer file.Close()
	r := &recorder{buf: bufio.NewWriterSize(file, 256<<10), left: int64(o.limit) << 20}
	r.w, err = recording.NewWriter(r.buf, time.Now(), unmapped(in.LocalAddr().(*net.UDPAddr).AddrPort()))
	if err == nil {
		err = r.flush()
	}
	if err != nil {
		return fileError(o.out, err)
	}
	context.AfterFunc(ctx, func() {
		for _, s := range sockets {
			s.SetReadDeadline(time.Now())
		}
	})
	var running sync.WaitGroup
	for i, s := range sockets {
		running.Go(func() {
			r.receive(s, i == 1, o.mux)
			cancel(nil) // the file is full, or the relay gone for good
		})
	}
	running.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if r.flush() != nil {
					cancel(nil)
				}
			}
		}
	})
	p.notef("recording %s to %s", in.LocalAddr(), o.out)
	p.notef("running; ctrl-c ends it")
	running.Wait()
	err = r.flush()
	if closed := file.Close(); err == nil {
		err = closed
	}
	p.notef("%s kept, %s were no sealed RTP", count(r.packets, "packet"), grouped(r.refused.Load()))
	if err != nil {
		return &named{o.out, "the recording ended: " + err.Error(), err}
	}
	if why := context.Cause(ctx); parent.Err() == nil && !errors.Is(why, context.Canceled) {
		return cloudError(parent, why)
	}
	return nil
}

// receive keeps what a socket gets until its deadline passes or the file ends.
func (r *recorder) receive(s net.PacketConn, control, mux bool) error {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := s.ReadFrom(buf)
		now := time.Now()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue // of a packet that was sent before, as ICMP tells
		}
		pkt := buf[:n]
		rtcp := control || mux && isRTCP(pkt)
		if n > recording.MaxPacket || !rtcp && !isSealed(pkt) || rtcp && !isRTCP(pkt) {
			r.refused.Add(1)
			continue
		}
		if err := r.add(pkt, rtcp, now); err != nil {
			return err
		}
	}
}

// isRTCP tells RTCP by its packet types (RFC 5761, Section 4).
func isRTCP(pkt []byte) bool {
	return len(pkt) >= 8 && pkt[0]>>6 == 2 && pkt[1] >= 192 && pkt[1] <= 223
}

func isSealed(pkt []byte) bool {
	_, payload, err := rtpseal.ParsePacket(pkt)
	if err == nil {
		_, _, err = rtpseal.ParseDescriptor(payload)
	}
	return err == nil
}
