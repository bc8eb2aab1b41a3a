package groups

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

// ProcessOptions are what the world outside the group contributes to a
// message. The zero value trusts every credential.
type ProcessOptions struct {
	Verifier CredentialVerifier // fills Changes.Untrusted; never decides validity
	Now      time.Time          // zero: lifetimes are not looked at
	PSK      PSKSource
}

// Received is what Process made of a message: one of the last three is set.
type Received struct {
	// From says who sent it. Sender is the member, if it is one.
	From        Sender
	Sender      Member
	Application *Application
	Proposal    *PendingProposal
	Commit      *Staged
}

// Process takes a PublicMessage or PrivateMessage of this epoch. A proposal is
// remembered in the rows, an application message consumes its key, a commit is
// staged: look at its Changes, then merge it. A message of another epoch is an
// *[EpochError]; what this member sent itself is [ErrOwnMessage]. Messages of
// external senders and newcomers are processed too; whether to hand them to
// Process is the caller's policy.
func (g *Group) Process(rows Rows, msg []byte, o ProcessOptions) (*Received, error) {
	msg = bytes.Clone(msg) // what is decoded refers into it
	m, err := parseMessage(msg)
	if err != nil {
		return nil, err
	}
	var (
		a      *authContent
		sender Member
		key    *commitKey
		out    changes
	)
	switch m.wireFormat {
	case WirePublicMessage:
		a, sender, err = g.openPublic(m.public)
	case WirePrivateMessage:
		key = new(commitKey)
		a, sender, key.generation, out, err = g.decrypt(rows, g, m.private)
		key.leaf = uint32(sender.Leaf)
	default:
		return nil, fmt.Errorf("%w: not a message within a group", ErrMalformed)
	}
	if err != nil {
		return nil, err
	}
	r := &Received{From: a.content.sender, Sender: sender}
	switch a.content.contentType {
	case ContentApplication:
		r.Application, err = g.application(a, sender)
	case ContentProposal:
		r.Proposal, err = g.receiveProposal(rows, a, &out)
	default:
		// The key of an encrypted commit is consumed when the commit is merged.
		if r.Commit, err = g.stage(rows, a, msg, o); err == nil {
			r.Commit.key = key
		}
		out = nil
	}
	if err != nil {
		return nil, err
	}
	return r, out.write(rows, g.cid)
}

// openPublic verifies a PublicMessage (RFC 9420, Section 6.2), of a member or of
// someone outside.
func (g *Group) openPublic(m *publicMessage) (*authContent, Member, error) {
	c := m.content
	if err := g.fits(c.groupID, c.epoch); err != nil {
		return nil, Member{}, err
	}
	if c.contentType == ContentApplication {
		return nil, Member{}, fmt.Errorf("%w: application data in the clear", ErrMalformed)
	}
	var sender Member
	key, err := g.outsideKey(c)
	if c.sender.Type == SenderMember {
		var ok bool
		if sender, ok = g.Member(LeafIndex(c.sender.Index)); !ok {
			return nil, Member{}, fmt.Errorf("%w: sender at %v", ErrNotMember, c.sender)
		}
		key, err = sender.SignatureKey, checkMembershipTag(g.suite, g.membership, m, g.context)
	}
	if err != nil {
		return nil, Member{}, err
	}
	a := m.authenticated()
	if err := a.verify(g.suite, key, g.context); err != nil {
		return nil, Member{}, err
	}
	if c.sender.is(g.self) {
		return nil, Member{}, ErrOwnMessage
	}
	return a, sender, nil
}

// outsideKey returns the signature key of a sender that is not a member: that of
// an external sender is in the GroupContext, a newcomer brings its own (RFC
// 9420, Section 6.1).
func (g *Group) outsideKey(c *framedContent) ([]byte, error) {
	switch {
	case c.sender.Type == SenderMember:
		return nil, nil
	case c.sender.Type == SenderExternal && c.contentType == ContentProposal:
		senders, err := ExternalSenders(g.gc.extensions)
		if err != nil {
			return nil, err
		}
		if uint64(c.sender.Index) >= uint64(len(senders)) {
			return nil, fmt.Errorf("%w: %v", ErrNotMember, c.sender)
		}
		return senders[c.sender.Index].SignatureKey, nil
	case c.sender.Type == SenderNewMemberProposal && c.contentType == ContentProposal && c.proposal.Type == ProposalAdd:
		return c.proposal.Add.Leaf.SignatureKey, nil
	case c.sender.Type == SenderNewMemberCommit && c.contentType == ContentCommit && c.commit.path != nil:
		return c.commit.path.Leaf.SignatureKey, nil
	}
	return nil, fmt.Errorf("%w: %v may not send this", ErrMalformed, c.sender)
}

func (g *Group) receiveProposal(rows Rows, a *authContent, out *changes) (*PendingProposal, error) {
	if g.reInit != nil {
		return nil, ErrReInit
	}
	if g.agreement != nil {
		return nil, fmt.Errorf("%w: proposal by itself", ErrAgreement)
	}
	p := a.content.proposal
	if p.Type == ProposalSelfRemove && a.wireFormat != WirePublicMessage {
		return nil, fmt.Errorf("%w: private self-remove", ErrMalformed)
	}
	if err := g.checkProposal(p, a.content.sender, nil); err != nil {
		return nil, err
	}
	if err := checkPSK(&p.PSK, false); err != nil {
		return nil, err
	}
	if p.Type == ProposalExternalInit {
		return nil, fmt.Errorf("%w: external init by a member", ErrProposal)
	}
	ref := proposalRef(g.suite, a)
	if err := g.remember(rows, a, ref, out); err != nil {
		return nil, err
	}
	return &PendingProposal{Sender: a.content.sender, Ref: ref, Proposal: p}, nil
}

// stage checks a received commit (RFC 9420, Section 12.4.2) and works out the
// next epoch, without changing anything.
func (g *Group) stage(rows Rows, a *authContent, msg []byte, o ProcessOptions) (*Staged, error) {
	c, from := a.content.commit, a.content.sender
	if g.reInit != nil {
		return nil, ErrReInit
	}
	if err := g.checkAgreed(a); err != nil {
		return nil, err
	}
	if from.Type == SenderMember && !g.MayCommit(LeafIndex(from.Index)) {
		return nil, fmt.Errorf("%w: commit by %v", ErrNotAdmin, from)
	}
	list, err := g.resolve(rows, c, from)
	if err != nil {
		return nil, err
	}
	if c.path == nil && list.needsPath() {
		return nil, fmt.Errorf("%w: commit without a path", ErrProposal)
	}
	ap, err := list.apply()
	if err != nil {
		return nil, err
	}
	committer := LeafIndex(from.Index)
	if from.Type == SenderNewMemberCommit {
		if err := list.complete(c.path.Leaf); err != nil {
			return nil, err
		}
		if committer, err = ap.tree.Add(c.path.Leaf); err != nil {
			return nil, treeError(err)
		}
	}
	if c.path != nil {
		if err := g.mergePath(ap, c.path, committer); err != nil {
			return nil, err
		}
	}
	if err := checkMembers(ap.tree, ap.extensions, ap.roles); err != nil {
		return nil, err
	}
	st := &Staged{Commit: msg, old: g}
	st.describe(a, ap, committer)
	st.distrust(c, ap, o)
	if ap.selfGone {
		return st, nil
	}

	psks, err := g.lookup(ap.psks, o.PSK)
	if err != nil {
		return nil, err
	}
	gc := g.provisional(ap)
	path, private, signer, err := g.openPath(rows, ap, c.path, committer, gc)
	if err != nil {
		return nil, err
	}
	defer path.Commit.Erase()
	defer path.Top.Erase()
	initSecret := g.init
	if list.init != nil {
		if initSecret, err = g.externalInit(list.init.KEMOutput); err != nil {
			return nil, err
		}
		defer initSecret.Erase()
	}
	gc.confirmedTranscriptHash = confirmedTranscriptHash(g.suite, g.interim, a)
	sec, parent, err := g.schedule(initSecret, path, psks, gc)
	if err != nil {
		return nil, err
	}
	defer sec.eraseTransient()
	if !g.suite.VerifyMAC(sec.confirmation, gc.confirmedTranscriptHash, a.auth.confirmationTag) {
		return nil, ErrConfirmationTag
	}
	next := &Group{tree: ap.tree, private: private, signer: signer, reInit: ap.reInit}
	if err := next.begin(gc, commitCID(msg, a), g.self, sec); err != nil {
		return nil, err
	}
	st.next, st.encryption, st.parent = next, sec.encryption, parent
	return st, nil
}

// resolve lists the proposals of a received commit.
func (g *Group) resolve(rows Rows, c *commit, committer Sender) (*proposalList, error) {
	list := g.newProposalList(committer)
	items := make([]listed, len(c.proposals))
	proposals := make([]*Proposal, len(c.proposals))
	seen := make(map[string]bool)
	for i, p := range c.proposals {
		items[i] = listed{proposal: p.proposal, sender: committer, ref: p.ref}
		if p.proposal == nil {
			if seen[string(p.ref)] {
				return nil, fmt.Errorf("%w: reference to a proposal", ErrDuplicate)
			}
			seen[string(p.ref)] = true
			var err error
			if items[i].proposal, items[i].sender, err = g.recall(rows, p.ref); err != nil {
				return nil, err
			}
		}
		proposals[i] = items[i].proposal
	}
	list.verify(proposals)
	for _, it := range items {
		if err := list.add(it); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// mergePath puts the public half of a commit's path into the tree.
func (g *Group) mergePath(ap *applied, path *treekem.UpdatePath, committer LeafIndex) error {
	old, ok := ap.tree.Leaf(committer)
	if !ok {
		return ErrNotMember
	}
	if err := g.checkSuccessor(path.Leaf, old); err != nil {
		return err
	}
	if err := checkLeaf(path.Leaf, ap.extensions, &ap.required); err != nil {
		return err
	}
	if err := ap.tree.Merge(g.groupID, committer, path, ap.added); err != nil {
		return treeError(err)
	}
	return nil
}

// openPath works out this member's private state in the next epoch, and the path's
// secrets, which are empty if there is no path.
func (g *Group) openPath(rows Rows, ap *applied, path *treekem.UpdatePath, committer LeafIndex, gc groupContext) (secrets treekem.PathSecrets, _ *treekem.Private, _ suite.SigningKey, err error) {
	private, signer := g.private, g.signer
	if ap.ownUpdate != nil {
		key, s, err := g.ownUpdate(rows, ap.ownUpdate)
		if err != nil {
			return secrets, nil, nil, err
		}
		private, signer = private.WithLeafKey(key), s
	}
	if path == nil {
		private, err := private.Follow(ap.tree)
		if err != nil {
			return secrets, nil, nil, treeError(err)
		}
		return secrets, private, signer, nil
	}
	secrets, private, err = private.Open(ap.tree, committer, path, ap.added, gc.append(nil))
	if err != nil {
		return secrets, nil, nil, treeError(err)
	}
	return secrets, private, signer, nil
}

// distrust asks the verifier about the leaves a commit brings in.
func (s *Staged) distrust(c *commit, ap *applied, o ProcessOptions) {
	ask := func(m Member, leaf *LeafNode) {
		var errs []error
		if !o.Now.IsZero() {
			if err := checkLifetime(leaf, o.Now, false); err != nil {
				errs = append(errs, err)
			}
		}
		if o.Verifier != nil {
			if err := o.Verifier.VerifyCredential(leaf.Credential, leaf.SignatureKey); err != nil {
				errs = append(errs, fmt.Errorf("%w: %w", ErrCredential, err))
			}
		}
		if len(errs) > 0 {
			s.Changes.Untrusted = append(s.Changes.Untrusted, Untrusted{Member: m, Err: errors.Join(errs...)})
		}
	}
	for _, list := range [][]Member{s.Changes.Added, s.Changes.Updated} {
		for _, m := range list {
			if leaf, ok := ap.tree.Leaf(m.Leaf); ok {
				ask(m, leaf)
			}
		}
	}
	if ap.reconfigured {
		s.Changes.Untrusted = append(s.Changes.Untrusted, distrustSenders(s.old.gc.extensions, ap.extensions, o.Verifier)...)
	}
	was := s.Changes.Committer
	if c.path == nil || (!s.Changes.External && was.Credential.Equal(c.path.Leaf.Credential) && bytes.Equal(was.SignatureKey, c.path.Leaf.SignatureKey)) {
		return
	}
	ask(asMember(was.Leaf, c.path.Leaf, ap.roles), c.path.Leaf)
}
