package media

import (
	"math"

	"github.com/chanseal/chanseal/media/ebml"
)

// children calls f with every child of a master that lies in memory at the
// stream's offset base, after a check of its CRC-32.
func children(body []byte, base int64, f func(id ebml.ID, body []byte, base int64) error) error {
	if err := ebml.CheckCRC(body); err != nil {
		return fromEBML(err, base)
	}
	for len(body) > 0 {
		h, b, rest, err := ebml.Split(body)
		if err != nil {
			return fromEBML(err, base)
		}
		if err := f(h.ID, b, base+int64(h.Len())); err != nil {
			return err
		}
		base += int64(len(body) - len(rest))
		body = rest
	}
	return nil
}

// value reads a child's number into one of the fields of Info; no bytes keep
// the default that is there already (RFC 8794, Section 6.1).
func value(body []byte, base int64, into any) error {
	if len(body) == 0 {
		return nil
	}
	var err error
	switch p := into.(type) {
	case *uint64:
		*p, err = ebml.Uint(body)
	case *float64:
		*p, err = ebml.Float(body)
		if math.IsNaN(*p) || math.IsInf(*p, 0) || *p < 0 {
			return damaged(FormatMatroska, base, "value is not a number in range")
		}
	default:
		panic("media: value of an unknown type")
	}
	return fromEBML(err, base)
}

// parseEBMLHeader checks that the document is one this package reads
// (RFC 9559, Section 5.1.1 and RFC 8794, Section 11.2).
func parseEBMLHeader(body []byte, base int64) error {
	docType := ""
	readVersion, maxID, maxSize := uint64(1), uint64(4), uint64(8)
	err := children(body, base, func(id ebml.ID, body []byte, base int64) error {
		switch id {
		case idDocType:
			docType = ebml.String(body)
		case idEBMLReadVersion:
			return value(body, base, &readVersion)
		case idEBMLMaxIDLength:
			return value(body, base, &maxID)
		case idEBMLMaxSizeLength:
			return value(body, base, &maxSize)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case docType != "matroska" && docType != "webm":
		if len(docType) > 32 {
			docType = docType[:32]
		}
		return unsupported(base, "EBML document of type %q, neither matroska nor webm,", docType)
	case readVersion != 1:
		return unsupported(base, "EBML version %d", readVersion)
	case maxID > 4:
		return unsupported(base, "element IDs of up to %d bytes", maxID)
	case maxSize > 8:
		return unsupported(base, "element sizes of up to %d bytes", maxSize)
	}
	return nil
}

// parseInfo reads the Segment's Info into info (RFC 9559, Section 5.1.2).
func parseInfo(info *Info, body []byte, base int64) error {
	info.TimestampScale = 1_000_000
	err := children(body, base, func(id ebml.ID, body []byte, base int64) error {
		switch id {
		case idTimestampScale:
			return value(body, base, &info.TimestampScale)
		case idDuration:
			return value(body, base, &info.Duration)
		}
		return nil
	})
	if err == nil && info.TimestampScale == 0 {
		err = damaged(FormatMatroska, base, "TimestampScale of 0")
	}
	return err
}

// parseTracks reads the Segment's Tracks (RFC 9559, Section 5.1.4).
func (r *mkvReader) parseTracks(body []byte, base int64) error {
	return children(body, base, func(id ebml.ID, body []byte, base int64) error {
		if id != idTrackEntry {
			return nil
		}
		t, known, err := parseTrack(body, base)
		switch {
		case err != nil:
			return err
		case r.known[t.Number] != nil:
			return damaged(FormatMatroska, base, "second track with number %d", t.Number)
		case len(r.info.Tracks) == maxTracks:
			return tooLarge(FormatMatroska, base, "more than %d tracks", maxTracks)
		}
		r.known[t.Number] = known
		r.info.Tracks = append(r.info.Tracks, t)
		return nil
	})
}

func parseTrack(body []byte, base int64) (Track, *knownTrack, error) {
	var t Track
	var private []byte
	encoded := false
	trackType, scale := uint64(0), 1.0
	err := children(body, base, func(id ebml.ID, body []byte, base int64) error {
		switch id {
		case idTrackNumber:
			return value(body, base, &t.Number)
		case idTrackType:
			return value(body, base, &trackType)
		case idCodecID:
			if len(body) > maxCodecID {
				return tooLarge(FormatMatroska, base, "CodecID of more than %d bytes", maxCodecID)
			}
			t.CodecID = ebml.String(body)
		case idDefaultDuration:
			return value(body, base, &t.DefaultDuration)
		case idCodecDelay:
			return value(body, base, &t.CodecDelay)
		case idSeekPreRoll:
			return value(body, base, &t.SeekPreRoll)
		case idCodecPrivate:
			private = body
		case idContentEncodings:
			encoded = true
		case idTrackTimestampScale:
			return value(body, base, &scale)
		case idVideo:
			return children(body, base, t.parseVideo)
		case idAudio:
			t.SampleRate, t.Channels = 8000, 1
			return children(body, base, t.parseAudio)
		}
		return nil
	})
	switch {
	case err != nil:
		return t, nil, err
	case t.Number == 0 || t.Number > ebml.MaxSize:
		return t, nil, damaged(FormatMatroska, base, "track without a number")
	case trackType == 0 || trackType > 254:
		return t, nil, damaged(FormatMatroska, base, "track %d of type %d", t.Number, trackType)
	case scale != 1:
		return t, nil, unsupported(base, "track %d with a TrackTimestampScale other than 1", t.Number)
	}
	t.Type = TrackType(trackType)
	known := &knownTrack{perFrame: t.DefaultDuration}
	if t.Type == TrackAudio && !encoded { // what is compressed tells nothing
		known.spanner = newSpanner(&t, private)
	}
	return t, known, nil
}

func (t *Track) parseVideo(id ebml.ID, body []byte, base int64) error {
	switch id {
	case idPixelWidth:
		return value(body, base, &t.Width)
	case idPixelHeight:
		return value(body, base, &t.Height)
	case idDisplayWidth:
		return value(body, base, &t.DisplayWidth)
	case idDisplayHeight:
		return value(body, base, &t.DisplayHeight)
	case idDisplayUnit:
		return value(body, base, &t.DisplayUnit)
	case idAlphaMode:
		return value(body, base, &t.AlphaMode)
	}
	return nil
}

func (t *Track) parseAudio(id ebml.ID, body []byte, base int64) error {
	switch id {
	case idSamplingFrequency:
		return value(body, base, &t.SampleRate)
	case idOutputSamplingFreq:
		return value(body, base, &t.OutputSampleRate)
	case idChannels:
		return value(body, base, &t.Channels)
	case idBitDepth:
		return value(body, base, &t.BitDepth)
	}
	return nil
}
