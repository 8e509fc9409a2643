package rtpseal_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/rtpseal"
)

// clipFrames reads the frames of a clip's track with a codec.
func clipFrames(t *testing.T, clip, codecID string) (frames [][]byte) {
	t.Helper()
	f, err := os.Open("../testdata/media/" + clip)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := media.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	track := uint64(0)
	for _, x := range r.Info().Tracks {
		if x.CodecID == codecID {
			track = x.Number
		}
	}
	var item media.Item
	for {
		if err := r.Next(&item); err == io.EOF {
			return frames
		} else if err != nil {
			t.Fatal(err)
		}
		if item.Kind != media.KindFrame || item.Track != track {
			continue
		}
		frame := item.Data[1:] // behind the flags of the block
		if codecID == "V_MPEG4/ISO/AVC" || codecID == "V_MPEGH/ISO/HEVC" {
			if frame, err = media.ToAnnexB(nil, frame, 4); err != nil {
				t.Fatal(err)
			}
		}
		frames = append(frames, bytes.Clone(frame))
	}
}

// TestFramesOfClips: real frames of every codec come out bit for bit, cut into packets
// of a size at one end and of another at the other.
func TestFramesOfClips(t *testing.T) {
	for _, c := range []struct{ name, clip, id string }{
		{"opus", "vp8-opus.webm", "A_OPUS"},
		{"vp8", "vp8-opus.webm", "V_VP8"},
		{"vp9", "vp9-opus.webm", "V_VP9"},
		{"h264", "h264-opus.mkv", "V_MPEG4/ISO/AVC"},
		{"h265", "h265-opus.mkv", "V_MPEGH/ISO/HEVC"},
		{"av1", "av1-opus.mkv", "V_AV1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := clipFrames(t, c.clip, c.id)
			if len(want) < 20 {
				t.Fatalf("the clip has %d frames", len(want))
			}
			codec, err := rtpseal.LookupCodec(c.name)
			if err != nil {
				t.Fatal(err)
			}
			seal, open := pair(t, cipher.AES128GCM())
			s, err := rtpseal.NewFrameSealing(codec, rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(seal), MTU: 900}, nil)
			if err != nil {
				t.Fatal(err)
			}
			cutter, _ := rtpseal.NewCutter(codec, 1200)
			again, _ := rtpseal.NewCutter(codec, 700)
			o, err := rtpseal.NewOpening(rtpseal.OpeningOptions{Opener: rtpseal.Shared(open), Frames: again})
			if err != nil {
				t.Fatal(err)
			}
			var got [][]byte
			back, err := rtpseal.NewFrameJoiner(codec, func(_ rtpseal.Header, frame []byte) error {
				got = append(got, bytes.Clone(frame))
				return nil
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, frame := range want {
				var in, mid, out rtpseal.Packets
				u := rtpseal.Unit{}
				u.SSRC, u.Timestamp, u.Marker = 4, uint32(i), true
				if err := cutter.Cut(&u, frame, &in); err != nil {
					t.Fatal(err)
				}
				for j := range in.Len() {
					if err := s.Push(in.At(j), epoch, &mid); err != nil {
						t.Fatal(err)
					}
				}
				for j := range mid.Len() {
					if err := o.Push(mid.At(j), epoch, &out); err != nil {
						t.Fatal(err)
					}
				}
				for j := range out.Len() {
					if err := back.Push(out.At(j), epoch); err != nil {
						t.Fatal(err)
					}
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%d frames came out of %d", len(got), len(want))
			}
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Fatalf("frame %d is another one", i)
				}
			}
		})
	}
}
