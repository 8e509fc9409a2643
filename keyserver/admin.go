package keyserver

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api/admin"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// AdminConfig says how a server is administered.
type AdminConfig struct {
	Persons *Persons
	// Dev leaves out client certificates, for trials: a token alone is enough.
	Dev bool
	// Issuer issues cards; nil for a server that issues none.
	Issuer *channelkey.Issuer
	// AuditFile is the server's own record, to be read by auditors; "" for none.
	AuditFile string
}

// Admin returns the handler of the administration, whose interface is the document of
// package keyserver/api/admin. It needs TLS with client certificates of any kind
// (tls.RequireAnyClientCert): persons are known by their keys.
func (s *Server) Admin(c AdminConfig) http.Handler {
	a := &administration{s: s, c: c}
	all := map[string]handler{"GET /v1/admin/openapi.yaml": func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(admin.Document)
		return nil
	}}
	for _, op := range []struct {
		pattern, name string
		role          admin.Role
		do            func(*adminCall) error
	}{
		{"GET /v1/admin/persons", "persons", admin.Owner, a.persons},
		{"PUT /v1/admin/persons/{person}", "appoint", admin.Owner, a.appoint},
		{"DELETE /v1/admin/persons/{person}", "dismiss", admin.Owner, a.dismiss},
		{"POST /v1/admin/persons/{person}/token", "grant", admin.Owner, a.grant},
		{"PUT /v1/admin/channels/{channel}/policy", "policy", admin.Owner, a.policy},
		{"GET /v1/admin/channels", "channels", admin.Operator, a.channels},
		{"POST /v1/admin/channels", "create", admin.Operator, a.create},
		{"POST /v1/admin/channels/{channel}/rotate", "rotate", admin.Operator, a.rotate},
		{"POST /v1/admin/revocations", "revoke", admin.Operator, a.revoke},
		{"POST /v1/admin/cards", "issue", admin.Operator, a.issue},
		{"PUT /v1/admin/blind/{channel}", "bundle", admin.Operator, a.bundles(true)},
		{"POST /v1/admin/blind/{channel}", "bundle", admin.Operator, a.bundles(false)},
		{"GET /v1/admin/blind/{channel}/members", "members", admin.Operator, a.members},
		{"GET /v1/admin/audit", "audit", admin.Auditor, a.audit},
	} {
		all[op.pattern] = a.guard(op.name, op.role, op.do)
	}
	return s.patterns(all)
}

type administration struct {
	s *Server
	c AdminConfig
}

// adminCall is one request of a person.
type adminCall struct {
	w     http.ResponseWriter
	r     *http.Request
	entry audit.Entry // what it is on record as
}

// guard lets those in whose role it is, and has every call recorded: before it is done,
// and again if it was refused or failed.
func (a *administration) guard(op string, role admin.Role, do func(*adminCall) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		call := &adminCall{w: w, r: r, entry: audit.Entry{Event: "admin " + op}}
		who, err := a.who(r)
		if who != nil {
			call.entry.Actor = a.s.cfg.Audit.ID("p", who.Name)
		}
		if err == nil && who.Role != role {
			err = refuse("wrong-role")
		}
		if err != nil {
			return a.refused(call.entry, who, err)
		}
		if err := do(call); err != nil {
			call.entry.Outcome, call.entry.Reason = "refused", adminProblem(err)
			if e := a.s.record(call.entry); e != nil {
				return e
			}
			return &refusal{call.entry.Reason}
		}
		return nil
	}
}

// refused has a refusal recorded. Those of persons are never only counted, whatever
// strangers do.
func (a *administration) refused(e audit.Entry, who *person, err error) error {
	var over *overRate
	switch {
	case who != nil:
		e.Outcome, e.Reason = "refused", problemOf(err).Reason
		if failed := a.s.record(e); failed != nil {
			return failed
		}
	case !errors.As(err, &over):
		a.s.refused(e, problemOf(err).Reason)
	}
	return err
}

// who finds the person of a request.
func (a *administration) who(r *http.Request) (*person, error) {
	token, err := bearer(r)
	if err != nil {
		return nil, err
	}
	pin := ""
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		pin = Pin(r.TLS.PeerCertificates[0])
	}
	who, err := a.c.Persons.authenticate(r.Context(), token, pin, !a.c.Dev, a.s.clock.Now())
	if err != nil {
		if limit := limited(a.s.byAddr.take(client(r.RemoteAddr))); limit != nil {
			return who, limit
		}
	}
	return who, err
}

// adminProblem is the reason for an error of a call.
func adminProblem(err error) string {
	var own *refusal
	switch {
	case errors.As(err, &own):
		return own.reason
	case errors.Is(err, ErrNoPerson):
		return "no-person"
	case errors.Is(err, ErrLastOwner):
		return "last-owner"
	case errors.Is(err, keyring.ErrNoChannel), errors.Is(err, keyring.ErrForgotten):
		return "no-channel"
	case errors.Is(err, keyring.ErrChannelExists):
		return "channel-exists"
	case errors.Is(err, errOtherIssuer):
		return "other-issuer"
	}
	return "unavailable"
}

// begin puts the call on record: from here on it is done.
func (c *adminCall) begin(s *Server) error { return s.record(c.entry) }

func (a *administration) persons(c *adminCall) error {
	all, err := a.c.Persons.List(c.r.Context())
	if err == nil {
		err = c.begin(a.s)
	}
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, &admin.Persons{Persons: all})
}

func (a *administration) appoint(c *adminCall) error {
	name := c.r.PathValue("person")
	c.entry.Subject = a.s.cfg.Audit.ID("p", name)
	var req admin.Appointment
	if err := readJSON(c.r, &req); err != nil {
		return err
	}
	if !req.Role.Valid() || len(name) > maxPerson || req.Pin == "" && !a.c.Dev {
		return refuse("bad-request")
	}
	c.entry.Reason = string(req.Role)
	if err := c.begin(a.s); err != nil {
		return err
	}
	if err := a.c.Persons.Appoint(c.r.Context(), name, req.Role, req.Pin); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *administration) dismiss(c *adminCall) error {
	name := c.r.PathValue("person")
	c.entry.Subject = a.s.cfg.Audit.ID("p", name)
	if err := c.begin(a.s); err != nil {
		return err
	}
	if err := a.c.Persons.Dismiss(c.r.Context(), name); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *administration) grant(c *adminCall) error {
	name := c.r.PathValue("person")
	c.entry.Subject = a.s.cfg.Audit.ID("p", name)
	var req admin.GrantRequest
	if err := readJSON(c.r, &req); err != nil {
		return err
	}
	if req.Seconds < 0 || req.Seconds > int64(MaxTokenLife/time.Second) {
		return refuse("bad-request")
	}
	if err := c.begin(a.s); err != nil {
		return err
	}
	token, until, err := a.c.Persons.grant(c.r.Context(), name, time.Duration(req.Seconds)*time.Second, a.s.clock.Now())
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusCreated, &admin.Grant{Token: admin.Token(token), Until: until.Unix()})
}

func describe(info *keyring.Info) admin.Channel {
	c := admin.Channel{Channel: info.Name, Epoch: info.Epoch, Suite: info.Suite, Fingerprint: info.Fingerprint}
	for _, e := range info.Epochs {
		if e.State == keyring.Staged {
			c.Staged = e.Number
			if !e.ActivateAt.IsZero() {
				c.ActivateAt = e.ActivateAt.UnixMilli()
			}
		}
	}
	return c
}

func (a *administration) channels(c *adminCall) error {
	all, err := a.s.cfg.Ring.Channels(c.r.Context())
	if err == nil {
		err = c.begin(a.s)
	}
	if err != nil {
		return err
	}
	out := admin.Channels{Channels: []admin.Channel{}}
	for i := range all {
		out.Channels = append(out.Channels, describe(&all[i]))
	}
	return writeJSON(c.w, http.StatusOK, &out)
}

func (a *administration) create(c *adminCall) error {
	var req admin.CreateRequest
	if err := readJSON(c.r, &req); err != nil {
		return err
	}
	c.entry.Channel = a.s.cfg.Audit.ID("c", req.Channel)
	var o keyring.ChannelOptions
	if req.Suite != "" {
		suite, err := cipher.Lookup(req.Suite)
		if err != nil {
			return refuse("bad-request")
		}
		o.Suite = suite
	}
	if err := c.begin(a.s); err != nil {
		return err
	}
	ch, err := a.s.cfg.Ring.Create(c.r.Context(), req.Channel, o)
	if err != nil {
		return err
	}
	return a.show(c, ch, http.StatusCreated)
}

func (a *administration) show(c *adminCall, ch *keyring.Channel, status int) error {
	info, err := ch.Show(c.r.Context())
	if err != nil {
		return err
	}
	d := describe(&info)
	return writeJSON(c.w, status, &d)
}

// onChannel does something to the channel of the path.
func (a *administration) onChannel(c *adminCall, do func(context.Context, *keyring.Channel) error) error {
	name := c.r.PathValue("channel")
	c.entry.Channel = a.s.cfg.Audit.ID("c", name)
	ch, err := a.s.cfg.Ring.Channel(c.r.Context(), name)
	if err == nil {
		err = c.begin(a.s)
	}
	if err == nil {
		err = do(c.r.Context(), ch)
	}
	if err != nil {
		return err
	}
	return a.show(c, ch, http.StatusOK)
}

func (a *administration) rotate(c *adminCall) error {
	return a.onChannel(c, func(ctx context.Context, ch *keyring.Channel) error {
		_, err := ch.PutOut(ctx) // nobody in particular: a fresh epoch, as soon as all can hold it
		return err
	})
}

func (a *administration) policy(c *adminCall) error {
	var req admin.Policy
	if err := readJSON(c.r, &req); err != nil {
		return err
	}
	seconds := func(n int64) time.Duration {
		if n < 0 {
			return keyring.AtOnce
		}
		return time.Duration(min(n, int64(365*24*time.Hour/time.Second))) * time.Second
	}
	p := keyring.Policy{Age: max(0, seconds(req.AgeSeconds)), Grace: seconds(req.GraceSeconds), Delay: seconds(req.DelaySeconds), Debounce: seconds(req.DebounceSeconds), Ahead: req.Ahead}
	for _, t := range []struct {
		name string
		turn *keyring.Turn
	}{{string(req.OnJoin), &p.OnJoin}, {string(req.OnLeave), &p.OnLeave}} {
		if t.name == "" {
			continue
		}
		turn, err := keyring.ParseTurn(t.name)
		if err != nil {
			return refuse("bad-request")
		}
		*t.turn = turn
	}
	return a.onChannel(c, func(ctx context.Context, ch *keyring.Channel) error {
		_, err := ch.SetPolicy(ctx, p)
		if err != nil && !errors.Is(err, keyring.ErrForgotten) {
			return refuse("bad-request")
		}
		return err
	})
}

func (a *administration) revoke(c *adminCall) error {
	var req admin.Revocation
	if err := readJSON(c.r, &req); err != nil {
		return err
	}
	r := channelkey.Revocation{User: channelkey.User(req.UID), Channel: req.Channel, Until: a.s.clock.Now().Add(time.Duration(req.Seconds) * time.Second)}
	if req.Card != "" {
		id, err := channelkey.ParseCardID(req.Card)
		if err != nil {
			return refuse("bad-request")
		}
		r.Card = id
		c.entry.Subject = "card-" + id.String()[:16]
	}
	if named := req.UID != "" || req.Channel != ""; named == (req.Card != "") || req.Seconds < 0 || req.Seconds > 315360000 || len(req.UID) > 255 || len(req.Channel) > 255 {
		return refuse("bad-request")
	}
	if req.UID != "" {
		c.entry.Subject = a.s.cfg.Audit.ID("u", req.UID)
	}
	c.entry.Channel = a.s.cfg.Audit.ID("c", req.Channel)
	if err := c.begin(a.s); err != nil {
		return err
	}
	if err := a.s.cfg.Gate.Revoke(r); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *administration) issue(c *adminCall) error {
	var req admin.CardRequest
	if err := readJSON(c.r, &req); err != nil {
		return err
	}
	c.entry.Channel, c.entry.Subject = a.s.cfg.Audit.ID("c", req.Channel), a.s.cfg.Audit.ID("u", req.UID)
	life := time.Duration(req.Seconds) * time.Second
	if life == 0 {
		life = time.Hour
	}
	switch {
	case a.c.Issuer == nil:
		return refuse("no-issuer")
	case life < 0 || life > channelkey.DefaultMaxLife:
		return refuse("bad-request")
	}
	key, err := a.c.Issuer.Mint(channelkey.Publisher(req.Channel, channelkey.User(req.UID), a.s.clock.Now(), life))
	if err != nil {
		return refuse("bad-request")
	}
	if err := c.begin(a.s); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusCreated, &admin.Card{Card: admin.Token(key)})
}

// maxAudit bounds an answer with the audit record in bytes: ask again with after.
const maxAudit = 16 << 20

func (a *administration) audit(c *adminCall) error {
	after, err := strconv.ParseUint(c.r.URL.Query().Get("after"), 10, 64)
	if err != nil && c.r.URL.Query().Has("after") {
		return refuse("bad-request")
	}
	if a.c.AuditFile == "" {
		return refuse("not-found")
	}
	if err := c.begin(a.s); err != nil {
		return err
	}
	f, err := os.Open(a.c.AuditFile)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("not-found")
	} else if err != nil {
		return err
	}
	defer f.Close()
	lines, err := audit.Lines(f, after, maxAudit)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/jsonl")
	c.w.Write(slices.Concat(lines...))
	return nil
}
