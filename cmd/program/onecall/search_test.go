package onecall

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"testing"
)

// TestSearch: what is planted is found in every form and at any place; what is not there
// is not; and a place that does not hold what it must proves nothing.
func TestSearch(t *testing.T) {
	n := NewNeedles()
	secret, other, frame := make([]byte, 32), make([]byte, 32), make([]byte, 100)
	for _, b := range [][]byte{secret, other, frame} {
		rand.Read(b)
	}
	n.Secret("epoch 1", secret)
	n.Text("card", "007eJxSYPi09mjjyaU5OoJ2ZVM1")
	n.Frame("frame", frame)
	n.Frame("silence", make([]byte, 100))
	for i, plant := range []struct{ b, want string }{
		{string(secret), "epoch 1"},
		{hex.EncodeToString(secret), "epoch 1, in hexadecimal"},
		{fmt.Sprintf("%X", secret), "epoch 1, in hexadecimal"},
		{base64.StdEncoding.EncodeToString(secret), "epoch 1, in base64"},
		{base64.URLEncoding.EncodeToString(append([]byte{1, 2}, secret...)), "epoch 1, in base64"},
		{"a card: 007eJxSYPi09mjjyaU5OoJ2ZVM1…", "card"},
		{string(frame[84:]), "frame"}, {string(frame[42:90]), "frame"}, {string(frame[:16]), "frame"},
	} {
		for _, before := range []int{0, 1, 77, 4096} {
			hay := append(append(make([]byte, before), plant.b...), make([]byte, 5)...)
			if got := n.In(hay); len(got) != 1 || got[0] != plant.want {
				t.Errorf("%d, behind %d bytes: %q, want %q", i, before, got, plant.want)
			}
		}
	}
	if got := n.In(append(other, make([]byte, 200)...)); got != nil {
		t.Errorf("found %q, which is not there", got)
	}
	if found, _, err := n.Search(Place{Name: "log", Data: [][]byte{[]byte("nothing"), secret}, Sure: []byte("noth")}); err != nil || len(found) != 1 {
		t.Error(found, err)
	}
	if found, _, err := n.Search(Place{Name: "log", Data: [][]byte{secret}, Except: []string{"epoch 1"}}); err != nil || len(found) != 0 {
		t.Error(found, err)
	}
	if _, _, err := n.Search(Place{Name: "log", Data: [][]byte{[]byte("nothing")}, Sure: []byte("something")}); err == nil {
		t.Error("an empty search counts")
	}
}
