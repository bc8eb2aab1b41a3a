package treekem

import (
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/suite"
)

// summary is what CheckMembers and Common need to know of all leaves of a
// subtree. It is kept in every node beside the hash, so that a change costs
// only the nodes above it. A nil summary is that of a subtree without members.
type summary struct {
	uses []CredentialType // every credential type in use, sorted
	has  Capabilities     // what all have in common, each list sorted
}

func summarise(l *LeafNode) *summary {
	c := &l.Capabilities
	return &summary{
		uses: []CredentialType{l.Credential.Type},
		has: Capabilities{
			Versions:    set(c.Versions),
			Suites:      set(c.Suites),
			Extensions:  set(c.Extensions),
			Proposals:   set(c.Proposals),
			Credentials: set(c.Credentials),
		},
	}
}

// merge returns the summary of both. It returns a itself where it can, so that
// a tree of like members holds few summaries.
func (a *summary) merge(b *summary) *summary {
	switch {
	case b == nil || a == b:
		return a
	case a == nil:
		return b
	}
	if a.equal(b) {
		return a
	}
	return &summary{
		uses: sorted(slices.Concat(a.uses, b.uses)),
		has: Capabilities{
			Versions:    intersect(a.has.Versions, b.has.Versions),
			Suites:      intersect(a.has.Suites, b.has.Suites),
			Extensions:  intersect(a.has.Extensions, b.has.Extensions),
			Proposals:   intersect(a.has.Proposals, b.has.Proposals),
			Credentials: intersect(a.has.Credentials, b.has.Credentials),
		},
	}
}

func (a *summary) equal(b *summary) bool {
	return slices.Equal(a.uses, b.uses) && slices.Equal(a.has.Versions, b.has.Versions) &&
		slices.Equal(a.has.Suites, b.has.Suites) && slices.Equal(a.has.Extensions, b.has.Extensions) &&
		slices.Equal(a.has.Proposals, b.has.Proposals) && slices.Equal(a.has.Credentials, b.has.Credentials)
}

// set is sorted without GREASE: what every leaf has of its own would make every
// summary another, and nothing that is in use may be one of those numbers.
func set[T ~uint16](list []T) []T {
	return sorted(slices.DeleteFunc(slices.Clone(list), isGREASE[T]))
}

// sorted sorts the list, which it owns, and drops repetitions.
func sorted[T ~uint16](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}

// isGREASE reports whether a number is one of those that mean nothing (RFC
// 9420, Section 13.5): 0x0A0A, 0x1A1A and so on to 0xEAEA.
func isGREASE[T ~uint16](v T) bool {
	return v&0x0f0f == 0x0a0a && v>>8 == v&0xff && v != 0xfafa
}

// intersect returns what two sorted lists have in common.
func intersect[T ~uint16](a, b []T) []T {
	var out []T
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			out = append(out, a[0])
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// CheckMembers applies the rules of RFC 9420, Section 7.3, that concern the
// members together: no key is used twice ([ErrDuplicateKey]), and every
// credential type in use is in every member's capabilities ([ErrLeaf]). It
// costs no more than what changed since the last call.
func (t *Tree) CheckMembers() error {
	if t.keys.extra > 0 {
		return ErrDuplicateKey
	}
	t.refresh()
	if all := t.top.all; all != nil {
		for _, use := range all.uses {
			if _, ok := slices.BinarySearch(all.has.Credentials, use); !ok {
				return fmt.Errorf("%w: not every member supports credential type %d, which is in use", ErrLeaf, use)
			}
		}
	}
	return nil
}

// CredentialTypes returns the types of all members' credentials, sorted. The
// caller must not change the result.
func (t *Tree) CredentialTypes() []CredentialType {
	t.refresh()
	if t.top.all == nil {
		return nil
	}
	return t.top.all.uses
}

// Common returns what all members' capabilities have in common, each list
// sorted: the default types are not in it. A type that a group's context or a
// proposal needs must be here. The caller must not change the result.
func (t *Tree) Common() *Capabilities {
	t.refresh()
	if t.top.all == nil {
		return &Capabilities{Versions: []ProtocolVersion{MLS10}, Suites: []suite.ID{t.suite.ID()}}
	}
	return &t.top.all.has
}
