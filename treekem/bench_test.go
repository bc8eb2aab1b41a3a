package treekem

import (
	"flag"
	"fmt"
	"testing"

	"github.com/parley-im/parley/internal/cputime"
	"github.com/parley-im/parley/internal/suite"
)

var benchLarge = flag.Int("large", 0, "members of a group that benchmarks also measure, such as 50000")

// benchGroups runs f for groups of several sizes and suites. In every group one of
// two siblings has made a path, so that no parent is blank and path secrets go to
// as few nodes as they can.
func benchGroups(b *testing.B, f func(b *testing.B, w *world)) {
	for _, id := range []suite.ID{suite.X25519AES128GCMEd25519, suite.Secp256k1ChaCha20Poly1305} {
		sizes := []int{2, 128, 1024, 8192}
		if *benchLarge > 0 {
			sizes = append(sizes, *benchLarge)
		}
		for _, n := range sizes {
			b.Run(fmt.Sprintf("suite=%04x/members=%d", uint16(id), n), func(b *testing.B) {
				w := benchWorld(b, id, n)
				b.ReportAllocs()
				f(b, w)
			})
		}
	}
}

type benchKey struct {
	id suite.ID
	n  int
}

// benchWorlds keeps the groups, which take long to make; nobody changes them.
var benchWorlds = map[benchKey]*world{}

func benchWorld(b *testing.B, id suite.ID, n int) *world {
	b.Helper()
	if w, ok := benchWorlds[benchKey{id, n}]; ok {
		return w
	}
	w := newWorld(b, mustSuite(b, id), n)
	// Leaf 0 comes last, and so knows all its path without having followed.
	for i := LeafIndex(n-1) &^ 1; i < LeafIndex(n); i -= 2 {
		path, err := CreatePath(w.tree, PathParams{Sender: i, GroupID: testGroup, Signer: w.signers[i]})
		if err != nil {
			b.Fatal(err)
		}
		w.privates[i] = path.Private()
		path.Erase()
	}
	benchWorlds[benchKey{id, n}] = w
	return w
}

func benchPath(b *testing.B, w *world, tree *Tree, sender LeafIndex) *UpdatePath {
	b.Helper()
	path, err := CreatePath(tree, PathParams{Sender: sender, GroupID: testGroup, Signer: w.signers[sender]})
	if err != nil {
		b.Fatal(err)
	}
	update, err := path.Encrypt(tree.Hash())
	if err != nil {
		b.Fatal(err)
	}
	return update
}

// measure is the loop of a benchmark. What came before it is not measured.
func measure(b *testing.B, f func()) {
	b.Helper()
	done := cputime.Report(b)
	for b.Loop() {
		f()
	}
	done()
}

// One member's path: keys, parent hashes, signature, and all ciphertexts.
func BenchmarkCreatePathEveryParentPopulated(b *testing.B) {
	benchGroups(b, func(b *testing.B, w *world) {
		measure(b, func() { benchPath(b, w, w.tree.Clone(), 0) })
	})
}

// The first commit of a group: no parent is set, and the path secrets go to
// every other member by itself.
func BenchmarkCreatePathBlankParents(b *testing.B) {
	benchGroups(b, func(b *testing.B, w *world) {
		tree := New(w.s, newPerson(b, w.s).leaf)
		for i, l := range w.tree.Leaves() {
			if i > 0 {
				if _, err := tree.Add(l); err != nil {
					b.Fatal(err)
				}
			}
		}
		measure(b, func() { benchPath(b, w, tree.Clone(), 0) })
	})
}

// The sibling's path, merged with all its checks and opened: nobody derives more of
// it.
func BenchmarkApplyPathDeepestReceiver(b *testing.B) {
	benchGroups(b, func(b *testing.B, w *world) {
		const sender = 1
		sent := w.tree.Clone()
		update := benchPath(b, w, sent, sender)
		context := sent.Hash()
		measure(b, func() {
			tree := w.tree.Clone()
			if err := tree.Merge(testGroup, sender, update, nil); err != nil {
				b.Fatal(err)
			}
			if _, _, err := w.privates[0].Open(tree, sender, update, nil, context); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// One leaf added to a staged clone, and the new tree hash.
func BenchmarkAddOneLeaf(b *testing.B) {
	benchGroups(b, func(b *testing.B, w *world) {
		p := newPerson(b, w.s)
		measure(b, func() {
			tree := w.tree.Clone()
			if err := tree.Remove(0); err != nil {
				b.Fatal(err)
			}
			if _, err := tree.Add(p.leaf); err != nil {
				b.Fatal(err)
			}
			tree.Hash()
		})
	})
}

// As many leaves as the group has, added to a group of one, and the tree hash:
// the time for each member must not grow with their number.
func BenchmarkAddAllLeaves(b *testing.B) {
	benchGroups(b, func(b *testing.B, w *world) {
		var leaves []*LeafNode
		for _, l := range w.tree.Leaves() {
			leaves = append(leaves, l)
		}
		measure(b, func() {
			tree := New(w.s, leaves[0])
			for _, l := range leaves[1:] {
				if _, err := tree.Add(l); err != nil {
					b.Fatal(err)
				}
			}
			tree.Hash()
		})
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(leaves)), "ns/member")
	})
}

// The tree hash after one leaf changed.
func BenchmarkTreeHashAfterOneChange(b *testing.B) {
	benchGroups(b, func(b *testing.B, w *world) {
		tree := w.tree.Clone()
		measure(b, func() {
			l, _ := tree.Leaf(0)
			if err := tree.Update(0, l); err != nil {
				b.Fatal(err)
			}
			tree.Hash()
		})
	})
}

// A tree received by a joiner: parsed, and checked whole.
func BenchmarkJoinParseAndValidateTree(b *testing.B) {
	benchGroups(b, func(b *testing.B, w *world) {
		encoded := w.tree.Append(nil)
		measure(b, func() {
			tree, err := Parse(w.s, encoded)
			if err != nil {
				b.Fatal(err)
			}
			if err := tree.Validate(testGroup); err != nil {
				b.Fatal(err)
			}
		})
	})
}
