package treekem

import "crypto/sha256"

// keySet is the multiset of the public keys in a tree, so that a key used twice
// is found without looking at every node. It is a persistent trie of sixteen
// branches over the SHA-256 of a key: a change copies a handful of nodes, and
// copies of a keySet share the rest.
type keySet struct {
	root  *keyNode
	extra int // occurrences beyond the first of each key
}

type keyNode struct {
	kids  *[16]*keyNode // nil in a leaf
	hash  [sha256.Size]byte
	count int
}

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
	return h[depth/2] >> (4 * (depth & 1)) & 0xf
}

// has reports whether the key occurs.
func (s *keySet) has(kind keyKind, key []byte) bool {
	h := keyHash(kind, key)
	n := s.root
	for depth := 0; n != nil && n.kids != nil; depth++ {
		n = n.kids[nibble(&h, depth)]
	}
	return n != nil && n.hash == h
}

// add puts one more occurrence of the key into the set.
func (s *keySet) add(kind keyKind, key []byte) {
	h := keyHash(kind, key)
	s.root = s.change(s.root, &h, 0, 1)
}

// remove takes out one occurrence of the key, which must be there.
func (s *keySet) remove(kind keyKind, key []byte) {
	h := keyHash(kind, key)
	s.root = s.change(s.root, &h, 0, -1)
}

func (s *keySet) change(n *keyNode, h *[sha256.Size]byte, depth, delta int) *keyNode {
	switch {
	case n == nil && delta > 0:
		return &keyNode{hash: *h, count: 1}
	case n == nil || (n.kids == nil && n.hash != *h && delta < 0):
		panic("treekem: a key is taken out that is not in the set")
	case n.kids == nil && n.hash == *h:
		count := n.count + delta
		if count == 0 {
			return nil
		}
		s.extra += delta
		return &keyNode{hash: *h, count: count}
	case n.kids == nil: // another key with this prefix: move it one level down
		kids := new([16]*keyNode)
		kids[nibble(&n.hash, depth)] = n
		n = &keyNode{kids: kids}
	default:
		kids := *n.kids
		n = &keyNode{kids: &kids}
	}
	at := nibble(h, depth)
	n.kids[at] = s.change(n.kids[at], h, depth+1, delta)
	if n.kids[at] == nil && *n.kids == [16]*keyNode{} {
		return nil
	}
	return n
}
