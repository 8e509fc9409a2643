package main

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chanseal/chanseal/bench"
	"github.com/chanseal/chanseal/channelkey"
)

// tokens are channel keys of generation 007, and what a JSON Web Token with the same
// claims costs.
func tokens() ([]bench.Work, error) {
	app := channelkey.NewApp()
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		return nil, err
	}
	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{})
	if err != nil {
		return nil, err
	}
	card := func() (string, error) {
		return issuer.Mint(channelkey.Publisher("room-42", channelkey.UID(123), time.Now(), time.Hour))
	}
	token, err := card()
	if err != nil {
		return nil, err
	}
	claims := channelkey.Claims{Channel: "room-42", User: channelkey.UID(123)}

	type jwtClaims struct {
		Channel  string `json:"channel"`
		UID      uint32 `json:"uid"`
		Services []int  `json:"services"`
		jwt.RegisteredClaims
	}
	secret := random(32)
	sign := func() (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodHS256, jwtClaims{"room-42", 123, []int{1, 2, 3, 4}, jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}}).SignedString(secret)
	}
	signed, err := sign()
	if err != nil {
		return nil, err
	}
	return []bench.Work{
		{Name: "channelkey-007", Op: "token-mint", Do: func() error { _, err := card(); return err }},
		{Name: "golang-jwt-hs256", Op: "token-mint", Do: func() error { _, err := sign(); return err }},
		{Name: "channelkey-007", Op: "token-verify", Do: func() error { _, err := verifier.Verify(token, claims); return err }},
		{Name: "golang-jwt-hs256", Op: "token-verify", Do: func() error {
			var c jwtClaims
			_, err := jwt.ParseWithClaims(signed, &c, func(*jwt.Token) (any, error) { return secret, nil }, jwt.WithValidMethods([]string{"HS256"}))
			if err == nil && (c.Channel != "room-42" || c.UID != 123) {
				err = fmt.Errorf("the wrong channel or user")
			}
			return err
		}},
	}, nil
}
