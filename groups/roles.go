package groups

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// rolesVersion is the version of the roles extension's format and rules.
const rolesVersion = 1

// Who says which members may do a thing.
type Who uint8

// Who may.
const (
	Admins  Who = 1
	Members Who = 2
)

// Roles say who may do what in a group. Every member enforces them on every
// proposal and commit, judging from the group's chain alone. Whatever they say,
// any member may propose its own removal and an update of its own leaf, and
// nobody can make a commit that leaves no member who may commit.
type Roles struct {
	// Admins are the subjects ([Subject]) of the group's admins.
	Admins [][]byte
	// Add, Remove (of others), Promote (to change Admins, or to add a leaf of
	// one), Configure (to change these rules and any other extension of the group)
	// and Commit. Zero means Admins.
	Add, Remove, Promote, Configure, Commit Who
}

// canonical returns the roles as they are encoded: admins sorted and once,
// defaults written out.
func (r Roles) canonical() Roles {
	admins := slices.Clone(r.Admins)
	slices.SortFunc(admins, bytes.Compare)
	r.Admins = slices.CompactFunc(admins, bytes.Equal)
	for _, w := range []*Who{&r.Add, &r.Remove, &r.Promote, &r.Configure, &r.Commit} {
		if *w == 0 {
			*w = Admins
		}
	}
	return r
}

// IsAdmin reports whether the subject is an admin.
func (r *Roles) IsAdmin(subject []byte) bool {
	_, ok := slices.BinarySearchFunc(r.Admins, subject, bytes.Compare)
	return ok
}

func (r *Roles) allows(w Who, subject []byte) bool { return w == Members || r.IsAdmin(subject) }

// Marshal returns the body of the extension 0xF0E2:
//
//	struct {
//	    uint16 version = 1;
//	    Who add, remove, promote, configure, commit;  // uint8: admins(1), members(2)
//	    Subject admins<V>;                            // opaque<V>, strictly increasing
//	} Roles;
func (r Roles) Marshal() []byte {
	r = r.canonical()
	b := wire.AppendUint16(nil, rolesVersion)
	for _, w := range []Who{r.Add, r.Remove, r.Promote, r.Configure, r.Commit} {
		b = wire.AppendUint8(b, uint8(w))
	}
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, a := range r.Admins {
			b = wire.AppendVec(b, a)
		}
		return b
	})
}

// ParseRoles decodes the body of the extension. It returns [ErrRoles] for
// another version, a value out of range, or admins that are not sorted.
func ParseRoles(data []byte) (*Roles, error) {
	r := wire.NewReader(data)
	if r.Uint16() != rolesVersion {
		r.Fail(wire.ErrValue)
	}
	var out Roles
	for _, w := range []*Who{&out.Add, &out.Remove, &out.Promote, &out.Configure, &out.Commit} {
		*w = Who(r.Uint8())
		if *w != Admins && *w != Members {
			r.Fail(wire.ErrValue)
		}
	}
	sub := r.Sub()
	for sub.More() {
		a := sub.VecMax(MaxSubject)
		if n := len(out.Admins); n == MaxAdmins || (n > 0 && bytes.Compare(out.Admins[n-1], a) >= 0) {
			sub.Fail(wire.ErrValue)
		}
		out.Admins = append(out.Admins, bytes.Clone(a))
	}
	r.Join(sub)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoles, err)
	}
	return &out, nil
}

// samePolicy reports whether only the admins differ, if anything.
func (r *Roles) samePolicy(o *Roles) bool {
	return r.Add == o.Add && r.Remove == o.Remove && r.Promote == o.Promote &&
		r.Configure == o.Configure && r.Commit == o.Commit
}

// checkProposal returns [ErrNotAdmin] unless the roles allow the sender, whose
// subject is given, to propose p. old are the group's extensions.
func (r *Roles) checkProposal(p *Proposal, sender Sender, subject []byte, old Extensions) error {
	ok := false
	switch p.Type {
	case ProposalAdd:
		ok = r.allows(r.Add, subject)
	case ProposalUpdate, ProposalSelfRemove:
		ok = true
	case ProposalRemove:
		ok = sender.is(p.Remove) || r.allows(r.Remove, subject)
	case ProposalGroupContextExtensions:
		next, err := rolesOf(p.Extensions)
		if err != nil {
			return err
		}
		if next == nil {
			return fmt.Errorf("%w: the extension would be dropped", ErrRoles)
		}
		promotes := !slices.EqualFunc(r.Admins, next.Admins, bytes.Equal)
		configures := !r.samePolicy(next) || !equalBut(old, p.Extensions, ExtensionRoles)
		ok = (!promotes || r.allows(r.Promote, subject)) && (!configures || r.allows(r.Configure, subject))
	default:
		ok = r.allows(r.Configure, subject)
	}
	if !ok {
		return fmt.Errorf("%w: proposal of type %d by %v", ErrNotAdmin, p.Type, sender)
	}
	return nil
}

// equalBut reports whether two lists are the same but for one type's data.
func equalBut(a, b Extensions, t treekem.ExtensionType) bool {
	return slices.EqualFunc(a, b, func(x, y Extension) bool {
		return x.Type == y.Type && (x.Type == t || bytes.Equal(x.Data, y.Data))
	})
}
