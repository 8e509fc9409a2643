package etcdstore_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
)

// quantile of durations, in microseconds.
func quantile(all []time.Duration, q float64) float64 {
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))].Nanoseconds()) / 1e3
}

// BenchmarkRotate rotates a channel of a ring in a cluster of three that syncs to
// disk, and beside each rotation puts a key by etcd's own client. Run it with
// -benchtime 1000x; put/p99 is the floor, x-of-put-p99 the ratio.
func BenchmarkRotate(b *testing.B) {
	cl, err := etcdtest.Start(etcdtest.Config{Members: 3, Slow: true})
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	ctx := context.Background()
	o := etcdstore.Options{Endpoints: cl.Endpoints(), Prefix: "/bench"}
	phrase, err := keyring.CreateKeyFile(b.TempDir() + "/key")
	if err != nil {
		b.Fatal(err)
	}
	ring, err := keyring.Create(ctx, open(b, o), keyring.Options{KEKs: []keyring.KEK{phrase}})
	if err != nil {
		b.Fatal(err)
	}
	ch, err := ring.Create(ctx, "stage", keyring.ChannelOptions{})
	if err != nil {
		b.Fatal(err)
	}
	c, value := bare(b, o), string(make([]byte, 400))
	var puts, rotations []time.Duration
	for n := 0; b.Loop(); n++ {
		t0 := time.Now()
		if _, err := c.Put(ctx, "/bare", value); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		info, err := ch.Rotate(ctx, "")
		if err != nil {
			b.Fatal(err)
		}
		puts, rotations = append(puts, t1.Sub(t0)), append(rotations, time.Since(t1))
		for n%8 == 7 && info.Floor+2 < info.Epoch { // as an operator does: the record stays small
			if info, err = ch.Forget(ctx, info.Floor+1); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(quantile(puts, .5), "put-p50-µs")
	b.ReportMetric(quantile(puts, .99), "put-p99-µs")
	b.ReportMetric(quantile(rotations, .5), "rotate-p50-µs")
	b.ReportMetric(quantile(rotations, .99), "rotate-p99-µs")
	b.ReportMetric(quantile(rotations, .99)/quantile(puts, .99), "x-of-put-p99")
}

// BenchmarkLeaderKilled kills the leader of a cluster of three, with etcd's own
// times, under compare-and-swap load, and measures how long it takes until a write
// is acknowledged that began after that. The history has to be linearizable. Run it
// with -benchtime 10x.
func BenchmarkLeaderKilled(b *testing.B) {
	cl, err := etcdtest.Start(etcdtest.Config{Members: 3, Slow: true})
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	var stores []keyring.Store
	for range 4 {
		stores = append(stores, open(b, etcdstore.Options{Endpoints: cl.Endpoints(), Prefix: "/bench"}))
	}
	var gaps []time.Duration
	l := newLoad()
	l.run(b, stores, 3, func() {
		for b.Loop() {
			leader, err := cl.AwaitLeader(b.Context(), -1)
			if err != nil {
				b.Fatal(err)
			}
			l.more(b, 20)
			cl.Kill(leader)
			gaps = append(gaps, l.awaitWrite(b))
			if err := cl.Restart(leader); err != nil {
				b.Fatal(err)
			}
		}
	})
	if result, err := l.check(); result != porcupine.Ok || err != nil {
		b.Errorf("the history is %v: %v", result, err)
	}
	b.Log(fmt.Sprint(gaps))
	b.ReportMetric(quantile(gaps, .5)/1e3, "resume-p50-ms")
	b.ReportMetric(quantile(gaps, 1)/1e3, "resume-max-ms")
	b.ReportMetric(float64(len(l.ops)), "operations")
}
