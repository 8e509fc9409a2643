package ciphertest

import (
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func sframeFile(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("../../testdata/vectors/sframe.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRunVectors(t *testing.T) {
	r, err := RunVectors(sframeFile(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Errorf("%s[%d]: %s", f.Array, f.Index, f.Reason)
	}
	want := "[{header 289 0 0} {aes_ctr_hmac 3 0 0} {aes_256_ctr_hmac 3 0 0} {sframe 5 0 0} {sframe_aes_256_ctr_hmac 3 0 0} " +
		"{extra.ratchet 8 0 0} {extra.rtp_per_ssrc 8 0 0} {extra.mls_kid 9 0 0} {extra.rtp_descriptor 0 0 7} {extra.negative 7 0 0}]"
	if fips140.Enforced() {
		want = "[{header 289 0 0} {aes_ctr_hmac 3 0 0} {aes_256_ctr_hmac 3 0 0} {sframe 3 0 2} {sframe_aes_256_ctr_hmac 3 0 0} " +
			"{extra.ratchet 6 0 2} {extra.rtp_per_ssrc 6 0 2} {extra.mls_kid 9 0 0} {extra.rtp_descriptor 0 0 7} {extra.negative 0 0 7}]"
	}
	if got := fmt.Sprint(r.Arrays); got != want {
		t.Errorf("counts\n got %s\nwant %s", got, want)
	}
	if !fips140.Enforced() && (r.Passed() != 335 || r.Failed() != 0 || r.Skipped() != 7) {
		t.Errorf("%d passed, %d failed, %d skipped, want 335, 0, 7", r.Passed(), r.Failed(), r.Skipped())
	}
}

// TestRunVectorsNotices changes every field of every array's first entry, one at a
// time, takes each away, and adds one that nobody knows. All must fail the entry:
// otherwise the field is not checked.
func TestRunVectorsNotices(t *testing.T) {
	var file map[string]json.RawMessage
	if err := json.Unmarshal(sframeFile(t), &file); err != nil {
		t.Fatal(err)
	}
	var extra map[string]json.RawMessage
	if err := json.Unmarshal(file["extra"], &extra); err != nil {
		t.Fatal(err)
	}
	for _, r := range sframeArrays {
		if r.run == nil || fips140.Enforced() && r.array == "extra.negative" {
			continue
		}
		name, nested := strings.CutPrefix(r.array, "extra.")
		raw := file[name]
		if nested {
			raw = extra[name]
		}
		var entries []map[string]json.RawMessage
		if err := json.Unmarshal(raw, &entries); err != nil {
			t.Fatal(err)
		}
		first := entries[0]
		if err := runChanged(r, first, "", nil); err != nil {
			t.Fatalf("%s: the first entry as it is: %v", r.array, err)
		}
		for field, value := range first {
			if changed := change(value); !freeText[r.array+" "+field] {
				if err := runChanged(r, first, field, changed); err == nil || errors.Is(err, errSkip) {
					t.Errorf("%s: changing %s to %s is not noticed", r.array, field, changed)
				}
			}
			if err := runChanged(r, first, field, nil); err == nil {
				t.Errorf("%s: a missing %s is not noticed", r.array, field)
			}
		}
		if err := runChanged(r, first, "surplus", json.RawMessage(`"00"`)); err == nil {
			t.Errorf("%s: an unknown field is not noticed", r.array)
		}
	}
}

// freeText are the fields that may hold anything: prose, and what a frame that is
// refused would have been opened with.
var freeText = map[string]bool{
	"extra.mls_kid source": true, "extra.negative name": true, "extra.negative cipher_suite": true,
	"extra.negative kid": true, "extra.negative base_key": true, "extra.negative metadata": true,
}

func runChanged(r runner, first map[string]json.RawMessage, field string, value json.RawMessage) error {
	changed := map[string]json.RawMessage{}
	for k, v := range first {
		changed[k] = v
	}
	if value != nil {
		changed[field] = value
	} else {
		delete(changed, field)
	}
	raw, _ := json.Marshal(changed)
	return runEntry(r.run, raw)
}

// change gives another value of the same kind.
func change(v json.RawMessage) json.RawMessage {
	s := string(v)
	switch {
	case s[0] == '"' && strings.HasPrefix(s, `"error: `):
		return json.RawMessage(`"error: auth"`)
	case s == `""`: // the empty negative frame, or no metadata: a frame of one byte
		return json.RawMessage(`"00"`)
	case s[0] == '"':
		last := byte('0')
		if s[len(s)-2] == '0' {
			last = '1'
		}
		return json.RawMessage(s[:len(s)-2] + string(last) + `"`)
	case s[0] == '[':
		var list []json.RawMessage
		if json.Unmarshal(v, &list) != nil || len(list) == 0 {
			return v
		}
		if list[0][0] == '{' {
			var inner map[string]json.RawMessage
			if json.Unmarshal(list[0], &inner) != nil {
				return v
			}
			inner["pt"] = change(inner["pt"])
			list[0], _ = json.Marshal(inner)
		} else {
			list[len(list)-1] = change(list[len(list)-1])
		}
		out, _ := json.Marshal(list)
		return out
	}
	if s == "1" {
		return json.RawMessage("2")
	}
	return json.RawMessage("1")
}

func TestRunVectorsRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"not JSON":            {`{`, nil},
		"no kind":             {`{"header":[]}`, ErrKind},
		"another kind":        {`{"kind":"dave","header":[]}`, ErrKind},
		"kind is no string":   {`{"kind":1}`, ErrKind},
		"unknown array":       {`{"kind":"sframe","headers":[]}`, ErrArray},
		"unknown extra array": {`{"kind":"sframe","extra":{"x":[]}}`, ErrArray},
		"not an array":        {`{"kind":"sframe","header":7}`, ErrArray},
		"extra not an object": {`{"kind":"sframe","extra":[]}`, ErrArray},
		"nothing in it":       {`{"kind":"sframe","header":[]}`, nil},
	} {
		r, err := RunVectors([]byte(c.data))
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: report %v, error %v, want %v", name, r, err, c.want)
		}
	}
	for _, entry := range []string{`null`, `[]`, `{}`, `{"kid":1.0,"ctr":1,"encoded":"11"}`, `{"kid":18446744073709551616,"ctr":1,"encoded":"11"}`, `{"kid":"1","ctr":1,"encoded":"11"}`} {
		r, err := RunVectors([]byte(`{"kind":"sframe","header":[` + entry + `,{"kid":1,"ctr":1,"encoded":"11"}]}`))
		if err != nil || r.Failed() != 1 || r.Passed() != 1 {
			t.Errorf("entry %s: %d passed, %d failed, error %v, want 1 and 1", entry, r.Passed(), r.Failed(), err)
		}
	}
}

func FuzzRunVectors(f *testing.F) {
	f.Add([]byte(`{"kind":"sframe","header":[{"kid":0,"ctr":0,"encoded":"00"}]}`))
	f.Add([]byte(`{"kind":"sframe","extra":{"mls_kid":[{"E":64,"S":64,"epoch":0,"sender_index":0,"context":0,"kid":0,"source":"x"}],"ratchet":[{"R":99}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) { RunVectors(data) })
}
