package treekem

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// Append appends the content of the ratchet_tree extension:
// optional<Node> ratchet_tree<V> (RFC 9420, Section 12.4.3.3). Trailing blanks
// are not written.
func (t *Tree) Append(b []byte) []byte {
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		end := len(b)
		var visit func(n *node, x NodeIndex)
		visit = func(n *node, x NodeIndex) {
			if n.left != nil {
				visit(n.left, x.left())
			}
			switch {
			case n.leaf != nil:
				b = n.leaf.Append(append(b, 1, typeLeaf))
				end = len(b)
			case n.parent != nil:
				b = n.parent.Append(append(b, 1, typeParent))
				end = len(b)
			default:
				b = append(b, 0)
			}
			if n.right != nil {
				visit(n.right, x.right())
			}
		}
		visit(t.top, root(t.Width()))
		return b[:end]
	})
}

// slot is one element of a ratchet_tree vector.
type slot struct {
	leaf   *LeafNode
	parent *ParentNode
}

// Parse reads the content of a ratchet_tree extension, all of it. It returns
// [ErrMalformed]; what the tree says is not checked before [Tree.Validate]. The
// nodes refer into one copy of b, which stays as long as one of them does.
func Parse(s *suite.Suite, b []byte) (*Tree, error) {
	r := wire.NewReader(bytes.Clone(b))
	sub := r.Sub()
	seen := capabilitySet{}
	var slots []slot
	for sub.More() {
		if len(slots) == 2*MaxLeaves-1 {
			return nil, fmt.Errorf("%w: ratchet tree of more than %d leaves", ErrMalformed, MaxLeaves)
		}
		slots = append(slots, readSlot(sub, NodeIndex(len(slots)).IsLeaf(), seen))
	}
	r.Join(sub)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: ratchet tree: %w", ErrMalformed, err)
	}
	if n := len(slots); n == 0 || slots[n-1] == (slot{}) || n%2 == 0 {
		return nil, fmt.Errorf("%w: ratchet tree does not end in a leaf", ErrMalformed)
	}
	t := empty(s)
	t.depth = bits.Len(uint(len(slots)-1) / 2)
	keys := make([][sha256.Size]byte, 0, 2*len(slots))
	t.top = t.build(slots, root(t.Width()), &keys)
	t.keys = keySetOf(t.owner, keys)
	return t, nil
}

func readSlot(r *wire.Reader, wantLeaf bool, seen capabilitySet) slot {
	if !r.Optional() {
		return slot{}
	}
	switch kind := r.Uint8(); {
	case kind == typeLeaf && wantLeaf:
		return slot{leaf: viewLeafNode(r, seen)}
	case kind == typeParent && !wantLeaf:
		return slot{parent: viewParentNode(r)}
	default:
		r.Fail(fmt.Errorf("%w: node of type %d in the wrong place", ErrMalformed, kind))
		return slot{}
	}
}

// build makes the subtree at x, and appends its keys to those of the set.
func (t *Tree) build(slots []slot, x NodeIndex, keys *[][sha256.Size]byte) *node {
	n := &node{owner: t.owner}
	if int(x) < len(slots) {
		n.leaf, n.parent = slots[x].leaf, slots[x].parent
	}
	if n.leaf != nil {
		*keys = append(*keys, keyHash(signatureKey, n.leaf.SignatureKey))
	}
	if !n.blank() {
		*keys = append(*keys, keyHash(encryptionKey, n.key()))
	}
	if !x.IsLeaf() {
		n.left, n.right = t.build(slots, x.left(), keys), t.build(slots, x.right(), keys)
	}
	n.recount()
	return n
}
