package program

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// door shows a channel key from the desk that issues it to the end of its service.
func (d *demo) door() error {
	if err := d.show(exitDone, "token", "app", "create", "-o", "./app.json"); err != nil {
		return err
	}
	asked := func(command, channel, uid string, more ...string) []string {
		return append([]string{"token", command, "--app-certificate-file", "./app.json", "--channel", channel, "--uid", uid}, more...)
	}
	if err := d.show(exitDone, asked("mint", "stage", "123", "--expires", "1h")...); err != nil {
		return err
	}
	key := strings.TrimSpace(d.stdout)
	if err := d.show(exitDone, asked("verify", "stage", "123", key)...); err != nil {
		return err
	}
	if err := d.show(exitAuth, asked("verify", "backstage", "123", key)...); err != nil {
		return err
	}
	for reason, args := range map[string][]string{
		"other-user": asked("verify", "stage", "124", key),
		"entry-over": asked("verify", "stage", "123", "--at", "2h", key),
	} {
		code, out, _ := d.command(args...)
		if err := wantExit(code, exitAuth); err != nil {
			return err
		}
		if !strings.Contains(out, "refused: "+reason+"\n") {
			return fmt.Errorf("not refused as %s", reason)
		}
	}
	d.sayf("another uid and a time after its end are refused, too: other-user, entry-over")
	return d.stayInside()
}

// stayInside lets somebody in until the end of service, on the real clock.
func (d *demo) stayInside() error {
	file, err := os.ReadFile(d.path("app.json"))
	if err != nil {
		return err
	}
	app, err := channelkey.ParseAppFile(file)
	if err != nil {
		return err
	}
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		return err
	}
	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{})
	if err != nil {
		return err
	}
	gate, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier})
	if err != nil {
		return err
	}
	defer gate.Close()
	events := gate.Events()

	now := time.Now()
	end := now.Add(1500 * time.Millisecond).Truncate(time.Second)
	claims := channelkey.Claims{Channel: "stage", User: channelkey.UID(123)}
	key, err := issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "stage", User: claims.User,
		Issued: uint32(now.Unix()), Expires: uint32(end.Unix()), Random: channelkey.NewRandom()})
	if err != nil {
		return err
	}
	pass, err := gate.Enter(key, claims)
	if err != nil {
		return err
	}
	if _, err := gate.Enter(key, claims); err == nil {
		return errors.New("a second person came in with the same card")
	}
	if !gate.Leave(pass) {
		return errors.New("nobody was there to leave")
	}
	if _, err := gate.Enter(key, claims); err != nil {
		return fmt.Errorf("no entry again within the five minutes: %w", err)
	}
	d.sayf("a dk4 with an end of service admits once at a time, and again after leaving")
	for {
		select {
		case e := <-events:
			if e.Kind != channelkey.PutOut {
				continue
			}
			if e.Reason != channelkey.ServiceEnded || e.Time.Before(end) || gate.Len() != 0 {
				return fmt.Errorf("put out for %s, %v after the end of service", e.Reason, e.Time.Sub(end))
			}
			d.sayf("put out %.1f ms after the end of service", float64(e.Time.Sub(end).Microseconds())/1000)
			if _, err := gate.Enter(key, claims); !errors.Is(err, channelkey.ServiceEnded) {
				return fmt.Errorf("after the end of service: %v", err)
			}
			return nil
		case <-d.ctx.Done():
			return d.ctx.Err()
		}
	}
}
