package sealedfile

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/media/ebml"
)

// Keys hands out the key to seal with; a keyring's Sender is one. The key must be the
// Writer's alone, since its counters run through the file without a gap. When Key
// returns another one than before, the file goes on under that.
type Keys interface {
	Key() (*cipher.SealKey, error)
}

// Summary tells what was written or read.
type Summary struct {
	Frames   uint64 // blocks
	Payload  uint64 // bytes of frames in clear
	Overhead uint64 // bytes by which sealing made frames longer
	File     uint64 // bytes of the sealed file
}

// A cluster is closed when it holds this many bytes or ticks' worth of nanoseconds,
// since it is put together in memory.
const (
	clusterBytes = 2 << 20
	clusterTime  = 5_000_000_000
)

// giantFrame is the size in bytes from which a frame ends its cluster, so that it need
// not be copied into it.
const giantFrame = 1 << 20

const writeBuffer = 256 << 10

// Writer seals a recording into a file. It is a [media.Writer], for one goroutine.
type Writer struct {
	out      *bufio.Writer
	seeker   io.WriteSeeker // nil: a stream
	base     int64          // where the file begins in seeker
	written  int64
	info     *media.Info
	tracks   map[uint64]*track // by number
	prologue prologue

	keys    Keys
	key     *cipher.SealKey
	id      fileID
	started bool
	next    uint64 // the key's next counter; valid once inRow
	inRow   bool

	pending     [][]byte // elements that wait for the header record
	pendingSize int

	cluster     []byte // the open cluster's blocks
	clusterOpen bool
	clusterTS   int64
	longest     int64 // the highest end of a frame, in ticks

	plain, sealed, aad []byte
	summary            Summary
	err                error // sticky
}

// NewWriter makes a Writer of a sealed file for a recording described by info. If w
// can seek, sizes and duration are completed at the end; otherwise the file is one
// that streams. Suites with tags of fewer than 64 bits are refused: [ErrWeakTag].
func NewWriter(w io.Writer, info *media.Info, keys Keys) (*Writer, error) {
	if err := checkInfo(info); err != nil {
		return nil, err
	}
	key, err := keys.Key()
	if err != nil {
		return nil, err
	}
	if err := CheckSuite(key.Suite()); err != nil {
		return nil, err
	}
	fw := &Writer{
		out:    bufio.NewWriterSize(w, writeBuffer),
		info:   info,
		keys:   keys,
		key:    key,
		tracks: make(map[uint64]*track),
	}
	rand.Read(fw.id[:])
	if s, ok := w.(io.WriteSeeker); ok {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil {
			fw.seeker, fw.base = s, at
		}
	}
	for _, t := range info.Tracks {
		fw.tracks[t.Number] = &track{kind: t.Type, usual: int64(t.UsualSpan() / info.TimestampScale)}
	}
	return fw, nil
}

// CheckSuite refuses suites whose tags are too short for a file: [ErrWeakTag].
func CheckSuite(s *cipher.Suite) error {
	if s.Overhead() < 8 && s.Authentication() == s.Name() {
		return ErrWeakTag
	}
	return nil
}

// track is what the Writer keeps of a track.
type track struct {
	kind   media.TrackType
	usual  int64 // ticks that a frame plays whose block says nothing; 0 if unknown
	frames uint64
}

// Write seals one item.
func (w *Writer) Write(item *media.Item) error {
	if w.err != nil {
		return w.err
	}
	switch item.Kind {
	case media.KindElement:
		w.err = w.writeElement(item.Data)
	case media.KindFrame:
		w.err = w.writeFrame(item)
	default:
		w.err = fmt.Errorf("sealedfile: item of unknown kind %d", item.Kind)
	}
	return w.err
}

// Summary tells what was written so far.
func (w *Writer) Summary() Summary {
	s := w.summary
	s.File = uint64(w.written) + uint64(len(w.cluster))
	return s
}

func (w *Writer) writeElement(data []byte) error {
	if len(data) > maxRecord/2 {
		return fmt.Errorf("sealedfile: element piece of %d bytes, the limit is %d", len(data), maxRecord/2)
	}
	if !w.started {
		w.pending = append(w.pending, append([]byte(nil), data...))
		if w.pendingSize += len(data); w.pendingSize > maxPending {
			return w.start()
		}
		return nil
	}
	if err := w.flushCluster(); err != nil {
		return err
	}
	return w.writeRecord(recordElement, data)
}

// start writes the prologue and the header record with what is pending.
func (w *Writer) start() error {
	w.started = true
	w.prologue = newPrologue(w.info, w.seeker != nil || w.info.Duration != 0)
	if err := w.write(w.prologue.bytes); err != nil {
		return err
	}
	suite := w.key.Suite()
	head := appendClearHeader(nil, &clearHeader{id: w.id, suite: suite.ID(), name: suite.Name()})
	content := appendInfo(nil, w.info)
	for _, e := range w.pending {
		content = binary.AppendUvarint(content, uint64(len(e)))
		content = append(content, e...)
	}
	w.pending = nil
	hash := w.prologue.hash()
	w.aad = appendAAD(w.aad[:0], &w.id, recordHeader, &place{})
	w.aad = append(append(w.aad, head...), hash[:]...)
	sealed, err := w.seal(content)
	if err != nil {
		return err
	}
	return w.write(appendRecord(nil, append(head, sealed...)))
}

func (w *Writer) writeRecord(t recordType, content []byte) error {
	w.aad = appendAAD(w.aad[:0], &w.id, t, &place{})
	sealed, err := w.seal(content)
	if err != nil {
		return err
	}
	return w.write(appendRecord(nil, append([]byte{version, byte(t)}, sealed...)))
}

func (w *Writer) writeFrame(item *media.Item) error {
	if !w.started {
		if err := w.start(); err != nil {
			return err
		}
	}
	t := w.tracks[item.Track]
	if t == nil {
		return fmt.Errorf("sealedfile: frame of track %d, which the recording does not have", item.Track)
	}
	if len(item.Data) > media.MaxFrame+4096 {
		return fmt.Errorf("sealedfile: frame of %d bytes, the limit is %d", len(item.Data), media.MaxFrame)
	}
	var p place
	hidden, err := p.see(item, t, w.info.TimestampScale)
	if err != nil {
		return err
	}
	if err := w.openCluster(item, false); err != nil {
		return err
	}
	w.plain = appendPayload(w.plain[:0], item, hidden)
	w.aad = appendAAD(w.aad[:0], &w.id, recordFrame, &p)
	sealed, err := w.seal(w.plain)
	if errors.Is(err, cipher.ErrExhausted) {
		// The key is at its end: the frame opens a new cluster under the next one.
		if err = w.openCluster(item, true); err == nil {
			w.aad = appendAAD(w.aad[:0], &w.id, recordFrame, &p)
			sealed, err = w.seal(w.plain)
		}
	}
	if err != nil {
		return err
	}
	w.cluster = appendBlockHead(w.cluster, &p, w.clusterTS, len(sealed))
	if len(sealed) >= giantFrame {
		if err := w.endCluster(sealed, appendBlockTail(nil, &p)); err != nil {
			return err
		}
	} else {
		w.cluster = append(w.cluster, sealed...)
		w.cluster = appendBlockTail(w.cluster, &p)
	}

	t.frames++
	w.summary.Frames++
	w.summary.Payload += uint64(len(item.Data))
	w.summary.Overhead += uint64(len(sealed) - len(item.Data))
	end := item.Timestamp + max(item.Duration, 0)
	if item.Duration < 0 {
		end += t.usual
	}
	w.longest = max(w.longest, end)
	return nil
}

// openCluster sees to it that there is a cluster that can take the item. New keys are
// taken up between clusters; worn says that the present one is at its end.
func (w *Writer) openCluster(item *media.Item, worn bool) error {
	if !worn && w.clusterTakes(item) {
		return nil
	}
	if err := w.flushCluster(); err != nil {
		return err
	}
	key, err := w.keys.Key()
	switch {
	case err != nil:
		return err
	case key != w.key:
		if err := w.turnOver(key); err != nil {
			return err
		}
	case worn:
		return cipher.ErrExhausted
	}
	w.clusterOpen, w.clusterTS = true, max(0, item.Timestamp)
	if !within(item.Timestamp, w.clusterTS) {
		return fmt.Errorf("sealedfile: frame %d ticks before the beginning, which Matroska cannot express", -item.Timestamp)
	}
	return nil
}

func (w *Writer) clusterTakes(item *media.Item) bool {
	return w.clusterOpen &&
		item.Flags&media.FlagCluster == 0 &&
		within(item.Timestamp, w.clusterTS) &&
		len(w.cluster) < clusterBytes &&
		item.Timestamp-w.clusterTS <= int64(clusterTime/w.info.TimestampScale)
}

func (w *Writer) flushCluster() error {
	if !w.clusterOpen {
		return nil
	}
	return w.endCluster(nil, nil)
}

// endCluster writes the open cluster, with two more pieces at its end.
func (w *Writer) endCluster(sealed, tail []byte) error {
	w.clusterOpen = false
	ts := ebml.AppendUint(nil, idTimestamp, uint64(w.clusterTS))
	head := ebml.AppendHeader(nil, idCluster, int64(len(ts)+len(w.cluster)+len(sealed)+len(tail)))
	for _, b := range [...][]byte{head, ts, w.cluster, sealed, tail} {
		if err := w.write(b); err != nil {
			return err
		}
	}
	w.cluster = w.cluster[:0]
	return nil
}

// turnOver goes on under another key, which begins with a segment record.
func (w *Writer) turnOver(key *cipher.SealKey) error {
	if key.Suite().ID() != w.key.Suite().ID() {
		return fmt.Errorf("sealedfile: the new key is of suite %s, the file of suite %s", key.Suite(), w.key.Suite())
	}
	last := segmentRecord{kid: w.key.KeyID(), last: w.next - 1}
	w.key, w.inRow = key, false
	return w.writeRecord(recordSegment, last.append(nil))
}

// seal seals content under w.aad and checks that nobody else uses the key. The result
// is valid until the next call.
func (w *Writer) seal(content []byte) ([]byte, error) {
	sealed, err := w.key.Seal(w.sealed[:0], content, w.aad)
	if err != nil {
		return nil, err
	}
	w.sealed = sealed
	h, _, err := cipher.ParseHeader(sealed)
	if err != nil {
		return nil, err
	}
	if w.inRow && h.CTR != w.next {
		return nil, ErrSharedKey
	}
	w.next, w.inRow = h.CTR+1, true
	return sealed, nil
}

func (w *Writer) write(b []byte) error {
	n, err := w.out.Write(b)
	w.written += int64(n)
	return err
}

// Close writes the end record and completes the file; without it the file counts as
// cut off. It does not close what lies under the Writer.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	w.err = w.finish()
	clear(w.plain[:cap(w.plain)])
	if w.err != nil {
		return w.err
	}
	w.err = errors.New("sealedfile: write to a closed file")
	return nil
}

func (w *Writer) finish() error {
	if !w.started {
		if err := w.start(); err != nil {
			return err
		}
	}
	if err := w.flushCluster(); err != nil {
		return err
	}
	end := endRecord{last: w.next}
	if w.prologue.durationAt != 0 {
		end.duration = w.info.Duration
		if end.duration == 0 {
			end.duration = float64(w.longest)
		}
	}
	for _, t := range w.info.Tracks {
		end.frames = append(end.frames, w.tracks[t.Number].frames)
	}
	if err := w.writeRecord(recordEnd, end.append(nil)); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return err
	}
	if w.seeker == nil {
		return nil
	}
	size := w.written - int64(w.prologue.segment+sizeWidth)
	if err := w.patch(w.prologue.segment, ebml.AppendSize(nil, size, sizeWidth)); err != nil {
		return err
	}
	if err := w.patch(w.prologue.durationAt, appendFloat(nil, end.duration)); err != nil {
		return err
	}
	_, err := w.seeker.Seek(w.base+w.written, io.SeekStart)
	return err
}

func (w *Writer) patch(at int, b []byte) error {
	if _, err := w.seeker.Seek(w.base+int64(at), io.SeekStart); err != nil {
		return err
	}
	_, err := w.seeker.Write(b)
	return err
}
