package channelkey

import (
	"crypto/fips140"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Issuer is the service desk: it writes channel keys of one project, signed with
// its primary certificate. It may be used by many goroutines.
type Issuer struct {
	app      App
	legacy   Legacy
	appBytes string // the App ID in binary; "" if it is not hexadecimal

	dk, dk5, v006 *signer
}

// NewIssuer returns an issuer for a project.
func NewIssuer(app App, l Legacy) (*Issuer, error) {
	if err := app.check(l); err != nil {
		return nil, err
	}
	i := &Issuer{app: App{ID: app.ID, Primary: NewCertificate(app.Primary.text)}, legacy: l}
	var key certKeys
	i.appBytes = idBytes(app.ID)
	key.prepare(i.app.Primary.text)
	i.dk, i.dk5, i.v006 = key.dk, key.dk5, key.v006
	if i.appBytes == "" {
		i.dk5 = nil
	}
	return i, nil
}

// Wipe destroys the issuer's copy of the certificate. The issuer is of no use then.
func (i *Issuer) Wipe() {
	i.app.Primary.Wipe()
	i.dk, i.dk5, i.v006 = nil, nil, nil
}

var errWiped = errors.New("channelkey: the certificate was wiped, make a new Issuer")

// Mint writes the key that a card describes. An empty c.AppID stands for the
// issuer's. The input is checked strictly as far as no Legacy switch says
// otherwise. dk1 to 006 are what every other builder writes for the same input,
// byte for byte; of a 007 the payload is, since its text hangs on the zlib library.
func (i *Issuer) Mint(c Card) (string, error) {
	switch {
	case i.v006 == nil:
		return "", errWiped
	case c.Format == 0 || c.Format > V007:
		return "", errors.New("channelkey: a card to mint needs a format, set Card.Format to DK1 … V007")
	case formatRows[c.Format].legacy && fips140.Enforced():
		return "", mintError(c.Format.String(), "it rests on SHA-1 or MD5, which FIPS 140-only mode forbids; use 006 or 007")
	case c.AppID != "" && c.AppID != i.app.ID:
		return "", fmt.Errorf("channelkey: card is for app ID %q, the issuer for %q", c.AppID, i.app.ID)
	}
	if name := c.foreign(); name != "" {
		return "", mintError(c.Format.String(), "it has no field "+name+", leave it empty")
	}
	signed := formatRows[c.Format].signed
	if signed&fieldChannel != 0 && c.Format != V007 {
		if err := CheckChannel(c.Channel, i.legacy); err != nil && !i.isRTM006(&c) {
			return "", err
		} else if err := User(c.Channel).check(i.legacy); err != nil && i.isRTM006(&c) {
			return "", err
		}
	}
	if err := c.User.check(i.legacy); err != nil {
		return "", err
	}
	switch c.Format {
	case DK5:
		return i.mintDK5(&c)
	case Signaling:
		return i.mintSignaling(&c)
	case V006:
		return i.mint006(&c)
	case V007:
		return i.mint007(&c)
	}
	return i.mintDK(&c)
}

// isRTM006 reports whether the card's Channel is an account.
func (i *Issuer) isRTM006(c *Card) bool {
	return c.Format == V006 && len(c.Privileges) > 0 && c.Privileges[0].Privilege == LoginRTM006 && c.Channel != ""
}

func mintError(format, what string) error {
	return fmt.Errorf("channelkey: cannot mint %s: %s", format, what)
}

// certKeys is a certificate with its states for every format.
type certKeys struct {
	text          []byte
	id            CertificateID
	dk, dk5, v006 *signer
}

func (k *certKeys) prepare(text []byte) {
	k.text = text
	k.dk = newSigner(sha1.New, text)
	k.v006 = newSigner(sha256.New, text)
	if b := idBytes(string(text)); b != "" {
		k.dk5 = newSigner(sha1.New, []byte(b))
	}
}

// idBytes returns the bytes of 32 hexadecimal digits, or "".
func idBytes(id string) string {
	if !isID(id) {
		return ""
	}
	var b [idLen / 2]byte
	hexDecode(b[:], id)
	return string(b[:])
}
