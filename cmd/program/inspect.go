package program

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/sealedfile"
)

func (p *program) inspectCommand() *cobra.Command {
	var asJSON, lint bool
	c := &cobra.Command{
		Use:     "inspect [--lint] FILE",
		GroupID: groupFiles,
		Short:   "show what a sealed file shows to everybody",
		Long: `Show what a sealed file shows to somebody without any key: tracks, timing, sizes,
the suite, and the key IDs with their counters.

None of it is authenticated: only open can tell that a file is as it was sealed. The
exit status is 0 for damaged files, too; whether one is complete is in the report.
Of an epoch's number a key ID holds the low 8 bits.

With --lint, FILE is a recording in clear, and what is shown is what of it breaks in
live, encrypted media, and what to change: in frames that an application seals before
they are cut in packets, and of them most where a part stays readable. Packets that the
gateway seals one by one are changed by nobody. The exit status is 1 if there is anything.`,
		Example: `  chanseal inspect talk.sealed.mkv
  chanseal inspect --lint talk.h264`,
		Args: exactArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := p.openInput(c.Context(), args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			if lint {
				return p.lint(in, asJSON)
			}
			shown := p.progress(in, "inspecting")
			got, err := sealedfile.Inspect(shown)
			shown.done()
			if err != nil {
				return fileError(in.name, err)
			}
			report := newInspectJSON(in.name, got)
			if asJSON {
				return writeJSON(p.stdout, report)
			}
			return p.printInspection(report)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&lint, "lint", false, "tell what of a recording in clear breaks in live media")
	return c
}

// inspectJSON is what inspect prints. Sizes are in bytes.
type inspectJSON struct {
	File            string        `json:"file"`
	Size            int64         `json:"size"` // as far as the file could be read
	Suite           string        `json:"suite"`
	SuiteID         uint16        `json:"suite_id"`
	Duration        float64       `json:"duration_seconds"` // 0: not stated
	Tracks          []inspectUse  `json:"tracks"`
	KIDs            []inspectKID  `json:"kids"`
	Frames          uint64        `json:"frames"`
	Records         uint64        `json:"records"`
	SealedBytes     uint64        `json:"sealed_bytes"` // of all frames
	OverheadBytes   *uint64       `json:"overhead_bytes"`
	OverheadPercent *float64      `json:"overhead_percent"` // of the frames in clear; null: the suite is not known
	Missing         uint64        `json:"missing"`          // counters that were jumped over
	Repeated        uint64        `json:"repeated"`         // counters that came again
	Complete        bool          `json:"complete"`         // nothing is visibly missing
	Damage          string        `json:"damage,omitempty"`
	duration        time.Duration // as shown
}

type inspectUse struct {
	Track       uint64 `json:"track"`
	Type        string `json:"type"`
	Frames      uint64 `json:"frames"`
	Keyframes   uint64 `json:"keyframes"`
	SealedBytes uint64 `json:"sealed_bytes"`
	Visible     string `json:"visible"` // what else is in clear
}

type inspectKID struct {
	KID      string `json:"kid"`
	Epoch    uint64 `json:"epoch"` // low 8 bits
	Sender   uint16 `json:"sender"`
	Instance string `json:"instance"`
	Pieces   uint64 `json:"pieces"`
	First    uint64 `json:"first"` // counter
	Last     uint64 `json:"last"`
	Missing  uint64 `json:"missing"`
	Repeated uint64 `json:"repeated"`
}

func newInspectJSON(file string, in *sealedfile.Inspection) *inspectJSON {
	out := &inspectJSON{
		File: file, Size: in.Size, Suite: in.SuiteName, SuiteID: uint16(in.Suite),
		Tracks: []inspectUse{}, KIDs: []inspectKID{},
		Frames: in.Frames, Records: in.Records, SealedBytes: in.Sealed, Complete: in.Complete,
	}
	out.duration = time.Duration(in.Info.Duration * float64(in.Info.TimestampScale))
	out.Duration = out.duration.Seconds()
	if in.Overhead > 0 || in.Frames == 0 {
		share := percent(in.Overhead, in.Sealed-in.Overhead)
		out.OverheadBytes, out.OverheadPercent = &in.Overhead, &share
	}
	for i, t := range in.Tracks {
		out.Tracks = append(out.Tracks, inspectUse{t.Number, trackType(in.Info.Tracks[i].Type), t.Frames, t.Keys, t.Sealed, visible(&in.Info.Tracks[i])})
	}
	for _, k := range in.Keys {
		origin := keyring.ParseKID(k.KID)
		out.Missing += k.Missing
		out.Repeated += k.Repeated
		out.KIDs = append(out.KIDs, inspectKID{
			KID: fmt.Sprintf("%#016x", uint64(k.KID)), Epoch: origin.Epoch, Sender: origin.Sender, Instance: fmt.Sprintf("%#010x", origin.Instance),
			Pieces: k.Pieces, First: k.First, Last: k.Last, Missing: k.Missing, Repeated: k.Repeated,
		})
	}
	var damage []string
	if in.Damage != nil {
		damage = append(damage, strings.TrimPrefix(fileError("", in.Damage).Error(), ": "))
	}
	if out.Missing > 0 {
		damage = append(damage, fmt.Sprintf("%s jumped over", count(out.Missing, "counter")))
	}
	if out.Repeated > 0 {
		damage = append(damage, fmt.Sprintf("%s repeated or moved", count(out.Repeated, "counter")))
	}
	out.Complete = out.Complete && len(damage) == 0
	out.Damage = strings.Join(damage, "; ")
	return out
}

func trackType(t media.TrackType) string {
	switch t {
	case media.TrackVideo:
		return "video"
	case media.TrackAudio:
		return "audio"
	case media.TrackSubtitle:
		return "subtitle"
	}
	return fmt.Sprintf("type %d", t)
}

// visible says what is in clear of a track.
func visible(t *media.Track) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if t.Width > 0 && t.Height > 0 {
		add("%dx%d", t.Width, t.Height)
	}
	if t.DefaultDuration > 0 && t.Type == media.TrackVideo {
		add("%.4g fps", 1e9/float64(t.DefaultDuration))
	}
	if t.SampleRate > 0 {
		add("%g Hz", t.SampleRate)
	}
	if t.Channels > 0 {
		add("%s", count(t.Channels, "channel"))
	}
	if t.AlphaMode > 0 {
		add("alpha")
	}
	return strings.Join(parts, ", ")
}

func (p *program) printInspection(r *inspectJSON) error {
	t := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	row("file", "%s", r.File)
	row("size", "%s bytes", grouped(r.Size))
	row("suite", "%s (%#04x)", r.Suite, r.SuiteID)
	if r.duration > 0 {
		row("duration", "%.3f s", r.Duration)
	}
	row("frames", "%s, and %s", grouped(r.Frames), count(r.Records, "record"))
	if r.OverheadBytes != nil {
		row("overhead", "%s bytes, %.2f %%, %.1f a frame", grouped(*r.OverheadBytes), *r.OverheadPercent, each(*r.OverheadBytes, r.Frames))
	} else {
		row("overhead", "not known: the suite is not built in")
	}
	if r.Complete {
		row("state", "complete, as far as that shows without a key")
	} else {
		row("state", "damaged: %s", r.Damage)
	}
	if err := t.Flush(); err != nil {
		return err
	}

	fmt.Fprintln(p.stdout)
	fmt.Fprintln(t, "track\ttype\tframes\tkeyframes\tbytes\tin clear")
	for _, u := range r.Tracks {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", u.Track, u.Type, grouped(u.Frames), grouped(u.Keyframes), grouped(u.SealedBytes), u.Visible)
	}
	if err := t.Flush(); err != nil {
		return err
	}

	fmt.Fprintln(p.stdout)
	fmt.Fprintln(t, "key id\tepoch\tsender\tinstance\tpieces\tcounters\tmissing\trepeated")
	for _, k := range r.KIDs {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%d to %d\t%s\t%s\n", k.KID, k.Epoch, k.Sender, k.Instance, grouped(k.Pieces), k.First, k.Last, grouped(k.Missing), grouped(k.Repeated))
	}
	return t.Flush()
}
