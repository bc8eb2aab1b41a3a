package treekem

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// Private is one member's private half of a tree: its leaf's private key and
// those of the nodes above it that it knows. It is immutable; every change
// makes a new one, so an epoch can keep its own. New ones share key material
// with the old, so it is forgotten rather than erased.
type Private struct {
	suite *suite.Suite
	own   LeafIndex
	leaf  keyEntry
	nodes map[NodeIndex]keyEntry
}

// keyEntry is a private key with its public half. A stored one is parsed, at
// the cost of a point multiplication, only when it is used.
type keyEntry struct {
	public []byte
	key    suite.HPKEKey // nil if stored
	stored secret.Key
}

func newKeyEntry(k suite.HPKEKey) keyEntry { return keyEntry{public: k.Public(), key: k} }

func (e keyEntry) use(s *suite.Suite) (suite.HPKEKey, error) {
	if e.key != nil {
		return e.key, nil
	}
	k, err := s.NewHPKEKey(e.stored.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%w: stored key: %w", ErrPrivate, err)
	}
	return k, nil
}

func (e keyEntry) bytes() secret.Key {
	if e.key != nil {
		return e.key.Bytes()
	}
	return e.stored.Clone()
}

// NewPrivate returns the private state of a member that knows its own leaf key
// only, such as the creator of a group.
func NewPrivate(s *suite.Suite, own LeafIndex, leafKey suite.HPKEKey) *Private {
	return &Private{suite: s, own: own, leaf: newKeyEntry(leafKey), nodes: map[NodeIndex]keyEntry{}}
}

// Join returns the private state of a member that joins by a Welcome: own is
// its leaf, sender the committer's, and pathSecret the one of its group
// secrets, or empty if the commit had no path. It returns [ErrPrivate] if
// leafKey is not the leaf's, [ErrNotMember] if the sender is not in the tree,
// and [ErrPath] if a key derived from pathSecret is not the tree's, or if there
// is a node whose key the member should know and does not.
func Join(t *Tree, own LeafIndex, leafKey suite.HPKEKey, sender LeafIndex, pathSecret secret.Key) (*Private, error) {
	p := NewPrivate(t.suite, own, leafKey)
	if err := p.matches(t); err != nil {
		return nil, err
	}
	if pathSecret.IsZero() {
		return p, p.knowsAbove(t)
	}
	if _, ok := t.Leaf(sender); !ok || sender == own {
		return nil, fmt.Errorf("%w: committer %d", ErrNotMember, sender)
	}
	steps := t.filteredPath(sender)
	from := stepAbove(steps, own, sender)
	if from < 0 || pathSecret.Len() != t.suite.HashSize() {
		return nil, fmt.Errorf("%w: path secret of the wrong size", ErrPath)
	}
	secrets, err := p.climb(steps[from:], pathSecret.Clone(), func(k int) []byte {
		return t.node(steps[from+k].x).key()
	})
	if err != nil {
		return nil, err
	}
	secrets.Erase()
	return p, p.knowsAbove(t)
}

// knowsAbove returns [ErrPath] unless the member has the key of every node above
// it in which it is not unmerged (RFC 9420, Section 7.1). Others encrypt to such
// a node alone, and a member without its key would be lost at their next commit.
func (p *Private) knowsAbove(t *Tree) error {
	n := t.top
	for x := root(t.Width()); !x.IsLeaf(); {
		if _, known := p.nodes[x]; n.parent != nil && !known && !contains(n.parent.UnmergedLeaves, p.own) {
			return fmt.Errorf("%w: no key of node %d, in which leaf %d is not unmerged", ErrPath, x, p.own)
		}
		if p.own.Node() < x {
			n, x = n.left, x.left()
		} else {
			n, x = n.right, x.right()
		}
	}
	return nil
}

// stepAbove returns which of the sender's steps is the lowest node above both
// leaves, or -1.
func stepAbove(steps []step, own, sender LeafIndex) int {
	x := commonAncestor(own, sender)
	return slices.IndexFunc(steps, func(s step) bool { return s.x == x })
}

// climb derives the keys of the steps from the path secret of the first, which
// it owns, checks them against the public keys that want gives, and puts them
// into p.
func (p *Private) climb(steps []step, pathSecret secret.Key, want func(k int) []byte) (PathSecrets, error) {
	for k, s := range steps {
		key, err := nodeKey(p.suite, pathSecret)
		if err != nil {
			return PathSecrets{}, fmt.Errorf("%w: node %d: %w", ErrPath, s.x, err)
		}
		entry := newKeyEntry(key)
		if !bytes.Equal(entry.public, want(k)) {
			return PathSecrets{}, fmt.Errorf("%w: key of node %d does not follow from its path secret", ErrPath, s.x)
		}
		p.nodes[s.x] = entry
		if k < len(steps)-1 {
			next := p.suite.DeriveSecret(pathSecret, labelPath)
			pathSecret.Erase()
			pathSecret = next
		}
	}
	return PathSecrets{Commit: p.suite.DeriveSecret(pathSecret, labelPath), Top: pathSecret}, nil
}

// Index returns the member's own leaf.
func (p *Private) Index() LeafIndex { return p.own }

// LeafKey returns the public half of the leaf's key.
func (p *Private) LeafKey() []byte { return bytes.Clone(p.leaf.public) }

// WithLeafKey returns the private state after the member's own Update proposal
// was committed by another: a new leaf key, and no node above.
func (p *Private) WithLeafKey(leafKey suite.HPKEKey) *Private {
	return NewPrivate(p.suite, p.own, leafKey)
}

// matches returns [ErrPrivate] unless the leaf key is that of t.
func (p *Private) matches(t *Tree) error {
	l, ok := t.Leaf(p.own)
	if !ok || p.suite != t.suite || !bytes.Equal(l.EncryptionKey, p.leaf.public) {
		return fmt.Errorf("%w: leaf %d", ErrPrivate, p.own)
	}
	return nil
}

// Follow returns the private state without the keys that are no longer those of
// t, after a commit without a path. It returns [ErrPrivate] if the leaf itself
// is not.
func (p *Private) Follow(t *Tree) (*Private, error) {
	if err := p.matches(t); err != nil {
		return nil, err
	}
	q := &Private{suite: p.suite, own: p.own, leaf: p.leaf, nodes: make(map[NodeIndex]keyEntry, len(p.nodes))}
	for x, e := range p.nodes {
		if p.holds(t, x) {
			q.nodes[x] = e
		}
	}
	return q, nil
}

// holds reports whether p has the private key of node x as it is in t.
func (p *Private) holds(t *Tree, x NodeIndex) bool {
	e, ok := p.nodes[x]
	if x == p.own.Node() {
		e, ok = p.leaf, true
	}
	return ok && x <= 2*root(t.Width()) && bytes.Equal(t.node(x).key(), e.public)
}

// Open decrypts a path that [Tree.Merge] has put into t, under the provisional
// group context, as encoded, and with the same added leaves. It returns the
// path's secrets, which the caller owns, and the private state of the new
// epoch. It returns [ErrOpen] if nothing opens, [ErrPath] if the secrets do not
// give the path's public keys, and [ErrPrivate] if p is not of t.
func (p *Private) Open(t *Tree, sender LeafIndex, path *UpdatePath, added []LeafIndex, groupContext []byte) (PathSecrets, *Private, error) {
	next, err := p.Follow(t)
	if err != nil {
		return PathSecrets{}, nil, err
	}
	if _, ok := t.Leaf(sender); !ok || sender == p.own {
		return PathSecrets{}, nil, fmt.Errorf("%w: committer %d", ErrNotMember, sender)
	}
	steps := t.filteredPath(sender)
	from := stepAbove(steps, p.own, sender)
	if from < 0 || len(steps) != len(path.Nodes) {
		return PathSecrets{}, nil, fmt.Errorf("%w: it was not merged into this tree", ErrPath)
	}
	targets := t.targets(steps[from], indexSet(added))
	mine := slices.IndexFunc(targets, func(g target) bool { return next.holds(t, g.x) })
	if mine < 0 || mine >= len(path.Nodes[from].Secrets) {
		return PathSecrets{}, nil, ErrOpen
	}
	entry := next.leaf
	if x := targets[mine].x; !x.IsLeaf() {
		entry = next.nodes[x]
	}
	key, err := entry.use(p.suite)
	if err != nil {
		return PathSecrets{}, nil, err
	}
	c := path.Nodes[from].Secrets[mine]
	pathSecret, err := p.suite.DecryptWithLabel(key, labelPathNode, groupContext, c.KEMOutput, c.Ciphertext)
	if err != nil {
		return PathSecrets{}, nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if pathSecret.Len() != p.suite.HashSize() {
		return PathSecrets{}, nil, fmt.Errorf("%w: path secret of the wrong size", ErrPath)
	}
	secrets, err := next.climb(steps[from:], pathSecret, func(k int) []byte {
		return path.Nodes[from+k].EncryptionKey
	})
	if err != nil {
		return PathSecrets{}, nil, err
	}
	return secrets, next, nil
}

// privateVersion is the version of the stored form.
const privateVersion = 1

// Marshal returns the state as it is stored; it is secret:
//
//	struct {
//	    uint32 node_index;
//	    opaque public<V>;
//	    opaque private<V>;
//	} StoredKey;
//	struct {
//	    uint16 version = 1;
//	    CipherSuite cipher_suite;
//	    uint32 leaf_index;
//	    StoredKey keys<V>;   // by rising node_index; the leaf's is among them
//	} StoredPrivate;
func (p *Private) Marshal() secret.Key {
	b := wire.AppendUint16(nil, privateVersion)
	b = wire.AppendUint16(b, uint16(p.suite.ID()))
	b = wire.AppendUint32(b, uint32(p.own))
	keys := maps.Clone(p.nodes)
	keys[p.own.Node()] = p.leaf
	b = wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, x := range slices.Sorted(maps.Keys(keys)) {
			private := keys[x].bytes()
			b = wire.AppendUint32(b, uint32(x))
			b = wire.AppendVec(b, keys[x].public)
			b = wire.AppendVec(b, private.Bytes())
			private.Erase()
		}
		return b
	})
	return secret.New(b)
}

// ParsePrivate reads what [Private.Marshal] wrote, copying it, or returns
// [ErrMalformed]. A private key that is not one shows when it is used.
func ParsePrivate(b []byte) (*Private, error) {
	r := wire.NewReader(b)
	if v := r.Uint16(); r.Err() == nil && v != privateVersion {
		return nil, fmt.Errorf("%w: private state of version %d", ErrMalformed, v)
	}
	id := suite.ID(r.Uint16())
	p := &Private{own: LeafIndex(r.Uint32()), nodes: map[NodeIndex]keyEntry{}}
	sub := r.Sub()
	last := -1
	for sub.More() {
		x := NodeIndex(sub.Uint32())
		e := keyEntry{public: bytes.Clone(sub.VecMax(MaxKey)), stored: secret.Copy(sub.VecMax(MaxKey))}
		switch {
		case sub.Err() != nil:
		case x >= 2*MaxLeaves || int(x) <= last:
			sub.Fail(fmt.Errorf("%w: keys are not in order", ErrMalformed))
		case x == NodeIndex(2*p.own):
			p.leaf = e
		case x.IsLeaf():
			sub.Fail(fmt.Errorf("%w: key of another leaf", ErrMalformed))
		default:
			p.nodes[x] = e
		}
		last = int(x)
	}
	r.Join(sub)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: private state: %w", ErrMalformed, err)
	}
	if p.own >= MaxLeaves || p.leaf.public == nil {
		return nil, fmt.Errorf("%w: private state without a leaf key", ErrMalformed)
	}
	s, err := suite.ByID(id)
	if err != nil {
		return nil, fmt.Errorf("treekem: private state: %w", err)
	}
	p.suite = s
	return p, nil
}
