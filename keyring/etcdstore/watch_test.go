package etcdstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
)

// TestWatchMemberDies: a member dies after it was chosen for a watch and before it
// answered. The watch goes on at another, and misses nothing.
func TestWatchMemberDies(t *testing.T) {
	cl, err := etcdtest.Start(etcdtest.Config{Members: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := open(t, etcdstore.Options{Endpoints: cl.Endpoints(), Prefix: "/dies"})
	etcdstore.SetBeat(s, 50*time.Millisecond)
	rev, err := s.CAS(ctx, "k/before", []byte("v"), 0)
	if err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	var once sync.Once
	etcdstore.OnWatch(s, func() {
		once.Do(func() {
			cl.Kill(0)
			close(killed)
		})
	})
	events := make(chan keyring.Event)
	go func() {
		defer close(events)
		for ev, err := range s.Watch(ctx, "k/", rev) {
			if err != nil {
				t.Error(err)
				return
			}
			events <- ev
			return
		}
	}()
	<-killed
	for { // until the others have a leader
		if _, err := s.CAS(ctx, "k/after", []byte("v"), 0); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	select {
	case ev := <-events:
		if ev.Key != "k/after" {
			t.Fatalf("%+v", ev)
		}
	case <-ctx.Done():
		t.Fatal("the watch hangs at the member that died")
	}
}
