package cipher_test

import (
	"bytes"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// TestBatchElementOnItself has the room of one element meet its own text or additional
// data: that panics before anything is sealed or opened. Else the elements before it
// would be left longer by what was not sealed yet.
func TestBatchElementOnItself(t *testing.T) {
	for _, s := range []*cipher.Suite{cipher.AES128GCM(), cipher.AES128CTRHMAC80(), cipher.AES128XTSHMAC()} {
		skipUnavailable(t, s)
		base := random(3, s.BaseKeySize())
		for at := range 5 {
			for _, what := range []string{"text", "additional data"} {
				seal, open := must(s.NewSealKey(1, base, cipher.FreshKey)), must(s.NewOpenKey(1, base))
				memory := random(4, 5000)
				frames := make([]cipher.Frame, 5)
				place := func(src func(i int) []byte) []byte {
					for i := range frames {
						frames[i] = cipher.Frame{Dst: memory[200*i:][:0:150], Src: src(i), AAD: random(7, 12)}
					}
					f := &frames[at]
					if what == "text" {
						f.Dst = memory[2000:2000:2300]
						f.Src = append(memory[2040:2040], f.Src...)
					} else {
						f.AAD = append(f.Dst[30:30], f.AAD...)
					}
					return bytes.Clone(memory)
				}
				refused := func(run func()) (did bool) {
					defer func() { did = recover() != nil }()
					run()
					return
				}
				for _, c := range []struct {
					name string
					src  func(i int) []byte
					run  func()
				}{
					{"SealBatch", func(i int) []byte { return random(i, 96) }, func() { seal.SealBatch(frames) }},
					{"OpenBatch", func(i int) []byte {
						return must(must(s.NewSealKey(1, base, cipher.FreshKey)).Seal(nil, random(i, 96), random(7, 12)))
					}, func() { open.OpenBatch(frames) }},
				} {
					before := place(c.src)
					if !refused(c.run) {
						t.Errorf("%s, %s: element %d on its own %s: no panic", s, c.name, at, what)
					}
					if !bytes.Equal(memory, before) {
						t.Errorf("%s, %s: element %d on its own %s: something was written", s, c.name, at, what)
					}
					for i := range frames {
						if len(frames[i].Dst) > 0 {
							t.Errorf("%s, %s: element %d on its own %s: element %d got longer", s, c.name, at, what, i)
						}
					}
				}
			}
		}
	}
}
