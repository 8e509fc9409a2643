package program

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGatewayGStreamer: GStreamer sends clips through both gateways to another
// GStreamer. What its depacketizers give is what they give without any network between.
func TestGatewayGStreamer(t *testing.T) {
	for _, need := range []string{"gst-launch-1.0", "gst-inspect-1.0"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%s is not here", need)
		}
	}
	media, _ := filepath.Abs("../../testdata/media")
	home := newTestRing(t)
	for i, c := range []struct{ codec, clip, pad, caps, pay, depay, frames string }{
		{"VP8", "vp8-opus.webm", "video_0", "media=video,clock-rate=90000,encoding-name=VP8", "rtpvp8pay picture-id-mode=15-bit", "rtpvp8depay", ""},
		{"H264", "h264-opus.mkv", "video_0", "media=video,clock-rate=90000,encoding-name=H264", "h264parse ! rtph264pay config-interval=-1", "rtph264depay ! video/x-h264,stream-format=byte-stream,alignment=au", ""},
		{"OPUS", "vp8-opus.webm", "audio_0", "media=audio,clock-rate=48000,encoding-name=OPUS", "rtpopuspay", "rtpopusdepay", "opus"},
		{"VP9", "vp9-opus.webm", "video_0", "media=video,clock-rate=90000,encoding-name=VP9", "rtpvp9pay picture-id-mode=15-bit", "rtpvp9depay", ""},
		{"H265", "h265-opus.mkv", "video_0", "media=video,clock-rate=90000,encoding-name=H265", "h265parse ! rtph265pay config-interval=-1", "rtph265depay ! video/x-h265,stream-format=byte-stream,alignment=au", ""},
		{"AV1", "av1-opus.mkv", "video_0", "media=video,clock-rate=90000,encoding-name=AV1", "av1parse ! rtpav1pay", "rtpav1depay", ""},
		{"VP8", "vp8-opus.webm", "video_0", "media=video,clock-rate=90000,encoding-name=VP8", "rtpvp8pay picture-id-mode=15-bit", "rtpvp8depay", "vp8"},
		{"VP9", "vp9-opus.webm", "video_0", "media=video,clock-rate=90000,encoding-name=VP9", "rtpvp9pay picture-id-mode=15-bit", "rtpvp9depay", "vp9"},
		{"H264", "h264-opus.mkv", "video_0", "media=video,clock-rate=90000,encoding-name=H264", "h264parse ! rtph264pay config-interval=-1", "rtph264depay ! video/x-h264,stream-format=byte-stream,alignment=au", "h264"},
		{"H265", "h265-opus.mkv", "video_0", "media=video,clock-rate=90000,encoding-name=H265", "h265parse ! rtph265pay config-interval=-1", "rtph265depay ! video/x-h265,stream-format=byte-stream,alignment=au", "h265"},
	} {
		if i > 4 && os.Getenv("CHANSEAL_LONG") == "" {
			break
		}
		t.Run(strings.TrimSuffix(c.codec+" by frames of "+c.frames, " by frames of "), func(t *testing.T) {
			for _, e := range strings.Fields(strings.ReplaceAll(c.pay+" ! "+c.depay, "!", " ")) {
				if strings.Contains(e, "=") || strings.Contains(e, "/") {
					continue
				}
				if err := exec.Command("gst-inspect-1.0", "--exists", e).Run(); err != nil {
					t.Skipf("GStreamer has no %s here", e)
				}
			}
			play := []string{"filesrc", "location=" + filepath.Join(media, c.clip), "!", "matroskademux", "name=d", "d." + c.pad, "!", "queue", "!"}
			play = append(play, strings.Fields(c.pay+" pt=96 mtu=1400 !")...)
			store := func(dir string) []string {
				return append(strings.Fields(c.depay), "!", "multifilesink", "location="+filepath.Join(dir, "%06d"))
			}
			launch := func(args ...string) *exec.Cmd {
				return exec.CommandContext(t.Context(), "gst-launch-1.0", append([]string{"-q"}, args...)...)
			}
			want, got := t.TempDir(), t.TempDir()
			caps := "caps=application/x-rtp,payload=96," + c.caps // no parameter sets: nobody tells them across a network
			direct := append(append([]string{}, play...), "capssetter", "join=false", "replace=true", caps, "!")
			if out, err := launch(append(direct, store(want)...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			ports := freePorts(t, 3)
			args := func(a ...string) []string {
				if c.frames != "" {
					a = append(a, "--per-frame", c.frames)
				}
				return a
			}
			at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
			background(t, home, args("gateway", "open", "--channel", "stage", "--listen", at(1), "--to", at(2))...)
			background(t, home, args("gateway", "seal", "--channel", "stage", "--sender", "7", "--listen", at(0), "--to", at(1))...)
			record := launch(append([]string{"udpsrc", "address=127.0.0.1", fmt.Sprintf("port=%d", ports[2]), "buffer-size=4000000",
				caps, "!", "rtpjitterbuffer", "latency=100", "!"}, store(got)...)...)
			var log bytes.Buffer
			record.Stdout, record.Stderr = &log, &log
			if err := record.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { record.Process.Kill(); record.Wait() }()
			waitBound(t, ports[2])
			if out, err := launch(append(play, "udpsink", "host=127.0.0.1", fmt.Sprintf("port=%d", ports[0]), "sync=false")...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			// The receiver does not know where the end is: it is done when all is there.
			wanted := filesIn(t, want)
			for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				recorded := filesIn(t, got)
				if len(wanted) > 20 && strings.Join(recorded, "\x00") == strings.Join(wanted, "\x00") {
					return
				}
				if time.Now().After(end) {
					i := 0
					for i < min(len(recorded), len(wanted)) && recorded[i] == wanted[i] {
						i++
					}
					t.Fatalf("%d frames came that differ from the %d sent, from frame %d on:\n%.100x\n%.100x\n%s",
						len(recorded), len(wanted), i, strings.Join(recorded[i:], ""), strings.Join(wanted[i:], ""), log.String())
				}
			}
		})
	}
}

// filesIn are the files of a directory, in the order of their names, without those that
// are still being written, which have other names.
func filesIn(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.Contains(f.Name(), ".") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}
