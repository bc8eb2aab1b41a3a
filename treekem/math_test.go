package treekem

import (
	"testing"

	"github.com/parley-im/parley/internal/vectors"
)

type treeMathCase struct {
	Leaves  uint32       `json:"n_leaves"`
	Nodes   uint32       `json:"n_nodes"`
	Root    NodeIndex    `json:"root"`
	Left    []*NodeIndex `json:"left"`
	Right   []*NodeIndex `json:"right"`
	Parent  []*NodeIndex `json:"parent"`
	Sibling []*NodeIndex `json:"sibling"`
}

func loadTreeMath(t *testing.T, data []byte) {
	var count vectors.Cases
	for _, c := range decodeCases[treeMathCase](t, data) {
		count.Take(t, 0, nil)
		if got := root(c.Leaves); got != c.Root {
			t.Errorf("root(%d) = %d, want %d", c.Leaves, got, c.Root)
		}
		if got := uint32(2*root(c.Leaves)) + 1; got != c.Nodes {
			t.Errorf("%d leaves: %d nodes, want %d", c.Leaves, got, c.Nodes)
		}
		for x := range NodeIndex(c.Nodes) {
			check := func(name string, want *NodeIndex, exists bool, f func() NodeIndex) {
				switch {
				case (want != nil) != exists:
					t.Errorf("%s(%d) in %d leaves: exists %v, want %v", name, x, c.Leaves, exists, want != nil)
				case exists && f() != *want:
					t.Errorf("%s(%d) = %d, want %d", name, x, f(), *want)
				}
			}
			check("left", c.Left[x], !x.IsLeaf(), x.left)
			check("right", c.Right[x], !x.IsLeaf(), x.right)
			check("parent", c.Parent[x], x != c.Root, x.parent)
			check("sibling", c.Sibling[x], x != c.Root, x.sibling)
		}
	}
	count.Done(t)
}

// The common ancestor is the first node that the walks upwards share.
func TestCommonAncestor(t *testing.T) {
	const leaves = 32
	for a := range LeafIndex(leaves) {
		above := map[NodeIndex]bool{a.Node(): true}
		for x := a.Node(); x != root(leaves); above[x] = true {
			x = x.parent()
		}
		for b := range LeafIndex(leaves) {
			want := b.Node()
			for !above[want] {
				want = want.parent()
			}
			if got := commonAncestor(a, b); got != want {
				t.Fatalf("commonAncestor(%d, %d) = %d, want %d", a, b, got, want)
			}
		}
	}
}
