package treekem

import "math/bits"

// LeafIndex counts the leaves of a tree from the left, blank ones included.
type LeafIndex uint32

// NodeIndex is a node's place in the array form of a tree (RFC 9420, Appendix
// C): leaf i is node 2i, and a parent lies between its subtrees. It does not
// change when the tree grows or shrinks.
type NodeIndex uint32

// Node returns the leaf's place in the array.
func (i LeafIndex) Node() NodeIndex { return NodeIndex(2 * i) }

// IsLeaf reports whether the node is a leaf.
func (x NodeIndex) IsLeaf() bool { return x&1 == 0 }

// Leaf returns the leaf's index; x must be a leaf.
func (x NodeIndex) Leaf() LeafIndex { return LeafIndex(x / 2) }

// level is the height of the subtree below x: 0 for a leaf.
func (x NodeIndex) level() int { return bits.TrailingZeros32(^uint32(x)) }

// left and right are x's children; x must be a parent.
func (x NodeIndex) left() NodeIndex  { return x ^ (1 << (x.level() - 1)) }
func (x NodeIndex) right() NodeIndex { return x ^ (3 << (x.level() - 1)) }

// parent is the parent of x, of which nobody knows here whether it is in the
// tree: x must not be the root.
func (x NodeIndex) parent() NodeIndex {
	k := x.level()
	return (x | 1<<k) &^ (1 << (k + 1))
}

// sibling is the other child of x's parent; x must not be the root.
func (x NodeIndex) sibling() NodeIndex {
	if p := x.parent(); x < p {
		return p.right()
	} else {
		return p.left()
	}
}

// root is the root of a tree with a power of two of leaves.
func root(leaves uint32) NodeIndex { return NodeIndex(leaves - 1) }

// commonAncestor is the lowest node above both leaves, or the leaf itself if
// they are one.
func commonAncestor(a, b LeafIndex) NodeIndex {
	k := bits.Len32(uint32(a ^ b)) // the level at which their paths meet
	return NodeIndex(a>>k<<(k+1)) | (1<<k - 1)
}
