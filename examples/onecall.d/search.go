package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chanseal/chanseal/internal/procmem"
)

// needle is a byte string that is searched for, at least 8 bytes.
type needle struct {
	name string
	data []byte
}

// haystack finds any of many needles in one pass.
type haystack struct {
	starts  map[uint64][]*needle // by the first 8 bytes
	maybe   [1 << 16]uint64      // whether some needle begins with 4 bytes of this hash
	longest int
	found   map[string]int
}

func hash4(b []byte) uint32 { return binary.LittleEndian.Uint32(b) * 2654435761 >> 10 }

func newHaystack(all []needle) *haystack {
	h := &haystack{starts: map[uint64][]*needle{}, found: map[string]int{}}
	for i := range all {
		n := &all[i]
		k := binary.LittleEndian.Uint64(n.data)
		h.starts[k] = append(h.starts[k], n)
		x := hash4(n.data)
		h.maybe[x>>6] |= 1 << (x & 63)
		h.longest = max(h.longest, len(n.data))
	}
	return h
}

// look counts what is in b; what stands in its first skip bytes was counted before.
func (h *haystack) look(b []byte, skip int) {
	for i := 0; i+8 <= len(b); i++ {
		x := hash4(b[i:])
		if h.maybe[x>>6]>>(x&63)&1 == 0 {
			continue
		}
		for _, n := range h.starts[binary.LittleEndian.Uint64(b[i:])] {
			if i+len(n.data) > skip && bytes.HasPrefix(b[i:], n.data) {
				h.found[n.name]++
			}
		}
	}
}

// read looks through all of r, and returns how long it is.
func (h *haystack) read(r io.Reader) (total int64, err error) {
	buf := make([]byte, 4<<20)
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		h.look(buf[:kept+n], kept)
		total += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return total, nil
		} else if err != nil {
			return total, err
		}
		tail := min(h.longest, kept+n)
		copy(buf, buf[kept+n-tail:kept+n])
		kept = tail
	}
}

// process looks through the memory of a process.
func (h *haystack) process(pid int) (total int64, err error) {
	return procmem.Pieces(pid, h.longest-1, func(piece []byte) { h.look(piece, 0) })
}

// readNeedles reads lines of a name, a tab and the bytes in hexadecimal, or of "text", a
// name and the text. Each is searched for as it is, and in hexadecimal and base64, by itself or within more.
func readNeedles(name string) (all []needle, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		what, value, ok := strings.Cut(lines.Text(), "\t")
		raw, err := hex.DecodeString(value)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: %q is no line of a name, a tab and hexadecimal digits", name, what)
		}
		if len(raw) < 8 {
			return nil, fmt.Errorf("%s: %q is too short to search for", name, what)
		}
		all = append(all, needle{what, raw})
		for _, text := range texts(raw) {
			all = append(all, needle{what, text})
		}
	}
	return all, lines.Err()
}

// texts are the forms in which text may hold some bytes. Base64 of a longer piece shows them in one of
// three ways, by where they stand in it; what bytes beside them have a part in is left out.
func texts(raw []byte) (all [][]byte) {
	add := func(text string) {
		if len(text) >= 8 && !slices.ContainsFunc(all, func(b []byte) bool { return string(b) == text }) {
			all = append(all, []byte(text))
		}
	}
	digits := hex.EncodeToString(raw)
	add(digits)
	add(strings.ToUpper(digits))
	for before := range 3 {
		padded := append(make([]byte, before), raw...)
		first, last := (8*before+5)/6, 8*len(padded)/6
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			add(e.EncodeToString(padded)[first:last])
		}
	}
	return all
}

// search looks for needles in files and in a process's memory. It fails if it finds one,
// or, with -find, if it does not find any that is named so.
func search(_ context.Context, f *flag.FlagSet, args []string) error {
	file, pid := f.String("patterns", "", ""), f.Int("pid", 0, "")
	only := f.String("only", "", "search only for those whose names begin so")
	without := f.String("without", "", "and not for those")
	find := f.Bool("find", false, "fail unless something is found: that the search works")
	f.Parse(args)
	all, err := readNeedles(*file)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(n needle) bool {
		return !strings.HasPrefix(n.name, *only) || *without != "" && strings.HasPrefix(n.name, *without)
	})
	if len(all) == 0 {
		return errors.New("there is nothing to search for")
	}
	h := newHaystack(all)
	var total int64
	var found []string
	place := func(where string, n int64) {
		total += n
		for _, name := range slices.Sorted(maps.Keys(h.found)) {
			found = append(found, name+" in "+where)
		}
		clear(h.found)
	}
	if *pid != 0 {
		n, err := h.process(*pid)
		if err != nil {
			return err
		}
		place(fmt.Sprintf("the memory of process %d", *pid), n)
	}
	for _, name := range f.Args() {
		r, err := os.Open(name)
		if err != nil {
			return err
		}
		n, err := h.read(r)
		r.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		place(filepath.Base(name), n)
	}
	names := map[string]bool{}
	for _, n := range all {
		names[n.name] = true
	}
	fmt.Printf("%d of %d found in %.1f MB\n", len(found), len(names), float64(total)/1e6)
	switch {
	case *find && len(found) == 0:
		return errors.New("nothing was found where it must be: the search does not work")
	case !*find && len(found) > 0:
		return fmt.Errorf("found: %s", strings.Join(found[:min(len(found), 5)], ", "))
	}
	return nil
}

// patterns makes lines for search of the bytes in a file: 32 bytes of every 1000, or more of
// a short one.
func patterns(_ context.Context, f *flag.FlagSet, args []string) error {
	name := f.String("name", "plaintext", "")
	whole := f.Bool("whole", false, "one, of the whole file without the white space around it")
	f.Parse(args)
	data, err := os.ReadFile(f.Arg(0))
	if err != nil {
		return err
	}
	if *whole {
		_, err := fmt.Printf("%s\t%x\n", *name, bytes.TrimSpace(data))
		return err
	}
	w := bufio.NewWriter(os.Stdout)
	n := 0
	const size = 32
	step := max(size, min(1000, len(data)/400)) // many of a short clip, too: some are cut by packets
	for at := step / 2; at+size <= len(data); at += step {
		piece := data[at : at+size]
		if different(piece) < 12 {
			continue // zeros, and what else is found anywhere
		}
		n++
		fmt.Fprintf(w, "%s at %d\t%x\n", *name, at, piece)
	}
	if n == 0 {
		return fmt.Errorf("%s: nothing in it can be told from noise", f.Arg(0))
	}
	return w.Flush()
}

func different(b []byte) int {
	var seen [256]bool
	n := 0
	for _, x := range b {
		if !seen[x] {
			seen[x] = true
			n++
		}
	}
	return n
}
