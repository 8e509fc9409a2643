package keyring

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chanseal/chanseal/cipher"
)

// fixedSecret is a secret for formulas.
func fixedSecret(first byte) secret {
	s := secret{new([secretSize]byte)}
	for i := range s.key {
		s.key[i] = first + byte(i)
	}
	return s
}

// slowHKDF is RFC 5869 written down from its text.
func slowHKDF(h func() hash.Hash, ikm, salt, info []byte, size int) []byte {
	if len(salt) == 0 {
		salt = make([]byte, h().Size())
	}
	mac := func(key []byte, parts ...[]byte) []byte {
		m := hmac.New(h, key)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	prk := mac(salt, ikm)
	var out, t []byte
	for i := byte(1); len(out) < size; i++ {
		t = mac(prk, t, info, []byte{i})
		out = append(out, t...)
	}
	return out[:size]
}

// TestBaseKey writes the formula of the package documentation down again.
func TestBaseKey(t *testing.T) {
	o := Origin{Epoch: 0x0102030405060708, Sender: 0xABCD, Instance: 0x1122334455}
	if o.KID() != 0x1122334455ABCD08 {
		t.Errorf("KID %#x", o.KID())
	}
	if got := ParseKID(o.KID()); got != (Origin{Epoch: 8, Sender: 0xABCD, Instance: 0x1122334455}) {
		t.Errorf("%+v", got)
	}
	for suite, h := range map[*cipher.Suite]func() hash.Hash{cipher.AES128GCM(): sha256.New, cipher.AES256GCM(): sha512.New} {
		var info []byte
		info = append(info, "chanseal 1 base key"...)
		info = append(info, 0, 5, 's', 't', 'a', 'g', 'e')
		info = append(info, 1, 2, 3, 4, 5, 6, 7, 8)
		info = append(info, 0, byte(suite.ID()))
		info = append(info, 0, 0, 0, 0, 0, 0, 0xAB, 0xCD)
		info = append(info, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55)
		s := fixedSecret(7)
		want := slowHKDF(h, s.key[:], nil, info, h().Size())
		got, err := baseKey(suite, s, "stage", o)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %x, want %x, %v", suite, got, want, err)
		}
	}
}

// TestBaseKeyBinds changes each input of the base key: each changes the key.
func TestBaseKeyBinds(t *testing.T) {
	o := Origin{Epoch: 1, Sender: 2, Instance: 3}
	keys := map[string]bool{}
	add := func(suite *cipher.Suite, s secret, channel string, o Origin) {
		k, err := baseKey(suite, s, channel, o)
		if err != nil {
			t.Fatal(err)
		}
		keys[string(k[:16])] = true
	}
	add(cipher.AES128GCM(), fixedSecret(0), "c", o)
	add(cipher.ChaCha20Poly1305(), fixedSecret(0), "c", o)
	add(cipher.AES128GCM(), fixedSecret(1), "c", o)
	add(cipher.AES128GCM(), fixedSecret(0), "d", o)
	add(cipher.AES128GCM(), fixedSecret(0), "c", Origin{257, 2, 3})
	add(cipher.AES128GCM(), fixedSecret(0), "c", Origin{1, 3, 3})
	add(cipher.AES128GCM(), fixedSecret(0), "c", Origin{1, 2, 4})
	if len(keys) != 7 {
		t.Errorf("%d different keys of 7", len(keys))
	}
}

// TestFormulas fixes what is stored: a change of these breaks every ring.
func TestFormulas(t *testing.T) {
	root := fixedSecret(0)
	salt := bytes.Repeat([]byte{9}, 32)
	info := append([]byte("chanseal 1 record"), 0, 7)
	info = append(info, "channel"...)
	info = append(info, 0, 3, 'c', '/', 'x', 0, 0, 0, 0, 0, 0, 0, 5)
	if got, want := recordKey(root, "channel", "c/x", 5, salt), slowHKDF(sha256.New, root.key[:], salt, info, 32); !bytes.Equal(got, want) {
		t.Errorf("record key %x, want %x", got, want)
	}
	r := &Ring{ringID: bytes.Repeat([]byte{1}, 16), root: root}
	k := slowHKDF(sha256.New, root.key[:], r.ringID, []byte("chanseal 1 channel names"), 32)
	m := hmac.New(sha256.New, k)
	m.Write([]byte("stage"))
	if got, err := r.channelID("stage"); err != nil || got != hex.EncodeToString(m.Sum(nil)[:16]) {
		t.Errorf("channel ID %s, %v", got, err)
	}
	e := epoch{number: 3, suite: 4, secret: fixedSecret(1)}
	f := append([]byte("chanseal 1 fingerprint"), 0, 1, 'c', 0, 0, 0, 0, 0, 0, 0, 3, 0, 4)
	want := hex.EncodeToString(slowHKDF(sha256.New, e.secret.key[:], nil, f, 16))
	if got := e.fingerprint("c"); strings.ReplaceAll(got, "-", "") != want || len(got) != 39 {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}

// TestRecord seals a record and moves, cuts and alters it.
func TestRecord(t *testing.T) {
	root := newSecret()
	for _, size := range []int{0, 1, 100, 70000} {
		payload := bytes.Repeat([]byte{0x5A}, size)
		sealed, err := sealRecord(root, "channel", "c/1", 7, payload)
		if err != nil {
			t.Fatal(err)
		}
		got, revision, err := openRecord(root, "channel", "c/1", sealed)
		if err != nil || revision != 7 || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes: %d bytes of revision %d, %v", size, len(got), revision, err)
		}
		if bytes.Contains(sealed, []byte("ZZZZ")) {
			t.Fatal("the payload shows")
		}
		refuse := func(what string, root secret, kind, id string, sealed []byte) {
			t.Helper()
			if got, _, err := openRecord(root, kind, id, sealed); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) || got != nil {
				t.Fatalf("%s: %d bytes, %v", what, len(got), err)
			}
		}
		refuse("another ring", newSecret(), "channel", "c/1", sealed)
		refuse("another kind", root, "channe", "lc/1", sealed)
		refuse("another place", root, "channel", "c/2", sealed)
		older := bytes.Clone(sealed)
		binary.BigEndian.PutUint64(older[1:], 8)
		refuse("another revision", root, "channel", "c/1", older)
		for n := 0; n < len(sealed); n += 1 + n/500 {
			refuse(fmt.Sprintf("cut to %d", n), root, "channel", "c/1", sealed[:n])
		}
		refuse("longer", root, "channel", "c/1", append(bytes.Clone(sealed), 0))
		for i := 0; i < 8*len(sealed); i += 1 + i/1000 {
			altered := bytes.Clone(sealed)
			altered[i/8] ^= 1 << (i % 8)
			refuse(fmt.Sprintf("bit %d", i), root, "channel", "c/1", altered)
		}
	}
	if _, err := sealRecord(root, "channel", "c/1", 1, make([]byte, MaxValue)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record that no store takes: %v", err)
	}
}

// TestRecordFits seals the largest channel there can be.
func TestRecordFits(t *testing.T) {
	st := &state{name: strings.Repeat("n", MaxName), suite: 4, policy: Policy{Frames: 1, Age: 1, Grace: 1, OnJoin: Keep, OnLeave: Fresh}}
	now := time.Now()
	for i := range MaxEpochs {
		st.epochs = append(st.epochs, epoch{
			number: uint64(i) + 1, kind: Random, state: Retiring, suite: 4, created: now, activated: now,
			retired: now, until: now, reason: strings.Repeat("r", MaxReason), secret: fixedSecret(byte(i)),
		})
	}
	payload := st.encode()
	if _, err := sealRecord(newSecret(), kindChannel, "x", 1, payload); err != nil {
		t.Fatal(err)
	}
	if got, err := decodeState(channelFormat, payload); err != nil || len(got.epochs) != MaxEpochs {
		t.Fatal(err)
	}
	if _, err := st.stage(now, ""); err != ErrFull {
		t.Errorf("one epoch too many: %v", err)
	}
}

// TestEpochLife does what can be done to a channel, at random, and checks what
// must hold at any moment.
func TestEpochLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := &state{name: "c", suite: 4, policy: Policy{Frames: 1, Grace: 10 * time.Second, OnJoin: Keep, OnLeave: Fresh}}
		now := time.Unix(1700000000, 0)
		if err := st.rotate(now, "", false); err != nil {
			t.Fatal(err)
		}
		secrets := map[[secretSize]byte]uint64{}
		var newest uint64
		gone := map[uint64]bool{}
		step := rapid.SampledFrom([]string{"stage", "activate", "rotate", "rotate", "rotate", "burst", "revoke", "forget", "all", "wait", "again"})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := st.active()
			var was uint64
			if before != nil {
				was = before.number
			}
			switch step.Draw(t, "step") {
			case "stage":
				if st.active() != nil {
					st.stage(now, "r")
				}
			case "activate":
				st.activate(now)
			case "rotate":
				if st.active() != nil {
					if err := st.rotate(now, "", false); err != nil {
						t.Fatal(err)
					}
				}
			case "burst": // so fast that low bits come round within the grace
				for range 300 {
					if st.active() != nil {
						if err := st.rotate(now, "", false); err != nil {
							t.Fatal(err)
						}
						now = now.Add(time.Millisecond)
					}
				}
			case "revoke":
				if st.active() != nil {
					staged := st.staged()
					if err := st.rotate(now, "", true); err != nil {
						t.Fatal(err)
					}
					if staged != nil && st.epoch(staged.number).state != Forgotten {
						t.Fatal("a revocation activated a staged epoch")
					}
				}
			case "forget":
				n := rapid.Uint64Range(0, newest+2).Draw(t, "n")
				err := st.forget(n)
				if n == was && was != 0 && err != ErrEpochActive || err == nil && (n == 0 || n > newest) {
					t.Fatalf("forget %d of %d, active %d: %v", n, newest, was, err)
				}
				if err == nil {
					gone[n] = true
				}
			case "all":
				st.forgetAll()
			case "again":
				if st.active() == nil && st.staged() == nil {
					if err := st.rotate(now, "", false); err != nil {
						t.Fatal(err)
					}
				}
			case "wait":
				now = now.Add(time.Duration(rapid.IntRange(0, 12000).Draw(t, "ms")) * time.Millisecond)
			}

			// Through the store and back.
			next, err := decodeState(channelFormat, st.encode())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(next.encode(), st.encode()) {
				t.Fatal("a record changes on its way through the store")
			}
			st = next

			active, staged := 0, 0
			live := map[uint8]uint64{}
			for i := range st.epochs {
				e := &st.epochs[i]
				if e.number != st.floor+uint64(i)+1 {
					t.Fatalf("epoch %d at place %d over floor %d", e.number, i, st.floor)
				}
				newest = max(newest, e.number)
				switch e.state {
				case Active:
					active++
				case Staged:
					staged++
				}
				if e.live(now) {
					if other, ok := live[e.low()]; ok {
						t.Fatalf("epochs %d and %d are live with the same low bits", other, e.number)
					}
					live[e.low()] = e.number
				}
				if (e.state == Forgotten) != (e.secret.key == nil) {
					t.Fatalf("epoch %d is %v, secret %v", e.number, e.state, e.secret.key != nil)
				}
				if e.secret.key != nil {
					if gone[e.number] {
						t.Fatalf("epoch %d came back", e.number)
					}
					if n, ok := secrets[*e.secret.key]; ok && n != e.number {
						t.Fatalf("epochs %d and %d share a secret", n, e.number)
					}
					secrets[*e.secret.key] = e.number
				}
			}
			if active > 1 || staged > 1 {
				t.Fatalf("%d active, %d staged", active, staged)
			}
			if st.floor+uint64(len(st.epochs)) < newest {
				t.Fatal("the newest number was lost: it would come again")
			}
		}
	})
}

func TestKIDTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table kidTable
		model := map[cipher.KeyID]*kidEntry{}
		kids := rapid.Custom(func(t *rapid.T) cipher.KeyID {
			return cipher.KeyID(rapid.Uint64Range(0, 300).Draw(t, "kid") << rapid.SampledFrom([]int{0, 24, 56}).Draw(t, "shift"))
		})
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			kid := kids.Draw(t, "kid")
			if rapid.IntRange(0, 30).Draw(t, "remove") == 0 {
				for _, e := range table.remove(func(e *kidEntry) bool { return e.kid&1 == kid&1 }) {
					if model[e.kid] != e {
						t.Fatal("removed what was not there")
					}
					delete(model, e.kid)
				}
			} else if table.get(kid) == nil {
				e := &kidEntry{kid: kid}
				table.put(e)
				model[kid] = e
			}
			if table.get(kid) != model[kid] {
				t.Fatalf("%#x: %v, want %v", kid, table.get(kid), model[kid])
			}
		}
		if len(table.all()) != len(model) || table.count != len(model) {
			t.Fatalf("%d entries, count %d, want %d", len(table.all()), table.count, len(model))
		}
		for kid, e := range model {
			if table.get(kid) != e {
				t.Fatalf("%#x is lost", kid)
			}
		}
	})
}

// TestLimiter counts all failures in every second.
func TestLimiter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "limit")
		l := newLimiter(n)
		now := time.Unix(1000, 0)
		var failures []time.Time
		refused := 0
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
			recent := 0
			for _, f := range failures {
				if now.Sub(f) < time.Second {
					recent++
				}
			}
			allowed := l.allow(now, 1)
			if allowed != (recent < n) {
				t.Fatalf("%d failures in the last second, limit %d, allowed %v", recent, n, allowed)
			}
			if !allowed {
				refused++
				continue
			}
			l.fail(now)
			failures = append(failures, now)
		}
	})
}

// cheap is a passphrase whose Argon2id takes no time.
func cheap(phrase string) *passphrase { return &passphrase{[]byte(phrase), 1, 8, 1} }

func TestPassphrase(t *testing.T) {
	root, id := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	k := cheap("correct horse")
	wrapped, err := k.Wrap(root, id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Unwrap(wrapped, id); err != nil || !bytes.Equal(got, root) {
		t.Fatal(got, err)
	}
	if _, err := cheap("wrong").Unwrap(wrapped, id); !errors.Is(err, ErrLocked) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if _, err := k.Unwrap(wrapped, bytes.Repeat([]byte{3}, 16)); !errors.Is(err, ErrLocked) {
		t.Errorf("another ring: %v", err)
	}
	for n := range wrapped {
		if _, err := k.Unwrap(wrapped[:n], id); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	for i := range 8 * len(wrapped) {
		if i/8 >= 1 && i/8 < 9 && i/8 != 8 && i/8 != 4 { // parameters that would only cost time: below
			continue
		}
		altered := bytes.Clone(wrapped)
		altered[i/8] ^= 1 << (i % 8)
		if got, err := k.Unwrap(altered, id); err == nil {
			t.Fatalf("bit %d: %x", i, got)
		}
	}
	for _, bad := range []struct {
		t, m uint32
		p    uint8
	}{{0, 8, 1}, {17, 8, 1}, {1, 8, 0}, {1, 200, 17}, {1, 1<<20 + 1, 1}, {1, 7, 1}, {1, 31, 4}, {1<<32 - 1, 1<<32 - 1, 255}} {
		altered := bytes.Clone(wrapped)
		binary.BigEndian.PutUint32(altered[1:], bad.t)
		binary.BigEndian.PutUint32(altered[5:], bad.m)
		altered[9] = bad.p
		if _, err := k.Unwrap(altered, id); !errors.Is(err, ErrDamaged) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := Passphrase(nil); err == nil {
		t.Error("an empty passphrase")
	}
	// Real parameters, once.
	real, err := Passphrase([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if wrapped, err = real.Wrap(root, id); err != nil {
		t.Fatal(err)
	}
	if want := []byte{0x13, 0, 0, 0, 3, 0, 1, 0, 0, 4}; !bytes.Equal(wrapped[:10], want) {
		t.Errorf("parameters %x, want %x", wrapped[:10], want)
	}
	if got, err := real.Unwrap(wrapped, id); err != nil || !bytes.Equal(got, root) {
		t.Error(err)
	}
}

func TestHeader(t *testing.T) {
	root, h := newSecret(), newHeader()
	a, b := cheap("a"), cheap("b")
	if err := h.wrap(root, []KEK{a, b}); err != nil {
		t.Fatal(err)
	}
	encoded := h.encode(root)
	for _, keks := range [][]KEK{{a}, {b}, {cheap("c"), b}} {
		_, got, err := openHeader(encoded, keks)
		if err != nil || *got.key != *root.key {
			t.Fatal(err)
		}
	}
	var locked *LockedError
	if _, _, err := openHeader(encoded, []KEK{cheap("c")}); !errors.As(err, &locked) || !locked.Tried || !errors.Is(err, ErrLocked) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if _, _, err := openHeader(encoded, nil); !errors.As(err, &locked) || locked.Tried || fmt.Sprint(locked.Kinds) != "[argon2id]" {
		t.Errorf("no key: %v", err)
	}
	for n := range encoded {
		if _, _, err := openHeader(encoded[:n], []KEK{a}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	// Without one wrapping: its removal is noticed by who opens with the other.
	h.wrappings = h.wrappings[:1]
	body := h.encode(newSecret())
	if _, _, err := openHeader(append(body[:len(body)-macSize], encoded[len(encoded)-macSize:]...), []KEK{a}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a header with a wrapping less: %v", err)
	}
	for _, keks := range [][]KEK{nil, make([]KEK, maxWrappings+1)} {
		if h.wrap(root, keks) == nil {
			t.Errorf("%d wrappings", len(keks))
		}
	}
}

func TestKeyFileKEK(t *testing.T) {
	path := t.TempDir() + "/key"
	k, err := CreateKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root, id := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	wrapped, err := k.Wrap(root, id)
	if err != nil {
		t.Fatal(err)
	}
	again, err := KeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Unwrap(wrapped, id); err != nil || !bytes.Equal(got, root) {
		t.Fatal(err)
	}
	if _, err := again.Unwrap(wrapped, bytes.Repeat([]byte{3}, 16)); !errors.Is(err, ErrLocked) {
		t.Errorf("another ring: %v", err)
	}
	other, err := CreateKeyFile(path + "2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Unwrap(wrapped, id); !errors.Is(err, ErrLocked) {
		t.Errorf("another key file: %v", err)
	}
	for i := range wrapped {
		altered := bytes.Clone(wrapped)
		altered[i] ^= 0x04
		if _, err := again.Unwrap(altered, id); !errors.Is(err, ErrLocked) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

// TestRedacted prints what holds secrets in every way that code prints things.
func TestRedacted(t *testing.T) {
	s := fixedSecret(0xA0)
	pass := cheap("open sesame")
	ring := &Ring{root: s, ringID: make([]byte, 16)}
	st := &state{name: "c", epochs: []epoch{{number: 1, state: Active, secret: s}}}
	for _, v := range []any{s, &s, st, *st, st.epochs, pass, *pass, ring, &Sender{}, &Receiver{}, &Channel{ring: ring, name: "c"},
		candidate{secret: s}, struct{ S secret }{s}, map[string]any{"s": s}, &keyFile{}, &header{}} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		b, _ := json.Marshal(v)
		out.Write(b)
		text := strings.ToLower(out.String())
		for _, bad := range []string{"a0a1a2", "160 161", "160,161", "0xa0, 0xa1", "oKGi", "open sesame", "6f70656e", "111 112 101"} {
			if strings.Contains(text, strings.ToLower(bad)) {
				t.Errorf("%T shows %q in\n%s", v, bad, out.String())
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "stage", "Größe 1", "频道", strings.Repeat("n", MaxName), "!#$%&()+-:;<=.>?@[]^_{}|~,"} {
		if err := checkName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("n", MaxName+1), " a", "a ", "a\n", "\x1b[2J", "a\x00b", "\xff", "a\u202eb", "a\u200bb"} {
		if err := checkName(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func FuzzState(f *testing.F) {
	st := &state{name: "c", suite: 4, policy: Policy{Frames: 1, Age: 2, Grace: 3, OnJoin: Keep, OnLeave: Fresh}}
	for range 3 {
		st.rotate(time.Now(), "why", false)
	}
	st.forget(1)
	st.stage(time.Now(), "")
	whole := st.encode()
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := decodeState(channelFormat, b)
		if err != nil {
			return
		}
		if !bytes.Equal(st.encode(), b) {
			t.Fatalf("%x becomes %x", b, st.encode())
		}
	})
}

func FuzzHeader(f *testing.F) {
	root, h := newSecret(), newHeader()
	k := cheap("a")
	if err := h.wrap(root, []KEK{k}); err != nil {
		f.Fatal(err)
	}
	f.Add(h.encode(root))
	f.Add([]byte(headerMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHeader(b)
		if err != nil {
			return
		}
		if again := h.encode(root); !bytes.Equal(again[:len(again)-macSize], b[:len(b)-macSize]) {
			t.Fatalf("%x becomes %x", b, again)
		}
	})
}

func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzRecord(f *testing.F) {
	root := fixedSecret(1)
	// Fixed: the processes of a fuzzer must mean the same record.
	sealed := fromHex(f, "01000000000000000172c0c13580f1e82fdebf3ad3f0c5685495a34382ba8651e79df85ea145fbefbf20000700b2a1f3"+
		"187b194f16ac67c86419f52d6bdd1abfcba2d1b84af452fba5975c374c1fe97bd4")
	if got, _, err := openRecord(root, kindChannel, "c/1", sealed); err != nil || string(got) != "payload" {
		f.Fatalf("the seed is %q, error %v", got, err)
	}
	f.Add(sealed)
	f.Add(sealed[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, _, err := openRecord(root, kindChannel, "c/1", b); err == nil && !bytes.Equal(b, sealed) {
			t.Fatalf("%x opens: %x", b, got)
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("# c\nAGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n"))
	f.Add([]byte("AGE-SECRET-KEY-PQ-1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKeyFile(b, nil); err == nil && k.recipient == nil {
			t.Fatal("a key file without a recipient")
		}
	})
}

func FuzzPassphraseUnwrap(f *testing.F) {
	k, id := cheap("a"), make([]byte, 16)
	// Fixed, as in FuzzRecord.
	wrapped := fromHex(f, "13000000010000000801ff521b6d28f9daf309a2e6dc6771077a84f4fac40ee576810c06cc71b474ce04c6ccb565cdc2"+
		"6c65c5c65a43abaa20872a72906f39c01c7e75fa955f08c8e915")
	if _, err := k.Unwrap(bytes.Clone(wrapped), id); err != nil {
		f.Fatal(err)
	}
	f.Add(wrapped)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 9 { // costs that are allowed would only make the fuzzer slow
			b[1], b[2], b[3], b[5], b[6] = 0, 0, 0, 0, 0
		}
		if _, err := k.Unwrap(b, id); err == nil && !bytes.Equal(b, wrapped) {
			t.Fatalf("%x opens", b)
		}
	})
}
