package agree

import (
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

var (
	choiceCases = flag.Int("forkchoice.cases", 5_000, "random cases of the choice of the head that are compared with the oracle")
	choiceSeed  = flag.Uint64("forkchoice.seed", 0, "seed of the first random case; 0 takes a fresh one")
)

// cidOf, deviceOf and accountOf make names that are easy to tell apart.
func cidOf(n uint64) CID {
	var c CID
	binary.BigEndian.PutUint64(c[:], n*0x9e3779b97f4a7c15) // in no order
	binary.BigEndian.PutUint64(c[24:], n)
	return c
}

func deviceOf(n int) Device   { return Device(cidOf(uint64(n) + 1000)) }
func orderOf(n int) OrderID   { return OrderID(cidOf(uint64(n) + 5000)) }
func accountOf(n int) Account { return Account(rune('a' + n)) }
func leafOf(account, dev int) Leaf {
	return Leaf{Account: accountOf(account), Device: deviceOf(10*account + dev)}
}

// randomSituation makes small trees with many votes, so that every rule decides
// now and then.
func randomSituation(r *rand.Rand) *situation {
	accounts := 1 + r.IntN(9)
	var leaves []Leaf
	for a := range accounts {
		for d := range 1 + r.IntN(5)/4 {
			leaves = append(leaves, leafOf(a, d))
		}
	}
	leaf := func() Leaf { return leaves[r.IntN(len(leaves))] }
	s := &situation{root: cidOf(r.Uint64N(50)), covered: map[Leaf]bool{}}
	s.seed = FirstSeed(s.root[:])
	s.members = slices.DeleteFunc(slices.Clone(leaves), func(Leaf) bool { return r.IntN(8) == 0 })
	at := []CID{s.root}
	for i := range r.IntN(11) {
		author := leaf()
		n := Node{CID: cidOf(100 + uint64(i)), Author: author.Account, Device: author.Device, Class: Class(r.IntN(3))}
		n.Parent = at[max(r.IntN(len(at)), r.IntN(len(at)))]
		if r.IntN(40) == 0 {
			n.Parent = cidOf(99) // nowhere
		}
		for r.IntN(3) == 0 {
			n.Removed = append(n.Removed, leaf())
		}
		for r.IntN(3) == 0 {
			l := leaf()
			if r.IntN(3) == 0 {
				l.Added = orderOf(r.IntN(3))
			}
			n.Added = append(n.Added, l)
		}
		s.nodes = append(s.nodes, n)
		at = append(at, n.CID)
	}
	for _, l := range leaves {
		if r.IntN(7) == 0 {
			continue
		}
		v := Vote{Account: l.Account, Device: l.Device, Seq: r.Uint64N(4), Head: at[max(r.IntN(len(at)), r.IntN(len(at)))]}
		if r.IntN(30) == 0 {
			v.Head = cidOf(98) // nowhere
		}
		s.votes = append(s.votes, v)
	}
	cover := func(l Leaf) {
		if r.IntN(7) == 0 {
			s.covered[l] = true
		}
	}
	for _, l := range leaves {
		cover(l)
	}
	for _, n := range s.nodes {
		for _, l := range n.Added {
			cover(l)
		}
	}
	for r.IntN(4) == 0 {
		s.accused = append(s.accused, accusation{at[r.IntN(len(at))], leaf().Device})
	}
	return s
}

func shuffled(s *situation, r *rand.Rand) *situation {
	c := *s
	c.nodes, c.votes = slices.Clone(s.nodes), slices.Clone(s.votes)
	c.members, c.accused = slices.Clone(s.members), slices.Clone(s.accused)
	r.Shuffle(len(c.nodes), func(i, j int) { c.nodes[i], c.nodes[j] = c.nodes[j], c.nodes[i] })
	r.Shuffle(len(c.votes), func(i, j int) { c.votes[i], c.votes[j] = c.votes[j], c.votes[i] })
	r.Shuffle(len(c.members), func(i, j int) { c.members[i], c.members[j] = c.members[j], c.members[i] })
	r.Shuffle(len(c.accused), func(i, j int) { c.accused[i], c.accused[j] = c.accused[j], c.accused[i] })
	return &c
}

// The choice is the oracle's; it is the same in whatever order things came, and
// after whatever nobody supports was dropped; members who move to the head leave
// it where it is.
func TestChoiceAgainstOracle(t *testing.T) {
	first := *choiceSeed
	if first == 0 {
		first = rand.Uint64()
	}
	deep, split := 0, 0
	for i := range *choiceCases {
		seed := first + uint64(i)
		r := rand.New(rand.NewPCG(seed, 0))
		s := randomSituation(r)
		got, want := s.choose(), newOracle(s).choose()
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("-forkchoice.seed=%d: chose %v, the oracle %v", seed, got, want)
		}
		if again := shuffled(s, r).choose(); !reflect.DeepEqual(got, again) {
			t.Fatalf("-forkchoice.seed=%d: chose %v, and %v in another order", seed, got, again)
		}
		if less := withoutGhosts(s).choose(); !reflect.DeepEqual(got, less) {
			t.Fatalf("-forkchoice.seed=%d: chose %v, and %v without what nobody supports", seed, got, less)
		}
		moved := *s
		moved.votes = slices.Clone(s.votes)
		for range 1 + r.IntN(3) {
			if len(moved.votes) == 0 {
				break
			}
			v := &moved.votes[r.IntN(len(moved.votes))]
			v.Seq, v.Head = 9, got.Head()
		}
		if after := moved.choose(); after.Head() != got.Head() {
			t.Fatalf("-forkchoice.seed=%d: chose %v, and %v after members moved there", seed, got, after)
		}
		if len(got.Chain) > 2 {
			deep++
		}
		if got.Settled < len(got.Chain) {
			split++
		}
	}
	if deep < *choiceCases/10 || split < *choiceCases/20 {
		t.Errorf("only %d deep and %d unsettled of %d: the cases have become dull", deep, split, *choiceCases)
	}
}

// withoutGhosts drops the commits that no vote is for, but keeps what they prove.
func withoutGhosts(s *situation) *situation {
	full := s.tree()
	c := *s
	c.nodes, c.accused = nil, slices.Clone(s.accused)
	for cid, e := range full.epochs {
		for d := range e.forked {
			c.accused = append(c.accused, accusation{cid, d})
		}
		voted := func(v Vote) bool {
			at := full.epochs[v.Head]
			return at != nil && slices.Contains(at.line(), e)
		}
		if e != full.root && slices.ContainsFunc(s.votes, voted) {
			c.nodes = append(c.nodes, e.Node)
		}
	}
	return &c
}

// Rank begins with the child that Choose takes.
func TestRank(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		s := randomSituation(r)
		tree := s.tree()
		c := tree.Choose(s.votes, s.isCovered)
		for i, cid := range c.Chain {
			ranked := tree.Rank(cid, s.votes, s.isCovered)
			if len(ranked) != len(tree.epochs[cid].children) {
				t.Fatalf("%d children ranked of %d", len(ranked), len(tree.epochs[cid].children))
			}
			if i+1 < len(c.Chain) && ranked[0] != c.Chain[i+1] {
				t.Fatalf("first is %v, chosen was %v", ranked[0], c.Chain[i+1])
			}
		}
	}
	if s := randomSituation(r); s.tree().Rank(cidOf(97), s.votes, s.isCovered) != nil {
		t.Error("ranked the children of an epoch that is not there")
	}
}

// Each rule decides where those before it do not.
func TestRules(t *testing.T) {
	root := cidOf(0)
	member := func(n int) (out []Leaf) {
		for i := range n {
			out = append(out, leafOf(i, 0))
		}
		return out
	}
	vote := func(account int, head uint64) Vote {
		return Vote{Account: accountOf(account), Device: deviceOf(10 * account), Head: cidOf(head)}
	}
	node := func(n, parent uint64, author int, class Class) Node {
		return Node{CID: cidOf(n), Parent: cidOf(parent), Author: accountOf(author), Device: deviceOf(10 * author), Class: class}
	}
	// Of a and b, who has the better ticket.
	seed := FirstSeed([]byte("rules"))
	lucky, unlucky := 0, 1
	if a, b := seed.next(accountOf(0)), seed.next(accountOf(1)); string(b[:]) < string(a[:]) {
		lucky, unlucky = 1, 0
	}
	for _, tc := range []struct {
		name    string
		members int
		nodes   []Node
		votes   []Vote
		covered []Leaf
		accused []accusation
		head    uint64
	}{
		{name: "nobody supports it", members: 4, nodes: []Node{node(1, 0, lucky, Removal)}, head: 0},
		{name: "live", members: 4, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(3, 1)}, head: 1},
		{name: "a vote for what is below", members: 4, nodes: []Node{node(1, 0, unlucky, Renewal), node(3, 1, 0, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(3, 3)}, head: 3},
		{name: "removed members do not count", members: 4, nodes: []Node{node(1, 0, lucky, Removal), node(2, 0, unlucky, Renewal)}, votes: []Vote{vote(2, 1), vote(3, 2)}, covered: []Leaf{leafOf(2, 0)}, head: 2},
		{name: "strangers do not count", members: 3, nodes: []Node{node(1, 0, lucky, Removal)}, votes: []Vote{vote(3, 1)}, head: 0},
		{name: "settled before class", members: 4, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 1), vote(3, 2)}, head: 1},
		{name: "one of three is not settled", members: 3, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 2)}, head: 2},
		{name: "of nine, two are not settled", members: 9, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 1), vote(2, 2)}, head: 2},
		{name: "of nine, three are", members: 9, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 1), vote(3, 1), vote(2, 2)}, head: 1},
		{name: "two and three are one bucket", members: 6, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 1), vote(2, 1), vote(3, 2), vote(4, 2)}, head: 2},
		{name: "two and four are not", members: 6, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 1), vote(2, 1), vote(5, 1), vote(3, 2), vote(4, 2)}, head: 1},
		{name: "honest before class", members: 4, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 2)}, accused: []accusation{{root, deviceOf(10 * lucky)}}, head: 1},
		{name: "two commits accuse", members: 4, nodes: []Node{node(1, 0, unlucky, Renewal), node(2, 0, lucky, Removal), node(4, 0, lucky, Removal)}, votes: []Vote{vote(0, 1), vote(1, 2)}, head: 1},
		{name: "class before lottery", members: 4, nodes: []Node{node(1, 0, unlucky, Change), node(2, 0, lucky, Renewal)}, votes: []Vote{vote(0, 1), vote(1, 2)}, head: 1},
		{name: "lottery", members: 4, nodes: []Node{node(1, 0, unlucky, Change), node(2, 0, lucky, Change)}, votes: []Vote{vote(0, 1), vote(1, 2)}, head: 2},
		{name: "the highest seq of an account", members: 4, nodes: []Node{node(1, 0, unlucky, Change), node(2, 0, lucky, Change)}, votes: []Vote{
			vote(0, 2), {Account: accountOf(0), Device: deviceOf(1), Seq: 1, Head: cidOf(1)},
		}, head: 2}, // the second device is no member
	} {
		s := &situation{root: root, seed: seed, members: member(tc.members), nodes: tc.nodes, votes: tc.votes, accused: tc.accused, covered: map[Leaf]bool{}}
		for _, l := range tc.covered {
			s.covered[l] = true
		}
		if got := s.choose(); got.Head() != cidOf(tc.head) {
			t.Errorf("%s: head is %v, want %v", tc.name, got.Head(), cidOf(tc.head))
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	s := &situation{root: cidOf(0), members: []Leaf{leafOf(0, 0)}}
	tree := s.tree()
	if err := tree.Add(Node{CID: cidOf(2), Parent: cidOf(1)}); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("commit without a parent: %v", err)
	}
	for i := range uint64(MaxDepth) {
		if err := tree.Add(Node{CID: cidOf(i + 1), Parent: cidOf(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Add(Node{CID: cidOf(MaxDepth + 1), Parent: cidOf(MaxDepth)}); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the depth: %v", err)
	}
	for i := range uint64(MaxTree - MaxDepth - 1) {
		if err := tree.Add(Node{CID: cidOf(MaxDepth + 2 + i), Parent: cidOf(0), Device: deviceOf(int(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Add(Node{CID: cidOf(2 * MaxTree), Parent: cidOf(0)}); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the number: %v", err)
	}
	if err := tree.Add(Node{CID: cidOf(5), Parent: cidOf(4)}); err != nil {
		t.Errorf("what is there already: %v", err)
	}
}

// bench makes n members who all committed in the root, or a chain of epochs.
func benchSituation(n, depth int) *situation {
	s := &situation{root: cidOf(0), seed: FirstSeed(nil)}
	for i := range n {
		s.members = append(s.members, Leaf{Account: Account(cidOf(uint64(i)).String()), Device: deviceOf(i)})
	}
	last := s.root
	for i := range depth {
		l := s.members[i%n]
		s.nodes = append(s.nodes, Node{CID: cidOf(uint64(i) + 1), Parent: last, Author: l.Account, Device: l.Device})
		last = cidOf(uint64(i) + 1)
	}
	for i, l := range s.members {
		cid := cidOf(uint64(i) + 50_000)
		s.nodes = append(s.nodes, Node{CID: cid, Parent: last, Author: l.Account, Device: l.Device})
		s.votes = append(s.votes, Vote{Account: l.Account, Device: l.Device, Head: cid})
	}
	return s
}

func BenchmarkChoose(b *testing.B) {
	for _, bc := range []struct {
		name     string
		n, depth int
	}{{"100-committers-of-100", 100, 0}, {"256-epochs-of-100", 100, 256}, {"256-epochs-of-10000", 10_000, 256}} {
		b.Run(bc.name, func(b *testing.B) {
			s := benchSituation(bc.n, bc.depth)
			tree := s.tree()
			for b.Loop() {
				tree.Choose(s.votes, s.isCovered)
			}
		})
	}
}
