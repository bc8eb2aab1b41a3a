package treekem

import (
	"slices"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// node is one node of a tree with the subtree below it. A node belongs to the
// tree whose token it has, which may change it; every other tree that reaches
// it copies it first. A node that more than one tree reaches is never stale, so
// that reading a tree does not write to what it shares.
type node struct {
	owner       *token
	parentOwner *token // of what parent points to

	left, right *node // nil in a leaf
	leaf        *LeafNode
	parent      *ParentNode

	filled uint32 // leaves in this subtree that are not blank
	used   uint32 // nodes in this subtree that are not blank

	hash []byte   // tree hash of the subtree; nil if stale
	all  *summary // of the subtree's members; valid with hash
}

// token identifies a tree as the owner of nodes. It has a size, so that every
// one has an address of its own.
type token struct{ _ byte }

// key returns the node's HPKE public key; nil if it is blank.
func (n *node) key() []byte {
	switch {
	case n.leaf != nil:
		return n.leaf.EncryptionKey
	case n.parent != nil:
		return n.parent.EncryptionKey
	}
	return nil
}

func (n *node) blank() bool { return n.leaf == nil && n.parent == nil }

// parentHash returns the node's parent_hash field; nil if it has none.
func (n *node) parentHash() []byte {
	switch {
	case n.leaf != nil:
		return n.leaf.ParentHash
	case n.parent != nil:
		return n.parent.ParentHash
	}
	return nil
}

// recount sets the counters from the node itself and its children.
func (n *node) recount() {
	n.filled, n.used = 0, 0
	if n.left != nil {
		n.filled = n.left.filled + n.right.filled
		n.used = n.left.used + n.right.used
	}
	if n.leaf != nil {
		n.filled++
	}
	if !n.blank() {
		n.used++
	}
}

// unmerged returns the node's unmerged leaves; nil if it is blank or a leaf.
func (n *node) unmerged() []LeafIndex {
	if n.parent == nil {
		return nil
	}
	return n.parent.UnmergedLeaves
}

// blankSubtree returns an all blank subtree rooted at x.
func (t *Tree) blankSubtree(x NodeIndex) *node {
	n := &node{owner: t.owner}
	if !x.IsLeaf() {
		n.left, n.right = t.blankSubtree(x.left()), t.blankSubtree(x.right())
	}
	return n
}

// own returns n, or a copy of it that t may change.
func (t *Tree) own(n *node) *node {
	if n.owner == t.owner {
		return n
	}
	c := *n
	c.owner = t.owner
	return &c
}

// edit makes the nodes from leaf i to the root t's own and stale, and visits
// each, the leaf first.
func (t *Tree) edit(i LeafIndex, visit func(x NodeIndex, n *node)) {
	t.top = t.editBelow(t.top, root(t.Width()), i, visit)
}

func (t *Tree) editBelow(n *node, x NodeIndex, i LeafIndex, visit func(x NodeIndex, n *node)) *node {
	n = t.own(n)
	n.hash, n.all = nil, nil
	switch {
	case x.IsLeaf():
	case i.Node() < x:
		n.left = t.editBelow(n.left, x.left(), i, visit)
	default:
		n.right = t.editBelow(n.right, x.right(), i, visit)
	}
	visit(x, n)
	n.recount()
	return n
}

// setLeaf and setParent change a node that t owns, and keep the set of keys in
// step. A nil value blanks it.
func (t *Tree) setLeaf(n *node, l *LeafNode) {
	if n.leaf != nil {
		t.keys.remove(t.owner, encryptionKey, n.leaf.EncryptionKey)
		t.keys.remove(t.owner, signatureKey, n.leaf.SignatureKey)
	}
	if l != nil {
		t.keys.add(t.owner, encryptionKey, l.EncryptionKey)
		t.keys.add(t.owner, signatureKey, l.SignatureKey)
	}
	n.leaf = l
}

func (t *Tree) setParent(n *node, p *ParentNode) {
	if n.parent != nil {
		t.keys.remove(t.owner, encryptionKey, n.parent.EncryptionKey)
	}
	if p != nil {
		t.keys.add(t.owner, encryptionKey, p.EncryptionKey)
	}
	n.parent, n.parentOwner = p, nil
}

// addUnmerged adds a leaf to the unmerged leaves of a parent that t owns.
// Adding many leaves in a row copies each list once.
func (t *Tree) addUnmerged(n *node, i LeafIndex) {
	if n.parentOwner != t.owner {
		p := *n.parent
		p.UnmergedLeaves = slices.Clone(p.UnmergedLeaves)
		n.parent, n.parentOwner = &p, t.owner
	}
	list := n.parent.UnmergedLeaves
	if at, found := slices.BinarySearch(list, i); !found {
		n.parent.UnmergedLeaves = slices.Insert(list, at, i)
	}
}

// refresh makes the hash and summary of every stale node.
func (t *Tree) refresh() {
	if t.top.hash == nil {
		h := hasher{suite: t.suite, summaries: make(map[string]*summary)}
		h.refresh(t.top, root(t.Width()))
	}
}

// hasher is one pass over a tree. Its leaves are alike, so that of those with the
// same capabilities and type of credential all take one summary.
type hasher struct {
	suite     *suite.Suite
	summaries map[string]*summary // by capabilities and type of credential, as encoded
	buf       []byte              // what is hashed or looked up
}

func (h *hasher) refresh(n *node, x NodeIndex) {
	if n.hash != nil {
		return
	}
	if x.IsLeaf() {
		n.hash = h.leaf(x.Leaf(), n.leaf)
		n.all = h.summarise(n.leaf)
		return
	}
	h.refresh(n.left, x.left())
	h.refresh(n.right, x.right())
	n.hash = h.inner(n.parent, n.left.hash, n.right.hash)
	n.all = n.left.all.merge(n.right.all)
}

// summarise returns the summary of one leaf; nil if it is blank.
func (h *hasher) summarise(l *LeafNode) *summary {
	if l == nil {
		return nil
	}
	h.buf = l.Capabilities.append(wire.AppendUint16(h.buf[:0], uint16(l.Credential.Type)))
	s, ok := h.summaries[string(h.buf)]
	if !ok {
		s = summarise(l)
		h.summaries[string(h.buf)] = s
	}
	return s
}

// Node types of RFC 9420, Section 7.8.
const (
	typeLeaf   = 1
	typeParent = 2
)

// leaf is the hash of LeafNodeHashInput (RFC 9420, Section 7.8).
func (h *hasher) leaf(i LeafIndex, l *LeafNode) []byte {
	b := wire.AppendUint32(append(h.buf[:0], typeLeaf), uint32(i))
	b = wire.AppendOptional(b, l != nil)
	if l != nil {
		b = l.Append(b)
	}
	h.buf = b
	return h.suite.Hash(b)
}

// inner is the hash of ParentNodeHashInput (RFC 9420, Section 7.8).
func (h *hasher) inner(p *ParentNode, left, right []byte) []byte {
	b := wire.AppendOptional(append(h.buf[:0], typeParent), p != nil)
	if p != nil {
		b = p.Append(b)
	}
	b = wire.AppendVec(b, left)
	h.buf = wire.AppendVec(b, right)
	return h.suite.Hash(h.buf)
}

// without is the hash of a subtree as if some of its leaves, in order, had never
// been added: "original tree hash" (RFC 9420, Section 7.9). The tree must be
// fresh. Subtrees without such a leaf are not hashed again.
func (h *hasher) without(n *node, x NodeIndex, leaves []LeafIndex) []byte {
	if len(leaves) == 0 {
		return n.hash
	}
	if x.IsLeaf() {
		return h.leaf(x.Leaf(), nil)
	}
	p := n.parent
	if p != nil && len(p.UnmergedLeaves) > 0 {
		q := *p
		q.UnmergedLeaves = without(p.UnmergedLeaves, leaves)
		p = &q
	}
	l, r := split(leaves, x)
	return h.inner(p, h.without(n.left, x.left(), l), h.without(n.right, x.right(), r))
}

// parentHash is the hash of ParentHashInput (RFC 9420, Section 7.9).
func (t *Tree) parentHash(key, parentHash, siblingHash []byte) []byte {
	b := make([]byte, 0, 256)
	b = wire.AppendVec(b, key)
	b = wire.AppendVec(b, parentHash)
	return t.suite.Hash(wire.AppendVec(b, siblingHash))
}

// split divides sorted leaves into those left and right of x.
func split(leaves []LeafIndex, x NodeIndex) (left, right []LeafIndex) {
	at, _ := slices.BinarySearchFunc(leaves, x, func(i LeafIndex, x NodeIndex) int {
		if i.Node() < x {
			return -1
		}
		return 1
	})
	return leaves[:at], leaves[at:]
}

// within returns those of sorted leaves that are below x.
func within(leaves []LeafIndex, x NodeIndex) []LeafIndex {
	half := NodeIndex(1)<<x.level() - 1
	from, _ := slices.BinarySearch(leaves, LeafIndex((x-half)/2))
	to, found := slices.BinarySearch(leaves, LeafIndex((x+half)/2))
	if found {
		to++
	}
	return leaves[from:to]
}

// without returns the elements of one sorted list that are not in another.
func without(list, drop []LeafIndex) []LeafIndex {
	out := make([]LeafIndex, 0, len(list))
	for _, i := range list {
		if !contains(drop, i) {
			out = append(out, i)
		}
	}
	return out
}

// contains reports whether a sorted list has i.
func contains(list []LeafIndex, i LeafIndex) bool {
	_, found := slices.BinarySearch(list, i)
	return found
}
