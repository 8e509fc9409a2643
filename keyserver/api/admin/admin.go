// Package admin holds the interface of a key server's administration: the OpenAPI
// document, and the types of its messages, which are generated from it.
package admin

import (
	_ "embed"

	"github.com/chanseal/chanseal/keyserver/api"
)

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-codegen.yaml openapi.yaml

// Document is the OpenAPI document, as the server serves it.
//
//go:embed openapi.yaml
var Document []byte

// Token is a bearer, which no print shows.
type Token = api.Token
