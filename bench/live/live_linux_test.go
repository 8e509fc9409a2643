package live

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/chanseal/chanseal/rtpseal"
)

// childVar has the test binary be a forwarder: what, where it listens, where it sends to.
const childVar = "CHANSEAL_LIVE_FORWARDER"

func TestMain(m *testing.M) {
	if v := os.Getenv(childVar); v != "" {
		f := strings.Fields(v)
		if err := forwarder(f[0], netip.MustParseAddrPort(f[1]), netip.MustParseAddrPort(f[2])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// forwarder forwards until it is killed.
func forwarder(what string, listen, to netip.AddrPort) error {
	in, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(listen))
	if err != nil {
		return err
	}
	out, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	in.SetReadBuffer(4 << 20)
	out.SetWriteBuffer(4 << 20)
	fmt.Fprintln(os.Stderr, "running")
	switch what {
	case "forward": // batched: recvmmsg and sendmmsg, as golang.org/x/net has them
		return forwardBatches(in, out, to)
	case "rows": // the gateway's own loops, UDP_SEGMENT and UDP_GRO included, and nothing between
		g, err := rtpseal.NewGateway(rtpseal.GatewayOptions{In: in, Out: out, To: to}, func(func(*rtpseal.Unit, error), func(rtpseal.Drop)) (rtpseal.Mapper, error) {
			return asIs{}, nil
		})
		if err != nil {
			return err
		}
		return g.Run(context.Background())
	case "single":
		buf := make([]byte, 1<<16)
		for {
			n, _, err := in.ReadFromUDPAddrPort(buf)
			if err != nil {
				return err
			}
			if _, err := out.WriteToUDPAddrPort(buf[:n], to); err != nil {
				return err
			}
		}
	}
	return errors.New("no forwarder " + what)
}

// forwardBatches forwards up to 32 packets a call, and rows of them (UDP_GRO) as they
// come, without a look at what is in them.
func forwardBatches(in, out *net.UDPConn, to netip.AddrPort) error {
	raw, err := in.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) }); err != nil {
		return err
	}
	rx, tx := ipv4.NewPacketConn(in), ipv4.NewPacketConn(out)
	const most = 32
	get, put := make([]ipv4.Message, most), make([]ipv4.Message, most)
	addr := net.UDPAddrFromAddrPort(to)
	for i := range get {
		get[i].Buffers, get[i].OOB = [][]byte{make([]byte, 1<<16)}, make([]byte, 64)
		put[i].Addr = addr
		put[i].Buffers = [][]byte{nil}
	}
	segments := make([][]byte, most)
	for i := range segments {
		segments[i] = segmentControl(0)
	}
	for {
		n, err := rx.ReadBatch(get, 0)
		if err != nil {
			return err
		}
		for i := range n {
			put[i].Buffers[0], put[i].OOB = get[i].Buffers[0][:get[i].N], nil
			if oob := get[i].OOB[:get[i].NN]; len(oob) >= unix.CmsgLen(4) {
				size := binary.NativeEndian.Uint32(oob[unix.CmsgLen(0):])
				binary.NativeEndian.PutUint16(segments[i][unix.CmsgLen(0):], uint16(size))
				put[i].OOB = segments[i]
			}
		}
		for rest := put[:n]; len(rest) > 0; {
			sent, err := tx.WriteBatch(rest, 0)
			if err != nil {
				return err
			}
			rest = rest[sent:]
		}
	}
}

// segmentControl is the control message that has the kernel cut a row into packets of a
// size.
func segmentControl(size uint16) []byte {
	c := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(c, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(c[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(c[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(c[unix.CmsgLen(0):], size)
	return c
}

// asIs is a Mapper that changes nothing.
type asIs struct{}

func (asIs) Push(pkt []byte, _ time.Time, out *rtpseal.Packets) error { out.Add(pkt); return nil }
func (asIs) Sweep(time.Time, *rtpseal.Packets)                        {}
func (asIs) Leave(uint32)                                             {}
func (asIs) Kept() int                                                { return 0 }

// built is the program, and a ring for it.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "chanseal-live"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "chanseal"), "github.com/chanseal/chanseal/cmd/chanseal")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	create := exec.Command(filepath.Join(dir, "chanseal"), "channel", "create", "stage")
	create.Env = append(os.Environ(), "CHANSEAL_RING="+filepath.Join(dir, "ring"))
	if out, err := create.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// command makes the process of a forwarder.
func command(b *testing.B, what string, listen, to netip.AddrPort) *exec.Cmd {
	b.Helper()
	name, arg, _ := strings.Cut(what, "-")
	switch name {
	case "seal":
		dir, err := built()
		if err != nil {
			b.Fatal(err)
		}
		if arg == "" {
			arg = "1400"
		}
		c := exec.Command(filepath.Join(dir, "chanseal"), "gateway", "seal", "--channel", "stage", "--listen", listen.String(), "--to", to.String(), "--rtcp-mux", "--mtu", arg)
		c.Env = append(os.Environ(), "CHANSEAL_RING="+filepath.Join(dir, "ring"), "GOMAXPROCS=1")
		return c
	case "open":
		dir, err := built()
		if err != nil {
			b.Fatal(err)
		}
		c := exec.Command(filepath.Join(dir, "chanseal"), "gateway", "open", "--channel", "stage", "--listen", listen.String(), "--to", to.String(), "--rtcp-mux")
		c.Env = append(os.Environ(), "CHANSEAL_RING="+filepath.Join(dir, "ring"), "GOMAXPROCS=1")
		return c
	case "socat":
		path, err := exec.LookPath("socat")
		if err != nil {
			b.Skip("socat is not here")
		}
		return exec.Command(path, "-u", "-b", "65536", fmt.Sprintf("UDP4-RECV:%d,bind=127.0.0.1,rcvbuf=4194304", listen.Port()), fmt.Sprintf("UDP4-SENDTO:%v", to))
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %v %v", childVar, what, listen, to), "GOMAXPROCS=1")
	return c
}

// start starts a forwarder on the last core, and waits until it listens.
func start(b *testing.B, what string, listen, to netip.AddrPort) (pid int) {
	b.Helper()
	c := command(b, what, listen, to)
	var log bytes.Buffer
	errs, err := c.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	ready := make(chan struct{})
	var once sync.Once
	go func() {
		for s := bufio.NewScanner(errs); s.Scan(); {
			log.WriteString(s.Text() + "\n")
			if strings.Contains(s.Text(), "running") {
				once.Do(func() { close(ready) })
			}
		}
		c.Wait()
		close(ended)
	}()
	b.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	if what == "socat" { // says nothing; its socket shows in the kernel's table
		for !bound(listen.Port()) {
			select {
			case <-ended:
				b.Fatal(log.String())
			case <-time.After(time.Millisecond):
			}
		}
	} else {
		select {
		case <-ready:
		case <-ended:
			b.Fatal(log.String())
		}
	}
	pin(c.Process.Pid, -1)
	if *fifoFlag {
		first(b, c.Process.Pid)
	}
	return c.Process.Pid
}

// bound reports whether a UDP socket has the port.
func bound(port uint16) bool {
	table, _ := os.ReadFile("/proc/net/udp")
	return bytes.Contains(table, fmt.Appendf(nil, ":%04X 00000000:0000 ", port))
}

// allowed are the cores that this process might use when it began.
var allowed = sync.OnceValue(func() (all unix.CPUSet) {
	unix.SchedGetaffinity(0, &all)
	return all
})

// pin has all threads of a process run on one of the cores that this one may use; -1 is
// the last.
func pin(pid, core int) {
	all := allowed()
	if core < 0 {
		core += all.Count()
	}
	if all.Count() < 2 {
		return
	}
	var set unix.CPUSet
	for i := 0; ; i++ {
		if all.IsSet(i) {
			if core == 0 {
				set.Set(i)
				break
			}
			core--
		}
	}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		unix.SchedSetaffinity(tid, &set)
	}
}

// first has the kernel run a process before all others on its core, as far as they do
// not have real-time priorities, too. A forwarder waits most of the time: it takes no more
// of the core from others than it needs.
func first(b *testing.B, pid int) {
	b.Helper()
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0); err != nil {
			b.Fatalf("-fifo: %v: it takes root", err)
		}
	}
}

// cpuTime is the CPU time of all threads of a process.
func cpuTime(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range tasks {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, t.Name()))
		if err != nil {
			continue
		}
		ns, _ := strconv.ParseInt(strings.Fields(string(data))[0], 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

func freePort(b *testing.B) netip.AddrPort {
	b.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}
