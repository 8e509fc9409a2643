package cipher_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
)

// TestBatchIsOneByOne has batches of every size round the run's: what they seal,
// Open takes; what Seal makes, they open, once each, refusing a forged frame, a copy
// within the batch and what the window has left behind.
func TestBatchIsOneByOne(t *testing.T) {
	if _, err := gcm(make([]byte, 16)); err != nil {
		t.Skip(err)
	}
	for _, s := range []*cipher.Suite{cipher.AES128GCM(), cipher.AES256GCM()} {
		for n := range 20 {
			base := random(n, s.BaseKeySize())
			seal, open, again := must(s.NewSealKey(1<<40, base, cipher.FreshKey)), must(s.NewOpenKey(1<<40, base)), must(s.NewOpenKey(1<<40, base))
			frames := make([]cipher.Frame, n)
			for i := range frames {
				frames[i] = cipher.Frame{Src: random(i, i*37), AAD: random(i, i*5%60)}
			}
			if failed := seal.SealBatch(frames); failed != 0 {
				t.Fatalf("%d failed", failed)
			}
			var back []cipher.Frame
			for i, f := range frames {
				if got, err := open.Open(nil, f.Dst, f.AAD); err != nil || !bytes.Equal(got, f.Src) {
					t.Fatalf("%s: batch of %d, frame %d: %v", s, n, i, err)
				}
				back = append(back, cipher.Frame{Src: f.Dst, AAD: f.AAD})
			}
			if n == 0 {
				continue
			}
			forged := bytes.Clone(back[n-1].Src)
			forged[len(forged)-1] ^= 1
			room := bytes.Repeat([]byte{0xaa}, len(forged))
			back = append(back, cipher.Frame{Src: forged, AAD: back[n-1].AAD, Dst: room[:0]}, back[0])
			if failed := again.OpenBatch(back); failed != 2 {
				t.Fatalf("%s: batch of %d: %d failed, want 2", s, n, failed)
			}
			for i, f := range frames {
				if back[i].Err != nil || !bytes.Equal(back[i].Dst, f.Src) {
					t.Fatalf("%s: batch of %d, frame %d: opened wrongly: %v", s, n, i, back[i].Err)
				}
			}
			// A forgery under a used counter is told from a replay only by its turn.
			if err := back[n].Err; !errors.Is(err, cipher.ErrAuth) && !errors.Is(err, cipher.ErrReplayed) || len(back[n].Dst) != 0 {
				t.Errorf("the forged frame: %v", err)
			}
			if err := back[n+1].Err; !errors.Is(err, cipher.ErrReplayed) || len(back[n+1].Dst) != 0 {
				t.Errorf("the copy: %v", err)
			}
		}
	}
}

func TestBatchAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	if _, err := gcm(make([]byte, 16)); err != nil {
		t.Skip(err)
	}
	s := cipher.AES128GCM()
	seal, open := must(s.NewSealKey(1, make([]byte, 32), cipher.FreshKey)), must(s.NewOpenKey(1, make([]byte, 32)))
	buf, text := make([]byte, 20*200), make([]byte, 96)
	if a := testing.AllocsPerRun(100, func() {
		var frames [10]cipher.Frame
		for i := range frames {
			frames[i] = cipher.Frame{Dst: buf[200*i : 200*i : 200*i+200], Src: text, AAD: text[:12]}
		}
		failed := seal.SealBatch(frames[:])
		for i := range frames {
			frames[i] = cipher.Frame{Dst: buf[2000+200*i:][:0:200], Src: frames[i].Dst}
			frames[i].AAD = text[:12]
		}
		if failed += open.OpenBatch(frames[:]); failed != 0 {
			t.Error(failed, frames[0].Err)
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
