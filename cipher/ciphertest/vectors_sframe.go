package ciphertest

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/chanseal/chanseal/cipher"
)

// startAt makes a SealKey's first counter ctr.
func startAt(ctr uint64) cipher.Counting {
	return cipher.Reserve(func(uint64) (uint64, error) { return ctr, nil })
}

// reachable reports whether a SealKey can be made to seal with ctr: the block that it
// reserves must fit below 2^64. OpenKeys take every counter.
func reachable(ctr uint64) bool { return ctr+cipher.ReserveBlock > ctr }

// suite takes an entry's suite: the reference's row and the package's.
func (e *entry) suite() (id uint64, r row, s *cipher.Suite) {
	id = e.uint("cipher_suite")
	r, ok := rows[id]
	if !ok {
		e.fail("cipher suite %d is not in the SFrame registry", id)
	}
	s, err := cipher.ByID(cipher.SuiteID(id))
	e.must(err)
	if !available(s) {
		e.must(errSkip)
	}
	if s.KeySize() != r.nk || s.Overhead() != r.tag || s.BaseKeySize() != r.hash().Size() {
		e.fail("suite %d: key, tag and base key of %d, %d and %d bytes, want %d, %d and %d",
			id, s.KeySize(), s.Overhead(), s.BaseKeySize(), r.nk, r.tag, r.hash().Size())
	}
	return id, r, s
}

// runHeader checks a header by itself, and in a frame that is sealed and opened.
func runHeader(e *entry) {
	kid, ctr, encoded := e.uint("kid"), e.uint("ctr"), e.hex("encoded")
	e.same("the header", cipher.AppendHeader(nil, cipher.Header{KID: cipher.KeyID(kid), CTR: ctr}), encoded)
	e.same("the reference's header", encodeHeader(kid, ctr), encoded)
	for n := range encoded {
		if _, _, err := cipher.ParseHeader(encoded[:n]); !errors.Is(err, cipher.ErrShort) {
			e.fail("the header cut to %d bytes: error %v, want %v", n, err, cipher.ErrShort)
		}
	}
	for _, tail := range []string{"", "\x00", "\xff behind"} {
		h, size, err := cipher.ParseHeader(append(slices.Clone(encoded), tail...))
		if err != nil || size != len(encoded) || uint64(h.KID) != kid || h.CTR != ctr {
			e.fail("the header with %d bytes behind it: %v, %d bytes, error %v", len(tail), h, size, err)
		}
	}
	baseKey, pt := bytes.Repeat([]byte{0x42}, 32), []byte("header")
	const id = 1
	e.frame(rows[id], cipher.AES128CTRHMAC80(), deriveKeys(rows[id], id, kid, baseKey), frame{
		kid: kid, ctr: ctr, baseKey: baseKey, pt: pt,
	})
}

// runRaw checks an AEAD by itself. The package does not give its AEADs out, so the
// vector checks the reference, and the reference then checks the package on the
// vector's plaintext and additional data.
func runRaw(e *entry) {
	id, r, s := e.suite()
	key, nonce, aad, pt, ct := e.hex("key"), e.hex("nonce"), e.hex("aad"), e.hex("pt"), e.hex("ct")
	e.same("enc_key ‖ auth_key", slices.Concat(e.hex("enc_key"), e.hex("auth_key")), key)
	if len(key) != r.nk || len(nonce) != saltSize {
		e.fail("key of %d and nonce of %d bytes, want %d and %d", len(key), len(nonce), r.nk, saltSize)
	}
	got, err := r.sealRaw(key, nonce, aad, pt)
	e.must(err)
	e.same("the ciphertext", got, ct)
	got, err = r.openRaw(key, nonce, aad, ct)
	e.must(err)
	e.same("the plaintext", got, pt)
	e.frame(r, s, deriveKeys(r, id, 7, key), frame{kid: 7, ctr: 1 << 20, baseKey: key, metadata: aad, pt: pt})
}

// runFrame checks a whole frame with every intermediate value.
func runFrame(e *entry) {
	id, r, s := e.suite()
	f := frame{kid: e.uint("kid"), ctr: e.uint("ctr"), baseKey: e.hex("base_key"), metadata: e.hex("metadata"), pt: e.hex("pt"), ct: e.hex("ct")}
	k := deriveKeys(r, id, f.kid, f.baseKey)
	e.same("the key label", []byte(k.keyLabel), e.hex("sframe_key_label"))
	e.same("the salt label", []byte(k.saltLabel), e.hex("sframe_salt_label"))
	e.same("the secret", k.secret, e.hex("sframe_secret"))
	e.same("the key", k.key, e.hex("sframe_key"))
	e.same("the salt", k.salt, e.hex("sframe_salt"))
	e.same("the nonce", nonceOf(k.salt, f.ctr), e.hex("nonce"))
	e.same("the additional data", slices.Concat(encodeHeader(f.kid, f.ctr), f.metadata), e.hex("aad"))
	e.frame(r, s, k, f)
}

// frame is one frame to be sealed and opened. ct may be missing.
type frame struct {
	kid, ctr                  uint64
	baseKey, metadata, pt, ct []byte
}

// frame seals and opens one frame with the reference and with the package, each
// against the other.
func (e *entry) frame(r row, s *cipher.Suite, k keys, f frame) {
	sealed, err := r.seal(k, f.kid, f.ctr, f.metadata, f.pt)
	e.must(err)
	if f.ct != nil {
		e.same("the reference's frame", sealed, f.ct)
	}
	back, err := r.open(k, f.kid, f.ctr, f.metadata, sealed)
	e.must(err)
	e.same("what the reference opens", back, f.pt)

	if reachable(f.ctr) {
		key, err := s.NewSealKey(cipher.KeyID(f.kid), f.baseKey, startAt(f.ctr))
		e.must(err)
		got, err := key.Seal(nil, f.pt, f.metadata)
		e.must(err)
		e.same("the sealed frame", got, sealed)

		key, err = s.NewSealKey(cipher.KeyID(f.kid), f.baseKey, startAt(f.ctr))
		e.must(err)
		buf := slices.Concat(make([]byte, cipher.MaxHeader), f.pt, make([]byte, s.Overhead()))
		got, err = key.SealInPlace(buf, cipher.MaxHeader, len(f.pt), f.metadata)
		e.must(err)
		e.same("the frame sealed in place", got, sealed)
	}

	key, err := s.NewOpenKey(cipher.KeyID(f.kid), f.baseKey)
	e.must(err)
	if _, err := key.Open(nil, sealed, append(slices.Clone(f.metadata), 0)); !errors.Is(err, cipher.ErrAuth) {
		e.fail("opening with other metadata: error %v, want %v", err, cipher.ErrAuth)
	}
	got, err := key.Open(nil, sealed, f.metadata)
	e.must(err)
	e.same("the opened frame", got, f.pt)
	if _, err := key.Open(nil, sealed, f.metadata); !errors.Is(err, cipher.ErrReplayed) {
		e.fail("opening a second time: error %v, want %v", err, cipher.ErrReplayed)
	}
}

// runRatchet checks the ratchet of RFC 9605, Section 5.1, its KID, the keys at step
// 1, and that the two misreadings which exist in the field are not what we compute.
func runRatchet(e *entry) {
	id, r, s := e.suite()
	base := e.hex("base_key")
	steps := e.hexes("steps_rfc9605")
	if len(steps) == 0 {
		e.fail("no steps")
	}
	key := base
	for i, want := range steps {
		next, err := cipher.RatchetStep(s, key)
		e.must(err)
		e.same("the step", next, want)
		e.same("the reference's step", hkdfExpand(r.hash, hkdfExtract(r.hash, nil, key), "SFrame 1.0 Ratchet", r.hash().Size()), want)
		if key = next; i == 0 {
			e.ratchetWrong(r, base, next)
		}
	}
	kid, err := cipher.RatchetKID(e.uint("key_generation"), 1, int(min(e.uint("R"), 64)))
	e.must(err)
	if want := e.uint("kid_at_step_1"); uint64(kid) != want {
		e.fail("the KID is %d, the vector says %d", kid, want)
	}
	k := deriveKeys(r, id, uint64(kid), steps[0])
	e.same("the key at step 1", k.key, e.hex("sframe_key_at_step_1"))
	e.same("the salt at step 1", k.salt, e.hex("sframe_salt_at_step_1"))
	e.frame(r, s, k, frame{kid: uint64(kid), ctr: 9, baseKey: steps[0], pt: []byte("after one step")})
}

func (e *entry) ratchetWrong(r row, base, step []byte) {
	size := r.hash().Size()
	for name, got := range map[string][]byte{
		"WRONG_step1_sframe_rs_label_Sframe": hkdfExpand(r.hash, hkdfExtract(r.hash, nil, base), "Sframe 1.0 Ratchet", size),
		"WRONG_step1_label_as_salt_variant":  hkdfExpand(r.hash, hkdfExtract(r.hash, []byte("SFrame 1.0 Ratchet"), base), "", size),
	} {
		e.same(name, got, e.hex(name))
		if bytes.Equal(step, got) {
			e.fail("the step is the one of %s", name)
		}
	}
}

// runStream checks the base keys of single RTP streams, and frames under them.
func runStream(e *entry) {
	id, r, s := e.suite()
	base, ssrc := e.hex("base_key"), e.uint("ssrc")
	if ssrc > 1<<32-1 {
		e.fail("SSRC %d has more than 32 bits", ssrc)
	}
	key, err := cipher.StreamBaseKey(s, base, uint32(ssrc))
	e.must(err)
	e.same("the stream's base key", key, e.hex("ssrc_key"))
	step, err := cipher.RatchetStep(s, key)
	e.must(err)
	e.same("the stream's base key after one step", step, e.hex("ssrc_key_ratchet_1"))
	kid := e.uint("kid")
	k := deriveKeys(r, id, kid, key)
	e.same("the key", k.key, e.hex("sframe_key"))
	e.same("the salt", k.salt, e.hex("sframe_salt"))
	frames := e.entries("frames")
	if len(frames) == 0 {
		e.fail("no frames")
	}
	for _, f := range frames {
		e.frame(r, s, k, frame{kid: kid, ctr: f.uint("ctr"), baseKey: key, metadata: f.hex("metadata"), pt: f.hex("pt"), ct: f.hex("ct")})
		f.done()
	}
}

// runMLS checks a KID of RFC 9605, Section 5.2.
func runMLS(e *entry) {
	layout := cipher.MLSLayout{EpochBits: int(min(e.uint("E"), 65)), SenderBits: int(min(e.uint("S"), 65))}
	kid, err := layout.KID(e.uint("epoch"), e.uint("sender_index"), e.uint("context"))
	e.must(err)
	if want := e.uint("kid"); uint64(kid) != want {
		e.fail("the KID is %#x, the vector says %#x", kid, want)
	}
	if e.text("source") == "" {
		e.fail("no source given")
	}
}

// expectations are the words of a negative vector's "expect" and the errors they
// stand for.
var expectations = []struct {
	word string
	err  error
}{
	{"short", cipher.ErrShort},
	{"auth", cipher.ErrAuth},
	{"unknown kid", cipher.ErrUnknownKey},
	{"non-minimal", cipher.ErrMalformed},
}

// runNegative checks that a frame is refused, and with which error.
func runNegative(e *entry) {
	_, _, s := e.suite()
	name, kid, base := e.text("name"), e.uint("kid"), e.hex("base_key")
	metadata, sealed, expect := e.hex("metadata"), e.hex("ct"), e.text("expect")
	var want []error
	for _, x := range expectations {
		if strings.Contains(expect, x.word) {
			want = append(want, x.err)
		}
	}
	if name == "" || !strings.HasPrefix(expect, "error: ") || len(want) == 0 {
		e.fail("name %q, expectation %q: not understood", name, expect)
	}
	// A header that is not in its shortest form may be refused for that alone,
	// before its KID or tag is looked at (RFC 9605, Section 4.3).
	if !shortestForm(sealed) {
		want = append(want, cipher.ErrMalformed)
	}
	key, err := s.NewOpenKey(cipher.KeyID(kid), base)
	e.must(err)
	prefix := []byte("prefix")
	out, err := key.Open(prefix, sealed, metadata)
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		e.fail("%s: error %v, want %s", name, err, expect)
	}
	if string(out) != "prefix" {
		e.fail("%s: dst did not come back at its old length", name)
	}
	if out, err := key.OpenInPlace(slices.Clone(sealed), metadata); err == nil || len(out) > 0 {
		e.fail("%s: opened in place", name)
	}
}
