package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

// loader takes the records that a Ring makes into a file, many at once.
type loader struct {
	keyring.Store
	file  *boltstore.Store
	batch []keyring.Entry
}

func (l *loader) Get(ctx context.Context, key string) (keyring.Entry, error) {
	if strings.HasPrefix(key, "c/") {
		return keyring.Entry{}, keyring.ErrNotFound
	}
	return l.file.Get(ctx, key)
}

func (l *loader) CAS(_ context.Context, key string, value []byte, _ uint64) (uint64, error) {
	l.batch = append(l.batch, keyring.Entry{Key: key, Value: value})
	return 1, nil
}

// flush writes in the order of keys, so that hardly a page is freed again.
func (l *loader) flush() error {
	slices.SortFunc(l.batch, func(a, b keyring.Entry) int { return strings.Compare(a.Key, b.Key) })
	for part := range slices.Chunk(l.batch, 50_000) {
		if err := boltstore.Bulk(l.file, part); err != nil {
			return err
		}
	}
	return nil
}

// bigRing makes a ring of so many channels, called channel 0 and on.
func bigRing(t testing.TB, dir string, channels int) {
	t.Helper()
	createRing(t, dir).Close()
	file, err := boltstore.Open(filepath.Join(dir, boltstore.RingFile), boltstore.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	l := &loader{Store: file, file: file}
	ring, err := keyring.Open(t.Context(), l, keyring.Options{KEKs: plain.KEKs})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	for i := range channels {
		if _, err := ring.Create(t.Context(), fmt.Sprint("channel ", i), keyring.ChannelOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
}

// TestBigRing: in a file that is not looked at as a whole, everything is found, what is
// not there is known not to be, and what is rotated is heard of by others.
func TestBigRing(t *testing.T) {
	ctx := t.Context()
	dir := memoryDir(t)
	bigRing(t, dir, 8000)
	if info, err := os.Stat(filepath.Join(dir, boltstore.RingFile)); err != nil || info.Size() < 4096*600 {
		t.Fatalf("too small for this test: %v", err)
	}
	open := func() *keyring.Ring {
		r, err := boltstore.OpenRing(ctx, dir, plain)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	here, there := open(), open()
	for i := 0; i < 8000; i += 613 {
		name := fmt.Sprint("channel ", i)
		a, err := here.Channel(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := there.Channel(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		sender, err := b.Sender(ctx, 1, keyring.SenderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		feed, err := b.Feed(ctx)
		if err != nil {
			t.Fatal(err)
		}
		info, err := a.Rotate(ctx, "")
		if err != nil || info.Epoch != 2 {
			t.Fatalf("%+v, %v", info, err)
		}
		for {
			if h, err := feed.Current(); err != nil || h.Keys[0].Number == 2 {
				break
			}
			<-feed.Changed()
		}
		feed.Close()
		sender.Close()
	}
	if _, err := here.Channel(ctx, "channel 8000"); !errors.Is(err, keyring.ErrNoChannel) {
		t.Fatal(err)
	}
	if _, err := here.Create(ctx, "channel 8000", keyring.ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := there.Create(ctx, "channel 8000", keyring.ChannelOptions{}); !errors.Is(err, keyring.ErrChannelExists) {
		t.Fatal(err)
	}
	if all, err := there.Channels(ctx); err != nil || len(all) != 8001 {
		t.Fatalf("%d channels, %v", len(all), err)
	}
}
