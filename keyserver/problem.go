package keyserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
)

var errFull = errors.New("keyserver: no sender number is left in this channel")

// problemType comes before the reason in a problem's type.
const problemType = "urn:chanseal:problem:"

// The server's own reasons, with what a person reads.
var ownProblems = map[string]struct {
	status        int
	title, detail string
}{
	"no-token":          {http.StatusUnauthorized, "No bearer was shown", "send Authorization: Bearer TOKEN"},
	"unknown-token":     {http.StatusUnauthorized, "The token is of no membership", "it ended, or the token was used up: enter again with a card"},
	"no-channel":        {http.StatusNotFound, "There is no such channel", "ask the operator to create it"},
	"bad-request":       {http.StatusBadRequest, "The request cannot be read", "compare it with /v1/openapi.yaml"},
	"no-recipient":      {http.StatusBadRequest, "The channel is blind: its keys come in bundles", "send a recipient, as in hpke:mlkem768-x25519:…"},
	"bad-bundle":        {http.StatusBadRequest, "This is no bundle", "make one: chanseal channel export"},
	"replace-due":       {http.StatusConflict, "The channel's bundles are in too many pieces, or too large", "give all members' bundles anew, with PUT"},
	"other-issuer":      {http.StatusConflict, "The channel is kept by another issuer", "let who keeps it export, or choose another name"},
	"bad-key":           {http.StatusBadRequest, "The public key is not one of this KEM", "send kem and public_key together, as RFC 9180 serializes keys"},
	"timeout":           {http.StatusRequestTimeout, "The request's body did not come in time", "send it at once"},
	"too-large":         {http.StatusRequestEntityTooLarge, "The request is too large", "compare it with /v1/openapi.yaml"},
	"media-type":        {http.StatusUnsupportedMediaType, "The body is not JSON", "send Content-Type: application/json"},
	"not-found":         {http.StatusNotFound, "There is nothing here", "see /v1/openapi.yaml"},
	"method":            {http.StatusMethodNotAllowed, "This method is not for this path", "see /v1/openapi.yaml"},
	"clock":             {http.StatusServiceUnavailable, "The server's clock was set back", "try another server; whoever runs this one has to look at its clock, and start it anew when it is right"},
	"draining":          {http.StatusServiceUnavailable, "The server is being stopped", "go to another one, or come back"},
	"unavailable":       {http.StatusServiceUnavailable, "The server cannot do this now", "try again"},
	"rate":              {http.StatusTooManyRequests, "Too many requests", "wait before the next one"},
	"token-over":        {http.StatusUnauthorized, "The token's time is over", "ask an owner for another one"},
	"other-certificate": {http.StatusForbidden, "The client certificate is not this person's", "connect with the certificate that was appointed"},
	"wrong-role":        {http.StatusForbidden, "This is not for the person's role", "ask somebody whose role it is"},
	"no-person":         {http.StatusNotFound, "There is no such person", "appoint them first"},
	"last-owner":        {http.StatusConflict, "This is the last owner", "appoint another one first"},
	"channel-exists":    {http.StatusConflict, "The channel exists already", "choose another name"},
	"no-issuer":         {http.StatusNotFound, "This server issues no cards", "ask the service desk"},
	"moved":             {http.StatusUnauthorized, "The membership is at another server", "go there, with the token that it gave"},
	"left":              {http.StatusUnauthorized, "The membership has ended", "enter again"},
	"dropped":           {http.StatusUnauthorized, "The membership ended because nothing was heard of it", "enter again, and keep a stream open"},
}

func ownProblem(reason string) *api.Problem {
	p := ownProblems[reason]
	return &api.Problem{Type: problemType + reason, Title: p.title, Status: p.status, Detail: p.detail, Reason: reason}
}

// statusOf is the HTTP status for a reason of package channelkey: 401 for a card that
// is none or is over, 403 for one that is good for something else.
func statusOf(r channelkey.Reason) int {
	switch r {
	case channelkey.BadChannel, channelkey.BadUser:
		return http.StatusBadRequest
	case channelkey.OtherChannel, channelkey.OtherUser, channelkey.OtherService, channelkey.WildcardForbidden,
		channelkey.PrivilegeMissing, channelkey.Revoked:
		return http.StatusForbidden
	case channelkey.AlreadyInside, channelkey.Replayed:
		return http.StatusConflict
	case channelkey.Full, channelkey.ClockSetBack:
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

func reasonProblem(r channelkey.Reason) *api.Problem {
	title := r.Error()
	if len(title) > len("channelkey: ") {
		title = title[len("channelkey: "):]
	}
	return &api.Problem{Type: problemType + r.String(), Title: title, Status: statusOf(r), Detail: r.Hint(), Reason: r.String(), Code: r.NativeCode()}
}

// byTheClock is the refusal of a card by the time, with what helps a person to see that a
// clock is wrong.
type byTheClock struct {
	error
	now    time.Time
	detail string
}

func (e *byTheClock) Unwrap() error { return e.error }

// byTime says of a card that is refused by the time how its times stand to the server's
// clock. Where that is minutes off from the issuer's, every card is refused, and fetching
// another one does not help.
func byTime(err error, card string, now time.Time) error {
	r := channelkey.ReasonOf(err)
	switch r {
	case channelkey.NotYetValid, channelkey.EntryOver, channelkey.ServiceEnded, channelkey.PrivilegeExpired:
	default:
		return err
	}
	detail := r.Hint()
	if c, e := channelkey.Parse(card, channelkey.Legacy{}); e == nil {
		if made, ok := c.Made(); ok {
			if age := now.Sub(made).Truncate(time.Second); age < 0 {
				detail += fmt.Sprintf(". By this server's clock the key is made %v from now", -age)
			} else {
				detail += fmt.Sprintf(". By this server's clock the key was made %v ago: if it was fetched just now, a clock is wrong, the issuer's or this one", age)
			}
		}
	}
	return &byTheClock{err, now, detail + "; here it is " + now.UTC().Format(time.RFC3339)}
}

// problemOf says what an error is to a member. What the server alone should know stays
// with it.
func problemOf(err error) *api.Problem {
	p := plainProblem(err)
	if clock := (*byTheClock)(nil); errors.As(err, &clock) {
		p.Detail, p.ServerTime = clock.detail, clock.now.Unix()
	}
	return p
}

func plainProblem(err error) *api.Problem {
	var (
		own   *refusal
		ended *endedError
		over  *overRate
	)
	switch {
	case errors.As(err, &over):
		p := ownProblem("rate")
		p.RetryAfter = over.seconds()
		return p
	case errors.As(err, &ended):
		return endedProblem(ended.why)
	case errors.As(err, &own):
		return ownProblem(own.reason)
	case channelkey.ReasonOf(err) != 0:
		return reasonProblem(channelkey.ReasonOf(err))
	case errors.Is(err, errFull):
		return reasonProblem(channelkey.Full)
	case errors.Is(err, keyring.ErrNoChannel), errors.Is(err, keyring.ErrForgotten):
		return ownProblem("no-channel")
	}
	return ownProblem("unavailable")
}

// endedProblem says why a membership ended.
func endedProblem(why string) *api.Problem {
	if _, ok := ownProblems[why]; ok {
		return ownProblem(why)
	}
	for _, r := range channelkey.Reasons() {
		if r.String() == why {
			return reasonProblem(r)
		}
	}
	return ownProblem("left")
}

// refusal is an error with one of the server's own reasons.
type refusal struct{ reason string }

func (r *refusal) Error() string { return "keyserver: " + ownProblems[r.reason].title }

func refuse(reason string) error { return &refusal{reason} }

func writeProblem(w http.ResponseWriter, p *api.Problem) {
	h := w.Header()
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		p.RetryAfter = max(p.RetryAfter, 1)
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	w.Write(append(body, '\n'))
}
