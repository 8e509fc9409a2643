package program

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/cmd/program/onecall"
)

// callOptions are those of a call in a test: commands run here, and processes of their
// own are this test's binary, which is the program under that name.
func callOptions(t *testing.T) onecall.Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	clip, err := readCallClip(os.Getenv("CHANSEAL_CALL_CLIP"))
	if err != nil {
		t.Fatal(err)
	}
	return onecall.Options{Dir: t.TempDir(), Run: (&program{}).callCommand, Self: []string{self, "chanseal"}, Clip: clip}
}

func callContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestOneCall: one call through everything. CHANSEAL_CALL_CLIP=FILE sends another
// recording.
func TestOneCall(t *testing.T) {
	t.Parallel()
	o := callOptions(t)
	o.Say = func(format string, args ...any) { t.Logf(format, args...) }
	o.Show = func(args []string, background bool) { t.Log("$ chanseal " + strings.Join(args, " ")) }
	r, err := onecall.Make(callContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Epochs < 3 || r.Generations != 7 || r.Recorded != r.Frames || r.Frames == 0 {
		t.Error("this shows nothing")
	}
	if r.Unsearched != "" {
		t.Logf("memory was not searched: %s", r.Unsearched)
	}
}

// TestOneCallNotices: the call fails, at the step that it should, if what it shows is
// not so.
func TestOneCallNotices(t *testing.T) {
	t.Parallel()
	nothing := func(string, *onecall.World, *onecall.Call) error { return nil }
	for _, test := range []struct {
		name   string
		short  bool
		set    func(*onecall.Options)
		before string
		spoil  func(o *onecall.Options, w *onecall.World, c *onecall.Call) error
		want   string
	}{
		{"a hole in the firewall", true, nil, "be stopped by the firewall", func(_ *onecall.Options, w *onecall.World, c *onecall.Call) error {
			w.Wall.Open(c.Net.Address().AddrPort())
			return nil
		}, "be stopped by the firewall: "},
		{"frames change on their way", true, nil, "rotate in mid-call", func(o *onecall.Options, _ *onecall.World, _ *onecall.Call) error {
			o.Clip.Streams[0].Frames[3].Data[9] ^= 1
			return nil
		}, "rotate in mid-call: vp8: frame 3 of"},
		{"a member keeps secrets in an environment", true, func(o *onecall.Options) {
			o.Env = []string{"SECRET=correct horse battery staple"}
			o.Secrets = map[string]string{"planted": "correct horse battery staple"}
		}, "", nil, "found: planted in the recorder's memory"},
		{"a plain packet on the wire", true, nil, "look for secrets", func(_ *onecall.Options, _ *onecall.World, c *onecall.Call) error {
			return c.SayPlain(t.Context())
		}, "look for secrets: found: plain frame in the media network's capture"},
		{"a secret in a log", true, nil, "look for secrets", func(_ *onecall.Options, w *onecall.World, _ *onecall.Call) error {
			return w.LogSecret()
		}, "look for secrets: found: secret of ABC's epoch 1, in base64 in all logs"},
		{"a line of the audit record was altered", true, nil, "verify the audit record", func(o *onecall.Options, _ *onecall.World, _ *onecall.Call) error {
			name := filepath.Join(o.Dir, "server", "audit.log")
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return os.WriteFile(name, []byte(strings.Replace(string(b), `"event":"enter"`, `"event":"leave"`, 1)), 0o600)
		}, "verify the audit record: chanseal audit verify: exit status 3"},
		{"who was revoked has later epochs", false, nil, "open the recording", func(o *onecall.Options, _ *onecall.World, _ *onecall.Call) error {
			return os.CopyFS(filepath.Join(o.Dir, "member666"), os.DirFS(filepath.Join(o.Dir, "member456")))
		}, ""},
	} {
		if !test.short && os.Getenv("CHANSEAL_LONG") == "" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := callOptions(t)
			o.Short = test.short
			if test.set != nil {
				test.set(&o)
			}
			spoil := nothing
			if test.spoil != nil {
				spoil = func(step string, w *onecall.World, c *onecall.Call) error {
					if step != test.before {
						return nil
					}
					return test.spoil(&o, w, c)
				}
			}
			o.Before = spoil
			_, err := onecall.Make(callContext(t), o)
			if err == nil {
				t.Fatal("nobody notices")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant %q", err, test.want)
			}
		})
	}
}

// TestTenCalls: calls side by side, in one world, through a network that loses one
// packet in twenty: of each all that came through arrives, as it was, and the recorder
// has it. CHANSEAL_CALLS=N makes N calls.
func TestTenCalls(t *testing.T) {
	t.Parallel()
	n := 10
	if s := os.Getenv("CHANSEAL_CALLS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	ctx := callContext(t)
	o := callOptions(t)
	o.Loss = 0.05
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("room %c%d", 'a'+i%26, i))
	}
	w, err := onecall.Start(ctx, o, names...)
	t.Cleanup(func() { w.Close() })
	if err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	var all sync.Map
	for i, name := range names {
		calls.Go(func() {
			r, err := lossyCall(ctx, w, name, uint32(1000+2*i))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			all.Store(name, r)
		})
	}
	calls.Wait()
	packets, lost := 0, 0
	for _, r := range all.Range {
		r := r.(onecall.Result)
		packets, lost = packets+r.Packets, lost+r.Lost
	}
	if lost < packets/40 {
		t.Errorf("%d of %d packets were lost: this shows nothing", lost, packets)
	}
	t.Logf("%d calls: %d packets, %d lost by the network, all others arrived", n, packets, lost)
}

func lossyCall(ctx context.Context, w *onecall.World, channel string, uid uint32) (r onecall.Result, err error) {
	c, err := w.NewCall(ctx, channel, uid, uid+1)
	if err != nil {
		c.Close()
		return r, err
	}
	defer c.Close()
	card, err := w.Card(w.Desk, channelkey.V007, channel, uid, 0, 0)
	if err != nil {
		return r, err
	}
	if err := c.Seal(ctx, c.ThroughProxy(card)...); err != nil {
		return r, err
	}
	for range 2 {
		if err := c.PassAnyway(ctx); err != nil {
			return r, err
		}
	}
	if r, err = c.Check(); err != nil {
		return r, err
	}
	if err := c.Recorded(ctx); err != nil {
		return r, err
	}
	opened, not, err := c.Opens(ctx, uid+1)
	if err != nil {
		return r, err
	}
	if len(not) != 0 || len(opened) != r.Packets-r.Lost {
		return r, fmt.Errorf("of %d recorded packets %d open, %d do not", r.Packets-r.Lost, len(opened), len(not))
	}
	return r, nil
}

// TestCallClips: calls with other recordings: of all codecs that RTP has a form for.
func TestCallClips(t *testing.T) {
	t.Parallel()
	clips := []string{"h264.h264"}
	if os.Getenv("CHANSEAL_LONG") != "" {
		clips = []string{"av1-opus.mkv", "chained-cover.ogg", "demo.webm", "h264-opus.mkv", "h264.h264", "h265-opus.mkv", "h265.h265", "live-gst.webm", "live.webm",
			"opus-2.5ms.ogg", "opus-60ms.ogg", "speech.ogg", "vp8-opus.webm", "vp8.ivf", "vp9-alpha-opus.webm", "vp9-opus.webm"}
	}
	for _, name := range clips {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := callOptions(t)
			var err error
			if o.Clip, err = readCallClip(clipPath(name)); err != nil {
				t.Fatal(err)
			}
			o.Short = true
			r, err := onecall.Make(callContext(t), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d frames, %d packets, %.1f bytes more each", r.Frames, r.Packets, r.Cost.Bytes)
		})
	}
}
