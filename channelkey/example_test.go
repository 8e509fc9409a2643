package channelkey_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// The service desk issues a card, the door checks it.
func Example() {
	app := channelkey.NewApp()
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := issuer.Mint(channelkey.Publisher("room-42", channelkey.UID(123), time.Now(), time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}

	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{})
	if err != nil {
		fmt.Println(err)
		return
	}
	grant, err := verifier.Verify(token, channelkey.Claims{Channel: "room-42", User: channelkey.UID(123)})
	fmt.Println(grant.Format, err)
	_, err = verifier.Verify(token, channelkey.Claims{Channel: "room-43", User: channelkey.UID(123)})
	fmt.Println(errors.Is(err, channelkey.OtherChannel), err)
	// Output:
	// 007 <nil>
	// true channelkey: key is for another channel (007)
}

// A gate keeps who is inside, and tells who must go.
func ExampleGate() {
	app := channelkey.NewApp()
	issuer, _ := channelkey.NewIssuer(app, channelkey.Legacy{})
	verifier, _ := channelkey.NewVerifier(app, channelkey.Policy{})
	gate, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gate.Close()
	events := gate.Events()

	card, err := issuer.Mint(channelkey.Publisher("room-42", channelkey.UID(123), time.Now(), time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	claims := channelkey.Claims{Channel: "room-42", User: channelkey.UID(123)}
	pass, err := gate.Enter(card, claims)
	fmt.Println((<-events).Kind, err)
	_, err = gate.Enter(card, claims)
	fmt.Println((<-events).Kind, err)
	gate.Leave(pass)
	fmt.Println((<-events).Kind)
	_, err = gate.Enter(card, claims) // within its time the card is good again
	fmt.Println((<-events).Kind, err)
	// Output:
	// entered <nil>
	// refused channelkey: this card is in use or was replaced
	// left
	// entered <nil>
}
