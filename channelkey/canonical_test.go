package channelkey

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"strings"
	"testing"
)

// TestCanonical: what a key holds has one spelling in base64, and nothing stands behind
// it. Each of these texts decodes to the payload of a good key for a lenient reader.
func TestCanonical(t *testing.T) {
	v := newVerifier(t, testApp(), Policy{})
	std := base64.StdEncoding
	for _, s := range samples() {
		front := len(prefixDK5)
		switch s.card.Format {
		case DK5, V007:
		case V006:
			front = head006
		default:
			continue
		}
		token := mint(t, s.card)
		head, text := token[:front], token[front:]
		raw, err := std.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		variants := map[string]string{
			"line break":        text[:40] + "\n" + text[40:],
			"carriage return":   text + "\r",
			"no padding":        strings.TrimRight(text, "="),
			"too much padding":  text + "====",
			"two texts":         text + text,
			"URL alphabet":      strings.NewReplacer("+", "-", "/", "_").Replace(text),
			"space":             " " + text,
			"bytes behind":      std.EncodeToString(append(bytes.Clone(raw), 0)),
			"three bytes more":  std.EncodeToString(append(bytes.Clone(raw), 0, 0, 0)),
			"last bits not 0":   lastBits(text),
			"cut by a group":    text[:len(text)-4],
			"nothing":           "",
			"only the checksum": "AAAA",
		}
		if s.card.Format == V007 {
			payload := unpack007(t, token)
			pack := func(level int, p []byte) []byte {
				var b bytes.Buffer
				z, _ := zlib.NewWriterLevel(&b, level)
				z.Write(p)
				z.Close()
				return b.Bytes()
			}
			whole := pack(9, payload)
			variants["no checksum"] = std.EncodeToString(whole[:len(whole)-4])
			variants["other checksum"] = std.EncodeToString(append(bytes.Clone(whole[:len(whole)-1]), whole[len(whole)-1]^1))
			variants["stream cut"] = std.EncodeToString(whole[:len(whole)/2])
			variants["two streams"] = std.EncodeToString(append(bytes.Clone(whole), whole...))
			variants["payload byte behind"] = std.EncodeToString(pack(9, append(bytes.Clone(payload), 0)))
			variants["bomb"] = std.EncodeToString(pack(9, append(bytes.Clone(payload), make([]byte, 20<<20)...)))
			variants["64 KiB and one byte"] = std.EncodeToString(pack(0, append(bytes.Clone(payload), make([]byte, MaxPayload+1-len(payload))...)))
			for level := 0; level <= 9; level++ {
				if _, err := v.Verify(head+std.EncodeToString(pack(level, payload)), s.claim); err != nil {
					t.Errorf("zlib level %d is refused: %v", level, err)
				}
			}
		}
		for name, variant := range variants {
			if variant == text {
				continue // it has none of these characters
			}
			g, err := v.Verify(head+variant, s.claim)
			if err == nil || g.Format != 0 {
				t.Errorf("%s: %s is admitted", s.card.Format, name)
			}
			if name != "payload byte behind" && ReasonOf(err) != Malformed { // that breaks the signature first
				t.Errorf("%s: %s: %v, want malformed", s.card.Format, name, err)
			}
			if _, err := Parse(head+variant, Legacy{}); err == nil {
				t.Errorf("%s: %s can be read", s.card.Format, name)
			}
		}
		if _, err := v.Verify(token, s.claim); err != nil {
			t.Errorf("%s: the key itself is refused: %v", s.card.Format, err)
		}
	}
}

// lastBits sets a bit that base64 does not use, if there is one.
func lastBits(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := strings.IndexByte(text, '=') - 1
	if i < 0 {
		return text
	}
	n := strings.IndexByte(alphabet, text[i])
	return text[:i] + alphabet[n|1:n|1+1] + text[i+1:]
}
