package program

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/chanseal/chanseal/keyring"
)

// parseSenders reads ranges of sender numbers, such as "7" or "100-109,120".
func parseSenders(s string) (out []keyring.SenderRange, err error) {
	for _, one := range strings.Split(s, ",") {
		first, last, two := strings.Cut(one, "-")
		if !two {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, wrongSenders(one)
		}
		b, err := strconv.ParseUint(last, 10, 16)
		if err != nil || b < a {
			return nil, wrongSenders(one)
		}
		out = append(out, keyring.SenderRange{First: uint16(a), Last: uint16(b)})
	}
	slices.SortFunc(out, func(a, b keyring.SenderRange) int { return cmp.Compare(a.First, b.First) })
	for i := 1; i < len(out); i++ {
		if out[i].First <= out[i-1].Last {
			return nil, fmt.Errorf("sender number %d is given twice", out[i].First)
		}
	}
	return out, nil
}

func wrongSenders(s string) error {
	if s == "" {
		return errors.New("sender numbers are missing: want some such as 7 or 100-109,120")
	}
	return fmt.Errorf("%q: want sender numbers from 0 to 65535, such as 7 or 100-109,120", s)
}

func formatSenders(ranges []keyring.SenderRange) string {
	var all []string
	for _, r := range ranges {
		one := strconv.Itoa(int(r.First))
		if r.Last > r.First {
			one += "-" + strconv.Itoa(int(r.Last))
		}
		all = append(all, one)
	}
	return strings.Join(all, ",")
}

// disjoint refuses to give a sender number to two recipients.
func disjoint(all []keyring.Grant) error {
	type owned struct {
		keyring.SenderRange
		who int
	}
	var ranges []owned
	for i, g := range all {
		for _, r := range g.Senders {
			ranges = append(ranges, owned{r, i})
		}
	}
	slices.SortFunc(ranges, func(a, b owned) int { return cmp.Compare(a.First, b.First) })
	for i := 1; i < len(ranges); i++ {
		if a, b := ranges[i-1], ranges[i]; b.First <= a.Last {
			return fmt.Errorf("recipients %d and %d are both given sender number %d", min(a.who, b.who)+1, max(a.who, b.who)+1, b.First)
		}
	}
	return nil
}
