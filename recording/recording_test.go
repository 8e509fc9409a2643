package recording

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	start = time.Unix(1_700_000_000, 123_456_000)
	here  = netip.MustParseAddrPort("192.0.2.9:6004")
)

// The format of rtptools, by hand: rd.h and the text of its rtpdump(1).
func TestFormat(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, start, here)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]byte("\x80rtp"), false, start.Add(1500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]byte("\x80\xc8rtcp"), true, start.Add(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	want := "#!rtpplay1.0 192.0.2.9/6004\n" +
		"\x65\x53\xf1\x00\x00\x01\xe2\x40\xc0\x00\x02\x09\x17\x74\x00\x00" +
		"\x00\x0c\x00\x04\x00\x00\x05\xdc\x80rtp" +
		"\x00\x0e\x00\x00\x00\x00\x07\xd0\x80\xc8rtcp"
	if got := out.String(); got != want {
		t.Fatalf("wrote %q\nwant  %q", got, want)
	}
	r, err := NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Start().Equal(start) || r.Address() != here {
		t.Errorf("start %v at %v", r.Start(), r.Address())
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type packet struct {
			data []byte
			rtcp bool
			at   int64
		}
		packets := rapid.SliceOf(rapid.Custom(func(t *rapid.T) packet {
			return packet{rapid.SliceOfN(rapid.Byte(), 1, 2000).Draw(t, "data"), rapid.Bool().Draw(t, "rtcp"), rapid.Int64Range(0, 1<<32-1).Draw(t, "at")}
		})).Draw(t, "packets")
		var out bytes.Buffer
		w, err := NewWriter(&out, start, here)
		if err != nil {
			t.Fatal(err)
		}
		ends := []int{out.Len()}
		for _, p := range packets {
			if err := w.Write(p.data, p.rtcp, start.Add(time.Duration(p.at)*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, out.Len())
		}
		// Cut anywhere, what is whole comes out, and the rest is said to be torn.
		cut := rapid.IntRange(ends[0], out.Len()).Draw(t, "cut")
		r, err := NewReader(bytes.NewReader(out.Bytes()[:cut]))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; ; n++ {
			p, err := r.Next()
			if err != nil {
				want := ErrTorn
				if cut == ends[n] {
					want = io.EOF
				}
				if err != want {
					t.Fatalf("cut at %d: %v, want %v", cut, err, want)
				}
				break
			}
			if w := packets[n]; !bytes.Equal(p.Data, w.data) || p.RTCP != w.rtcp || p.At.Milliseconds() != w.at {
				t.Fatalf("packet %d is another", n)
			}
		}
		if n < len(packets) && cut >= ends[n+1] {
			t.Fatalf("only %d packets of a file cut at %d", n, cut)
		}
	})
}

func TestRefuses(t *testing.T) {
	for _, file := range []string{"", "#!rtpplay1.0", "RIFF", "#!rtpplay1.0 " + string(make([]byte, 300)), "#!rtpplay2.0 1.2.3.4/5\n0123456789abcdef"} {
		if _, err := NewReader(bytes.NewReader([]byte(file))); !errors.Is(err, ErrNotRecording) {
			t.Errorf("%.20q: %v", file, err)
		}
	}
	w, err := NewWriter(io.Discard, start, here)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"long":  w.Write(make([]byte, MaxPacket+1), false, start),
		"empty": w.Write(nil, false, start),
		"late":  w.Write([]byte{1}, false, start.Add(50*24*time.Hour)),
	} {
		if !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("#!rtpplay1.0 192.0.2.9/6004\n0123456789abcdef\x00\x0c\x00\x04\x00\x00\x05\xdc\x80rtp"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		for {
			p, err := r.Next()
			if err != nil {
				return
			}
			if len(p.Data) > len(data) {
				t.Fatal("more than the file holds")
			}
		}
	})
}
