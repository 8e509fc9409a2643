package keyring

import (
	"encoding/binary"
	"slices"
)

// fields are what a record holds beside what every record has, by number. Fields
// may restrict what a secret may be used for: a program that does not know one
// refuses the record with ErrVersion.
type fields []field

type field struct {
	id    uint16
	value []byte
}

// The fields of a channel.
const (
	fieldKeeper uint16 = 1 // who else keeps the channel: see keeper
)

// The fields of an epoch.
const (
	fieldBarred uint16 = 1 // BE16 sender numbers that live Receivers refuse, in ascending order
)

// maxFields bounds the fields of a channel, and those of an epoch.
const maxFields = 32

// get returns a field's value, nil if there is none.
func (f fields) get(id uint16) []byte {
	for i := range f {
		if f[i].id == id {
			return f[i].value
		}
	}
	return nil
}

// set returns the fields with one replaced; a nil value removes it.
func (f fields) set(id uint16, value []byte) fields {
	out := slices.DeleteFunc(slices.Clone(f), func(x field) bool { return x.id == id })
	if value != nil {
		out = append(out, field{id, value})
	}
	slices.SortFunc(out, func(a, b field) int { return int(a.id) - int(b.id) })
	return out
}

// append writes BE16(number of fields) ‖ for each, by ascending number: BE16(number) ‖ BE32(length) ‖ value.
func (f fields) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(f)))
	for _, x := range f {
		b = binary.BigEndian.AppendUint16(b, x.id)
		b = binary.BigEndian.AppendUint32(b, uint32(len(x.value)))
		b = append(b, x.value...)
	}
	return b
}

func (f fields) size() int {
	n := 2
	for _, x := range f {
		n += 2 + 4 + len(x.value)
	}
	return n
}

// fields reads what append wrote, and copies it. known says which numbers this
// version knows: another one sets newer.
func (d *decoder) fields(known func(id uint16) bool) (out fields) {
	n := int(d.u16())
	if n > maxFields {
		d.bad = true
	}
	for i := 0; i < n && !d.bad; i++ {
		f := field{id: d.u16()}
		f.value = slices.Clone(d.next(int(min(d.u32(), 1<<30))))
		if i > 0 && f.id <= out[i-1].id {
			d.bad = true
		}
		if !known(f.id) {
			d.newer = true
		}
		out = append(out, f)
	}
	return out
}

// knownChannelField and knownEpochField are where a new field is announced.
func knownChannelField(id uint16) bool { return id == fieldKeeper }

func knownEpochField(id uint16) bool { return id == fieldBarred }

func encodeNumbers(numbers []uint16) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// decodeNumbers reads an ascending list; ok says that it is one.
func decodeNumbers(b []byte) (out []uint16, ok bool) {
	for ; len(b) >= 2; b = b[2:] {
		n := binary.BigEndian.Uint16(b)
		if len(out) > 0 && n <= out[len(out)-1] {
			return nil, false
		}
		out = append(out, n)
	}
	return out, len(b) == 0
}
