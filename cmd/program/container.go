package program

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/media/ebml"
)

// sealedExtension is what seal makes names of.
const sealedExtension = ".sealed.mkv"

// extensions lists those that ask for a container, the usual one first.
var extensions = map[media.Format][]string{
	media.FormatMatroska: {".mkv", ".webm", ".mka", ".mks", ".mk3d"},
	media.FormatIVF:      {".ivf"},
	media.FormatOgg:      {".ogg", ".opus", ".oga"},
	media.FormatH264:     {".h264", ".264", ".avc"},
	media.FormatH265:     {".h265", ".265", ".hevc"},
}

// foreignExtensions ask for containers that this program does not write.
var foreignExtensions = []string{
	".mp4", ".m4v", ".m4a", ".mov", ".qt", ".3gp", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".flv", ".f4v",
	".wmv", ".wma", ".asf", ".mxf", ".ogv", ".ogm", ".obu", ".av1", ".vp8", ".vp9", ".wav", ".flac", ".mp3", ".aac", ".ac3",
	".amr", ".aiff", ".au", ".rm", ".y4m", ".gif", ".webp",
}

// containerFor says which container to write a recording in, if the output has this
// name: its own, or Matroska if the name asks for it. A name with an extension that
// asks for nothing gets the recording's own.
func containerFor(path string, own media.Format) (media.Format, error) {
	ext := strings.ToLower(filepath.Ext(path))
	asked := media.Format(0)
	for format, all := range extensions {
		if slices.Contains(all, ext) {
			asked = format
		}
	}
	switch {
	case asked == 0 && !slices.Contains(foreignExtensions, ext), asked == own:
		return own, nil
	case asked == media.FormatMatroska:
		return asked, nil
	}
	hint := "name the output *" + extensions[own][0] + " or *.mkv"
	if own == media.FormatMatroska {
		hint = "name the output *.mkv or *.webm"
	}
	return 0, &failure{
		err:   fmt.Errorf("%s: the recording inside is %s, which %s files do not hold", path, containerName(own), ext),
		code:  exitUsage,
		hints: []string{hint},
	}
}

func containerName(f media.Format) string {
	switch f {
	case media.FormatMatroska:
		return "Matroska or WebM"
	case media.FormatIVF:
		return "IVF"
	case media.FormatOgg:
		return "Ogg"
	case media.FormatH264:
		return "an H.264 byte stream"
	case media.FormatH265:
		return "an H.265 byte stream"
	}
	return f.String()
}

// sealedName is the name that seal gives its output.
func sealedName(in string) string { return withExtension(in, sealedExtension) }

// openedName is the name that open gives its output: the input's, with the extension of
// what is inside. head is the recording's first element.
func openedName(in string, info *media.Info, head []byte) string {
	stem, ok := strings.CutSuffix(in, sealedExtension)
	if !ok {
		stem = strings.TrimSuffix(in, filepath.Ext(in))
	}
	return stem + ownExtension(info, head)
}

// ownExtension is the usual one of a recording.
func ownExtension(info *media.Info, head []byte) string {
	if info.Format != media.FormatMatroska {
		return extensions[info.Format][0]
	}
	if docType(head) == "webm" {
		return ".webm"
	}
	ext := ".mks"
	for _, t := range info.Tracks {
		switch t.Type {
		case media.TrackVideo:
			return ".mkv"
		case media.TrackAudio:
			ext = ".mka"
		}
	}
	return ext
}

// docType reads the DocType from an EBML header (RFC 8794, Section 11.2.6); "" if it is
// not there.
func docType(head []byte) string {
	h, body, _, err := ebml.Split(head)
	if err != nil || h.ID != ebml.IDHeader {
		return ""
	}
	for len(body) > 0 {
		var text []byte
		if h, text, body, err = ebml.Split(body); err != nil {
			return ""
		}
		if h.ID == 0x4282 {
			return strings.TrimRight(string(text), "\x00")
		}
	}
	return ""
}
