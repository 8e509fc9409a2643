package keyring

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// A channel's record, the payload of a sealed record of kind "channel", in format 2:
//
//	str(name) ‖ BE16(suite of the next epoch) ‖ policy ‖ pending ‖ owed ‖ BE64(floor) ‖ fields ‖
//	BE16(number of epochs) ‖ for each, from number floor+1 on:
//	  kind (1 byte) ‖ state (1 byte) ‖ BE16(suite) ‖ created ‖ activate_at ‖ activated ‖ retired ‖ until ‖ str(reason) ‖
//	  secret (32 bytes; absent if the state is forgotten) ‖ fields
//	policy  = BE64(frames) ‖ BE64(age) ‖ BE64(grace) ‖ BE64(delay) ‖ BE64(debounce) ‖ on_join (1) ‖ on_leave (1) ‖ ahead (1)
//	pending = turn (1; 0 = none, and then nothing follows) ‖ due ‖ BE64(after) ‖ str(reason)
//	fields  = BE16(number) ‖ for each, ascending: BE16(field) ‖ BE32(length) ‖ value
//
// Moments are BE64 nanoseconds since 1970 UTC, 0 for none; durations are BE64
// nanoseconds in two's complement. Format 1, which is still read, has no delay,
// debounce, on_join, on_leave, ahead, pending, fields and activate_at, and random
// epochs only. Anything that is not known is ErrVersion: it may restrict what the
// secrets may be used for.
const channelFormat = 2

func (s *state) encode() []byte {
	size := 128 + len(s.name) + 2*MaxReason + s.more.size()
	for i := range s.epochs {
		size += 96 + MaxReason + s.epochs[i].more.size() + 2*len(s.epochs[i].barred)
	}
	b := make([]byte, 0, size) // large enough never to grow: no copy of a secret is left behind
	b = str(b, s.name)
	b = binary.BigEndian.AppendUint16(b, uint16(s.suite))
	b = s.policy.append(b)
	b = s.pending.append(b)
	b = appendTime(b, s.owed)
	b = binary.BigEndian.AppendUint64(b, s.floor)
	b = s.more.append(b)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.epochs)))
	for i := range s.epochs {
		e := &s.epochs[i]
		b = append(b, byte(e.kind), byte(e.state))
		b = binary.BigEndian.AppendUint16(b, uint16(e.suite))
		for _, t := range [...]time.Time{e.created, e.activateAt, e.activated, e.retired, e.until} {
			b = appendTime(b, t)
		}
		b = str(b, e.reason)
		if e.state != Forgotten {
			b = append(b, e.secret.key[:]...)
		}
		more := e.more
		if len(e.barred) > 0 {
			more = more.set(fieldBarred, encodeNumbers(e.barred))
		}
		b = more.append(b)
	}
	return b
}

func (p Policy) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.Frames)
	for _, d := range [...]time.Duration{p.Age, p.Grace, p.Delay, p.Debounce} {
		b = binary.BigEndian.AppendUint64(b, uint64(d))
	}
	ahead := byte(0)
	if p.Ahead {
		ahead = 1
	}
	return append(b, byte(p.OnJoin), byte(p.OnLeave), ahead)
}

func (d *decoder) policy(format byte) Policy {
	p := Policy{Frames: d.u64(), Age: time.Duration(d.u64()), Grace: time.Duration(d.u64())}
	if format == 1 {
		p.Delay, p.Debounce, p.OnJoin, p.OnLeave = defaultDelay, defaultDebounce, Keep, Fresh
		return p
	}
	p.Delay, p.Debounce = time.Duration(d.u64()), time.Duration(d.u64())
	p.OnJoin, p.OnLeave = Turn(d.u8()), Turn(d.u8())
	ahead := d.u8()
	p.Ahead = ahead == 1
	d.newer = d.newer || !p.known() || ahead > 1
	return p
}

func (p pending) append(b []byte) []byte {
	b = append(b, byte(p.how))
	if p.how == 0 {
		return b
	}
	b = appendTime(b, p.due)
	b = binary.BigEndian.AppendUint64(b, p.after)
	return str(b, p.reason)
}

func (d *decoder) pending() pending {
	p := pending{how: Turn(d.u8())}
	if p.how == 0 {
		return p
	}
	d.newer = d.newer || p.how > Fresh
	p.due, p.after, p.reason = d.time(), d.u64(), d.str()
	return p
}

// epochLeast is the least bytes of an epoch in a record.
const epochLeast = 1 + 1 + 2 + 4*8 + 2

// decodeState parses what encode made, now or in an older version. It copies
// everything out of b.
func decodeState(format byte, b []byte) (*state, error) {
	d := decoder{b: b}
	s := &state{name: d.str(), suite: cipher.SuiteID(d.u16()), policy: d.policy(format)}
	if format > 1 {
		s.pending, s.owed = d.pending(), d.time()
	}
	s.floor = d.u64()
	if format > 1 {
		s.more = d.fields(knownChannelField)
		if k := s.more.get(fieldKeeper); k != nil {
			if _, ok := decodeKeeper(k); !ok {
				d.bad = true
			}
		}
	}
	n := int(d.u16())
	if n > MaxEpochs || n > len(d.b)/epochLeast {
		d.bad = true
		n = 0
	}
	s.epochs = make([]epoch, 0, n)
	active, staged := 0, 0
	for i := range n {
		e := d.epoch(format)
		e.number = s.floor + 1 + uint64(i)
		switch e.state {
		case Active:
			active++
			s.stored = e.number
		case Staged:
			staged++
		}
		s.epochs = append(s.epochs, e)
		if d.bad || d.newer {
			break
		}
	}
	var err error
	switch {
	case d.newer && !d.bad:
		err = fmt.Errorf("keyring: a channel's record holds what this version does not know: %w", ErrVersion)
	case !d.done() || active > 1 || staged > 1 || checkName(s.name) != nil || s.floor > 1<<62 || len(s.pending.reason) > MaxReason:
		err = fmt.Errorf("keyring: a channel's record is not well formed: %w", ErrDamaged)
	}
	if err != nil {
		s.wipe()
		return nil, err
	}
	return s, nil
}

// epoch reads all of an epoch but its number.
func (d *decoder) epoch(format byte) epoch {
	e := epoch{kind: Kind(d.u8()), state: State(d.u8()), suite: cipher.SuiteID(d.u16()), created: d.time()}
	if format > 1 {
		e.activateAt = d.time()
	}
	e.activated, e.retired, e.until = d.time(), d.time(), d.time()
	e.reason = d.str()
	if d.bad {
		return e
	}
	if !e.kind.known() || format == 1 && e.kind != Random {
		d.newer = true
		return e
	}
	switch e.state {
	case Staged, Active, Retiring:
		if k := d.next(secretSize); k != nil {
			e.secret = secretFrom(k)
		}
	case Forgotten:
	default:
		d.newer = true
		return e
	}
	if format > 1 {
		var ok bool
		e.more = d.fields(knownEpochField)
		e.barred, ok = decodeNumbers(e.more.get(fieldBarred))
		if e.more.get(fieldBarred) != nil && (!ok || len(e.barred) == 0 || len(e.barred) > MaxBarred) {
			d.bad = true
		}
		e.more = e.more.set(fieldBarred, nil)
	}
	return e
}
