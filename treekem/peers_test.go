package treekem

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// Faults of trees and paths that were found in other implementations, by the
// name they have there.

// remove takes a member out of the tree and the world.
func (w *world) remove(t *testing.T, leaves ...LeafIndex) {
	t.Helper()
	for _, i := range leaves {
		if err := w.tree.Remove(i); err != nil {
			t.Fatal(err)
		}
		delete(w.privates, i)
		delete(w.signers, i)
	}
}

// scarred is a group of ten with a history: blanks, unmerged leaves, and parents
// set by different members.
func scarred(t *testing.T, s *suite.Suite) *world {
	t.Helper()
	w := newWorld(t, s, 10).full(t)
	w.remove(t, 2, 5)
	w.commit(t, 6)
	w.join(t)
	w.commit(t, 9)
	w.join(t)
	w.join(t)
	w.commit(t, 3)
	w.check(t)
	return w
}

// mls-rs 315: the walk up from one leaf ended with success at the first parent
// that was right, and the others were not looked at. Here every parent is wrong
// once, and nothing else.
func TestPeersEveryParentHash(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := scarred(t, s)
	stranger := newPerson(t, s).key.Public()
	parents := 0
	for x := range NodeIndex(2*w.tree.Width() - 1) {
		n := w.tree.node(x)
		if n.parent == nil {
			continue
		}
		parents++
		t.Run(fmt.Sprintf("key of node %d", x), func(t *testing.T) {
			tree := w.mutateTree(t, x, func(n *node) { n.parent.EncryptionKey = stranger })
			if err := tree.Validate(testGroup); !errors.Is(err, ErrTree) {
				t.Error(err)
			}
		})
		if len(n.parent.ParentHash) == 0 {
			continue
		}
		t.Run(fmt.Sprintf("parent hash of node %d", x), func(t *testing.T) {
			tree := w.mutateTree(t, x, func(n *node) { n.parent.ParentHash = flip(n.parent.ParentHash) })
			if err := tree.Validate(testGroup); !errors.Is(err, ErrTree) {
				t.Error(err)
			}
		})
	}
	if parents < 4 {
		t.Fatalf("only %d parents", parents)
	}
}

// mls-rs 360: a parent hash that was set to nothing was taken for that of a node
// with nothing above it.
func TestPeersNullParentHash(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := scarred(t, s)
	tried := 0
	for x := range NodeIndex(2*w.tree.Width() - 1) {
		n := w.tree.node(x)
		if len(n.parentHash()) == 0 || !w.claimed(x) {
			continue
		}
		tried++
		t.Run(fmt.Sprintf("node %d", x), func(t *testing.T) {
			tree := w.mutateTree(t, x, func(n *node) {
				if n.parent != nil {
					n.parent.ParentHash = nil
					return
				}
				n.leaf.ParentHash = nil
				if err := n.leaf.Sign(s, w.signers[x.Leaf()], testGroup, x.Leaf()); err != nil {
					t.Fatal(err)
				}
			})
			if err := tree.Validate(testGroup); !errors.Is(err, ErrTree) {
				t.Error(err)
			}
		})
	}
	if tried < 4 {
		t.Fatalf("only %d nodes", tried)
	}
}

// claimed reports whether a parent above x was set by the path that set x.
func (w *world) claimed(x NodeIndex) bool {
	for at := x; at != root(w.tree.Width()); {
		s := w.tree.node(at.sibling())
		sx := at.sibling()
		at = at.parent()
		p := w.tree.node(at)
		if p.parent == nil {
			continue
		}
		sibling := hashes(w.tree).without(s, sx, within(p.parent.UnmergedLeaves, sx))
		return bytes.Equal(w.tree.node(x).parentHash(), w.tree.parentHash(p.parent.EncryptionKey, p.parent.ParentHash, sibling))
	}
	return false
}

// mls-rs 342: where one half of the tree is blank, the top of a path is below the
// root, and rightly has no parent hash. Such trees are valid, also when members
// come into the blank half.
func TestPeersEmptyHalf(t *testing.T) {
	for _, s := range []suite.ID{suite.X25519AES128GCMEd25519, suite.Secp256k1ChaCha20Poly1305} {
		w := newWorld(t, mustSuite(t, s), 8).full(t)
		w.remove(t, 0, 1, 2, 3)
		w.commit(t, 6)
		if top := w.tree.node(11); top.parent == nil || len(top.parent.ParentHash) != 0 || w.tree.node(7).parent != nil {
			t.Fatal("the right half has no top of its own")
		}
		w.check(t)
		if i := w.join(t); i != 0 {
			t.Fatalf("joined at %d", i)
		}
		w.check(t)
		w.commit(t, 4)
		w.check(t)
		w.commit(t, 0)
		w.check(t)
	}
}

// mls-rs 352: the hash of a sibling as it was before some leaves came was not made
// anew below a blank node. Here node 15 is set from the right; in the left half
// node 7 is blank, and below it node 11 has an unmerged leaf.
func TestPeersBlankAboveUnmerged(t *testing.T) {
	w := newWorld(t, mustSuite(t, suite.X25519AES128GCMEd25519), 16)
	w.remove(t, 5)
	w.commit(t, 6) // sets 13, 11, 7, 15, without leaf 5
	w.remove(t, 0)
	w.commit(t, 8) // sets 17, 19, 23, 15 over a blank 7
	if w.tree.node(7).parent != nil || w.tree.node(11).parent == nil {
		t.Fatal("the blank is not where it should be")
	}
	w.check(t)
	if i, j := w.join(t), w.join(t); i != 0 || j != 5 {
		t.Fatalf("joined at %d and %d", i, j)
	}
	if !slices.Equal(w.tree.node(11).unmerged(), []LeafIndex{5}) || !slices.Equal(w.tree.node(15).unmerged(), []LeafIndex{0, 5}) {
		t.Fatalf("unmerged %v, %v", w.tree.node(11).unmerged(), w.tree.node(15).unmerged())
	}
	w.check(t)
	for name, c := range map[string]struct {
		x        NodeIndex
		unmerged []LeafIndex
	}{"forgotten below": {11, nil}, "forgotten above": {15, []LeafIndex{0}}, "all forgotten above": {15, nil}} {
		t.Run(name, func(t *testing.T) {
			tree := w.mutateTree(t, c.x, func(n *node) { n.parent.UnmergedLeaves = c.unmerged })
			if err := tree.Validate(testGroup); !errors.Is(err, ErrTree) {
				t.Error(err)
			}
		})
	}
	w.commit(t, 5)
	w.check(t)
}

// mls-rs 321: unmerged leaves are in order (RFC 9420, Section 7.1), also where a
// tree was made such that the next free leaf is before one that is unmerged. It
// is appended in its place, so that all members have one tree.
func TestPeersUnmergedOrder(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	none := empty(s)
	var people [4]person
	for i := range people {
		people[i] = newPerson(t, s)
	}
	key1, key3 := newPerson(t, s).key.Public(), newPerson(t, s).key.Public()
	blank := hashes(none).inner(nil, hashes(none).leaf(2, nil), hashes(none).leaf(3, nil))
	left := &ParentNode{EncryptionKey: key1, ParentHash: none.parentHash(key3, nil, blank)}
	l := people[0].leaf
	l.Source, l.Lifetime, l.ParentHash = SourceCommit, Lifetime{}, none.parentHash(key1, left.ParentHash, hashes(none).leaf(1, people[1].leaf))
	if err := l.Sign(s, people[0].signer, testGroup, 0); err != nil {
		t.Fatal(err)
	}
	encode := func(unmerged ...LeafIndex) []byte {
		return wire.AppendVecFunc(nil, func(b []byte) []byte {
			b = l.Append(append(b, 1, typeLeaf))
			b = left.Append(append(b, 1, typeParent))
			b = people[1].leaf.Append(append(b, 1, typeLeaf))
			b = (&ParentNode{EncryptionKey: key3, UnmergedLeaves: unmerged}).Append(append(b, 1, typeParent))
			return people[3].leaf.Append(append(b, 0, 0, 1, typeLeaf))
		})
	}
	tree := mustParse(t, s, encode(3))
	if err := tree.Validate(testGroup); err != nil {
		t.Fatal(err)
	}
	if i, err := tree.Add(people[2].leaf); err != nil || i != 2 {
		t.Fatal(i, err)
	}
	if !slices.Equal(tree.node(3).unmerged(), []LeafIndex{2, 3}) {
		t.Fatalf("unmerged %v", tree.node(3).unmerged())
	}
	again := mustParse(t, s, tree.Append(nil))
	if !bytes.Equal(again.Hash(), tree.Hash()) {
		t.Fatal("two trees")
	}
	if err := again.Validate(testGroup); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][]LeafIndex{{3, 1}, {3, 3}} {
		if _, err := Parse(s, encode(wrong...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

// forgedPath is a path as a hostile committer makes it: any leaf and any keys, in
// a tree of any leaves, with the parent hashes and the signature that fit them.
// What is encrypted is worthless.
func (w *world) forgedPath(t *testing.T, tree *Tree, sender LeafIndex, keys [][]byte, change func(l *LeafNode)) *UpdatePath {
	t.Helper()
	tree.refresh()
	steps := tree.filteredPath(sender)
	if len(keys) != len(steps) {
		t.Fatalf("%d keys for %d nodes", len(keys), len(steps))
	}
	old, _ := tree.Leaf(sender)
	l := old.Clone()
	l.EncryptionKey = newPerson(t, w.s).key.Public()
	l.Source, l.Lifetime, l.ParentHash = SourceCommit, Lifetime{}, tree.parentHashes(steps, keys)[0]
	change(l)
	if err := l.Sign(w.s, w.signers[sender], testGroup, sender); err != nil {
		t.Fatal(err)
	}
	path := &UpdatePath{Leaf: l}
	for k, step := range steps {
		path.Nodes = append(path.Nodes, UpdatePathNode{keys[k], make([]Ciphertext, len(tree.targets(step, nil)))})
	}
	return path
}

// ts-mls 627: the keys of an update path were not held against each other, nor
// against those of the tree (RFC 9420, Section 12.4.2).
func TestPeersUniquePathKeys(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := newWorld(t, s, 8).full(t)
	fresh := func() []byte { return newPerson(t, s).key.Public() }
	leaf := func(i LeafIndex) []byte { l, _ := w.tree.Leaf(i); return l.EncryptionKey }
	nothing := func(*LeafNode) {}
	one := fresh()
	for name, c := range map[string]struct {
		keys   [][]byte
		change func(l *LeafNode)
		want   error
	}{
		"all new":                   {[][]byte{fresh(), fresh(), fresh()}, nothing, nil},
		"two nodes":                 {[][]byte{one, one, fresh()}, nothing, ErrDuplicateKey},
		"first and last":            {[][]byte{one, fresh(), one}, nothing, ErrDuplicateKey},
		"a node and the leaf":       {[][]byte{fresh(), one, fresh()}, func(l *LeafNode) { l.EncryptionKey = one }, ErrDuplicateKey},
		"a member's leaf":           {[][]byte{leaf(5), fresh(), fresh()}, nothing, ErrDuplicateKey},
		"the committer's old leaf":  {[][]byte{fresh(), leaf(2), fresh()}, nothing, ErrDuplicateKey},
		"a parent elsewhere":        {[][]byte{fresh(), fresh(), w.tree.node(9).key()}, nothing, ErrDuplicateKey},
		"the node's own old key":    {[][]byte{w.tree.node(5).key(), fresh(), fresh()}, nothing, ErrDuplicateKey},
		"the root's old key":        {[][]byte{fresh(), fresh(), w.tree.node(7).key()}, nothing, ErrDuplicateKey},
		"a leaf with a parent's":    {[][]byte{fresh(), fresh(), fresh()}, func(l *LeafNode) { l.EncryptionKey = w.tree.node(9).key() }, ErrDuplicateKey},
		"a leaf with its own old":   {[][]byte{fresh(), fresh(), fresh()}, func(l *LeafNode) { l.EncryptionKey = leaf(2) }, ErrDuplicateKey},
		"a leaf with another's":     {[][]byte{fresh(), fresh(), fresh()}, func(l *LeafNode) { l.EncryptionKey = leaf(3) }, ErrDuplicateKey},
		"an empty key":              {[][]byte{fresh(), nil, fresh()}, nothing, ErrPath},
		"a key that is too short":   {[][]byte{fresh(), fresh()[:31], fresh()}, nothing, ErrPath},
		"a key of low order":        {[][]byte{fresh(), make([]byte, 32), fresh()}, nothing, ErrPath},
		"a parent hash of the root": {[][]byte{fresh(), fresh(), fresh()}, func(l *LeafNode) { l.ParentHash = nil }, ErrPath},
	} {
		t.Run(name, func(t *testing.T) {
			tree := w.tree.Clone()
			before := tree.Hash()
			err := tree.Merge(testGroup, 2, w.forgedPath(t, w.tree.Clone(), 2, c.keys, c.change), nil)
			if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err != nil && !bytes.Equal(tree.Hash(), before) {
				t.Error("a refused path changed the tree")
			}
		})
	}
}

// What is wrong with the members together, after the proposals of a commit,
// shows with its path, however well the path fits them (RFC 9420, Sections 7.3
// and 12.2).
func TestMergeRejectsMembers(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := newWorld(t, s, 8).full(t)
	other, _ := w.tree.Leaf(1)
	as := func(typ CredentialType, supports ...CredentialType) func(l *LeafNode) {
		return func(l *LeafNode) { l.Credential.Type, l.Capabilities.Credentials = typ, supports }
	}
	fresh := func() []byte { return newPerson(t, s).key.Public() }
	for name, c := range map[string]struct {
		change func(l *LeafNode)
		signer suite.SigningKey
		want   error
	}{
		"nothing":                   {func(*LeafNode) {}, w.signers[3], nil},
		"a new signature key":       {func(*LeafNode) {}, newPerson(t, s).signer, nil},
		"another's signature key":   {func(*LeafNode) {}, w.signers[1], ErrDuplicateKey},
		"another's encryption key":  {func(l *LeafNode) { l.EncryptionKey = other.EncryptionKey }, w.signers[3], ErrDuplicateKey},
		"a parent's encryption key": {func(l *LeafNode) { l.EncryptionKey = w.tree.node(13).key() }, w.signers[3], ErrDuplicateKey},
		"a credential all support":  {as(0xF0E1, CredentialBasic, 0xF0E1), w.signers[3], nil},
		"a credential others do not support": {func(l *LeafNode) {
			l.Credential.Type = 0xBEEF
			l.Capabilities.Credentials = []CredentialType{CredentialBasic, 0xBEEF}
		}, w.signers[3], ErrLeaf},
		"no support for others' credentials": {as(0xF0E1, 0xF0E1), w.signers[3], ErrLeaf},
		"a credential of GREASE, which is none": {func(l *LeafNode) {
			l.Credential.Type = 0x1A1A
			l.Capabilities.Credentials = []CredentialType{CredentialBasic, 0x1A1A}
		}, w.signers[3], ErrLeaf},
	} {
		t.Run(name, func(t *testing.T) {
			old, _ := w.tree.Leaf(3)
			l := old.Clone()
			l.Source, l.Lifetime, l.ParentHash, l.EncryptionKey = SourceUpdate, Lifetime{}, nil, fresh()
			c.change(l)
			if err := l.Sign(s, c.signer, testGroup, 3); err != nil {
				t.Fatal(err)
			}
			tree := w.tree.Clone()
			if err := tree.Update(3, l); err != nil {
				t.Fatal(err)
			}
			before := tree.Hash()
			err := tree.Merge(testGroup, 0, w.forgedPath(t, tree.Clone(), 0, [][]byte{fresh(), fresh(), fresh()}, func(*LeafNode) {}), nil)
			if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err != nil && !bytes.Equal(tree.Hash(), before) {
				t.Error("a refused path changed the tree")
			}
		})
	}
}
