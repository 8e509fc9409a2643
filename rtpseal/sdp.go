package rtpseal

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Two sides agree on SFrame by an attribute in both session descriptions (SDP, RFC 8866):
//
//	a=sframe
//
// It belongs to a media section, has no value, and says that all of the section's RTP is
// SFrame (draft-ietf-avtcore-rtp-sframe, Section 5). It says neither which keys, nor
// whether they are derived for each SSRC, nor which of frames and packets are sealed. A
// relay that takes it out of a description asks for media in clear: so a section is
// protected or it is stopped, and nothing in between.

const sframeLine = "a=sframe"

// maxSDP bounds a session description in bytes.
const maxSDP = 1 << 20

// MediaSection is a media section of a session description, as far as it matters here.
type MediaSection struct {
	MID     string // a=mid, by which offer and answer mean one section; may be empty
	Kind    string // "audio", "video", "application"
	Port    int    // 0: the section is rejected, unless it says a=bundle-only
	RTP     bool   // it is of RTP: others carry no media
	SFrame  bool
	Formats []Format

	bundled    bool // in a BUNDLE group: ports and payload types are shared
	bundleOnly bool
	first, end int // lines
}

// Format is a payload type of a media section.
type Format struct {
	PayloadType uint8
	Encoding    string // of a=rtpmap: "opus", "VP8", "rtx"; empty for static ones
	ClockRate   int
	Channels    int // 0 if it does not say
	Resends     int // of "rtx" (RFC 4588): the payload type of what is sent again; else -1
}

// Live says that the section carries media, or will.
func (m *MediaSection) Live() bool { return m.RTP && (m.Port != 0 || m.bundleOnly) }

// Format finds a payload type.
func (m *MediaSection) Format(payloadType uint8) (Format, bool) {
	for _, f := range m.Formats {
		if f.PayloadType == payloadType {
			return f, true
		}
	}
	return Format{}, false
}

// SDPSections reads the media sections of a session description. Of sections that share
// one port (BUNDLE, RFC 9143) no protected one may have a payload type of one that is not:
// whoever gets such a packet could not tell what it is.
func SDPSections(sdp string) ([]MediaSection, error) {
	s, err := readSDP(sdp)
	if err != nil {
		return nil, err
	}
	return s.sections, nil
}

// OfferSFrame makes an offer one of SFrame: every section of RTP that is not rejected
// gets the attribute.
func OfferSFrame(offer string) (string, error) {
	s, err := readSDP(offer)
	if err != nil {
		return "", err
	}
	return s.write(func(m *MediaSection) bool { return m.Live() }, nil), nil
}

// AnswerSFrame makes the answer to an offer one of SFrame: sections that were offered
// with it get it, those that were offered without are rejected.
func AnswerSFrame(offer, answer string) (string, error) {
	o, a, err := readBoth(offer, answer)
	if err != nil {
		return "", err
	}
	offered := func(m *MediaSection) bool { return o.sections[a.index(m)].SFrame }
	return a.write(
		func(m *MediaSection) bool { return m.Live() && offered(m) },
		func(m *MediaSection) bool { return m.Live() && !offered(m) },
	), nil
}

// SFrameRefused returns the sections, by their place in both descriptions, that are live
// and that either side describes without SFrame. Their transceivers are to be stopped:
// that is for both sides to do, whatever the other does.
func SFrameRefused(offer, answer string) (stop []int, err error) {
	o, a, err := readBoth(offer, answer)
	if err != nil {
		return nil, err
	}
	for i := range a.sections {
		if a.sections[i].Live() && !(a.sections[i].SFrame && o.sections[i].SFrame) {
			stop = append(stop, i)
		}
	}
	return stop, nil
}

// description is a session description in lines.
type description struct {
	lines    []string // without their ends
	newline  string
	sections []MediaSection
}

func (d *description) index(m *MediaSection) int {
	return slices.IndexFunc(d.sections, func(x MediaSection) bool { return x.first == m.first })
}

func readBoth(offer, answer string) (o, a *description, err error) {
	if o, err = readSDP(offer); err != nil {
		return nil, nil, fmt.Errorf("offer: %w", err)
	}
	if a, err = readSDP(answer); err != nil {
		return nil, nil, fmt.Errorf("answer: %w", err)
	}
	if len(o.sections) != len(a.sections) {
		return nil, nil, fmt.Errorf("rtpseal: the answer has %d media sections, the offer %d", len(a.sections), len(o.sections))
	}
	for i := range a.sections {
		if x, y := &o.sections[i], &a.sections[i]; x.Kind != y.Kind || x.MID != "" && y.MID != "" && x.MID != y.MID {
			return nil, nil, fmt.Errorf("rtpseal: media section %d is %s %q in the offer and %s %q in the answer", i, x.Kind, x.MID, y.Kind, y.MID)
		}
	}
	return o, a, nil
}

var errSDP = errors.New("rtpseal: not a session description")

func readSDP(sdp string) (*description, error) {
	if len(sdp) > maxSDP || !strings.HasPrefix(sdp, "v=0") {
		return nil, errSDP
	}
	d := &description{newline: "\n"}
	if strings.Contains(sdp, "\r\n") {
		d.newline = "\r\n"
	}
	for line := range strings.Lines(sdp) {
		d.lines = append(d.lines, strings.TrimRight(line, "\r\n"))
	}
	bundled := map[string]bool{}
	for i, line := range d.lines {
		if rest, ok := strings.CutPrefix(line, "m="); ok {
			m, err := readMediaLine(rest)
			if err != nil {
				return nil, fmt.Errorf("%w: line %d", err, i+1)
			}
			m.first = i
			d.sections = append(d.sections, m)
		}
		if len(d.sections) == 0 {
			if group, ok := strings.CutPrefix(line, "a=group:BUNDLE "); ok {
				for _, mid := range strings.Fields(group) {
					bundled[mid] = true
				}
			}
			continue
		}
		m := &d.sections[len(d.sections)-1]
		m.end = i + 1
		m.attribute(line)
	}
	for i := range d.sections {
		d.sections[i].bundled = bundled[d.sections[i].MID]
	}
	return d, d.checkPayloadTypes()
}

// checkPayloadTypes: of packets on a shared port it has to be plain whether they are SFrame.
func (d *description) checkPayloadTypes() error {
	var plain, sealed [128]bool
	for i := range d.sections {
		m := &d.sections[i]
		if !m.bundled || !m.Live() {
			continue
		}
		for _, f := range m.Formats {
			if m.SFrame {
				sealed[f.PayloadType] = true
			} else {
				plain[f.PayloadType] = true
			}
		}
	}
	for pt := range sealed {
		if sealed[pt] && plain[pt] {
			return fmt.Errorf("rtpseal: sections of one port use payload type %d with SFrame and without: give each its own", pt)
		}
	}
	return nil
}

// readMediaLine reads what stands behind "m=": kind, port, protocol, payload types.
func readMediaLine(line string) (MediaSection, error) {
	f := strings.Fields(line)
	if len(f) < 4 {
		return MediaSection{}, errSDP
	}
	first, _, _ := strings.Cut(f[1], "/")
	port, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return MediaSection{}, errSDP
	}
	m := MediaSection{Kind: f[0], Port: int(port), RTP: slices.Contains(strings.Split(f[2], "/"), "RTP")}
	for _, x := range f[3:] {
		if !m.RTP {
			break
		}
		pt, err := strconv.ParseUint(x, 10, 7)
		if err != nil {
			return MediaSection{}, errSDP
		}
		if _, ok := m.Format(uint8(pt)); !ok {
			m.Formats = append(m.Formats, Format{PayloadType: uint8(pt), Resends: -1})
		}
	}
	return m, nil
}

// attribute takes in a line of the section. What it cannot read changes nothing.
func (m *MediaSection) attribute(line string) {
	name, value, _ := strings.Cut(line, ":")
	switch name {
	case sframeLine:
		m.SFrame = m.SFrame || line == sframeLine
	case "a=mid":
		m.MID = value
	case "a=bundle-only":
		m.bundleOnly = true
	case "a=rtpmap", "a=fmtp":
		number, rest, _ := strings.Cut(value, " ")
		pt, err := strconv.ParseUint(number, 10, 7)
		if err != nil {
			return
		}
		for i := range m.Formats {
			if f := &m.Formats[i]; f.PayloadType == uint8(pt) {
				f.describe(name, rest)
			}
		}
	}
}

func (f *Format) describe(attribute, rest string) {
	if attribute == "a=rtpmap" {
		part := strings.Split(rest, "/")
		f.Encoding = part[0]
		if len(part) > 1 {
			f.ClockRate, _ = strconv.Atoi(part[1])
		}
		if len(part) > 2 {
			f.Channels, _ = strconv.Atoi(part[2])
		}
		return
	}
	for p := range strings.SplitSeq(rest, ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(p), "apt="); ok {
			if pt, err := strconv.ParseUint(v, 10, 7); err == nil {
				f.Resends = int(pt)
			}
		}
	}
}

// write writes the description: with the attribute in sections for which sframe reports
// true and in no other, and those rejected for which reject, which may be nil, does.
func (d *description) write(sframe, reject func(*MediaSection) bool) string {
	var rejected []string
	var b strings.Builder
	line := func(s string) { b.WriteString(s); b.WriteString(d.newline) }
	for i := range d.sections {
		if m := &d.sections[i]; reject != nil && reject(m) && m.MID != "" {
			rejected = append(rejected, m.MID)
		}
	}
	at := 0
	for i := range d.sections {
		m := &d.sections[i]
		for ; at < m.first; at++ { // what stands before all sections
			if group, ok := strings.CutPrefix(d.lines[at], "a=group:BUNDLE "); ok && len(rejected) > 0 {
				left := slices.DeleteFunc(strings.Fields(group), func(mid string) bool { return slices.Contains(rejected, mid) })
				if len(left) > 0 {
					line("a=group:BUNDLE " + strings.Join(left, " "))
				}
				continue
			}
			line(d.lines[at])
		}
		out := reject != nil && reject(m)
		for ; at < m.end; at++ {
			switch l := d.lines[at]; {
			case at == m.first && out:
				f := strings.Fields(l[len("m="):])
				f[1] = "0"
				line("m=" + strings.Join(f, " "))
			case l == sframeLine, out && l == "a=bundle-only": // the one comes last, the other makes port 0 a live one
			default:
				line(l)
			}
		}
		if sframe(m) {
			line(sframeLine)
		}
	}
	for ; at < len(d.lines); at++ {
		line(d.lines[at])
	}
	return b.String()
}
