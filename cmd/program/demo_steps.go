package program

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/chanseal/chanseal/media"
)

// clip is a recording in memory.
type clip struct {
	frames [][]byte
	digest [sha256.Size]byte // of all frames, with their tracks, times and flags
}

func readClip(r io.Reader) (*clip, error) {
	rec, err := media.NewReader(r)
	if err != nil {
		return nil, err
	}
	c, h := &clip{}, sha256.New()
	var item media.Item
	for {
		err := rec.Next(&item)
		if err == io.EOF {
			h.Sum(c.digest[:0])
			return c, nil
		} else if err != nil {
			return nil, err
		}
		if item.Kind != media.KindFrame {
			continue
		}
		c.frames = append(c.frames, bytes.Clone(item.Data))
		var place []byte
		for _, v := range []int64{int64(item.Track), item.Timestamp, item.Duration, int64(item.Flags &^ media.FlagCluster), item.DiscardPadding, int64(len(item.Data))} {
			place = binary.BigEndian.AppendUint64(place, uint64(v))
		}
		h.Write(place)
		h.Write(item.Data)
	}
}

// secrets are byte strings that tell what a recording is: the ends of its frames, its
// title, its codecs, the program that wrote it.
func (c *clip) secrets() [][]byte {
	all := [][]byte{[]byte("V_VP8"), []byte("A_OPUS"), []byte("OpusHead"), []byte("Lavf"), []byte("chanseal demo")}
	for _, f := range c.frames {
		if len(f) >= 24 {
			all = append(all, f[len(f)-24:])
		}
	}
	return all
}

func found(secrets [][]byte, in []byte) (n int) {
	for _, s := range secrets {
		if bytes.Contains(in, s) {
			n++
		}
	}
	return n
}

func (d *demo) makeChannels() error {
	for _, name := range []string{"stage", "backstage"} {
		if err := d.show(exitDone, "channel", "create", name); err != nil {
			return err
		}
	}
	return d.atEpoch(1)
}

// atEpoch wants the channel to be at this epoch.
func (d *demo) atEpoch(want uint64) error {
	code, stdout, _ := d.command("channel", "show", "stage", "--json")
	if err := wantExit(code, exitDone); err != nil {
		return err
	}
	var got channelJSON
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		return err
	}
	if got.Epoch != want {
		return fmt.Errorf("the channel is at epoch %d, want %d", got.Epoch, want)
	}
	return nil
}

func (d *demo) sealClip() error {
	if err := os.WriteFile(d.path("talk.webm"), []byte(demoClip), 0o600); err != nil {
		return err
	}
	return d.show(exitDone, "seal", "--channel", "stage", "./talk.webm")
}

func (d *demo) lookFromOutside() error {
	if err := d.show(exitDone, "inspect", "./talk.sealed.mkv"); err != nil {
		return err
	}
	sealed, err := os.ReadFile(d.path("talk.sealed.mkv"))
	if err != nil {
		return err
	}
	secrets := d.clip.secrets()
	if n := found(secrets, []byte(demoClip)); n != len(secrets) { // else the search proves nothing
		return fmt.Errorf("of %d strings only %d are in the clear recording", len(secrets), n)
	}
	if n := found(secrets, sealed); n != 0 {
		return fmt.Errorf("%d of the clear recording's strings are in the sealed file", n)
	}
	d.sayf("frames, codecs and title: of %d strings of the clear recording the sealed file holds none", len(secrets))
	return nil
}

// opensEqual opens a file and compares it with the recording.
func (d *demo) opensEqual(name string) error {
	if err := d.show(exitDone, "open", "--channel", "stage", "--force", "-o", "./opened.webm", "./"+name); err != nil {
		return err
	}
	f, err := os.Open(d.path("opened.webm"))
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := readClip(f)
	if err != nil {
		return err
	}
	if got.digest != d.clip.digest || len(got.frames) != len(d.clip.frames) {
		return errors.New("what was opened differs from what was sealed")
	}
	d.sayf("equal: %d frames with their times, sha-256 %x… before and after", len(got.frames), got.digest[:8])
	return os.Remove(d.path("opened.webm"))
}

func (d *demo) openClip() error { return d.opensEqual("talk.sealed.mkv") }

func (d *demo) tryOtherChannel() error {
	if err := d.show(exitAuth, "open", "--channel", "backstage", "-o", "./stolen.webm", "./talk.sealed.mkv"); err != nil {
		return err
	}
	if err := d.absent("stolen.webm"); err != nil {
		return err
	}
	d.sayf("refused, and nothing was written")
	return nil
}

// flips is how many places of the file the demo changes, one after the other.
const flips = 40

func (d *demo) tamper() error {
	sealed, err := os.ReadFile(d.path("talk.sealed.mkv"))
	if err != nil {
		return err
	}
	refused := func(show bool, data []byte) error {
		if err := os.WriteFile(d.path("changed.sealed.mkv"), data, 0o600); err != nil {
			return err
		}
		args := []string{"open", "--channel", "stage", "-o", "./changed.webm", "./changed.sealed.mkv"}
		if show {
			err = d.show(exitAuth, args...)
		} else {
			code, _, _ := d.command(args...)
			err = wantExit(code, exitAuth)
		}
		return errors.Join(err, d.absent("changed.webm"))
	}
	for i := range flips {
		// Behind the first 1,024 bytes: before them a file may no longer look sealed.
		at := 1024 + rand.IntN(len(sealed)-1024)
		changed := slices.Clone(sealed)
		changed[at] ^= 1 << rand.IntN(8)
		if err := refused(i == 0, changed); err != nil {
			return fmt.Errorf("a bit of byte %d changed: %w", at, err)
		}
	}
	d.sayf("one bit changed, at %d places one after the other: refused every time, and nothing was written", flips)
	return refused(true, sealed[:len(sealed)/2])
}

func (d *demo) rotate() error {
	if err := d.show(exitDone, "channel", "rotate", "stage"); err != nil {
		return err
	}
	if err := d.atEpoch(2); err != nil {
		return err
	}
	if err := d.opensEqual("talk.sealed.mkv"); err != nil {
		return err
	}
	d.sayf("the old file still opens; a new one is of the new epoch:")
	if err := d.show(exitDone, "seal", "--channel", "stage", "-o", "./talk2.sealed.mkv", "./talk.webm"); err != nil {
		return err
	}
	code, stdout, _ := d.command("inspect", "--json", "./talk2.sealed.mkv")
	if err := wantExit(code, exitDone); err != nil {
		return err
	}
	var got inspectJSON
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		return err
	}
	if len(got.KIDs) != 1 || got.KIDs[0].Epoch != 2 {
		return errors.New("the new file is not of epoch 2")
	}
	return nil
}

func (d *demo) forget() error {
	if err := d.show(exitDone, "channel", "forget", "--epoch", "1", "stage"); err != nil {
		return err
	}
	if err := d.show(exitAuth, "open", "--channel", "stage", "-o", "./late.webm", "./talk.sealed.mkv"); err != nil {
		return err
	}
	if err := d.absent("late.webm"); err != nil {
		return err
	}
	return d.opensEqual("talk2.sealed.mkv")
}
