package media

import (
	"bytes"

	"github.com/chanseal/chanseal/media/ebml"
)

// Small builders for Matroska files by hand.

func el(id ebml.ID, children ...[]byte) []byte {
	return ebml.AppendBytes(nil, id, bytes.Join(children, nil))
}

func num(id ebml.ID, v uint64) []byte       { return ebml.AppendUint(nil, id, v) }
func ebmlInt(id ebml.ID, v int64) []byte    { return ebml.AppendInt(nil, id, v) }
func str(id ebml.ID, s string) []byte       { return ebml.AppendString(nil, id, s) }
func cat(parts ...[]byte) []byte            { return bytes.Join(parts, nil) }
func void(n int) []byte                     { return ebml.AppendVoid(nil, n) }
func summed(id ebml.ID, body []byte) []byte { return ebml.AppendMasterCRC(nil, id, body) }

// unknown is an element whose size field says that its size is unknown.
func unknown(id ebml.ID, width int, children ...[]byte) []byte {
	return append(ebml.AppendUnknownSize(ebml.AppendID(nil, id), width), bytes.Join(children, nil)...)
}

// sized is an element whose size field says size, whatever its body is.
func sized(id ebml.ID, size int64, body ...byte) []byte {
	return append(ebml.AppendHeader(nil, id, size), body...)
}

func docType(s string) []byte { return el(ebml.IDHeader, str(idDocType, s)) }

var (
	mkvHeader = docType("matroska")
	mkvInfo   = el(idInfo, num(idTimestampScale, 1_000_000))
	mkvTracks = el(idTracks, videoTrack(1), audioTrack(2))
)

func videoTrack(number uint64) []byte {
	return el(idTrackEntry, num(idTrackNumber, number), num(idTrackUID, number), num(idTrackType, 1),
		str(idCodecID, "V_VP8"), el(idVideo, num(idPixelWidth, 640), num(idPixelHeight, 480)))
}

func audioTrack(number uint64) []byte {
	return el(idTrackEntry, num(idTrackNumber, number), num(idTrackUID, number), num(idTrackType, 2),
		str(idCodecID, "A_OPUS"), el(idAudio, ebml.AppendFloat(nil, idSamplingFrequency, 48000), num(idChannels, 2)))
}

// blockBody is the body of a Block or SimpleBlock.
func blockBody(track byte, relative int16, flags byte, payload ...byte) []byte {
	return append([]byte{0x80 | track, byte(relative >> 8), byte(relative), flags}, payload...)
}

func simple(track byte, relative int16, flags byte, payload ...byte) []byte {
	return el(idSimpleBlock, blockBody(track, relative, flags, payload...))
}

func cluster(ts uint64, children ...[]byte) []byte {
	return el(idCluster, num(idTimestamp, ts), cat(children...))
}

// mkv is a file with one Segment of known size: header, Info, Tracks and the rest.
func mkv(rest ...[]byte) []byte {
	return cat(mkvHeader, el(idSegment, mkvInfo, mkvTracks, cat(rest...)))
}
