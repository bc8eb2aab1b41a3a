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
	sender   LeafIndex
	ref      []byte // nil if by value
}

// proposalList is the proposals of one commit while they are checked, one by
// one and against each other (RFC 9420, Section 12.2). Both who makes a commit
// and who receives one fill it by add.
type proposalList struct {
	g         *Group
	committer LeafIndex
	required  required
	items     []listed

	changed    map[LeafIndex]bool // updated or removed
	keys       map[string]bool    // signature and encryption keys of new leaves
	psks       map[string]bool
	extensions *Proposal // group context extensions

	verified map[*KeyPackage]error // what check said, of those it was asked about
}

func (g *Group) newProposalList(committer LeafIndex) (*proposalList, error) {
	q, err := requiredOf(g.gc.extensions)
	if err != nil {
		return nil, err
	}
	return &proposalList{
		g:         g,
		committer: committer,
		required:  q,
		changed:   make(map[LeafIndex]bool),
		keys:      make(map[string]bool),
		psks:      make(map[string]bool),
	}, nil
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
	if err := l.g.checkProposal(it.proposal, it.sender, &l.required, l.verified); err != nil {
		return err
	}
	p := it.proposal
	switch p.Type {
	case ProposalAdd:
		if err := l.claim(p.Add.Leaf); err != nil {
			return err
		}
	case ProposalUpdate:
		if it.sender == l.committer {
			return fmt.Errorf("%w: update by the committer", ErrProposal)
		}
		if l.changed[it.sender] {
			return fmt.Errorf("%w: leaf %d is changed already", ErrDuplicate, it.sender)
		}
		if err := l.claim(p.Update); err != nil {
			return err
		}
		l.changed[it.sender] = true
	case ProposalRemove:
		if p.Remove == l.committer {
			return fmt.Errorf("%w: removal of the committer", ErrProposal)
		}
		if l.changed[p.Remove] {
			return fmt.Errorf("%w: leaf %d is changed already", ErrDuplicate, p.Remove)
		}
		l.changed[p.Remove] = true
	case ProposalPSK:
		id := string(p.PSK.append(nil))
		if l.psks[id] || len(l.psks) == MaxPSKs {
			return fmt.Errorf("%w: pre-shared key", ErrDuplicate)
		}
		l.psks[id] = true
	case ProposalGroupContextExtensions:
		if l.extensions != nil {
			return fmt.Errorf("%w: group context extensions", ErrDuplicate)
		}
		l.extensions = p
	case ProposalReInit:
		return fmt.Errorf("%w: re-initialisation", ErrUnsupported)
	default: // ExternalInit is for external commits only
		return fmt.Errorf("%w: type %d in a member's commit", ErrProposal, p.Type)
	}
	l.items = append(l.items, it)
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

// needsPath is RFC 9420, Section 12.4: whether a commit must have a path.
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
// 12.1), and the group's roles. verified may hold verdicts on key packages.
func (g *Group) checkProposal(p *Proposal, sender LeafIndex, q *required, verified map[*KeyPackage]error) error {
	from, ok := g.tree.Leaf(sender)
	if !ok {
		return fmt.Errorf("%w: sender at leaf %d", ErrNotMember, sender)
	}
	if g.roles != nil {
		if err := g.roles.checkProposal(p, sender, Subject(from.Credential), g.gc.extensions); err != nil {
			return err
		}
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
		return checkLeaf(p.Add.Leaf, g.gc.extensions, q)
	case ProposalUpdate:
		return g.checkUpdate(p.Update, sender, from, q)
	case ProposalRemove:
		if _, ok := g.tree.Leaf(p.Remove); !ok {
			return fmt.Errorf("%w: leaf %d", ErrNotMember, p.Remove)
		}
	case ProposalPSK:
		if len(p.PSK.Nonce) != g.suite.HashSize() {
			return fmt.Errorf("%w: nonce of a pre-shared key", ErrProposal)
		}
		if p.PSK.Type == PSKResumption && p.PSK.Usage != ResumptionApplication {
			return fmt.Errorf("%w: usage of a resumption key", ErrProposal)
		}
	case ProposalGroupContextExtensions:
		if err := checkExtensions(p.Extensions); err != nil {
			return err
		}
		return g.checkContext(p.Extensions)
	}
	return nil
}

// checkContext holds the members to new extensions of the GroupContext.
func (g *Group) checkContext(e Extensions) error {
	q, err := requiredOf(e)
	if err != nil {
		return err
	}
	if err := supports(g.tree.Common(), e, &q); err != nil || g.roles == nil {
		return err
	}
	for _, l := range g.tree.Leaves() {
		if !slices.Contains(q.credentials, l.Credential.Type) {
			return fmt.Errorf("%w: credential type 0x%04x in use is not required", ErrCapabilities, uint16(l.Credential.Type))
		}
	}
	return nil
}

// checkUpdate is RFC 9420, Sections 7.3 and 12.1.2, for a leaf of an Update
// proposal.
func (g *Group) checkUpdate(l *LeafNode, sender LeafIndex, old *LeafNode, q *required) error {
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
	if err := checkLeaf(l, g.gc.extensions, q); err != nil {
		return err
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
	roles      *Roles
	added      []LeafIndex
	joiners    []*KeyPackage // of added
	updated    []LeafIndex
	removed    []Member
	psks       []PreSharedKeyID
	ownUpdate  []byte // reference of the own Update, if it is among them
	selfGone   bool
}

// apply puts the proposals into a clone of the tree, in the order of RFC 9420,
// Section 12.3. The members together are checked by the caller, when the path
// is in too.
func (l *proposalList) apply() (*applied, error) {
	g := l.g
	a := &applied{tree: g.tree.Clone(), extensions: g.gc.extensions, roles: g.roles}
	if l.extensions != nil {
		a.extensions = l.extensions.Extensions
		var err error
		if a.roles, err = rolesOf(a.extensions); err != nil {
			return nil, err
		}
	}
	for _, it := range l.items {
		if it.proposal.Type != ProposalUpdate {
			continue
		}
		if err := a.tree.Update(it.sender, it.proposal.Update); err != nil {
			return nil, treeError(err)
		}
		a.updated = append(a.updated, it.sender)
		if it.sender == g.self {
			a.ownUpdate = it.ref
		}
	}
	for _, it := range l.items {
		if it.proposal.Type != ProposalRemove {
			continue
		}
		gone, _ := g.Member(it.proposal.Remove)
		if err := a.tree.Remove(it.proposal.Remove); err != nil {
			return nil, treeError(err)
		}
		a.removed = append(a.removed, gone)
		a.selfGone = a.selfGone || it.proposal.Remove == g.self
	}
	for _, it := range l.items {
		switch it.proposal.Type {
		case ProposalAdd:
			leaf, err := a.tree.Add(it.proposal.Add.Leaf)
			if err != nil {
				return nil, treeError(err)
			}
			a.added = append(a.added, leaf)
			a.joiners = append(a.joiners, it.proposal.Add)
		case ProposalPSK:
			a.psks = append(a.psks, it.proposal.PSK)
		}
	}
	return a, nil
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
			dropped = append(dropped, fmt.Errorf("proposal of leaf %d: %w", batch[0].sender, err))
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
	l.items, l.extensions = items, nil
	for _, it := range items {
		if it.proposal.Type == ProposalGroupContextExtensions {
			l.extensions = it.proposal
		}
	}
}

// lookup finds the pre-shared keys that a commit names. The head's own
// resumption secret needs no source.
func (g *Group) lookup(ids []PreSharedKeyID, source PSKSource) ([]psk, error) {
	out := make([]psk, len(ids))
	for i, id := range ids {
		out[i].id = id
		if id.Type == PSKResumption && id.Epoch == g.number && bytes.Equal(id.GroupID, g.groupID) {
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
