package proxy

import (
	"sync"
	"testing"

	"github.com/pion/stun/v4"
)

// peerAttribute is XOR-PEER-ADDRESS of 127.0.0.n, port 9.
func peerAttribute(n byte) stun.RawAttribute {
	return stun.RawAttribute{Type: stun.AttrXORPeerAddress, Value: []byte{0, 1, 0x21, 0x12 ^ 9, 127 ^ 0x21, 0x12, 0xA4, n ^ 0x42}}
}

// TestEndDuringRequest: an allocation that is ended while its client asks for
// permissions ends, whole, and the client's next one at the same five-tuple is not hit.
// Under the race detector this fails if ends and requests are not in turns.
func TestEndDuringRequest(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *Config) { c.Media = []string{"127.0.0.0/8"}; c.UnauthenticatedPerSecond = -1 })
	user, password := l.credentials(1, 0)
	end := func() { l.reg.endAll(endedRevoked, func(*session) bool { return true }) }
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := l.rawTURN(user, password)
			for range 4 {
				if _, _, code := c.allocate(t); code != 0 && code != 437 && code != 508 { // the latter: ended while it began
					t.Errorf("allocate: %d", code)
					return
				}
				for n := range byte(20) {
					if _, code := c.try(stun.MethodCreatePermission, peerAttribute(n)); code < 0 {
						break // no answer: the allocation is gone
					}
				}
				c.try(stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: []byte{0, 0, 0, 0}})
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
			end()
		}
	}
	l.eventually("all allocations are over", func() bool { end(); return l.Sessions() == 0 })
	l.eventually("pion/turn has forgotten them", func() bool { return l.turn.AllocationCount() == 0 })

	// Refresh to 0 and allocate again, from the same socket: the second stays.
	c := l.rawTURN(user, password)
	for range 50 {
		if _, _, code := c.allocate(t); code != 0 {
			t.Fatalf("allocate: %d", code)
		}
		if _, code := c.do(t, stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: []byte{0, 0, 0, 0}}); code != 0 {
			t.Fatalf("refresh to 0: %d", code)
		}
	}
	if _, _, code := c.allocate(t); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	if _, code := c.do(t, stun.MethodCreatePermission, peerAttribute(1)); code != 0 {
		t.Errorf("the last allocation is gone: %d", code)
	}
	if n := l.turn.AllocationCount(); n != 1 {
		t.Errorf("%d allocations, want 1", n)
	}
}
