package proxy

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// TestControlIsBounded: however many fronts are flooded with requests, what waits for
// pion/turn stays within one bound for all of them, and is counted until it is taken.
func TestControlIsBounded(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *Config) { c.UnauthenticatedPerSecond = -1 })
	request := make([]byte, maxControl&^3)
	binary.BigEndian.PutUint16(request, typeBinding)
	binary.BigEndian.PutUint16(request[2:], uint16(len(request)-stunHeaderLen))
	binary.BigEndian.PutUint32(request[4:], stunCookie)
	from := netip.AddrPortFrom(loopback, 1)

	var fronts []*front // that nobody reads from
	for range 8 {
		f := newFront(l.Server, nil, false)
		fronts = append(fronts, f)
		for range maxControlQueued + 1 {
			f.receive(request, from, time.Now().UnixNano())
		}
	}
	waiting := 0
	for _, f := range fronts {
		waiting += len(f.control) * len(request)
	}
	if waiting > maxControlBytes || waiting < maxControlBytes/2 {
		t.Errorf("%d bytes wait, the bound is %d", waiting, maxControlBytes)
	}
	buf := make([]byte, 2*maxControl)
	for _, f := range fronts {
		for len(f.control) > 0 {
			if _, _, err := f.ReadFrom(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := l.controlBytes.Load(); n != 0 {
		t.Errorf("nothing waits, and %d bytes are counted", n)
	}
	if !fronts[0].queue(request, from) {
		t.Error("there is room again, and a request is refused")
	}
}
