package ciphertest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KindSFrame is the top-level "kind" of the vector files that [RunVectors] takes.
const KindSFrame = "sframe"

var (
	// ErrKind: the file is not of a kind that RunVectors knows.
	ErrKind = errors.New("ciphertest: unknown kind of vector file")
	// ErrArray: the file has an array that RunVectors does not know, and that
	// nobody would have checked.
	ErrArray = errors.New("ciphertest: unknown array of vectors")
)

// Count is how the entries of one array fared.
type Count struct {
	Array                   string
	Passed, Failed, Skipped int
}

// Failure is one entry that did not pass. Vectors are public: the reason may show
// keys of theirs.
type Failure struct {
	Array  string
	Index  int
	Reason string
}

// Report is the outcome of a vector file, its arrays in the order in which they run.
type Report struct {
	Kind     string
	Arrays   []Count
	Failures []Failure
}

// Passed, Failed and Skipped are the sums over all arrays.
func (r *Report) Passed() int { return r.sum(func(c Count) int { return c.Passed }) }

// Failed is how many entries did not pass.
func (r *Report) Failed() int { return r.sum(func(c Count) int { return c.Failed }) }

// Skipped is how many entries nobody could check here.
func (r *Report) Skipped() int { return r.sum(func(c Count) int { return c.Skipped }) }

func (r *Report) sum(of func(Count) int) (n int) {
	for _, c := range r.Arrays {
		n += of(c)
	}
	return n
}

// errSkip marks an entry that cannot be checked here.
var errSkip = errors.New("skipped")

// runner checks one entry of an array.
type runner struct {
	array string
	run   func(*entry)
}

// Array is an array of a vector file that another package checks.
type Array struct {
	Name string // as in a Count
	// Run checks an entry. It has to refuse fields that it does not know.
	Run func(entry []byte) error
}

func (a Array) check(e *entry) {
	raw, err := json.Marshal(e.fields)
	e.must(err)
	e.must(a.Run(raw))
	clear(e.fields)
}

// sframeArrays are the arrays of a file of kind sframe, those below "extra" with a
// dot. rtp_descriptor belongs to the RTP payload format and is not about frames.
var sframeArrays = []runner{
	{"header", runHeader},
	{"aes_ctr_hmac", runRaw},
	{"aes_256_ctr_hmac", runRaw},
	{"sframe", runFrame},
	{"sframe_aes_256_ctr_hmac", runFrame},
	{"extra.ratchet", runRatchet},
	{"extra.rtp_per_ssrc", runStream},
	{"extra.mls_kid", runMLS},
	{"extra.rtp_descriptor", nil},
	{"extra.negative", runNegative},
}

// RunVectors checks every entry of a vector file of kind sframe against package
// cipher: seal and open through [cipher.Suite] at the entry's own counter, each
// intermediate value against a second implementation of RFC 9605, and that one
// against the package. A field that is missing or unknown fails its entry; an
// unknown kind ([ErrKind]) or array ([ErrArray]) is an error, as is a file that is
// not JSON or holds no vectors. Under GODEBUG=fips140=only the entries of suites
// that are not available there are skipped.
//
// others check arrays that are not about frames, which are skipped without them.
func RunVectors(data []byte, others ...Array) (Report, error) {
	top := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &top); err != nil {
		return Report{}, fmt.Errorf("ciphertest: vector file: %w", err)
	}
	var kind string
	if err := json.Unmarshal(top["kind"], &kind); err != nil || kind != KindSFrame {
		return Report{}, fmt.Errorf("%w: %q, want %q", ErrKind, kind, KindSFrame)
	}
	delete(top, "kind")
	delete(top, "provenance") // where the file came from: prose
	arrays, err := arraysOf(top)
	if err != nil {
		return Report{}, err
	}
	report := Report{Kind: kind}
	for _, r := range sframeArrays {
		if entries, ok := arrays[r.array]; ok {
			for _, o := range others {
				if r.run == nil && o.Name == r.array {
					r.run = o.check
				}
			}
			report.runArray(r, entries)
			delete(arrays, r.array)
		}
	}
	if len(arrays) > 0 {
		var unknown []string
		for name := range arrays {
			unknown = append(unknown, strconv.Quote(name))
		}
		slices.Sort(unknown)
		return Report{}, fmt.Errorf("%w: %s", ErrArray, strings.Join(unknown, ", "))
	}
	if report.Passed()+report.Failed()+report.Skipped() == 0 {
		return Report{}, errors.New("ciphertest: vector file holds no vectors")
	}
	return report, nil
}

// arraysOf gives every array by its name, those in the object "extra" too.
func arraysOf(top map[string]json.RawMessage) (map[string][]json.RawMessage, error) {
	arrays := map[string][]json.RawMessage{}
	collect := func(prefix string, from map[string]json.RawMessage) error {
		for name, raw := range from {
			var entries []json.RawMessage
			if err := json.Unmarshal(raw, &entries); err != nil {
				return fmt.Errorf("%w: %q is not an array", ErrArray, prefix+name)
			}
			arrays[prefix+name] = entries
		}
		return nil
	}
	if raw, ok := top["extra"]; ok {
		extra := map[string]json.RawMessage{}
		if err := json.Unmarshal(raw, &extra); err != nil {
			return nil, fmt.Errorf("%w: %q is not an object of arrays", ErrArray, "extra")
		}
		delete(top, "extra")
		if err := collect("extra.", extra); err != nil {
			return nil, err
		}
	}
	return arrays, collect("", top)
}

func (r *Report) runArray(run runner, entries []json.RawMessage) {
	count := Count{Array: run.array}
	for i, raw := range entries {
		if run.run == nil {
			count.Skipped++
			continue
		}
		switch err := runEntry(run.run, raw); {
		case err == nil:
			count.Passed++
		case errors.Is(err, errSkip):
			count.Skipped++
		default:
			count.Failed++
			r.Failures = append(r.Failures, Failure{run.array, i, err.Error()})
		}
	}
	r.Arrays = append(r.Arrays, count)
}

// entry is one vector. Its fields are taken out one by one, so that what is left at
// the end is what nobody checked. The first thing that is wrong ends the entry.
type entry struct {
	fields map[string]json.RawMessage
}

// wrong is what ends an entry; it is recovered in runEntry and nowhere else.
type wrong struct{ err error }

func runEntry(run func(*entry), raw json.RawMessage) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case wrong:
			err = r.err
		default: // a vector file must not be able to take the program down
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	e := &entry{}
	e.must(json.Unmarshal(raw, &e.fields))
	run(e)
	e.done()
	return nil
}

func (e *entry) fail(format string, args ...any) { panic(wrong{fmt.Errorf(format, args...)}) }

func (e *entry) must(err error) {
	if err != nil {
		panic(wrong{err})
	}
}

func (e *entry) done() {
	for name := range e.fields {
		e.fail("unknown field %q", name)
	}
}

func (e *entry) take(name string) json.RawMessage {
	raw, ok := e.fields[name]
	if !ok {
		e.fail("field %q is missing", name)
	}
	delete(e.fields, name)
	return raw
}

// uint takes a number. They go up to 2^64-1, which a float64 would round.
func (e *entry) uint(name string) uint64 {
	v, err := strconv.ParseUint(string(bytes.TrimSpace(e.take(name))), 10, 64)
	if err != nil {
		e.fail("field %q is not a number of 64 bits", name)
	}
	return v
}

func (e *entry) text(name string) string {
	var s string
	if err := json.Unmarshal(e.take(name), &s); err != nil {
		e.fail("field %q is not a string", name)
	}
	return s
}

func (e *entry) hex(name string) []byte {
	b, err := hex.DecodeString(e.text(name))
	if err != nil {
		e.fail("field %q is not hex", name)
	}
	return b
}

func (e *entry) hexes(name string) [][]byte {
	var list []string
	if err := json.Unmarshal(e.take(name), &list); err != nil {
		e.fail("field %q is not an array of strings", name)
	}
	out := make([][]byte, len(list))
	for i, s := range list {
		b, err := hex.DecodeString(s)
		if err != nil {
			e.fail("field %q holds something that is not hex", name)
		}
		out[i] = b
	}
	return out
}

func (e *entry) entries(name string) []*entry {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(e.take(name), &list); err != nil {
		e.fail("field %q is not an array of objects", name)
	}
	out := make([]*entry, len(list))
	for i := range list {
		out[i] = &entry{fields: list[i]}
	}
	return out
}

// same compares what was computed with what the vector says.
func (e *entry) same(what string, got, want []byte) {
	if !bytes.Equal(got, want) {
		e.fail("%s is %x, the vector says %x", what, got, want)
	}
}
