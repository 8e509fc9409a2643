package proxy

import (
	"fmt"
	"strconv"
	"strings"
)

// Ports is a range of ports, both ends included.
type Ports struct{ First, Last uint16 }

// Port is the range of a single port.
func Port(n uint16) Ports { return Ports{n, n} }

// AllPorts is every port but 0.
var AllPorts = Ports{1, 65535}

// ParsePorts reads "4000", "4500-4650" (or with a dash as it is printed), or "*".
func ParsePorts(s string) (Ports, error) {
	if s == "*" {
		return AllPorts, nil
	}
	first, last, isRange := strings.Cut(strings.ReplaceAll(s, "–", "-"), "-")
	if !isRange {
		last = first
	}
	a, errA := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	b, errB := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if errA != nil || errB != nil || a == 0 || a > b {
		return Ports{}, fmt.Errorf("proxy: %q is no range of ports, give one as 4000 or 4500-4650", s)
	}
	return Ports{uint16(a), uint16(b)}, nil
}

// ParsePortList reads ranges with commas between them.
func ParsePortList(s string) ([]Ports, error) {
	var list []Ports
	for part := range strings.SplitSeq(s, ",") {
		p, err := ParsePorts(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// String returns the range as ParsePorts reads it.
func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// Contains reports whether a port is in the range.
func (p Ports) Contains(port uint16) bool { return p.First <= port && port <= p.Last }

// Len is how many ports are in the range.
func (p Ports) Len() int { return int(p.Last) - int(p.First) + 1 }

// MarshalText and UnmarshalText write and read the form of String.
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the form of String.
func (p *Ports) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePorts(string(text))
	return err
}

func joinPorts(list []Ports, separator string) string {
	parts := make([]string, len(list))
	for i, p := range list {
		parts[i] = p.String()
	}
	return strings.Join(parts, separator)
}
