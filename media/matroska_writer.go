package media

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/chanseal/chanseal/media/ebml"
)

// mkvWriter writes Matroska and WebM from the items of an mkvReader.
//
// To a file it states the size of everything, puts a SeekHead in front and Cues
// behind, so that players can seek. To a stream (live) the Segment and its
// Clusters are of unknown size and every item is written as it comes.
//
// A Cluster begins where FlagCluster says. Its Timestamp is that of its first frame,
// so a frame that is too far from it (more than 32767 ticks) begins another one.
type mkvWriter struct {
	out     *output
	each    bool            // items go out as they come
	hasCues bool            // there are video tracks, and cues are for them alone
	video   map[uint64]bool // track number: is it a video track
	err     error

	started    bool  // the EBML header was written, and the Segment's behind it
	left       int64 // bytes of the open element still to come
	inHeader   bool  // the open element is the EBML header
	segment    int64 // offset of the Segment's body
	seekHead   int64 // offset of the space for the SeekHead
	seeks      []seekEntry
	cues       cueList
	inCluster  bool
	cluster    int64 // offset of the open Cluster
	body       int64 // and of its body
	clusterTS  int64
	atFront    []byte // children of a Cluster that go in front of the next frame
	head, tail []byte // of the frame being written
}

func newMatroskaWriter(o *output, info *Info, each bool) *mkvWriter {
	w := &mkvWriter{out: o, each: each, video: make(map[uint64]bool)}
	for _, t := range info.Tracks {
		w.video[t.Number] = t.Type == TrackVideo
		w.hasCues = w.hasCues || t.Type == TrackVideo
	}
	return w
}

// live reports that nothing written can be changed.
func (w *mkvWriter) live() bool { return w.out.seeker == nil }

// Write writes one item. After an error the file is of no use.
func (w *mkvWriter) Write(item *Item) error {
	if w.err != nil {
		return w.err
	}
	switch {
	case item.Kind == KindElement:
		w.err = w.element(item.Data)
	case item.Kind != KindFrame:
		w.err = fmt.Errorf("media: matroska: item of unknown kind %d", item.Kind)
	case !w.started || w.left > 0:
		w.err = errors.New("media: matroska: frame where an element should go on or begin")
	default:
		w.err = w.frame(item)
	}
	if err := w.out.done(w.each); w.err == nil {
		w.err = err
	}
	return w.err
}

// Close completes the file: index, sizes. A recording that stops inside an element
// is an error.
func (w *mkvWriter) Close() error {
	if w.err != nil {
		return w.err
	}
	if !w.started || w.left > 0 {
		w.err = errors.New("media: matroska: recording ends inside an element")
		return w.err
	}
	w.flushFront()
	w.closeCluster()
	if !w.live() {
		w.finish()
	}
	return closeOutput(w.out, &w.err)
}

// finish writes the index and the sizes that were not known before.
func (w *mkvWriter) finish() {
	if w.cues.len() > 0 {
		w.seeks = append(w.seeks, seekEntry{idCues, w.out.offset() - w.segment})
		w.out.write(w.cues.append(nil))
	}
	w.out.patch(w.seekHead, appendSeekHead(nil, w.seeks))
	w.patchSize(w.segment-8, w.out.offset()-w.segment)
}

func (w *mkvWriter) patchSize(at, size int64) {
	w.out.patch(at, ebml.AppendSize(nil, size, 8))
}

// element writes a piece of an element outside Clusters, or takes a child for one.
func (w *mkvWriter) element(p []byte) error {
	if w.left > 0 {
		if int64(len(p)) > w.left {
			return fmt.Errorf("media: matroska: piece of %d bytes for an element with %d left", len(p), w.left)
		}
		w.out.write(p)
		w.left -= int64(len(p))
		w.startSegment()
		return nil
	}
	h, err := ebml.ParseHeader(p)
	if err != nil || h.Size < int64(len(p)-h.Len()) {
		return errors.New("media: matroska: piece that does not begin with an element, or is longer than it")
	}
	switch {
	case w.started == (h.ID == ebml.IDHeader):
		return errors.New("media: matroska: the EBML header is missing or not the first element")
	case h.ID == idCluster:
		return w.clusterElement(p[h.Len():])
	case h.ID == ebml.IDHeader:
		w.inHeader = true
	case !isBlockLevel(h.ID):
		w.flushFront()
		if w.inCluster && w.live() && !endsCluster(h.ID) {
			w.endOpenCluster()
		}
		w.closeCluster()
		if len(w.seeks) == 2*maxSeeks { // only the last ones will be named
			w.seeks = slices.Delete(w.seeks, 0, maxSeeks)
		}
		w.seeks = append(w.seeks, seekEntry{h.ID, w.out.offset() - w.segment})
	default:
		return fmt.Errorf("media: matroska: element %#x outside of Clusters", uint32(h.ID))
	}
	w.out.write(p)
	w.left = h.Size - int64(len(p)-h.Len())
	w.startSegment()
	return nil
}

// isBlockLevel reports that an element has its place in a Cluster, or is one that
// the Writer makes itself.
func isBlockLevel(id ebml.ID) bool {
	switch id {
	case idSimpleBlock, idBlockGroup, idEncryptedBlock, idSegment, idSeekHead, idCues, ebml.IDVoid, ebml.IDCRC32:
		return true
	}
	return false
}

// startSegment writes the Segment's header once the EBML header is complete.
func (w *mkvWriter) startSegment() {
	if !w.inHeader || w.left > 0 {
		return
	}
	w.inHeader, w.started = false, true
	w.out.write(ebml.AppendUnknownSize(ebml.AppendID(nil, idSegment), 8))
	w.segment = w.out.offset()
	if !w.live() {
		w.seekHead = w.segment
		w.out.write(ebml.AppendVoid(nil, seekHeadSpace))
	}
}

// clusterElement keeps a child of a Cluster that is no block for the next frame.
func (w *mkvWriter) clusterElement(child []byte) error {
	h, _, rest, err := ebml.Split(child)
	if err != nil || len(rest) > 0 || endsCluster(h.ID) || isBlockLevel(h.ID) || h.ID == idTimestamp {
		return errors.New("media: matroska: not one element that may lie in a Cluster")
	}
	if len(w.atFront)+len(child) > maxHead {
		return fmt.Errorf("media: matroska: more than %d bytes of unknown elements in a Cluster", maxHead)
	}
	w.atFront = append(w.atFront, child...)
	return nil
}

// flushFront writes what clusterElement kept; if no frame came for it to go in
// front of, behind the last one.
func (w *mkvWriter) flushFront() {
	if len(w.atFront) == 0 {
		return
	}
	if !w.inCluster {
		w.openCluster(w.clusterTS)
	}
	w.out.write(w.atFront)
	w.atFront = w.atFront[:0]
}

func (w *mkvWriter) openCluster(timestamp int64) {
	w.cluster = w.out.offset()
	w.head = ebml.AppendUnknownSize(ebml.AppendID(w.head[:0], idCluster), 8)
	w.body = w.cluster + int64(len(w.head))
	w.clusterTS = max(timestamp, 0)
	w.head = ebml.AppendUint(w.head, idTimestamp, uint64(w.clusterTS))
	w.out.write(w.head)
	w.inCluster = true
}

func (w *mkvWriter) closeCluster() {
	if !w.inCluster {
		return
	}
	w.inCluster = false
	if !w.live() {
		w.patchSize(w.body-8, w.out.offset()-w.body)
	}
}

// endOpenCluster ends a Cluster of unknown size in front of an element that a
// reader would take for one of its children: by an empty Cluster of known size.
func (w *mkvWriter) endOpenCluster() {
	w.out.write(ebml.AppendBytes(nil, idCluster, ebml.AppendUint(nil, idTimestamp, uint64(w.clusterTS))))
}

// frame writes a SimpleBlock or a BlockGroup.
func (w *mkvWriter) frame(item *Item) error {
	video, known := w.video[item.Track]
	flags, extras, payload, ok := splitData(item.Data)
	switch {
	case !known:
		return fmt.Errorf("media: matroska: frame of unknown track %d", item.Track)
	case !ok:
		return errors.New("media: matroska: frame whose Data is not in the form of this package")
	case item.Timestamp < math.MinInt16 || item.Timestamp > math.MaxInt64+math.MinInt16:
		return fmt.Errorf("media: matroska: timestamp %d is out of range", item.Timestamp)
	}
	key := item.Flags&FlagKey != 0
	if item.Flags&FlagGroup == 0 {
		if item.Duration != NoDuration || item.DiscardPadding != 0 || len(item.References) > 0 || len(extras) > 0 {
			return errors.New("media: matroska: only a BlockGroup has durations, references and the like")
		}
	} else if key != (len(item.References) == 0) || item.Flags&FlagDiscardable != 0 || item.Duration < NoDuration {
		return errors.New("media: matroska: flags and references of a BlockGroup contradict each other")
	}
	relative := item.Timestamp - w.clusterTS
	if !w.inCluster || item.Flags&FlagCluster != 0 || relative < math.MinInt16 || relative > math.MaxInt16 {
		w.closeCluster()
		w.openCluster(item.Timestamp)
		relative = item.Timestamp - w.clusterTS
	}
	w.flushFront()
	if (key && video || !w.hasCues) && !w.live() {
		w.cues.add(cue{max(item.Timestamp, 0), item.Track, w.cluster - w.segment, w.out.offset() - w.body}, !w.hasCues)
	}

	if item.Flags&FlagInvisible != 0 {
		flags |= blockInvisible
	}
	size := int64(ebml.SizeLen(int64(item.Track)) + 3 + len(payload))
	if item.Flags&FlagGroup == 0 {
		if key {
			flags |= blockKey
		}
		if item.Flags&FlagDiscardable != 0 {
			flags |= blockDiscardable
		}
		w.head = ebml.AppendHeader(w.head[:0], idSimpleBlock, size)
	} else {
		w.tail = appendGroupTail(append(w.tail[:0], extras...), item)
		group := int64(idBlock.Len()+ebml.SizeLen(size)) + size + int64(len(w.tail))
		w.head = ebml.AppendHeader(w.head[:0], idBlockGroup, group)
		w.head = ebml.AppendHeader(w.head, idBlock, size)
	}
	w.head = ebml.AppendVint(w.head, item.Track)
	w.head = append(w.head, byte(relative>>8), byte(relative), flags)
	w.out.write(w.head)
	w.out.write(payload)
	if item.Flags&FlagGroup != 0 {
		w.out.write(w.tail)
	}
	return nil
}

// appendGroupTail appends what follows the Block in its BlockGroup.
func appendGroupTail(b []byte, item *Item) []byte {
	if item.Duration != NoDuration {
		b = ebml.AppendUint(b, idBlockDuration, uint64(item.Duration))
	}
	for _, ref := range item.References {
		b = ebml.AppendInt(b, idReferenceBlock, ref)
	}
	if item.DiscardPadding != 0 {
		b = ebml.AppendInt(b, idDiscardPadding, item.DiscardPadding)
	}
	return b
}
