package etcdtest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

type condition int

const (
	up condition = iota
	stalled
	broken
)

// network knows the condition of each connection from one side to another.
type network struct {
	mu      sync.Mutex
	names   map[string]int // member IDs, as they stand in requests between members
	links   map[[2]int]condition
	conns   map[*conn]struct{}
	changed chan struct{} // closed and replaced at every change
	relays  []*relay
	closed  bool
}

func newNetwork() *network {
	return &network{
		names: map[string]int{}, links: map[[2]int]condition{}, conns: map[*conn]struct{}{}, changed: make(chan struct{}),
	}
}

func (n *network) name(i int, id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[id] = i
}

func (n *network) set(from, to int, c condition) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if from == to {
		return
	}
	was := n.links[[2]int{from, to}]
	n.links[[2]int{from, to}] = c
	for k := range n.conns {
		if k.to == to && n.side(k.from) == from && (c == broken || was == stalled && c == up) {
			k.break_()
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// side is the index of who began a connection. n.mu is held.
func (n *network) side(id string) int {
	if i, ok := n.names[id]; ok {
		return i
	}
	return Clients
}

// link returns the condition of a connection, and what is closed when it may change.
func (n *network) link(from string, to int) (condition, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return broken, n.changed
	}
	return n.links[[2]int{n.side(from), to}], n.changed
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, r := range n.relays {
		r.ln.Close()
	}
	for c := range n.conns {
		c.break_()
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// relay stands before a member.
type relay struct {
	net   *network
	ln    net.Listener
	to    int
	peers bool // those who connect are members

	mu     sync.Mutex
	target string
}

func (n *network) listen(to int, peers bool) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{net: n, ln: ln, to: to, peers: peers}
	n.mu.Lock()
	n.relays = append(n.relays, r)
	n.mu.Unlock()
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			go r.serve(in)
		}
	}()
	return r, nil
}

func (r *relay) addr() string { return r.ln.Addr().String() }

func (r *relay) lead(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// conn is a connection through a relay.
type conn struct {
	from string // a member's ID, "" for a client
	to   int
	mu   sync.Mutex
	ends []net.Conn
	dead bool
}

// break_ resets both ends.
func (c *conn) break_() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	for _, e := range c.ends {
		reset(e)
	}
}

// add takes in an end; false if the connection broke before.
func (c *conn) add(e net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends = append(c.ends, e)
	return !c.dead
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

func (r *relay) serve(in net.Conn) {
	defer reset(in)
	var head []byte
	c := &conn{to: r.to}
	if r.peers {
		var err error
		if c.from, head, err = whoCalls(in); err != nil {
			return
		}
	}
	c.add(in)
	r.net.mu.Lock()
	r.net.conns[c] = struct{}{}
	r.net.mu.Unlock()
	defer func() {
		r.net.mu.Lock()
		delete(r.net.conns, c)
		r.net.mu.Unlock()
	}()
	if !r.passes(c) {
		return
	}
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer reset(out)
	if !c.add(out) {
		return
	}
	if _, err := out.Write(head); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.copy(c, out, in) })
	wg.Go(func() { r.copy(c, in, out) })
	wg.Wait()
}

// passes waits while the connection is stalled; false says that it is broken.
func (r *relay) passes(c *conn) bool {
	for {
		state, changed := r.net.link(c.from, c.to)
		c.mu.Lock()
		dead := c.dead
		c.mu.Unlock()
		switch {
		case dead, state == broken:
			return false
		case state == up:
			return true
		}
		<-changed
	}
}

func (r *relay) copy(c *conn, dst, src net.Conn) {
	defer c.break_()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if !r.passes(c) {
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// whoCalls reads the head of the first request of a connection between members,
// which names the one who calls.
func whoCalls(in net.Conn) (id string, head []byte, err error) {
	in.SetReadDeadline(time.Now().Add(ready))
	defer in.SetReadDeadline(time.Time{})
	buf := make([]byte, 4096)
	for len(head) < 64<<10 {
		n, err := in.Read(buf)
		head = append(head, buf[:n]...)
		if i := bytes.Index(head, []byte("\r\n\r\n")); i >= 0 {
			for line := range bytes.Lines(head[:i]) {
				if v, ok := bytes.CutPrefix(line, []byte("X-Server-From: ")); ok {
					id = string(bytes.TrimSpace(v))
				}
			}
			return id, head, nil
		}
		if err != nil {
			return "", nil, err
		}
	}
	return "", nil, errors.Join(errors.New("etcdtest: no request between members"), io.ErrUnexpectedEOF)
}
