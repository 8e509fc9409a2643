package program

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// live sends the recording as RTP through both gateways, with a wire between them that
// is listened to.
func (d *demo) live() error {
	loop := func() (*net.UDPConn, error) { return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) }
	var conns [3]*net.UDPConn // source, wire, far end
	for i := range conns {
		c, err := loop()
		if err != nil {
			return err
		}
		defer c.Close()
		conns[i] = c
	}
	source, wire, end := conns[0], conns[1], conns[2]
	ctx, cancel := context.WithCancel(d.ctx)
	ended := make(chan error, 2)
	started := 0
	defer func() {
		cancel()
		for range started {
			<-ended
		}
	}()
	gateway := func(args ...string) (*net.UDPAddr, error) {
		fmt.Fprintf(d.out, "   $ chanseal %s\n", strings.Join(args, " "))
		says, said := io.Pipe()
		p := &program{stdin: strings.NewReader(""), stdout: said, stderr: said, custom: d.p.custom, home: d.path("ring")}
		started++
		go func() { ended <- wantExit(p.run(ctx, args), exitDone); said.Close() }()
		where := make(chan string, 1)
		go func() {
			b := make([]byte, 512)
			for {
				n, err := says.Read(b)
				if f := strings.Fields(string(b[:n])); len(f) > 2 && (f[1] == "sealing" || f[1] == "opening") {
					where <- f[2]
				}
				if err != nil {
					close(where)
					return
				}
			}
		}()
		address, ok := <-where
		if !ok {
			return nil, errors.New("the gateway does not start")
		}
		return net.ResolveUDPAddr("udp4", address)
	}
	open, err := gateway("gateway", "open", "--channel", "stage", "--rtcp-mux", "--listen", "127.0.0.1:0", "--to", end.LocalAddr().String())
	if err != nil {
		return err
	}
	seal, err := gateway("gateway", "seal", "--channel", "stage", "--sender", "7", "--rtcp-mux", "--listen", "127.0.0.1:0", "--to", wire.LocalAddr().String())
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	read := func(c *net.UDPConn) ([]byte, error) {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(buf)
		return bytes.Clone(buf[:n]), err
	}
	packets, sealedBytes, plainBytes, shown := 0, 0, 0, 0
	for i, frame := range d.clip.frames {
		for at := 0; at < len(frame); at += 1100 {
			part := frame[at:min(at+1100, len(frame))]
			pkt := append([]byte{0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}, part...)
			binary.BigEndian.PutUint16(pkt[2:], uint16(packets))
			binary.BigEndian.PutUint32(pkt[4:], uint32(i))
			packets++
			if _, err := source.WriteToUDP(pkt, seal); err != nil {
				return err
			}
			sealed, err := read(wire)
			if err != nil {
				return fmt.Errorf("packet %d did not leave the gateway: %w", packets, err)
			}
			if len(part) >= 24 && bytes.Contains(sealed, part[len(part)-24:]) {
				shown++
			}
			sealedBytes, plainBytes = sealedBytes+len(sealed), plainBytes+len(pkt)
			changed := bytes.Clone(sealed)
			changed[len(changed)-1] ^= 1 // in front of the real one: it must not arrive
			for _, p := range [][]byte{changed, sealed, sealed} {
				if _, err := wire.WriteToUDP(p, open); err != nil {
					return err
				}
			}
			got, err := read(end)
			if err != nil {
				return fmt.Errorf("packet %d did not arrive: %w", packets, err)
			}
			if !bytes.Equal(got, pkt) {
				return fmt.Errorf("packet %d arrived as another one", packets)
			}
		}
	}
	end.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := end.Read(buf); err == nil {
		return fmt.Errorf("a packet of %d bytes arrived that was changed or came twice", n)
	}
	if shown > 0 {
		return fmt.Errorf("%d packets show what they hold", shown)
	}
	d.sayf("%d packets went through, bit for bit; on the wire none showed what it holds; it cost %.1f bytes each", packets, float64(sealedBytes-plainBytes)/float64(packets))
	d.sayf("of each a changed copy and a second one came along: none passed")
	return nil
}
