package keyserver

// numbers gives out sender numbers, each to one member at a time. It goes round, so that
// a number that was given back is the last to be given again.
type numbers struct {
	taken [1 << 16 / 64]uint64
	next  uint16
	count int
}

func (n *numbers) take() (uint16, bool) {
	if n.count == 1<<16 {
		return 0, false
	}
	for n.isTaken(n.next) {
		n.next++
	}
	x := n.next
	n.next++
	n.taken[x/64] |= 1 << (x % 64)
	n.count++
	return x, true
}

func (n *numbers) isTaken(x uint16) bool { return n.taken[x/64]>>(x%64)&1 == 1 }

// mark takes a number that its holder has from before.
func (n *numbers) mark(x uint16) {
	if !n.isTaken(x) {
		n.taken[x/64] |= 1 << (x % 64)
		n.count++
	}
}

func (n *numbers) give(x uint16) {
	if n.isTaken(x) {
		n.taken[x/64] &^= 1 << (x % 64)
		n.count--
	}
}
