package keyring

import (
	"encoding/binary"
	"time"
)

// decoder reads the fields of a record in order. After the first field that is
// not there, everything is zero and bad is set.
type decoder struct {
	b     []byte
	bad   bool
	newer bool // it has what this version does not know
}

// next returns n bytes of the record itself, not a copy.
func (d *decoder) next(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad = true
	}
	if d.bad {
		d.b = nil
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) u8() uint8 {
	if b := d.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if b := d.next(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.next(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.next(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) str() string { return string(d.bytes()) }

// bytes reads BE16(length) ‖ bytes.
func (d *decoder) bytes() []byte { return d.next(int(d.u16())) }

// time reads a moment: BE64 nanoseconds since 1970 UTC, 0 for none.
func (d *decoder) time() time.Time {
	if ns := int64(d.u64()); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

// done reports that the record was read to its end, without a field missing.
func (d *decoder) done() bool { return !d.bad && len(d.b) == 0 }
