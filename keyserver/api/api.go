// Package api holds the key server's interface: the OpenAPI document, and the types of
// its messages, which are generated from it. Server and client both use it.
package api

import (
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-codegen.yaml openapi.yaml

// Document is the OpenAPI document, as the server serves it.
//
//go:embed openapi.yaml
var Document []byte

// Secret is an epoch's secret in a message: base64 in JSON, and in no print.
type Secret []byte

const redacted = "REDACTED"

// String hides the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret.
func (Secret) GoString() string { return redacted }

// Format hides the secret.
func (Secret) Format(w fmt.State, _ rune) { io.WriteString(w, redacted) }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON writes base64: messages are what a Secret is for.
func (s Secret) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(s))+2)
	out = append(out, '"')
	out = base64.StdEncoding.AppendEncode(out, s)
	return append(out, '"'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Secret) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return errors.New("api: a secret is a text in base64")
	}
	out, err := base64.StdEncoding.AppendDecode(nil, b[1:len(b)-1])
	if err != nil {
		return errors.New("api: a secret is not in base64") // not the text itself
	}
	*s = out
	return nil
}

// Token is a bearer: itself in JSON, and in no print.
type Token string

// String hides the token.
func (Token) String() string { return redacted }

// GoString hides the token.
func (Token) GoString() string { return redacted }

// Format hides the token.
func (Token) Format(w fmt.State, _ rune) { io.WriteString(w, redacted) }

// LogValue hides the token.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// Reveal returns the token itself, for a header.
func (t Token) Reveal() string { return string(t) }
