package groups

import (
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

// Group is a member's view of a group in one epoch: the head, on which it
// sends. It never changes; [Staged.Merge] returns another. It is safe for
// concurrent use, but calls that share Rows must not overlap.
type Group struct{}

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
// Credential and Signer has a sensible meaning.
type CreateOptions struct {
	Suite      suite.ID // zero means secp256k1
	GroupID    []byte   // nil means 32 random bytes
	Credential Credential
	Signer     suite.SigningKey
	Roles      *Roles     // nil means: the creator is the only admin, admins do everything
	Extensions Extensions // further extensions of the GroupContext
	Now        time.Time  // of the creator's own leaf
}

// Create makes a group of one member, at epoch 0, and writes its first rows.
func Create(rows Rows, o CreateOptions) (*Group, error) { return nil, ErrUnsupported }

// GroupID returns the group's identifier. Do not change it.
func (g *Group) GroupID() []byte { return nil }

// Epoch returns the number of the epoch.
func (g *Group) Epoch() uint64 { return 0 }

// CID returns the name of the epoch.
func (g *Group) CID() CID { return CID{} }

// Suite returns the number of the group's cipher suite.
func (g *Group) Suite() suite.ID { return 0 }

// Self returns this member's leaf.
func (g *Group) Self() LeafIndex { return 0 }

// Size returns the number of members.
func (g *Group) Size() int { return 0 }

// Members returns all members in the order of their leaves.
func (g *Group) Members() []Member { return nil }

// Member returns the member at a leaf, and false if there is none.
func (g *Group) Member(leaf LeafIndex) (Member, bool) { return Member{}, false }

// Roles returns a copy of the group's roles.
func (g *Group) Roles() Roles { return Roles{} }

// Extensions returns the extensions of the GroupContext. Do not change them.
func (g *Group) Extensions() Extensions { return nil }

// MayCommit reports whether the roles allow a member to commit.
func (g *Group) MayCommit(leaf LeafIndex) bool { return false }

// Export derives n bytes from the epoch for a use of the caller's (RFC 9420,
// Section 8.5). Labels that begin with "parley/1 " are this package's.
func (g *Group) Export(label string, context []byte, n int) secret.Key { return secret.Key{} }

// EpochAuthenticator returns a value that members compare to know that they are
// in the same epoch (RFC 9420, Section 8.7). It is not secret.
func (g *Group) EpochAuthenticator() []byte { return nil }

// Marshal returns the group for storage, without the signature key. It is
// secret.
func (g *Group) Marshal() secret.Key { return secret.Key{} }

// Unmarshal decodes what [Group.Marshal] made. signer is the private half of
// this member's signature key. It returns [ErrState] if the bytes are damaged
// or the key is another's.
func Unmarshal(stored secret.Key, signer suite.SigningKey) (*Group, error) {
	return nil, ErrUnsupported
}
