package main

import (
	"fmt"
	"regexp"
	"strings"
)

// A schedule is written with virtual registers in braces: {name} is the zmm
// register, {Y:name} and {X:name} its lower parts. assign maps them onto a
// pool in one linear scan: a name lives from its first mention to its last.
var virtual = regexp.MustCompile(`\{(?:([XYZ]):)?([A-Za-z0-9]+)\}`)

func assign(ins []string, pool []int) []string {
	last := map[string]int{}
	for i, l := range ins {
		for _, m := range virtual.FindAllStringSubmatch(l, -1) {
			last[m[2]] = i
		}
	}
	free := append([]int(nil), pool...)
	at := map[string]int{}
	out := make([]string, 0, len(ins))
	for i, l := range ins {
		var fresh, dying []string
		for _, m := range virtual.FindAllStringSubmatch(l, -1) {
			n := m[2]
			if _, ok := at[n]; !ok {
				at[n] = -1
				fresh = append(fresh, n)
			} else if last[n] == i && at[n] >= 0 && !contains(dying, n) && !contains(fresh, n) {
				dying = append(dying, n)
			}
		}
		// A result may take the register of an operand that dies here, unless
		// the write is masked.
		reuse := !strings.Contains(l, ", K")
		var given []string
		for _, n := range fresh {
			if reuse && len(dying) > len(given) {
				d := dying[len(given)]
				at[n] = at[d]
				given = append(given, d)
				continue
			}
			if len(free) == 0 {
				panic("assign: out of registers at: " + l)
			}
			at[n], free = free[0], free[1:]
		}
		out = append(out, virtual.ReplaceAllStringFunc(l, func(s string) string {
			m := virtual.FindStringSubmatch(s)
			kind := m[1]
			if kind == "" {
				kind = "Z"
			}
			return fmt.Sprintf("%s%d", kind, at[m[2]])
		}))
		for _, n := range dying {
			if !contains(given, n) {
				free = append(free, at[n])
			}
			delete(at, n)
		}
		for _, n := range fresh {
			if last[n] == i {
				free = append(free, at[n])
				delete(at, n)
			}
		}
	}
	return out
}

func contains(s []string, x string) bool {
	for _, v := range s {
		if v == x {
			return true
		}
	}
	return false
}
