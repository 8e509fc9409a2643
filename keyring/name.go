package keyring

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkName refuses names that two people could not tell apart on a screen, or
// that no terminal should print.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > MaxName:
		return fmt.Errorf("keyring: a channel's name of %d bytes: make it 1 to %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("keyring: the channel's name is not UTF-8")
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("keyring: the channel's name %q begins or ends with a space", name)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("keyring: the channel's name %q holds characters that do not print", name)
	}
	return nil
}
