package program

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/chanseal/chanseal/media/ebml"
)

// surgery is a sealed file taken apart, for tests that put it together wrongly. Sizes
// are made anew, so that what is wrong is only what the test did.
type surgery struct {
	head   []byte // all up to the Segment's header, its size unknown
	pieces []piece
}

// piece is a child of the Segment; of a Cluster with its blocks apart.
type piece struct {
	raw    []byte // not a Cluster
	time   []byte // a Cluster's Timestamp
	blocks [][]byte
}

const (
	idSegment ebml.ID = 0x18538067
	idCluster ebml.ID = 0x1F43B675
)

func takeApart(file []byte) (*surgery, error) {
	_, _, rest, err := ebml.Split(file)
	if err != nil {
		return nil, err
	}
	s := &surgery{head: bytes.Clone(file[:len(file)-len(rest)])}
	h, err := ebml.ParseHeader(rest)
	if err != nil || h.ID != idSegment {
		return nil, errors.New("no Segment")
	}
	s.head = ebml.AppendUnknownSize(ebml.AppendID(s.head, idSegment), 8)
	for rest = rest[h.Len():]; len(rest) > 0; {
		h, body, after, err := ebml.Split(rest)
		if err != nil {
			return nil, err
		}
		p := piece{raw: rest[:len(rest)-len(after)]}
		if h.ID == idCluster {
			p.raw = nil
			for first := true; len(body) > 0; first = false {
				_, _, next, err := ebml.Split(body)
				if err != nil {
					return nil, err
				}
				if element := body[:len(body)-len(next)]; first {
					p.time = element
				} else {
					p.blocks = append(p.blocks, element)
				}
				body = next
			}
		}
		s.pieces, rest = append(s.pieces, p), after
	}
	return s, nil
}

func (s *surgery) bytes() []byte {
	out := bytes.Clone(s.head)
	for _, p := range s.pieces {
		if p.raw != nil {
			out = append(out, p.raw...)
			continue
		}
		out = ebml.AppendBytes(out, idCluster, slices.Concat(p.time, slices.Concat(p.blocks...)))
	}
	return out
}

// cluster returns the first Cluster that has enough blocks for the tests.
func (s *surgery) cluster() (*piece, error) {
	for i := range s.pieces {
		if len(s.pieces[i].blocks) >= 6 {
			return &s.pieces[i], nil
		}
	}
	return nil, errors.New("no Cluster with six blocks")
}

// operations are the ways to put a file together wrongly. other is another sealed file.
var operations = map[string]func(s, other *surgery) error{
	"same": func(s, _ *surgery) error { return nil },
	"drop-frame": func(s, _ *surgery) error {
		c, err := s.cluster()
		if err == nil {
			c.blocks = slices.Delete(c.blocks, 3, 4)
		}
		return err
	},
	"repeat-frame": func(s, _ *surgery) error {
		c, err := s.cluster()
		if err == nil {
			c.blocks = slices.Insert(c.blocks, 4, c.blocks[3])
		}
		return err
	},
	"swap-frames": func(s, _ *surgery) error {
		c, err := s.cluster()
		if err == nil {
			c.blocks[3], c.blocks[4] = c.blocks[4], c.blocks[3]
		}
		return err
	},
	"move-frame": func(s, _ *surgery) error { // to the end of its Cluster
		c, err := s.cluster()
		if err == nil {
			b := c.blocks[2]
			c.blocks = append(slices.Delete(c.blocks, 2, 3), b)
		}
		return err
	},
	"drop-cluster": func(s, _ *surgery) error {
		for i := range s.pieces {
			if s.pieces[i].raw == nil {
				s.pieces = slices.Delete(s.pieces, i, i+1)
				return nil
			}
		}
		return errors.New("no Cluster")
	},
	"foreign-frame": func(s, other *surgery) error {
		c, err := s.cluster()
		if err != nil {
			return err
		}
		o, err := other.cluster()
		if err == nil {
			c.blocks = slices.Insert(c.blocks, 3, o.blocks[3])
		}
		return err
	},
	"foreign-end": func(s, other *surgery) error {
		s.pieces[len(s.pieces)-1] = other.pieces[len(other.pieces)-1]
		return nil
	},
	"drop-end": func(s, _ *surgery) error {
		s.pieces = s.pieces[:len(s.pieces)-1]
		return nil
	},
	"repeat-end": func(s, _ *surgery) error {
		s.pieces = append(s.pieces, s.pieces[len(s.pieces)-1])
		return nil
	},
}

// operate does one of the operations to a file.
func operate(name string, file, other []byte) ([]byte, error) {
	if name == "other-number" { // of the suite, beside its name
		out := bytes.Clone(file)
		out[bytes.Index(out, []byte("aes-128-gcm"))-3] ^= 0x40
		return out, nil
	}
	op := operations[name]
	if op == nil {
		return nil, fmt.Errorf("no operation %q", name)
	}
	s, err := takeApart(file)
	if err != nil {
		return nil, err
	}
	o, err := takeApart(other)
	if err != nil {
		return nil, err
	}
	if err := op(s, o); err != nil {
		return nil, err
	}
	return s.bytes(), nil
}
