package etcdtest

import (
	"net"
	"testing"
	"time"
)

// TestCluster: a cluster elects another leader when one is killed or cut off, and
// what is cut off from clients does not answer them.
func TestCluster(t *testing.T) {
	cl, err := Start(Config{Members: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	first, err := cl.AwaitLeader(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	cl.Isolate(first)
	second, err := cl.AwaitLeader(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	cl.Rejoin(first)
	cl.Kill(second)
	if _, err := cl.AwaitLeader(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if err := cl.Restart(second); err != nil {
		t.Fatal(err)
	}

	c, err := net.Dial("tcp", cl.Endpoints()[second])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cl.Cut(Clients, second)
	if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("through a cut: %d bytes, %v", n, err)
	}
}
