package channelkey

import (
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"fmt"
	"io"
	"sort"
)

// The kinds of vector file that RunVectors knows.
const (
	KindVectors         = "channelkey"          // valid keys with their inputs, run with the Legacy switches they need
	KindNegativeVectors = "channelkey-negative" // keys with claims and a verdict, run in strict mode
)

// Report is the outcome of a vector file.
type Report struct {
	Kind   string
	Arrays []ArrayReport
}

// ArrayReport is the outcome of one array of a vector file.
type ArrayReport struct {
	Name           string
	Passed, Failed int
	// Skipped counts the entries of formats that FIPS 140-only mode forbids.
	Skipped int
	// Strict counts the entries that needed no Legacy switch, and Switches those
	// that needed the switch of that name (an entry may need several).
	Strict   int
	Switches map[string]int
	Failures []VectorFailure // at most MaxFailures
}

// VectorFailure is one entry that failed: its place in the array and its "id".
type VectorFailure struct {
	Index int
	ID    string
	Err   error
}

// MaxFailures is how many failures an ArrayReport describes.
const MaxFailures = 100

// Passed and Failed count the entries of all arrays.
func (r *Report) Passed() (n int) {
	for i := range r.Arrays {
		n += r.Arrays[i].Passed
	}
	return n
}

// Failed counts the entries that failed.
func (r *Report) Failed() (n int) {
	for i := range r.Arrays {
		n += r.Arrays[i].Failed
	}
	return n
}

func (a *ArrayReport) fail(index int, id string, err error) {
	a.Failed++
	if len(a.Failures) < MaxFailures {
		a.Failures = append(a.Failures, VectorFailure{index, id, err})
	}
}

// RunVectors runs a vector file: a JSON object whose "kind" is one of the two
// above and whose "vectors" are the entries. Any other array is an error, and so is
// a file without entries: nobody would check them.
func RunVectors(data []byte) (Report, error) {
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		return Report{}, fmt.Errorf("channelkey: vector file is not a JSON object: %w", err)
	}
	var report Report
	if err := json.Unmarshal(file["kind"], &report.Kind); err != nil {
		return Report{}, fmt.Errorf("channelkey: vector file has no kind")
	}
	var run func(*vector, *ArrayReport) error
	switch report.Kind {
	case KindVectors:
		run = runPositive
	case KindNegativeVectors:
		run = runNegative
	default:
		return Report{}, fmt.Errorf("channelkey: vector file is of kind %q, want %s or %s", report.Kind, KindVectors, KindNegativeVectors)
	}
	for name, raw := range file {
		if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '[' && name != "vectors" {
			return Report{}, fmt.Errorf("channelkey: vector file has the unknown array %q", name)
		}
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(file["vectors"], &entries); err != nil || len(entries) == 0 {
		return Report{}, fmt.Errorf(`channelkey: vector file has no entries in "vectors"`)
	}
	a := ArrayReport{Name: "vectors", Switches: map[string]int{}}
	a.run(entries, run)
	report.Arrays = append(report.Arrays, a)
	return report, nil
}

func (a *ArrayReport) run(entries []json.RawMessage, run func(*vector, *ArrayReport) error) {
	for n, raw := range entries {
		v := vector{ID: fmt.Sprintf("entry %d", n)}
		err := v.decode(raw)
		if err == nil && formatRows[v.format].legacy && fips140.Enforced() {
			a.Skipped++
			continue
		}
		if err == nil {
			err = run(&v, a)
		}
		if err != nil {
			a.fail(n, v.ID, err)
			continue
		}
		a.Passed++
	}
}

// vector is an entry of either kind.
type vector struct {
	ID             string          `json:"id"`
	FormatName     string          `json:"format"`
	Token          *string         `json:"token"`
	AppID          string          `json:"app_id"`
	AppCertificate string          `json:"app_certificate"`
	Channel        string          `json:"channel"`
	UserRaw        json.RawMessage `json:"uid"` // a number in dk2-dk5, a text in 006
	Account        string          `json:"account"`
	ServiceRaw     json.RawMessage `json:"service"` // a text in dk4, a number in dk5

	UnixTS       uint32            `json:"unix_ts"`
	ExpiredTS    uint32            `json:"expired_ts"`
	RandomInt    uint32            `json:"random_int"`
	RandomIntRaw *int64            `json:"random_int_raw"`
	UIDRaw       *int64            `json:"uid_raw"`
	Extra        map[uint16]string `json:"extra"`
	Variant      string            `json:"variant"`

	TS             uint32               `json:"ts"`
	Salt           uint32               `json:"salt"`
	Privileges     map[Privilege]uint32 `json:"privileges"`
	PrivilegeOrder []Privilege          `json:"privilege_order"`

	IssueTS   uint32          `json:"issue_ts"`
	Expire    uint32          `json:"expire"`
	Services  []vectorService `json:"services"`
	ByteExact *bool           `json:"byte_exact_compare"`
	Opaque    bool            `json:"opaque"`

	Expect string `json:"expect"`
	Reason string `json:"reason"`

	Intermediate struct {
		SignatureHex string `json:"signature_hex"`
		RawHex       string `json:"raw_hex"`
	} `json:"intermediate"`

	format  Format
	user    User
	service Service
	app     App
}

type vectorService struct {
	Type        uint16                         `json:"type"`
	Privileges  map[Privilege]uint32           `json:"privileges"`
	Channel     string                         `json:"channel"`
	UID         string                         `json:"uid"`
	Account     string                         `json:"account"`
	UserID      string                         `json:"user_id"`
	RoomUUID    string                         `json:"room_uuid"`
	UserUUID    string                         `json:"user_uuid"`
	Role        int16                          `json:"role"`
	Permissions map[uint16]map[uint16][]string `json:"permissions"`
}

func (v *vector) decode(raw json.RawMessage) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return err
	}
	if v.Token == nil {
		return fmt.Errorf("it has no token")
	}
	var ok bool
	if v.format, ok = ParseFormat(v.FormatName); !ok {
		return fmt.Errorf("its format %q is not known", v.FormatName)
	}
	v.app = App{ID: v.AppID, Primary: NewCertificate([]byte(v.AppCertificate))}
	if err := v.decodeUser(); err != nil {
		return err
	}
	return v.decodeService()
}

func (v *vector) decodeUser() error {
	if v.format == Signaling {
		v.user = User(v.Account)
		return nil
	}
	if len(v.UserRaw) == 0 {
		return nil
	}
	var text string
	if json.Unmarshal(v.UserRaw, &text) == nil {
		v.user = User(text)
		return nil
	}
	var number int64
	if err := json.Unmarshal(v.UserRaw, &number); err != nil {
		return fmt.Errorf("its uid is neither a number nor a text")
	}
	uid, err := Uint32(number, Legacy{})
	v.user = UID(uid)
	return err
}

func (v *vector) decodeService() error {
	v.service = DefaultService(v.format)
	if len(v.ServiceRaw) == 0 || string(v.ServiceRaw) == "null" {
		_, rtm := v.Privileges[LoginRTM006]
		if _, join := v.Privileges[JoinChannel]; rtm && !join && v.format == V006 {
			v.service = RTM
		}
		return nil
	}
	var text string
	var number uint16
	ok := false
	if json.Unmarshal(v.ServiceRaw, &text) == nil {
		v.service, ok = ParseService(text)
	} else if json.Unmarshal(v.ServiceRaw, &number) == nil {
		v.service, ok = service005(number)
	}
	if !ok {
		return fmt.Errorf("its service %s is not known", v.ServiceRaw)
	}
	return nil
}

// claims returns what the entry's key must be verified against: one claim, or one
// for each service of a 007.
func (v *vector) claims() ([]Claims, error) {
	if v.format != V007 || v.Services == nil && v.Channel != "" {
		c := Claims{Channel: v.Channel, User: v.user, Service: v.service}
		if v.format == V006 {
			c.Need = sortedKeys(v.Privileges)
			if v.service == RTM {
				c.Channel, c.User = "", User(v.Channel)
			}
		}
		return []Claims{c}, nil
	}
	if v.Opaque || len(v.Services) == 0 {
		return []Claims{{Service: Opaque}}, nil
	}
	var all []Claims
	for n := range v.Services {
		s, err := v.Services[n].grant()
		if err != nil {
			return nil, err
		}
		all = append(all, Claims{Channel: s.Channel, User: s.User, Service: s.Service, Need: sortedKeys(v.Services[n].Privileges)})
	}
	return all, nil
}

// sortedKeys returns the privileges in ascending order, never nil.
func sortedKeys(m map[Privilege]uint32) []Privilege {
	keys := make([]Privilege, 0, len(m))
	for p := range m {
		keys = append(keys, p)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	return keys
}

// grant returns the service as a card has it.
func (s *vectorService) grant() (Grant007, error) {
	service, ok := service007(s.Type)
	if !ok {
		return Grant007{}, fmt.Errorf("its service type %d is not known", s.Type)
	}
	g := Grant007{Service: service, Channel: s.Channel + s.RoomUUID,
		User: User(s.UID + s.Account + s.UserID + s.UserUUID), Role: s.Role}
	for _, p := range sortedKeys(s.Privileges) {
		g.Privileges = append(g.Privileges, PrivilegeLife{p, s.Privileges[p]})
	}
	for kind, rights := range s.Permissions {
		one := Resource{Kind: kind}
		for right, names := range rights {
			if len(names) == 0 {
				names = nil
			}
			one.Rights = append(one.Rights, Right{right, names})
		}
		sort.Slice(one.Rights, func(i, j int) bool { return one.Rights[i].Right < one.Rights[j].Right })
		g.Resources = append(g.Resources, one)
	}
	sort.Slice(g.Resources, func(i, j int) bool { return g.Resources[i].Kind < g.Resources[j].Kind })
	return g, nil
}

// Write prints the report: for each array the counts, the entries per switch and
// the failures.
func (r *Report) Write(w io.Writer) {
	for i := range r.Arrays {
		a := &r.Arrays[i]
		fmt.Fprintf(w, "%s: %d passed, %d failed, %d skipped", a.Name, a.Passed, a.Failed, a.Skipped)
		if r.Kind == KindVectors {
			fmt.Fprintf(w, "; strict %d", a.Strict)
			for _, s := range Switches() {
				if n := a.Switches[s.Name]; n > 0 {
					fmt.Fprintf(w, ", %s %d", s.Name, n)
				}
			}
		}
		fmt.Fprintln(w)
		for _, f := range a.Failures {
			fmt.Fprintf(w, "  failed: %s: %v\n", f.ID, f.Err)
		}
	}
}
