package channelkey

import (
	"slices"
	"strconv"
	"strings"
)

// Service is what a key opens. The zero value is the media channel.
type Service uint8

// The services. Media is the channel itself; dk4 knows the first three, dk5 the
// first four, 006 Media and RTM, 007 Media and those from RTM on.
const (
	Media     Service = iota // RTC media channel
	Recording                // hosted recording of a channel
	Sharing                  // public sharing of a channel
	InChannel                // permissions inside a channel (dk5)
	RTM                      // messaging
	Streaming                // media push
	FPA                      // acceleration
	Chat                     // chat
	FCDN                     // fusion CDN
	APaaS                    // flexible classroom, education
	RTM2                     // messaging and stream channels, with permissions

	// Opaque is the service of a claim that asks for nothing but the signature of
	// a 007, whose services need not be readable. It needs Legacy.OpaqueServices.
	Opaque Service = 0xff

	serviceCount = RTM2 + 1
)

// A Privilege is one thing a service allows, in the numbers of 007 (counted for
// each service on its own) or of 006.
type Privilege uint16

// The privileges of a media channel, equal in 006 and 007.
const (
	JoinChannel  Privilege = 1
	PublishAudio Privilege = 2
	PublishVideo Privilege = 3
	PublishData  Privilege = 4
)

// The other privileges.
const (
	LoginRTM006   Privilege = 1000 // 006: messaging
	LoginRTM      Privilege = 1    // RTM, RTM2
	PushMix       Privilege = 1    // Streaming
	PushRaw       Privilege = 2    // Streaming
	LoginFPA      Privilege = 1    // FPA
	ChatUser      Privilege = 1    // Chat
	ChatApp       Privilege = 2    // Chat
	FCDNPublish   Privilege = 1    // FCDN
	FCDNPlay      Privilege = 2    // FCDN
	APaaSRoomUser Privilege = 1    // APaaS
	APaaSUser     Privilege = 2    // APaaS
	APaaSApp      Privilege = 3    // APaaS
)

// serviceRow says how a service looks in each format.
type serviceRow struct {
	name       string
	dk4        string   // the string that dk4 signs
	dk5        uint16   // number in dk5
	v007       uint16   // number in 007
	channel    bool     // 007: the body has a channel (or room)
	user       bool     // 007: the body has a user
	anyUser    bool     // 007: an empty user lets everybody in
	privileges []string // 007: names, from number 1 on
}

var serviceRows = [serviceCount]serviceRow{
	Media: {name: "media", dk4: "ACS", dk5: 1, v007: 1, channel: true, user: true, anyUser: true,
		privileges: []string{"join", "publish-audio", "publish-video", "publish-data"}},
	Recording: {name: "recording", dk4: "ARS", dk5: 2},
	Sharing:   {name: "sharing", dk4: "APSS", dk5: 3},
	InChannel: {name: "in-channel", dk5: 4},
	RTM:       {name: "rtm", v007: 2, user: true, privileges: []string{"login"}},
	Streaming: {name: "streaming", v007: 3, channel: true, user: true, anyUser: true,
		privileges: []string{"publish-mix-stream", "publish-raw-stream"}},
	FPA:  {name: "fpa", v007: 4, privileges: []string{"login"}},
	Chat: {name: "chat", v007: 5, user: true, privileges: []string{"user", "app"}},
	FCDN: {name: "fcdn", v007: 6, channel: true, user: true, anyUser: true,
		privileges: []string{"publish", "play"}},
	APaaS: {name: "apaas", v007: 7, channel: true, user: true,
		privileges: []string{"room-user", "user", "app"}},
	RTM2: {name: "rtm2", v007: 8, user: true, privileges: []string{"login"}},
}

// privileges006 are the privileges of a 006.
var privileges006 = map[Privilege]string{
	1: "join", 2: "publish-audio", 3: "publish-video", 4: "publish-data",
	5: "publish-audio-cdn", 6: "publish-video-cdn",
	7: "request-publish-audio", 8: "request-publish-video", 9: "request-publish-data",
	10: "invite-publish-audio", 11: "invite-publish-video", 12: "invite-publish-data",
	101: "administrate-channel", LoginRTM006: "rtm-login",
}

// String returns the service's name, such as "media".
func (s Service) String() string {
	switch {
	case s < serviceCount:
		return serviceRows[s].name
	case s == Opaque:
		return "opaque"
	}
	return "unknown"
}

// ParseService returns the service of a name; the vendor's ACS, ARS and APSS are
// understood too.
func ParseService(name string) (Service, bool) {
	for s := range serviceCount {
		r := &serviceRows[s]
		if strings.EqualFold(name, r.name) || r.dk4 != "" && name == r.dk4 {
			return s, true
		}
	}
	return 0, false
}

// DefaultService returns the service that keys of a format are for if nothing else
// is said: RTM for signaling, else Media.
func DefaultService(f Format) Service {
	if f == Signaling {
		return RTM
	}
	return Media
}

// PrivilegeName returns the name of a service's privilege in a format, or its
// number in decimal.
func PrivilegeName(f Format, s Service, p Privilege) string {
	if f == V006 {
		if name, ok := privileges006[p]; ok {
			return name
		}
	} else if s < serviceCount && p >= 1 && int(p) <= len(serviceRows[s].privileges) {
		return serviceRows[s].privileges[p-1]
	}
	return strconv.Itoa(int(p))
}

// ParsePrivilege returns a service's privilege in a format from its name, or from
// its decimal number.
func ParsePrivilege(f Format, s Service, name string) (Privilege, bool) {
	if f == V006 {
		for p, n := range privileges006 {
			if n == name {
				return p, true
			}
		}
		if s == RTM && name == "login" {
			return LoginRTM006, true
		}
	} else if s < serviceCount {
		for i, n := range serviceRows[s].privileges {
			if n == name {
				return Privilege(i + 1), true
			}
		}
	}
	n, err := strconv.ParseUint(name, 10, 16)
	return Privilege(n), err == nil
}

// service007 returns the service of a number in 007.
func service007(n uint16) (Service, bool) {
	if int(n) >= len(services007ByNumber) {
		return 0, false
	}
	s := services007ByNumber[n]
	return s, serviceRows[s].v007 == n && n != 0
}

// services007ByNumber is column v007 of serviceRows the other way round.
var services007ByNumber = func() (t [9]Service) {
	for s := range serviceCount {
		t[serviceRows[s].v007] = s
	}
	return t
}()

// service005 returns the service of a number in dk5.
func service005(n uint16) (Service, bool) {
	for s := range serviceCount {
		if n != 0 && serviceRows[s].dk5 == n {
			return s, true
		}
	}
	return 0, false
}

// EntryPrivileges returns the privileges of which a 006 or 007 must grant one to
// let the claimed person into the claimed service; nil for formats and services
// without privileges.
func EntryPrivileges(f Format, c Claims) []Privilege {
	switch {
	case f == V006 && c.Service != Media && c.Service != RTM,
		f == V007 && serviceNumber(c.Service) == 0,
		f != V006 && f != V007:
		return nil
	}
	return slices.Clone(entry(f, &c))
}

// entry is EntryPrivileges without a copy.
func entry(f Format, c *Claims) []Privilege {
	if f == V006 && c.Service == RTM {
		return entryRTM006
	}
	switch c.Service {
	case Streaming, FCDN:
		return entryEither
	case Chat:
		if c.User == Anybody {
			return entrySecond
		}
	case APaaS:
		switch {
		case c.Channel == "" && c.User == Anybody:
			return entryThird
		case c.Channel == "":
			return entrySecond
		}
	}
	return entryFirst
}

var (
	entryFirst  = []Privilege{1}
	entrySecond = []Privilege{2}
	entryThird  = []Privilege{3}
	entryEither = []Privilege{1, 2}
	entryRTM006 = []Privilege{LoginRTM006}
)
