package media

import (
	"bytes"
	"errors"

	"github.com/chanseal/chanseal/media/ebml"
)

// application is what converted files name as the program that made them.
const application = "chanseal"

// A converter writes the items of an IVF, Ogg or byte stream Reader as Matroska.
// The frames are those of the recording as Matroska wants them; of the container
// itself only what Matroska has a place for is kept, so that the way back is
// closed: Ogg's comments, for instance, are not carried over.
type converter struct {
	mkv     *mkvWriter
	info    Info
	frames  frameConverter
	err     error
	begun   bool  // the headers are written
	cluster int64 // timestamp of the open Cluster
	inside  bool
	item    Item // for what goes to mkv
}

// A frameConverter knows a codec's frames in two containers.
type frameConverter interface {
	// element sees what lies outside frames.
	element(data []byte) error
	// frame takes a frame and calls emit for every one that is ready to be written,
	// which may be others before this one.
	frame(item *Item, emit func(*Item) error) error
	// flush emits what frame held back.
	flush(emit func(*Item) error) error
	// private returns the track's CodecPrivate, nil if it has none. It is asked for
	// when the first frame is emitted.
	private() ([]byte, error)
}

func newConverter(o *output, info *Info, each bool) (*converter, error) {
	c := &converter{info: *info}
	if len(info.Tracks) != 1 {
		return nil, errNotOurs(info.Format)
	}
	track := &info.Tracks[0]
	switch {
	case info.Format == FormatOgg:
		c.frames = &opusFrames{}
	case info.Format == FormatIVF && track.CodecID == "V_AV1":
		c.frames = &av1Frames{}
	case info.Format == FormatIVF:
		c.frames = &ivfFrames{}
	case info.Format == FormatH264:
		c.frames = newNALFrames(info, &avc{h264: newH264()})
	case info.Format == FormatH265:
		c.frames = newNALFrames(info, &hevc{})
	default:
		return nil, errNotOurs(info.Format)
	}
	c.mkv = newMatroskaWriter(o, info, each)
	return c, nil
}

// Write converts one item.
func (c *converter) Write(item *Item) error {
	if c.err != nil {
		return c.err
	}
	switch item.Kind {
	case KindElement:
		c.err = c.frames.element(item.Data)
	case KindFrame:
		c.err = c.frames.frame(item, c.emit)
	default:
		c.err = errNotOurs(c.info.Format)
	}
	return c.err
}

// Close writes what was held back and completes the file.
func (c *converter) Close() error {
	if c.err != nil {
		return c.err
	}
	if c.err = c.frames.flush(c.emit); c.err != nil {
		return c.err
	}
	if !c.begun {
		c.err = errors.New("media: recording without a frame cannot be converted")
		return c.err
	}
	if err := c.mkv.Close(); err != nil {
		c.err = err
		return err
	}
	c.err = errClosed
	return nil
}

// emit writes a frame whose Data is the frame alone.
func (c *converter) emit(item *Item) error {
	if !c.begun {
		if err := c.begin(); err != nil {
			return err
		}
		c.begun = true
	}
	data := c.item.Data[:0]
	c.item = *item
	c.item.Data = append(append(data, 0), item.Data...)
	if c.item.Duration != NoDuration && c.item.DiscardPadding == 0 {
		c.item.Duration = NoDuration // every frame's own length: the decoder knows it
	}
	if c.item.DiscardPadding != 0 {
		c.item.Flags |= FlagGroup
	}
	if c.startsCluster(item) {
		c.item.Flags |= FlagCluster
		c.cluster, c.inside = item.Timestamp, true
	}
	return c.mkv.Write(&c.item)
}

// Clusters of converted files begin with a key frame of a video if they are a
// second long, and last three seconds at most.
const (
	minCluster = 1_000_000_000
	maxCluster = 3_000_000_000
)

func (c *converter) startsCluster(item *Item) bool {
	length := (item.Timestamp - c.cluster) * int64(c.info.TimestampScale)
	video := c.info.Tracks[0].Type == TrackVideo
	return !c.inside || length >= maxCluster || video && item.Flags&FlagKey != 0 && length >= minCluster
}

// begin writes the headers.
func (c *converter) begin() error {
	private, err := c.frames.private()
	if err != nil {
		return err
	}
	header := ebml.AppendUint(nil, idEBMLVersion, 1)
	header = ebml.AppendUint(header, idEBMLReadVersion, 1)
	header = ebml.AppendUint(header, idEBMLMaxIDLength, 4)
	header = ebml.AppendUint(header, idEBMLMaxSizeLength, 8)
	header = ebml.AppendString(header, idDocType, "matroska")
	header = ebml.AppendUint(header, idDocTypeVersion, 4)
	header = ebml.AppendUint(header, idDocTypeReadVers, 2)

	info := ebml.AppendUint(nil, idTimestampScale, c.info.TimestampScale)
	info = ebml.AppendString(info, idMuxingApp, application)
	info = ebml.AppendString(info, idWritingApp, application)

	for _, e := range [][]byte{
		ebml.AppendBytes(nil, ebml.IDHeader, header),
		ebml.AppendBytes(nil, idInfo, info),
		ebml.AppendBytes(nil, idTracks, ebml.AppendBytes(nil, idTrackEntry, appendTrack(nil, &c.info.Tracks[0], private))),
	} {
		for len(e) > 0 { // CodecPrivate may be long
			n := min(len(e), maxPiece)
			if err := c.mkv.Write(&Item{Kind: KindElement, Duration: NoDuration, Data: e[:n]}); err != nil {
				return err
			}
			e = e[n:]
		}
	}
	return nil
}

// appendTrack appends the children of a TrackEntry (RFC 9559, Section 5.1.4.1).
func appendTrack(b []byte, t *Track, private []byte) []byte {
	b = ebml.AppendUint(b, idTrackNumber, t.Number)
	b = ebml.AppendUint(b, idTrackUID, t.Number)
	b = ebml.AppendUint(b, idTrackType, uint64(t.Type))
	b = ebml.AppendUint(b, idFlagLacing, 0)
	b = ebml.AppendString(b, idCodecID, t.CodecID)
	if len(private) > 0 {
		b = ebml.AppendBytes(b, idCodecPrivate, private)
	}
	for _, f := range []struct {
		id ebml.ID
		v  uint64
	}{{idDefaultDuration, t.DefaultDuration}, {idCodecDelay, t.CodecDelay}, {idSeekPreRoll, t.SeekPreRoll}} {
		if f.v != 0 {
			b = ebml.AppendUint(b, f.id, f.v)
		}
	}
	if t.Type == TrackVideo {
		v := ebml.AppendUint(nil, idPixelWidth, t.Width)
		return ebml.AppendBytes(b, idVideo, ebml.AppendUint(v, idPixelHeight, t.Height))
	}
	a := ebml.AppendFloat(nil, idSamplingFrequency, t.SampleRate)
	return ebml.AppendBytes(b, idAudio, ebml.AppendUint(a, idChannels, t.Channels))
}

// ivfFrames are VP8 and VP9 frames, which Matroska takes as they are.
type ivfFrames struct{}

func (ivfFrames) element([]byte) error          { return nil }
func (ivfFrames) flush(func(*Item) error) error { return nil }
func (ivfFrames) private() ([]byte, error)      { return nil, nil }
func (ivfFrames) frame(item *Item, emit func(*Item) error) error {
	if len(item.Data) < ivfTimestamp {
		return errNotOurs(FormatIVF)
	}
	i := *item
	i.Data = item.Data[ivfTimestamp:]
	return emit(&i)
}

// opusFrames are Opus packets. The streams of a chained file become one: that is
// possible where a decoder set up for the first can go on with the others, which
// it can with mapping family 0 whatever the channels (RFC 7845, Section 5.1.1.1).
type opusFrames struct{ head []byte }

func (o *opusFrames) element(data []byte) error {
	table := oggHeader
	if len(data) >= oggHeader {
		table += int(data[26])
	}
	if len(data) < table || !bytes.HasPrefix(data[table:], []byte("OpusHead")) {
		return nil // comments, or a page of nothing
	}
	head := data[table:]
	if _, err := parseOpusHead(head); err != nil {
		return errNotOurs(FormatOgg)
	}
	switch {
	case o.head == nil:
		o.head = bytes.Clone(head)
	case !bytes.Equal(o.head, head) && (o.head[18] != 0 || head[18] != 0):
		return &UnsupportedError{What: "a chained Ogg file whose streams differ in their channel mapping, as Matroska,", Hint: remux}
	}
	return nil
}

func (o *opusFrames) frame(item *Item, emit func(*Item) error) error {
	_, packet, ok := splitOgg(item.Data)
	if !ok {
		return errNotOurs(FormatOgg)
	}
	i := *item
	i.Data = packet
	return emit(&i)
}

func (o *opusFrames) flush(func(*Item) error) error { return nil }

func (o *opusFrames) private() ([]byte, error) {
	if o.head == nil {
		return nil, errNotOurs(FormatOgg)
	}
	return o.head, nil
}
