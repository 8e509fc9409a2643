package channelkey

import "strings"

// Format names one generation of channel keys.
type Format uint8

// The generations, in the order in which they appeared. Zero is none of them.
const (
	DK1       Format = iota + 1 // DynamicKey: 90 characters, HMAC-SHA1, no user
	DK2                         // DynamicKey2: 110 characters, HMAC-SHA1
	DK3                         // DynamicKey3: "003" and the text of a DK2
	DK4                         // DynamicKey4: "004", HMAC-SHA1, user and service signed but not told
	DK5                         // DynamicKey5: "005", HMAC-SHA1 in base64, permissions
	Signaling                   // signaling token 1: "1:", MD5
	V006                        // AccessToken: "006", HMAC-SHA256, privileges
	V007                        // AccessToken2: "007", HMAC-SHA256 in zlib, services
	StaticID                    // a bare App ID: no key at all

	formatCount
)

// field is a set of the things a key is about.
type field uint8

const (
	fieldChannel field = 1 << iota
	fieldUser
	fieldService
	fieldExpiry
)

// formatRow says what is particular to a format.
type formatRow struct {
	name   string
	told   field  // what the text says in clear
	signed field  // what the signature covers, told or not
	legacy bool   // rests on SHA-1 or MD5, which FIPS 140 does not approve
	note   string // the format's weakness, for a person
}

var formatRows = [formatCount]formatRow{
	DK1: {name: "dk1", signed: fieldChannel, legacy: true,
		note: "lets any user in; its signature also fits a dk2 or dk3 whose channel, uid and expiry run together to the same text"},
	DK2: {name: "dk2", told: fieldUser | fieldExpiry, signed: fieldChannel | fieldUser | fieldExpiry, legacy: true,
		note: "the version is not signed: the same signature makes a dk3, and a dk1 for channel, uid and expiry run together"},
	DK3: {name: "dk3", told: fieldUser | fieldExpiry, signed: fieldChannel | fieldUser | fieldExpiry, legacy: true,
		note: "the version is not signed: the same signature makes a dk2, and a dk1 for channel, uid and expiry run together"},
	DK4: {name: "dk4", told: fieldExpiry, signed: fieldChannel | fieldUser | fieldService | fieldExpiry, legacy: true,
		note: "does not say for which user and service it was made"},
	DK5: {name: "dk5", told: fieldService | fieldExpiry, signed: fieldChannel | fieldUser | fieldService | fieldExpiry, legacy: true,
		note: "does not say for which user it was made"},
	Signaling: {name: "signaling", told: fieldService | fieldExpiry, signed: fieldUser | fieldExpiry, legacy: true,
		note: "rests on MD5 over account and certificate run together, which is no message authentication code"},
	V006: {name: "006", told: fieldService | fieldExpiry, signed: fieldChannel | fieldUser | fieldService | fieldExpiry,
		note: "channel and user are signed run together: room/123 and room1/23 have one signature"},
	V007:     {name: "007", told: fieldChannel | fieldUser | fieldService | fieldExpiry, signed: fieldChannel | fieldUser | fieldService | fieldExpiry},
	StaticID: {name: "app-id", note: "an App ID is public: it keeps nobody out"},
}

// String returns the format's name, such as "dk4" or "007".
func (f Format) String() string {
	if f == 0 || f >= formatCount {
		return "unknown"
	}
	return formatRows[f].name
}

// ParseFormat returns the format of the given name: dk1 … dk5, signaling, 006 or
// 007. The spellings 001 … 005 are understood as well.
func ParseFormat(name string) (Format, bool) {
	for f := DK1; f <= V007; f++ {
		if strings.EqualFold(name, formatRows[f].name) || f <= DK5 && name == "00"+formatRows[f].name[2:] {
			return f, true
		}
	}
	return 0, false
}

// Formats is a set of formats; the zero value stands for all of them.
type Formats uint16

// FormatSet returns the set of the given formats.
func FormatSet(f ...Format) Formats {
	var s Formats
	for _, f := range f {
		s |= 1 << f
	}
	return s
}

func (s Formats) has(f Format) bool { return s == 0 || s&(1<<f) != 0 }

// MaxTokenLen is the longest text, in bytes, that is looked at: enough for a 007
// whose payload is [MaxPayload] bytes that do not compress.
const MaxTokenLen = 88 << 10

// MaxPayload is the largest payload, in bytes, that a 007 may inflate to.
const MaxPayload = 64 << 10

// Recognise returns the format that the text has the form of, without checking
// more than its beginning and its length. The old keys come first: their leading
// signature digits may look like a later version number by chance.
func Recognise(token string) (Format, bool) {
	return recognise(token, 32)
}

// recognise is Recognise for keys whose App ID has idLen characters.
func recognise(token string, idLen int) (Format, bool) {
	for f := DK1; f <= DK4; f++ {
		r := &dkRows[f]
		if len(token) == r.length(idLen) && strings.HasPrefix(token, r.prefix) &&
			(r.prefix != "" || lowerHexLen(token) >= sha1HexLen) {
			return f, true
		}
	}
	switch {
	case len(token) > MaxTokenLen:
		return 0, false
	case strings.HasPrefix(token, "003"):
		return DK3, true
	case strings.HasPrefix(token, "004"):
		return DK4, true
	case strings.HasPrefix(token, "005"):
		return DK5, true
	case strings.HasPrefix(token, "006"):
		return V006, true
	case strings.HasPrefix(token, "007"):
		return V007, true
	case strings.HasPrefix(token, "1:"):
		return Signaling, true
	case isID(token):
		return StaticID, true
	}
	return 0, false
}

// lowerHexLen returns how many lower-case hexadecimal digits s begins with.
func lowerHexLen(s string) int {
	for i := range len(s) {
		if v := hexValues[s[i]]; v > 15 {
			return i
		}
	}
	return len(s)
}
