package sealedfile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/media/ebml"
)

// The elements of a sealed file (RFC 9559, Section 5).
const (
	idSegment        ebml.ID = 0x18538067
	idInfo           ebml.ID = 0x1549A966
	idTimestampScale ebml.ID = 0x2AD7B1
	idDuration       ebml.ID = 0x4489
	idMuxingApp      ebml.ID = 0x4D80
	idWritingApp     ebml.ID = 0x5741
	idTracks         ebml.ID = 0x1654AE6B
	idTrackEntry     ebml.ID = 0xAE
	idTrackNumber    ebml.ID = 0xD7
	idTrackUID       ebml.ID = 0x73C5
	idTrackType      ebml.ID = 0x83
	idFlagLacing     ebml.ID = 0x9C
	idCodecID        ebml.ID = 0x86
	idDefaultDur     ebml.ID = 0x23E383
	idCodecDelay     ebml.ID = 0x56AA
	idSeekPreRoll    ebml.ID = 0x56BB
	idVideo          ebml.ID = 0xE0
	idPixelWidth     ebml.ID = 0xB0
	idPixelHeight    ebml.ID = 0xBA
	idDisplayWidth   ebml.ID = 0x54B0
	idDisplayHeight  ebml.ID = 0x54BA
	idDisplayUnit    ebml.ID = 0x54B2
	idAlphaMode      ebml.ID = 0x53C0
	idAudio          ebml.ID = 0xE1
	idSamplingFreq   ebml.ID = 0xB5
	idOutputFreq     ebml.ID = 0x78B5
	idChannels       ebml.ID = 0x9F
	idBitDepth       ebml.ID = 0x6264
	idTags           ebml.ID = 0x1254C367
	idTag            ebml.ID = 0x7373
	idTargets        ebml.ID = 0x63C0
	idSimpleTag      ebml.ID = 0x67C8
	idTagName        ebml.ID = 0x45A3
	idTagBinary      ebml.ID = 0x4485
	idCluster        ebml.ID = 0x1F43B675
	idTimestamp      ebml.ID = 0xE7
	idSimpleBlock    ebml.ID = 0xA3
	idBlockGroup     ebml.ID = 0xA0
	idBlock          ebml.ID = 0xA1
	idBlockDuration  ebml.ID = 0x9B
	idReference      ebml.ID = 0xFB
	idDiscardPadding ebml.ID = 0x75A2
)

const (
	tagName     = "CHANSEAL"
	application = "chanseal"
	// sizeWidth is the length in bytes of the Segment's size field.
	sizeWidth = 8
)

// The codec IDs of sealed tracks.
const (
	codecVideo    = "V_CHANSEAL"
	codecAudio    = "A_CHANSEAL"
	codecSubtitle = "S_CHANSEAL"
)

// ebmlHeader is the EBML header of every sealed file.
var ebmlHeader = func() []byte {
	var b []byte
	b = ebml.AppendUint(b, 0x4286, 1) // EBMLVersion
	b = ebml.AppendUint(b, 0x42F7, 1) // EBMLReadVersion
	b = ebml.AppendUint(b, 0x42F2, 4) // EBMLMaxIDLength
	b = ebml.AppendUint(b, 0x42F3, 8) // EBMLMaxSizeLength
	b = ebml.AppendString(b, 0x4282, "matroska")
	b = ebml.AppendUint(b, 0x4287, 4) // DocTypeVersion
	b = ebml.AppendUint(b, 0x4285, 2) // DocTypeReadVersion
	return ebml.AppendBytes(nil, ebml.IDHeader, b)
}()

// prologue is what stands in clear in front of the header record. Two fields in it are
// completed at the end: they are no part of its hash, and the end record vouches for
// the one, the end of the file for the other.
type prologue struct {
	bytes      []byte
	segment    int // offset of the Segment's size field, sizeWidth bytes
	durationAt int // offset of Duration's 8 bytes; 0: there is none
}

func newPrologue(in *media.Info, withDuration bool) prologue {
	b := append([]byte(nil), ebmlHeader...)
	b = ebml.AppendID(b, idSegment)
	p := prologue{segment: len(b)}
	b = ebml.AppendUnknownSize(b, sizeWidth)
	p.bytes = appendTracks(p.appendInfo(b, in, withDuration), in)
	return p
}

func (p *prologue) appendInfo(b []byte, in *media.Info, withDuration bool) []byte {
	body := ebml.AppendUint(nil, idTimestampScale, in.TimestampScale)
	body = ebml.AppendString(body, idMuxingApp, application)
	body = ebml.AppendString(body, idWritingApp, application)
	if withDuration {
		body = ebml.AppendFloat(body, idDuration, in.Duration)
	}
	b = ebml.AppendBytes(b, idInfo, body)
	if withDuration {
		p.durationAt = len(b) - 8
	}
	return b
}

func appendTracks(b []byte, in *media.Info) []byte {
	var entries []byte
	for i := range in.Tracks {
		entries = ebml.AppendBytes(entries, idTrackEntry, trackEntry(&in.Tracks[i]))
	}
	return ebml.AppendBytes(b, idTracks, entries)
}

func trackEntry(t *media.Track) []byte {
	var b []byte
	some := func(id ebml.ID, v uint64) {
		if v != 0 {
			b = ebml.AppendUint(b, id, v)
		}
	}
	b = ebml.AppendUint(b, idTrackNumber, t.Number)
	b = ebml.AppendUint(b, idTrackUID, t.Number) // the recording's own is sealed
	b = ebml.AppendUint(b, idTrackType, uint64(t.Type))
	b = ebml.AppendUint(b, idFlagLacing, 0)
	b = ebml.AppendString(b, idCodecID, sealedCodec(t.Type))
	some(idDefaultDur, t.UsualSpan())
	some(idCodecDelay, t.CodecDelay)
	some(idSeekPreRoll, t.SeekPreRoll)
	entry := b
	b = nil
	switch t.Type {
	case media.TrackVideo:
		b = ebml.AppendUint(b, idPixelWidth, t.Width)
		b = ebml.AppendUint(b, idPixelHeight, t.Height)
		some(idDisplayWidth, t.DisplayWidth)
		some(idDisplayHeight, t.DisplayHeight)
		some(idDisplayUnit, t.DisplayUnit)
		some(idAlphaMode, t.AlphaMode)
		return ebml.AppendBytes(entry, idVideo, b)
	case media.TrackAudio:
		if t.SampleRate != 0 {
			b = ebml.AppendFloat(b, idSamplingFreq, t.SampleRate)
		}
		if t.OutputSampleRate != 0 {
			b = ebml.AppendFloat(b, idOutputFreq, t.OutputSampleRate)
		}
		some(idChannels, t.Channels)
		some(idBitDepth, t.BitDepth)
		return ebml.AppendBytes(entry, idAudio, b)
	}
	return entry
}

func sealedCodec(t media.TrackType) string {
	switch t {
	case media.TrackVideo:
		return codecVideo
	case media.TrackAudio:
		return codecAudio
	}
	return codecSubtitle
}

// checkInfo refuses what a sealed file cannot express.
func checkInfo(in *media.Info) error {
	if in.TimestampScale == 0 || len(in.Tracks) == 0 {
		return errors.New("sealedfile: recording without time base or tracks")
	}
	if len(in.Tracks) > maxTracks {
		return fmt.Errorf("sealedfile: %d tracks, a sealed file has at most %d", len(in.Tracks), maxTracks)
	}
	if math.IsNaN(in.Duration) || math.IsInf(in.Duration, 0) || in.Duration < 0 {
		return errors.New("sealedfile: recording with an impossible duration")
	}
	seen := make(map[uint64]bool)
	for i := range in.Tracks {
		t := &in.Tracks[i]
		if t.Number == 0 || t.Number > maxTrackNumber || seen[t.Number] {
			return fmt.Errorf("sealedfile: track number %d is not between 1 and %d, or there twice", t.Number, uint64(maxTrackNumber))
		}
		seen[t.Number] = true
		if len(t.CodecID) > 256 {
			return fmt.Errorf("sealedfile: track %d has a codec ID of %d bytes", t.Number, len(t.CodecID))
		}
	}
	return nil
}

// maxTrackNumber keeps the track number in a block within four bytes.
const maxTrackNumber = 1<<28 - 2

// appendRecord appends a Tags element that holds a record.
func appendRecord(b, record []byte) []byte {
	return append(appendRecordPrefix(b, len(record)), record...)
}

// appendRecordPrefix appends all of the Tags element that stands in front of the
// record's n bytes, which end it.
func appendRecordPrefix(b []byte, n int) []byte {
	name := ebml.AppendString(nil, idTagName, tagName)
	targets := ebml.AppendBytes(nil, idTargets, nil)
	binarySize := elementSize(idTagBinary, n)
	simpleSize := elementSize(idSimpleTag, len(name)+binarySize)
	tagSize := elementSize(idTag, len(targets)+simpleSize)
	b = ebml.AppendHeader(b, idTags, int64(tagSize))
	b = ebml.AppendHeader(b, idTag, int64(len(targets)+simpleSize))
	b = append(b, targets...)
	b = ebml.AppendHeader(b, idSimpleTag, int64(len(name)+binarySize))
	b = append(b, name...)
	return ebml.AppendHeader(b, idTagBinary, int64(n))
}

// elementSize is the length of a whole element with a body of n bytes.
func elementSize(id ebml.ID, n int) int { return id.Len() + ebml.SizeLen(int64(n)) + n }

// Flags of a block (RFC 9559, Section 10.1 and 10.2).
const (
	blockKey         = 0x80
	blockInvisible   = 0x08
	blockDiscardable = 0x01
)

// appendBlockHead appends what stands in front of the sealed payload, n bytes, in a
// frame's SimpleBlock or BlockGroup; appendBlockTail appends what follows it. The
// timestamp has to lie within 16 bits of the cluster's.
func appendBlockHead(b []byte, p *place, cluster int64, n int) []byte {
	var head [8]byte // track, relative timestamp, flags
	body := ebml.AppendVint(head[:0], p.track)
	relative := uint16(p.timestamp - cluster)
	body = append(body, byte(relative>>8), byte(relative), p.blockFlags())
	if !p.group {
		b = ebml.AppendHeader(b, idSimpleBlock, int64(len(body)+n))
		return append(b, body...)
	}
	var tail [64]byte
	after := appendBlockTail(tail[:0], p)
	b = ebml.AppendHeader(b, idBlockGroup, int64(elementSize(idBlock, len(body)+n)+len(after)))
	b = ebml.AppendHeader(b, idBlock, int64(len(body)+n))
	return append(b, body...)
}

func appendBlockTail(b []byte, p *place) []byte {
	if !p.group {
		return b
	}
	if p.duration >= 0 {
		b = ebml.AppendUint(b, idBlockDuration, uint64(p.duration))
	}
	for _, r := range p.references {
		b = ebml.AppendInt(b, idReference, r)
	}
	if p.padding != 0 {
		b = ebml.AppendInt(b, idDiscardPadding, p.padding)
	}
	return b
}

func (p *place) blockFlags() byte {
	var f byte
	if p.invisible {
		f |= blockInvisible
	}
	if p.group {
		return f
	}
	if p.key {
		f |= blockKey
	}
	if p.discardable {
		f |= blockDiscardable
	}
	return f
}

// within reports whether a block at ts can be written into a cluster at base.
func within(ts, base int64) bool { return ts-base >= math.MinInt16 && ts-base <= math.MaxInt16 }

// hash is what the header record vouches for of the prologue.
func (p *prologue) hash() [sha256.Size]byte {
	b := append([]byte(nil), p.bytes...)
	clear(b[p.segment : p.segment+sizeWidth])
	if p.durationAt != 0 {
		clear(b[p.durationAt : p.durationAt+8])
	}
	return sha256.Sum256(b)
}
