package sealedfile

import (
	"errors"

	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/media/ebml"
)

var errTracks = errors.New("sealedfile: malformed Tracks")

// readTracks reads what the Tracks element of a sealed file shows, for those who look
// at it without a key. Opening a file does not depend on it.
func readTracks(raw []byte) ([]media.Track, error) {
	_, entries, _, err := ebml.Split(raw)
	if err != nil {
		return nil, errTracks
	}
	var tracks []media.Track
	for len(entries) > 0 {
		h, body, rest, err := ebml.Split(entries)
		if err != nil || h.ID != idTrackEntry || len(tracks) == maxTracks {
			return nil, errTracks
		}
		entries = rest
		var t media.Track
		if !readTrack(&t, body) {
			return nil, errTracks
		}
		tracks = append(tracks, t)
	}
	return tracks, nil
}

// readTrack reads a TrackEntry, or the Video or Audio in it.
func readTrack(t *media.Track, b []byte) bool {
	whole := map[ebml.ID]*uint64{
		idTrackNumber: &t.Number, idDefaultDur: &t.DefaultDuration,
		idCodecDelay: &t.CodecDelay, idSeekPreRoll: &t.SeekPreRoll,
		idPixelWidth: &t.Width, idPixelHeight: &t.Height,
		idDisplayWidth: &t.DisplayWidth, idDisplayHeight: &t.DisplayHeight,
		idDisplayUnit: &t.DisplayUnit, idAlphaMode: &t.AlphaMode,
		idChannels: &t.Channels, idBitDepth: &t.BitDepth,
	}
	for len(b) > 0 {
		h, body, rest, err := ebml.Split(b)
		if err != nil {
			return false
		}
		b = rest
		switch h.ID {
		case idVideo, idAudio:
			if !readTrack(t, body) {
				return false
			}
		case idTrackType:
			v, err := ebml.Uint(body)
			if err != nil || v > 255 {
				return false
			}
			t.Type = media.TrackType(v)
		case idCodecID:
			t.CodecID = ebml.String(body)
		case idSamplingFreq, idOutputFreq:
			v, err := ebml.Float(body)
			if err != nil {
				return false
			}
			if h.ID == idSamplingFreq {
				t.SampleRate = v
			} else {
				t.OutputSampleRate = v
			}
		default:
			if to := whole[h.ID]; to != nil {
				if *to, err = ebml.Uint(body); err != nil {
					return false
				}
			}
		}
	}
	return true
}
