package agree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"math/bits"
	"slices"

	"github.com/parley-im/parley/internal/wire"
)

// The choice of the head: docs/spec.md, "The choice of the head". It is a
// function of the commits in the tree, of the members' votes and of the leaves
// that Remove orders cover. It does not depend on the order in which these came.

// Seed decides which of two authors goes first where nothing else does. It is
// made of the authors of the chain, so the bytes of a commit have no part in it.
type Seed [32]byte

const labelLottery = "parley/1 lottery"

// FirstSeed returns the seed of a group's epoch 0.
func FirstSeed(groupID []byte) Seed {
	return sha256.Sum256(wire.AppendLP(wire.AppendLP(nil, []byte(labelLottery)), groupID))
}

// next is the ticket of an author's commits in the epoch with this seed, and the
// seed of the epochs they begin.
func (s Seed) next(author Account) Seed {
	b := wire.AppendLP(nil, []byte(labelLottery))
	b = wire.AppendLP(b, s[:])
	return sha256.Sum256(wire.AppendLP(b, []byte(author)))
}

// Vote is what counts of a device's statements: the epoch it said it was in, by
// the statement with the highest seq.
type Vote struct {
	Account Account
	Device  Device
	Seq     uint64
	Head    CID
}

// Choice is the outcome.
type Choice struct {
	// Chain is the way from the root, its CID first, to the head, its last.
	Chain []CID
	// Settled is how many of Chain, the root included, stand firm: every commit
	// up to there has the support that rule 2 asks for.
	Settled int
}

// Head returns the epoch to be in.
func (c *Choice) Head() CID { return c.Chain[len(c.Chain)-1] }

// Choose walks from the root to the head: from each epoch to the best of its
// children, while there is one that somebody supports.
//
// An account supports a child of an epoch if it has a leaf in that epoch which is
// not covered by a Remove order, and its vote, the one with the highest seq of
// such leaves' devices, is for the child or an epoch below it. votes has at most
// one of each device; votes for epochs that are not in the tree count for
// nothing.
//
// It takes time in the order of the members, of the votes times the depth of what
// they are for, and of the children of the chain's epochs, which it sorts.
func (t *Tree) Choose(votes []Vote, covered func(Leaf) bool) Choice {
	y := t.tally(votes, covered)
	e := t.root
	c := Choice{Chain: []CID{e.CID}, Settled: 1}
	for {
		ranked := y.rank(e)
		if len(ranked) == 0 || ranked[0].supporters == 0 {
			return c
		}
		if ranked[0].settled && c.Settled == len(c.Chain) {
			c.Settled++
		}
		e = ranked[0].epoch
		c.Chain = append(c.Chain, e.CID)
		y.enter(&e.Node)
	}
}

// Rank returns the children of an epoch, the best first, those that nobody
// supports at the end; nil if the epoch is not in the tree.
func (t *Tree) Rank(parent CID, votes []Vote, covered func(Leaf) bool) []CID {
	at := t.epochs[parent]
	if at == nil {
		return nil
	}
	y := t.tally(votes, covered)
	for _, e := range at.line()[1:] {
		y.enter(&e.Node)
	}
	var out []CID
	for _, c := range y.rank(at) {
		out = append(out, c.epoch.CID)
	}
	return out
}

// tally knows who supports what, in the epoch that the walk has come to.
type tally struct {
	covered func(Leaf) bool
	leaves  map[Account][]Leaf   // not covered, of this epoch
	ballots map[Account][]ballot // the highest seq first
	cast    map[Account]*epoch   // which ballot counts in this epoch
	weight  []int                // by epoch: how many accounts cast for it or below
}

type ballot struct {
	Vote
	head *epoch // nil if it is not in the tree
}

func (t *Tree) tally(votes []Vote, covered func(Leaf) bool) *tally {
	y := &tally{
		covered: covered,
		leaves:  make(map[Account][]Leaf),
		ballots: make(map[Account][]ballot, len(votes)),
		cast:    make(map[Account]*epoch, len(votes)),
		weight:  make([]int, len(t.epochs)),
	}
	for _, v := range votes {
		y.ballots[v.Account] = append(y.ballots[v.Account], ballot{v, t.epochs[v.Head]})
	}
	for _, list := range y.ballots {
		slices.SortFunc(list, func(a, b ballot) int {
			return cmp.Or(cmp.Compare(b.Seq, a.Seq), bytes.Compare(a.Device[:], b.Device[:]))
		})
	}
	y.enter(&Node{Added: t.members})
	return y
}

// enter takes over what a commit changes of the members.
func (y *tally) enter(n *Node) {
	touched := make(map[Account]bool)
	for _, l := range n.Removed {
		y.leaves[l.Account] = slices.DeleteFunc(y.leaves[l.Account], func(m Leaf) bool { return m == l })
		touched[l.Account] = true
	}
	for _, l := range n.Added {
		if !y.covered(l) && !slices.Contains(y.leaves[l.Account], l) {
			y.leaves[l.Account] = append(y.leaves[l.Account], l)
			touched[l.Account] = true
		}
	}
	for a := range touched {
		if len(y.leaves[a]) == 0 {
			delete(y.leaves, a)
		}
		y.recount(a)
	}
}

// recount works out which ballot of an account counts.
func (y *tally) recount(a Account) {
	y.weigh(y.cast[a], -1)
	delete(y.cast, a)
	for _, b := range y.ballots[a] {
		if slices.ContainsFunc(y.leaves[a], func(l Leaf) bool { return l.Device == b.Device }) {
			y.cast[a] = b.head
			y.weigh(b.head, 1)
			return
		}
	}
}

// weigh adds to the weight of an epoch and of those above it.
func (y *tally) weigh(e *epoch, n int) {
	for ; e != nil; e = e.parent {
		y.weight[e.index] += n
	}
}

type candidate struct {
	epoch      *epoch
	supporters int
	settled    bool
	honest     bool
}

// quorum is how many supporters settle a commit in an epoch whose members are n
// accounts that no order covers.
func quorum(n int) int { return max(2, min(3, (n+2)/3)) }

// rank sorts the children of the epoch the walk has come to.
func (y *tally) rank(e *epoch) []candidate {
	out := make([]candidate, 0, len(e.children))
	for _, c := range e.children {
		n := y.weight[c.index]
		out = append(out, candidate{c, n, n >= quorum(len(y.leaves)), !e.forked[c.Device]})
	}
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(
			first(a.supporters > 0, b.supporters > 0),       // 1
			first(a.settled, b.settled),                     // 2
			cmp.Compare(b.bucket(), a.bucket()),             // 3
			first(a.honest, b.honest),                       // 4
			cmp.Compare(b.epoch.Class, a.epoch.Class),       // 5
			bytes.Compare(a.epoch.seed[:], b.epoch.seed[:]), // 6
			bytes.Compare(a.epoch.CID[:], b.epoch.CID[:]),   // 7
		)
	})
	return out
}

// bucket is coarse, so that one member who moves seldom turns the choice.
func (c *candidate) bucket() int {
	if !c.settled {
		return 0
	}
	return bits.Len(uint(c.supporters))
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
