package treekem

import "crypto/sha256"

// keySet is the multiset of the public keys in a tree, so that a key used twice
// is found without looking at every node. It is a trie of sixteen branches over
// the SHA-256 of a key. As the nodes of the tree, its branches belong to a token:
// those of another are copied before a change, so that copies of a keySet share
// what neither has changed.
type keySet struct {
	root  *keyNode
	extra int // occurrences beyond the first of each key
}

// keyNode is a branch, or a key with its count.
type keyNode struct {
	kids  *keyKids // nil in a key
	hash  [sha256.Size]byte
	count int
}

type keyKids struct {
	owner *token
	at    [16]*keyNode
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
		n = n.kids.at[nibble(&h, depth)]
	}
	return n != nil && n.hash == h
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

func (s *keySet) change(owner *token, n *keyNode, h *[sha256.Size]byte, depth, delta int) *keyNode {
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
		kids := &keyKids{owner: owner}
		kids.at[nibble(&n.hash, depth)] = n
		n = &keyNode{kids: kids}
	case n.kids.owner != owner:
		n = &keyNode{kids: &keyKids{owner, n.kids.at}}
	}
	kid := &n.kids.at[nibble(h, depth)]
	*kid = s.change(owner, *kid, h, depth+1, delta)
	if *kid == nil && n.kids.at == [16]*keyNode{} {
		return nil
	}
	return n
}
