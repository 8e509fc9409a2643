package rtpseal_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chanseal/chanseal/rtpseal"
)

// joined puts packets together that come a millisecond apart, and returns the numbers of
// the frames, and what was told of others.
func joined(t *testing.T, codec string, seqs []uint16) (frames []uint16, told map[string]int) {
	t.Helper()
	c, err := rtpseal.LookupCodec(codec)
	if err != nil {
		t.Fatal(err)
	}
	told = map[string]int{}
	j, err := rtpseal.NewFrameJoiner(c, func(h rtpseal.Header, frame []byte) error {
		frames = append(frames, h.Sequence)
		return nil
	}, func(d rtpseal.Drop) { told[d.Why] += d.Packets })
	if err != nil {
		t.Fatal(err)
	}
	now := epoch
	for _, seq := range seqs {
		payload := fmt.Append(nil, "\x41frame ", seq)
		if err := j.Push(plain(7, uint32(seq), seq, true, nil, payload), now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
	}
	j.Sweep(now.Add(time.Second))
	if j.Sweep(now.Add(time.Minute)); j.Kept() != 0 {
		t.Errorf("%d bytes are kept", j.Kept())
	}
	return frames, told
}

func numbers(from, n int) (seqs []uint16) {
	for i := range n {
		seqs = append(seqs, uint16(from+i))
	}
	return seqs
}

// TestJoinerTells: no frame is lost without a word: whether its packet never comes, comes
// behind its turn, or came before the stream had begun. Duplicates are none of these.
func TestJoinerTells(t *testing.T) {
	for _, codec := range []string{"opus", "h264"} {
		for _, c := range []struct {
			name   string
			seqs   []uint16
			frames int
			told   map[string]int
		}{
			{"in order, twice", slices.Concat(numbers(65500, 100), numbers(65500, 100)), 100, map[string]int{}},
			{"lost", slices.Concat(numbers(0, 300), numbers(303, 297)), 597, map[string]int{"missing": 3}},
			{"late", slices.Concat(numbers(0, 300), numbers(302, 298), []uint16{300, 301, 300, 5}), 598, map[string]int{"missing": 2, "late": 2}},
			{"the first is late", slices.Concat(numbers(1, 599), []uint16{0}), 599, map[string]int{"late": 1}},
			{"the first is late, twice", slices.Concat(numbers(1, 599), []uint16{0, 0}), 599, map[string]int{"late": 1}},
			{"late behind many that are missing", slices.Concat(numbers(0, 100), numbers(612, 100), numbers(1224, 100), numbers(1325, 100), []uint16{1223, 1223}), 400, map[string]int{"missing": 1025, "late": 1}},
			{"a duplicate behind one of long ago", slices.Concat(numbers(30000, 300), []uint16{10, 30299}), 300, map[string]int{"late": 1}},
			{"begins anew", slices.Concat(numbers(30000, 300), numbers(10, 300)), 599, map[string]int{"late": 1}},
			{"one of long ago", slices.Concat(numbers(30000, 300), []uint16{10}, numbers(30300, 300), []uint16{11}, numbers(30600, 5)), 605, map[string]int{"late": 2}},
		} {
			frames, told := joined(t, codec, c.seqs)
			if len(frames) != c.frames || !maps.Equal(told, c.told) {
				t.Errorf("%s, %s: %d frames, want %d; told %v, want %v", codec, c.name, len(frames), c.frames, told, c.told)
			}
		}
		// Whatever the order: who is not there was told of.
		rnd := rand.New(rand.NewPCG(7, 8))
		for range 20 {
			at := map[uint16]int{}
			seqs := numbers(65000, 600)
			for i, seq := range seqs {
				at[seq] = i + rnd.IntN(200)
			}
			slices.SortStableFunc(seqs, func(a, b uint16) int { return at[a] - at[b] })
			frames, told := joined(t, codec, seqs)
			early := told["late"] - told["missing"] // of before the first
			if len(frames)+told["late"] != 600 || early < 0 || !slices.IsSortedFunc(frames, func(a, b uint16) int { return int(int16(a - b)) }) {
				t.Errorf("%s: %d frames, in order: told %v", codec, len(frames), told)
			}
		}
	}
}
