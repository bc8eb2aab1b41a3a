package treekem

import (
	"fmt"
	"iter"

	"github.com/parley-im/parley/internal/suite"
)

// Tree is the public half of a ratchet tree. It is changed in place and is not
// safe for concurrent use; its clones are independent of it.
type Tree struct {
	suite *suite.Suite
	owner *token
	depth int   // the tree has 1<<depth leaves
	top   *node // never nil
	keys  keySet
}

func empty(s *suite.Suite) *Tree {
	t := &Tree{suite: s, owner: new(token)}
	t.top = t.blankSubtree(0)
	return t
}

// New returns a tree of one member, at leaf 0.
func New(s *suite.Suite, creator *LeafNode) *Tree {
	t := empty(s)
	if _, err := t.Add(creator); err != nil {
		panic("treekem: an empty tree takes a leaf: " + err.Error())
	}
	return t
}

// Clone returns a tree equal to t that shares all its nodes until one of the
// two changes. It costs nothing but the hashes not yet computed.
func (t *Tree) Clone() *Tree {
	t.refresh() // what is shared is only read from now on
	c := *t
	t.owner, c.owner = new(token), new(token)
	return &c
}

// Suite returns the tree's cipher suite.
func (t *Tree) Suite() *suite.Suite { return t.suite }

// Width returns the number of leaves, blank ones included: a power of two.
func (t *Tree) Width() uint32 { return 1 << t.depth }

// Members returns the number of leaves that are not blank.
func (t *Tree) Members() int { return int(t.top.filled) }

// Leaf returns a member's leaf, which must not be changed; false if the index
// is beyond the tree or the leaf is blank.
func (t *Tree) Leaf(i LeafIndex) (*LeafNode, bool) {
	if uint64(i) >= uint64(t.Width()) {
		return nil, false
	}
	l := t.leafNode(i).leaf
	return l, l != nil
}

// leafNode returns the node of leaf i, which must be in the tree.
func (t *Tree) leafNode(i LeafIndex) *node { return t.node(i.Node()) }

// node returns the node at x, which must be in the tree.
func (t *Tree) node(x NodeIndex) *node {
	n := t.top
	for at := root(t.Width()); at != x; {
		if x < at {
			n, at = n.left, at.left()
		} else {
			n, at = n.right, at.right()
		}
	}
	return n
}

// Leaves yields the members in the order of their indices.
func (t *Tree) Leaves() iter.Seq2[LeafIndex, *LeafNode] {
	return func(yield func(LeafIndex, *LeafNode) bool) {
		t.walk(t.top, root(t.Width()), func(x NodeIndex, n *node) bool {
			return n.leaf == nil || yield(x.Leaf(), n.leaf)
		})
	}
}

// walk visits the nodes below and including n, left to right, but not below a
// node where nothing is used, until visit returns false.
func (t *Tree) walk(n *node, x NodeIndex, visit func(NodeIndex, *node) bool) bool {
	if n.used == 0 {
		return true
	}
	if x.IsLeaf() {
		return visit(x, n)
	}
	return t.walk(n.left, x.left(), visit) && visit(x, n) && t.walk(n.right, x.right(), visit)
}

// Find returns the index of a leaf with the same encoding.
func (t *Tree) Find(l *LeafNode) (LeafIndex, bool) {
	if !t.keys.has(signatureKey, l.SignatureKey) {
		return 0, false
	}
	for i, m := range t.Leaves() {
		if m == l || m.Equal(l) {
			return i, true
		}
	}
	return 0, false
}

// Add puts a leaf at the leftmost blank and returns where (RFC 9420, Section
// 7.7). It returns [ErrFull] at [MaxLeaves]. The caller has checked the leaf
// itself, and asks [Tree.CheckMembers] when all proposals are applied.
func (t *Tree) Add(l *LeafNode) (LeafIndex, error) {
	if t.top.filled == t.Width() {
		if t.Width() == MaxLeaves {
			return 0, fmt.Errorf("%w: %d leaves", ErrFull, MaxLeaves)
		}
		t.grow()
	}
	i := t.leftmostBlank()
	t.edit(i, func(_ NodeIndex, n *node) {
		switch {
		case n.left == nil:
			t.setLeaf(n, l)
		case n.parent != nil:
			t.addUnmerged(n, i)
		}
	})
	return i, nil
}

// grow doubles the tree: its right half becomes blank.
func (t *Tree) grow() {
	t.depth++
	n := &node{owner: t.owner, left: t.top, right: t.blankSubtree(root(t.Width()).right())}
	n.recount()
	t.top = n
}

// leftmostBlank returns the first blank leaf; there must be one.
func (t *Tree) leftmostBlank() LeafIndex {
	n, x := t.top, root(t.Width())
	for !x.IsLeaf() {
		if n.left.filled < 1<<(x.level()-1) {
			n, x = n.left, x.left()
		} else {
			n, x = n.right, x.right()
		}
	}
	return x.Leaf()
}

// Update replaces a member's leaf and blanks the nodes above it. It returns
// [ErrNotMember] if there is none.
func (t *Tree) Update(i LeafIndex, l *LeafNode) error {
	if _, ok := t.Leaf(i); !ok {
		return fmt.Errorf("%w: %d", ErrNotMember, i)
	}
	t.replace(i, l)
	return nil
}

// Remove blanks a member's leaf and the nodes above it, and cuts the tree to
// half as long as its right half is blank. It returns [ErrNotMember] if there is
// no such member.
func (t *Tree) Remove(i LeafIndex) error {
	if _, ok := t.Leaf(i); !ok {
		return fmt.Errorf("%w: %d", ErrNotMember, i)
	}
	t.replace(i, nil)
	for t.depth > 0 && t.top.right.filled == 0 {
		t.truncate()
	}
	return nil
}

// replace sets leaf i and blanks the nodes above it.
func (t *Tree) replace(i LeafIndex, l *LeafNode) {
	t.edit(i, func(_ NodeIndex, n *node) {
		if n.left == nil {
			t.setLeaf(n, l)
		} else {
			t.setParent(n, nil)
		}
	})
}

// truncate makes the left half the tree. In a valid tree nothing that is
// dropped is in use; in one that was not validated a parent can be, and its key
// must leave the set.
func (t *Tree) truncate() {
	drop := func(_ NodeIndex, n *node) bool {
		if n.parent != nil {
			t.keys.remove(t.owner, encryptionKey, n.parent.EncryptionKey)
		}
		return true
	}
	drop(0, t.top)
	t.walk(t.top.right, root(t.Width()).right(), drop)
	t.top = t.top.left
	t.depth--
}

// Hash returns the tree hash (RFC 9420, Section 7.8). Only what changed since
// the last call is hashed. The caller must not change the result.
func (t *Tree) Hash() []byte {
	t.refresh()
	return t.top.hash
}
