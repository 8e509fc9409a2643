package proxy_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cmd/program"
)

// TestMain lets the test binary be the program, so that nothing has to be built to run one
// in a process or a network of its own; and what sends and receives RTP there.
func TestMain(m *testing.M) {
	switch os.Getenv("CHANSEAL_TEST_AS") {
	case "":
		os.Exit(m.Run())
	case "program":
		os.Exit(program.Main())
	case "sender":
		send(os.Args[1])
	case "receiver":
		receive(os.Args[1])
	}
}

// asProgram is the program, and the environment that makes it that.
func asProgram(t *testing.T) (bin string, env []string) {
	t.Helper()
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return bin, append(os.Environ(), "CHANSEAL_TEST_AS=program")
}

// every is between packets, as with voice.
const every = 20 * time.Millisecond

// send sends RTP to an address until it is killed.
func send(to string) {
	c, err := net.Dial("udp", to)
	if err != nil {
		panic(err)
	}
	pkt := append([]byte{0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, "a frame of some voice"...)
	for n := uint16(1); ; n++ {
		binary.BigEndian.PutUint16(pkt[2:], n)
		binary.BigEndian.PutUint32(pkt[4:], uint32(n)*960)
		c.Write(pkt)
		time.Sleep(every)
	}
}

// receive prints a line for each packet: its number, and the milliseconds since the one
// before.
func receive(at string) {
	a, err := net.ResolveUDPAddr("udp", at)
	if err != nil {
		panic(err)
	}
	c, err := net.ListenUDP("udp", a)
	if err != nil {
		panic(err)
	}
	buf := make([]byte, 2000)
	for last := time.Now(); ; {
		n, err := c.Read(buf)
		if err != nil || n < 12 {
			continue
		}
		now := time.Now()
		fmt.Println(binary.BigEndian.Uint16(buf[2:]), now.Sub(last).Milliseconds())
		last = now
	}
}
