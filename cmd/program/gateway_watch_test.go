package program

import (
	"bytes"
	"io"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// TestGatewayLogWaitsForNobody: packets go on though nobody reads what is logged of them,
// and what was not logged is counted.
func TestGatewayLogWaitsForNobody(t *testing.T) {
	r, w := io.Pipe()
	p := &program{stdout: io.Discard, stderr: w}
	l := newGatewayLog(p)
	go l.run(t.Context())
	sealed := append(cipher.AppendHeader(nil, cipher.Header{KID: 7<<4 | 1}), make([]byte, 20)...)
	for range 1000 {
		l.refused(&rtpseal.Unit{Header: rtpseal.Header{SSRC: 9}, Sealed: sealed}, cipher.ErrAuth)
	}
	text := make([]byte, 4096)
	n, err := r.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"packet refused", "sender=7", "kid=0x71", "ssrc=0x00000009"} {
		if !bytes.Contains(text[:n], []byte(want)) {
			t.Errorf("no %s in %s", want, text[:n])
		}
	}
	if l.skipped < 900 {
		t.Errorf("%d were skipped", l.skipped)
	}
	r.Close() // ends what is being written
}
