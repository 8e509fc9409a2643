package channelkey

import (
	"fmt"
	"math"
)

// Legacy switches off strict rules, one by one, for keys that older issuers made.
// The zero value is strict. Every switch admits keys that are weaker or less
// certain than they look; turn on the one you need, not all.
type Legacy struct {
	// LooseIDs admits App IDs and certificates that are not 32 hexadecimal digits.
	LooseIDs bool
	// PaddedIDs admits dk1 to dk4 whose short App ID is filled up with NUL on the
	// left in the signed message, as the C++ and Python builders did, and makes
	// Mint write them so. It needs LooseIDs.
	PaddedIDs bool
	// Names admits channel names and accounts beyond the vendor's rules: empty,
	// longer than 63 (255) bytes, or outside the 89 characters, such as UTF-8.
	Names bool
	// ZeroAccount admits the account "0" in 006 and 007, which is a person called
	// "0" and not uid 0.
	ZeroAccount bool
	// SplicedNames admits 006 whose channel and user can be told apart in more
	// than one way: a channel name that ends in a digit, or an account that is no
	// number. The holder of such a key can write one for another channel.
	SplicedNames bool
	// CollidingNames admits dk1 for a channel name that ends in twenty digits,
	// which a dk2 or dk3 for another channel can be rewritten to.
	CollidingNames bool
	// WrappedIntegers lets Uint32 wrap numbers outside 0 … 2^32-1.
	WrappedIntegers bool
	// KeepOrder makes Mint write privileges and services in the order given
	// instead of ascending, as the PHP and the old Python builders did.
	KeepOrder bool
	// Incomplete lets Mint write a 007 without services, unknown privileges, and
	// a 006 that mixes privileges of several services.
	Incomplete bool
	// OpaqueServices admits 007 whose services cannot be read, for a claim of the
	// service Opaque: the signature alone is checked.
	OpaqueServices bool
}

// A Switch is one field of Legacy.
type Switch struct {
	Name string // as a flag or in JSON, such as "loose-ids"
	get  func(*Legacy) *bool
}

// On reports whether the switch is set in l.
func (s Switch) On(l Legacy) bool { return *s.get(&l) }

// Set returns l with the switch set to on.
func (s Switch) Set(l Legacy, on bool) Legacy {
	*s.get(&l) = on
	return l
}

// Switches returns every Legacy switch, in the order of the fields.
func Switches() []Switch {
	return []Switch{
		{"loose-ids", func(l *Legacy) *bool { return &l.LooseIDs }},
		{"padded-ids", func(l *Legacy) *bool { return &l.PaddedIDs }},
		{"names", func(l *Legacy) *bool { return &l.Names }},
		{"zero-account", func(l *Legacy) *bool { return &l.ZeroAccount }},
		{"spliced-names", func(l *Legacy) *bool { return &l.SplicedNames }},
		{"colliding-names", func(l *Legacy) *bool { return &l.CollidingNames }},
		{"wrapped-integers", func(l *Legacy) *bool { return &l.WrappedIntegers }},
		{"keep-order", func(l *Legacy) *bool { return &l.KeepOrder }},
		{"incomplete", func(l *Legacy) *bool { return &l.Incomplete }},
		{"opaque-services", func(l *Legacy) *bool { return &l.OpaqueServices }},
	}
}

// Uint32 returns n as the 32-bit number that a key holds. Outside 0 … 2^32-1 it
// is an error, or, with l.WrappedIntegers, what is left modulo 2^32, which is
// what several builders make of a negative uid or random number.
func Uint32(n int64, l Legacy) (uint32, error) {
	if (n < 0 || n > math.MaxUint32) && !l.WrappedIntegers {
		return 0, fmt.Errorf("channelkey: %d does not fit in 32 bits, give a number from 0 to %d (or set Legacy.WrappedIntegers)", n, uint32(math.MaxUint32))
	}
	return uint32(n), nil
}
