package groups

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/treekem"
)

// PSKSource looks a pre-shared key up, and returns false if it has none. nil
// knows none.
type PSKSource func(PreSharedKeyID) (secret.Key, bool)

// listed is a proposal in a commit, with its sender.
type listed struct {
	proposal *Proposal
	sender   Sender
	ref      []byte // nil if by value
}

// proposalList is the proposals of one commit while they are checked, one by
// one and against each other (RFC 9420, Section 12.2). Both who makes a commit
// and who receives one fill it by add, and ask complete.
type proposalList struct {
	g         *Group
	committer Sender // a member, or a newcomer
	linking   bool   // it is the first commit of a successor or a branch
	items     []listed

	changed    map[LeafIndex]bool // updated or removed
	keys       map[string]bool    // signature and encryption keys of new leaves
	psks       map[string]bool
	extensions *Proposal // group context extensions
	reInit     *Proposal
	init       *Proposal  // external init
	replaced   *LeafIndex // the leaf that a newcomer takes the place of

	verified map[*KeyPackage]error // what check said, of those it was asked about
}

func (g *Group) newProposalList(committer Sender) *proposalList {
	return &proposalList{
		g:         g,
		committer: committer,
		changed:   make(map[LeafIndex]bool),
		keys:      make(map[string]bool),
		psks:      make(map[string]bool),
	}
}

// verify checks the key packages among the proposals on all cores, before they
// are added one by one.
func (l *proposalList) verify(proposals []*Proposal) {
	var packages []*KeyPackage
	for _, p := range proposals {
		if p.Type == ProposalAdd {
			packages = append(packages, p.Add)
		}
	}
	errs := make([]error, len(packages))
	_ = parallel(len(packages), func(i int) error {
		errs[i] = packages[i].check()
		return nil
	})
	l.verified = make(map[*KeyPackage]error, len(packages))
	for i, kp := range packages {
		l.verified[kp] = errs[i]
	}
}

// add checks a proposal by itself and with those before it, and lists it. On an
// error the list is as it was.
func (l *proposalList) add(it listed) error {
	p := it.proposal
	if err := l.g.checkProposal(p, it.sender, l.verified); err != nil {
		return err
	}
	if err := l.permit(it); err != nil {
		return err
	}
	if err := l.g.agrees(it); err != nil {
		return err
	}
	if len(l.items) == MaxProposals {
		return fmt.Errorf("%w: more than %d proposals", ErrProposal, MaxProposals)
	}
	if l.reInit != nil || (p.Type == ProposalReInit && len(l.items) > 0) {
		return fmt.Errorf("%w: re-initialisation beside another proposal", ErrProposal)
	}
	switch p.Type {
	case ProposalAdd:
		if err := l.claim(p.Add.Leaf); err != nil {
			return err
		}
	case ProposalUpdate:
		if it.sender == l.committer {
			return fmt.Errorf("%w: update by the committer", ErrProposal)
		}
		if l.changed[LeafIndex(it.sender.Index)] {
			return fmt.Errorf("%w: %v is changed already", ErrDuplicate, it.sender)
		}
		if err := l.claim(p.Update); err != nil {
			return err
		}
		l.changed[LeafIndex(it.sender.Index)] = true
	case ProposalRemove, ProposalSelfRemove:
		leaf := p.removes(it.sender)
		if l.committer.is(leaf) {
			return fmt.Errorf("%w: removal of the committer", ErrProposal)
		}
		if l.changed[leaf] {
			return fmt.Errorf("%w: leaf %d is changed already", ErrDuplicate, leaf)
		}
		if p.Type == ProposalSelfRemove && it.ref == nil {
			return fmt.Errorf("%w: self-remove by value", ErrProposal)
		}
		l.changed[leaf] = true
	case ProposalPSK:
		if err := checkPSK(&p.PSK, l.linking); err != nil {
			return err
		}
		id := string(p.PSK.append(nil))
		if l.psks[id] {
			return fmt.Errorf("%w: pre-shared key", ErrDuplicate)
		}
		if len(l.psks) == MaxPSKs {
			return fmt.Errorf("%w: more than %d pre-shared keys", ErrProposal, MaxPSKs)
		}
		l.psks[id] = true
	case ProposalGroupContextExtensions:
		if l.extensions != nil {
			return fmt.Errorf("%w: group context extensions", ErrDuplicate)
		}
		if err := sameAgreement(l.g.gc.extensions, p.Extensions); err != nil {
			return err
		}
		l.extensions = p
	case ProposalReInit:
		l.reInit = p
	case ProposalExternalInit:
		if l.init != nil {
			return fmt.Errorf("%w: external init", ErrDuplicate)
		}
		l.init = p
	}
	l.items = append(l.items, it)
	return nil
}

// removes returns the leaf that a removal is of.
func (p *Proposal) removes(sender Sender) LeafIndex {
	if p.Type == ProposalSelfRemove {
		return LeafIndex(sender.Index)
	}
	return p.Remove
}

// permit decides which proposals the committer may list.
func (l *proposalList) permit(it listed) error {
	p, g := it.proposal, l.g
	if l.committer.Type == SenderMember {
		if p.Type == ProposalExternalInit {
			return fmt.Errorf("%w: external init in a member's commit", ErrProposal)
		}
		if g.roles == nil || it.sender.Type == SenderMember {
			return nil // a member's right was checked with its proposal
		}
		// Who is outside has no role: the committer answers for it.
		m, _ := g.Member(LeafIndex(l.committer.Index))
		return g.roles.checkProposal(p, l.committer, m.Subject, g.gc.extensions)
	}
	// RFC 9420, Section 12.2, for external commits; the self-remove is of
	// draft-ietf-mls-extensions.
	switch {
	case p.Type == ProposalSelfRemove:
		return nil
	case it.ref != nil:
		return fmt.Errorf("%w: reference to a proposal in an external commit", ErrProposal)
	case p.Type == ProposalRemove && l.replaced == nil:
		l.replaced = &p.Remove
		return nil
	case p.Type == ProposalExternalInit, p.Type == ProposalPSK:
		return nil
	}
	return fmt.Errorf("%w: proposal of type %d in an external commit", ErrProposal, p.Type)
}

// permitAdmin holds who adds a leaf of an admin to the right to make admins: the
// roles go by what its credential claims, for which only its adder vouches. next
// are the roles that the leaf will have.
func (l *proposalList) permitAdmin(add listed, next *Roles) error {
	g := l.g
	if g.roles == nil || next == nil || !next.IsAdmin(Subject(add.proposal.Add.Leaf.Credential)) {
		return nil
	}
	by := add.sender
	if by.Type != SenderMember {
		by = l.committer // who answers for those outside
	}
	if m, ok := g.Member(LeafIndex(by.Index)); !ok || !g.roles.allows(g.roles.Promote, m.Subject) {
		return fmt.Errorf("%w: an admin added by %v", ErrNotAdmin, by)
	}
	return nil
}

// complete checks what can be said of an external commit when all proposals
// are listed. leaf is the newcomer's.
func (l *proposalList) complete(leaf *LeafNode) error {
	if l.init == nil {
		return fmt.Errorf("%w: external commit without external init", ErrProposal)
	}
	g := l.g
	if l.replaced != nil {
		old, ok := g.tree.Leaf(*l.replaced)
		switch {
		case !ok:
			return fmt.Errorf("%w: leaf %d", ErrNotMember, *l.replaced)
		case bytes.Equal(leaf.EncryptionKey, old.EncryptionKey):
			return fmt.Errorf("%w: newcomer without a new key", ErrProposal)
		case !bytes.Equal(Subject(leaf.Credential), Subject(old.Credential)):
			return fmt.Errorf("%w: newcomer removes a member that it is not", ErrCredential)
		// No member vouches for a newcomer's credential, and roles go by what it
		// claims. The key shows that it is whom it removes.
		case g.roles != nil && !bytes.Equal(leaf.SignatureKey, old.SignatureKey):
			return fmt.Errorf("%w: newcomer without the signature key of whom it removes", ErrCredential)
		}
	}
	if g.roles == nil {
		return nil
	}
	// In a group with roles a newcomer is let in by members only; who was in
	// may come back if it could have committed itself.
	subject := Subject(leaf.Credential)
	if l.replaced == nil || !g.roles.allows(g.roles.Commit, subject) {
		return fmt.Errorf("%w: external commit", ErrNotAdmin)
	}
	// It may not ask of others by coming back what it may not ask as a member:
	// who lacks a pre-shared key could not follow.
	for _, it := range l.items {
		if it.proposal.Type != ProposalPSK {
			continue
		}
		if err := g.roles.checkProposal(it.proposal, l.committer, subject, g.gc.extensions); err != nil {
			return err
		}
	}
	return nil
}

// claim takes the keys of a new leaf, which no other new leaf may have. That
// no member has them is checked in the tree.
func (l *proposalList) claim(n *LeafNode) error {
	sig, enc := "s"+string(n.SignatureKey), "e"+string(n.EncryptionKey)
	if l.keys[sig] || l.keys[enc] {
		return fmt.Errorf("%w: key of a new leaf", ErrDuplicate)
	}
	l.keys[sig], l.keys[enc] = true, true
	return nil
}

// needsPath is RFC 9420, Section 12.4: whether a commit must have a path. Types
// of the caller's do.
func (l *proposalList) needsPath() bool {
	for _, it := range l.items {
		switch it.proposal.Type {
		case ProposalAdd, ProposalPSK, ProposalReInit:
		default:
			return true
		}
	}
	return len(l.items) == 0
}

// checkProposal applies the rules for one proposal by itself (RFC 9420, Section
// 12.1), and the group's roles where the sender is a member. What depends on
// other proposals of the same commit, such as capabilities, is checked when the
// list is applied. verified may hold verdicts on key packages.
func (g *Group) checkProposal(p *Proposal, sender Sender, verified map[*KeyPackage]error) error {
	if err := g.checkSender(p, sender); err != nil {
		return err
	}
	switch p.Type {
	case ProposalAdd:
		err, known := verified[p.Add]
		if !known {
			err = p.Add.check()
		}
		if err != nil {
			return err
		}
		if p.Add.Suite != g.suite.ID() {
			return fmt.Errorf("%w: of another cipher suite", ErrKeyPackage)
		}
	case ProposalUpdate:
		return g.checkUpdate(p.Update, LeafIndex(sender.Index))
	case ProposalRemove:
		if _, ok := g.tree.Leaf(p.Remove); !ok {
			return fmt.Errorf("%w: leaf %d", ErrNotMember, p.Remove)
		}
	case ProposalPSK:
		if len(p.PSK.Nonce) != g.suite.HashSize() {
			return fmt.Errorf("%w: nonce of a pre-shared key", ErrProposal)
		}
	case ProposalReInit:
		if p.ReInit.Version < protocolVersion { // Section 12.1.5
			return fmt.Errorf("%w: re-initialisation with version %d", ErrProposal, p.ReInit.Version)
		}
		if e := p.ReInit.Extensions; len(e) > MaxExtensions || !e.Unique() {
			return fmt.Errorf("%w: re-initialisation with too many extensions, or one twice", ErrProposal)
		}
	case ProposalGroupContextExtensions:
		return checkExtensions(p.Extensions)
	}
	return nil
}

// checkSender is whether who sent a proposal may send one of that kind (RFC
// 9420, Section 12.1.8).
func (g *Group) checkSender(p *Proposal, sender Sender) error {
	switch sender.Type {
	case SenderMember:
		from, ok := g.tree.Leaf(LeafIndex(sender.Index))
		if !ok {
			return fmt.Errorf("%w: sender at %v", ErrNotMember, sender)
		}
		if g.roles != nil {
			return g.roles.checkProposal(p, sender, Subject(from.Credential), g.gc.extensions)
		}
		return nil
	case SenderExternal:
		switch p.Type {
		case ProposalAdd, ProposalRemove, ProposalPSK, ProposalReInit, ProposalGroupContextExtensions:
			return nil
		}
	case SenderNewMemberProposal:
		if p.Type == ProposalAdd {
			return nil
		}
	case SenderNewMemberCommit:
		return nil // see permit
	}
	return fmt.Errorf("%w: proposal of type %d by %v", ErrMalformed, p.Type, sender)
}

// checkPSK is RFC 9420, Section 8.4: the usages reinit and branch are for the
// first commit of the group they lead to.
func checkPSK(id *PreSharedKeyID, linking bool) error {
	if id.Type == PSKResumption && id.Usage != ResumptionApplication && !linking {
		return fmt.Errorf("%w: usage of a resumption key", ErrProposal)
	}
	return nil
}

// checkUpdate is RFC 9420, Sections 7.3 and 12.1.2, for a leaf of an Update
// proposal.
func (g *Group) checkUpdate(l *LeafNode, sender LeafIndex) error {
	old, ok := g.tree.Leaf(sender)
	if !ok {
		return fmt.Errorf("%w: sender at leaf %d", ErrNotMember, sender)
	}
	if l.Source != treekem.SourceUpdate {
		return fmt.Errorf("%w: update with a leaf of another source", ErrProposal)
	}
	if bytes.Equal(l.EncryptionKey, old.EncryptionKey) {
		return fmt.Errorf("%w: update without a new key", ErrProposal)
	}
	if err := l.Check(g.suite); err != nil {
		return fmt.Errorf("%w: %w", ErrProposal, err)
	}
	if err := l.Verify(g.suite, g.groupID, sender); err != nil {
		return treeError(err)
	}
	return g.checkSuccessor(l, old)
}

// checkSuccessor holds successors of a leaf to its subject.
func (g *Group) checkSuccessor(l, old *LeafNode) error {
	if g.roles != nil && !bytes.Equal(Subject(l.Credential), Subject(old.Credential)) {
		return fmt.Errorf("%w: successor of a leaf is for another subject", ErrCredential)
	}
	return nil
}

// applied is what a list of proposals does to a group.
type applied struct {
	tree       *treekem.Tree
	extensions Extensions
	required   required
	roles      *Roles
	// reconfigured says that extensions and roles are new.
	reconfigured bool
	added        []LeafIndex
	joiners      []*KeyPackage // of added
	updated      []LeafIndex
	removed      []Member
	psks         []PreSharedKeyID
	custom       []CustomProposal
	reInit       *ReInit
	ownUpdate    []byte // reference of the own Update, if it is among them
	selfGone     bool
}

// apply puts the proposals into a clone of the tree, in the order of RFC 9420,
// Section 12.3. The members together are checked by the caller, when the path
// is in too.
func (l *proposalList) apply() (*applied, error) {
	g := l.g
	a := &applied{tree: g.tree.Clone(), extensions: g.gc.extensions, roles: g.roles}
	var err error
	if l.extensions != nil {
		a.extensions, a.reconfigured = l.extensions.Extensions, true
		if a.roles, err = rolesOf(a.extensions); err != nil {
			return nil, err
		}
	}
	if a.required, err = requiredOf(a.extensions); err != nil {
		return nil, err
	}
	for _, it := range l.items {
		if it.proposal.Type == ProposalUpdate {
			if err := a.update(it, g.self); err != nil {
				return nil, err
			}
		}
	}
	for _, it := range l.items {
		if t := it.proposal.Type; t != ProposalRemove && t != ProposalSelfRemove {
			continue
		}
		leaf := it.proposal.removes(it.sender)
		gone, _ := g.Member(leaf)
		if err := a.tree.Remove(leaf); err != nil {
			return nil, treeError(err)
		}
		a.removed = append(a.removed, gone)
		a.selfGone = a.selfGone || leaf == g.self
	}
	// Who neither comes nor goes must know every type (Section 12.2).
	stay := a.tree.Common()
	for _, it := range l.items {
		if t := it.proposal.Type; !stay.HasProposal(t) {
			return nil, fmt.Errorf("%w: proposal type 0x%04x", ErrCapabilities, uint16(t))
		}
	}
	for _, it := range l.items {
		switch p := it.proposal; {
		case p.Type == ProposalAdd:
			leaf, err := a.tree.Add(p.Add.Leaf)
			if err != nil {
				return nil, treeError(err)
			}
			if err := checkLeaf(p.Add.Leaf, a.extensions, &a.required); err != nil {
				return nil, err
			}
			if err := l.permitAdmin(it, a.roles); err != nil {
				return nil, err
			}
			a.added = append(a.added, leaf)
			a.joiners = append(a.joiners, p.Add)
		case p.Type == ProposalPSK:
			a.psks = append(a.psks, p.PSK)
		case p.Type == ProposalReInit:
			a.reInit = p.ReInit
		case custom(p.Type):
			a.custom = append(a.custom, CustomProposal{Sender: it.sender, Type: p.Type, Body: p.Custom})
		}
	}
	return a, nil
}

func (a *applied) update(it listed, self LeafIndex) error {
	leaf := LeafIndex(it.sender.Index)
	if err := a.tree.Update(leaf, it.proposal.Update); err != nil {
		return treeError(err)
	}
	if err := checkLeaf(it.proposal.Update, a.extensions, &a.required); err != nil {
		return err
	}
	a.updated = append(a.updated, leaf)
	if leaf == self {
		a.ownUpdate = it.ref
	}
	return nil
}

// settle applies the list for an own commit. Pending proposals that are valid by
// themselves, and spoil the commit all the same, are left out: no member may be
// able to stop all commits by a proposal, such as an update to a key that is in
// use elsewhere in the tree. The error is that of what is not pending.
func (l *proposalList) settle(source PSKSource) (a *applied, psks []psk, dropped []error, err error) {
	kept, pending := make([]listed, 0, len(l.items)), make([]listed, 0, len(l.items))
	for _, it := range l.items {
		if it.ref == nil {
			kept = append(kept, it)
		} else {
			pending = append(pending, it)
		}
	}
	a, psks, err = l.try(l.items, source)
	if err == nil || len(pending) == 0 {
		return a, psks, nil, err
	}
	if a, psks, err = l.try(kept, source); err != nil {
		return nil, nil, nil, err
	}
	// Few spoil a commit, so halves are tried before single ones.
	var add func(batch []listed)
	add = func(batch []listed) {
		more := slices.Concat(kept, batch)
		b, found, err := l.try(more, source)
		switch {
		case err == nil:
			kept, a, psks = more, b, found
		case len(batch) == 1:
			dropped = append(dropped, fmt.Errorf("proposal of %v: %w", batch[0].sender, err))
		default:
			add(batch[:len(batch)/2])
			add(batch[len(batch)/2:])
		}
	}
	add(pending)
	l.setItems(kept)
	return a, psks, dropped, nil
}

// try applies some of the proposals, and checks what it can before the path.
func (l *proposalList) try(items []listed, source PSKSource) (*applied, []psk, error) {
	some := *l
	some.setItems(items)
	a, err := some.apply()
	if err != nil {
		return nil, nil, err
	}
	psks, err := l.g.lookup(a.psks, source)
	if err != nil {
		return nil, nil, err
	}
	return a, psks, checkMembers(a.tree, a.extensions, a.roles)
}

// setItems replaces the list by a part of it.
func (l *proposalList) setItems(items []listed) {
	l.items, l.extensions, l.reInit = items, nil, nil
	for _, it := range items {
		switch it.proposal.Type {
		case ProposalGroupContextExtensions:
			l.extensions = it.proposal
		case ProposalReInit:
			l.reInit = it.proposal
		}
	}
}

// lookup finds the pre-shared keys that a commit names. The head's own
// resumption secret needs no source; a newcomer, who sees the head from outside,
// has it from elsewhere if at all.
func (g *Group) lookup(ids []PreSharedKeyID, source PSKSource) ([]psk, error) {
	out := make([]psk, len(ids))
	for i, id := range ids {
		out[i].id = id
		if id.Type == PSKResumption && id.Epoch == g.number && bytes.Equal(id.GroupID, g.groupID) && !g.resumption.IsZero() {
			out[i].key = g.resumption
			continue
		}
		key, ok := secret.Key{}, false
		if source != nil {
			key, ok = source(id)
		}
		if !ok {
			return nil, ErrUnknownPSK
		}
		out[i].key = key
	}
	return out, nil
}
