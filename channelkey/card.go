package channelkey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// Card is what a channel key says: Mint writes it, Parse reads it. Which fields a
// format has, and in which of them it differs, stands beside each field; Mint
// refuses a card with other fields set.
type Card struct {
	Format Format
	AppID  string // all formats; dk5 holds its 16 bytes only, so Parse gives lower case

	// Channel is signed by dk1-dk5 but not told, so Parse leaves it empty. A 006
	// tells a checksum (see Hash006), and in an RTM key it is the account. A 007
	// has a channel in each service instead.
	Channel string
	// User is signed by dk2-dk5, signaling and 006; Parse knows it for dk2 and dk3.
	User User
	// Service is signed by dk4 and dk5; Parse knows it for dk5. For a 006 Parse
	// gives RTM or Media by the privileges; Mint ignores it there.
	Service Service

	// Issued is a time in unix seconds. In dk1-dk5 and 007 the key was made then;
	// a 006 ends then, which builders set to 24 hours after it was made.
	Issued uint32
	// Expires: dk2-dk5 and signaling end of service in unix seconds, 0 for none;
	// 007 seconds after Issued.
	Expires uint32
	// Random makes two keys of one second differ (the salt in 006 and 007).
	Random uint32

	Extra      []Extra    // dk5: permissions
	Privileges []Grant006 // 006
	Services   []Grant007 // 007

	// Hash006 holds the CRC-32 of channel and user that a 006 tells. Not for Mint.
	Hash006 [2]uint32
	// Opaque is the rest of a 007 payload from a service on that is not known.
	// Not for Mint.
	Opaque []byte

	signature [32]byte // as signed; all zero for a static ID
}

// Extra is one entry of a dk5's map: key 1 is what may be uploaded in the channel,
// "0" nothing and "3" audio and video.
type Extra struct {
	Key   uint16
	Value string
}

// AllowUpload is the key of Extra that says what may be sent in the channel.
const AllowUpload = 1

// Grant006 is a privilege of a 006 and until when it is granted, in unix seconds;
// 0 is as long as the key.
type Grant006 struct {
	Privilege Privilege
	Expires   uint32
}

// Grant007 is a service of a 007.
type Grant007 struct {
	Service    Service
	Channel    string // Media, Streaming, FCDN; APaaS: the room
	User       User   // all but FPA
	Role       int16  // APaaS
	Privileges []PrivilegeLife
	Resources  []Resource // RTM2
}

// PrivilegeLife is a privilege of a 007 and for how many seconds after Issued it
// is granted; 0 is as long as the key.
type PrivilegeLife struct {
	Privilege Privilege
	Seconds   uint32
}

// NewRandom returns a number for Card.Random.
func NewRandom() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return binary.LittleEndian.Uint32(b[:])
}

// CardID names a key's content in replay lists and revocations without telling the
// key: a hash of its signature. The same content in another text (another zlib, a
// dk2 written as dk3, a spliced 006) has the same ID.
type CardID [16]byte

// String returns the ID in hexadecimal.
func (id CardID) String() string { return hex.EncodeToString(id[:]) }

// ParseCardID returns the ID of its hexadecimal form.
func ParseCardID(s string) (id CardID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("channelkey: a card ID is %d hexadecimal digits", 2*len(id))
	}
	return CardID(b), nil
}

// ID returns the card's name. It is meaningless for cards that neither Parse nor
// Verify returned.
func (c *Card) ID() CardID { return cardID(&c.signature) }

func cardID(signature *[32]byte) CardID {
	h := sha256.Sum256(signature[:])
	return CardID(h[:16])
}

// Made returns when the key was made, if it says so; for a 006 by the builders'
// habit of writing 24 hours later.
func (c *Card) Made() (time.Time, bool) {
	switch c.Format {
	case Signaling, StaticID:
		return time.Time{}, false
	case V006:
		return time.Unix(int64(c.Issued)-day, 0), true
	}
	return time.Unix(int64(c.Issued), 0), true
}

// End returns the last moment of a 006, 007 or signaling key itself, or the end of
// service of a dk2-dk5; false if there is none. A verifier may allow less.
func (c *Card) End() (time.Time, bool) {
	switch c.Format {
	case V006:
		return time.Unix(int64(c.Issued), 0), true
	case V007:
		return time.Unix(int64(c.Issued)+int64(c.Expires), 0), true
	case Signaling:
		return time.Unix(int64(c.Expires), 0), true
	}
	return time.Unix(int64(c.Expires), 0), c.Expires != 0
}

// Unproven returns what the text does not say, so that nobody can tell from it:
// of "channel", "user", "service". What is not even signed is left out here and
// said by Warnings.
func (c *Card) Unproven() []string {
	var names []string
	row := &formatRows[c.Format]
	for i, name := range [...]string{"channel", "user", "service"} {
		if f := field(1 << i); row.signed&f != 0 && row.told&f == 0 {
			names = append(names, name)
		}
	}
	return names
}

// Warnings returns the weaknesses of the key's format and content, for a person.
func (c *Card) Warnings() []string {
	var w []string
	row := &formatRows[c.Format]
	if row.note != "" {
		w = append(w, row.note)
	}
	if row.legacy {
		w = append(w, "rests on a hash that is not approved any more (SHA-1, MD5)")
	}
	if c.signsUID() && c.User == Anybody {
		w = append(w, "uid 0: lets every user in")
	}
	for i := range c.Services {
		s := &c.Services[i]
		if s.User == Anybody && serviceRows[s.Service].anyUser {
			w = append(w, fmt.Sprintf("%s: lets every user in", s.Service))
		}
		if s.User == "0" {
			w = append(w, fmt.Sprintf(`%s: the account "0" is not uid 0`, s.Service))
		}
	}
	if len(c.Opaque) > 0 {
		w = append(w, fmt.Sprintf("unknown service: %d bytes cannot be read", len(c.Opaque)))
	}
	if c.Format == V006 && c.Hash006[1] == 0 && c.Service != RTM {
		w = append(w, "uid 0: lets every user in")
	}
	return w
}

// signsUID reports whether User is told by the text.
func (c *Card) signsUID() bool { return formatRows[c.Format].told&fieldUser != 0 && c.Format != V007 }

// foreign returns the name of a field that is set and that the format does not
// have.
func (c *Card) foreign() string {
	row := &formatRows[c.Format]
	switch {
	case c.Channel != "" && (row.signed&fieldChannel == 0 || c.Format == V007):
		return "Channel"
	case c.User != "" && (row.signed&fieldUser == 0 || c.Format == V007):
		return "User"
	case c.Service != 0 && c.Format != DK4 && c.Format != DK5 && c.Format != V006:
		return "Service"
	case c.Issued != 0 && c.Format == Signaling:
		return "Issued"
	case c.Expires != 0 && (row.signed&fieldExpiry == 0 || c.Format == V006):
		return "Expires"
	case c.Random != 0 && c.Format == Signaling:
		return "Random"
	case len(c.Extra) > 0 && c.Format != DK5:
		return "Extra"
	case len(c.Privileges) > 0 && c.Format != V006:
		return "Privileges"
	case len(c.Services) > 0 && c.Format != V007:
		return "Services"
	}
	return ""
}
