package onecall

import (
	"fmt"
	"os"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// Desk is a stand-in for the business server: it knows the customers and issues cards.
type Desk struct {
	app    channelkey.App
	issuer *channelkey.Issuer
	// Clock is the business server's; nil for the right time.
	Clock func() time.Time
}

// Generations are the formats of cards for a channel, oldest first.
var Generations = []channelkey.Format{channelkey.DK1, channelkey.DK2, channelkey.DK3, channelkey.DK4, channelkey.DK5, channelkey.V006, channelkey.V007}

// NewDesk opens the desk of a project, of the file that "token app create" wrote.
func NewDesk(file string) (*Desk, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	app, err := channelkey.ParseAppFile(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return newDesk(app)
}

func newDesk(app channelkey.App) (*Desk, error) {
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	return &Desk{app: app, issuer: issuer}, err
}

// Secondary is the desk after the certificates changed their roles: it signs with the
// secondary one.
func (d *Desk) Secondary() (*Desk, error) {
	app := d.app
	app.Primary, app.Secondary = app.Secondary, app.Primary
	return newDesk(app)
}

// ForeignDesk is a desk of the project whose certificate is another one.
func (w *World) ForeignDesk() (*Desk, error) {
	app := channelkey.NewApp()
	app.ID = w.Desk.app.ID
	return newDesk(app)
}

// WithoutPrimary is the project's file when the primary certificate has been withdrawn,
// and the secondary one has its place.
func (d *Desk) WithoutPrimary(file string) error {
	app := channelkey.App{ID: d.app.ID, Primary: d.app.Secondary, Secondary: channelkey.NewApp().Primary}
	return os.WriteFile(file, app.MarshalFile(), 0o600)
}

// Issue issues a card that was made some time ago, for a service that ends some time from
// now on; 0 for no end.
func (d *Desk) Issue(f channelkey.Format, channel string, uid uint32, ago, service time.Duration) (string, error) {
	now := time.Now()
	if d.Clock != nil {
		now = d.Clock()
	}
	made := now.Add(-ago)
	user := channelkey.UID(uid)
	c := channelkey.Card{Format: f, Channel: channel, User: user, Issued: uint32(made.Unix()), Random: channelkey.NewRandom()}
	if service > 0 {
		c.Expires = uint32(now.Add(service).Unix())
	}
	switch f {
	case channelkey.DK1:
		c.User, c.Expires = channelkey.Anybody, 0
	case channelkey.DK5:
		c.Service = channelkey.DefaultService(f)
	case channelkey.V006:
		until := made.Add(time.Hour)
		if service > 0 {
			until = now.Add(service)
		}
		c = channelkey.Publisher006(channel, user, made, until)
	case channelkey.V007:
		life := time.Hour
		if service > 0 {
			life = now.Add(service).Sub(made)
		}
		c = channelkey.Publisher(channel, user, made, life)
	}
	return d.issuer.Mint(c)
}

// Secrets gives the certificates' texts.
func (d *Desk) secrets(n *Needles) {
	for name, c := range map[string]channelkey.Certificate{"primary certificate": d.app.Primary, "secondary certificate": d.app.Secondary} {
		text := c.Reveal()
		n.Text(name, string(text))
		n.Secret(name, text)
	}
}
