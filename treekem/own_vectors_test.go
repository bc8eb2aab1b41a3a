package treekem

import (
	"bytes"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/vectors"
	"github.com/parley-im/parley/internal/wire"
)

func TestOwnVectors(t *testing.T) {
	var own []uint16
	for _, s := range suite.All() {
		if s.ID() >= 0xF000 {
			own = append(own, uint16(s.ID()))
		}
	}
	maker := func(f func(t *testing.T, s *suite.Suite) []any) vectors.Maker {
		return func(t *testing.T, id uint16) []any { return f(t, mustSuite(t, suite.ID(id))) }
	}
	vectors.Own(t, own, loaders, map[string]vectors.Maker{
		"treekem.json":         maker(makeTreeKEM),
		"tree-validation.json": maker(makeTreeValidation),
		"tree-operations.json": maker(makeTreeOperations),
	})
}

// mixedWorld makes a group with blanks, and with an unmerged leaf.
func mixedWorld(t *testing.T, s *suite.Suite) *world {
	t.Helper()
	w := newWorld(t, s, 7).full(t)
	for _, i := range []LeafIndex{1, 4} {
		if err := w.tree.Remove(i); err != nil {
			t.Fatal(err)
		}
		delete(w.privates, i)
	}
	w.commit(t, 3)
	if i := w.join(t); i != 1 {
		t.Fatalf("joined at %d", i)
	}
	return w
}

// makeTreeKEM makes a group with all parents set, a mixed one, and one in which
// nobody has committed.
func makeTreeKEM(t *testing.T, s *suite.Suite) []any {
	t.Helper()
	return []any{newWorld(t, s, 4).full(t).export(t), mixedWorld(t, s).export(t), newWorld(t, s, 3).export(t)}
}

// export writes the world as a case, with paths from its first two members and
// its last.
func (w *world) export(t *testing.T) treeKEMCase {
	t.Helper()
	c := treeKEMCase{
		Suite:      w.s.ID(),
		GroupID:    testGroup,
		Epoch:      7,
		Transcript: bytes.Repeat([]byte{0xAB}, w.s.HashSize()),
		Tree:       w.tree.Append(nil),
	}
	members := w.members()
	for k, i := range members {
		p := w.privates[i]
		leaf := treeKEMLeaf{
			Index:         i,
			EncryptionKey: p.leaf.bytes().Bytes(),
			SignatureKey:  w.signers[i].Bytes().Bytes(),
			PathSecrets:   []treeKEMPathSecret{},
		}
		for x := range NodeIndex(2*w.tree.Width() - 1) {
			if _, ok := p.nodes[x]; ok {
				leaf.PathSecrets = append(leaf.PathSecrets, treeKEMPathSecret{x, w.pathSecrets[x].Bytes()})
			}
		}
		c.Leaves = append(c.Leaves, leaf)
		if k < 2 || k == len(members)-1 {
			c.Paths = append(c.Paths, w.exportPath(t, &c, i))
		}
	}
	return c
}

func (w *world) exportPath(t *testing.T, c *treeKEMCase, sender LeafIndex) treeKEMPath {
	t.Helper()
	after := w.tree.Clone()
	path, err := CreatePath(after, PathParams{Sender: sender, GroupID: testGroup, Signer: w.signers[sender]})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := path.Encrypt(c.context(after.Hash()))
	if err != nil {
		t.Fatal(err)
	}
	out := treeKEMPath{
		Sender:       sender,
		Path:         sent.Append(nil),
		PathSecrets:  make([]*vectors.Hex, w.tree.Width()),
		CommitSecret: path.Secrets().Commit.Bytes(),
		HashAfter:    after.Hash(),
	}
	for _, i := range w.members() {
		if pathSecret, ok := path.JoinerSecret(i); ok && i != sender {
			out.PathSecrets[i] = (*vectors.Hex)(new([]byte))
			*out.PathSecrets[i] = pathSecret.Bytes()
		}
	}
	return out
}

// makeTreeValidation makes trees that are full, cut off, with blanks and
// unmerged leaves, and of one member.
func makeTreeValidation(t *testing.T, s *suite.Suite) []any {
	t.Helper()
	var out []any
	for _, w := range []*world{newWorld(t, s, 1), newWorld(t, s, 2).full(t), newWorld(t, s, 5).full(t), mixedWorld(t, s)} {
		c := treeValidationCase{Suite: s.ID(), Tree: w.tree.Append(nil), GroupID: testGroup}
		w.tree.refresh()
		for x := range NodeIndex(2*w.tree.Width() - 1) {
			n := w.tree.node(x)
			c.TreeHashes = append(c.TreeHashes, n.hash)
			resolution := []NodeIndex{}
			w.tree.resolve(n, x, func(x NodeIndex, _ *node) bool {
				resolution = append(resolution, x)
				return true
			})
			c.Resolutions = append(c.Resolutions, resolution)
		}
		out = append(out, c)
	}
	return out
}

// makeTreeOperations makes an Add on the right of a full tree and into a blank,
// an Update, and Removes that leave a blank and that cut the tree.
func makeTreeOperations(t *testing.T, s *suite.Suite) []any {
	t.Helper()
	full, blank := newWorld(t, s, 2).full(t), newWorld(t, s, 3).full(t)
	if err := blank.tree.Remove(1); err != nil {
		t.Fatal(err)
	}
	newcomer := newPerson(t, s)
	fresh, err := s.GenerateHPKEKey()
	if err != nil {
		t.Fatal(err)
	}
	update := newcomer.leaf.Clone()
	update.Source, update.Lifetime, update.EncryptionKey = SourceUpdate, Lifetime{}, fresh.Public()
	if err := update.Sign(s, full.signers[1], testGroup, 1); err != nil {
		t.Fatal(err)
	}
	add := newcomer.proposeAdd(t, s)
	remove := func(i LeafIndex) []byte { return wire.AppendUint32([]byte{0, 3}, uint32(i)) }

	var out []any
	for _, op := range []struct {
		before   *Tree
		proposal []byte
		sender   LeafIndex
		apply    func(t *Tree) error
	}{
		{full.tree, add, 0, func(t *Tree) error { _, err := t.Add(newcomer.leaf); return err }},
		{blank.tree, add, 2, func(t *Tree) error { _, err := t.Add(newcomer.leaf); return err }},
		{full.tree, update.Append([]byte{0, 2}), 1, func(t *Tree) error { return t.Update(1, update) }},
		{blank.tree, remove(0), 2, func(t *Tree) error { return t.Remove(0) }},
		{newWorld(t, s, 3).full(t).tree, remove(2), 1, func(t *Tree) error { return t.Remove(2) }},
	} {
		after := op.before.Clone()
		if err := op.apply(after); err != nil {
			t.Fatal(err)
		}
		out = append(out, treeOperationCase{
			Suite: s.ID(), Before: op.before.Append(nil), Proposal: op.proposal, Sender: op.sender,
			After: after.Append(nil), HashBefore: op.before.Hash(), HashAfter: after.Hash(),
		})
	}
	return out
}

// proposeAdd returns the Add of a key package around the person's leaf (RFC
// 9420, Sections 10 and 12.1.1).
func (p person) proposeAdd(t *testing.T, s *suite.Suite) []byte {
	t.Helper()
	initKey, err := s.GenerateHPKEKey()
	if err != nil {
		t.Fatal(err)
	}
	b := wire.AppendUint16(nil, uint16(MLS10))
	b = wire.AppendUint16(b, uint16(s.ID()))
	b = wire.AppendVec(b, initKey.Public())
	b = p.leaf.Append(b)
	b = Extensions(nil).Append(b)
	sig, err := s.SignWithLabel(p.signer, "KeyPackageTBS", b)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]byte{0, 1}, wire.AppendVec(b, sig))
}
