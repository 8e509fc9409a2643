package keyring_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/keyring"
)

func compact(t testing.TB, ch *keyring.Channel, number uint16, suite *cipher.Suite) *keyring.Sender {
	t.Helper()
	s := must(ch.Sender(t.Context(), number, keyring.SenderOptions{Compact: true, Suite: suite}))(t)
	t.Cleanup(func() { s.Close() })
	return s
}

func kidOf(t testing.TB, sealed []byte) cipher.KeyID {
	t.Helper()
	h, _, err := cipher.ParseHeader(sealed)
	if err != nil {
		t.Fatal(err)
	}
	return h.KID
}

// TestCompactCost: what sealing adds to Opus at 50 frames a second, announcements
// included, over ten minutes.
func TestCompactCost(t *testing.T) {
	for _, c := range []struct {
		suite *cipher.Suite
		most  float64
	}{{cipher.AES128CTRHMAC80(), 15.5}, {cipher.AES128GCM(), 21.5}} {
		for _, number := range []uint16{7, 300} {
			t.Run(fmt.Sprintf("suite=%s/sender=%d", c.suite.Name(), number), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, _, ch := stage(t, keyring.ChannelOptions{})
					s := compact(t, ch, number, c.suite)
					frame, total, frames := make([]byte, 80), 0, 30000
					for range frames {
						total += len(must(s.Seal(nil, frame, nil))(t)) - len(frame)
						time.Sleep(20 * time.Millisecond)
					}
					got := float64(total) / float64(frames)
					t.Logf("%.2f bytes a frame", got)
					if got > c.most {
						t.Errorf("%.3f bytes a frame, want at most %.1f", got, c.most)
					}
				})
			})
		}
	}
}

// TestCompactLateJoiner: who joins at any moment opens a frame within 250 ms, and
// every one from then on.
func TestCompactLateJoiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		s := compact(t, ch, 7, nil)
		for join := range 14 {
			r := receiver(t, ch, keyring.ReceiverOptions{})
			opened := -1
			for i := range 20 {
				sealed := seal(t, s, "frame")
				_, err := r.Open(nil, sealed, nil)
				if err == nil && opened < 0 {
					opened = i
				}
				if err != nil && (opened >= 0 || !errors.Is(err, cipher.ErrUnknownKey)) {
					t.Fatalf("join %d, frame %d: %v", join, i, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			if opened < 0 || opened*20 > 250 {
				t.Errorf("join %d: first frame opened after %d ms", join, opened*20)
			}
			time.Sleep(time.Duration(20*join) * time.Millisecond)
		}
		// A keyframe that is announced opens for everybody at once.
		seal(t, s, "an announcement")
		s.Announce()
		opens(t, receiver(t, ch, keyring.ReceiverOptions{}), seal(t, s, "keyframe"), "keyframe")
	})
}

// TestCompactTwoDevices: two Senders with one number share the short KID, and neither
// key nor nonce: of equal frames under equal counters nothing is equal, and all open.
// A fifth device pushes the one out that was silent for longest, until that announces
// itself again; what it sealed never opens twice.
func TestCompactTwoDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		r := receiver(t, ch, keyring.ReceiverOptions{})
		a, b := compact(t, ch, 7, nil), compact(t, ch, 7, nil)
		opens(t, r, seal(t, a, "a announces"), "a announces")
		opens(t, r, seal(t, a, "a is short"), "a is short")
		opens(t, r, seal(t, b, "b announces"), "b announces")
		seal(t, b, "b is short")
		for i := range 5 { // so few that neither announces itself again
			frame := fmt.Sprintf("the same frame of both, number %d", i)
			x, y := seal(t, a, frame), seal(t, b, frame)
			if kidOf(t, x) != kidOf(t, y) || kidOf(t, x) != a.Origin().ShortKID() || kidOf(t, x) >= 1<<20 {
				t.Fatalf("key IDs %x and %x", kidOf(t, x), kidOf(t, y))
			}
			hx, size, _ := cipher.ParseHeader(x)
			hy, _, _ := cipher.ParseHeader(y)
			if hx.CTR != hy.CTR {
				t.Fatalf("counters %d and %d: the test wants equal ones", hx.CTR, hy.CTR)
			}
			if bytes.Equal(x[size:], y[size:]) {
				t.Fatal("two devices sealed alike")
			}
			opens(t, r, y, frame)
			opens(t, r, x, frame)
			refuses(t, r, x, cipher.ErrReplayed)
		}

		first := seal(t, a, "kept for later")
		opens(t, r, first, "kept for later")
		var last *keyring.Sender
		for range keyring.MaxShort {
			last = compact(t, ch, 7, nil)
			opens(t, r, seal(t, last, "announces"), "announces")
			opens(t, r, seal(t, last, "short"), "short")
		}
		refuses(t, r, seal(t, a, "pushed out"), keyring.ErrUnannounced, cipher.ErrUnknownKey)
		a.Announce()
		announcement := seal(t, a, "here again")
		opens(t, r, announcement, "here again")
		opens(t, r, seal(t, a, "heard"), "heard")
		refuses(t, r, first, cipher.ErrReplayed)
		refuses(t, r, announcement, cipher.ErrReplayed)
	})
}

// TestCompactShortTags: with tags of 32 bits, too, devices that have one number work side
// by side: that their frames do not open under each other's keys is no forgery, and so
// asks for no rotation, and ends no key. What opens under none of them counts.
func TestCompactShortTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		suite := cipher.AES128CTRHMAC32()
		r := receiver(t, ch, keyring.ReceiverOptions{Suites: []*cipher.Suite{suite}})
		devices := []*keyring.Sender{compact(t, ch, 7, suite), compact(t, ch, 7, suite), compact(t, ch, 7, suite)}
		short := 0
		var old []byte
		for i := range 6000 { // failures are reported from 4,096 on
			for j, s := range devices {
				frame := fmt.Sprint("frame ", i, " of ", j)
				old = seal(t, s, frame)
				if kidOf(t, old) < 1<<20 {
					short++
				}
				opens(t, r, old, frame)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if c := r.Condition(); c != cipher.Healthy || short < 15000 {
			t.Errorf("after %d short frames the keys are in condition %v", short, c)
		}
		for i := range uint64(4096) {
			forged := append(cipher.AppendHeader(nil, cipher.Header{KID: devices[0].Origin().ShortKID(), CTR: 1<<20 + i}), make([]byte, 30)...)
			refuses(t, r, forged, cipher.ErrAuth, keyring.ErrUnannounced)
		}
		refuses(t, r, old, cipher.ErrReplayed)
		if c := r.Condition(); c != cipher.Report {
			t.Errorf("after 4,096 forged frames the keys are in condition %v", c)
		}
	})
}

// TestCompactBurst: of many frames in no time, as of a recording that is sent faster than
// life, a few are announcements, so that not all of them wait for the first.
func TestCompactBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		s, r := compact(t, ch, 7, nil), receiver(t, ch, keyring.ReceiverOptions{})
		seal(t, s, "lost")
		var waiting [][]byte
		since, most := 0, 0
		for i := range 1000 {
			sealed := seal(t, s, "frame")
			if since++; kidOf(t, sealed) >= 1<<20 {
				since = 0
			}
			most = max(most, since)
			if _, err := r.Open(nil, sealed, nil); errors.Is(err, cipher.ErrUnknownKey) && i < 10 {
				waiting = append(waiting, sealed)
			} else if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
		}
		for _, sealed := range waiting {
			opens(t, r, sealed, "frame")
		}
		if len(waiting) == 0 || most > 64 {
			t.Errorf("%d frames waited, and %d came without an announcement", len(waiting), most)
		}
	})
}

// TestCompactLong: a long frame carries the full KID, by whatever way it is sealed, and so
// opens without any other.
func TestCompactLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		s := compact(t, ch, 7, nil)
		seal(t, s, "the first announces")
		ways := map[string]func(frame []byte) []byte{
			"Seal": func(frame []byte) []byte { return must(s.Seal(nil, frame, nil))(t) },
			"SealInPlace": func(frame []byte) []byte {
				buf := make([]byte, 17+len(frame)+64)
				copy(buf[17:], frame)
				return must(s.SealInPlace(buf, 17, len(frame), nil))(t)
			},
			"SealBatch": func(frame []byte) []byte {
				frames := []cipher.Frame{{Src: []byte("short")}, {Src: frame}}
				if failed := s.SealBatch(frames); failed != 0 {
					t.Fatal(frames[0].Err, frames[1].Err)
				}
				return frames[1].Dst
			},
		}
		for way, sealed := range ways {
			if kid := kidOf(t, sealed(make([]byte, 512))); kid != s.Origin().ShortKID() {
				t.Errorf("%s: 512 bytes have the KID %x", way, kid)
			}
			long := sealed(make([]byte, 513))
			if kid := kidOf(t, long); kid != s.Origin().KID() {
				t.Errorf("%s: 513 bytes have the KID %x", way, kid)
			}
			opens(t, receiver(t, ch, keyring.ReceiverOptions{}), long, string(make([]byte, 513)))
		}
	})
}

// TestCompactForged: announcements that are replayed or forged change nothing, in
// whatever order they come.
func TestCompactForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		r := receiver(t, ch, keyring.ReceiverOptions{})
		s := compact(t, ch, 9, nil)
		announcement := seal(t, s, "announcement")
		short := seal(t, s, "short")
		for i := range uint64(40) {
			refuses(t, r, forge(1, 100+i), cipher.ErrAuth)
		}
		refuses(t, r, short, cipher.ErrUnknownKey)
		damaged := bytes.Clone(announcement)
		damaged[len(damaged)-1] ^= 1
		refuses(t, r, damaged, cipher.ErrAuth)
		refuses(t, r, short, cipher.ErrUnknownKey)

		opens(t, r, announcement, "announcement")
		opens(t, r, short, "short")
		time.Sleep(time.Second)
		for i := range uint64(40) {
			refuses(t, r, forge(1, 200+i), cipher.ErrAuth)
			refuses(t, r, announcement, cipher.ErrReplayed)
		}
		refuses(t, r, short, cipher.ErrReplayed)
		forged := append(cipher.AppendHeader(nil, cipher.Header{KID: s.Origin().ShortKID(), CTR: 99}), make([]byte, 60)...)
		refuses(t, r, forged, cipher.ErrAuth, keyring.ErrUnannounced)
		seal(t, s, "an announcement that is lost")
		opens(t, r, seal(t, s, "goes on"), "goes on")
	})
}

// TestCompactRotation: a rotation loses no frame, and the short KID of an archived
// epoch opens nothing.
func TestCompactRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ch := stage(t, keyring.ChannelOptions{})
		r := receiver(t, ch, keyring.ReceiverOptions{})
		s := compact(t, ch, 7, nil)
		var old []byte
		for i := range 200 {
			if i == 100 {
				if _, err := ch.Rotate(t.Context(), "test"); err != nil {
					t.Fatal(err)
				}
			}
			frame := fmt.Sprint("frame ", i)
			sealed := seal(t, s, frame)
			if i == 99 {
				old = sealed
				continue
			}
			opens(t, r, sealed, frame)
			time.Sleep(20 * time.Millisecond)
		}
		if kid := s.Origin().ShortKID(); kid != 7<<4|2 {
			t.Errorf("short KID %x", kid)
		}
		time.Sleep(15 * time.Second)
		refuses(t, r, old, cipher.ErrUnknownKey)
	})
}

// TestCompactAllocs: a short KID costs no allocation, either way.
func TestCompactAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("the race detector allocates")
	}
	_, _, ch := stage(t, keyring.ChannelOptions{})
	r := receiver(t, ch, keyring.ReceiverOptions{})
	s := compact(t, ch, 7, nil)
	frame, sealed, opened := make([]byte, 80), make([]byte, 0, 200), make([]byte, 0, 200)
	step := func() {
		out, err := s.Seal(sealed[:0], frame, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Open(opened[:0], out, nil); err != nil {
			t.Fatal(err)
		}
	}
	step()
	step()
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
