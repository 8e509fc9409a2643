package channelkey

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Resource is what an RTM2 service of a 007 may do with the resources of a kind:
// 0 message channels, 1 stream channels, 2 group channels, 3 server groups, 4 users.
type Resource struct {
	Kind   uint16
	Rights []Right
}

// Right is one right, 0 to read and 1 to write, and the names it is for.
type Right struct {
	Right uint16
	Names []string
}

// resources reads the two nested maps: u16 n ‖ n × (u16 kind ‖ u16 m ‖ m × (u16
// right ‖ u16 k ‖ k × str)). A key that comes twice in its map is refused.
func (r *reader) resources() []Resource {
	var all []Resource
	for range r.count(4) {
		at := r.at
		one := Resource{Kind: r.u16()}
		if len(all) == 256 || slices.ContainsFunc(all, func(x Resource) bool { return x.Kind == one.Kind }) {
			r.fail(at)
		}
		for range r.count(4) {
			at := r.at
			right := Right{Right: r.u16()}
			if len(one.Rights) == 256 || slices.ContainsFunc(one.Rights, func(x Right) bool { return x.Right == right.Right }) {
				r.fail(at)
			}
			for range r.count(2) {
				right.Names = append(right.Names, r.str())
			}
			if r.bad >= 0 {
				return nil
			}
			one.Rights = append(one.Rights, right)
		}
		all = append(all, one)
	}
	return all
}

// appendResources writes the two nested maps, ascending unless KeepOrder is set.
func appendResources(dst []byte, all []Resource, l Legacy) ([]byte, error) {
	le := binary.LittleEndian
	if !l.KeepOrder {
		all = slices.Clone(all)
		slices.SortStableFunc(all, func(a, b Resource) int { return cmp.Compare(a.Kind, b.Kind) })
	}
	if len(all) > 256 {
		return nil, mintError("007", "it has more than 256 kinds of resource")
	}
	dst = le.AppendUint16(dst, uint16(len(all)))
	for n, one := range all {
		if slices.ContainsFunc(all[:n], func(x Resource) bool { return x.Kind == one.Kind }) {
			return nil, mintError("007", "a kind of resource comes twice, give each once")
		}
		rights := one.Rights
		if !l.KeepOrder {
			rights = slices.Clone(rights)
			slices.SortStableFunc(rights, func(a, b Right) int { return cmp.Compare(a.Right, b.Right) })
		}
		if len(rights) > 256 {
			return nil, mintError("007", "it has more than 256 rights")
		}
		dst = le.AppendUint16(dst, one.Kind)
		dst = le.AppendUint16(dst, uint16(len(rights)))
		for n, right := range rights {
			if slices.ContainsFunc(rights[:n], func(x Right) bool { return x.Right == right.Right }) {
				return nil, mintError("007", "a right comes twice for one kind of resource, give each once")
			}
			if len(right.Names) > maxString {
				return nil, mintError("007", "a right has more than 65535 names")
			}
			dst = le.AppendUint16(dst, right.Right)
			dst = le.AppendUint16(dst, uint16(len(right.Names)))
			for _, name := range right.Names {
				if len(name) > maxString {
					return nil, mintError("007", "the name of a resource is longer than 65535 bytes")
				}
				dst = appendStr(dst, name)
			}
		}
	}
	return dst, nil
}
