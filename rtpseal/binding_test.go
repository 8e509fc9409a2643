package rtpseal_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// plainConn hides that a socket is one, as a relayed one does.
type plainConn struct{ net.PacketConn }

// TestBinding: a Gateway answers Binding requests where it takes RTP in, with no more bytes
// than it got, and they disturb neither RTP nor the way back of RTCP.
func TestBinding(t *testing.T) {
	for name, hidden := range map[string]bool{"socket": false, "other PacketConn": true} {
		t.Run(name, func(t *testing.T) {
			listen := func() *net.UDPConn {
				c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				return c
			}
			in, out, receiver, sender, stranger := listen(), listen(), listen(), listen(), listen()
			o := rtpseal.GatewayOptions{In: in, Out: out, To: receiver.LocalAddr().(*net.UDPAddr).AddrPort()}
			if hidden {
				o.In, o.Out = plainConn{in}, plainConn{out}
			}
			seal, _ := pair(t, cipher.AES128GCM())
			g, err := rtpseal.NewGateway(o, func(func(*rtpseal.Unit, error), func(rtpseal.Drop)) (rtpseal.Mapper, error) {
				return rtpseal.MapSealing(sealing(t, seal, 1200)), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); g.Run(ctx) }()
			defer func() { cancel(); <-ended }()

			buf := make([]byte, 2000)
			read := func(c *net.UDPConn) []byte {
				t.Helper()
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, err := c.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				return buf[:n]
			}
			send := func(c *net.UDPConn, b []byte) {
				t.Helper()
				if _, err := c.WriteTo(b, in.LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
			send(sender, plain(1, 0, 1, true, nil, []byte("a frame")))
			read(receiver)
			short := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
			long := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("twelve bytes"))
			send(stranger, short.Raw)
			send(stranger, long.Raw)
			answer := &stun.Message{Raw: bytes.Clone(read(stranger))}
			var mapped stun.XORMappedAddress
			if err := answer.Decode(); err != nil || answer.TransactionID != long.TransactionID || mapped.GetFrom(answer) != nil {
				t.Fatalf("the first answer is %v: %v", answer, err)
			}
			if a, _ := netip.ParseAddrPort(mapped.String()); a != stranger.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("mapped address %s", mapped)
			}
			if len(answer.Raw) > len(long.Raw) {
				t.Errorf("%d bytes are answered by %d", len(long.Raw), len(answer.Raw))
			}
			// RTCP from the receiver still goes to the sender.
			report := []byte{0x80, 201, 0, 1, 0, 0, 0, 1}
			if _, err := receiver.WriteTo(report, out.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if got := read(sender); !bytes.Equal(got, report) {
				t.Errorf("the sender gets %x", got)
			}
		})
	}
}
