// Package recording keeps sealed RTP as it was received, without any key.
//
// A recording is a file in the format of rtptools, rtpdump 1.0, which Wireshark reads
// and writes as well: a line of text, a header, and then every packet with its length
// and the milliseconds since the first. The packets hold SFrame ciphertexts
// (draft-ietf-avtcore-rtp-sframe); what is in clear on the wire, RTP headers and sizes,
// is in clear in the file.
//
//	"#!rtpplay1.0 " ADDRESS "/" PORT "\n"
//	start: seconds (32 bits), microseconds (32); source address (32), port (16), 0 (16)
//	packet: length of this header and the packet (16), length of an RTP packet, or 0
//	for RTCP (16), milliseconds since the start (32); the packet
//
// All numbers are big-endian. A file whose writer was killed lacks its tail, and nothing
// else: a Reader gives every whole packet and then says that the rest is torn.
package recording

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strings"
	"time"
)

// Magic is how a recording begins.
const Magic = "#!rtpplay1.0 "

const (
	headerSize = 16
	recordSize = 8
	// MaxPacket is the longest packet in bytes that a record can hold.
	MaxPacket = math.MaxUint16 - recordSize
	maxLine   = 256 // of text, in bytes
)

var (
	// ErrNotRecording says that what is read is no recording of RTP.
	ErrNotRecording = errors.New("recording: not an rtpdump file")
	// ErrTorn says that a recording ends within a packet.
	ErrTorn = errors.New("recording: the file ends within a packet")
	// ErrTooLong says that a packet, or the recording, is longer than the format allows.
	ErrTooLong = errors.New("recording: longer than the format allows")
)

// Packet is one packet of a recording.
type Packet struct {
	At   time.Duration // since the start, in whole milliseconds
	RTCP bool
	Data []byte
}

// Writer writes a recording. It is for one goroutine, and keeps nothing back: what
// Write was given is w's.
type Writer struct {
	w     io.Writer
	start time.Time
	buf   []byte
}

// NewWriter begins a recording of what arrives at an address. Of an IPv6 address only
// the line of text tells; the header has no room for it.
func NewWriter(w io.Writer, start time.Time, at netip.AddrPort) (*Writer, error) {
	b := fmt.Appendf(nil, "%s%s/%d\n", Magic, at.Addr().Unmap(), at.Port())
	b = binary.BigEndian.AppendUint32(b, uint32(start.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(start.Nanosecond()/1000))
	var source [4]byte
	if a := at.Addr().Unmap(); a.Is4() {
		source = a.As4()
	}
	b = append(b, source[:]...)
	b = binary.BigEndian.AppendUint16(b, at.Port())
	b = append(b, 0, 0)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	return &Writer{w: w, start: start}, nil
}

// Write appends a packet that came at this time, in one call of the Writer below.
// Times before the start count as the start.
func (w *Writer) Write(pkt []byte, rtcp bool, now time.Time) error {
	since := max(0, now.Sub(w.start)).Milliseconds()
	if len(pkt) > MaxPacket || len(pkt) == 0 || since > math.MaxUint32 {
		return ErrTooLong
	}
	b := binary.BigEndian.AppendUint16(w.buf[:0], uint16(recordSize+len(pkt)))
	length := uint16(len(pkt))
	if rtcp {
		length = 0
	}
	b = binary.BigEndian.AppendUint16(b, length)
	b = binary.BigEndian.AppendUint32(b, uint32(since))
	w.buf = append(b, pkt...)
	_, err := w.w.Write(w.buf)
	return err
}

// Reader reads a recording.
type Reader struct {
	r     *bufio.Reader
	start time.Time
	at    netip.AddrPort
	buf   []byte
}

// Is reports whether a file with this beginning, of len(Magic) bytes or more, is a
// recording.
func Is(head []byte) bool { return bytes.HasPrefix(head, []byte(Magic)) }

// NewReader reads the header of a recording.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReaderSize(r, MaxPacket+recordSize)
	line, err := b.Peek(maxLine)
	if err != nil && err != io.EOF {
		return nil, err
	}
	n := bytes.IndexByte(line, '\n')
	if n < 0 || !Is(line) {
		return nil, ErrNotRecording
	}
	var at netip.AddrPort // which is only told: an odd one does no harm
	if address, port, ok := strings.Cut(string(line[len(Magic):n]), "/"); ok {
		if a, err := netip.ParseAddr(address); err == nil {
			if p, err := netip.ParseAddrPort("0.0.0.0:" + port); err == nil {
				at = netip.AddrPortFrom(a, p.Port())
			}
		}
	}
	b.Discard(n + 1)
	var head [headerSize]byte
	if _, err := io.ReadFull(b, head[:]); err != nil {
		return nil, torn(err)
	}
	start := time.Unix(int64(binary.BigEndian.Uint32(head[:])), int64(binary.BigEndian.Uint32(head[4:]))*1000)
	return &Reader{r: b, start: start, at: at}, nil
}

// Start is when the recording began.
func (r *Reader) Start() time.Time { return r.start }

// Address is where the packets arrived, or the zero value if the file does not say.
func (r *Reader) Address() netip.AddrPort { return r.at }

// Next reads a packet, which is valid until the next call. It returns io.EOF at the
// end, and an error that is ErrTorn if that is within a packet.
func (r *Reader) Next() (Packet, error) {
	var head [recordSize]byte
	if _, err := io.ReadFull(r.r, head[:]); err == io.EOF {
		return Packet{}, io.EOF
	} else if err != nil {
		return Packet{}, torn(err)
	}
	length, rtp := int(binary.BigEndian.Uint16(head[:])), int(binary.BigEndian.Uint16(head[2:]))
	length -= recordSize
	if length < 0 || rtp > MaxPacket {
		return Packet{}, ErrNotRecording
	}
	if cap(r.buf) < length {
		r.buf = make([]byte, MaxPacket)
	}
	b := r.buf[:length]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return Packet{}, torn(err)
	}
	// A packet that was recorded in part (rtp > length) can still be looked at.
	if rtp != 0 && rtp < length {
		b = b[:rtp]
	}
	return Packet{At: time.Duration(binary.BigEndian.Uint32(head[4:])) * time.Millisecond, RTCP: rtp == 0, Data: b}, nil
}

func torn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTorn
	}
	return err
}
