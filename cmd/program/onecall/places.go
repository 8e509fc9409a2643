package onecall

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chanseal/chanseal/internal/procmem"
)

// needles are all that must be nowhere.
func (w *World) needles() (*Needles, error) {
	n := NewNeedles()
	w.mu.Lock()
	for what, secret := range w.epochs {
		n.Secret(what, secret)
	}
	for _, card := range w.cards {
		n.Text("card", card)
	}
	w.mu.Unlock()
	w.Desk.secrets(n)
	for what, secret := range w.o.Secrets {
		n.Text(what, secret)
	}
	token, err := os.ReadFile(w.path("oscar.token"))
	if err != nil {
		return nil, err
	}
	n.Text("operator's token", strings.TrimSpace(string(token)))
	// Key files of the rings: the lines that are identities.
	err = filepath.WalkDir(w.o.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".key" || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, "AGE-SECRET-KEY-PQ-1"); ok {
				n.Text("key of a ring", rest)
			} else if rest, ok := strings.CutPrefix(line, "AGE-SECRET-KEY-1"); ok {
				n.Text("key of a ring", rest)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	packets, err := w.o.Clip.Packets(1)
	if err != nil {
		return nil, err
	}
	for _, p := range packets {
		n.Frame("plain frame", p.Data[12:])
	}
	for _, s := range w.o.Clip.Streams {
		for _, f := range s.Frames {
			n.Frame("plain frame", f.Data)
		}
	}
	return n, nil
}

// places are where is looked: what was said, what went over wires, what was written.
func (a *act) places() ([]Place, error) {
	var all []Place
	logs := Place{Name: "all logs", Sure: []byte("serving at https://")}
	a.mu.Lock()
	for _, l := range a.logs {
		logs.Data = append(logs.Data, []byte(l.said.String()))
	}
	a.mu.Unlock()
	a.Wall.mu.Lock()
	wall := Place{Name: "the firewall's capture", Data: a.Wall.seen}
	a.Wall.mu.Unlock()
	a.c.Net.mu.Lock()
	network := Place{Name: "the media network's capture", Data: a.c.Net.seen}
	if len(network.Data) == 0 {
		a.c.Net.mu.Unlock()
		return nil, fmt.Errorf("%s: nothing came there, and a search proves nothing", network.Name)
	}
	wall.Sure = a.c.Net.seen[0][12:] // what the proxy was given, it passed on
	network.Sure = wall.Sure
	a.c.Net.mu.Unlock()
	all = append(all, logs, wall, network)
	files := map[string]string{a.c.file: "#!rtpplay1.0", a.path("server/audit.log"): `"event":"enter"`}
	if !a.o.Short {
		files[a.path("audit2.log")] = `"event":"enter"`
	}
	for name, sure := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, Place{Name: "the file " + filepath.Base(name), Data: [][]byte{data}, Sure: []byte(sure)})
	}
	return all, nil
}

// searchProcess looks into a process's memory, where that can be read.
func (a *act) searchProcess(p *Process, pl Place) error {
	n, err := a.needles()
	if err != nil {
		return err
	}
	var found []Found
	sure := false
	size, err := procmem.Pieces(p.pid, max(needleSize, len(pl.Sure))-1, func(piece []byte) {
		sure = sure || bytes.Contains(piece, pl.Sure)
		f, _, _ := n.Search(Place{Name: pl.Name, Data: [][]byte{piece}, Except: pl.Except})
		found = append(found, f...)
	})
	if err := leak(found); err != nil {
		return err
	}
	if err != nil {
		a.r.Unsearched = err.Error()
		return nil
	}
	if !sure {
		return fmt.Errorf("%s: the search does not find what must be there, and proves nothing", pl.Name)
	}
	a.searched(pl.Name, int(size))
	return nil
}

func (a *act) searched(name string, size int) {
	a.r.Places = append(a.r.Places, fmt.Sprintf("%s, %s", name, sizeText(size)))
}

// leak is the error of what was found where it must not be.
func leak(found []Found) error {
	seen := map[Found]bool{}
	var text []string
	for _, f := range found {
		if !seen[f] {
			seen[f] = true
			text = append(text, f.What+" in "+f.Where)
		}
	}
	if len(text) == 0 {
		return nil
	}
	return fmt.Errorf("found: %s", strings.Join(text, "; "))
}

func (a *act) search(context.Context) error {
	n, err := a.needles()
	if err != nil {
		return err
	}
	a.r.Needles = n.Len()
	if err := a.searchPlaces(n); err != nil {
		return err
	}
	// The proxy checks cards: it has the certificates, and that they are found shows
	// that the search works. What it must not have is what opens a frame.
	return a.searchProcess(a.proxy, Place{Name: "the proxy's memory", Sure: a.Desk.app.Primary.Reveal(), Except: []string{"primary certificate", "secondary certificate", "card"}})
}

// searchPlaces looks through all that was said, went over wires, and was written.
func (a *act) searchPlaces(n *Needles) error {
	places, err := a.places()
	if err != nil {
		return err
	}
	var found []Found
	for _, p := range places {
		f, size, err := n.Search(p)
		if err != nil {
			return err
		}
		found = append(found, f...)
		a.searched(p.Name, size)
	}
	return leak(found)
}

func sizeText(n int) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d kB", (n+1023)>>10)
}
