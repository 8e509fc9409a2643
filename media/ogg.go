package media

import (
	"fmt"
	"io"
	"strings"

	"github.com/chanseal/chanseal/media/ebml"
	"github.com/chanseal/chanseal/media/internal/window"
)

// oggReader reads Ogg files with one Opus stream at a time (RFC 3533, RFC 7845).
// Streams may follow each other (chaining); the times of a later one count on
// from the end of the one before.
//
// Pages of the headers, and pages without a packet, are KindElement items as they
// are. The Data of a frame is
//
//	varint     number of page records
//	records    one for each page that begins in front of the packet or within it
//	packet
//
// and the Writer lays the packets out on those pages again, to the same bytes.
type oggReader struct {
	win  *window.Window
	info Info
	err  error

	page  oggPage
	fresh bool // the page at hand was read for Info and not handed out
	seg   int  // the page's first segment that is not dealt with
	at    int  // and where in its body that is
	ends  int  // packets that end on the page, less those dealt with
	state oggState

	serial  uint32
	base    int64 // samples of the streams before this one
	pos     int64 // samples of this stream so far
	timed   bool  // pos follows from a granule position
	trim    int64 // samples to discard at the end of the page's last packet
	pending bool  // the last packet goes on on the next page
	records []byte
	partial []byte // what there is of that packet
	data    []byte
}

// maxRecords bounds the pages that a packet may lie on, as bytes of their records:
// pages without anything on them do not make a packet longer.
const maxRecords = 4096 * oggRecord

type oggState uint8

const (
	oggIdle  oggState = iota // in front of a stream
	oggTags                  // behind its OpusHead, in front of or in its comment header
	oggAudio                 // behind the comment header
)

func newOggReader(src io.Reader) (*oggReader, error) {
	r := &oggReader{win: window.New(src, 1<<17), info: Info{Format: FormatOgg, TimestampScale: fineScale}}
	if err := r.nextPage(); err != nil {
		if err == io.EOF {
			err = cut(FormatOgg, 0)
		}
		return nil, err
	}
	head, err := r.beginStream()
	if err != nil {
		return nil, err
	}
	r.fresh = true
	r.info.Tracks = []Track{{
		Number: 1, Type: TrackAudio, CodecID: "A_OPUS",
		CodecDelay: uint64(samplesToNanos(head.preSkip)), SeekPreRoll: opusSeekPreRoll,
		SampleRate: opusRate, Channels: head.channels,
	}}
	return r, nil
}

func (r *oggReader) Info() *Info { return &r.info }

// nextPage reads a page and checks that it goes on from the one before.
func (r *oggReader) nextPage() error {
	if err := readOggPage(r.win, &r.page); err != nil {
		if err == io.EOF && (r.pending || r.state == oggTags) {
			err = cut(FormatOgg, r.win.Offset())
		}
		return err
	}
	r.seg, r.at = 0, 0
	p := &r.page
	begin := p.flags&oggBegin != 0
	switch {
	case begin && (r.pending || r.state == oggTags), !begin && r.state != oggIdle && p.serial != r.serial:
		return &UnsupportedError{What: "Ogg with several streams at a time", Hint: remux}
	case !begin && r.state == oggIdle:
		return damaged(FormatOgg, p.offset, "page that does not begin a stream where one should begin")
	case len(p.table) > 0 && (p.flags&oggContinue != 0) != r.pending:
		return damaged(FormatOgg, p.offset, "packet that does not go on where it should, or goes on where none was begun,")
	}
	return nil
}

// beginStream reads the identification header from the page at hand.
func (r *oggReader) beginStream() (opusHead, error) {
	p := &r.page
	if len(p.body) < 8 || string(p.body[:8]) != "OpusHead" {
		return opusHead{}, &UnsupportedError{What: "Ogg with " + oggCodec(p.body), Hint: remux}
	}
	head, err := parseOpusHead(p.body)
	if err != nil {
		return opusHead{}, damaged(FormatOgg, p.offset, "%v", err)
	}
	if !p.endsPacket() || oneLess(p.table) {
		return opusHead{}, damaged(FormatOgg, p.offset, "identification header that is not alone on its page")
	}
	r.state, r.serial = oggTags, p.serial
	r.base += r.pos
	if r.base > 1<<60 {
		return opusHead{}, damaged(FormatOgg, p.offset, "granule position out of range")
	}
	r.pos, r.timed = 0, false
	return head, nil
}

// oneLess reports that a packet ends in front of the last segment of a table.
func oneLess(table []byte) bool {
	for _, n := range table[:max(0, len(table)-1)] {
		if n < oggSegment {
			return true
		}
	}
	return false
}

// oggCodec names the codec of a stream by its first packet.
func oggCodec(b []byte) string {
	for magic, name := range map[string]string{
		"\x01vorbis": "Vorbis", "\x80theora": "Theora", "\x7fFLAC": "FLAC", "Speex   ": "Speex",
		"fishead\x00": "a Skeleton", "\x80kate": "Kate", "BBCD": "Dirac", "OVP80": "VP8",
	} {
		if strings.HasPrefix(string(b), magic) {
			return name
		}
	}
	return "an unknown codec"
}

// Next fills item with the next page of a header or the next packet.
func (r *oggReader) Next(item *Item) error {
	if r.err == nil {
		r.err = r.advance(item)
	}
	return r.err
}

func (r *oggReader) advance(item *Item) error {
	if r.fresh {
		return r.element(item)
	}
	for {
		if r.seg < len(r.page.table) {
			if done, err := r.packet(item); done || err != nil {
				return err
			}
			continue
		}
		if err := r.nextPage(); err != nil {
			return err
		}
		switch p := &r.page; {
		case p.flags&oggBegin != 0:
			if _, err := r.beginStream(); err != nil {
				return err
			}
			return r.element(item)
		case r.state == oggTags:
			if err := r.tags(); err != nil {
				return err
			}
			return r.element(item)
		case len(p.table) == 0 && !r.pending:
			return r.element(item)
		}
		if len(r.records) > maxRecords {
			return tooLarge(FormatOgg, r.page.offset, "packet on more than %d pages", maxRecords/oggRecord)
		}
		r.records = r.page.appendRecord(r.records)
		if err := r.time(); err != nil {
			return err
		}
	}
}

// element fills item with the page at hand as it is.
func (r *oggReader) element(item *Item) error {
	r.fresh = false
	r.seg = len(r.page.table)
	*item = Item{Kind: KindElement, Duration: NoDuration, Data: r.page.raw}
	return nil
}

// tags checks a page of the comment header, which ends with the page.
func (r *oggReader) tags() error {
	p := &r.page
	if len(p.table) == 0 {
		return nil
	}
	if !r.pending && (len(p.body) < 8 || string(p.body[:8]) != "OpusTags") {
		return damaged(FormatOgg, p.offset, "no comment header behind the identification header")
	}
	if oneLess(p.table) {
		return damaged(FormatOgg, p.offset, "comment header with another packet on its page")
	}
	if r.pending = !p.endsPacket(); !r.pending {
		r.state = oggAudio
	}
	return nil
}

// time places the packets of the page at hand in time (RFC 7845, Section 4). Its
// granule position is that of its end, so the first page's start is that less the
// packets; every other page starts where the one before says that it ended.
func (r *oggReader) time() error {
	p := &r.page
	if p.granule < noGranule || p.granule > 1<<60 || r.pos > 1<<60 {
		return damaged(FormatOgg, p.offset, "granule position out of range")
	}
	sum, at := int64(0), 0
	r.ends = 0
	toc := r.partial[:min(2, len(r.partial))] // as much of the packet as says its duration
	for _, n := range p.table {
		if room := 2 - len(toc); room > 0 {
			toc = append(toc[:len(toc):len(toc)], p.body[at:at+min(room, int(n))]...)
		}
		at += int(n)
		if n < oggSegment {
			samples, _ := opusSamples(toc)
			sum += samples
			r.ends++
			toc = nil
		}
	}
	end := p.flags&oggEnd != 0
	r.trim = 0
	if p.granule == noGranule {
		return nil
	}
	if !r.timed && !end {
		r.pos = max(0, p.granule-sum)
	}
	r.timed = true
	if end && p.granule < r.pos+sum {
		r.trim = r.pos + sum - p.granule
	}
	return nil
}

// packet fills item with the next packet that ends on the page at hand; done is
// false if it goes on on the next page.
func (r *oggReader) packet(item *Item) (done bool, err error) {
	p := &r.page
	from := r.at
	for r.seg < len(p.table) && !done {
		n := p.table[r.seg]
		r.seg++
		r.at += int(n)
		done = n < oggSegment
	}
	piece := p.body[from:r.at]
	if len(r.partial)+len(r.records)+len(piece)+ebml.MaxHeader > MaxFrame {
		return false, tooLarge(FormatOgg, p.offset, "packet of more than %d bytes", MaxFrame)
	}
	if r.pending = !done; r.pending {
		r.partial = append(r.partial, piece...)
		return false, nil
	}
	r.data = ebml.AppendVint(r.data[:0], uint64(len(r.records)/oggRecord))
	r.data = append(r.data, r.records...)
	head := len(r.data)
	r.data = append(append(r.data, r.partial...), piece...)
	r.records, r.partial = r.records[:0], r.partial[:0]

	*item = Item{Kind: KindFrame, Track: 1, Flags: FlagKey, Duration: NoDuration, Data: r.data,
		Timestamp: samplesToTicks(r.base + r.pos)}
	samples, ok := opusSamples(r.data[head:])
	trim := int64(0)
	if ok {
		r.pos += samples
	}
	if r.ends--; r.ends == 0 && p.granule != noGranule {
		trim = min(r.trim, samples)
		r.pos = p.granule
	}
	if ok {
		item.Duration = samplesToTicks(samples - trim)
	}
	item.DiscardPadding = samplesToNanos(trim)
	return true, nil
}

// splitOgg takes the Data of an Ogg frame apart again.
func splitOgg(data []byte) (records, packet []byte, ok bool) {
	n, width, err := ebml.ParseVint(data)
	if err != nil || n > uint64(len(data)-width)/oggRecord {
		return nil, nil, false
	}
	data = data[width:]
	return data[:n*oggRecord], data[n*oggRecord:], true
}

type oggWriter struct {
	pager   oggPager
	live    bool
	salvage bool
	begun   bool // there was a frame
	err     error
}

// Write writes one item.
func (w *oggWriter) Write(item *Item) error {
	if w.err != nil {
		return w.err
	}
	records, packet, ok := splitOgg(item.Data)
	switch {
	case item.Kind == KindElement && !w.pager.begun:
		w.pager.out.write(item.Data)
		w.pager.granule = 0
	case item.Kind == KindFrame && ok && len(item.Data) <= MaxFrame:
		if !w.begun {
			w.begun, w.pager.granule = true, ticksToSamples(item.Timestamp)
		}
		w.err = w.pager.packet(records, packet)
	default:
		w.err = errNotOurs(FormatOgg)
	}
	if err := w.pager.out.done(w.live); w.err == nil {
		w.err = err
	}
	return w.err
}

// Close writes what is left in the buffer. A page that is not complete is an error,
// or is completed.
func (w *oggWriter) Close() error {
	switch {
	case w.err != nil || !w.pager.begun:
	case w.salvage:
		w.pager.end()
	default:
		w.err = fmt.Errorf("media: ogg: recording ends inside a page")
	}
	return closeOutput(w.pager.out, &w.err)
}
