package sealedfile

import (
	"bytes"
	"testing"

	"github.com/chanseal/chanseal/media"
)

// TestGiantFrames: frames that end their cluster without being copied into it, alone,
// behind others and in front of others, as blocks and as groups.
func TestGiantFrames(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	frame := func(track uint64, at int64, group bool, n int) media.Item {
		i := media.Item{Kind: media.KindFrame, Track: track, Timestamp: at, Duration: media.NoDuration, Flags: media.FlagKey, Data: bytes.Repeat([]byte{byte(at)}, n)}
		if group {
			i.Flags, i.Duration, i.References, i.DiscardPadding = media.FlagGroup, 33, []int64{-33}, 5
		}
		return i
	}
	items := []media.Item{
		frame(1, 0, false, giantFrame),
		frame(1, 33, true, giantFrame+1),
		frame(2, 40, false, 10),
		frame(1, 66, true, giantFrame),
		frame(2, 60, false, 10),
		frame(1, 99, true, giantFrame-100),
		frame(1, 132, false, media.MaxFrame),
		frame(2, 80, false, 10),
	}
	bothWays(t, func(t *testing.T, stream bool) {
		keys.turn(t)
		got, _, err := openItems(sealItems(t, keys, testInfo(), items, stream), keys.unlock)
		if err != nil {
			t.Fatal(err)
		}
		sameItems(t, got, items)
	})
}
