package keyring

import (
	"crypto/hkdf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/chanseal/chanseal/cipher"
)

// instanceBits is the size of the instance number in a KID.
const instanceBits = 40

// Origin is what a KID says about a frame: once the frame authenticated, that a
// member of the channel who holds this epoch's secret sealed it, under this
// sender number. It does not prove which member: all members hold the same secret.
type Origin struct {
	Epoch    uint64 // the epoch's number
	Sender   uint16 // the number the Sender was made with
	Instance uint64 // 40 bits, drawn for this Sender and epoch
}

// KID returns the key ID: instance(40) ‖ sender(16) ‖ epoch mod 2^8.
func (o Origin) KID() cipher.KeyID {
	return cipher.KeyID(o.Instance<<24 | uint64(o.Sender)<<8 | o.Epoch&0xFF)
}

// ParseKID takes a key ID apart. Epoch holds the low 8 bits of the number only.
func ParseKID(kid cipher.KeyID) Origin {
	return Origin{Epoch: uint64(kid) & 0xFF, Sender: uint16(kid >> 8), Instance: uint64(kid) >> 24}
}

// baseKey derives a Sender's base key; see the package documentation. The
// caller wipes it.
func baseKey(suite *cipher.Suite, epochSecret secret, channel string, o Origin) ([]byte, error) {
	prk, err := hkdf.Extract(suite.Hash, epochSecret.key[:], nil)
	if err != nil {
		return nil, fmt.Errorf("keyring: derive a base key: %w", err)
	}
	defer clear(prk)
	info := str([]byte("chanseal 1 base key"), channel)
	info = binary.BigEndian.AppendUint64(info, o.Epoch)
	info = binary.BigEndian.AppendUint16(info, uint16(suite.ID()))
	info = binary.BigEndian.AppendUint64(info, uint64(o.Sender))
	info = binary.BigEndian.AppendUint64(info, o.Instance)
	base, err := hkdf.Expand(suite.Hash, prk, string(info), suite.BaseKeySize())
	if err != nil {
		return nil, fmt.Errorf("keyring: derive a base key: %w", err)
	}
	return base, nil
}

// fingerprint names an epoch's secret without telling anything of it: 128 bits
// of HKDF-SHA-256(epoch_secret, "", "chanseal 1 fingerprint" ‖ str(channel) ‖ BE64(epoch) ‖ BE16(suite)),
// in hexadecimal, in groups of four.
func (e *epoch) fingerprint(channel string) string {
	if e.secret.key == nil {
		return ""
	}
	info := str([]byte("chanseal 1 fingerprint"), channel)
	info = binary.BigEndian.AppendUint64(info, e.number)
	info = binary.BigEndian.AppendUint16(info, uint16(e.suite))
	x := hex.EncodeToString(e.secret.derive(nil, string(info), 16))
	var groups []string
	for ; x != ""; x = x[4:] {
		groups = append(groups, x[:4])
	}
	return strings.Join(groups, "-")
}
