package sealedfile

import (
	"encoding/binary"
	"math"

	"github.com/chanseal/chanseal/cipher"
)

// version is the first byte of every record.
const version = 1

// recordType says what a sealed piece of the file is. It is part of its additional
// data.
type recordType uint8

const (
	recordFrame   recordType = 0 // the payload of a block
	recordHeader  recordType = 1
	recordElement recordType = 2
	recordSegment recordType = 3
	recordEnd     recordType = 4
)

// maxRecord bounds a record in a Tags element, in bytes.
const maxRecord = 4 << 20

// maxPending is how much of the elements in front of the first frame goes into the
// header record, in bytes; more follows in element records.
const maxPending = 1 << 20

// fileID is drawn at random for every file and part of all additional data.
type fileID [16]byte

// place is what is visible of a frame. All of it is authenticated.
type place struct {
	track       uint64
	timestamp   int64 // ticks
	group       bool  // a BlockGroup, not a SimpleBlock
	key         bool
	invisible   bool
	discardable bool
	duration    int64 // ticks, or media.NoDuration
	padding     int64 // nanoseconds
	references  []int64
}

const aadLabel = "chanseal file 1"

// appendAAD appends the additional data of a frame or record:
//
//	"chanseal file 1" ‖ file ID ‖ record type (1) ‖ track (8) ‖ timestamp (8) ‖
//	flags (2) ‖ duration (8) ‖ DiscardPadding (8) ‖ number of references (2) ‖
//	references (8 each)
//
// with all numbers big endian, negative ones in two's complement. Of a record that is
// no frame all of them are 0, and what is specific to it follows.
func appendAAD(b []byte, id *fileID, t recordType, p *place) []byte {
	b = append(b, aadLabel...)
	b = append(b, id[:]...)
	b = append(b, byte(t))
	b = binary.BigEndian.AppendUint64(b, p.track)
	b = binary.BigEndian.AppendUint64(b, uint64(p.timestamp))
	b = binary.BigEndian.AppendUint16(b, p.flags())
	b = binary.BigEndian.AppendUint64(b, uint64(p.duration))
	b = binary.BigEndian.AppendUint64(b, uint64(p.padding))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.references)))
	for _, r := range p.references {
		b = binary.BigEndian.AppendUint64(b, uint64(r))
	}
	return b
}

func (p *place) flags() uint16 {
	var f uint16
	for i, set := range [...]bool{p.group, p.key, p.invisible, p.discardable} {
		if set {
			f |= 1 << i
		}
	}
	return f
}

// A header record begins in clear, since whoever is to open the file has to know the
// suite: version (1), record type (1), file ID (16), suite ID (2), length (1) and bytes
// of the suite's name. The sealed header follows. All other records have version and
// type only in clear.
type clearHeader struct {
	id    fileID
	suite cipher.SuiteID
	name  string
}

func appendClearHeader(b []byte, h *clearHeader) []byte {
	b = append(b, version, byte(recordHeader))
	b = append(b, h.id[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(h.suite))
	b = append(b, byte(len(h.name)))
	return append(b, h.name...)
}

// parseClearHeader returns the sealed part in rest.
func parseClearHeader(b []byte) (h clearHeader, rest []byte, ok bool) {
	const fixed = 2 + 16 + 2 + 1
	if len(b) < fixed || len(b) < fixed+int(b[fixed-1]) {
		return h, nil, false
	}
	copy(h.id[:], b[2:])
	h.suite = cipher.SuiteID(binary.BigEndian.Uint16(b[18:]))
	end := fixed + int(b[fixed-1])
	h.name = string(b[fixed:end])
	return h, b[end:], true
}

// segmentRecord is the content of a segment record: it ties the new key's counters to
// the old key's.
type segmentRecord struct {
	kid  cipher.KeyID // the key before
	last uint64       // its last counter
}

func (r segmentRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.kid))
	return binary.BigEndian.AppendUint64(b, r.last)
}

func parseSegmentRecord(b []byte) (r segmentRecord, ok bool) {
	if len(b) != 16 {
		return r, false
	}
	return segmentRecord{kid: cipher.KeyID(binary.BigEndian.Uint64(b)), last: binary.BigEndian.Uint64(b[8:])}, true
}

// endRecord is the content of the end record.
type endRecord struct {
	last     uint64  // its own counter
	duration float64 // ticks, as it stands in clear; 0 if it does not
	frames   []uint64
}

func (r *endRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.last)
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(r.duration))
	for _, n := range r.frames { // in the order of the tracks
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func (r *endRecord) matches(b []byte) bool { return string(r.append(nil)) == string(b) }
