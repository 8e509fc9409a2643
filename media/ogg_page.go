package media

import (
	"encoding/binary"
	"io"

	"github.com/chanseal/chanseal/media/internal/window"
)

// Ogg's pages (RFC 3533, Section 6).
const (
	oggHeader   = 27
	oggSegment  = 255
	oggMaxPage  = oggHeader + 255 + 255*oggSegment
	oggContinue = 1 // header type: the first packet began on an earlier page
	oggBegin    = 2 // first page of a stream
	oggEnd      = 4 // last page of a stream
)

const noGranule = -1

// An oggPage is a page taken apart. Its slices are the window's.
type oggPage struct {
	offset  int64
	flags   byte
	granule int64 // samples up to the end of the last packet that ends here; -1 if none does
	serial  uint32
	number  uint32
	table   []byte // segment lengths
	body    []byte
	raw     []byte
}

// readOggPage reads the next page and checks its CRC. io.EOF says that the stream
// ended between pages.
func readOggPage(w *window.Window, p *oggPage) error {
	if err := w.Fill(1); err != nil {
		return err
	}
	at := w.Offset()
	fill := func(n int) error {
		err := w.Fill(n)
		if err == io.EOF {
			return cut(FormatOgg, at+int64(len(w.Bytes())))
		}
		return err
	}
	if err := fill(oggHeader); err != nil {
		return err
	}
	if b := w.Bytes(); string(b[:4]) != "OggS" || b[4] != 0 {
		return damaged(FormatOgg, at, "no Ogg page")
	}
	table := oggHeader + int(w.Bytes()[26])
	if err := fill(table); err != nil {
		return err
	}
	total := table
	for _, n := range w.Bytes()[oggHeader:table] {
		total += int(n)
	}
	if err := fill(total); err != nil {
		return err
	}
	b := w.Take(total)
	sum := binary.LittleEndian.Uint32(b[22:])
	clear(b[22:26])
	ok := sum == oggCRC(b)
	binary.LittleEndian.PutUint32(b[22:], sum)
	if !ok {
		return damaged(FormatOgg, at, "CRC does not match the page")
	}
	*p = oggPage{
		offset:  at,
		flags:   b[5],
		granule: int64(binary.LittleEndian.Uint64(b[6:])),
		serial:  binary.LittleEndian.Uint32(b[14:]),
		number:  binary.LittleEndian.Uint32(b[18:]),
		table:   b[oggHeader:table],
		body:    b[table:],
		raw:     b,
	}
	return nil
}

// endsPacket reports that the page's last packet is complete on it.
func (p *oggPage) endsPacket() bool {
	return len(p.table) == 0 || p.table[len(p.table)-1] < oggSegment
}

// oggRecord is what of a page cannot be told from the packets on it: flags,
// granule position, serial number, sequence number, number of segments, as they
// stand in the page's header.
const oggRecord = 1 + 8 + 4 + 4 + 1

func (p *oggPage) appendRecord(b []byte) []byte {
	b = append(b, p.raw[5:22]...)
	return append(b, byte(len(p.table)))
}

// An oggPager lays packets out on pages that are described by records.
type oggPager struct {
	out   *output
	page  []byte // header of the open page and as much of its segment table as is known
	body  []byte
	want  int  // segments of the open page
	begun bool // there is an open page

	granule int64 // at the end of the page before, or where the stream begins
	ended   int64 // samples of the packets that end on the open page
}

// begin opens the page that a record describes.
func (o *oggPager) begin(record []byte) {
	o.page = append(o.page[:0], "OggS\x00"...)
	o.page = append(o.page, record[:17]...)
	o.page = append(o.page, 0, 0, 0, 0, record[17])
	o.body = o.body[:0]
	o.want, o.begun = int(record[17]), true
	o.finish()
}

// finish writes the open page if all its segments are there.
func (o *oggPager) finish() {
	if len(o.page)-oggHeader < o.want {
		return
	}
	if g := int64(binary.LittleEndian.Uint64(o.page[6:])); g != noGranule {
		o.granule, o.ended = g, 0
	}
	o.flush()
}

// end makes the open page, on which packets are missing, the last one of a shorter
// stream.
func (o *oggPager) end() {
	o.page[5] |= oggEnd
	o.page[26] = byte(len(o.page) - oggHeader)
	binary.LittleEndian.PutUint64(o.page[6:], uint64(o.granule+o.ended))
	o.flush()
}

// flush writes the open page.
func (o *oggPager) flush() {
	crc := oggUpdate(oggUpdate(0, o.page), o.body)
	binary.LittleEndian.PutUint32(o.page[22:], crc)
	o.out.write(o.page)
	o.out.write(o.body)
	o.begun = false
}

// packet lays a packet out behind what is on the open page already; records
// describes the pages that begin in front of it or within it.
// It fails if a page is missing or would begin behind the packet.
func (o *oggPager) packet(records, packet []byte) error {
	samples, ok := opusSamples(packet)
	if !ok {
		samples = 0
	}
	for last := false; !last; {
		if !o.begun {
			if len(records) == 0 {
				return errNotOurs(FormatOgg)
			}
			o.begin(records)
			records = records[oggRecord:]
			continue
		}
		n := min(len(packet), oggSegment)
		o.page = append(o.page, byte(n))
		o.body = append(o.body, packet[:n]...)
		packet = packet[n:]
		if last = n < oggSegment; last {
			o.ended += samples
		}
		o.finish()
	}
	if len(records) > 0 {
		return errNotOurs(FormatOgg)
	}
	return nil
}

// oggTable is for the CRC-32 of Ogg: polynomial 0x04C11DB7, most significant bit
// first, no inversion.
var oggTable = func() (t [256]uint32) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			r = r<<1 ^ uint32(int32(r)>>31)&0x04C11DB7
		}
		t[i] = r
	}
	return t
}()

func oggUpdate(crc uint32, b []byte) uint32 {
	for _, c := range b {
		crc = crc<<8 ^ oggTable[byte(crc>>24)^c]
	}
	return crc
}

func oggCRC(b []byte) uint32 { return oggUpdate(0, b) }
