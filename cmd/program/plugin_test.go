package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/chacha20poly1305"
)

// letter is a key of the age plugin "letter", which this test binary is, too, when it
// is called age-plugin-letter: as a plugin for a piece of hardware, but the key is in
// the identity, and in the recipient.
type letter [chacha20poly1305.KeySize]byte

func (l letter) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	aead, err := chacha20poly1305.New(l[:])
	if err != nil {
		return nil, err
	}
	return []*age.Stanza{{Type: "letter", Body: aead.Seal(nil, make([]byte, aead.NonceSize()), fileKey, nil)}}, nil
}

func (l letter) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	aead, err := chacha20poly1305.New(l[:])
	if err != nil {
		return nil, err
	}
	for _, s := range stanzas {
		if s.Type == "letter" {
			if key, err := aead.Open(nil, make([]byte, aead.NonceSize()), s.Body, nil); err == nil {
				return key, nil
			}
		}
	}
	return nil, age.ErrIncorrectIdentity
}

func letterOf(data []byte) (l letter, err error) {
	if len(data) != len(l) {
		return l, errors.New("not a letter")
	}
	copy(l[:], data)
	return l, nil
}

// letterPlugin is the plugin's main.
func letterPlugin() int {
	p, err := plugin.New("letter")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) { return letterOf(data) })
	p.HandleIdentityAsRecipient(func(data []byte) (age.Recipient, error) { return letterOf(data) })
	p.HandleIdentity(func(data []byte) (age.Identity, error) { return letterOf(data) })
	return p.Main()
}

// cmdNotGiven sets a variable to what removes each key of the ring that is not given.
func cmdNotGiven(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1)
	ts.Check(ts.Exec("chanseal", append(args[1:], "ring", "show", "--json")...))
	var ring ringJSON
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &ring))
	var remove []string
	for _, k := range ring.Keys {
		if !k.Opens {
			remove = append(remove, k.ID)
		}
	}
	ts.Setenv(args[0], "--remove="+strings.Join(remove, ","))
}

func cmdLetter(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1)
	name := append(args, "letter")[1]
	data := []byte(strings.Repeat(args[0][:1], len(letter{})))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("# a plugin's\n"+plugin.EncodeIdentity(name, data)+"\n"), 0o600))
	ts.Setenv("LETTER", plugin.EncodeRecipient(name, data))
}
