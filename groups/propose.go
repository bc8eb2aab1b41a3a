package groups

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// Propose signs and frames a proposal of any type but Update, for which there is
// [Group.ProposeUpdate], and ExternalInit. It returns the proposal as an
// MLSMessage and remembers it until the end of the epoch. A key package is to be
// validated by the caller; its credential is judged by the committer. It returns
// [ErrProposal] and the other errors of what it is asked for, [ErrNotAdmin],
// [ErrCapabilities], and [ErrReInit] in a group that was closed.
func (g *Group) Propose(rows Rows, p *Proposal, f Framing) ([]byte, error) {
	switch {
	case p.Type == ProposalUpdate || p.Type == ProposalExternalInit:
		return nil, fmt.Errorf("%w: type %d is not proposed so", ErrProposal, p.Type)
	case p.Type == ProposalSelfRemove && f.Private:
		return nil, fmt.Errorf("%w: a self-remove is public", ErrProposal) // newcomers have to read it
	case p.Type == ProposalPSK && p.PSK.Nonce == nil:
		q := *p
		q.PSK.Nonce = secret.Random(g.suite.HashSize()).Bytes()
		p = &q
	}
	return g.propose(rows, p, nil, f)
}

// ProposeAdd proposes to add the holder of a key package, which must be valid
// at now.
func (g *Group) ProposeAdd(rows Rows, kp *KeyPackage, now time.Time) ([]byte, error) {
	if err := kp.Validate(now); err != nil {
		return nil, err
	}
	return g.Propose(rows, &Proposal{Type: ProposalAdd, Add: kp}, Framing{})
}

// ProposeRemove proposes to remove a member. With the own leaf it is how one
// leaves: another member has to commit it.
func (g *Group) ProposeRemove(rows Rows, leaf LeafIndex) ([]byte, error) {
	return g.Propose(rows, &Proposal{Type: ProposalRemove, Remove: leaf}, Framing{})
}

// ProposeRoles proposes other roles.
func (g *Group) ProposeRoles(rows Rows, roles Roles) ([]byte, error) {
	return g.ProposeExtensions(rows, withRoles(g.gc.extensions, roles))
}

// ProposeExtensions proposes another list of GroupContext extensions, which
// replaces the present one as a whole.
func (g *Group) ProposeExtensions(rows Rows, e Extensions) ([]byte, error) {
	return g.Propose(rows, &Proposal{Type: ProposalGroupContextExtensions, Extensions: e}, Framing{})
}

// UpdateOptions say what an Update proposal changes beside the encryption key.
type UpdateOptions struct {
	// Credential replaces the leaf's; nil keeps it.
	Credential *Credential
	// Signer replaces the signature key, and is what [Unmarshal] must be given
	// once the commit is merged; nil keeps it.
	Signer  suite.SigningKey
	Framing Framing
}

// ProposeUpdate proposes new keys for the own leaf; their private half waits in
// the rows for a commit that refers to the proposal.
func (g *Group) ProposeUpdate(rows Rows, o UpdateOptions) ([]byte, error) {
	old, ok := g.tree.Leaf(g.self)
	if !ok {
		return nil, ErrNotMember
	}
	key, err := g.suite.GenerateHPKEKey()
	if err != nil {
		return nil, err
	}
	leaf := old.Clone()
	leaf.Source, leaf.Lifetime, leaf.ParentHash = treekem.SourceUpdate, treekem.Lifetime{}, nil
	leaf.EncryptionKey = key.Public()
	if o.Credential != nil {
		leaf.Credential = *o.Credential
	}
	var private []byte // opaque encryption_key<V>, signature_key<V>; the latter may be empty
	private = wire.AppendVec(private, key.Bytes().Bytes())
	signer := o.Signer
	if signer == nil {
		signer = g.signer
		private = wire.AppendVec(private, nil)
	} else {
		private = wire.AppendVec(private, signer.Bytes().Bytes())
	}
	if err := leaf.Sign(g.suite, signer, g.groupID, g.self); err != nil {
		return nil, err
	}
	return g.propose(rows, &Proposal{Type: ProposalUpdate, Update: leaf}, private, o.Framing)
}

// withRoles returns the list with the roles replaced.
func withRoles(e Extensions, roles Roles) Extensions {
	out := slices.Clone(e)
	for i := range out {
		if out[i].Type == ExtensionRoles {
			out[i].Data = roles.Marshal()
		}
	}
	return out
}

// propose checks, signs, frames and remembers a proposal. private is what an
// Update keeps for itself.
func (g *Group) propose(rows Rows, p *Proposal, private []byte, f Framing) ([]byte, error) {
	if g.reInit != nil {
		return nil, ErrReInit
	}
	if g.agreement != nil {
		return nil, fmt.Errorf("%w: proposal by itself", ErrAgreement)
	}
	format, err := f.format()
	if err != nil {
		return nil, err
	}
	a := &authContent{wireFormat: format, content: &framedContent{
		groupID:           g.groupID,
		epoch:             g.number,
		sender:            member(g.self),
		authenticatedData: f.AuthenticatedData,
		contentType:       ContentProposal,
		proposal:          p,
	}}
	if err := a.content.readable(); err != nil {
		return nil, err
	}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		return nil, err
	}
	ref := proposalRef(g.suite, a)
	// It must be good as all of a commit, though others could make it so.
	alone := g.newProposalList(member(blankLeaf))
	if err := alone.add(listed{proposal: p, sender: member(g.self), ref: ref}); err != nil {
		return nil, err
	}
	if ap, err := alone.apply(); err != nil {
		return nil, err
	} else if err := supports(ap.tree.Common(), ap.extensions, &ap.required); err != nil {
		return nil, err
	}
	var out changes
	if err := g.remember(rows, a, ref, &out); err != nil {
		return nil, err
	}
	if private != nil {
		out.put(refRowKey(rowUpdate, ref), private)
	}
	msg, err := g.protect(rows, a, f.Padding, &out)
	if err != nil {
		return nil, err
	}
	return msg, out.write(rows, g.cid)
}

// blankLeaf is the index of no leaf.
const blankLeaf LeafIndex = 1<<32 - 1

// PendingProposal is a proposal that waits for a commit in this epoch.
type PendingProposal struct {
	Sender   Sender
	Ref      []byte
	Proposal *Proposal
}

// Pending returns the proposals made or received in this epoch, in the order
// they came.
func (g *Group) Pending(rows Rows) ([]PendingProposal, error) {
	list, err := g.pendingList(rows)
	if err != nil {
		return nil, err
	}
	out := make([]PendingProposal, len(list))
	for i, e := range list {
		p, sender, err := g.recall(rows, e.ref)
		if err != nil {
			return nil, err
		}
		out[i] = PendingProposal{Sender: sender, Ref: e.ref, Proposal: p}
	}
	return out, nil
}

// ownUpdate returns the keys of an own Update that a commit refers to.
func (g *Group) ownUpdate(rows Rows, ref []byte) (suite.HPKEKey, suite.SigningKey, error) {
	row, err := rows.Get(g.cid, refRowKey(rowUpdate, ref))
	if err != nil {
		return nil, nil, err
	}
	r := wire.NewReader(row)
	encryption, signature := r.Vec(), r.Vec()
	if r.Done() != nil {
		return nil, nil, fmt.Errorf("%w: keys of an own update", ErrState)
	}
	key, err := g.suite.NewHPKEKey(bytes.Clone(encryption))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if len(signature) == 0 {
		return key, g.signer, nil
	}
	signer, err := g.suite.NewSigningKey(bytes.Clone(signature))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return key, signer, nil
}
