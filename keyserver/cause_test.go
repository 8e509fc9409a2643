package keyserver

import (
	"errors"
	"fmt"
	"testing"

	"github.com/chanseal/chanseal/keyring"
)

// TestCause: what is logged of an error names no channel.
func TestCause(t *testing.T) {
	err := fmt.Errorf("keyring: change the channel %q: %w", "stage", errors.Join(fmt.Errorf("channel %q: %w", "stage", keyring.ErrBusy), errors.New("stage")))
	if got := cause(err); got != keyring.ErrBusy {
		t.Errorf("cause %v", got)
	}
	if plain := errors.New("plain"); cause(plain) != plain {
		t.Error("an error that wraps none")
	}
}
