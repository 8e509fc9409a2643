package keyring_test

import (
	"bytes"
	"testing"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestShelf: a service's records are shared, sealed, and bound to their keys.
func TestShelf(t *testing.T) {
	ctx := t.Context()
	store := keyringtest.NewMemory()
	r := newRing(t, store.Again())
	a := must(r.Shelf("server"))(t)
	b := must(reopen(t, store).Shelf("server"))(t)
	name := must(a.Name("stage", "alice"))(t)
	if other := must(b.Name("stage", "alice"))(t); other != name || len(name) != 32 {
		t.Fatalf("names %s and %s", name, other)
	}
	if must(a.Name("stagea", "lice"))(t) == name {
		t.Fatal("names run together")
	}
	rev := must(a.CAS(ctx, "s/"+name, []byte("alice is inside"), 0))(t)
	_, err := b.CAS(ctx, "s/"+name, nil, 0)
	wantErr(t, err, keyring.ErrConflict)
	if e := must(b.Get(ctx, "s/"+name))(t); string(e.Value) != "alice is inside" || e.Rev != rev || e.Key != "s/"+name {
		t.Fatalf("read %+v", e)
	}
	for ev, err := range b.Watch(ctx, "s/", 0) {
		if err != nil || ev.Key != "s/"+name {
			t.Fatalf("watched %+v, %v", ev, err)
		}
		break
	}
	raw := must(store.Get(ctx, "x/server/s/"+name))(t)
	if bytes.Contains(raw.Value, []byte("alice")) {
		t.Fatal("stored in clear")
	}
	must(store.CAS(ctx, "x/server/s/moved", raw.Value, 0))(t)
	_, err = b.Get(ctx, "s/moved")
	wantErr(t, err, keyring.ErrDamaged)
	foreign := must(r.Shelf("other"))(t)
	_, err = foreign.Get(ctx, "s/"+name)
	wantErr(t, err, keyring.ErrNotFound)
	if err := a.Delete(ctx, "s/"+name, rev); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "a/b", "Server"} {
		if _, err := r.Shelf(bad); err == nil {
			t.Errorf("a shelf %q", bad)
		}
	}
	if got := must(r.Channels(ctx))(t); len(got) != 0 {
		t.Fatalf("channels %v", got)
	}
}
