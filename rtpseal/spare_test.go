package rtpseal

import (
	"encoding/binary"
	"testing"
	"time"
)

// TestNothingStaysOfAFlood: the memory that fragments took is given back when they are
// gone: a process may have thousands of Depacketizers, each flooded in its turn.
func TestNothingStaysOfAFlood(t *testing.T) {
	d := NewDepacketizer(Limits{}, nil)
	now := time.Unix(0, 0)
	pkt := make([]byte, 1200)
	pkt[0], pkt[12] = 0x80, byte(First)
	for i := range uint16(1000) {
		binary.BigEndian.PutUint16(pkt[2:], i)
		if _, err := d.Push(pkt, now); err != nil {
			t.Fatal(err)
		}
	}
	if d.Kept() == 0 {
		t.Fatal("nothing is kept")
	}
	d.Sweep(now.Add(MaxAge))
	if d.Kept() != 0 || len(d.spare) > idleSpare {
		t.Errorf("%d bytes kept, %d spare buffers", d.Kept(), len(d.spare))
	}
	for _, b := range d.spare[len(d.spare):cap(d.spare)] {
		if b != nil {
			t.Fatal("a buffer is still held")
		}
	}
}
