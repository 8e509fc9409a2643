package ciphertest_test

import (
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
)

func BenchmarkToy(b *testing.B) { ciphertest.BenchmarkPair(b, "toy", newToy(honest)) }

// TestBenchmarkPair runs a benchmark once through, so that it cannot rot.
func TestBenchmarkPair(t *testing.T) {
	s := cipher.AES128CTRHMAC80()
	i := byte(0)
	b := &counter{}
	ciphertest.BenchmarkPair(b, s.Name(), func() (cipher.Sealer, cipher.Opener) {
		i++
		base := make([]byte, 32)
		base[0] = i
		sealKey, err := s.NewSealKey(1, base, cipher.FreshKey)
		if err != nil {
			t.Fatal(err)
		}
		openKey, err := s.NewOpenKey(1, base)
		if err != nil {
			t.Fatal(err)
		}
		return sealKey, openKey
	})
	if want := 2 * len(ciphertest.BenchSizes); len(b.names) != want || b.failed {
		t.Errorf("%d benchmarks ran (%v), want %d; failed: %v", len(b.names), b.names, want, b.failed)
	}
	if want := "op=seal/suite=aes-128-ctr-hmac-sha256-80/size=80"; b.names[0] != want {
		t.Errorf("the first is named %q, want %q", b.names[0], want)
	}
}

// counter is a benchmark that loops a little more than one refill.
type counter struct {
	names  []string
	loops  int
	failed bool
}

func (c *counter) Run(name string, f func(*counter)) bool {
	c.names = append(c.names, name)
	sub := &counter{}
	f(sub)
	c.failed = c.failed || sub.failed
	return true
}

func (c *counter) Loop() bool     { c.loops++; return c.loops < 300 }
func (c *counter) StartTimer()    {}
func (c *counter) StopTimer()     {}
func (c *counter) SetBytes(int64) {}
func (c *counter) ReportAllocs()  {}
func (c *counter) Fatal(...any)   { c.failed = true }
