package groups

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// ExternalSender is someone outside a group whose proposals it takes (RFC 9420,
// Section 12.1.8.1).
type ExternalSender struct {
	SignatureKey []byte
	Credential   Credential
}

// ExternalSendersExtension returns the extension of a GroupContext that lists
// external senders; a sender is named by its place in the list.
func ExternalSendersExtension(senders []ExternalSender) Extension {
	return Extension{Type: extensionExternalSenders, Data: wire.AppendVecFunc(nil, func(b []byte) []byte {
		for _, s := range senders {
			b = s.Credential.Append(wire.AppendVec(b, s.SignatureKey))
		}
		return b
	})}
}

// ExternalSenders returns the external senders that a GroupContext's extensions
// list, none if there is no such extension, or [ErrMalformed].
func ExternalSenders(e Extensions) ([]ExternalSender, error) {
	data, ok := e.Find(extensionExternalSenders)
	if !ok {
		return nil, nil
	}
	r := wire.NewReader(data)
	sub := r.Sub()
	var out []ExternalSender
	for sub.More() {
		if len(out) == MaxExternalSenders {
			sub.Fail(wire.ErrLength)
		}
		out = append(out, ExternalSender{bytes.Clone(sub.VecMax(treekem.MaxKey)), treekem.ReadCredential(sub)})
	}
	r.Join(sub)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("external senders: %w", malformed(err))
	}
	return out, nil
}

// distrustSenders asks the verifier, if there is one, about the external senders
// in a GroupContext's extensions that are not in the old ones (RFC 9420, Section
// 5.3.1). Both lists of extensions were checked.
func distrustSenders(old, next Extensions, v CredentialVerifier) []Untrusted {
	if v == nil {
		return nil
	}
	known, _ := ExternalSenders(old)
	senders, _ := ExternalSenders(next)
	var out []Untrusted
	for _, s := range senders {
		if slices.ContainsFunc(known, func(k ExternalSender) bool {
			return k.Credential.Equal(s.Credential) && bytes.Equal(k.SignatureKey, s.SignatureKey)
		}) {
			continue
		}
		if err := v.VerifyCredential(s.Credential, s.SignatureKey); err != nil {
			m := Member{Leaf: blankLeaf, Credential: s.Credential, SignatureKey: s.SignatureKey, Subject: Subject(s.Credential)}
			out = append(out, Untrusted{m, fmt.Errorf("%w: external sender: %w", ErrCredential, err)})
		}
	}
	return out
}

// GroupInfoOptions say what a GroupInfo is to hold.
type GroupInfoOptions struct {
	// External adds the external public key, by which whoever has the GroupInfo
	// can come in by a commit of its own (RFC 9420, Section 12.4.3.2). In a group
	// with roles only those can who were in it.
	External bool
	// OmitTree leaves the ratchet tree out: see [Group.RatchetTree].
	OmitTree bool
	// Extensions are the caller's own; who does not know them ignores them.
	Extensions Extensions
}

// GroupInfo describes the epoch for those outside of it, signed by this member,
// as an MLSMessage. It is valid until the next commit. It returns [ErrReInit] in
// a group that was closed, and [ErrAgreement] for External in one that has no such
// commits.
func (g *Group) GroupInfo(o GroupInfoOptions) ([]byte, error) {
	if g.reInit != nil {
		return nil, ErrReInit
	}
	if g.agreement != nil && o.External {
		return nil, fmt.Errorf("%w: external commits", ErrAgreement)
	}
	info, err := g.describe(!o.OmitTree, o.External, o.Extensions)
	if err != nil {
		return nil, err
	}
	return (&message{wireFormat: WireGroupInfo, groupInfo: info}).marshal(), nil
}

// externalKey derives the epoch's external key pair (RFC 9420, Section 8).
func (g *Group) externalKey() (suite.HPKEKey, error) { return g.suite.DeriveHPKEKey(g.external) }

// labelExternalInit is of RFC 9420, Section 8.3.
const labelExternalInit = "MLS 1.0 external init secret"

// externalInit derives the init secret that an external commit encapsulated.
func (g *Group) externalInit(kemOutput []byte) (secret.Key, error) {
	key, err := g.externalKey()
	if err != nil {
		return secret.Key{}, err
	}
	s, err := g.suite.ExportFrom(key, kemOutput, nil, labelExternalInit, g.suite.HashSize())
	if err != nil {
		return secret.Key{}, fmt.Errorf("%w: external init", ErrDecrypt)
	}
	return s, nil
}

// GroupInfo is a group in one epoch as seen from outside: its signature and its
// tree were verified, its members' credentials were not.
type GroupInfo struct {
	Signer Member // who vouches for it

	outside *Group // without secrets
	info    *groupInfo
}

// ParseGroupInfo verifies an MLSMessage that [Group.GroupInfo] made. ratchetTree
// is the tree of a GroupInfo without one, else nil. It returns [ErrMalformed],
// [ErrUnsupported], [ErrTree], [ErrNotMember], [ErrSignature] and the other errors
// of a tree.
func ParseGroupInfo(msg, ratchetTree []byte) (*GroupInfo, error) {
	m, err := parseMessage(bytes.Clone(msg))
	if err != nil {
		return nil, err
	}
	if m.wireFormat != WireGroupInfo {
		return nil, fmt.Errorf("%w: not a group info", ErrMalformed)
	}
	info := m.groupInfo
	s, err := suite.ByID(info.context.suite)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	tree, signer, err := info.checkTree(s, ratchetTree)
	if err != nil {
		return nil, err
	}
	cid, err := info.checkExtensions(s, true)
	if err != nil {
		return nil, err
	}
	roles, err := rolesOf(info.context.extensions)
	if err != nil {
		return nil, err
	}
	agreement, err := agreementOf(info.context.extensions)
	if err != nil {
		return nil, err
	}
	if err := checkMembers(tree, info.context.extensions, roles); err != nil {
		return nil, err
	}
	c := info.context
	g := &Group{
		epoch: epoch{
			suite: s, cid: cid, groupID: c.groupID, number: c.epoch, context: c.append(nil),
			width: tree.Width(), self: blankLeaf, plain: roles == nil,
		},
		gc: c, roles: roles, agreement: agreement, tree: tree,
		interim:         interimTranscriptHash(s, c.confirmedTranscriptHash, info.confirmationTag),
		confirmationTag: info.confirmationTag,
	}
	return &GroupInfo{Signer: asMember(info.signer, signer, roles), outside: g, info: info}, nil
}

// GroupID returns the group's identifier. Do not change it.
func (i *GroupInfo) GroupID() []byte { return i.outside.groupID }

// Epoch returns the number of the epoch.
func (i *GroupInfo) Epoch() uint64 { return i.outside.number }

// Suite returns the number of the group's cipher suite.
func (i *GroupInfo) Suite() suite.ID { return i.outside.suite.ID() }

// Extensions returns the extensions of the GroupContext. Do not change them.
func (i *GroupInfo) Extensions() Extensions { return i.outside.gc.extensions }

// Members returns all members in the order of their leaves.
func (i *GroupInfo) Members() []Member { return i.outside.Members() }

// Propose makes a proposal of an external sender, which the group lists at index
// with signer's public key. It returns [ErrNotMember] if it does not, and
// [ErrMalformed] for a type that those outside cannot propose (RFC 9420, Section
// 12.1.8).
func (i *GroupInfo) Propose(index uint32, signer suite.SigningKey, p *Proposal) ([]byte, error) {
	senders, err := ExternalSenders(i.Extensions())
	if err != nil {
		return nil, err
	}
	if uint64(index) >= uint64(len(senders)) || !bytes.Equal(senders[index].SignatureKey, signer.Public()) {
		return nil, fmt.Errorf("%w: external sender %d", ErrNotMember, index)
	}
	return i.propose(Sender{Type: SenderExternal, Index: index}, signer, p)
}

// ProposeJoin proposes to add the holder of a key package, on its own behalf:
// signer is that of the key package. It returns [ErrKeyPackage] if it is not.
func (i *GroupInfo) ProposeJoin(kp *KeyPackage, signer suite.SigningKey) ([]byte, error) {
	if !bytes.Equal(kp.Leaf.SignatureKey, signer.Public()) {
		return nil, fmt.Errorf("%w: signer is not the key package's", ErrKeyPackage)
	}
	return i.propose(Sender{Type: SenderNewMemberProposal}, signer, &Proposal{Type: ProposalAdd, Add: kp})
}

func (i *GroupInfo) propose(from Sender, signer suite.SigningKey, p *Proposal) ([]byte, error) {
	g := i.outside
	if p.Type == ProposalPSK && p.PSK.Nonce == nil {
		q := *p
		q.PSK.Nonce = secret.Random(g.suite.HashSize()).Bytes()
		p = &q
	}
	if err := g.checkProposal(p, from, nil); err != nil {
		return nil, err
	}
	a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID: g.groupID, epoch: g.number, sender: from, contentType: ContentProposal, proposal: p,
	}}
	if err := a.content.readable(); err != nil {
		return nil, err
	}
	if err := a.sign(g.suite, signer, nil); err != nil {
		return nil, err
	}
	return protectPublic(g.suite, secret.Key{}, a, nil).marshal(), nil
}

// ExternalJoinOptions say who comes in by an external commit, and how.
type ExternalJoinOptions struct {
	Credential   Credential
	Signer       suite.SigningKey
	Capabilities Capabilities // what the caller handles beyond this package
	// Replace removes the newcomer's own old leaf, which must have its subject
	// and, in a group with roles, its signature key ("resync"); nil adds another.
	Replace *LeafIndex
	// SelfRemoves are proposals of members who leave, as they were sent; they
	// are committed with the rest (draft-ietf-mls-extensions).
	SelfRemoves [][]byte
	PSKs        []PreSharedKeyID // a missing Nonce is made
	PSK         PSKSource
	Verifier    CredentialVerifier // fills Changes.Untrusted with members and external senders it refuses
	// AuthenticatedData travels in the clear and is signed.
	AuthenticatedData []byte
}

// Join makes an external commit (RFC 9420, Section 12.4.3.2). Send it, and merge
// it unless another commit came first. It returns [ErrUnsupported] for a
// GroupInfo without the external public key, [ErrNotAdmin] if the group's roles
// do not let the newcomer in, and the errors of proposals.
func (i *GroupInfo) Join(o ExternalJoinOptions) (*Staged, error) {
	g := i.outside
	if g.agreement != nil {
		return nil, fmt.Errorf("%w: commit of a newcomer", ErrAgreement)
	}
	public, ok := i.info.extensions.Find(extensionExternalPub)
	if !ok {
		return nil, fmt.Errorf("%w: group info without an external key", ErrUnsupported)
	}
	r := wire.NewReader(public)
	public = r.Vec()
	if err := r.Done(); err != nil {
		return nil, malformed(err)
	}
	framing := Framing{AuthenticatedData: o.AuthenticatedData}
	if _, err := framing.format(); err != nil {
		return nil, err
	}
	kemOutput, initSecret, err := g.suite.ExportTo(public, nil, labelExternalInit, g.suite.HashSize())
	if err != nil {
		return nil, fmt.Errorf("%w: external key: %w", ErrMalformed, err)
	}
	defer initSecret.Erase()
	list, err := i.collect(kemOutput, &o)
	if err != nil {
		return nil, err
	}
	a, err := list.apply()
	if err != nil {
		return nil, err
	}
	psks, err := g.lookup(a.psks, o.PSK)
	if err != nil {
		return nil, err
	}
	leaf, _, err := newLeaf(g.suite, o.Credential, o.Capabilities)
	if err != nil {
		return nil, err
	}
	leaf.Source, leaf.SignatureKey = treekem.SourceCommit, o.Signer.Public()
	if err := list.complete(leaf); err != nil {
		return nil, err
	}
	n := &renewal{signer: o.Signer, format: WirePublicMessage, from: Sender{Type: SenderNewMemberCommit}, framing: framing}
	if n.leaf, err = a.tree.Add(leaf); err != nil {
		return nil, treeError(err)
	}
	n.path, err = treekem.CreatePath(a.tree, treekem.PathParams{Sender: n.leaf, GroupID: g.groupID, Leaf: leaf, Signer: o.Signer})
	if err != nil {
		return nil, treeError(err)
	}
	defer n.erase()
	n.private = n.path.Private()
	if err := checkLeaf(n.path.Leaf(), a.extensions, &a.required); err != nil {
		return nil, err
	}
	if err := checkMembers(a.tree, a.extensions, a.roles); err != nil {
		return nil, err
	}
	st, sec, err := g.commit(MemoryRows{}, list, a, n, initSecret, psks)
	if err != nil {
		return nil, err
	}
	sec.eraseTransient()
	st.old = nil
	st.Changes.Untrusted = untrusted(st.next, o.Verifier)
	return st, nil
}

// collect lists the proposals of an external commit.
func (i *GroupInfo) collect(kemOutput []byte, o *ExternalJoinOptions) (*proposalList, error) {
	g := i.outside
	newcomer := Sender{Type: SenderNewMemberCommit}
	list := g.newProposalList(newcomer)
	items := []listed{{proposal: &Proposal{Type: ProposalExternalInit, KEMOutput: kemOutput}, sender: newcomer}}
	if o.Replace != nil {
		items = append(items, listed{proposal: &Proposal{Type: ProposalRemove, Remove: *o.Replace}, sender: newcomer})
	}
	for _, id := range o.PSKs {
		if id.Nonce == nil {
			id.Nonce = secret.Random(g.suite.HashSize()).Bytes()
		}
		items = append(items, listed{proposal: &Proposal{Type: ProposalPSK, PSK: id}, sender: newcomer})
	}
	for _, msg := range o.SelfRemoves {
		it, err := g.selfRemove(msg)
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	for _, it := range items {
		if err := list.add(it); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// selfRemove verifies a member's proposal to leave, as far as someone outside
// can: not its membership tag.
func (g *Group) selfRemove(msg []byte) (listed, error) {
	m, err := parseMessage(bytes.Clone(msg))
	if err != nil {
		return listed{}, err
	}
	if m.wireFormat != WirePublicMessage || m.public.content.contentType != ContentProposal ||
		m.public.content.proposal.Type != ProposalSelfRemove || m.public.content.sender.Type != SenderMember {
		return listed{}, fmt.Errorf("%w: not a self-remove", ErrMalformed)
	}
	c := m.public.content
	if err := g.fits(c.groupID, c.epoch); err != nil {
		return listed{}, err
	}
	leaf, ok := g.tree.Leaf(LeafIndex(c.sender.Index))
	if !ok {
		return listed{}, fmt.Errorf("%w: sender at %v", ErrNotMember, c.sender)
	}
	a := m.public.authenticated()
	if err := a.verify(g.suite, leaf.SignatureKey, g.context); err != nil {
		return listed{}, err
	}
	return listed{proposal: c.proposal, sender: c.sender, ref: proposalRef(g.suite, a)}, nil
}
