package channelkey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// An app file is a JSON object with the ID and the certificates of a project. It
// holds secrets: keep it where only its owner can read it.
type appFile struct {
	ID        string `json:"app_id"`
	Primary   string `json:"app_certificate"`
	Secondary string `json:"secondary_certificate,omitempty"`
}

// MarshalFile returns the project as an app file, with its secrets.
func (a App) MarshalFile() []byte {
	b, err := json.MarshalIndent(appFile{a.ID, string(a.Primary.text), string(a.Secondary.text)}, "", "  ")
	if err != nil {
		panic(err) // three strings
	}
	return append(b, '\n')
}

// ParseAppFile reads an app file, or a file that holds nothing but a certificate:
// then the project's ID is empty.
func ParseAppFile(data []byte) (App, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return App{}, errors.New("channelkey: certificate file is empty")
	}
	if data[0] != '{' {
		return App{Primary: NewCertificate(data)}, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var f appFile
	if err := d.Decode(&f); err != nil || d.More() {
		return App{}, errors.New(`channelkey: app file is not a JSON object of "app_id", "app_certificate" and "secondary_certificate"`) // never what stands in it
	}
	a := App{ID: f.ID, Primary: NewCertificate([]byte(f.Primary)), Secondary: NewCertificate([]byte(f.Secondary))}
	if err := a.check(Legacy{}); err != nil {
		return App{}, fmt.Errorf("%w (in an app file)", err)
	}
	return a, nil
}
