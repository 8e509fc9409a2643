package channelkey

import (
	"fmt"
	"strconv"
	"strings"
)

// The vendor's limits on names, in bytes.
const (
	maxChannel = 63
	maxAccount = 255
	maxString  = 1<<16 - 1 // what a length field of 16 bits can hold
)

// User says for whom a key is, in the form that 006 and 007 sign: "" is anybody
// (uid 0), a decimal number is that uid, any other text is an account. Note that
// User("0") is the account "0" and not uid 0; make users with UID and Account.
type User string

// Anybody is uid 0: in a key it lets every user in, in a claim it is a person who
// gave no uid.
const Anybody User = ""

// UID returns the user of a number; 0 is Anybody.
func UID(uid uint32) User {
	if uid == 0 {
		return Anybody
	}
	return User(strconv.FormatUint(uint64(uid), 10))
}

// Account returns the user of a text account.
func Account(name string, l Legacy) (User, error) {
	return User(name), User(name).check(l)
}

// UID returns the user's number, and whether it has one: 0 for Anybody, false for
// accounts that are not a number of 32 bits in its shortest decimal form.
func (u User) UID() (uint32, bool) {
	if u == Anybody {
		return 0, true
	}
	if u[0] == '0' || len(u) > 10 {
		return 0, false
	}
	var n uint64
	for i := range len(u) {
		d := u[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + uint64(d)
	}
	return uint32(n), n < 1<<32
}

func (u User) check(l Legacy) error {
	switch {
	case u == "0" && !l.ZeroAccount:
		return fmt.Errorf(`channelkey: account "0" is not uid 0, give UID(0) for everybody or another account (or set Legacy.ZeroAccount)`)
	case len(u) > maxString:
		return fmt.Errorf("channelkey: account has %d bytes, at most %d can be written", len(u), maxString)
	case l.Names:
		return nil
	case len(u) > maxAccount:
		return fmt.Errorf("channelkey: account has %d bytes, give at most %d (or set Legacy.Names)", len(u), maxAccount)
	}
	if i := badNameByte(string(u)); i >= 0 {
		return fmt.Errorf("channelkey: account has the character %q at byte %d, use letters, digits, space and %s (or set Legacy.Names)", runeAt(string(u), i), i, namePunctuation)
	}
	return nil
}

// CheckChannel reports what is wrong with a channel name: it has 1 to 63 bytes of
// a-z, A-Z, 0-9, space and !#$%&()+-:;<=.>?@[]^_{}|~,
func CheckChannel(name string, l Legacy) error {
	switch {
	case len(name) > maxString:
		return fmt.Errorf("channelkey: channel name has %d bytes, at most %d can be written", len(name), maxString)
	case l.Names:
		return nil
	case name == "":
		return fmt.Errorf("channelkey: channel name is empty, give 1 to %d bytes (or set Legacy.Names)", maxChannel)
	case len(name) > maxChannel:
		return fmt.Errorf("channelkey: channel name has %d bytes, give at most %d (or set Legacy.Names)", len(name), maxChannel)
	}
	if i := badNameByte(name); i >= 0 {
		return fmt.Errorf("channelkey: channel name has the character %q at byte %d, use letters, digits, space and %s (or set Legacy.Names)", runeAt(name, i), i, namePunctuation)
	}
	return nil
}

const namePunctuation = "!#$%&()+-:;<=.>?@[]^_{}|~,"

var nameBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == ' ' ||
			c < 0x80 && strings.IndexByte(namePunctuation, byte(c)) >= 0
	}
	return t
}()

// badNameByte returns the place of the first byte outside the 89 characters, or -1.
func badNameByte(s string) int {
	for i := range len(s) {
		if !nameBytes[s[i]] {
			return i
		}
	}
	return -1
}

func runeAt(s string, i int) rune {
	for _, r := range s[i:] {
		return r
	}
	return 0
}

// validChannel and validUser are the checks without the words, for Verify.
func validChannel(name string, l Legacy) bool {
	if l.Names {
		return len(name) <= maxString
	}
	return name != "" && len(name) <= maxChannel && badNameByte(name) < 0
}

func validUser(u User, l Legacy) bool {
	if u == "0" && !l.ZeroAccount {
		return false
	}
	if l.Names {
		return len(u) <= maxString
	}
	return len(u) <= maxAccount && badNameByte(string(u)) < 0
}

// digits reports whether all of s is decimal digits; it is true of "".
func digits(s string) bool {
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}

// collides reports whether a channel name can be read as another channel's name, a
// uid and an expiry of ten digits each: then a dk1 for it has the signature of a
// dk2 and dk3 for that channel.
func collides(channel string) bool {
	n := len(channel)
	if n < 20 {
		return false
	}
	_, uid := decimal10(channel[n-20 : n-10])
	_, exp := decimal10(channel[n-10:])
	return uid && exp
}

// splices reports whether channel‖user, which is all that a 006 signs, can be cut
// in another place by the rules: a digit before the cut could belong to the user,
// and an account could have begun in the channel.
func splices(channel string, user User) bool {
	if n := len(channel); n > 0 && channel[n-1]-'0' <= 9 {
		return true
	}
	return !digits(string(user))
}
