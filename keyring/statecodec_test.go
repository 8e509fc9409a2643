package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFormat1 reads a record that the first version wrote: sealed under
// fixedSecret(1) as c/1, revision 7, with an epoch in each state.
func TestFormat1(t *testing.T) {
	text, err := os.ReadFile("testdata/channel-format1.hex")
	if err != nil {
		t.Fatal(err)
	}
	payload, format, revision, err := openFormat(fixedSecret(1), kindChannel, "c/1", fromHex(t, strings.TrimSpace(string(text))))
	if err != nil || format != 1 || revision != 7 {
		t.Fatalf("format %d, revision %d, %v", format, revision, err)
	}
	st, err := decodeState(format, payload)
	if err != nil {
		t.Fatal(err)
	}
	at := func(s int64) time.Time { return time.Unix(1700000000+s, 0) }
	policy := Policy{Frames: 1000, Age: time.Hour, Grace: 10 * time.Second, Delay: 5 * time.Second, Debounce: 5 * time.Second, OnJoin: Keep, OnLeave: Fresh}
	if st.name != "stage" || st.suite != 4 || st.policy != policy || st.floor != 2 || len(st.epochs) != 4 || st.stored != 5 {
		t.Fatalf("%q, suite %v, %+v, floor %d, %d epochs, active %d", st.name, st.suite, st.policy, st.floor, len(st.epochs), st.stored)
	}
	want := []epoch{
		{number: 3, kind: Random, state: Forgotten, suite: 4, created: at(1), reason: "a"},
		{number: 4, kind: Random, state: Retiring, suite: 4, created: at(2), activated: at(3), retired: at(10), until: at(20), reason: "policy", secret: fixedSecret(4)},
		{number: 5, kind: Random, state: Active, suite: 4, created: at(9), activated: at(10), secret: fixedSecret(5)},
		{number: 6, kind: Random, state: Staged, suite: 5, created: at(11), reason: "next", secret: fixedSecret(6)},
	}
	for i, e := range st.epochs {
		w := want[i]
		if e.number != w.number || e.kind != w.kind || e.state != w.state || e.suite != w.suite || e.reason != w.reason ||
			!e.created.Equal(w.created) || !e.activated.Equal(w.activated) || !e.retired.Equal(w.retired) || !e.until.Equal(w.until) || !e.activateAt.IsZero() {
			t.Errorf("epoch %d is not what was written", w.number)
		}
		if (e.secret.key == nil) != (w.secret.key == nil) || e.secret.key != nil && *e.secret.key != *w.secret.key {
			t.Errorf("epoch %d has another secret", w.number)
		}
	}
	st.advance(at(1 << 30))
	if st.activeNumber() != 5 {
		t.Error("an old staged epoch became active by itself")
	}
	again, err := decodeState(channelFormat, st.encode())
	if err != nil || !bytes.Equal(again.encode(), st.encode()) {
		t.Errorf("not written in the new format: %v", err)
	}
	// Format 1 knows no kind but the first.
	second := bytes.Index(payload, []byte("policy")) - 2 - 4*8 - 4
	payload[second] = byte(Ratchet)
	if _, err := decodeState(1, payload); !errors.Is(err, ErrVersion) {
		t.Errorf("another kind in format 1: %v", err)
	}
}

// TestNewer: what a later version may write is refused as that, not taken for damage
// nor read in part.
func TestNewer(t *testing.T) {
	now := time.Unix(1700000000, 0)
	fresh := func() *state {
		p, err := Policy{}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		st := &state{name: "c", suite: 4, policy: p}
		if err := st.rotate(now, "", false); err != nil {
			t.Fatal(err)
		}
		return st
	}
	for name, change := range map[string]func(*state){
		"kind":          func(s *state) { s.epochs[0].kind = Exported + 1 },
		"kind 0":        func(s *state) { s.epochs[0].kind = 0 },
		"state":         func(s *state) { s.epochs[0].state = Forgotten + 1 },
		"channel field": func(s *state) { s.more = s.more.set(0xFFFF, []byte{1}) },
		"epoch field":   func(s *state) { s.epochs[0].more = s.epochs[0].more.set(0xFFFF, nil).set(0xFFFE, []byte{}) },
		"join":          func(s *state) { s.policy.OnJoin = 77 },
		"leave":         func(s *state) { s.policy.OnLeave = Step },
		"pending":       func(s *state) { s.pending = pending{how: 78, due: now} },
	} {
		st := fresh()
		change(st)
		if _, err := decodeState(channelFormat, st.encode()); !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeState(channelFormat, fresh().encode()); err != nil {
		t.Errorf("the control: %v", err)
	}
	// The format's own number.
	root := fixedSecret(1)
	sealed, err := sealRecord(root, "test", "x", 1, []byte("p"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRecord(root, "test", "x", sealed); err != nil {
		t.Fatal(err)
	}
	later := fresh().encode()
	for n := range len(later) { // and each cut of a record is damage
		if _, err := decodeState(channelFormat, later[:n]); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
}

func TestFields(t *testing.T) {
	f := fields{}.set(7, []byte("seven")).set(3, []byte{}).set(9, []byte("nine")).set(7, []byte("7")).set(9, nil)
	b := f.append(nil)
	if want := []byte{0, 2, 0, 3, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, '7'}; !bytes.Equal(b, want) || f.size() != len(b) {
		t.Fatalf("%x, size %d", b, f.size())
	}
	all := func(uint16) bool { return true }
	d := decoder{b: b}
	if got := d.fields(all); !d.done() || d.newer || string(got.get(7)) != "7" || got.get(3) == nil || got.get(9) != nil {
		t.Fatalf("%v", got)
	}
	for name, bad := range map[string][]byte{
		"not ascending": {0, 2, 0, 7, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0},
		"too many":      append([]byte{0, maxFields + 1}, make([]byte, 1000)...),
		"too long":      {0, 1, 0, 7, 0xFF, 0xFF, 0xFF, 0xFF, 1},
		"cut":           {0, 1, 0, 7, 0, 0, 0},
	} {
		d := decoder{b: bad}
		if d.fields(all); d.done() {
			t.Errorf("%s passes", name)
		}
	}
	for _, numbers := range [][]uint16{nil, {0}, {1, 2, 65535}} {
		if got, ok := decodeNumbers(encodeNumbers(numbers)); !ok || !slices.Equal(got, numbers) {
			t.Errorf("%v becomes %v", numbers, got)
		}
	}
	for _, bad := range [][]byte{{1}, binary.BigEndian.AppendUint32(nil, 0x00020002), {0, 2, 0, 1}} {
		if got, ok := decodeNumbers(bad); ok {
			t.Errorf("%x passes as %v", bad, got)
		}
	}
}

// TestRatchetStep: RFC 9605, Section 5.1, written down again.
func TestRatchetStep(t *testing.T) {
	s := fixedSecret(9)
	next := s.step()
	if want := slowHKDF(sha256.New, s.key[:], nil, []byte("SFrame 1.0 Ratchet"), 32); !bytes.Equal(next.key[:], want) {
		t.Errorf("%x, want %x", next.key[:], want)
	}
}
