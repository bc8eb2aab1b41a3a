package groups

import (
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

// ProposeAdd proposes to add the holder of a key package. It returns the
// proposal as an MLSMessage (a PublicMessage), remembers it until the end of
// the epoch, and does not check the credential: the committer does.
func (g *Group) ProposeAdd(rows Rows, kp *KeyPackage, now time.Time) ([]byte, error) {
	return nil, ErrUnsupported
}

// ProposeRemove proposes to remove a member. With the own leaf it is how one
// leaves: another member has to commit it.
func (g *Group) ProposeRemove(rows Rows, leaf LeafIndex) ([]byte, error) { return nil, ErrUnsupported }

// ProposeUpdate proposes new keys for the own leaf; their private half waits in
// the rows for a commit that refers to the proposal. A nil credential keeps the
// present one and a nil signer the present key; a new signer is what Unmarshal
// must be given once the commit is merged.
func (g *Group) ProposeUpdate(rows Rows, credential *Credential, signer suite.SigningKey) ([]byte, error) {
	return nil, ErrUnsupported
}

// ProposeExtensions proposes another list of GroupContext extensions.
func (g *Group) ProposeExtensions(rows Rows, e Extensions) ([]byte, error) {
	return nil, ErrUnsupported
}

// CommitOptions say what a commit does.
type CommitOptions struct {
	Add        []*KeyPackage
	Remove     []LeafIndex
	Roles      *Roles     // nil leaves them
	Extensions Extensions // nil leaves them; other extensions than roles and required capabilities
	// IgnorePending leaves out the proposals that were received or made in this
	// epoch, which otherwise are committed as far as they are valid.
	IgnorePending bool
	// Verifier judges the credentials of added and updated members; nil accepts
	// all.
	Verifier          CredentialVerifier
	AuthenticatedData []byte
	Now               time.Time
}

// Prepare makes a commit, always with a path, so that it also renews the
// committer's keys. Nothing changes until it is merged, and another may be
// prepared instead. With zero options (and nothing pending) it is an update of
// the own keys.
func (g *Group) Prepare(rows Rows, o CommitOptions) (*Staged, error) { return nil, ErrUnsupported }

// Staged is a commit, own or another's, that was checked and waits to be
// merged or dropped.
type Staged struct {
	Commit  []byte // MLSMessage, to all members of the old epoch
	Welcome []byte // MLSMessage, to those added; nil if there are none, or if not our own
	// Changes is what merging will do.
	Changes Changes
}

// Changes is what a commit does to a group.
type Changes struct {
	Committer LeafIndex
	CID       CID // of the epoch it begins
	Added     []Member
	Removed   []Member
	Updated   []Member // by Update proposals, and the committer by its path
	Roles     *Roles   // nil if they stay
	// Extensions is the new list of GroupContext extensions; nil if it stays.
	Extensions        Extensions
	SelfRemoved       bool
	AuthenticatedData []byte
	// Untrusted lists new leaves whose credential the verifier did not accept,
	// or whose lifetime is over. It has no influence on whether the commit is
	// valid.
	Untrusted []Untrusted
	// Dropped lists why pending proposals were left out of an own commit.
	Dropped []error
}

// Untrusted is a member and why this member's verifier does not vouch for it.
type Untrusted struct {
	Member Member
	Err    error
}

// Merge moves on to the epoch that the commit begins: it writes the first rows
// of that epoch, deletes from the rows of the old one what a past epoch must not
// have, and returns both. Marshal and store them in the same transaction. It
// returns [ErrRemoved] if the commit removes this member.
func (s *Staged) Merge(rows Rows) (*Group, *Past, error) { return nil, nil, ErrUnsupported }

// ProcessOptions are what the world outside the group contributes to the
// inspection of a commit. The zero value trusts every credential.
type ProcessOptions struct {
	Verifier CredentialVerifier
	Now      time.Time // zero: lifetimes are not looked at
}

// Received is what Process made of a message: one of the last three is set.
type Received struct {
	Sender      Sender
	Application *Application
	Proposal    *Proposal
	Commit      *Staged
}

// Process takes a PublicMessage or PrivateMessage of this epoch. A proposal is
// remembered in the rows, an application message consumes its key, a commit is
// staged. A message of another epoch is an *[EpochError].
func (g *Group) Process(rows Rows, msg []byte, o ProcessOptions) (*Received, error) {
	return nil, ErrUnsupported
}

// AppHeader numbers and chains one sender's application messages of an epoch.
// It travels in authenticated_data, so it is visible to who can open the
// envelope and bound to the message.
type AppHeader struct {
	N    uint64   // 0 for the sender's first message of the epoch, then 1 more each
	Prev [32]byte // hash of the sender's message before, zero for the first
}

// Application is an application message that was opened.
type Application struct {
	Leaf         LeafIndex
	Credential   Credential
	SignatureKey []byte
	Header       AppHeader
	Hash         [32]byte // of the MLSMessage: what the sender's next Prev is
	Plaintext    []byte
}

// Protect encrypts an application message and moves the own ratchet and hash
// chain on. It returns the MLSMessage and the header that went into it. The
// rows must be on disk before the message leaves.
func (g *Group) Protect(rows Rows, plaintext []byte) ([]byte, AppHeader, error) {
	return nil, AppHeader{}, ErrUnsupported
}

// Unprotect opens an application message of this epoch and consumes its key.
func (g *Group) Unprotect(rows Rows, msg []byte) (*Application, error) { return nil, ErrUnsupported }

// Class says which of a sender's counters numbers an envelope.
type Class uint8

// Classes of envelopes.
const (
	ClassApplication Class = 1
	ClassHandshake   Class = 2
)

// TagSize is the size of an envelope's tag in bytes.
const TagSize = 16

// Sealed is an envelope's content: how it is found, and what it holds.
type Sealed struct {
	Tag  [TagSize]byte
	Body []byte // nonce(24) || XChaCha20-Poly1305
}

// Seal hides a message of this epoch. n numbers the envelopes of this member
// and class within the epoch: of an application message it is its header's N,
// of a handshake what [Group.NextHandshake] returned. size maps the length of
// an unpadded body to the length to pad it to, and may be nil.
func (g *Group) Seal(class Class, n uint64, msg []byte, size func(int) int) (*Sealed, error) {
	return nil, ErrUnsupported
}

// NextHandshake counts an own handshake envelope of this epoch.
func (g *Group) NextHandshake(rows Rows) (n uint64, err error) { return 0, ErrUnsupported }

// Tag returns the tag of a member's n-th envelope of a class in this epoch.
// Receivers index a window of them.
func (g *Group) Tag(class Class, leaf LeafIndex, n uint64) [TagSize]byte { return [TagSize]byte{} }

// Open returns the MLSMessage in an envelope of this epoch. Whether tag and
// sender fit is not checked here. It returns [ErrDecrypt].
func (g *Group) Open(tag [TagSize]byte, body []byte) ([]byte, error) { return nil, ErrUnsupported }

// Past is an epoch that was left: it opens late messages, and cannot send,
// export, or lead to another epoch. How many are kept, and how long, is the
// caller's policy; to end one, delete what was stored and all rows of its CID.
type Past struct{}

// CID, Epoch and GroupID name the epoch.
func (p *Past) CID() CID        { return CID{} }
func (p *Past) Epoch() uint64   { return 0 }
func (p *Past) GroupID() []byte { return nil }

// Self returns the leaf this member had.
func (p *Past) Self() LeafIndex { return 0 }

// Member returns the member at a leaf in that epoch, and false if there was
// none.
func (p *Past) Member(leaf LeafIndex) (Member, bool) { return Member{}, false }

// Unprotect, Tag and Open are those of [Group], for the past epoch.
func (p *Past) Unprotect(rows Rows, msg []byte) (*Application, error) { return nil, ErrUnsupported }
func (p *Past) Tag(class Class, leaf LeafIndex, n uint64) [TagSize]byte {
	return [TagSize]byte{}
}
func (p *Past) Open(tag [TagSize]byte, body []byte) ([]byte, error) { return nil, ErrUnsupported }

// Marshal returns the past epoch for storage. It is secret.
func (p *Past) Marshal() secret.Key { return secret.Key{} }

// UnmarshalPast decodes what [Past.Marshal] made.
func UnmarshalPast(stored secret.Key) (*Past, error) { return nil, ErrUnsupported }

// JoinOptions say what a Welcome is opened with.
type JoinOptions struct {
	KeyPackage *KeyPackage
	Private    *KeyPackagePrivate
	Signer     suite.SigningKey
}

// Join enters a group by a Welcome (an MLSMessage with the ratchet tree in it)
// and writes the first rows. It returns [ErrWelcomeNotForUs] if the Welcome is
// for other key packages.
func Join(rows Rows, welcome []byte, o JoinOptions) (*Group, error) { return nil, ErrUnsupported }
