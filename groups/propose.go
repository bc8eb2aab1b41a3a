package groups

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// ProposeAdd proposes to add the holder of a key package, which must be valid
// at now. It returns the proposal as an MLSMessage (a PublicMessage) and
// remembers it until the end of the epoch. It does not check the credential:
// the committer does.
func (g *Group) ProposeAdd(rows Rows, kp *KeyPackage, now time.Time) ([]byte, error) {
	if err := kp.Validate(now); err != nil {
		return nil, err
	}
	return g.propose(rows, &Proposal{Type: ProposalAdd, Add: kp}, nil)
}

// ProposeRemove proposes to remove a member. With the own leaf it is how one
// leaves: another member has to commit it.
func (g *Group) ProposeRemove(rows Rows, leaf LeafIndex) ([]byte, error) {
	return g.propose(rows, &Proposal{Type: ProposalRemove, Remove: leaf}, nil)
}

// ProposeUpdate proposes new keys for the own leaf; their private half waits in
// the rows for a commit that refers to the proposal. A nil credential keeps the
// present one and a nil signer the present key; a new signer is what
// [Unmarshal] must be given once the commit is merged.
func (g *Group) ProposeUpdate(rows Rows, credential *Credential, signer suite.SigningKey) ([]byte, error) {
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
	if credential != nil {
		leaf.Credential = *credential
	}
	var private []byte // opaque encryption_key<V>, signature_key<V>; the latter may be empty
	private = wire.AppendVec(private, key.Bytes().Bytes())
	if signer == nil {
		signer = g.signer
		private = wire.AppendVec(private, nil)
	} else {
		private = wire.AppendVec(private, signer.Bytes().Bytes())
	}
	if err := leaf.Sign(g.suite, signer, g.groupID, g.self); err != nil {
		return nil, err
	}
	return g.propose(rows, &Proposal{Type: ProposalUpdate, Update: leaf}, private)
}

// ProposeRoles proposes other roles.
func (g *Group) ProposeRoles(rows Rows, roles Roles) ([]byte, error) {
	return g.ProposeExtensions(rows, withRoles(g.gc.extensions, roles))
}

// ProposeExtensions proposes another list of GroupContext extensions, which
// replaces the present one as a whole.
func (g *Group) ProposeExtensions(rows Rows, e Extensions) ([]byte, error) {
	return g.propose(rows, &Proposal{Type: ProposalGroupContextExtensions, Extensions: e}, nil)
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
func (g *Group) propose(rows Rows, p *Proposal, private []byte) ([]byte, error) {
	q, err := requiredOf(g.gc.extensions)
	if err != nil {
		return nil, err
	}
	if err := g.checkProposal(p, g.self, &q, nil); err != nil {
		return nil, err
	}
	a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID:     g.groupID,
		epoch:       g.number,
		sender:      member(uint32(g.self)),
		contentType: ContentProposal,
		proposal:    p,
	}}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		return nil, err
	}
	ref := proposalRef(g.suite, a)
	var out changes
	if err := g.remember(rows, a, ref, &out); err != nil {
		return nil, err
	}
	if private != nil {
		out.put(refRowKey(rowUpdate, ref), private)
	}
	msg := protectPublic(g.suite, g.membership, a, g.context).marshal()
	return msg, out.write(rows, g.cid)
}

// PendingProposal is a proposal that waits for a commit in this epoch.
type PendingProposal struct {
	Sender   LeafIndex
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
