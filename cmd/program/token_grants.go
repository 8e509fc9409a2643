package program

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// grantFlag is one privilege that --privileges names.
type grantFlag struct {
	privilege channelkey.Privilege
	ends      bool // at, in unix seconds; otherwise with the key
	at        uint32
}

func (g grantFlag) until(key uint32) uint32 {
	if g.ends {
		return g.at
	}
	return key
}

// groups are privileges that usually come together.
var groups = map[string][]string{
	"publisher":  {"join", "publish-audio", "publish-video", "publish-data"},
	"subscriber": {"join"},
}

// granted returns the privileges of each service: those that are named, and what it
// takes to enter where none is.
func (m *minting) granted(f channelkey.Format, services []channelkey.Service, user channelkey.User, base time.Time) ([][]grantFlag, error) {
	all := make([][]grantFlag, len(services))
	for _, text := range m.privileges {
		name, end, ends := strings.Cut(text, "=")
		g := grantFlag{ends: ends}
		if ends {
			moment, err := parseMoment(end)
			if err == nil && !moment.when0() {
				g.at, err = moment.when(base)
			}
			if err != nil {
				return all, &failure{err: fmt.Errorf("--privileges: %s: %w", text, err), code: exitUsage}
			}
		}
		names := groups[name]
		if names == nil {
			names = []string{name}
		}
		for _, name := range names {
			i, p, err := findPrivilege(f, services, name)
			if err != nil {
				return all, err
			}
			g.privilege = p
			all[i] = append(all[i], g)
		}
	}
	for i, s := range services {
		if all[i] != nil {
			continue
		}
		c := channelkey.Claims{Channel: m.channel, User: user, Service: s}
		if entry := channelkey.EntryPrivileges(f, c); len(entry) > 0 {
			all[i] = []grantFlag{{privilege: entry[0]}}
		}
	}
	return all, nil
}

// findPrivilege finds the service that knows a privilege, and its number.
func findPrivilege(f channelkey.Format, services []channelkey.Service, name string) (int, channelkey.Privilege, error) {
	if of, rest, ok := strings.Cut(name, ":"); ok {
		s, known := channelkey.ParseService(of)
		i := slices.Index(services, s)
		if p, ok := channelkey.ParsePrivilege(f, s, rest); known && i >= 0 && ok {
			return i, p, nil
		}
	} else {
		for i, s := range services {
			if p, ok := channelkey.ParsePrivilege(f, s, name); ok {
				return i, p, nil
			}
		}
	}
	var known []string
	for _, s := range services {
		known = append(known, privilegeNames(f, s)...)
	}
	return 0, 0, &failure{err: fmt.Errorf("--privileges: no privilege %q, known are %s", name, strings.Join(known, ", ")), code: exitUsage}
}

// privilegeNames lists the names of a service's privileges.
func privilegeNames(f channelkey.Format, s channelkey.Service) (names []string) {
	highest := channelkey.Privilege(12)
	if f == channelkey.V006 {
		highest = channelkey.LoginRTM006
	}
	for p := channelkey.Privilege(1); p <= highest; p++ {
		if name := channelkey.PrivilegeName(f, s, p); name != strconv.Itoa(int(p)) {
			names = append(names, name)
		}
	}
	return names
}

// when0 reports whether the moment is "0": none.
func (v *momentValue) when0() bool { return !v.span && v.at.Unix() == 0 }

var (
	resourceKinds = []string{"message-channels", "stream-channels", "group-channels", "server-groups", "users"}
	rightNames    = []string{"read", "write"}
)

// parseResources reads the rights of an rtm2 service.
func parseResources(texts []string) (all []channelkey.Resource, err error) {
	for _, text := range texts {
		parts := strings.SplitN(text, ":", 3)
		kind, right := -1, -1
		if len(parts) == 3 {
			kind, right = indexOrNumber(resourceKinds, parts[0]), indexOrNumber(rightNames, parts[1])
		}
		if kind < 0 || right < 0 {
			return nil, &failure{err: fmt.Errorf("--resource: %q is not KIND:RIGHT:NAME,…", text), code: exitUsage,
				hints: []string{"KIND is " + strings.Join(resourceKinds, ", ") + "; RIGHT is " + strings.Join(rightNames, ", ")}}
		}
		names := strings.Split(parts[2], ",")
		i := slices.IndexFunc(all, func(r channelkey.Resource) bool { return int(r.Kind) == kind })
		if i < 0 {
			i = len(all)
			all = append(all, channelkey.Resource{Kind: uint16(kind)})
		}
		all[i].Rights = append(all[i].Rights, channelkey.Right{Right: uint16(right), Names: names})
	}
	return all, nil
}

// indexOrNumber returns the place of a name in a list, or the number that it is, or -1.
func indexOrNumber(list []string, name string) int {
	if i := slices.Index(list, name); i >= 0 {
		return i
	}
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return int(n)
	}
	return -1
}

// nameOrNumber is the way back.
func nameOrNumber(list []string, n uint16) string {
	if int(n) < len(list) {
		return list[n]
	}
	return strconv.Itoa(int(n))
}
