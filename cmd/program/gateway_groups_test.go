package program

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestGatewayGroups: streams of one port on several groups do not get each other's
// packets: they would be sealed for the wrong channel.
func TestGatewayGroups(t *testing.T) {
	ifi := loopback(t)
	for network, groups := range map[string][]string{"udp4": {"239.77.7.8", "239.77.7.9"}, "udp6": {"ff01::77:8", "ff01::77:9"}} {
		t.Run(network, func(t *testing.T) { twoGroups(t, ifi, network, groups) })
	}
}

func twoGroups(t *testing.T, ifi *net.Interface, network string, groups []string) {
	src, err := net.ListenUDP(network, nil)
	if err != nil {
		t.Skip(err)
	}
	defer src.Close()
	if err := multicastBy(src, ifi.Name, network == "udp4"); err != nil {
		t.Skip(err)
	}
	port := freePort(t, "127.0.0.1")
	for i := range groups {
		groups[i] = net.JoinHostPort(groups[i], fmt.Sprint(port))
		to, _ := net.ResolveUDPAddr(network, groups[i])
		if c, err := net.ListenMulticastUDP(network, ifi, to); err != nil {
			t.Skip(err)
		} else {
			c.Close()
		}
		if _, err := src.WriteToUDP(nil, to); err != nil {
			t.Skip(err)
		}
	}
	home := newTestRing(t)
	runHere(t, home, "channel", "create", "foyer")
	var ends []net.PacketConn
	type stream struct {
		Channel   string `json:"channel"`
		Listen    string `json:"listen"`
		To        string `json:"to"`
		Interface string `json:"interface"`
		Mux       bool   `json:"rtcp_mux"`
	}
	var open, seal []stream
	for i, channel := range []string{"stage", "foyer"} {
		end, mid := listenAt(t, "127.0.0.1:0"), fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1"))
		ends = append(ends, end)
		seal = append(seal, stream{channel, groups[i], mid, ifi.Name, true})
		open = append(open, stream{channel, mid, end.LocalAddr().String(), "", true})
	}
	for direction, streams := range map[string][]stream{"open": open, "seal": seal} {
		file := filepath.Join(t.TempDir(), "streams.json")
		data, err := json.Marshal(map[string]any{"streams": streams})
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(file, data, 0o600)
		background(t, home, "gateway", direction, "--config", file)
	}
	for i := range uint16(6) { // to and fro: what came astray would come before the next
		pkt := rtpPacket(i, fmt.Sprintf("of group %d", i%2))
		to, _ := net.ResolveUDPAddr(network, groups[i%2])
		if _, err := src.WriteToUDP(pkt, to); err != nil {
			t.Fatal(err)
		}
		receives(t, ends[i%2], pkt)
	}
}
