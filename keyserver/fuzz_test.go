package keyserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
)

// FuzzRequests sends what it likes: no request without a card or token gets anything but
// a problem document, every reply is one that the OpenAPI document tells of, and nothing
// of a bearer comes back.
func FuzzRequests(f *testing.F) {
	r := newRig(f, func(c *keyserver.Config, _ *channelkey.GateConfig) {
		c.Limits = keyserver.Limits{AddressRate: 1e9, CardRate: 1e9, RefusalRate: 1}
	})
	router := contract(f)
	card := r.card(1, 0, 0)
	for _, seed := range []struct{ method, path, auth, kind, body string }{
		{"POST", "/v1/channels/stage/members", "Bearer " + card[:80], "application/json", `{"uid":"1"}`},
		{"POST", "/v1/channels/stage/members", "Bearer csr_" + strings.Repeat("a", 32) + "_B", "application/json", `{}`},
		{"POST", "/v1/channels/%00/members", "bearer x", "application/json; charset=utf-8", `{"uid":"1","kem":"x25519","public_key":"AAAA"}`},
		{"GET", "/v1/channels/stage/keys", "Bearer csm_A", "", ""},
		{"GET", "/v1/channels/a%2Fb/watch", "Basic QQ==", "", ""},
		{"POST", "/v1/channels/stage/renew", "Bearer csm_A", "text/plain", `{"card":""}`},
		{"DELETE", "/v1/channels/../members/me", "", "", ""},
		{"PATCH", "/healthz", "", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.auth, seed.kind, seed.body)
	}
	f.Fuzz(func(t *testing.T, method, path, auth, kind, body string) {
		if !validMethod(method) {
			t.Skip()
		}
		u, err := url.Parse(path)
		if err != nil || !strings.HasPrefix(u.Path, "/") || u.Host != "" || u.Scheme != "" {
			t.Skip()
		}
		if strings.ContainsAny(auth+kind, "\r\n\x00") {
			t.Skip() // net/http lets none of these in
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, "http://server/", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		req.URL, req.RemoteAddr, req.RequestURI = u, "192.0.2.1:1", u.RequestURI()
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		if kind != "" {
			req.Header.Set("Content-Type", kind)
		}
		w := httptest.NewRecorder()
		r.srv.ServeHTTP(w, req)
		token := strings.TrimSpace(strings.TrimPrefix(auth, "Bearer "))
		if len(token) > 20 && strings.Contains(w.Body.String(), token) {
			t.Fatalf("the bearer comes back: %s", w.Body)
		}
		if r.srv.Members() != 0 {
			t.Fatalf("%s %s with %q lets somebody in", method, path, auth)
		}
		route, params, err := router.FindRoute(&http.Request{Method: method, URL: &url.URL{Path: u.Path, RawPath: u.RawPath}})
		if err != nil || w.Code == http.StatusMovedPermanently || w.Code == http.StatusTemporaryRedirect {
			return
		}
		if strings.HasPrefix(u.Path, "/v1/channels/") {
			var p api.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); w.Code < 400 || err == nil && p.Status != w.Code {
				t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
		if w.Code == http.StatusNotFound || w.Code == http.StatusMethodNotAllowed {
			return // net/http's own mind about what a path is
		}
		in := &openapi3filter.ResponseValidationInput{Status: w.Code, Header: w.Header(), Options: &openapi3filter.Options{IncludeResponseStatus: true},
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}}
		in.SetBodyBytes(w.Body.Bytes())
		if err := openapi3filter.ValidateResponse(ctx, in); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	})
}

func validMethod(s string) bool {
	for _, m := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"} {
		if s == m {
			return true
		}
	}
	return false
}
