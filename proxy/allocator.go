package proxy

import (
	"errors"
	"math/rand/v2"
	"sync"
)

// errNoPort says that every port of the relay range is in use.
var errNoPort = errors.New("proxy: every port of the relay range is in use")

// portList hands out the ports of a range, every one of them, in an order nobody can
// guess. A port that comes back is given out again last, so that late packets for
// its old owner find nobody. It may be used by many goroutines.
type portList struct {
	mu    sync.Mutex
	first uint16
	queue []uint16 // ring of free ports; taken ones out of turn stay and are skipped
	head  int
	count int // entries in the ring
	state []portState
	free  int
}

type portState uint8

const (
	portFree     portState = iota
	portTaken              // not in the ring
	portTakenOut           // taken out of turn: its entry in the ring is stale
)

func newPortList(p Ports) *portList {
	l := &portList{first: p.First, queue: make([]uint16, p.Len()), count: p.Len(), state: make([]portState, p.Len()), free: p.Len()}
	for i := range l.queue {
		l.queue[i] = uint16(i)
	}
	// math/rand/v2 is seeded by the system and not predictable from its outputs
	// (ChaCha8).
	rand.Shuffle(len(l.queue), func(i, j int) { l.queue[i], l.queue[j] = l.queue[j], l.queue[i] })
	return l
}

// take returns a free port.
func (l *portList) take() (uint16, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.count > 0 {
		i := l.queue[l.head]
		l.head = (l.head + 1) % len(l.queue)
		l.count--
		if l.state[i] == portTakenOut { // its entry is gone now
			l.state[i] = portTaken
			continue
		}
		l.state[i] = portTaken
		l.free--
		return l.first + i, nil
	}
	return 0, errNoPort
}

// takeThis takes a certain port if it is free.
func (l *portList) takeThis(port uint16) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := int(port) - int(l.first)
	if i < 0 || i >= len(l.state) || l.state[i] != portFree {
		return errNoPort
	}
	l.state[i] = portTakenOut
	l.free--
	return nil
}

// give returns a port that take or takeThis gave.
func (l *portList) give(port uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := int(port) - int(l.first)
	if i < 0 || i >= len(l.state) || l.state[i] == portFree {
		panic("proxy: a port was given back that was not taken")
	}
	if l.state[i] == portTaken {
		l.queue[(l.head+l.count)%len(l.queue)] = uint16(i)
		l.count++
	}
	l.state[i] = portFree
	l.free++
}

// left is how many ports are free.
func (l *portList) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free
}
