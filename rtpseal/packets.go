package rtpseal

// Packets are RTP packets one behind the other in one piece of memory, so that a
// system call can send many at once. The zero value is empty.
type Packets struct {
	buf  []byte
	ends []int
}

// Reset empties it and keeps the memory.
func (p *Packets) Reset() { p.buf, p.ends = p.buf[:0], p.ends[:0] }

// Wipe clears what it holds, and empties it.
func (p *Packets) Wipe() {
	clear(p.buf[:p.Bytes()])
	p.Reset()
}

// Len is the number of packets.
func (p *Packets) Len() int { return len(p.ends) }

// Bytes is their length together.
func (p *Packets) Bytes() int {
	if len(p.ends) == 0 {
		return 0
	}
	return p.ends[len(p.ends)-1]
}

// At returns a packet. It is valid until the next one comes, or Reset.
func (p *Packets) At(i int) []byte {
	begin := 0
	if i > 0 {
		begin = p.ends[i-1]
	}
	return p.buf[begin:p.ends[i]:p.ends[i]]
}

// Add appends a copy of a packet.
func (p *Packets) Add(pkt []byte) {
	p.buf = append(p.buf[:p.Bytes()], pkt...)
	p.done()
}

// room makes room for n bytes more, as append does, but wiping what it leaves.
func (p *Packets) room(n int) {
	used := p.Bytes()
	if cap(p.buf)-used >= n {
		return
	}
	bigger := make([]byte, used, 2*used+n)
	copy(bigger, p.buf[:used])
	clear(p.buf[:cap(p.buf)])
	p.buf = bigger
}

// begin returns the memory to which the next packet is appended; done takes it in when
// buf was set to the result.
func (p *Packets) begin() []byte { return p.buf[:p.Bytes()] }
func (p *Packets) done()         { p.ends = append(p.ends, len(p.buf)) }
