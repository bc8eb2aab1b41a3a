package agree

import (
	"bytes"
	"crypto/sha256"
	"math"
	"slices"

	"github.com/parley-im/parley/internal/wire"
)

// situation is all that the choice depends on.
type situation struct {
	root    CID
	seed    Seed
	members []Leaf
	nodes   []Node
	votes   []Vote
	covered map[Leaf]bool
	accused []accusation
}

// tree puts the situation into a tree in the order in which it is listed, each
// commit when its parent is there.
func (s *situation) tree() *Tree {
	t := NewTree(s.root, s.seed, s.members)
	for before := -1; before < len(t.epochs); {
		before = len(t.epochs)
		for _, n := range s.nodes {
			_ = t.Add(n) // its parent may come in the next round
		}
	}
	for _, a := range s.accused {
		t.Accuse(a.parent, a.device)
	}
	return t
}

func (s *situation) isCovered(l Leaf) bool { return s.covered[l] }

func (s *situation) choose() Choice { return s.tree().Choose(s.votes, s.isCovered) }

// oracle is the choice once more, written from docs/spec.md and not from
// forkchoice.go: sets instead of counters, recursion instead of a walk, and
// rules that leave out the worse instead of an order. Its cost is no concern.
type oracle struct {
	*situation
	known map[CID]bool
}

func newOracle(s *situation) *oracle {
	o := &oracle{s, map[CID]bool{s.root: true}}
	for range s.nodes {
		for _, n := range s.nodes {
			if o.known[n.Parent] {
				o.known[n.CID] = true
			}
		}
	}
	return o
}

// chain is the way from an epoch to the head.
func (o *oracle) chain(at CID, members map[Leaf]bool, seed Seed) []CID {
	c := o.best(at, members, seed)
	if c == nil {
		return []CID{at}
	}
	after := map[Leaf]bool{}
	for l := range members {
		after[l] = true
	}
	for _, l := range c.Removed {
		delete(after, l)
	}
	for _, l := range c.Added {
		after[l] = true
	}
	return append([]CID{at}, o.chain(c.CID, after, o.ticket(seed, c.Author))...)
}

func (o *oracle) children(at CID) []Node {
	var out []Node
	for _, n := range o.nodes {
		if n.Parent == at && o.known[n.CID] && !slices.ContainsFunc(out, func(m Node) bool { return m.CID == n.CID }) {
			out = append(out, n)
		}
	}
	return out
}

// below is the set of an epoch and all after it.
func (o *oracle) below(at CID) map[CID]bool {
	set := map[CID]bool{at: true}
	for _, c := range o.children(at) {
		for cid := range o.below(c.CID) {
			set[cid] = true
		}
	}
	return set
}

// votes of accounts in an epoch with these members.
func (o *oracle) electors(members map[Leaf]bool) (n int, heads map[Account]CID) {
	accounts := map[Account][]Device{}
	for l := range members {
		if !o.covered[l] {
			accounts[l.Account] = append(accounts[l.Account], l.Device)
		}
	}
	heads = map[Account]CID{}
	for a, devices := range accounts {
		var best *Vote
		for i := range o.situation.votes {
			v := &o.situation.votes[i]
			if v.Account != a || !slices.Contains(devices, v.Device) {
				continue
			}
			if best == nil || v.Seq > best.Seq || v.Seq == best.Seq && bytes.Compare(v.Device[:], best.Device[:]) < 0 {
				best = v
			}
		}
		if best != nil {
			heads[a] = best.Head
		}
	}
	return len(accounts), heads
}

func (o *oracle) ticket(seed Seed, author Account) Seed {
	var in []byte
	for _, part := range [][]byte{[]byte("parley/1 lottery"), seed[:], []byte(author)} {
		in = append(wire.AppendUint32(in, uint32(len(part))), part...)
	}
	return sha256.Sum256(in)
}

// settledAt says whether a child of an epoch is settled.
func (o *oracle) settledAt(child CID, members map[Leaf]bool) bool {
	n, _ := o.electors(members)
	return float64(o.supporters(child, members)) >= math.Max(2, math.Min(3, math.Ceil(float64(n)/3)))
}

func (o *oracle) supporters(child CID, members map[Leaf]bool) int {
	_, heads := o.electors(members)
	subtree := o.below(child)
	n := 0
	for _, head := range heads {
		if subtree[head] {
			n++
		}
	}
	return n
}

// best leaves out children rule by rule.
func (o *oracle) best(at CID, members map[Leaf]bool, seed Seed) *Node {
	left := o.children(at)
	support := map[CID]int{}
	var live []Node
	for _, c := range left {
		if support[c.CID] = o.supporters(c.CID, members); support[c.CID] > 0 {
			live = append(live, c)
		}
	}
	if len(live) == 0 {
		return nil
	}
	left = live
	rules := []func(Node) []byte{
		func(c Node) []byte { return []byte{no(o.settledAt(c.CID, members))} },
		func(c Node) []byte {
			if !o.settledAt(c.CID, members) {
				return nil
			}
			return []byte{255 - byte(math.Floor(math.Log2(float64(support[c.CID]))))}
		},
		func(c Node) []byte { return []byte{no(!o.forkedAt(at, c.Device))} },
		func(c Node) []byte { return []byte{255 - byte(c.Class)} },
		func(c Node) []byte { t := o.ticket(seed, c.Author); return t[:] },
		func(c Node) []byte { return c.CID[:] },
	}
	for _, rule := range rules {
		least := rule(left[0])
		for _, c := range left {
			if bytes.Compare(rule(c), least) < 0 {
				least = rule(c)
			}
		}
		var kept []Node
		for _, c := range left {
			if bytes.Equal(rule(c), least) {
				kept = append(kept, c)
			}
		}
		left = kept
	}
	return &left[0]
}

func (o *oracle) forkedAt(at CID, d Device) bool {
	n := 0
	for _, c := range o.children(at) {
		if c.Device == d {
			n++
		}
	}
	return n > 1 || slices.Contains(o.accused, accusation{at, d})
}

func no(b bool) byte {
	if b {
		return 0
	}
	return 1
}

// choose returns what Choose should.
func (o *oracle) choose() Choice {
	members := map[Leaf]bool{}
	for _, l := range o.members {
		members[l] = true
	}
	c := Choice{Chain: o.chain(o.root, members, o.seed), Settled: 1}
	for _, cid := range c.Chain[1:] {
		if !o.settledAt(cid, members) {
			break
		}
		c.Settled++
		for _, n := range o.nodes {
			if n.CID == cid {
				for _, l := range n.Removed {
					delete(members, l)
				}
				for _, l := range n.Added {
					members[l] = true
				}
				break
			}
		}
	}
	return c
}
