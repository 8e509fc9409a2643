package onecall

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Needles are byte strings that must be nowhere: secrets in the forms in which one could
// be written down, and pieces of plain frames. They are found in one pass, however many.
type Needles struct {
	byHead map[uint64][]needle
	begins [1 << 16]bool // the first two bytes of one,
	goesOn [1 << 16]bool // and bytes 5 and 6
	count  int
}

type needle struct {
	what string
	b    []byte
}

// needleSize is how much of a secret is looked for, in bytes: more than chance puts there.
const needleSize = 16

// NewNeedles makes an empty set.
func NewNeedles() *Needles { return &Needles{byHead: map[uint64][]needle{}} }

// Len is how many byte strings are looked for.
func (n *Needles) Len() int { return n.count }

func (n *Needles) add(what string, b []byte) {
	if len(b) < needleSize {
		return
	}
	b = bytes.Clone(b[:needleSize])
	head := binary.LittleEndian.Uint64(b)
	for _, old := range n.byHead[head] {
		if bytes.Equal(old.b, b) {
			return
		}
	}
	n.byHead[head] = append(n.byHead[head], needle{what, b})
	n.begins[binary.LittleEndian.Uint16(b)] = true
	n.goesOn[binary.LittleEndian.Uint16(b[5:])] = true
	n.count++
}

// Secret adds a secret of random bytes: as it is, in hexadecimal and in base64, from
// whatever byte on one began to write.
func (n *Needles) Secret(what string, secret []byte) {
	n.add(what, secret)
	h := hex.EncodeToString(secret)
	n.add(what+", in hexadecimal", []byte(h))
	n.add(what+", in hexadecimal", []byte(strings.ToUpper(h)))
	for at := range min(3, len(secret)) {
		n.add(what+", in base64", []byte(base64.RawStdEncoding.EncodeToString(secret[at:])))
		n.add(what+", in base64", []byte(base64.RawURLEncoding.EncodeToString(secret[at:])))
	}
}

// Text adds a secret that is a text.
func (n *Needles) Text(what, secret string) { n.add(what, []byte(secret)) }

// Frame adds pieces of plain media: of the beginning, the middle and the end. Pieces that
// could be anything, such as silence, are left out.
func (n *Needles) Frame(what string, b []byte) {
	for _, at := range []int{0, len(b)/2 - needleSize/2, len(b) - needleSize} {
		for at >= 0 && at < len(b) && b[at] == 0 {
			at++ // memory is full of zeros: they would make the search slow
		}
		if at < 0 || at+needleSize > len(b) {
			continue
		}
		piece := b[at : at+needleSize]
		var kinds [256]bool
		different := 0
		for _, x := range piece {
			if !kinds[x] {
				kinds[x] = true
				different++
			}
		}
		if different >= 12 {
			n.add(what, piece)
		}
	}
}

// In returns what of it a haystack holds. It reads a hundred megabytes, which the race
// detector need not watch.
//
//go:norace
func (n *Needles) In(hay []byte) (found []string) {
	for i := 0; i+needleSize <= len(hay); i++ {
		if !n.begins[uint16(hay[i])|uint16(hay[i+1])<<8] || !n.goesOn[uint16(hay[i+5])|uint16(hay[i+6])<<8] {
			continue
		}
		for _, c := range n.byHead[binary.LittleEndian.Uint64(hay[i:])] {
			if bytes.Equal(hay[i:i+needleSize], c.b) && !slices.Contains(found, c.what) {
				found = append(found, c.what)
			}
		}
	}
	return found
}

// Place is somewhere to look.
type Place struct {
	Name string
	Data [][]byte
	// Sure is something that it must hold: otherwise the search would prove nothing.
	Sure []byte
	// Except are secrets that have to be here.
	Except []string
}

// Found is a secret in a place.
type Found struct{ What, Where string }

// Search looks into a place. It is an error if the place does not hold what it must.
func (n *Needles) Search(p Place) (found []Found, size int, err error) {
	sure := len(p.Sure) == 0
	for _, d := range p.Data {
		size += len(d)
		sure = sure || bytes.Contains(d, p.Sure)
		for _, what := range n.In(d) {
			if !slices.ContainsFunc(p.Except, func(e string) bool { return strings.HasPrefix(what, e) }) {
				found = append(found, Found{what, p.Name})
			}
		}
	}
	if !sure {
		return nil, size, fmt.Errorf("%s: the search does not find what must be there, and proves nothing", p.Name)
	}
	return found, size, nil
}
