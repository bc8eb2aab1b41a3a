package groups

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

// LinkOptions say how a group that is linked to another begins: a successor or
// a branch. Credential and Signer are this member's in the new group.
type LinkOptions struct {
	Members      []*KeyPackage // of all others, for the new group's suite
	Credential   Credential
	Signer       suite.SigningKey
	Capabilities Capabilities
	NoPath       bool // as in CommitOptions
	OmitTree     bool
	Verifier     CredentialVerifier
	Now          time.Time
	AnyLifetime  bool // as in CommitOptions
}

// Reinitialize makes the successor of a group that a ReInit closed (RFC 9420,
// Section 11.2), in its epoch 1, with a Welcome for the other members, all of
// whom must be among them. Any member may; merge the result unless another was
// first. It returns [ErrLink] for a group that was not closed or for other
// members than the group's, and the errors of [Create] and [Group.Prepare].
func (g *Group) Reinitialize(o LinkOptions) (*Staged, error) {
	if g.reInit == nil {
		return nil, fmt.Errorf("%w: the group was not closed", ErrLink)
	}
	r := g.reInit
	st, err := g.link(ResumptionReInit, r.Suite, r.GroupID, r.Extensions, &o)
	if err != nil {
		return nil, err
	}
	return st, g.linked(ResumptionReInit, &st.next.gc, st.next.Members())
}

// Branch makes a group of some members of this one, with the same suite (RFC
// 9420, Section 11.3), in its epoch 1, with a Welcome for the others. id is new;
// nil means 32 random bytes. extensions are those of its GroupContext; nil means
// this group's. It returns [ErrLink] if someone is not a member of this group.
func (g *Group) Branch(id []byte, extensions Extensions, o LinkOptions) (*Staged, error) {
	if id == nil {
		id = secret.Random(32).Bytes()
	}
	if extensions == nil {
		extensions = g.gc.extensions
	}
	st, err := g.link(ResumptionBranch, g.suite.ID(), id, extensions, &o)
	if err != nil {
		return nil, err
	}
	return st, g.linked(ResumptionBranch, &st.next.gc, st.next.Members())
}

// link founds a group and prepares its first commit, with this group's
// resumption secret in it.
func (g *Group) link(usage ResumptionUsage, s suite.ID, id []byte, e Extensions, o *LinkOptions) (*Staged, error) {
	if err := checkExtensions(e); err != nil {
		return nil, err
	}
	rows := MemoryRows{} // epoch 0 is nobody else's
	first, err := found(rows, &CreateOptions{
		Suite: s, GroupID: id, Credential: o.Credential, Signer: o.Signer, Capabilities: o.Capabilities, Now: o.Now, linked: true,
	}, e)
	if err != nil {
		return nil, err
	}
	st, err := first.Prepare(rows, CommitOptions{
		Add: o.Members,
		PSK: g.resumptionSource(nil),
		link: &PreSharedKeyID{
			Type: PSKResumption, Usage: usage, GroupID: g.groupID, Epoch: g.number,
			Nonce: secret.Random(first.suite.HashSize()).Bytes(),
		},
		Verifier: o.Verifier, NoPath: o.NoPath, OmitTree: o.OmitTree, Now: o.Now, AnyLifetime: o.AnyLifetime,
	})
	if err != nil {
		return nil, err
	}
	st.old = nil
	return st, checkMembers(st.next.tree, st.next.gc.extensions, st.next.roles)
}

// resumptionSource knows this epoch's resumption secret, and what other knows.
func (g *Group) resumptionSource(other PSKSource) PSKSource {
	return func(id PreSharedKeyID) (secret.Key, bool) {
		if id.Type == PSKResumption && id.Epoch == g.number && bytes.Equal(id.GroupID, g.groupID) {
			return g.resumption, true
		}
		if other == nil {
			return secret.Key{}, false
		}
		return other(id)
	}
}

// checkLink returns the usage by which a Welcome's pre-shared keys link its group
// to parent, which may be nil, or 0. It returns [ErrProposal] if there are two
// such keys, and [ErrLink] unless the key is of that group in that epoch.
func checkLink(ids []PreSharedKeyID, parent *Group) (ResumptionUsage, error) {
	var link *PreSharedKeyID
	for i := range ids {
		if ids[i].Type != PSKResumption || ids[i].Usage == ResumptionApplication {
			continue
		}
		if link != nil {
			return 0, fmt.Errorf("%w: welcome linked to two groups", ErrProposal)
		}
		link = &ids[i]
	}
	switch {
	case link == nil && parent == nil:
		return 0, nil
	case link == nil:
		return 0, fmt.Errorf("%w: welcome without a link", ErrLink)
	case parent == nil:
		return 0, fmt.Errorf("%w: linked to a group that was not named", ErrLink)
	case link.Epoch != parent.number || !bytes.Equal(link.GroupID, parent.groupID):
		return 0, fmt.Errorf("%w: to another group or epoch", ErrLink)
	}
	return link.Usage, nil
}

// linked checks a group in its first epoch against the one it is linked to (RFC
// 9420, Sections 11.2, 11.3 and 12.4.3.1). Members are the same whose subjects
// are.
func (g *Group) linked(usage ResumptionUsage, gc *groupContext, members []Member) error {
	if gc.epoch != 1 {
		return fmt.Errorf("%w: epoch %d", ErrLink, gc.epoch)
	}
	mine := subjects(g.Members())
	theirs := subjects(members)
	if usage == ResumptionBranch {
		if gc.suite != g.suite.ID() {
			return fmt.Errorf("%w: branch of another cipher suite", ErrLink)
		}
		for s := range theirs {
			if !mine[s] {
				return fmt.Errorf("%w: branch with someone who is not a member", ErrLink)
			}
		}
		return nil
	}
	r := g.reInit
	switch {
	case r == nil:
		return fmt.Errorf("%w: the group was not closed", ErrLink)
	case !bytes.Equal(r.GroupID, gc.groupID), r.Suite != gc.suite, r.Version != protocolVersion,
		!slices.EqualFunc(r.Extensions, gc.extensions, func(a, b Extension) bool { return a.Type == b.Type && bytes.Equal(a.Data, b.Data) }):
		return fmt.Errorf("%w: not with the parameters of the re-initialisation", ErrLink)
	}
	for s := range mine {
		if !theirs[s] {
			return fmt.Errorf("%w: successor without a member", ErrLink)
		}
	}
	// Section 12.4.3.1 lets a successor have more members. But any member may
	// found it, also one that the roles do not let add anybody.
	if g.roles == nil {
		return nil
	}
	if len(theirs) > len(mine) {
		return fmt.Errorf("%w: successor with someone who was not a member", ErrLink)
	}
	return g.keepAdmins(gc.suite, members)
}

// keepAdmins returns [ErrLink] unless every admin's leaf in the successor has a
// signature key that its subject has in this group, if the successor's suite can
// use one. The founder alone vouches for the leaves of a successor.
func (g *Group) keepAdmins(id suite.ID, members []Member) error {
	s, err := suite.ByID(id)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	type key struct{ subject, signature string }
	known := make(map[key]bool)
	bound := make(map[string]bool) // subjects with a key that the suite can use
	for _, m := range g.Members() {
		if s.CheckSignatureKey(m.SignatureKey) == nil {
			known[key{string(m.Subject), string(m.SignatureKey)}] = true
			bound[string(m.Subject)] = true
		}
	}
	for _, m := range members {
		if m.Admin && bound[string(m.Subject)] && !known[key{string(m.Subject), string(m.SignatureKey)}] {
			return fmt.Errorf("%w: successor with another key of an admin", ErrLink)
		}
	}
	return nil
}

func subjects(members []Member) map[string]bool {
	set := make(map[string]bool, len(members))
	for _, m := range members {
		set[string(m.Subject)] = true
	}
	return set
}
