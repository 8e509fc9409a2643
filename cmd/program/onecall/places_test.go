package onecall

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPlaces: a secret, and a piece of a plain frame, are found in each of the places where
// a call is searched, and it is said in which; without them nothing is found; and a place
// that does not hold what it must is an error.
func TestPlaces(t *testing.T) {
	secret, frame, packet := make([]byte, 32), make([]byte, 64), make([]byte, 200)
	for _, b := range [][]byte{secret, frame, packet} {
		rand.Read(b)
	}
	n := NewNeedles()
	n.Secret("epoch 1", secret)
	n.Frame("plain frame", frame)
	for _, p := range []struct{ where, sure string }{
		{"all logs", "serving at https://127.0.0.1:1\n"},
		{"the firewall's capture", string(packet)},
		{"the media network's capture", string(packet)},
		{"the file call.rtpdump", "#!rtpplay1.0 127.0.0.1/1\n"},
		{"the file audit.log", `{"event":"enter"}`},
		{"the file audit2.log", `{"event":"enter"}`},
	} {
		// look searches with something planted where p is, or, where that is nil, without
		// what p must hold.
		look := func(planted []byte) error {
			content := func(where, sure string) []byte {
				switch {
				case where != p.where:
					return []byte(sure)
				case planted == nil:
					return []byte("nothing of it")
				}
				return slices.Concat([]byte(sure), planted, []byte("\n"))
			}
			dir := t.TempDir()
			a := &act{World: &World{o: Options{Dir: dir}, Wall: &Wall{}}, c: &Call{Net: &Network{}, file: filepath.Join(dir, "call.rtpdump")}}
			said := newWords()
			said.Write(content("all logs", "serving at https://127.0.0.1:1\n"))
			a.logs = []named{{"key server", said}}
			a.Wall.keep(content("the firewall's capture", string(packet)))
			a.c.Net.seen = [][]byte{packet, content("the media network's capture", string(packet))}
			if planted == nil && p.where == "the media network's capture" {
				a.c.Net.seen = nil
			}
			if err := os.Mkdir(filepath.Join(dir, "server"), 0o700); err != nil {
				t.Fatal(err)
			}
			for name, sure := range map[string]string{"call.rtpdump": "#!rtpplay1.0 127.0.0.1/1\n", "server/audit.log": `{"event":"enter"}`, "audit2.log": `{"event":"enter"}`} {
				if err := os.WriteFile(filepath.Join(dir, name), content("the file "+filepath.Base(name), sure), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return a.searchPlaces(n)
		}
		if err := look([]byte{}); err != nil {
			t.Errorf("nothing is planted: %v", err)
		}
		for what, planted := range map[string][]byte{"epoch 1": secret, "plain frame": frame} {
			if err := look(planted); err == nil || err.Error() != "found: "+what+" in "+p.where {
				t.Errorf("%s in %s: %v", what, p.where, err)
			}
		}
		if err := look(nil); err == nil || !strings.Contains(err.Error(), p.where+": ") {
			t.Errorf("%s does not hold what it must: %v", p.where, err)
		}
	}
}
