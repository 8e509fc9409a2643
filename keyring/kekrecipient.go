package keyring

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// recipient is a KEK that wraps, and does not unwrap: for a key that lies elsewhere,
// such as one for recovery.
type recipient struct{ to age.Recipient }

// RecipientKEK returns a KEK that wraps the root key for an age recipient, a text that
// begins with age1, a plugin's included. It opens nothing: the key file with the
// identity does.
func RecipientKEK(text string) (KEK, error) {
	to, err := parseRecipient(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: this is no age recipient: %w", err)
	}
	return &recipient{to}, nil
}

func parseRecipient(text string) (age.Recipient, error) {
	all, err := age.ParseRecipients(strings.NewReader(text + "\n"))
	if err == nil && len(all) == 1 {
		return all[0], nil
	}
	if r, perr := plugin.NewRecipient(text, pluginUI(nil)); perr == nil {
		return r, nil
	}
	if err == nil {
		err = fmt.Errorf("%d recipients", len(all))
	}
	return nil, err
}

func (*recipient) Kind() string { return "age" }

func (k *recipient) Wrap(root, ringID []byte) ([]byte, error) { return ageWrap(k.to, root, ringID) }

func (k *recipient) Unwrap([]byte, []byte) ([]byte, error) { return nil, ErrLocked }

// ageWrap makes the age file of a wrapping.
func ageWrap(to age.Recipient, root, ringID []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	plain := append(append([]byte(nil), ringID...), root...)
	defer clear(plain)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// PluginUI is how an age plugin speaks with whoever uses it, to ask for a touch or a
// PIN. Without it plugins are run, but cannot ask.
type PluginUI = plugin.ClientUI

func pluginUI(ui *PluginUI) *PluginUI {
	if ui != nil {
		return ui
	}
	refuse := fmt.Errorf("keyring: an age plugin asks something, and nobody is there to answer: %w", ErrLocked)
	return &PluginUI{
		DisplayMessage: func(string, string) error { return nil },
		RequestValue:   func(string, string, bool) (string, error) { return "", refuse },
		Confirm:        func(string, string, string, string) (bool, error) { return false, refuse },
		WaitTimer:      func(string) {},
	}
}

// Format prints the recipient's kind.
func (recipient) Format(s fmt.State, _ rune) { io.WriteString(s, "age recipient") }
