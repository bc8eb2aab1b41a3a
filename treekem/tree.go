package treekem

import (
	"errors"
	"iter"

	"github.com/parley-im/parley/internal/suite"
)

// Tree is the public half of a ratchet tree. It is changed in place and is not
// safe for concurrent use; its clones are independent of it.
type Tree struct {
	suite *suite.Suite
}

// New returns a tree of one member, at leaf 0.
func New(s *suite.Suite, creator *LeafNode) *Tree { return &Tree{suite: s} }

// Clone returns a tree equal to t that shares all its nodes until one of the
// two changes. It costs nothing but the hashes not yet computed.
func (t *Tree) Clone() *Tree { return nil }

// Suite returns the tree's cipher suite.
func (t *Tree) Suite() *suite.Suite { return t.suite }

// Width returns the number of leaves, blank ones included: a power of two.
func (t *Tree) Width() uint32 { return 0 }

// Members returns the number of leaves that are not blank.
func (t *Tree) Members() int { return 0 }

// Leaf returns a member's leaf, which must not be changed; false if the index
// is beyond the tree or the leaf is blank.
func (t *Tree) Leaf(i LeafIndex) (*LeafNode, bool) { return nil, false }

// Leaves yields the members in the order of their indices.
func (t *Tree) Leaves() iter.Seq2[LeafIndex, *LeafNode] { return nil }

// Find returns the index of a leaf with the same encoding.
func (t *Tree) Find(l *LeafNode) (LeafIndex, bool) { return 0, false }

// Add puts a leaf at the leftmost blank and returns where (RFC 9420, Section
// 7.7). It returns [ErrFull] at [MaxLeaves]. The caller has checked the leaf
// itself, and asks [Tree.CheckMembers] when all proposals are applied.
func (t *Tree) Add(l *LeafNode) (LeafIndex, error) { return 0, errors.ErrUnsupported }

// Update replaces a member's leaf and blanks the nodes above it. It returns
// [ErrNotMember] if there is none.
func (t *Tree) Update(i LeafIndex, l *LeafNode) error { return errors.ErrUnsupported }

// Remove blanks a member's leaf and the nodes above it, and cuts the tree to
// half as long as its right half is blank. It returns [ErrNotMember] if there is
// no such member.
func (t *Tree) Remove(i LeafIndex) error { return errors.ErrUnsupported }

// Hash returns the tree hash (RFC 9420, Section 7.8). Only what changed since
// the last call is hashed. The caller must not change the result.
func (t *Tree) Hash() []byte { return nil }

// CheckMembers applies the rules of RFC 9420, Section 7.3, that concern the
// members together: no key is used twice ([ErrDuplicateKey]), and every
// credential type in use is in every member's capabilities ([ErrLeaf]). It
// costs no more than what changed since the last call.
func (t *Tree) CheckMembers() error { return errors.ErrUnsupported }

// Common returns what all members' capabilities have in common, each list
// sorted: the default types are not in it. A type that a group's context or a
// proposal needs must be here. The caller must not change the result.
func (t *Tree) Common() *Capabilities { return nil }

// Append appends the content of the ratchet_tree extension:
// optional<Node> ratchet_tree<V> (RFC 9420, Section 12.4.3.3).
func (t *Tree) Append(b []byte) []byte { return b }

// Parse reads the content of a ratchet_tree extension, all of it. It returns
// [ErrMalformed]; what the tree says is not checked before [Tree.Validate].
func Parse(s *suite.Suite, b []byte) (*Tree, error) { return nil, errors.ErrUnsupported }

// Validate checks a whole tree that came from another (RFC 9420, Section
// 12.4.3.1): every leaf by itself with its signature, the members together,
// unmerged leaves, and parent hashes. It uses the processor's cores and returns
// [ErrTree], [ErrLeaf], [ErrSignature] or [ErrDuplicateKey].
func (t *Tree) Validate(groupID []byte) error { return errors.ErrUnsupported }
