package program

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// relay passes packets on as a bad network does: it loses some, delays others by up to
// 64 packets, and doubles some. It counts what it passed on, by RTP timestamp, which is
// in clear.
type relay struct {
	in, out net.Conn
	rnd     *rand.Rand
	loss    float64

	mu     sync.Mutex
	lost   map[uint32]bool
	passed map[uint32]bool
	queue  [][]flying // by arrival
}

type flying struct{ pkt []byte }

func (r *relay) run() {
	buf := make([]byte, 1<<16)
	for {
		n, err := r.in.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		ts := binary.BigEndian.Uint32(buf[4:])
		if r.rnd.Float64() < r.loss {
			r.lost[ts] = true
		} else {
			r.passed[ts] = true
			for range 1 + r.rnd.IntN(10)/9 {
				r.put(r.rnd.IntN(64), bytes.Clone(buf[:n]))
			}
		}
		r.step()
		r.mu.Unlock()
	}
}

func (r *relay) put(when int, pkt []byte) {
	for len(r.queue) <= when {
		r.queue = append(r.queue, nil)
	}
	r.queue[when] = append(r.queue[when], flying{pkt})
}

func (r *relay) step() {
	if len(r.queue) > 0 {
		for _, f := range r.queue[0] {
			r.out.Write(f.pkt)
		}
		r.queue = r.queue[1:]
	}
}

// flush passes on what is under way.
func (r *relay) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		r.step()
	}
}

// TestGatewayLossy: between the gateways 5 % of packets are lost, others come up to 64
// packets late or twice, and the channel is rotated. Of the packets that arrived whole,
// in pieces or not, none is lost, and none comes out twice or changed.
func TestGatewayLossy(t *testing.T) {
	home := newTestRing(t)
	ports := freePorts(t, 2)
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	sink := listenAt(t, "127.0.0.1:0")
	sink.(*net.UDPConn).SetReadBuffer(4 << 20)
	middle, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer middle.Close()
	middle.SetReadBuffer(4 << 20)
	out, err := net.Dial("udp4", at(1))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// On a busy machine 64 packets, and a rotation's news, take longer than the usual second.
	background(t, home, "gateway", "open", "--channel", "stage", "--listen", at(1), "--to", sink.LocalAddr().String(), "--rtcp-mux", "--hold", "10s")
	background(t, home, "gateway", "seal", "--channel", "stage", "--listen", at(0), "--to", middle.LocalAddr().String(), "--rtcp-mux")
	r := &relay{in: middle, out: out, rnd: rand.New(rand.NewPCG(1, 2)), loss: 0.05, lost: map[uint32]bool{}, passed: map[uint32]bool{}}
	go r.run()

	src, err := net.Dial("udp4", at(0))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	const n = 1200
	sent := make([][]byte, n)
	rnd := rand.New(rand.NewPCG(3, 4))
	var rotating sync.WaitGroup
	for i := range n {
		pkt := append(rtpPacket(uint16(65000+i), ""), make([]byte, rnd.IntN(2000))...)
		binary.BigEndian.PutUint32(pkt[4:], uint32(i))
		for j := range pkt[12:] {
			pkt[12+j] = byte(rnd.Uint32())
		}
		sent[i] = pkt
		if _, err := src.Write(pkt); err != nil {
			t.Fatal(err)
		}
		if i%300 == 100 && i < 900 {
			rotating.Go(func() { runHere(t, home, "channel", "rotate", "stage") })
		}
		time.Sleep(time.Millisecond) // a video of 1,000 packets a second
	}
	rotating.Wait()
	came := map[uint32]int{}
	buf := make([]byte, 1<<16)
	read := func(patience time.Duration) bool {
		sink.SetReadDeadline(time.Now().Add(patience))
		k, _, err := sink.ReadFrom(buf)
		if err != nil {
			return false
		}
		ts := binary.BigEndian.Uint32(buf[4:])
		if ts >= n || !bytes.Equal(buf[:k], sent[ts]) {
			t.Fatalf("packet %d came changed", ts)
		}
		if came[ts]++; came[ts] > 1 {
			t.Fatalf("packet %d came twice", ts)
		}
		return true
	}
	whole := func() (missing []uint32) {
		r.flush()
		r.mu.Lock()
		defer r.mu.Unlock()
		for ts := range uint32(n) {
			if r.passed[ts] && !r.lost[ts] && came[ts] == 0 {
				missing = append(missing, ts)
			}
		}
		return missing
	}
	for len(whole()) > 0 {
		if !read(5 * time.Second) {
			t.Fatalf("%d packets arrived whole and did not come out: %v", len(whole()), whole())
		}
	}
	for read(50 * time.Millisecond) { // nothing else is to come
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for ts := range came {
		if !r.passed[ts] {
			t.Errorf("packet %d came out, and was not let through", ts)
		}
	}
	if len(r.lost) < n/40 {
		t.Errorf("the relay lost %d packets of %d", len(r.lost), n)
	}
}

// TestGatewayFlood: random packets as fast as they can be sent change nothing but
// counters: what is held is bounded, and good packets pass.
func TestGatewayFlood(t *testing.T) {
	home := newTestRing(t)
	ports := freePorts(t, 2)
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	sink := listenAt(t, "127.0.0.1:0")
	errs := background(t, home, "gateway", "open", "--channel", "stage", "--listen", at(1), "--to", sink.LocalAddr().String(), "--rtcp-mux", "--metrics", "127.0.0.1:0")
	background(t, home, "gateway", "seal", "--channel", "stage", "--listen", at(0), "--to", at(1), "--rtcp-mux")
	arrives(t, at(0), sink, rtpPacket(0, "before"))
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	defer flooding.Wait()
	defer close(stop)
	begun := make(chan struct{})
	flooding.Go(func() {
		junk, err := net.Dial("udp4", at(1))
		if err != nil {
			t.Error(err)
			return
		}
		defer junk.Close()
		rnd := rand.New(rand.NewPCG(5, 6))
		pkt := make([]byte, 1400)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i == 20000 {
				close(begun)
			}
			for j := 0; j < 40; j++ {
				pkt[j] = byte(rnd.Uint32())
			}
			if i%4 != 0 { // RTP, and of these most with a descriptor
				pkt[0] = 0x80
				pkt[12] &= 0xE0
			}
			junk.Write(pkt[:13+rnd.IntN(1380)])
			if raceflag.Enabled && i%16 == 0 { // gateways of a tenth of their speed are to be flooded, not starved
				time.Sleep(time.Millisecond)
			}
		}
	})
	<-begun
	src, err := net.Dial("udp4", at(0))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	buf := make([]byte, 4096)
	lost := 0
	for i := range 300 {
		pkt := rtpPacket(uint16(i+1), fmt.Sprint("good ", i))
		for try := 0; ; try++ {
			if try == 20 {
				t.Fatalf("good packet %d does not pass", i)
			}
			src.Write(pkt)
			sink.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			n, _, err := sink.ReadFrom(buf)
			if err == nil && bytes.Equal(buf[:n], pkt) {
				break
			} else if err == nil && buf[1]>>5 == 6 { // passes for RTCP, which is in clear
				continue
			} else if err == nil && !bytes.Contains(buf[:n], []byte("good")) {
				t.Fatalf("%q came out", buf[:n])
			}
			lost++
		}
	}
	resp, err := http.Get(regexp.MustCompile(`http://\S+/metrics`).FindString(errs()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string) (v float64) {
		for line := range strings.Lines(string(text)) {
			if s, ok := strings.CutPrefix(line, "chanseal_gateway_"+name+" "); ok {
				v, _ = strconv.ParseFloat(strings.TrimSpace(s), 64)
			}
		}
		return v
	}
	refused := value(`refused_total{reason="not-rtp"}`) + value(`refused_total{reason="no-descriptor"}`) + value(`refused_total{reason="unknown-kid"}`)
	if held := value("held_bytes"); held > 20<<20 || refused < 1000 {
		t.Errorf("%v bytes are held, %v packets were refused", held, refused)
	}
	t.Logf("%d of 300 good packets had to be sent again; %.0f were refused", lost, refused)
}
