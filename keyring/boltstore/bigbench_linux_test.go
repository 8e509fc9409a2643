package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

// big is the ring of BenchmarkBigRing: 1,000,000 channels in the long form.
var big = sync.OnceValues(func() (dir string, channels int) {
	channels = 20_000
	if *long {
		channels = 1_000_000
	}
	dir, err := os.MkdirTemp("", "chanseal-big-ring-")
	if err != nil {
		panic(err)
	}
	return dir, channels
})

const bigEnv = "CHANSEAL_BOLTSTORE_TEST_BIG"

// childBig opens the ring, follows a channel, rotates it, and says how much memory the
// process took at most, in KiB.
func childBig(dir string) error {
	ctx := context.Background()
	begun := time.Now()
	ring, err := boltstore.OpenRing(ctx, dir, plain)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := ring.Channel(ctx, "channel 7")
	if err != nil {
		return err
	}
	opened := time.Since(begun)
	sender, err := ch.Sender(ctx, 1, keyring.SenderOptions{})
	if err != nil {
		return err
	}
	defer sender.Close()
	for range 20 {
		if _, err := ch.Rotate(ctx, ""); err != nil {
			return err
		}
	}
	runtime.GC()
	peak, anon := "", ""
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			peak = f[1]
		} else if len(f) > 1 && f[0] == "RssAnon:" {
			anon = f[1]
		}
	}
	fmt.Println(opened.Nanoseconds(), peak, anon)
	return nil
}

// BenchmarkBigRing is about a ring with more channels than a process should look at:
// CHANSEAL_LONG=1 go test -run xxx -bench BigRing -benchtime 1000x ./keyring/boltstore
func BenchmarkBigRing(b *testing.B) {
	dir, channels := big()
	path := filepath.Join(dir, boltstore.RingFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		bigRing(b, dir, channels)
		debug.FreeOSMemory()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	name := func(op string) string { return fmt.Sprintf("op=%s/channels=%d", op, channels) }

	b.Run(name("open"), func(b *testing.B) { // a process of its own, for its memory
		var took, peak, anon []float64
		for range min(b.N, 11) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), bigEnv+"="+dir)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				b.Fatal(err)
			}
			f := bufio.NewScanner(strings.NewReader(string(out)))
			f.Scan()
			var v [3]float64
			for i, word := range strings.Fields(f.Text()) {
				v[i], _ = strconv.ParseFloat(word, 64)
			}
			took, peak, anon = append(took, v[0]/1e6), append(peak, v[1]/1024), append(anon, v[2]/1024)
		}
		b.ReportMetric(float64(info.Size())/(1<<20), "file-MiB")
		b.ReportMetric(median(took), "open-ms")
		b.ReportMetric(slices.Max(took), "open-max-ms")
		b.ReportMetric(slices.Max(peak), "peak-RSS-MiB")
		b.ReportMetric(slices.Max(anon), "anon-MiB")
	})
	b.Run(name("rotate"), func(b *testing.B) {
		ring, err := boltstore.OpenRing(b.Context(), dir, plain)
		if err != nil {
			b.Fatal(err)
		}
		defer ring.Close()
		bare, err := bbolt.Open(filepath.Join(dir, "bare.db"), 0o600, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer bare.Close()
		value := make([]byte, 300)
		put := func(i int) error {
			return bare.Update(func(tx *bbolt.Tx) error {
				bucket, err := tx.CreateBucketIfNotExists([]byte("kv"))
				if err != nil {
					return err
				}
				return bucket.Put(fmt.Append(nil, "channel ", i), value)
			})
		}
		var ours, theirs []float64
		ch, err := ring.Channel(b.Context(), "channel 0")
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		if _, err := ch.Rotate(b.Context(), ""); err != nil { // looks at all pages, once
			b.Fatal(err)
		}
		first := time.Since(begun)
		for i := 0; b.Loop(); i++ {
			ch, err := ring.Channel(b.Context(), fmt.Sprint("channel ", i%channels))
			if err != nil {
				b.Fatal(err)
			}
			begun := time.Now()
			if _, err := ch.Rotate(b.Context(), ""); err != nil {
				b.Fatal(err)
			}
			rotated := time.Now()
			if err := put(i); err != nil {
				b.Fatal(err)
			}
			ours, theirs = append(ours, rotated.Sub(begun).Seconds()*1e3), append(theirs, time.Since(rotated).Seconds()*1e3)
		}
		b.ReportMetric(first.Seconds()*1e3, "first-ms")
		b.ReportMetric(median(ours), "rotate-p50-ms")
		b.ReportMetric(quantile(ours, 0.99), "rotate-p99-ms")
		b.ReportMetric(median(theirs), "bare-p50-ms")
		b.ReportMetric(quantile(theirs, 0.99), "bare-p99-ms")
		b.ReportMetric(quantile(ours, 0.99)/quantile(theirs, 0.99), "p99-ratio")
	})
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

func median(v []float64) float64 { return quantile(v, 0.5) }
