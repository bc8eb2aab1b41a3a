package treekem

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// keySet is the multiset of the public keys in a tree, so that a key used twice
// is found without looking at every node. It is a trie of sixteen branches over
// the SHA-256 of a key, with a few keys in each node below which nothing branches.
// As the nodes of the tree, branches belong to a token: those of another are copied
// before a change, so that copies of a keySet share what neither has changed.
type keySet struct {
	root  *keyNode
	extra int // occurrences beyond the first of each key
}

// keyNode is a branch, or else some keys.
type keyNode struct {
	branch *keyBranch
	keys   []keyCount // by rising hash, at most bucketSize; never changed
}

type keyBranch struct {
	owner *token
	kids  [16]*keyNode
}

type keyCount struct {
	hash  [sha256.Size]byte
	count uint32
}

const bucketSize = 8

// keyKind keeps the keys of HPKE and those of signatures apart.
type keyKind byte

const (
	encryptionKey keyKind = 1
	signatureKey  keyKind = 2
)

func keyHash(kind keyKind, key []byte) [sha256.Size]byte {
	buf := make([]byte, 0, 160) // on the stack for all but post-quantum keys
	return sha256.Sum256(append(append(buf, byte(kind)), key...))
}

func nibble(h *[sha256.Size]byte, depth int) byte {
	return h[depth/2] >> (4 * (1 - depth&1)) & 0xf
}

// keySetOf returns the set of many keys at once, which it sorts, without the nodes
// that adding them one by one would leave behind.
func keySetOf(owner *token, hashes [][sha256.Size]byte) keySet {
	slices.SortFunc(hashes, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	var s keySet
	s.root = s.of(owner, hashes, 0)
	return s
}

func (s *keySet) of(owner *token, sorted [][sha256.Size]byte, depth int) *keyNode {
	different := 0
	for i := range sorted {
		if i == 0 || sorted[i] != sorted[i-1] {
			different++
		}
	}
	if different == 0 {
		return nil
	}
	if different > bucketSize {
		b := &keyBranch{owner: owner}
		for len(sorted) > 0 {
			at, n := nibble(&sorted[0], depth), 1
			for n < len(sorted) && nibble(&sorted[n], depth) == at {
				n++
			}
			b.kids[at] = s.of(owner, sorted[:n], depth+1)
			sorted = sorted[n:]
		}
		return &keyNode{branch: b}
	}
	keys := make([]keyCount, 0, different)
	for i, h := range sorted {
		if i == 0 || h != sorted[i-1] {
			keys = append(keys, keyCount{h, 1})
			continue
		}
		keys[len(keys)-1].count++
		s.extra++
	}
	return &keyNode{keys: keys}
}

// find returns where a key is, or would be, among those of a node without branch.
func (n *keyNode) find(h *[sha256.Size]byte) (int, bool) {
	return slices.BinarySearchFunc(n.keys, h, func(k keyCount, h *[sha256.Size]byte) int {
		return bytes.Compare(k.hash[:], h[:])
	})
}

// has reports whether the key occurs.
func (s *keySet) has(kind keyKind, key []byte) bool {
	h := keyHash(kind, key)
	n := s.root
	for depth := 0; n != nil && n.branch != nil; depth++ {
		n = n.branch.kids[nibble(&h, depth)]
	}
	if n == nil {
		return false
	}
	_, found := n.find(&h)
	return found
}

// add puts one more occurrence of the key into the set of the tree with that token.
func (s *keySet) add(owner *token, kind keyKind, key []byte) {
	h := keyHash(kind, key)
	s.root = s.change(owner, s.root, &h, 0, 1)
}

// remove takes out one occurrence of the key, which must be there.
func (s *keySet) remove(owner *token, kind keyKind, key []byte) {
	h := keyHash(kind, key)
	s.root = s.change(owner, s.root, &h, 0, -1)
}

// change returns the node at depth, nil for none, after one occurrence of a key
// came or went.
func (s *keySet) change(owner *token, n *keyNode, h *[sha256.Size]byte, depth, delta int) *keyNode {
	switch {
	case n == nil:
		n = new(keyNode)
	case n.branch != nil && n.branch.owner != owner:
		n = &keyNode{branch: &keyBranch{owner, n.branch.kids}}
	}
	if n.branch == nil {
		return s.changeKeys(owner, n, h, depth, delta)
	}
	kid := &n.branch.kids[nibble(h, depth)]
	*kid = s.change(owner, *kid, h, depth+1, delta)
	if n.branch.kids == [16]*keyNode{} {
		return nil
	}
	return n
}

// changeKeys is change for a node without branch. One that is full gets a branch.
func (s *keySet) changeKeys(owner *token, n *keyNode, h *[sha256.Size]byte, depth, delta int) *keyNode {
	at, found := n.find(h)
	switch {
	case !found && delta < 0:
		panic("treekem: a key is taken out that is not in the set")
	case !found && len(n.keys) == bucketSize:
		b := &keyBranch{owner: owner}
		for _, k := range n.keys {
			kid := &b.kids[nibble(&k.hash, depth)]
			if *kid == nil {
				*kid = new(keyNode)
			}
			(*kid).keys = append((*kid).keys, k)
		}
		return s.change(owner, &keyNode{branch: b}, h, depth, delta)
	case !found:
		keys := make([]keyCount, len(n.keys)+1)
		copy(keys, n.keys[:at])
		keys[at] = keyCount{*h, 1}
		copy(keys[at+1:], n.keys[at:])
		return &keyNode{keys: keys}
	case n.keys[at].count == 1 && delta < 0:
		if len(n.keys) == 1 {
			return nil
		}
		return &keyNode{keys: slices.Concat(n.keys[:at], n.keys[at+1:])}
	}
	s.extra += delta
	keys := slices.Clone(n.keys)
	keys[at].count += uint32(delta)
	return &keyNode{keys: keys}
}
