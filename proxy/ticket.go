package proxy

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// holder is who was admitted: what a session needs to know to be counted and to be
// ended, and no name of anybody.
type holder struct {
	customer uint32 // index of the app; staticCustomer for static users
	card     channelkey.CardID
	cert     channelkey.CertificateID
	channel  pseudonym
	user     pseudonym
	end      int64 // unix seconds; the session ends then. 0: never (static users only)
}

// pseudonym stands for a name: a keyed hash that relays of one secret share.
type pseudonym [16]byte

const staticCustomer = 1<<32 - 1

// tickets makes and reads time-limited credentials. A ticket's username is
// "expiry:" and a sealed holder, the password an HMAC of the username: the form of
// TURN credentials that WebRTC servers hand out. Every relay with the same secret can
// check one without asking anybody, and who sees one on the wire learns nothing
// about its holder.
type tickets struct {
	aead     cipher.AEAD
	password []byte
	names    []byte
}

const ticketVersion = 1

// ticketLen is the length of a sealed holder in clear: version, customer, end, and
// four times 16 bytes.
const ticketLen = 1 + 4 + 8 + 4*16

func newTickets(secret []byte) (*tickets, error) {
	if len(secret) < 16 {
		return nil, errors.New("proxy: the credential secret is shorter than 16 bytes, give 32 random ones")
	}
	derive := func(info string) []byte {
		k, err := hkdf.Key(sha256.New, secret, nil, "chanseal proxy 1 "+info, 32)
		if err != nil {
			panic(err) // 32 bytes of SHA-256 are always there
		}
		return k
	}
	key := derive("ticket")
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &tickets{aead: aead, password: derive("password"), names: derive("names")}, nil
}

// randomSecret is for relays that need not share credentials.
func randomSecret() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails: it ends the program instead
	return b
}

func (t *tickets) pseudonym(kind, name string) (p pseudonym) {
	m := hmac.New(sha256.New, t.names)
	m.Write([]byte(kind))
	m.Write([]byte{0})
	m.Write([]byte(name))
	copy(p[:], m.Sum(nil))
	return p
}

var ticketText = base64.RawURLEncoding

// issue makes the credentials of a holder; h.end must be set.
func (t *tickets) issue(h holder) (username, password string) {
	b := make([]byte, 0, ticketLen)
	b = append(b, ticketVersion)
	b = binary.BigEndian.AppendUint32(b, h.customer)
	b = binary.BigEndian.AppendUint64(b, uint64(h.end))
	b = append(b, h.card[:]...)
	b = append(b, h.cert[:]...)
	b = append(b, h.channel[:]...)
	b = append(b, h.user[:]...)
	expiry := strconv.FormatInt(h.end, 10) + ":"
	username = expiry + ticketText.EncodeToString(t.aead.Seal(nil, nil, b, []byte(expiry)))
	return username, t.passwordOf(username)
}

func (t *tickets) passwordOf(username string) string {
	m := hmac.New(sha256.New, t.password)
	m.Write([]byte(username))
	return ticketText.EncodeToString(m.Sum(nil))
}

// isTicket reports whether a username looks like a ticket's.
func isTicket(username string) bool {
	n := strings.IndexByte(username, ':')
	if n <= 0 || n > 19 {
		return false
	}
	for _, c := range []byte(username[:n]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

var errTicket = errors.New("proxy: not a credential of ours, or expired")

// read returns the holder of a ticket, and the password that proves it. The caller
// has proved nothing before it shows that password.
func (t *tickets) read(username string, now time.Time) (h holder, password string, err error) {
	if !isTicket(username) || len(username) > 256 {
		return holder{}, "", errTicket
	}
	expiry, text, _ := strings.Cut(username, ":")
	sealed, err := ticketText.Strict().DecodeString(text)
	if err != nil {
		return holder{}, "", errTicket
	}
	b, err := t.aead.Open(nil, nil, sealed, []byte(expiry+":"))
	if err != nil || len(b) != ticketLen || b[0] != ticketVersion {
		return holder{}, "", errTicket
	}
	h.customer = binary.BigEndian.Uint32(b[1:])
	h.end = int64(binary.BigEndian.Uint64(b[5:]))
	b = b[13:]
	copy(h.card[:], b)
	copy(h.cert[:], b[16:])
	copy(h.channel[:], b[32:])
	copy(h.user[:], b[48:])
	if expiry != strconv.FormatInt(h.end, 10) || now.Unix() >= h.end {
		return holder{}, "", errTicket
	}
	return h, t.passwordOf(username), nil
}
