package media

import (
	"fmt"
	"slices"
)

// orderHint is for streams whose order of presentation is not worked out here.
const orderHint = "ffmpeg -fflags +genpts -i IN -c copy OUT.mkv"

// maxReorder is how many pictures, in decoding order, can come between a picture
// and one to be presented before it: the largest decoded picture buffer of
// H.264 and H.265 (A.3.1, A.4.2).
const maxReorder = 16

// An orderer gives frames, which come in decoding order, their times of presentation.
// It holds a frame back until its place is certain: when a sequence begins, or when
// maxReorder pictures are waiting.
type orderer struct {
	format  Format
	step    uint64 // nanoseconds a frame
	count   uint64 // frames whose place is known
	queue   []waiting
	bytes   int
	last    int64 // order count of the last one whose place is known
	hasLast bool
}

// waiting is a frame in decoding order.
type waiting struct {
	item   Item
	poc    int64
	placed bool
}

func (o *orderer) add(p place, item Item, emit func(*Item) error) error {
	if p.first {
		if err := o.flush(emit); err != nil {
			return err
		}
		o.hasLast = false
	}
	if o.bytes += len(item.Data); o.bytes > MaxFrame {
		return fmt.Errorf("media: %s: more than %d bytes of frames to be put in order: %w", o.format, MaxFrame, ErrTooLarge)
	}
	o.queue = append(o.queue, waiting{item: item, poc: p.poc})
	if o.unplaced() > maxReorder {
		if err := o.place(); err != nil {
			return err
		}
	}
	return o.emit(emit)
}

// flush places and emits all that is held back.
func (o *orderer) flush(emit func(*Item) error) error {
	for o.unplaced() > 0 {
		if err := o.place(); err != nil {
			return err
		}
	}
	return o.emit(emit)
}

func (o *orderer) unplaced() (n int) {
	for i := range o.queue {
		if !o.queue[i].placed {
			n++
		}
	}
	return n
}

// place gives the waiting frame that is presented first its time. One that should
// have been presented before another that was placed already means that the
// order counts are not what they seem (8.2.1: a memory management operation can
// begin them anew); then no time is made up.
func (o *orderer) place() error {
	first := -1
	for i := range o.queue {
		if w := &o.queue[i]; !w.placed && (first < 0 || w.poc < o.queue[first].poc) {
			first = i
		}
	}
	w := &o.queue[first]
	if o.hasLast && w.poc <= o.last {
		return &UnsupportedError{What: "a byte stream whose pictures cannot be put in order of presentation, as Matroska,", Hint: orderHint}
	}
	o.last, o.hasLast = w.poc, true
	w.placed = true
	w.item.Timestamp = int64(scale(o.count, o.step, fineScale))
	o.count++
	return nil
}

// emit emits the frames at the head of the queue whose times are known.
func (o *orderer) emit(emit func(*Item) error) error {
	n := 0
	for ; n < len(o.queue) && o.queue[n].placed; n++ {
		if err := emit(&o.queue[n].item); err != nil {
			return err
		}
		o.bytes -= len(o.queue[n].item.Data)
	}
	o.queue = slices.Delete(o.queue, 0, n)
	return nil
}
