package channelkey

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"
	"unsafe"
)

// A 007 is "007" and the base64 of the zlib (RFC 1950) of
//
//	str signature ‖ body
//	body    = str App ID ‖ u32 issued ‖ u32 lifetime ‖ u32 salt ‖ u16 n ‖ n × service
//	service = u16 type ‖ u16 n ‖ n × (u16 privilege ‖ u32 seconds) ‖ fields of the type
//
// The signing key is drawn from the certificate's text by two extractions as in
// HKDF (RFC 5869, Section 2.2): first with the time of issue as salt, then with the
// salt; HMAC-SHA256 under it signs the body. Different zlib libraries write
// different text for one payload: never compare the text of two 007.
const prefix007 = "007"

// head007 is the front of a payload, which all 007 share.
type head007 struct {
	signature, body        string
	appID                  string
	issued, lifetime, salt uint32
	services               int
}

func split007(payload string) (h head007, r reader, err error) {
	r = newReader(payload)
	h.signature = r.str()
	if r.bad < 0 && len(h.signature) != sha256.Size {
		return h, r, malformedPayload(V007, 0, "the signature is not 32 bytes")
	}
	h.body = r.rest()
	h.appID = r.str()
	h.issued, h.lifetime, h.salt = r.u32(), r.u32(), r.u32()
	h.services = int(r.u16()) // that many must follow, or are opaque

	if r.bad >= 0 {
		return h, r, malformedPayload(V007, r.bad, "a field does not fit")
	}
	return h, r, nil
}

// errUnknownService stops the reading of a 007: what follows has no known length.
var errUnknownService = errors.New("unknown service")

// services007 reads the services, and appends them to all and their privileges to
// privileges, which may be nil. At an unknown one it stops with errUnknownService and
// r stands before it.
func services007(r *reader, n int, all []Grant007, privileges []PrivilegeLife) ([]Grant007, []PrivilegeLife, error) {
	for range n {
		at := r.at
		number := r.u16()
		service, ok := service007(number)
		if r.bad < 0 && !ok {
			r.at = at
			return all, privileges, errUnknownService
		}
		s := Grant007{Service: service}
		begin := len(privileges)
		if privileges = r.privileges(privileges); len(privileges) > begin {
			s.Privileges = privileges[begin:len(privileges):len(privileges)]
		}
		row := &serviceRows[service]
		if row.channel {
			s.Channel = r.str()
		}
		if row.user {
			s.User = User(r.str())
		}
		switch service {
		case APaaS:
			s.Role = int16(r.u16())
		case RTM2:
			s.Resources = r.resources()
		}
		if r.bad >= 0 {
			break
		}
		all = append(all, s)
	}
	return all, privileges, r.end(V007)
}

// privileges reads a map of privileges; one that comes twice is refused.
func (r *reader) privileges(all []PrivilegeLife) []PrivilegeLife {
	n := r.count(6)
	if n > maxPrivileges {
		r.fail(r.at)
		return all
	}
	begin, highest := len(all), Privilege(0)
	for range n {
		at := r.at
		p := PrivilegeLife{Privilege(r.u16()), r.u32()}
		if p.Privilege <= highest && slices.ContainsFunc(all[begin:], func(x PrivilegeLife) bool { return x.Privilege == p.Privilege }) {
			r.fail(at)
		}
		highest = max(highest, p.Privilege)
		all = append(all, p)
	}
	return all
}

func parse007(token string) (Card, error) {
	payload, err := payload007(token)
	if err != nil {
		return Card{}, err
	}
	h, r, err := split007(payload)
	if err != nil {
		return Card{}, err
	}
	c := Card{Format: V007, AppID: h.appID, Issued: h.issued, Expires: h.lifetime, Random: h.salt}
	copy(c.signature[:], h.signature)
	c.Services, _, err = services007(&r, h.services, []Grant007{}, nil)
	if err == errUnknownService {
		c.Opaque = []byte(r.rest())
		return c, nil
	}
	if err != nil {
		return Card{}, err
	}
	return c, nil
}

// sign007 returns the signature of a body under a certificate; buf is scratch.
func sign007(cert []byte, issued, salt uint32, body, buf []byte) (sum [32]byte, room []byte) {
	var le [4]byte
	binary.LittleEndian.PutUint32(le[:], issued)
	k1, buf := hmacSHA256(buf, le[:], cert)
	binary.LittleEndian.PutUint32(le[:], salt)
	k2, buf := hmacSHA256(buf, le[:], k1[:])
	sum, buf = hmacSHA256(buf, k2[:], body)
	clear(buf[:min(cap(buf), 2*sha256.BlockSize)]) // the certificate stood here
	return sum, buf
}

func (i *Issuer) mint007(c *Card) (string, error) {
	services := c.Services
	if !i.legacy.KeepOrder {
		services = slices.Clone(services)
		sortServices(services)
	}
	if len(services) == 0 && !i.legacy.Incomplete {
		return "", mintError("007", "it has no service, add one to Services (or set Legacy.Incomplete)")
	}
	if len(services) > maxString {
		return "", mintError("007", "it has too many services")
	}
	le := binary.LittleEndian
	body := appendStr(nil, i.app.ID)
	body = le.AppendUint32(body, c.Issued)
	body = le.AppendUint32(body, c.Expires)
	body = le.AppendUint32(body, c.Random)
	body = le.AppendUint16(body, uint16(len(services)))
	for n := range services {
		var err error
		if body, err = services[n].append007(body, i.legacy); err != nil {
			return "", err
		}
		if len(body) > MaxPayload-2-sha256.Size {
			return "", mintError("007", "it is longer than 64 KiB, give it fewer services or resources")
		}
	}
	sum, _ := sign007(i.app.Primary.text, c.Issued, c.Random, body, nil)
	packed := deflate(appendStr(nil, string(sum[:])), body)
	return prefix007 + base64.StdEncoding.EncodeToString(packed), nil
}

func serviceNumber(s Service) uint16 {
	if s < serviceCount {
		return serviceRows[s].v007
	}
	return 0
}

func (s *Grant007) append007(dst []byte, l Legacy) ([]byte, error) {
	number := serviceNumber(s.Service)
	if number == 0 {
		return nil, mintError("007", "it has no service "+s.Service.String())
	}
	row := &serviceRows[s.Service]
	switch {
	case !row.channel && s.Channel != "":
		return nil, mintError("007", "service "+row.name+" has no channel")
	case !row.user && s.User != "":
		return nil, mintError("007", "service "+row.name+" has no user")
	case s.Service != APaaS && s.Role != 0:
		return nil, mintError("007", "service "+row.name+" has no role")
	case s.Service != RTM2 && len(s.Resources) > 0:
		return nil, mintError("007", "service "+row.name+" has no resources")
	case (s.Service == RTM || s.Service == RTM2) && s.User == Anybody && !l.Names:
		return nil, mintError("007", "service "+row.name+" is for one account, set User (or set Legacy.Names)")
	}
	if row.channel && !(s.Service == APaaS && s.Channel == "") {
		if err := CheckChannel(s.Channel, l); err != nil {
			return nil, err
		}
	}
	if err := s.User.check(l); err != nil {
		return nil, err
	}
	privileges := s.Privileges
	if !l.KeepOrder {
		privileges = slices.Clone(privileges)
		slices.SortStableFunc(privileges, func(a, b PrivilegeLife) int { return cmp.Compare(a.Privilege, b.Privilege) })
	}
	if len(privileges) > maxPrivileges {
		return nil, mintError("007", "service "+row.name+" has more than 256 privileges")
	}
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, number)
	dst = le.AppendUint16(dst, uint16(len(privileges)))
	for n, p := range privileges {
		if (p.Privilege < 1 || int(p.Privilege) > len(row.privileges)) && !l.Incomplete {
			return nil, mintError("007", "service "+row.name+" has no such privilege, see PrivilegeName (or set Legacy.Incomplete)")
		}
		if slices.ContainsFunc(privileges[:n], func(x PrivilegeLife) bool { return x.Privilege == p.Privilege }) {
			return nil, mintError("007", "a privilege of service "+row.name+" comes twice, give each once")
		}
		dst = le.AppendUint16(dst, uint16(p.Privilege))
		dst = le.AppendUint32(dst, p.Seconds)
	}
	if row.channel {
		dst = appendStr(dst, s.Channel)
	}
	if row.user {
		dst = appendStr(dst, string(s.User))
	}
	switch s.Service {
	case APaaS:
		dst = le.AppendUint16(dst, uint16(s.Role))
	case RTM2:
		return appendResources(dst, s.Resources, l)
	}
	return dst, nil
}

func (v *Verifier) verify007(g *Grant, token string, c *Claims) (err error) {
	w := v.certs[0].v006.get()
	defer v.certs[0].v006.put(w)
	if err := w.inflate007(token); err != nil {
		return err
	}
	// The fields are read where they are, without a copy: w.plain is not written before
	// w is given back, and nothing of it is in what Verify returns.
	h, r, err := split007(unsafe.String(unsafe.SliceData(w.plain), len(w.plain)))
	switch {
	case err != nil:
		return err
	case h.appID != v.app.ID:
		return refuse(OtherApp, V007)
	}

	// 1. The signature, over the body as it was received.
	signature, body := w.plain[2:2+sha256.Size], w.plain[2+sha256.Size:]
	signer := -1
	for n := range v.certs {
		var sum [32]byte
		sum, w.msg = sign007(v.certs[n].text, h.issued, h.salt, body, w.msg)
		if subtle.ConstantTimeCompare(sum[:], signature) == 1 {
			signer = n
			break
		}
	}
	if signer < 0 {
		return refuse(WrongCertificate, V007)
	}
	v.grant(g, V007, signer, c)
	copy(g.signature[:], h.signature)
	life := int64(v.policy.MaxLife / time.Second)
	if h.lifetime != 0 {
		life = min(life, int64(h.lifetime))
	}
	g.EntryUntil = int64(h.issued) + life

	// 2. The services. They can be read to the end, or the key opens nothing.
	if c.Service == Opaque {
		return v.accessTimes(g, int64(h.issued), nil, nil, c)
	}
	services, privileges, err := services007(&r, h.services, w.services[:0], w.privileges[:0])
	defer func() {
		clear(services) // their strings are of the payload
		w.services, w.privileges = services, privileges
	}()
	if err == errUnknownService {
		return refuse(UnknownService, V007)
	}
	if err != nil {
		return err
	}

	// 3. Of several services of one kind the one that admits the claim counts, or
	// else the one that comes nearest.
	best := refuse(OtherService, V007)
	for i := range services {
		s := &services[i]
		if s.Service != c.Service {
			continue
		}
		err := v.verifyService(g, s, int64(h.issued), c)
		if err == nil {
			return nil
		}
		if nearness(err) > nearness(best) {
			best = err
		}
	}
	return best
}

// verifyService checks a claim against one service of a 007.
func (v *Verifier) verifyService(g *Grant, s *Grant007, issued int64, c *Claims) error {
	row := &serviceRows[s.Service]
	if row.channel && s.Channel != c.Channel {
		if !wildcardChannel(s.Service, s.Channel) || !matches(s.Channel, c.Channel) {
			return refuse(OtherChannel, V007)
		}
		if !v.policy.ChannelWildcards {
			return refuse(WildcardForbidden, V007)
		}
	}
	if row.user {
		any := row.anyUser && (s.User == Anybody || s.User == "*")
		switch {
		case any && v.policy.ForbidWildcard:
			return refuse(WildcardForbidden, V007)
		case !any && s.User != c.User:
			return refuse(OtherUser, V007)
		}
		g.Wildcard = any
	}
	find := func(want Privilege) (int64, bool) {
		for _, p := range s.Privileges {
			if p.Privilege == want {
				if end := issued + int64(p.Seconds); p.Seconds != 0 && end < g.EntryUntil {
					return end, true
				}
				return g.EntryUntil, true
			}
		}
		return 0, false
	}
	return v.accessTimes(g, issued, entry(V007, c), find, c)
}

// nearness orders the reasons by how far a claim came.
func nearness(err error) int {
	r, _ := err.(*Refusal) // as refuse returns it; errors.As would allocate
	switch r.reason {
	case OtherService:
		return 0
	case OtherChannel:
		return 1
	case OtherUser:
		return 2
	case WildcardForbidden:
		return 3
	case PrivilegeMissing:
		return 4
	}
	return 5
}

// sortServices puts services in the order in which builders write them.
func sortServices(all []Grant007) {
	slices.SortStableFunc(all, func(a, b Grant007) int {
		return cmp.Compare(serviceNumber(a.Service), serviceNumber(b.Service))
	})
}
