package engine

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// macKernels are the ways to compute HMAC that this machine has.
func macKernels() map[string]bool {
	m := map[string]bool{"generic": false}
	if cpuSHA() {
		m["sha-ni"] = true
	}
	return m
}

func wantMAC(key []byte, parts ...[]byte) (out [MACSize]byte) {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	m.Sum(out[:0])
	return out
}

func TestHMACEveryLength(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("short keys are not allowed under fips140=only")
	}
	for name, kernels := range macKernels() {
		r := source(40)
		for n := 0; n <= 1500; n++ {
			key := fill(r, n%150)
			var h HMAC
			h.init(key, kernels)
			a, b, c := fill(r, 36+n%3), fill(r, n%140), fill(r, n)
			var got [MACSize]byte
			h.Sum(&got, a, b, c)
			if got != wantMAC(key, a, b, c) {
				t.Fatalf("%s: %d, %d, %d bytes: tag differs", name, len(a), len(b), len(c))
			}
			h.Sum(&got, nil, c, nil)
			if got != wantMAC(key, c) {
				t.Fatalf("%s: one part of %d bytes: tag differs", name, n)
			}
		}
		var h HMAC
		h.init([]byte("key"), kernels)
		for _, n := range []int{64*maxRun - 36, 64 * maxRun, 64*maxRun + 1, 300_000} {
			body := fill(r, n)
			var got [MACSize]byte
			h.Sum(&got, body[:36], body, body[:n/2])
			if got != wantMAC([]byte("key"), body[:36], body, body[:n/2]) {
				t.Fatalf("%s: %d bytes: tag differs", name, n)
			}
		}
	}
}

// TestHMACBatch mixes lengths, keys and kernels, so that lanes end, refill and
// outlive each other in every order.
func TestHMACBatch(t *testing.T) {
	r := source(41)
	keys := make([]HMAC, 4)
	raw := make([][]byte, len(keys))
	for i := range keys {
		raw[i] = fill(r, 32)
		keys[i].init(raw[i], cpuSHA() && i != 3)
	}
	rounds := 300
	if long {
		rounds = 30_000
	}
	wide := wideSHA
	defer func() { wideSHA = wide }()
	for round := range rounds {
		wideSHA = canWide && round%3 > 0 // both ways, where there are two
		batch := make([]MAC, r.Uint64()%20)
		var want [][MACSize]byte
		for i := range batch {
			v := r.Uint64()
			k := v >> 50 % 4
			batch[i] = MAC{Key: &keys[k], A: fill(r, 36), B: fill(r, int(v%100)), C: fill(r, int(v>>8%1700))}
			want = append(want, wantMAC(raw[k], batch[i].A, batch[i].B, batch[i].C))
		}
		SumBatch(batch)
		for i := range batch {
			if batch[i].Out != want[i] {
				t.Fatalf("batch of %d: tag %d differs", len(batch), i)
			}
		}
	}
}

func TestHMACWycheproof(t *testing.T) {
	file := readVectors(t, "hmac_sha256_test.json")
	for name, kernels := range macKernels() {
		ran := 0
		for _, group := range file.TestGroups {
			for _, v := range group.Tests {
				ran++
				var h HMAC
				h.init(v.Key, kernels)
				var out [MACSize]byte
				h.Sum(&out, v.Msg, nil, nil)
				if hmac.Equal(out[:group.TagSize/8], v.Tag) != (v.Result == "valid") {
					t.Errorf("%s: test %d (%s)", name, v.TcID, v.Result)
				}
			}
		}
		if ran < 100 {
			t.Errorf("only %d vectors ran", ran)
		}
	}
}

func TestHMACAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	for name, kernels := range macKernels() {
		var h HMAC
		h.init(make([]byte, 32), kernels)
		body := make([]byte, 1200)
		var batch [4]MAC
		if a := testing.AllocsPerRun(50, func() {
			var head [36]byte // stays on the stack, as does the tag
			var out [MACSize]byte
			h.Sum(&out, head[:], head[:5], body)
			for i := range batch {
				batch[i] = MAC{Key: &h, A: body[:36], C: body[:300*i]}
			}
			SumBatch(batch[:])
		}); a != 0 {
			t.Errorf("%s: %v allocations", name, a)
		}
	}
}

func TestHMACWipe(t *testing.T) {
	for name, kernels := range macKernels() {
		var h HMAC
		h.init([]byte("key"), kernels)
		mid := h.mid
		h.Wipe()
		if h != (HMAC{}) || mid != nil && *mid != (midstates{}) {
			t.Errorf("%s: Wipe leaves a key", name)
		}
	}
}
