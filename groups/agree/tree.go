package agree

import (
	"fmt"
	"slices"
)

// Tree holds the epochs of a group that are known, from a root on. Epochs are
// added and never change. It is not safe for concurrent use.
type Tree struct {
	root    *epoch
	members []Leaf // of the root
	epochs  map[CID]*epoch
}

type epoch struct {
	Node
	parent   *epoch
	children []*epoch // in no order
	depth    int      // below the root
	index    int      // how many came before it
	seed     Seed
	forked   map[Device]bool // devices with two commits in this epoch
}

// NewTree returns the tree with one epoch, its seed and its members.
func NewTree(root CID, seed Seed, members []Leaf) *Tree {
	e := &epoch{Node: Node{CID: root}, seed: seed}
	return &Tree{root: e, members: slices.Clone(members), epochs: map[CID]*epoch{root: e}}
}

// Add puts a commit in. It keeps the slices of n. It does nothing if the commit
// is there. It returns [ErrUnknownEpoch] if the parent is not, and [ErrFull] for
// a tree of [MaxTree] epochs, or a branch that is [MaxDepth] longer than the root.
func (t *Tree) Add(n Node) error {
	parent := t.epochs[n.Parent]
	switch {
	case t.epochs[n.CID] != nil:
		return nil
	case parent == nil:
		return fmt.Errorf("%w: %v, of commit %v", ErrUnknownEpoch, n.Parent, n.CID)
	case len(t.epochs) >= MaxTree || parent.depth >= MaxDepth:
		return fmt.Errorf("%w: commit %v", ErrFull, n.CID)
	}
	if slices.ContainsFunc(parent.children, func(c *epoch) bool { return c.Device == n.Device }) {
		parent.accuse(n.Device)
	}
	e := &epoch{Node: n, parent: parent, depth: parent.depth + 1, index: len(t.epochs), seed: parent.seed.next(n.Author)}
	parent.children = append(parent.children, e)
	t.epochs[n.CID] = e
	return nil
}

// Accuse notes that a device made two commits in an epoch, as a proof says that
// names commits which need not be in the tree. It does nothing if the epoch is
// not in the tree.
func (t *Tree) Accuse(parent CID, device Device) {
	if e := t.epochs[parent]; e != nil {
		e.accuse(device)
	}
}

func (e *epoch) accuse(device Device) {
	if e.forked == nil {
		e.forked = map[Device]bool{}
	}
	e.forked[device] = true
}

// line returns the epochs from the root to e.
func (e *epoch) line() []*epoch {
	line := make([]*epoch, e.depth+1)
	for at := e; at != nil; at = at.parent {
		line[at.depth] = at
	}
	return line
}
