package etcdstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Scheme begins the URL of a ring in etcd.
const Scheme = "etcd://"

const (
	defaultPort   = "2379" // IANA's for etcd-client
	defaultPrefix = "/chanseal/"
	maxPrefix     = 512 // bytes
	maxEndpoints  = 64
	maxPassword   = 4096 // bytes

	defaultTimeout = 6 * time.Second // an election takes 1 to 2 seconds
	minTimeout     = time.Second
)

// Options say where a ring is, and how to get there.
type Options struct {
	// Endpoints are members of the cluster, each HOST:PORT. All should be named:
	// those that do not answer are passed over.
	Endpoints []string
	// Prefix begins every key. It ends with a slash, which is added if it is
	// missing; "" is "/chanseal/". Rings share a cluster by different prefixes,
	// of which none begins with another.
	Prefix string
	// TLS of the connections; nil is none. A password is only sent with it, or
	// within this machine.
	TLS *tls.Config
	// User and Password log in. etcd's user needs to read and write the keys
	// that begin with Prefix, and nothing else.
	User, Password string
	// Timeout is how long an operation tries to reach a majority of the members;
	// 0 is 6 seconds. Less than a second is refused.
	Timeout time.Duration
	// Compact makes [Store.Scrub] compact the cluster's history: otherwise etcd
	// keeps what was overwritten until it is compacted by other means. It is the
	// history of all keys, those of other programs included.
	Compact bool
}

// Format prints no password.
func (o Options) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "%s%s%s", Scheme, strings.Join(o.Endpoints, ","), o.Prefix)
}

// ParseURL reads the URL of a ring:
//
//	etcd://HOST[:PORT][,HOST[:PORT]…][/PREFIX][?SETTING=VALUE[&SETTING=VALUE…]]
//
// with these settings:
//
//	ca=FILE             the certificates that sign the members' (default: the system's)
//	cert=FILE&key=FILE  a client certificate, to log in with
//	user=NAME           log in with a password: the argument, unless password-file is set
//	password-file=FILE  its first line is the password
//	tls=on|off          off sends everything in the clear; it is the default only if all members are on this machine
//	timeout=TIME        how long to try, such as 10s
//	compact=on|off      compact the cluster's history when secrets were forgotten
//
// A password in the URL itself is refused: URLs end up in lists of processes.
func ParseURL(ring, password string) (Options, error) {
	o, err := parseURL(ring, password)
	if err != nil {
		return Options{}, fmt.Errorf("etcdstore: %s: %w", redactURL(ring), err)
	}
	return o, nil
}

// redactURL takes out what may be a password.
func redactURL(ring string) string {
	rest, ok := strings.CutPrefix(ring, Scheme)
	if i := strings.LastIndex(rest, "@"); ok && i >= 0 {
		return Scheme + "…@" + rest[i+1:]
	}
	return ring
}

func parseURL(ring, password string) (Options, error) {
	rest, ok := strings.CutPrefix(ring, Scheme)
	if !ok {
		return Options{}, fmt.Errorf("it does not begin with %s", Scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, path, _ := strings.Cut(rest, "/")
	if strings.Contains(hosts, "@") {
		return Options{}, errors.New("the URL names a user or password before @: write ?user=NAME&password-file=FILE behind it")
	}
	o := Options{User: "", Prefix: ""}
	local := true
	for host := range strings.SplitSeq(hosts, ",") {
		endpoint, err := hostPort(host)
		if err != nil {
			return Options{}, err
		}
		o.Endpoints = append(o.Endpoints, endpoint)
		local = local && isLocal(endpoint)
	}
	if path != "" {
		p, err := url.PathUnescape(path)
		if err != nil {
			return Options{}, fmt.Errorf("the prefix: %w", err)
		}
		o.Prefix = "/" + p
	}
	set, err := url.ParseQuery(query)
	if err != nil {
		return Options{}, fmt.Errorf("the settings: %w", err)
	}
	return o, o.settings(set, password, local)
}

// settings applies those behind the question mark.
func (o *Options) settings(set url.Values, password string, local bool) error {
	for name, values := range set {
		if !slices.Contains([]string{"ca", "cert", "key", "user", "password-file", "tls", "timeout", "compact"}, name) {
			return fmt.Errorf("there is no setting %q: known are ca, cert, key, user, password-file, tls, timeout and compact", name)
		}
		if len(values) != 1 || values[0] == "" {
			return fmt.Errorf("the setting %s needs one value", name)
		}
	}
	secure, err := onOff(set.Get("tls"), !local || set.Has("ca") || set.Has("cert"))
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	if o.Compact, err = onOff(set.Get("compact"), false); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if text := set.Get("timeout"); text != "" {
		if o.Timeout, err = time.ParseDuration(text); err != nil || o.Timeout < minTimeout {
			return fmt.Errorf("timeout=%s: want a time span of %v or more, such as 10s", text, minTimeout)
		}
	}
	if secure {
		if o.TLS, err = tlsConfig(set.Get("ca"), set.Get("cert"), set.Get("key")); err != nil {
			return err
		}
	} else if set.Has("ca") || set.Has("cert") || set.Has("key") {
		return errors.New("certificates without TLS: leave out tls=off")
	}
	if o.User = set.Get("user"); o.User == "" {
		if set.Has("password-file") {
			return errors.New("a password without a user: add user=NAME")
		}
		return nil
	}
	if file := set.Get("password-file"); file != "" {
		if password, err = readPassword(file); err != nil {
			return err
		}
	}
	o.Password = password
	return nil
}

func onOff(text string, otherwise bool) (bool, error) {
	switch text {
	case "":
		return otherwise, nil
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, fmt.Errorf("%q: want on or off", text)
}

// hostPort completes HOST[:PORT].
func hostPort(host string) (string, error) {
	if host == "" {
		return "", errors.New("a host is missing: write etcd://HOST,HOST/PREFIX")
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil { // no port, or nonsense
		name, port = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), defaultPort
		if strings.Contains(name, ":") {
			if addr, err := netip.ParseAddr(name); err != nil || !addr.Is6() || !strings.HasPrefix(host, "[") {
				return "", fmt.Errorf("%q is no host: want HOST or HOST:PORT, and brackets round an IPv6 address", host)
			}
		}
	}
	if name == "" || port == "" || strings.ContainsAny(name, " \t/@") || strings.Trim(port, "0123456789") != "" {
		return "", fmt.Errorf("%q is no host: want HOST or HOST:PORT", host)
	}
	return net.JoinHostPort(name, port), nil
}

// isLocal reports whether an endpoint is on this machine for certain.
func isLocal(endpoint string) bool {
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func tlsConfig(ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read the CA's certificates: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("a client certificate is cert=FILE and key=FILE: one is missing")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate %s and its key %s: %w", cert, key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// readPassword reads the first line of a file.
func readPassword(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read etcd's password: %w", err)
	}
	defer f.Close()
	buf := make([]byte, maxPassword+2)
	defer clear(buf)
	n := 0
	for n < len(buf) {
		k, err := f.Read(buf[n:])
		n += k
		if err != nil {
			break
		}
	}
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || len(line) > maxPassword {
		return "", fmt.Errorf("the first line of %s is etcd's password: it has %d bytes, want 1 to %d", file, len(line), maxPassword)
	}
	return line, nil
}

// check completes the options, and refuses what cannot work or is not safe.
func (o *Options) check() error {
	if len(o.Endpoints) == 0 || len(o.Endpoints) > maxEndpoints {
		return fmt.Errorf("etcdstore: %d endpoints: want 1 to %d", len(o.Endpoints), maxEndpoints)
	}
	o.Endpoints = slices.Clone(o.Endpoints)
	local := true
	for i, e := range o.Endpoints {
		endpoint, err := hostPort(e)
		if err != nil {
			return fmt.Errorf("etcdstore: endpoint %w", err)
		}
		o.Endpoints[i] = endpoint
		local = local && isLocal(endpoint)
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if !strings.HasSuffix(o.Prefix, "/") {
		o.Prefix += "/"
	}
	if strings.Trim(o.Prefix, "/") == "" || len(o.Prefix) > maxPrefix {
		return fmt.Errorf("etcdstore: a prefix of %d bytes: want 1 to %d beside slashes", len(o.Prefix), maxPrefix)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Timeout < minTimeout {
		return fmt.Errorf("etcdstore: a timeout of %v: want %v or more", o.Timeout, minTimeout)
	}
	if (o.User == "") != (o.Password == "") {
		return errors.New("etcdstore: a user and a password belong together: one is missing")
	}
	if o.User != "" && o.TLS == nil && !local {
		return errors.New("etcdstore: a password is not sent in the clear to another machine: use TLS")
	}
	return nil
}
