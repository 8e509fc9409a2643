package channelkey

import (
	"bytes"
	"compress/zlib"
	"io"
	"sync"
)

// inflater is the scratch memory of one decompression.
type inflater struct {
	z   io.ReadCloser
	src bytes.Reader
	out []byte // room for one byte more than is allowed
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// inflate007 returns the payload of a 007 as a string of its own. It stops at
// MaxPayload, and refuses a stream without its end and checksum, and bytes behind it.
func inflate007(token string, scratch []byte) (payload string, room []byte, err error) {
	room, err = decode64(scratch[:0], V007, token, len(prefix007))
	if err != nil {
		return "", room, err
	}
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.src.Reset(room)
	if f.z == nil {
		f.z, err = zlib.NewReader(&f.src)
	} else {
		err = f.z.(zlib.Resetter).Reset(&f.src, nil)
	}
	if err != nil {
		f.z = nil
		return "", room, malformed(V007, len(prefix007), "what it holds is not zlib")
	}
	if cap(f.out) == 0 {
		f.out = make([]byte, 512)
	}
	n := 0
	for err == nil {
		if n == len(f.out) {
			if n > MaxPayload {
				return "", room, malformedPayload(V007, MaxPayload, "it inflates to more than 64 KiB")
			}
			f.out = append(f.out, make([]byte, min(3*n, MaxPayload+1-n))...)
		}
		var k int
		k, err = f.z.Read(f.out[n:])
		n += k
	}
	switch {
	case err != io.EOF:
		// Which byte of the base64 it is can be told only to the group of three.
		at := len(room) - f.src.Len()
		return "", room, malformed(V007, min(len(prefix007)+at/3*4, len(token)), "the zlib stream is cut or damaged")
	case n > MaxPayload:
		return "", room, malformedPayload(V007, MaxPayload, "it inflates to more than 64 KiB")
	case f.src.Len() > 0:
		at := len(room) - f.src.Len()
		return "", room, malformed(V007, len(prefix007)+at/3*4, "there are bytes behind the zlib stream")
	}
	return string(f.out[:n]), room, nil
}
