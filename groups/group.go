package groups

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/pprf"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// Group is a member's view of a group in one epoch: the head, on which it
// sends. Its calls change Rows, never the Group; [Staged.Merge] returns another.
// It is not safe for concurrent use.
type Group struct {
	epoch
	gc    groupContext
	roles *Roles // nil in a plain group
	// Of groups with parley_agreement: nil in others.
	agreement *Agreement
	children  *pprf.Function // the init secrets of the epochs that can follow
	left      bool           // superseded: it takes commits and does nothing else

	tree    *treekem.Tree
	private *treekem.Private
	signer  suite.SigningKey

	// Of the key schedule, what the head needs beyond the epoch's keys.
	exporter, external, membership, resumption, authenticator, init secret.Key

	reInit *ReInit // what the commit that began the epoch closed the group for

	interim         []byte // interim transcript hash, of the commit that began the epoch
	confirmationTag []byte
}

// Member is one leaf of a group.
type Member struct {
	Leaf         LeafIndex
	Credential   Credential
	SignatureKey []byte
	Subject      []byte // who the credential stands for, see Subject
	Admin        bool
}

// Acct returns the account of an ethereum credential, and false for others.
func (m *Member) Acct() (acct [AcctSize]byte, ok bool) {
	acct, _, err := ParseEthereum(m.Credential)
	return acct, err == nil
}

// CreateOptions say what a new group is like. The zero value of every field but
// Credential, Signer and Now has a sensible meaning.
type CreateOptions struct {
	Suite      suite.ID // zero means secp256k1
	GroupID    []byte   // nil means 32 random bytes
	Credential Credential
	Signer     suite.SigningKey
	Roles      *Roles // nil means: the creator is the only admin, admins do everything
	// Plain makes a group of RFC 9420 alone, without roles: Extensions are then
	// all of the GroupContext's.
	Plain        bool
	Extensions   Extensions   // further extensions of the GroupContext
	Agreement    *Agreement   // makes it a group that agrees without a server
	Capabilities Capabilities // what the caller handles beyond this package
	Now          time.Time    // when the validity of the creator's leaf begins

	linked bool // it is the beginning of a successor or a branch
}

// creatorLifetime is the validity of a creator's own leaf.
const creatorLifetime = MaxLifetime

// Create makes a group of one member, at epoch 0 (RFC 9420, Section 11), and
// writes its first rows.
func Create(rows Rows, o CreateOptions) (*Group, error) {
	extensions := o.Extensions
	if o.Plain {
		if err := checkExtensions(extensions); err != nil {
			return nil, err
		}
	} else {
		roles := o.Roles
		if roles == nil {
			roles = &Roles{Admins: [][]byte{Subject(o.Credential)}}
		}
		var err error
		q := required{
			extensions:  []treekem.ExtensionType{ExtensionRoles},
			credentials: []treekem.CredentialType{o.Credential.Type},
		}
		if o.Agreement != nil {
			q.extensions = append(q.extensions, ExtensionAgreement)
			extensions = append(Extensions{o.Agreement.Extension()}, extensions...)
		}
		extensions, err = composeExtensions(*roles, q, extensions)
		if err != nil {
			return nil, err
		}
	}
	return found(rows, &o, extensions)
}

// found makes a group whose GroupContext has just these extensions.
func found(rows Rows, o *CreateOptions, extensions Extensions) (*Group, error) {
	s, err := chosenSuite(o.Suite)
	if err != nil {
		return nil, err
	}
	id := o.GroupID
	if id == nil {
		id = secret.Random(32).Bytes()
	}
	if len(id) > MaxGroupID {
		return nil, fmt.Errorf("%w: group id of %d bytes", ErrMalformed, len(id))
	}
	leaf, key, err := newLeaf(s, o.Credential, o.Capabilities)
	if err != nil {
		return nil, err
	}
	leaf.Source, leaf.Lifetime = treekem.SourceKeyPackage, lifetime(o.Now, o.Now.Add(creatorLifetime))
	if err := leaf.Sign(s, o.Signer, nil, 0); err != nil {
		return nil, err
	}
	if err := leaf.Check(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyPackage, err)
	}
	tree := treekem.New(s, leaf)
	gc := groupContext{suite: s.ID(), groupID: bytes.Clone(id), treeHash: tree.Hash(), extensions: extensions}
	epochSecret := secret.Random(s.HashSize())
	defer epochSecret.Erase()
	g := &Group{
		tree:    tree,
		private: treekem.NewPrivate(s, 0, key),
		signer:  o.Signer,
	}
	agreement, err := agreementOf(extensions)
	if err != nil {
		return nil, err
	}
	if agreement != nil && o.linked {
		return nil, fmt.Errorf("%w: group linked to another", ErrAgreement)
	}
	sec := secretsFromEpoch(s, epochSecret, agreement != nil)
	if err := g.begin(gc, CreationCID(id), 0, sec); err != nil {
		return nil, err
	}
	if o.linked && g.roles != nil {
		// Any member may found a successor or a branch, alone in epoch 0. The
		// roles begin with the members, in epoch 1.
		g.roles = &Roles{Admins: g.roles.Admins, Add: Members, Remove: Members, Promote: Members, Configure: Members, Commit: Members}
	}
	if err := checkMembers(tree, gc.extensions, g.roles); err != nil {
		return nil, err
	}
	return g, g.startRows(rows, sec.encryption)
}

// begin fills in what an epoch takes from its context and secrets. tree,
// private and signer are set.
func (g *Group) begin(gc groupContext, cid CID, self LeafIndex, sec *epochSecrets) error {
	s := g.tree.Suite()
	roles, err := rolesOf(gc.extensions)
	if err != nil {
		return err
	}
	if g.agreement, err = agreementOf(gc.extensions); err != nil {
		return err
	}
	if !sec.parentInit.IsZero() {
		g.children = pprf.New(s.NewHash, sec.parentInit)
	}
	g.gc, g.roles = gc, roles
	g.epoch = epoch{
		suite:      s,
		cid:        cid,
		groupID:    gc.groupID,
		number:     gc.epoch,
		context:    gc.append(nil),
		width:      g.tree.Width(),
		self:       self,
		plain:      roles == nil,
		senderData: sec.senderData,
	}
	g.deriveKeys(sec.exporter)
	g.exporter, g.external, g.membership = sec.exporter, sec.external, sec.membership
	g.resumption, g.authenticator, g.init = sec.resumption, sec.authenticator, sec.init
	g.confirmationTag = s.MAC(sec.confirmation, gc.confirmedTranscriptHash)
	g.interim = interimTranscriptHash(s, gc.confirmedTranscriptHash, g.confirmationTag)
	return nil
}

// GroupID returns the group's identifier. Do not change it.
func (g *Group) GroupID() []byte { return g.groupID }

// Epoch returns the number of the epoch.
func (g *Group) Epoch() uint64 { return g.number }

// CID returns the name of the epoch.
func (g *Group) CID() CID { return g.cid }

// Suite returns the number of the group's cipher suite.
func (g *Group) Suite() suite.ID { return g.suite.ID() }

// Self returns this member's leaf.
func (g *Group) Self() LeafIndex { return g.self }

// Size returns the number of members.
func (g *Group) Size() int { return g.tree.Members() }

// Members returns all members in the order of their leaves.
func (g *Group) Members() []Member {
	out := make([]Member, 0, g.tree.Members())
	for i, l := range g.tree.Leaves() {
		out = append(out, asMember(i, l, g.roles))
	}
	return out
}

// Member returns the member at a leaf, and false if there is none.
func (g *Group) Member(leaf LeafIndex) (Member, bool) {
	l, ok := g.tree.Leaf(leaf)
	if !ok {
		return Member{}, false
	}
	return asMember(leaf, l, g.roles), true
}

// FindMember returns the first member whose credential is c, and false if there
// is none.
func (g *Group) FindMember(c Credential) (Member, bool) {
	for i, l := range g.tree.Leaves() {
		if l.Credential.Equal(c) {
			return asMember(i, l, g.roles), true
		}
	}
	return Member{}, false
}

func asMember(i LeafIndex, l *LeafNode, roles *Roles) Member {
	m := Member{Leaf: i, Credential: l.Credential, SignatureKey: l.SignatureKey, Subject: Subject(l.Credential)}
	m.Admin = roles != nil && roles.IsAdmin(m.Subject)
	return m
}

// Roles returns a copy of the group's roles: zero in a group without.
func (g *Group) Roles() Roles {
	if g.roles == nil {
		return Roles{}
	}
	r := *g.roles
	r.Admins = slices.Clone(r.Admins)
	return r
}

// ReInit returns what the group was closed for, or nil: a closed group neither
// sends nor changes, and [Group.Reinitialize] makes its successor.
func (g *Group) ReInit() *ReInit { return g.reInit }

// RatchetTree returns the content of the ratchet_tree extension (RFC 9420,
// Section 12.4.3.3), for joiners whose Welcome or GroupInfo has none.
func (g *Group) RatchetTree() []byte { return g.tree.Append(nil) }

// Extensions returns the extensions of the GroupContext. Do not change them.
func (g *Group) Extensions() Extensions { return g.gc.extensions }

// MayCommit reports whether a leaf is a member that the roles allow to commit.
func (g *Group) MayCommit(leaf LeafIndex) bool {
	m, ok := g.Member(leaf)
	return ok && (g.roles == nil || g.roles.allows(g.roles.Commit, m.Subject))
}

// Export derives n bytes from the epoch for a use of the caller's (RFC 9420,
// Section 8.5); n is at most 255 hashes. Labels that begin with "parley/1 " are
// this package's.
func (g *Group) Export(label string, context []byte, n int) secret.Key {
	return mlsExport(g.suite, g.exporter, label, context, n)
}

// EpochAuthenticator returns a value that members compare to know that they are
// in the same epoch (RFC 9420, Section 8.7).
func (g *Group) EpochAuthenticator() []byte { return bytes.Clone(g.authenticator.Bytes()) }

// ResumptionPSK returns the secret by which a later epoch, or another group,
// can be bound to this one (RFC 9420, Section 8.4).
func (g *Group) ResumptionPSK() secret.Key { return g.resumption.Clone() }

// Marshal returns the group for storage, without the signature key. It is
// secret.
func (g *Group) Marshal() secret.Key {
	b := []byte{stateVersion}
	b = append(b, g.cid[:]...)
	b = wire.AppendVec(b, g.context)
	b = wire.AppendUint32(b, uint32(g.self))
	b = wire.AppendVecFunc(b, g.tree.Append)
	private := g.private.Marshal()
	defer private.Erase()
	b = wire.AppendVec(b, private.Bytes())
	for _, k := range g.stored() {
		b = wire.AppendVec(b, k.Bytes())
	}
	b = wire.AppendVec(b, g.interim)
	b = wire.AppendVec(b, g.confirmationTag)
	b = wire.AppendOptional(b, g.reInit != nil)
	if g.reInit != nil {
		b = g.reInit.append(b)
	}
	if g.agreement != nil {
		children := g.children.Marshal()
		defer children.Erase()
		b = wire.AppendVec(b, children.Bytes())
	}
	return secret.New(b)
}

// stored are the secrets of the head in the order of Marshal.
func (g *Group) stored() []*secret.Key {
	return []*secret.Key{&g.senderData, &g.exporter, &g.external, &g.membership, &g.resumption, &g.authenticator, &g.init}
}

// Unmarshal decodes what [Group.Marshal] made. signer is the private half of
// this member's signature key. It returns [ErrState] if the bytes are damaged
// or the key is another's.
func Unmarshal(stored secret.Key, signer suite.SigningKey) (*Group, error) {
	r := wire.NewReader(stored.Bytes())
	if r.Uint8() != stateVersion {
		r.Fail(wire.ErrValue)
	}
	g := &Group{signer: signer}
	r.Copy(g.cid[:])
	if err := g.setContext(bytes.Clone(r.Vec())); err != nil {
		return nil, err
	}
	g.self = LeafIndex(r.Uint32())
	tree, private := r.Vec(), r.Vec()
	for _, k := range g.stored() {
		*k = secret.Copy(r.Vec())
	}
	g.interim = bytes.Clone(r.Vec())
	g.confirmationTag = bytes.Clone(r.Vec())
	if r.Optional() {
		g.reInit = readReInit(r)
	}
	children := secret.Key{}
	if r.More() { // of a group with parley_agreement
		children = secret.Copy(r.Vec())
		defer children.Erase()
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: group: %w", ErrState, err)
	}
	if err := g.restore(tree, private); err != nil {
		return nil, err
	}
	if g.agreement != nil || !children.IsZero() {
		if err := g.setChildren(children); err != nil {
			return nil, err
		}
	}
	g.deriveKeys(g.exporter)
	return g, nil
}
