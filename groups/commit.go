package groups

import (
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

// CommitOptions say what a commit does. With the zero value it commits what is
// pending; if nothing is, it is an update of the committer's own keys.
type CommitOptions struct {
	Add    []*KeyPackage
	Remove []LeafIndex
	Roles  *Roles // nil leaves them
	// Extensions replaces the GroupContext's extensions as a whole, before
	// Roles is put in; nil leaves them.
	Extensions Extensions
	PSKs       []PreSharedKeyID // a missing Nonce is made
	// IgnorePending leaves out the proposals that were received or made in this
	// epoch, which otherwise are committed as far as they are valid.
	IgnorePending bool
	// Verifier judges the credentials of added and updated members; nil accepts
	// all.
	Verifier CredentialVerifier
	PSK      PSKSource
	// Credential and Signer replace those of the own leaf; nil keeps them.
	Credential        *Credential
	Signer            suite.SigningKey
	AuthenticatedData []byte
	Now               time.Time // against which key packages are valid
}

// Changes is what a commit does to a group.
type Changes struct {
	Committer Member // as it was before
	CID       CID    // of the epoch that the commit begins
	Epoch     uint64 // its number
	Added     []Member
	Removed   []Member
	Updated   []Member // by Update proposals
	Roles     *Roles   // the new ones; nil if they stay
	// Extensions is the new list of GroupContext extensions; nil if it stays.
	Extensions        Extensions
	SelfRemoved       bool
	AuthenticatedData []byte
	// Untrusted lists new leaves whose credential the verifier did not accept,
	// or whose key package is outside its lifetime. It has no influence on
	// whether the commit is valid.
	Untrusted []Untrusted
	// Dropped says why pending proposals were left out of an own commit.
	Dropped []error
}

// Untrusted is a member, and why this member's verifier does not vouch for it.
type Untrusted struct {
	Member Member
	Err    error
}

// Staged is a commit, own or another's, that was checked and waits to be
// merged, or dropped by forgetting it.
type Staged struct {
	Commit  []byte  // MLSMessage, to all members of the old epoch
	Welcome []byte  // MLSMessage, to those added; nil if there are none, or not our own
	Changes Changes // what merging will do

	old, next  *Group // next is nil if the commit removes this member
	encryption secret.Key
	key        *commitKey // nil for a PublicMessage
}

// commitKey names the key that a commit in a PrivateMessage was encrypted with.
// What consuming it changes is worked out when the commit is merged: until then
// other messages may move the sender's ratchets on.
type commitKey struct{ leaf, generation uint32 }

// Next returns the group as it will be when merged; nil if this member is
// removed. It has no rows yet, so it can be looked at but not sent on.
func (s *Staged) Next() *Group { return s.next }

// Merge moves on to the epoch that the commit begins: it writes the first rows
// of that epoch, deletes from the rows of the old one what a past epoch must
// not have, and returns both. Marshal and store them in the same transaction.
// It returns [ErrRemoved] if the commit removes this member: see
// [Group.Retire].
func (s *Staged) Merge(rows Rows) (*Group, *Past, error) {
	if s.next == nil {
		return nil, nil, ErrRemoved
	}
	var out changes
	view := staged{rows, &out} // both take leaves out of one secret tree
	if s.key != nil {
		k, err := s.old.secretTree(view).at(ratchetHandshake, s.key.leaf, s.key.generation, &out)
		if err != nil {
			return nil, nil, err
		}
		k.key.Erase()
	}
	if err := s.old.forget(view, &out); err != nil {
		return nil, nil, err
	}
	if err := out.write(rows, s.old.cid); err != nil {
		return nil, nil, err
	}
	var first changes
	s.next.secretTree(nil).start(s.encryption, &first)
	if err := first.write(rows, s.next.cid); err != nil {
		return nil, nil, err
	}
	return s.next, s.old.past(), nil
}

// Prepare makes a commit (RFC 9420, Section 12.4.1), always with a path, so that
// it also renews the committer's keys. Nothing changes until it is merged, and
// another may be prepared instead. It returns [ErrNotAdmin] if the roles do not
// let this member commit, and the errors of proposals, key packages and
// credentials; a pending proposal that cannot be committed is left out instead.
func (g *Group) Prepare(rows Rows, o CommitOptions) (*Staged, error) {
	if !g.MayCommit(g.self) {
		return nil, fmt.Errorf("%w: commit", ErrNotAdmin)
	}
	if len(o.AuthenticatedData) > MaxAuthenticatedData {
		return nil, fmt.Errorf("%w: authenticated data of %d bytes", ErrMalformed, len(o.AuthenticatedData))
	}
	list, dropped, err := g.collect(rows, &o)
	if err != nil {
		return nil, err
	}
	a, psks, spoilers, err := list.settle(o.PSK)
	if err != nil {
		return nil, err
	}
	dropped = append(dropped, spoilers...)
	path, signer, err := g.renew(a, &o)
	if err != nil {
		return nil, err
	}
	defer path.Erase()
	if err := checkMembers(a.tree, a.extensions, a.roles); err != nil {
		return nil, err
	}

	gc := g.provisional(a)
	update, err := path.Encrypt(gc.append(nil))
	if err != nil {
		return nil, treeError(err)
	}
	c := &commit{path: update, proposals: make([]proposalOrRef, len(list.items))}
	for i, it := range list.items {
		if c.proposals[i].ref = it.ref; it.ref == nil {
			c.proposals[i].proposal = it.proposal
		}
	}
	content := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID:           g.groupID,
		epoch:             g.number,
		sender:            member(uint32(g.self)),
		authenticatedData: o.AuthenticatedData,
		contentType:       ContentCommit,
		commit:            c,
	}}
	if err := content.sign(g.suite, g.signer, g.context); err != nil {
		return nil, err
	}
	gc.confirmedTranscriptHash = confirmedTranscriptHash(g.suite, g.interim, content)
	sec := g.schedule(g.init, path.Secrets().Commit, psks, gc)
	defer sec.eraseTransient()
	content.auth.confirmationTag = g.suite.MAC(sec.confirmation, gc.confirmedTranscriptHash)
	msg := protectPublic(g.suite, g.membership, content, g.context).marshal()
	if len(msg) > MaxMessageSize {
		return nil, fmt.Errorf("%w: commit of %d bytes", ErrMalformed, len(msg))
	}

	next := &Group{tree: a.tree, private: path.Private(), signer: signer}
	if err := next.begin(gc, CommitCID(msg), g.self, sec); err != nil {
		return nil, err
	}
	st := &Staged{Commit: msg, old: g, next: next, encryption: sec.encryption}
	st.describe(content, a, list)
	st.Changes.Dropped = dropped
	if len(a.added) > 0 {
		if st.Welcome, err = next.welcome(a, path, sec); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// collect lists the proposals of an own commit: those of the options, which
// must all be valid, and those pending that are.
func (g *Group) collect(rows Rows, o *CommitOptions) (list *proposalList, dropped []error, err error) {
	if list, err = g.newProposalList(g.self); err != nil {
		return nil, nil, err
	}
	var own []*Proposal
	if o.Roles != nil || o.Extensions != nil {
		e := o.Extensions
		if e == nil {
			e = g.gc.extensions
		}
		if o.Roles != nil {
			e = withRoles(e, *o.Roles)
		}
		own = append(own, &Proposal{Type: ProposalGroupContextExtensions, Extensions: e})
	}
	for _, leaf := range o.Remove {
		own = append(own, &Proposal{Type: ProposalRemove, Remove: leaf})
	}
	for _, kp := range o.Add {
		own = append(own, &Proposal{Type: ProposalAdd, Add: kp})
	}
	for _, id := range o.PSKs {
		if id.Nonce == nil {
			id.Nonce = secret.Random(g.suite.HashSize()).Bytes()
		}
		own = append(own, &Proposal{Type: ProposalPSK, PSK: id})
	}
	list.verify(own)
	for _, p := range own {
		if err := list.add(listed{proposal: p, sender: g.self}); err != nil {
			return nil, nil, err
		}
		if err := g.vouch(p, o); err != nil {
			return nil, nil, err
		}
	}
	if o.IgnorePending {
		return list, nil, nil
	}
	pending, err := g.Pending(rows)
	if err != nil || len(pending) == 0 {
		return list, nil, err
	}
	// Removals first, as they win over updates of the same leaf, and for the
	// rest the latest first, as it replaces what its sender proposed before.
	slices.Reverse(pending)
	slices.SortStableFunc(pending, func(a, b PendingProposal) int {
		return rank(a.Proposal) - rank(b.Proposal)
	})
	members := g.keysInUse()
	for _, p := range pending {
		err := g.vouch(p.Proposal, o)
		if err == nil {
			err = members.free(p.Proposal, list)
		}
		if err == nil {
			err = list.add(listed{proposal: p.Proposal, sender: p.Sender, ref: p.Ref})
		}
		if err != nil {
			dropped = append(dropped, fmt.Errorf("proposal of leaf %d: %w", p.Sender, err))
		}
	}
	return list, dropped, nil
}

func rank(p *Proposal) int {
	if p.Type == ProposalRemove {
		return 0
	}
	return 1
}

// vouch is the committer's duty towards those it brings in: their lifetime and
// their credential.
func (g *Group) vouch(p *Proposal, o *CommitOptions) error {
	var leaf *LeafNode
	switch p.Type {
	case ProposalAdd:
		if err := p.Add.checkLifetime(o.Now); err != nil {
			return err
		}
		leaf = p.Add.Leaf
	case ProposalUpdate:
		leaf = p.Update
	default:
		return nil
	}
	if o.Verifier == nil {
		return nil
	}
	if err := o.Verifier.VerifyCredential(leaf.Credential, leaf.SignatureKey); err != nil {
		return fmt.Errorf("%w: %w", ErrCredential, err)
	}
	return nil
}

// memberKeys are the keys of the members, by which a pending proposal that
// would spoil a commit is found before it is in.
type memberKeys map[string]LeafIndex

func (g *Group) keysInUse() memberKeys {
	m := make(memberKeys, 2*g.tree.Members())
	for i, l := range g.tree.Leaves() {
		m["s"+string(l.SignatureKey)] = i
		m["e"+string(l.EncryptionKey)] = i
	}
	return m
}

func (m memberKeys) free(p *Proposal, list *proposalList) error {
	var leaf *LeafNode
	switch p.Type {
	case ProposalAdd:
		leaf = p.Add.Leaf
	case ProposalUpdate:
		leaf = p.Update
	default:
		return nil
	}
	if _, used := m["e"+string(leaf.EncryptionKey)]; used {
		return fmt.Errorf("%w: encryption key", ErrDuplicate)
	}
	if i, used := m["s"+string(leaf.SignatureKey)]; used && p.Type == ProposalAdd && !list.changed[i] {
		return fmt.Errorf("%w: already a member", ErrDuplicate)
	}
	return nil
}

// renew puts a fresh path of the committer into the tree.
func (g *Group) renew(a *applied, o *CommitOptions) (*treekem.Path, suite.SigningKey, error) {
	old, ok := a.tree.Leaf(g.self)
	if !ok {
		return nil, nil, ErrNotMember
	}
	params := treekem.PathParams{Sender: g.self, GroupID: g.groupID, Signer: g.signer, Added: a.added}
	if o.Signer != nil {
		params.Signer = o.Signer
	}
	if o.Credential != nil {
		leaf := old.Clone()
		leaf.Credential = *o.Credential
		if err := checkSubject(leaf.Credential); err != nil {
			return nil, nil, err
		}
		if err := g.checkSuccessor(leaf, old); err != nil {
			return nil, nil, err
		}
		params.Leaf = leaf
	}
	path, err := treekem.CreatePath(a.tree, params)
	if err != nil {
		return nil, nil, treeError(err)
	}
	return path, params.Signer, nil
}

// provisional is the GroupContext under which the path is encrypted: all of the
// next one but the confirmed transcript hash.
func (g *Group) provisional(a *applied) groupContext {
	return groupContext{
		suite:                   g.gc.suite,
		groupID:                 g.groupID,
		epoch:                   g.number + 1,
		treeHash:                a.tree.Hash(),
		confirmedTranscriptHash: g.gc.confirmedTranscriptHash,
		extensions:              a.extensions,
	}
}

// schedule runs the key schedule of the next epoch from an init secret.
func (g *Group) schedule(initSecret, commitSecret secret.Key, psks []psk, gc groupContext) *epochSecrets {
	context := gc.append(nil)
	joiner := joinerSecret(g.suite, initSecret, commitSecret, context)
	return scheduleFromJoiner(g.suite, joiner, pskSecret(g.suite, psks), context)
}

// describe fills in what a commit changes.
func (s *Staged) describe(c *authContent, a *applied, list *proposalList) {
	g := s.old
	ch := &s.Changes
	ch.Committer, _ = g.Member(list.committer)
	ch.CID = CommitCID(s.Commit)
	ch.Epoch = g.number + 1
	ch.AuthenticatedData = c.content.authenticatedData
	ch.Removed = a.removed
	ch.SelfRemoved = a.selfGone
	for _, i := range a.added {
		if l, ok := a.tree.Leaf(i); ok {
			ch.Added = append(ch.Added, asMember(i, l, a.roles))
		}
	}
	for _, i := range a.updated {
		if l, ok := a.tree.Leaf(i); ok {
			ch.Updated = append(ch.Updated, asMember(i, l, a.roles))
		}
	}
	if list.extensions != nil {
		ch.Extensions = a.extensions
		ch.Roles = a.roles
	}
}
