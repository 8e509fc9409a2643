// Package media takes media files apart into frames and puts them together
// again, without loss: what a Writer writes from the items of a Reader is the
// same recording, byte for byte where the container allows it.
//
// Containers: Matroska and WebM (RFC 9559), IVF, Ogg Opus (RFC 3533, RFC 7845),
// and Annex B byte streams of H.264 and H.265. All of them are streamed: memory
// is bounded by [MaxFrame], whatever the length of the file, and grows only with
// bytes that arrived. IVF, Ogg and byte streams come back byte for byte. Of
// Matroska everything comes back but what describes the file and not the
// recording (SeekHead, Cues, Void, the CRC-32 and sizes of Clusters): a Writer
// makes its own.
//
// [NewReader] knows a container by its first bytes; [NewWriter] writes the same
// container again, or Matroska. What is wrong with a recording is an [Error] with the
// byte where it is: [ErrDamaged], [ErrTooLarge], [ErrUnsupported], or
// io.ErrUnexpectedEOF where it was cut off. A container that is known but not
// read is an [UnsupportedError] with the command that helps.
//
// The package knows nothing of encryption. It decides what of a recording is a
// payload (Item.Data) and what is only its place in time (the other fields).
package media

// MaxFrame is the largest frame, in bytes, that a Reader returns. A larger one is
// an error that names this limit.
const MaxFrame = 32 << 20

// Format names a container. The numbers are part of the sealed file's format.
type Format uint8

// The containers. Zero is no container.
const (
	FormatMatroska Format = 1 // Matroska and WebM
	FormatIVF      Format = 2 // IVF
	FormatOgg      Format = 3 // Ogg with Opus
	FormatH264     Format = 4 // H.264 Annex B byte stream
	FormatH265     Format = 5 // H.265 Annex B byte stream
)

// TrackType is a track's type, in Matroska's numbers (RFC 9559, Section 5.1.4.1.3).
type TrackType uint8

// The track types that carry frames.
const (
	TrackVideo    TrackType = 1
	TrackAudio    TrackType = 2
	TrackSubtitle TrackType = 17
)

// Info describes a recording as far as a relay may see it: no titles, tags,
// identifiers or codec configuration.
type Info struct {
	Format         Format
	TimestampScale uint64  // nanoseconds per tick, never 0
	Duration       float64 // ticks; 0 if the container does not say beforehand
	Tracks         []Track
}

// Track describes one track.
type Track struct {
	Number          uint64 // as in Item.Track; never 0
	Type            TrackType
	CodecID         string // in Matroska's names (RFC 9559 registry), such as V_VP8 or A_OPUS
	DefaultDuration uint64 // nanoseconds a frame; 0 if unknown
	CodecDelay      uint64 // nanoseconds
	SeekPreRoll     uint64 // nanoseconds

	Width, Height               uint64 // pixels; video only
	DisplayWidth, DisplayHeight uint64 // 0 if not stated
	DisplayUnit                 uint64
	AlphaMode                   uint64

	SampleRate, OutputSampleRate float64 // Hz; audio only
	Channels, BitDepth           uint64  // 0 if not stated
}

// Kind says what an Item is. The numbers are part of the sealed file's format.
type Kind uint8

// The kinds of items.
const (
	// KindElement is what lies outside frames: file headers, Matroska's Tracks,
	// Tags or Attachments. Only Data is set. Long elements come in pieces of at
	// most 1 MiB.
	KindElement Kind = 1
	// KindFrame is one frame (an access unit, an Opus packet, a Matroska block).
	KindFrame Kind = 2
)

// Flags of a frame. The numbers are part of the sealed file's format.
type Flags uint16

// The flags of a frame.
const (
	FlagKey         Flags = 1 << 0 // decodable without any other frame
	FlagInvisible   Flags = 1 << 1 // decoded, not shown
	FlagDiscardable Flags = 1 << 2 // no other frame needs it
	FlagGroup       Flags = 1 << 3 // Matroska: a BlockGroup, not a SimpleBlock
	FlagCluster     Flags = 1 << 4 // Matroska: the first frame of a Cluster
)

// NoDuration is the Duration of a frame whose container states none.
const NoDuration = -1

// Item is one piece of a recording, in file order.
type Item struct {
	Kind           Kind
	Track          uint64
	Timestamp      int64 // ticks
	Duration       int64 // ticks, or NoDuration
	Span           int64 // nanoseconds a frame without Duration plays, by its track or codec; 0 if unknown; Writers ignore it
	Flags          Flags
	DiscardPadding int64   // nanoseconds (RFC 9559, Section 5.1.3.5.7); 0 if none
	References     []int64 // ticks relative to Timestamp, one a reference block
	Data           []byte  // the payload with all that is needed to write it back; valid until the next call
}

// Reader reads a recording. It is for one goroutine, and keeps returning its error
// once it returned one.
type Reader interface {
	// Info is complete as soon as the Reader is made.
	Info() *Info
	// Next fills item; io.EOF says that the recording ended properly. The
	// slices in item are valid until the next call.
	Next(item *Item) error
}

// Writer writes a recording from the items of a Reader, in their order. It is for
// one goroutine, and keeps returning its error once it returned one. It refuses
// items that no Reader returns, and copies what it keeps of one.
type Writer interface {
	Write(item *Item) error
	// Close completes the file; it does not close what lies under the Writer.
	Close() error
}
