package keyserver

import (
	"slices"
	"testing"

	"github.com/chanseal/chanseal/keyserver/api"
)

// TestNumbersBarred: nobody gets a number that members refuse, until they do no more.
func TestNumbersBarred(t *testing.T) {
	bars := func(n ...uint16) *snapshot {
		return &snapshot{keys: api.Keys{Epochs: []api.Epoch{{State: api.StateActive, Barred: n}, {State: api.StateStaged}}}}
	}
	h := &hub{snap: bars(0, 2, 65535)}
	var got []uint16
	for range 3 {
		n, ok := h.number()
		if !ok {
			t.Fatal("no number")
		}
		got = append(got, n)
	}
	if want := []uint16{1, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("numbers %v, want %v", got, want)
	}
	for range 1<<16 - 6 {
		if n, ok := h.number(); !ok || n == 0 || n == 2 || n == 65535 {
			t.Fatalf("number %d, %v", n, ok)
		}
	}
	if n, ok := h.number(); ok {
		t.Errorf("number %d is left", n)
	}
	h.snap = bars()
	if n, ok := h.number(); !ok {
		t.Errorf("number %d: those that were barred are lost", n)
	}
}
