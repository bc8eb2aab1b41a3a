package groups

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/pprf"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// In a group whose GroupContext has the extension parley_agreement several commits
// may follow one epoch: there is no server to choose one. Its init secret is
// punctured by each commit that is processed (docs/spec.md, "Agreement"), so that
// the others can still be, and that one not again. [Group.Prepare] and
// [Group.Process] make and take such commits; [Staged.Parent] is what is left of
// the epoch, to take others in.

var (
	// ErrAgreement is returned for what the rules of groups with parley_agreement
	// forbid, or the extension's body does not say.
	ErrAgreement = errors.New("groups: against the rules of parley_agreement")
	// ErrSpent is returned for a commit that was processed already: its epoch's
	// secrets cannot be derived again.
	ErrSpent = errors.New("groups: this commit was processed, and its init secret is spent")
	// ErrBranches is returned for one commit more on an epoch than
	// [MaxBranches].
	ErrBranches = errors.New("groups: too many commits on one epoch")
)

// MaxBranches is how many commits on one epoch a member processes.
const MaxBranches = pprf.MaxPunctures

// Agreement is the policy in the extension parley_agreement, the same for the
// life of the group.
type Agreement struct {
	// Retention is how long a member that is online keeps what it takes to process
	// another commit on an epoch that it has left: 10 minutes to 7 days, in whole
	// seconds.
	Retention time.Duration
}

const (
	agreementVersion = 1
	minRetention     = 10 * time.Minute
	maxRetention     = 7 * 24 * time.Hour
)

// Extension returns the extension 0xF0E1 with the body
//
//	struct {
//	    uint16 version = 1;
//	    uint32 retention;      // seconds
//	} Agreement;
func (a Agreement) Extension() Extension {
	b := wire.AppendUint16(nil, agreementVersion)
	return Extension{Type: ExtensionAgreement, Data: wire.AppendUint32(b, uint32(a.Retention/time.Second))}
}

// agreementOf returns the policy in the extensions of a GroupContext, nil if
// there is none. It returns [ErrAgreement].
func agreementOf(e Extensions) (*Agreement, error) {
	data, ok := e.Find(ExtensionAgreement)
	if !ok {
		return nil, nil
	}
	r := wire.NewReader(data)
	version := r.Uint16()
	a := &Agreement{Retention: time.Duration(r.Uint32()) * time.Second}
	if err := r.Done(); err != nil || version != agreementVersion || a.Retention < minRetention || a.Retention > maxRetention {
		return nil, fmt.Errorf("%w: extension of version %d, retention %v", ErrAgreement, version, a.Retention)
	}
	return a, nil
}

// Agreement returns the policy of the group; nil if it is not one of these.
func (g *Group) Agreement() *Agreement { return g.agreement }

// sameAgreement refuses to begin or end agreement, or to change its policy, within
// a group.
func sameAgreement(before, after Extensions) error {
	a, had := before.Find(ExtensionAgreement)
	b, has := after.Find(ExtensionAgreement)
	if had != has || !bytes.Equal(a, b) {
		return fmt.Errorf("%w: the extension stays as it is", ErrAgreement)
	}
	return nil
}

// agrees refuses what would make the validity of a commit depend on more than its
// bytes and the chain: proposals by reference, and those that need knowledge of
// one's own. Updates are commits of their own, and who leaves asks by an order.
func (g *Group) agrees(it listed) error {
	if g.agreement == nil {
		return nil
	}
	switch t := it.proposal.Type; {
	case it.ref != nil:
		return fmt.Errorf("%w: proposal by reference", ErrAgreement)
	case t != ProposalAdd && t != ProposalRemove && t != ProposalGroupContextExtensions:
		return fmt.Errorf("%w: proposal of type %d", ErrAgreement, t)
	}
	return nil
}

// noOrders is the hash of the orders of a commit that executes none.
var noOrders = CommitCID(nil)

// commitData returns the authenticated_data of a commit in this epoch,
//
//	LP(cid of this epoch) || LP(hash of the orders that it executes, 32 bytes)
//
// with that of no orders if the caller gives none.
func (g *Group) commitData(given []byte) ([]byte, error) {
	if given == nil {
		given = wire.AppendLP(wire.AppendLP(nil, g.cid[:]), noOrders[:])
	}
	return given, g.checkCommitData(given)
}

func (g *Group) checkCommitData(data []byte) error {
	r := wire.NewReader(data)
	parent, orders := r.LP(len(CID{})), r.LP(len(CID{}))
	if err := r.Done(); err != nil || !bytes.Equal(parent, g.cid[:]) || len(orders) != len(CID{}) {
		return fmt.Errorf("%w: authenticated data of a commit", ErrAgreement)
	}
	return nil
}

// checkAgreed refuses received commits that only other groups may have. Handshakes
// are PublicMessages, sealed as a whole: they use up no key that another commit
// needs.
func (g *Group) checkAgreed(a *authContent) error {
	c := a.content
	switch {
	case g.agreement == nil:
		return nil
	case c.sender.Type != SenderMember:
		return fmt.Errorf("%w: commit of a newcomer", ErrAgreement)
	case a.wireFormat != WirePublicMessage:
		return fmt.Errorf("%w: commit in a PrivateMessage", ErrAgreement)
	case c.commit.path == nil:
		return fmt.Errorf("%w: commit without a path", ErrAgreement)
	}
	return g.checkCommitData(c.authenticatedData)
}

// checkOptions refuses options of a commit that only other groups have, and fills
// in the authenticated data.
func (g *Group) checkOptions(o *CommitOptions) error {
	switch {
	case g.agreement == nil:
		return nil
	case o.NoPath:
		return fmt.Errorf("%w: commit without a path", ErrAgreement)
	case o.Framing.Private:
		return fmt.Errorf("%w: commit in a PrivateMessage", ErrAgreement)
	}
	var err error
	o.Framing.AuthenticatedData, err = g.commitData(o.Framing.AuthenticatedData)
	return err
}

// Labels of the puncturable init secret.
const (
	labelParentInit = "parley parent_init" // of the function's root, from epoch_secret
	labelConf       = "parley conf"        // from the path secret of the tree's root
	labelChildInit  = "parley child_init"  // of the point
)

// childInit derives the init secret of the epoch that a commit begins, whose
// GroupContext is gc and whose path has the root's secret top, and the point at
// which it is.
func (g *Group) childInit(top secret.Key, gc groupContext) (secret.Key, pprf.Point, error) {
	conf := g.suite.DeriveSecret(top, labelConf)
	defer conf.Erase()
	x := g.suite.ExpandWithLabel(conf, labelChildInit, gc.append(nil), pprf.PointSize)
	defer x.Erase()
	point := pprf.Point(x.Bytes())
	s, err := g.children.Evaluate(point)
	if errors.Is(err, pprf.ErrPunctured) {
		err = ErrSpent
	}
	return s, point, err
}

// punctured returns this epoch without what derives the child at a point, and
// without what no epoch needs that was left.
func (g *Group) punctured(x pprf.Point) (*Superseded, error) {
	children, _, err := g.children.Puncture(x)
	if errors.Is(err, pprf.ErrFull) {
		return nil, ErrBranches
	}
	if err != nil {
		return nil, err
	}
	left := *g
	left.children, left.left = children, true
	left.exporter, left.external, left.resumption, left.authenticator = secret.Key{}, secret.Key{}, secret.Key{}, secret.Key{}
	return &Superseded{&left}, nil
}

// Superseded is an epoch of a group with parley_agreement that this member has
// left, and can still branch from: it takes other commits on it. It cannot send,
// export, or derive an epoch again that it led to.
type Superseded struct{ g *Group }

// Parent returns what is left of the epoch that the commit was made in. Store it
// in place of that epoch, in the transaction that stores the next. It is nil in
// groups without parley_agreement.
func (s *Staged) Parent() *Superseded { return s.parent }

// CID returns the name of the epoch.
func (s *Superseded) CID() CID { return s.g.cid }

// Epoch returns its number.
func (s *Superseded) Epoch() uint64 { return s.g.number }

// Branches returns how many commits on it were processed.
func (s *Superseded) Branches() int { return s.g.children.Punctures() }

// Process takes another commit on the epoch, as [Group.Process] does. rows are
// those of the epoch. Beside its errors it returns [ErrSpent] for a commit that
// was processed before, and [ErrBranches].
func (s *Superseded) Process(rows Rows, msg []byte, o ProcessOptions) (*Staged, error) {
	r, err := s.g.Process(rows, msg, o)
	if err != nil {
		return nil, err
	}
	if r.Commit == nil {
		return nil, fmt.Errorf("%w: not a commit", ErrMalformed)
	}
	return r.Commit, nil
}

// Marshal returns the epoch for storage, without the signature key. It is secret.
func (s *Superseded) Marshal() secret.Key {
	g := s.g
	b := append([]byte{stateVersion}, g.cid[:]...)
	b = wire.AppendVec(b, g.context)
	b = wire.AppendUint32(b, uint32(g.self))
	b = wire.AppendVecFunc(b, g.tree.Append)
	private, children := g.private.Marshal(), g.children.Marshal()
	defer private.Erase()
	defer children.Erase()
	for _, part := range [][]byte{private.Bytes(), g.membership.Bytes(), children.Bytes(), g.interim} {
		b = wire.AppendVec(b, part)
	}
	return secret.New(b)
}

// UnmarshalSuperseded decodes what [Superseded.Marshal] made. signer is as in
// [Unmarshal]. It returns [ErrState].
func UnmarshalSuperseded(stored secret.Key, signer suite.SigningKey) (*Superseded, error) {
	r := wire.NewReader(stored.Bytes())
	if r.Uint8() != stateVersion {
		r.Fail(wire.ErrValue)
	}
	g := &Group{signer: signer, left: true}
	r.Copy(g.cid[:])
	if err := g.setContext(bytes.Clone(r.Vec())); err != nil {
		return nil, err
	}
	g.self = LeafIndex(r.Uint32())
	tree, private := r.Vec(), r.Vec()
	g.membership = secret.Copy(r.Vec())
	children := secret.Copy(r.Vec())
	defer children.Erase()
	g.interim = bytes.Clone(r.Vec())
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: superseded epoch: %w", ErrState, err)
	}
	if err := g.restore(tree, private); err != nil {
		return nil, err
	}
	if err := g.setChildren(children); err != nil {
		return nil, err
	}
	if g.children.Punctures() == 0 {
		return nil, fmt.Errorf("%w: superseded by nothing", ErrState)
	}
	return &Superseded{g}, nil
}

// restore fills in what follows from the context, and the tree and private state
// as they were stored.
func (g *Group) restore(tree, private []byte) (err error) {
	g.gc = readGroupContext(wire.NewReader(g.context))
	if g.roles, err = rolesOf(g.gc.extensions); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if g.agreement, err = agreementOf(g.gc.extensions); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	g.plain = g.roles == nil
	if g.tree, err = treekem.Parse(g.suite, tree); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if g.private, err = treekem.ParsePrivate(private); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	g.width = g.tree.Width()
	own, ok := g.tree.Leaf(g.self)
	if !ok || !bytes.Equal(g.tree.Hash(), g.gc.treeHash) || g.private.Index() != g.self {
		return fmt.Errorf("%w: tree does not fit the context", ErrState)
	}
	if !bytes.Equal(own.SignatureKey, g.signer.Public()) {
		return fmt.Errorf("%w: signature key is not the leaf's", ErrState)
	}
	return nil
}

// setChildren decodes the puncturable function, which groups with
// parley_agreement have and no others.
func (g *Group) setChildren(stored secret.Key) error {
	if g.agreement == nil {
		return fmt.Errorf("%w: not of a group with parley_agreement", ErrState)
	}
	var err error
	if g.children, err = pprf.Unmarshal(g.suite.NewHash, stored); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}
