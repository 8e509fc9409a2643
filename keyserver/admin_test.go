package keyserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/api/admin"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// adminRig is the administration of a rig's server.
type adminRig struct {
	*rig
	people  *keyserver.Persons
	handler http.Handler
	router  routers.Router
	certs   map[string]*x509.Certificate
}

func newAdminRig(t *testing.T, dev bool) *adminRig {
	r := newRig(t)
	a := &adminRig{rig: r, people: must(keyserver.NewPersons(r.ring))(t), certs: map[string]*x509.Certificate{}}
	a.handler = r.srv.Admin(keyserver.AdminConfig{Persons: a.people, Dev: dev, Issuer: r.issuer, AuditFile: r.record})
	doc := must(openapi3.NewLoader().LoadFromData(admin.Document))(t)
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	a.router = must(legacy.NewRouter(doc))(t)
	for _, name := range []string{"olga", "oscar", "ada", "mallory"} {
		a.certs[name] = must(keyserver.SelfSigned(name))(t).Leaf
	}
	for name, role := range map[string]admin.Role{"olga": admin.Owner, "oscar": admin.Operator, "ada": admin.Auditor} {
		if err := a.people.Appoint(t.Context(), name, role, keyserver.Pin(a.certs[name])); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *adminRig) token(name string, life time.Duration) string {
	a.t.Helper()
	token, _, err := a.people.Grant(a.t.Context(), name, life)
	if err != nil {
		a.t.Fatal(err)
	}
	return token
}

// as makes a request with a person's certificate, and checks the reply against the
// document.
func (a *adminRig) as(cert, token, method, path string, body any) (int, []byte) {
	a.t.Helper()
	var in io.Reader = http.NoBody
	if body != nil {
		in = bytes.NewReader(must(json.Marshal(body))(a.t))
	}
	req := httptest.NewRequest(method, path, in)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.TLS = &tls.ConnectionState{}
	if c := a.certs[cert]; c != nil {
		req.TLS.PeerCertificates = []*x509.Certificate{c}
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, req)
	route, params, err := a.router.FindRoute(&http.Request{Method: method, URL: &url.URL{Path: req.URL.Path}})
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	check := &openapi3filter.ResponseValidationInput{Status: w.Code, Header: w.Header(), Options: &openapi3filter.Options{IncludeResponseStatus: true},
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}}
	if w.Header().Get("Content-Type") == "application/jsonl" {
		check.Options.ExcludeResponseBody = true
	}
	check.SetBodyBytes(w.Body.Bytes())
	if err := openapi3filter.ValidateResponse(context.Background(), check); err != nil {
		a.t.Errorf("%s %s: the reply is not what the document says: %v", method, path, err)
	}
	return w.Code, w.Body.Bytes()
}

func reasonOf(body []byte) string {
	var p api.Problem
	json.Unmarshal(body, &p)
	return p.Reason
}

// TestAdminRoles: each call is for one role, and every one is on record, refused or not.
func TestAdminRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdminRig(t, false)
		tokens := map[string]string{}
		for _, name := range []string{"olga", "oscar", "ada"} {
			tokens[name] = a.token(name, 0)
		}
		for _, c := range []struct {
			method, path, op string
			body             any
			who              string
			status           int
		}{
			{"GET", "/v1/admin/persons", "persons", nil, "olga", 200},
			{"PUT", "/v1/admin/persons/peter", "appoint", admin.Appointment{Role: admin.Operator, Pin: keyserver.Pin(a.certs["mallory"])}, "olga", 204},
			{"POST", "/v1/admin/persons/peter/token", "grant", admin.GrantRequest{Seconds: 60}, "olga", 201},
			{"DELETE", "/v1/admin/persons/peter", "dismiss", nil, "olga", 204},
			{"PUT", "/v1/admin/channels/stage/policy", "policy", admin.Policy{AgeSeconds: 3600, OnJoin: "renew", DebounceSeconds: -1}, "olga", 200},
			{"GET", "/v1/admin/channels", "channels", nil, "oscar", 200},
			{"POST", "/v1/admin/channels", "create", admin.CreateRequest{Channel: "foyer", Suite: "aes-256-gcm"}, "oscar", 201},
			{"POST", "/v1/admin/channels/stage/rotate", "rotate", nil, "oscar", 200},
			{"POST", "/v1/admin/revocations", "revoke", admin.Revocation{UID: "13", Channel: "stage", Seconds: 60}, "oscar", 204},
			{"POST", "/v1/admin/cards", "issue", admin.CardRequest{Channel: "stage", UID: "7"}, "oscar", 201},
			{"GET", "/v1/admin/audit", "audit", nil, "ada", 200},
		} {
			for _, other := range []string{"olga", "oscar", "ada"} {
				if other == c.who {
					continue
				}
				if status, body := a.as(other, tokens[other], c.method, c.path, c.body); status != 403 || reasonOf(body) != "wrong-role" {
					t.Errorf("%s by %s: %d %s", c.op, other, status, body)
				}
			}
			status, body := a.as(c.who, tokens[c.who], c.method, c.path, c.body)
			if status != c.status {
				t.Errorf("%s: %d %s", c.op, status, body)
			}
			switch c.op {
			case "issue":
				card := decode[admin.Card](t, body)
				if _, err := a.gate.Enter(string(card.Card), channelkey.Claims{Channel: "stage", User: "7"}); err != nil {
					t.Errorf("the card is refused: %v", err)
				}
			case "policy":
				if p := must(a.ch.Show(t.Context()))(t).Policy; p.Age != time.Hour || p.OnJoin.String() != "renew" {
					t.Errorf("policy %+v", p)
				}
			case "audit":
				if res, err := audit.Verify(bytes.NewReader(body), nil); err != nil || res.Head.Seq == 0 {
					t.Errorf("what an auditor reads: %v", err)
				}
				if !strings.Contains(string(body), `"event":"admin issue"`) || strings.Contains(string(body), "oscar") {
					t.Errorf("the record: %s", body)
				}
			}
			if strings.Contains(string(body), "secret") {
				t.Errorf("%s: a secret in %s", c.op, body)
			}
		}
		synctest.Wait()
		lines := strings.Join(a.entries(), "\n")
		for _, op := range []string{"persons", "appoint", "grant", "dismiss", "policy", "channels", "create", "rotate", "revoke", "issue", "audit"} {
			if !strings.Contains(lines, "admin "+op+"  ") && !strings.Contains(lines+"\n", "admin "+op+"\n") {
				t.Errorf("no entry of admin %s:\n%s", op, lines)
			}
			if !strings.Contains(lines, "admin "+op+" refused wrong-role") {
				t.Errorf("no entry of admin %s refused", op)
			}
		}
		if e := must(os.ReadFile(a.record))(t); bytes.Contains(e, []byte("olga")) || bytes.Contains(e, []byte("foyer")) || bytes.Contains(e, []byte(tokens["olga"])) {
			t.Error("a name or token stands in the audit record")
		}
	})
}

// TestAdminDoor: a token alone is not enough, nor a certificate; a token ends by itself,
// after a day at most, and with every change of its person.
func TestAdminDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdminRig(t, false)
		try := func(cert, token string) string {
			_, body := a.as(cert, token, "GET", "/v1/admin/channels", nil)
			return reasonOf(body)
		}
		token := a.token("oscar", 0)
		for _, c := range []struct{ cert, token, reason string }{
			{"oscar", token, ""}, {"", token, "other-certificate"}, {"mallory", token, "other-certificate"}, {"olga", token, "other-certificate"},
			{"oscar", "", "no-token"}, {"oscar", token + "A", "unknown-token"}, {"oscar", "csa_" + strings.Repeat("0", 32) + "_A", "unknown-token"}, {"oscar", "csm_A", "unknown-token"},
			{"oscar", a.token("olga", 0), "other-certificate"},
		} {
			if got := try(c.cert, c.token); got != c.reason {
				t.Errorf("certificate %q: %q, want %q", c.cert, got, c.reason)
			}
		}
		time.Sleep(8*time.Hour - time.Second)
		if got := try("oscar", token); got != "" {
			t.Errorf("after 7:59:59: %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := try("oscar", token); got != "token-over" {
			t.Errorf("after 8:00:01: %s", got)
		}
		if _, _, err := a.people.Grant(t.Context(), "oscar", 24*time.Hour+time.Second); err == nil {
			t.Error("a token for more than a day")
		}
		old := a.token("oscar", time.Hour)
		token = a.token("oscar", time.Hour)
		if got := try("oscar", old); got != "unknown-token" {
			t.Errorf("a token that was replaced: %s", got)
		}
		if err := a.people.Appoint(t.Context(), "oscar", admin.Operator, keyserver.Pin(a.certs["mallory"])); err != nil {
			t.Fatal(err)
		}
		if got := try("oscar", token); got != "unknown-token" {
			t.Errorf("after a new certificate: %s", got)
		}
		if err := a.people.Dismiss(t.Context(), "olga"); !errors.Is(err, keyserver.ErrLastOwner) {
			t.Errorf("the last owner is dismissed: %v", err)
		}
		if err := a.people.Appoint(t.Context(), "olga", admin.Auditor, ""); !errors.Is(err, keyserver.ErrLastOwner) {
			t.Errorf("the last owner is moved: %v", err)
		}
		for _, bad := range []struct{ name, pin string }{{"", ""}, {strings.Repeat("x", 65), ""}, {"x", "sha256//short"}} {
			if a.people.Appoint(t.Context(), bad.name, admin.Operator, bad.pin) == nil {
				t.Errorf("%q with %q is appointed", bad.name, bad.pin)
			}
		}
		// A person without a certificate does nothing where one is needed.
		if err := a.people.Appoint(t.Context(), "oscar", admin.Operator, ""); err != nil {
			t.Fatal(err)
		}
		if got := try("", a.token("oscar", 0)); got != "other-certificate" {
			t.Errorf("without any certificate: %s", got)
		}
	})
}

// TestAdminTrial: in a trial a token alone is enough; and a put-out reaches the member.
func TestAdminTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdminRig(t, true)
		m := a.enter(a.card(5, 0, 0), api.EnterRequest{UID: "5"})
		w := a.watch(m.Token.Reveal(), "")
		w.next(t, "keys")
		if status, body := a.as("", a.token("oscar", 0), "POST", "/v1/admin/revocations", admin.Revocation{UID: "5", Seconds: 60}); status != 204 {
			t.Fatalf("%d %s", status, body)
		}
		for e := range w.events {
			if e.name == "put-out" && decode[api.Problem](t, []byte(e.data)).Reason != "revoked" {
				t.Fatal(e.data)
			}
		}
		if _, reason := a.refused("POST", "/v1/channels/stage/members", a.card(5, 0, 0), api.EnterRequest{UID: "5"}); reason != "revoked" {
			t.Fatal(reason)
		}
		for i, bad := range []admin.Revocation{{Seconds: 1}, {UID: "5", Card: strings.Repeat("0", 32), Seconds: 1}, {Card: "x", Seconds: 1}, {UID: "5", Seconds: -1}} {
			if status, body := a.as("", a.token("oscar", 0), "POST", "/v1/admin/revocations", bad); status != 400 {
				t.Errorf("%d: %d %s", i, status, body)
			}
		}
	})
}

// TestOnRing: what is done on the ring itself is on record at one server, also when none
// runs at that moment, and what was refused.
func TestOnRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := must(keyring.Create(t.Context(), keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(t)
		people := must(keyserver.NewPersons(ring))(t)
		do := func(op, name, reason string, f func() error) error {
			return people.OnRing(t.Context(), op, name, reason, f)
		}
		appoint := func(name string, role admin.Role) func() error {
			return func() error { return people.Appoint(t.Context(), name, role, "") }
		}
		if err := do("appoint", "olga", "owner", appoint("olga", admin.Owner)); err != nil {
			t.Fatal(err)
		}
		var servers []*rig
		for range 2 {
			servers = append(servers, newRig(t, func(c *keyserver.Config, gc *channelkey.GateConfig) {
				c.Ring, c.Shared = ring, true
				gc.Store = must(keyserver.GateStore(ring))(t)
			}))
		}
		time.Sleep(3 * time.Second)
		if err := do("dismiss", "olga", "", func() error { return people.Dismiss(t.Context(), "olga") }); !errors.Is(err, keyserver.ErrLastOwner) {
			t.Error(err)
		}
		if err := do("grant", "olga", strings.Repeat("x", 10_000), func() error { return nil }); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		all := strings.Join(append(servers[0].entries(), servers[1].entries()...), "\n")
		for want, times := range map[string]int{"admin appoint  owner, on the ring at 2000-01-01T00:00:00Z": 1, "admin dismiss  on the ring": 1,
			"admin dismiss refused last-owner, on the ring": 1, "admin grant  xxx": 1} {
			if n := strings.Count(all, want); n != times {
				t.Errorf("%d entries %q in\n%s", n, want, all)
			}
		}
		shelf := must(ring.Shelf("keyserver"))(t)
		if left, _, err := shelf.List(t.Context(), "a/"); err != nil || len(left) > 0 {
			t.Errorf("%d notes are left, %v", len(left), err)
		}
	})
}
