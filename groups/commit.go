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
	// Proposals are further ones by value, of any type but Update, SelfRemove
	// and ExternalInit.
	Proposals []*Proposal
	// IgnorePending leaves out the proposals that were received or made in this
	// epoch, which otherwise are committed as far as they are valid.
	IgnorePending bool
	// Choose says which of the pending proposals to commit; nil means all.
	Choose func(PendingProposal) bool
	// Verifier judges the credentials of added and updated members; nil accepts
	// all.
	Verifier CredentialVerifier
	PSK      PSKSource
	// Credential and Signer replace those of the own leaf; nil keeps them.
	Credential *Credential
	Signer     suite.SigningKey
	// NoPath leaves the path out where no proposal needs one, and with it the
	// renewal of the own keys (RFC 9420, Section 12.4). A new Credential or
	// Signer needs one.
	NoPath bool
	// OmitTree leaves the ratchet tree out of the Welcome: joiners get
	// [Group.RatchetTree] of [Staged.Next] in another way.
	OmitTree bool
	Framing  Framing
	Now      time.Time // against which key packages are valid
	// AnyLifetime accepts key packages that are valid for longer than
	// [MaxLifetime], or for ever, as some implementations make them.
	AnyLifetime bool

	link *PreSharedKeyID // set in the first commit of a successor or a branch
}

// Changes is what a commit does to a group.
type Changes struct {
	Committer Member // as it was before; of an external commit, as it is now
	External  bool   // the committer is a newcomer, which replaces whom it removes
	CID       CID    // of the epoch that the commit begins
	Epoch     uint64 // its number
	Added     []Member
	Removed   []Member
	Updated   []Member // by Update proposals
	Roles     *Roles   // the new ones; nil if they stay
	// Extensions is the new list of GroupContext extensions; nil if it stays.
	Extensions Extensions
	PSKs       []PreSharedKeyID // which entered the epoch's secrets
	Custom     []CustomProposal
	// ReInit closes the group in favour of another; nil if it does not.
	ReInit            *ReInit
	SelfRemoved       bool
	AuthenticatedData []byte
	// Untrusted lists new leaves whose credential the verifier did not accept,
	// or whose key package is outside its lifetime or valid for longer than
	// [MaxLifetime], and new external senders that it did not accept. It has no
	// influence on whether the commit is valid.
	Untrusted []Untrusted
	// Dropped says why pending proposals were left out of an own commit.
	Dropped []error
}

// Untrusted is a member, and why this member's verifier does not vouch for it.
// An external sender is here too, at a leaf where no member is.
type Untrusted struct {
	Member Member
	Err    error
}

// CustomProposal is a proposal of a type that only the caller understands.
type CustomProposal struct {
	Sender Sender
	Type   ProposalType
	Body   []byte
}

// Staged is a commit, own or another's, that was checked and waits to be
// merged, or dropped by forgetting it.
type Staged struct {
	Commit  []byte  // MLSMessage, to all members of the old epoch
	Welcome []byte  // MLSMessage, to those added; nil if there are none, or not our own
	Changes Changes // what merging will do

	old, next  *Group // old is nil for who comes in; next if this member is removed
	encryption secret.Key
	key        *commitKey  // nil for a PublicMessage
	parent     *Superseded // see Parent
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
// The Past is nil where this member comes in by the commit. It returns
// [ErrRemoved] if the commit removes this member: see [Group.Retire].
func (s *Staged) Merge(rows Rows) (*Group, *Past, error) {
	if s.next == nil {
		return nil, nil, ErrRemoved
	}
	if s.old == nil {
		return s.next, nil, s.next.startRows(rows, s.encryption)
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
	if !s.old.left { // it was done when it was left
		if err := s.old.forget(view, &out); err != nil {
			return nil, nil, err
		}
	}
	if err := out.write(rows, s.old.cid); err != nil {
		return nil, nil, err
	}
	if err := s.next.startRows(rows, s.encryption); err != nil {
		return nil, nil, err
	}
	return s.next, s.old.past(), nil
}

// startRows writes the first rows of an epoch.
func (g *Group) startRows(rows Rows, encryption secret.Key) error {
	var first changes
	g.secretTree(nil).start(encryption, &first)
	return first.write(rows, g.cid)
}

// Prepare makes a commit (RFC 9420, Section 12.4.1), with a path unless told
// otherwise, so that it also renews the committer's keys. Nothing changes until
// it is merged, but for the key of a PrivateMessage, and another may be prepared
// instead. It returns [ErrReInit] in a group that was closed, [ErrNotAdmin] if the roles do not
// let this member commit, and the errors of proposals, key packages and
// credentials; a pending proposal that cannot be committed is left out instead.
func (g *Group) Prepare(rows Rows, o CommitOptions) (*Staged, error) {
	if g.reInit != nil {
		return nil, ErrReInit
	}
	if !g.MayCommit(g.self) {
		return nil, fmt.Errorf("%w: commit", ErrNotAdmin)
	}
	if err := g.checkOptions(&o); err != nil {
		return nil, err
	}
	format, err := o.Framing.format()
	if err != nil {
		return nil, err
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
	n, err := g.renew(a, &o, list.needsPath())
	if err != nil {
		return nil, err
	}
	defer n.erase()
	if err := checkMembers(a.tree, a.extensions, a.roles); err != nil {
		return nil, err
	}
	n.format, n.from, n.framing = format, member(g.self), o.Framing
	st, sec, err := g.commit(rows, list, a, n, g.init, psks)
	if err != nil {
		return nil, err
	}
	defer sec.eraseTransient()
	st.Changes.Dropped = dropped
	if len(a.added) > 0 {
		if st.Welcome, err = st.next.welcome(a, n.path, sec, !o.OmitTree); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// renewal is the committer's own part of a commit in the making.
type renewal struct {
	leaf    LeafIndex
	path    *treekem.Path // nil if there is none
	private *treekem.Private
	signer  suite.SigningKey // of the next epoch

	format  WireFormat
	from    Sender
	framing Framing
}

func (n *renewal) erase() {
	if n.path != nil {
		n.path.Erase()
	}
}

// secrets are empty if there is no path.
func (n *renewal) secrets() treekem.PathSecrets {
	if n.path == nil {
		return treekem.PathSecrets{}
	}
	return n.path.Secrets()
}

// commit encrypts, signs and frames a commit whose proposals and path are in
// a.tree, and works out the epoch it begins. The caller erases what is
// transient of the secrets.
func (g *Group) commit(rows Rows, list *proposalList, a *applied, n *renewal, initSecret secret.Key, psks []psk) (*Staged, *epochSecrets, error) {
	gc := g.provisional(a)
	c := &commit{proposals: make([]proposalOrRef, len(list.items))}
	if n.path != nil {
		var err error
		if c.path, err = n.path.Encrypt(gc.append(nil)); err != nil {
			return nil, nil, treeError(err)
		}
	}
	for i, it := range list.items {
		if c.proposals[i].ref = it.ref; it.ref == nil {
			c.proposals[i].proposal = it.proposal
		}
	}
	content := &authContent{wireFormat: n.format, content: &framedContent{
		groupID:           g.groupID,
		epoch:             g.number,
		sender:            n.from,
		authenticatedData: n.framing.AuthenticatedData,
		contentType:       ContentCommit,
		commit:            c,
	}}
	if err := content.content.readable(); err != nil {
		return nil, nil, err
	}
	signer := g.signer
	if n.from.Type != SenderMember {
		signer = n.signer // who comes in has no key in the old epoch
	}
	if err := content.sign(g.suite, signer, g.context); err != nil {
		return nil, nil, err
	}
	gc.confirmedTranscriptHash = confirmedTranscriptHash(g.suite, g.interim, content)
	sec, parent, err := g.schedule(initSecret, n.secrets(), psks, gc)
	if err != nil {
		return nil, nil, err
	}
	content.auth.confirmationTag = g.suite.MAC(sec.confirmation, gc.confirmedTranscriptHash)
	var out changes
	msg, err := g.protect(rows, content, n.framing.Padding, &out)
	if err != nil {
		return nil, nil, err
	}
	if len(msg) > MaxMessageSize {
		return nil, nil, fmt.Errorf("%w: commit of %d bytes", ErrMalformed, len(msg))
	}
	next := &Group{tree: a.tree, private: n.private, signer: n.signer, reInit: a.reInit}
	if err := next.begin(gc, commitCID(msg, content), n.leaf, sec); err != nil {
		return nil, nil, err
	}
	st := &Staged{Commit: msg, old: g, next: next, encryption: sec.encryption, parent: parent}
	st.describe(content, a, n.leaf)
	return st, sec, out.write(rows, g.cid)
}

// collect lists the proposals of an own commit: those of the options, which
// must all be valid, and those pending that are.
func (g *Group) collect(rows Rows, o *CommitOptions) (list *proposalList, dropped []error, err error) {
	list = g.newProposalList(member(g.self))
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
	own = append(own, o.Proposals...)
	if o.link != nil {
		list.linking = true
		own = append(own, &Proposal{Type: ProposalPSK, PSK: *o.link})
	}
	list.verify(own)
	for _, p := range own {
		if err := list.add(listed{proposal: p, sender: member(g.self)}); err != nil {
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
		if o.Choose != nil && !o.Choose(p) {
			continue
		}
		err := g.vouch(p.Proposal, o)
		if err == nil {
			err = members.free(p.Proposal, list)
		}
		if err == nil {
			err = list.add(listed{proposal: p.Proposal, sender: p.Sender, ref: p.Ref})
		}
		if err != nil {
			dropped = append(dropped, fmt.Errorf("proposal of %v: %w", p.Sender, err))
		}
	}
	return list, dropped, nil
}

func rank(p *Proposal) int {
	switch p.Type {
	case ProposalSelfRemove: // which makes a Remove of the same leaf invalid
		return 0
	case ProposalRemove:
		return 1
	case ProposalReInit: // which stands alone, and can wait
		return 3
	default:
		return 2
	}
}

// vouch is the committer's duty towards those it brings in: their lifetime and
// their credential (RFC 9420, Sections 5.3.1 and 7.3).
func (g *Group) vouch(p *Proposal, o *CommitOptions) error {
	var leaf *LeafNode
	switch p.Type {
	case ProposalAdd:
		if err := checkLifetime(p.Add.Leaf, o.Now, o.AnyLifetime); err != nil {
			return err
		}
		leaf = p.Add.Leaf
	case ProposalUpdate:
		leaf = p.Update
	case ProposalGroupContextExtensions:
		for _, u := range distrustSenders(g.gc.extensions, p.Extensions, o.Verifier) {
			return u.Err
		}
		return nil
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

// renew puts a fresh path of the committer into the tree, unless none is needed
// and none is wanted.
func (g *Group) renew(a *applied, o *CommitOptions, needed bool) (*renewal, error) {
	old, ok := a.tree.Leaf(g.self)
	if !ok {
		return nil, ErrNotMember
	}
	if o.NoPath && !needed && o.Credential == nil && o.Signer == nil {
		private, err := g.private.Follow(a.tree)
		if err != nil {
			return nil, treeError(err)
		}
		return &renewal{leaf: g.self, private: private, signer: g.signer}, nil
	}
	params := treekem.PathParams{Sender: g.self, GroupID: g.groupID, Signer: g.signer, Added: a.added}
	if o.Signer != nil {
		params.Signer = o.Signer
	}
	if o.Credential != nil {
		leaf := old.Clone()
		leaf.Credential = *o.Credential
		if err := checkSubject(leaf.Credential); err != nil {
			return nil, err
		}
		if err := g.checkSuccessor(leaf, old); err != nil {
			return nil, err
		}
		params.Leaf = leaf
	}
	path, err := treekem.CreatePath(a.tree, params)
	if err != nil {
		return nil, treeError(err)
	}
	return &renewal{leaf: g.self, path: path, private: path.Private(), signer: params.Signer}, nil
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

// schedule runs the key schedule of the next epoch, from an init secret or, in a
// group with parley_agreement, from that which belongs to the commit. Then it also
// returns what is left of this epoch.
func (g *Group) schedule(initSecret secret.Key, path treekem.PathSecrets, psks []psk, gc groupContext) (*epochSecrets, *Superseded, error) {
	context := gc.append(nil)
	var parent *Superseded
	if g.agreement != nil {
		s, point, err := g.childInit(path.Top, gc)
		if err != nil {
			return nil, nil, err
		}
		defer s.Erase()
		if parent, err = g.punctured(point); err != nil {
			return nil, nil, err
		}
		initSecret = s
	}
	joiner := joinerSecret(g.suite, initSecret, path.Commit, context)
	return scheduleFromJoiner(g.suite, joiner, pskSecret(g.suite, psks), context, g.agreement != nil), parent, nil
}

// describe fills in what a commit changes.
func (s *Staged) describe(c *authContent, a *applied, committer LeafIndex) {
	g := s.old
	ch := &s.Changes
	if ch.External = c.content.sender.Type == SenderNewMemberCommit; ch.External {
		leaf, _ := a.tree.Leaf(committer)
		ch.Committer = asMember(committer, leaf, a.roles)
	} else {
		ch.Committer, _ = g.Member(committer)
	}
	ch.CID = commitCID(s.Commit, c)
	ch.Epoch = g.number + 1
	ch.AuthenticatedData = c.content.authenticatedData
	ch.Removed = a.removed
	ch.SelfRemoved = a.selfGone
	ch.PSKs, ch.Custom, ch.ReInit = a.psks, a.custom, a.reInit
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
	if a.reconfigured {
		ch.Extensions = a.extensions
		ch.Roles = a.roles
	}
}
