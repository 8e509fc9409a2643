package onecall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/recording"
	"github.com/chanseal/chanseal/rtpseal"
)

// Call is a call in a world: a sender behind the firewall, a receiver and a recorder
// beyond it.
type Call struct {
	w                *World
	channel          string
	sender, receiver uint32 // the members' uids
	number           string // the sender's, in frames

	Net    *Network
	seal   *Process
	open   *Process
	record *Process
	file   string // the recording

	in  *net.UDPConn // the sender's application
	to  *net.UDPAddr // its gateway
	out *ear         // the receiver's application

	source *source
	sent   []Packet
}

// ear is an application that receives RTP.
type ear struct {
	conn *net.UDPConn
	mu   sync.Mutex
	got  map[packetID][]byte
	all  [][]byte
	bad  int // packets that came twice with another content
	more chan struct{}
	done chan struct{}
}

func newEar() (*ear, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(socketBuffer)
	e := &ear{conn: c, got: map[packetID][]byte{}, more: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			e.hear(bytes.Clone(buf[:n]))
		}
	}()
	return e, nil
}

func (e *ear) hear(pkt []byte) {
	e.mu.Lock()
	if len(pkt) >= 12 {
		p := Packet{Data: pkt}
		if _, again := e.got[p.id()]; again {
			e.bad++
		}
		e.got[p.id()] = pkt
	}
	e.all = append(e.all, pkt)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

func (e *ear) close() {
	e.conn.Close()
	<-e.done
}

// source makes the packets of the clip, pass by pass.
type source struct {
	clip *Clip
	pass int
	all  []Packet
	per  int // packets of a pass
}

// next returns the packets of the next pass.
func (s *source) next() ([]Packet, error) {
	if s.pass == 0 {
		one, err := s.clip.Packets(1)
		if err != nil {
			return nil, err
		}
		s.per = len(one)
	}
	if s.per*(s.pass+1) > len(s.all) {
		all, err := s.clip.Packets(2*s.pass + 4)
		if err != nil {
			return nil, err
		}
		s.all = all
	}
	s.pass++
	return s.all[s.per*(s.pass-1) : s.per*s.pass], nil
}

// NewCall sets a call up: two members join, the receiver's gateway and the recorder
// listen to the media network. Nothing is sent yet. Close it in any case.
func (w *World) NewCall(ctx context.Context, channel string, sender, receiver uint32) (c *Call, err error) {
	c = &Call{w: w, channel: channel, sender: sender, receiver: receiver, file: w.path(channel + ".sealed.rtpdump"), source: &source{clip: w.o.Clip}}
	for i, uid := range []uint32{sender, receiver} {
		card, err := w.Card(w.Desk, []channelkey.Format{channelkey.DK4, channelkey.V007}[i], channel, uid, 0, 0)
		if err != nil {
			return c, stepError("issue a card", err)
		}
		w.show(true, "channel", "join", channel, "--uid", fmt.Sprint(uid), "--card-file", card, "…")
		p, err := w.Join(ctx, channel, uid, card)
		if err != nil {
			return c, stepError("join the channel", err)
		}
		if uid == sender {
			c.number, _ = after(p.Said(), joined)
		}
	}
	if c.Net, err = newNetwork(w.o.Loss, uint64(sender)); err != nil {
		return c, stepError("open the media network", err)
	}
	if c.out, err = newEar(); err != nil {
		return c, stepError("open the receiver's application", err)
	}
	if c.in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return c, stepError("open the sender's application", err)
	}
	args := []string{"gateway", "record", "--rtcp-mux", "--listen", "127.0.0.1:0", "-o", c.file}
	w.show(true, args...)
	if c.record, err = w.spawn(ctx, args...); err != nil {
		return c, stepError("start the recorder", err)
	}
	at, err := c.record.Says(ctx, "recording ")
	if err != nil {
		return c, stepError("start the recorder", err)
	}
	if err := c.Net.listen(firstWord(at)); err != nil {
		return c, stepError("start the recorder", err)
	}
	args = []string{"gateway", "open", "--channel", channel, "--rtcp-mux", "--listen", "127.0.0.1:0", "--to", c.out.conn.LocalAddr().String()}
	if w.o.Loss > 0 { // for who is busy with ten calls
		args = append(args, "--hold", "10s")
	}
	w.show(true, args...)
	c.open = w.start(ctx, w.memberRing(receiver), nil, args...)
	if at, err = c.open.Says(ctx, "opening "); err == nil {
		if err = c.Net.listen(firstWord(at)); err == nil {
			_, err = c.open.Says(ctx, "running")
		}
	}
	if err != nil {
		return c, stepError("start the receiver's gateway", err)
	}
	return c, nil
}

func firstWord(s string) string {
	for i := range s {
		if s[i] == ' ' {
			return s[:i]
		}
	}
	return s
}

func (c *Call) sealArgs(more ...string) []string {
	return append([]string{"gateway", "seal", "--channel", c.channel, "--sender", c.number, "--rtcp-mux", "--listen", "127.0.0.1:0", "--to", c.Net.Address().String()}, more...)
}

// Seal starts the sender's gateway, behind the wall, with what a command line says more.
func (c *Call) Seal(ctx context.Context, more ...string) error {
	args := c.sealArgs(more...)
	c.w.show(true, args...)
	if c.seal != nil {
		c.seal.Stop()
	}
	c.seal = c.w.start(ctx, c.w.memberRing(c.sender), c.w.Wall, args...)
	at, err := c.seal.Says(ctx, "sealing ")
	if err == nil {
		_, err = c.seal.Says(ctx, "running")
	}
	if err != nil {
		return err
	}
	a, err := netip.ParseAddrPort(firstWord(at))
	if err == nil {
		c.to = net.UDPAddrFromAddrPort(a)
	}
	return err
}

// SayPlain has the sender's application send a packet to the media network as it is, past
// its gateway, and waits until it is there: for a test of the search.
func (c *Call) SayPlain(ctx context.Context) error {
	packets, err := c.w.o.Clip.Packets(1)
	if err != nil {
		return err
	}
	before, _, _ := c.Net.counts()
	if _, err := c.in.WriteTo(packets[len(packets)/2].Data, c.Net.Address()); err != nil {
		return err
	}
	return c.wait(ctx, c.Net.more, func() (bool, string) {
		came, _, _ := c.Net.counts()
		return came > before, "the packet did not come to the media network"
	})
}

// Sealer is the sender's gateway.
func (c *Call) Sealer() *Process { return c.seal }

// ThroughProxy are the flags that send a gateway's packets through the cloud proxy.
func (c *Call) ThroughProxy(card string) []string {
	return []string{"--cloud-proxy=auto", "--proxy-type", "2", "--proxy-server", c.w.control, "--proxy-card-file", card,
		"--proxy-channel", c.channel, "--proxy-uid", fmt.Sprint(c.sender), "--proxy-ca", c.w.path("proxy.pem")}
}

// Blocked sends some packets past the proxy, and wants the wall to stop them.
func (c *Call) Blocked(ctx context.Context) (int, error) {
	if err := c.Seal(ctx); err != nil {
		return 0, err
	}
	packets, err := c.w.o.Clip.Packets(1)
	if err != nil {
		return 0, err
	}
	before := c.w.Wall.Blocked()
	n := min(20, len(packets))
	for _, p := range packets[:n] {
		if _, err := c.in.WriteToUDP(p.Data, c.to); err != nil {
			return 0, err
		}
	}
	for c.w.Wall.Blocked() < before+n {
		if came, _, _ := c.Net.counts(); came != 0 {
			break
		}
		select {
		case <-c.w.Wall.changed:
		case <-c.Net.more:
		case <-ctx.Done():
			return 0, fmt.Errorf("the firewall stopped %d of %d packets: %w", c.w.Wall.Blocked()-before, n, context.Cause(ctx))
		}
	}
	if came, _, _ := c.Net.counts(); came != 0 {
		return 0, fmt.Errorf("%d packets came past the firewall", came)
	}
	return n, nil
}

// inFlight is how many packets are on their way at most before the media network has
// them; the gap between such rows keeps a pass of a clip within the time of its epochs.
const (
	inFlight = 16
	rowGap   = 2 * time.Millisecond
	giveUp   = 15 * time.Second
)

// Pass sends the clip once, and waits until what the media network passed on has arrived.
func (c *Call) Pass(ctx context.Context) error {
	packets, err := c.source.next()
	if err != nil {
		return err
	}
	if err := c.transmit(ctx, packets); err != nil {
		return err
	}
	return c.arrive(ctx)
}

// PassAnyway sends the clip once through a network that loses packets, and goes on sending
// until all that was passed on has arrived: what came before its key was announced waits
// for an announcement, of which some are lost.
func (c *Call) PassAnyway(ctx context.Context) error {
	for range 50 {
		packets, err := c.source.next()
		if err != nil {
			return err
		}
		if err := c.transmit(ctx, packets); err != nil {
			return err
		}
		next := time.After(300 * time.Millisecond)
		for again := true; again; {
			missing, _ := c.missing()
			if missing == 0 {
				return nil
			}
			select {
			case <-c.out.more:
			case <-next:
				again = false
			case <-ctx.Done():
				return c.stuck(context.Cause(ctx).Error())
			}
		}
	}
	missing, of := c.missing()
	return c.stuck(fmt.Sprintf("%d of %d packets did not arrive at the receiver", missing, of))
}

func (c *Call) transmit(ctx context.Context, packets []Packet) error {
	before, _, _ := c.Net.counts()
	for len(packets) > 0 {
		row := packets[:min(inFlight, len(packets))]
		packets = packets[len(row):]
		for _, p := range row {
			if _, err := c.in.WriteToUDP(p.Data, c.to); err != nil {
				return fmt.Errorf("send to the gateway: %w", err)
			}
		}
		c.sent = append(c.sent, row...)
		before += len(row)
		if err := c.wait(ctx, c.Net.more, func() (bool, string) {
			came, _, _ := c.Net.counts()
			return came >= before, fmt.Sprintf("%d of %d packets came to the media network", came-before+len(row), len(row))
		}); err != nil {
			return err
		}
		select {
		case <-time.After(rowGap): // a sender has a clock of its own
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// arrive waits until the receiver has what was passed on.
func (c *Call) arrive(ctx context.Context) error {
	return c.wait(ctx, c.out.more, func() (bool, string) {
		missing, of := c.missing()
		return missing == 0, fmt.Sprintf("%d of %d packets did not arrive at the receiver", missing, of)
	})
}

func (c *Call) missing() (n, of int) {
	c.Net.mu.Lock()
	defer c.Net.mu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for id := range c.Net.passed {
		if _, ok := c.out.got[id]; !ok {
			n++
		}
	}
	return n, len(c.Net.passed)
}

// wait waits until something is so, of which more tells; it gives up when a gateway ends,
// and after a while.
func (c *Call) wait(ctx context.Context, more <-chan struct{}, so func() (bool, string)) error {
	late := time.NewTimer(giveUp)
	defer late.Stop()
	for {
		ok, what := so()
		if ok {
			return nil
		}
		select {
		case <-more:
		case <-c.seal.done:
			return errors.Join(errors.New(what), c.seal.failed())
		case <-c.open.done:
			return errors.Join(errors.New(what), c.open.failed())
		case <-late.C:
			return c.stuck(what)
		case <-ctx.Done():
			return c.stuck(what + ": " + context.Cause(ctx).Error())
		}
	}
}

// stuck says what the gateways said last, which tells a person what to do.
func (c *Call) stuck(what string) error {
	return fmt.Errorf("%s; the sender's gateway says: %s; the receiver's: %s", what, lastLines(c.seal.Said(), 4), lastLines(c.open.Said(), 3))
}

func lastLines(s string, n int) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(s)), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte(" / ")))
}

// Rotated sends the clip again and again until packets are sealed in another epoch, and
// once more. It returns how many passes that were.
func (c *Call) Rotated(ctx context.Context) (passes int, err error) {
	before := c.Net.epoch()
	return c.Until(ctx, func(now uint64) bool { return now != before })
}

// Until sends the clip again and again until an epoch is in use with low bits that are
// good, and once more.
func (c *Call) Until(ctx context.Context, good func(low uint64) bool) (passes int, err error) {
	for again := true; again; passes++ {
		again = !good(c.Net.epoch())
		if err := c.Pass(ctx); err != nil {
			return passes, err
		}
		if passes == 500 {
			return passes, errors.New("the sender's gateway does not take the new epoch into use")
		}
	}
	return passes, nil
}

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

// Close ends what of the call runs.
func (c *Call) Close() {
	for _, p := range []*Process{c.seal, c.open, c.record} {
		if p != nil {
			p.Stop()
		}
	}
	if c.in != nil {
		c.in.Close()
	}
	if c.out != nil {
		c.out.close()
	}
	if c.Net != nil {
		c.Net.close()
	}
}
