package program

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
)

// reachError is an error of a request to one of our servers, in words that say who does
// not answer and what to look at.
func reachError(err error) error {
	var (
		request   *url.Error
		op        *net.OpError
		name      *net.DNSError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		host      x509.HostnameError
	)
	if errors.Is(err, context.Canceled) || !errors.As(err, &request) {
		return err
	}
	who := request.URL
	if u, e := url.Parse(who); e == nil {
		who = u.Scheme + "://" + u.Host
	}
	why := func(format string, args ...any) error {
		return fmt.Errorf("%s "+format, append([]any{who}, args...)...)
	}
	const firewall = "is it running, and does the firewall let this through?"
	switch {
	case errors.As(err, &authority):
		return hinted(why("has a certificate that no authority known here has signed"),
			"name the authority: --ca FILE; or, of a server in a trial, the fingerprint that it printed: --pin sha256//…")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return hinted(why("has a certificate that is not good now: %s", message(invalid)), "renew it, and compare this machine's clock with the server's")
	case errors.As(err, &host):
		return hinted(why("has a certificate for another name: %s", message(host)), "use a name that is in it, or --pin sha256//…")
	case strings.Contains(err.Error(), "not the one of the pin"):
		return hinted(why("has another certificate than the one of --pin"), "compare it with what the server printed when it began; with --dev each start makes a new one")
	case errors.As(err, &name):
		return hinted(why("has no address: %s", name.Err), "is the name right, and does this machine resolve others?")
	case errors.Is(err, syscall.ECONNREFUSED):
		return hinted(why("does not answer: nothing listens there"), firewall)
	case request.Timeout():
		return hinted(why("does not answer in time"), firewall)
	case errors.As(err, &op) && op.Op == "dial":
		return hinted(why("does not answer: %s", op.Err), firewall)
	}
	return err
}
