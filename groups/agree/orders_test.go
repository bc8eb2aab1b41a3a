package agree

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// plot is a set of orders by name.
type plot struct {
	t   *testing.T
	set Orders
	ids map[string]OrderID
}

func newPlot(t *testing.T) *plot { return &plot{t: t, ids: map[string]OrderID{}} }

// order puts one in, which its issuer gave when it knew those named after.
func (p *plot) order(name string, issuer int, kind Kind, target int, after ...string) {
	p.t.Helper()
	o := &Order{GroupID: testGroup, Issuer: accountOf(issuer), Device: deviceOf(10 * issuer), Basis: cidOf(0), Kind: kind, Target: accountOf(target)}
	o.Payload = []byte(name)
	for _, a := range after {
		o.Heads = append(o.Heads, p.ids[a])
	}
	if err := p.set.Put(o, false); err != nil {
		p.t.Fatal(err)
	}
	p.ids[name] = o.ID()
}

func (p *plot) holds(want ...string) {
	p.t.Helper()
	for name, id := range p.ids {
		if got := p.set.Holds(id); got != slices.Contains(want, name) {
			p.t.Errorf("%s holds: %v", name, got)
		}
	}
}

func (p *plot) leaf(account int, added string) Leaf {
	l := leafOf(account, 0)
	l.Added = p.ids[added]
	return l
}

const alice, bob, carol, dave = 0, 1, 2, 3

func TestRemoveWins(t *testing.T) {
	p := newPlot(t)
	p.order("add bob", alice, OrderAdd, bob)
	p.order("remove bob", carol, OrderRemove, bob, "add bob")
	p.order("add bob meanwhile", alice, OrderAdd, bob, "add bob")
	p.order("add bob again", alice, OrderAdd, bob, "remove bob")
	for added, want := range map[string]bool{"": true, "add bob": true, "add bob meanwhile": true, "add bob again": false} {
		if got := p.set.Covers(p.leaf(bob, added)); got != want {
			t.Errorf("bob by %q is covered: %v", added, got)
		}
	}
	if p.set.Covers(p.leaf(dave, "")) {
		t.Error("dave is covered")
	}
	p.order("remove bob again", carol, OrderRemove, bob, "add bob again")
	if !p.set.Covers(p.leaf(bob, "add bob again")) {
		t.Error("bob is not covered by the second removal")
	}
	one := &Order{Issuer: accountOf(alice), Kind: OrderRemove, Target: accountOf(dave), TargetDevice: deviceOf(31)}
	if err := p.set.Put(one, false); err != nil {
		t.Fatal(err)
	}
	if p.set.Covers(leafOf(dave, 0)) || !p.set.Covers(leafOf(dave, 1)) {
		t.Error("the removal of one device covers another")
	}
}

// Whoever is removed can no longer give orders, also backdated ones; but of two
// who remove each other both go.
func TestVoidOrders(t *testing.T) {
	p := newPlot(t)
	p.order("known", bob, OrderAdd, dave)
	p.order("remove bob", alice, OrderRemove, bob, "known")
	p.order("backdated", bob, OrderRemove, carol)
	p.order("backdated add", bob, OrderAdd, carol)
	p.order("revenge", bob, OrderRemove, alice)
	p.holds("known", "remove bob", "revenge")
	if !p.set.Covers(p.leaf(alice, "")) || !p.set.Covers(p.leaf(bob, "")) || p.set.Covers(p.leaf(carol, "")) {
		t.Error("covers other leaves than alice's and bob's")
	}
	if !p.set.Covers(p.leaf(carol, "backdated add")) {
		t.Error("who came by a void order stays")
	}
}

// An order that is void makes nothing void.
func TestVoidByVoid(t *testing.T) {
	p := newPlot(t)
	p.order("remove dave", carol, OrderRemove, dave)
	p.order("remove bob", alice, OrderRemove, bob)
	p.order("remove carol, backdated", bob, OrderRemove, carol)
	p.holds("remove dave", "remove bob")
}

func TestDemotion(t *testing.T) {
	p := newPlot(t)
	p.order("demote bob", alice, OrderDemote, bob)
	p.order("remove carol", bob, OrderRemove, carol)
	p.order("leave", bob, OrderRemove, bob)
	p.order("demote alice", bob, OrderDemote, alice)
	p.order("resync", bob, OrderResync, bob)
	p.holds("demote bob", "leave", "demote alice", "resync")
}

// To leave does not take back what one ordered.
func TestLeavingVoidsNothing(t *testing.T) {
	p := newPlot(t)
	p.order("remove carol", bob, OrderRemove, carol)
	p.order("leave", bob, OrderRemove, bob)
	p.holds("remove carol", "leave")
}

// Removals in a circle all apply, and void nothing.
func TestCircle(t *testing.T) {
	p := newPlot(t)
	p.order("a removes b", alice, OrderRemove, bob)
	p.order("b removes c", bob, OrderRemove, carol)
	p.order("c removes a", carol, OrderRemove, alice)
	p.order("b adds d", bob, OrderAdd, dave)
	p.holds("a removes b", "b removes c", "c removes a")
}

func TestOrdersBounds(t *testing.T) {
	var s Orders
	if err := s.Put(&Order{Issuer: "x", Heads: []OrderID{orderOf(1)}}, false); !errors.Is(err, ErrUnknownOrder) || len(s.All()) != 0 {
		t.Errorf("order after an unknown one: %v", err)
	}
	fill := func(k Kind, n int) error {
		for i := range n {
			if err := s.Put(&Order{Issuer: "x", Kind: k, Basis: cidOf(uint64(i))}, false); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fill(OrderAdd, MaxOrdersPerIssuer); err != nil {
		t.Fatal(err)
	}
	if err := fill(OrderAdd, MaxOrdersPerIssuer+1); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the quota: %v", err)
	}
	if err := fill(OrderRemove, MaxRemoves); err != nil {
		t.Errorf("adds count against removals: %v", err)
	}
	if err := fill(OrderRemove, MaxRemoves+1); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the quota of removals: %v", err)
	}
	// What a commit executes does not count, also when it is known before.
	if err := s.Put(&Order{Issuer: "x", Kind: OrderAdd, Basis: cidOf(1 << 20)}, true); err != nil {
		t.Errorf("executed: %v", err)
	}
	for range 2 {
		if err := s.Put(&Order{Issuer: "x", Kind: OrderAdd, Basis: cidOf(0)}, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill(OrderAdd, MaxOrdersPerIssuer+1); err != nil {
		t.Errorf("after one was executed: %v", err)
	}
	if err := fill(OrderAdd, MaxOrdersPerIssuer+2); !errors.Is(err, ErrFull) {
		t.Errorf("one executed order made room for two: %v", err)
	}
	if heads := s.Heads("y"); len(heads) != MaxHeads {
		t.Errorf("%d heads", len(heads))
	}
}

// A head that matters to the account is among the heads, however many there are.
func TestHeadsThatMatter(t *testing.T) {
	p := newPlot(t)
	p.order("remove bob", alice, OrderRemove, bob)
	for i := range 3 * MaxHeads {
		o := &Order{Issuer: accountOf(alice), Kind: OrderRemove, Target: Account(cidOf(uint64(i)).String())}
		if err := p.set.Put(o, false); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(p.set.Heads(accountOf(bob)), p.ids["remove bob"]) {
		t.Error("the removal is not among the heads")
	}
	p.order("later", alice, OrderPromote, dave, "remove bob")
	if !slices.Contains(p.set.Heads(accountOf(bob)), p.ids["later"]) {
		t.Error("what came after the removal is not among the heads")
	}
}

// Verdicts depend on the set, not on how it came, and come out as a slow reading
// of the rule has it.
func TestOrdersAnyWay(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	voids, circles := 0, 0
	for round := range 2000 {
		var made []*Order
		for range 2 + r.IntN(9) {
			o := &Order{Issuer: accountOf(r.IntN(4)), Kind: Kind(1 + r.IntN(5)), Target: accountOf(r.IntN(4)), Basis: cidOf(r.Uint64N(1000))}
			o.Device = deviceOf(r.IntN(2))
			if o.Kind == OrderRemove && r.IntN(4) == 0 {
				o.TargetDevice = deviceOf(r.IntN(2))
			}
			if o.Kind == OrderResync {
				o.Target = o.Issuer
			}
			for _, m := range made {
				if r.IntN(3) == 0 {
					o.Heads = append(o.Heads, m.ID())
				}
			}
			made = append(made, o)
		}
		var x, y Orders
		for _, o := range made {
			if err := x.Put(o, false); err != nil {
				t.Fatal(err)
			}
			if r.IntN(3) == 0 {
				x.Holds(o.ID()) // in between, which must not matter
			}
		}
		wait := slices.Clone(made)
		r.Shuffle(len(wait), func(i, j int) { wait[i], wait[j] = wait[j], wait[i] })
		for len(wait) > 0 {
			wait = slices.DeleteFunc(wait, func(o *Order) bool { return y.Put(o, false) == nil })
		}
		want := slowVerdicts(made)
		for _, o := range made {
			if x.Holds(o.ID()) != y.Holds(o.ID()) || x.known[o.ID()].verdict != want[o.ID()] {
				t.Fatalf("round %d: %v in one order, %v in another, should be %v", round, x.known[o.ID()].verdict, y.known[o.ID()].verdict, want[o.ID()])
			}
			if want[o.ID()] == void {
				voids++
			}
			if want[o.ID()] == undecided {
				circles++
			}
		}
		for a := range 4 {
			l := Leaf{accountOf(a), deviceOf(r.IntN(2)), made[r.IntN(len(made))].ID()}
			if x.Covers(l) != y.Covers(l) {
				t.Fatalf("round %d: %v covered in one order only", round, l)
			}
		}
		for a := range 4 {
			if !slices.Equal(x.Heads(accountOf(a)), y.Heads(accountOf(a))) {
				t.Fatalf("round %d: other heads in another order", round)
			}
		}
	}
	if voids < 100 || circles < 10 {
		t.Errorf("%d void, %d in circles: the cases have become dull", voids, circles)
	}
}

// slowVerdicts reads the rule as docs/spec.md has it.
func slowVerdicts(all []*Order) map[OrderID]verdict {
	byID := map[OrderID]*Order{}
	for _, o := range all {
		byID[o.ID()] = o
	}
	var knew func(o *Order, id OrderID) bool
	knew = func(o *Order, id OrderID) bool {
		return slices.ContainsFunc(o.Heads, func(h OrderID) bool { return h == id || knew(byID[h], id) })
	}
	takes := func(o *Order) bool { return o.Kind == OrderRemove || o.Kind == OrderDemote }
	voids := func(e, o *Order) bool {
		switch {
		case !takes(e), e.Target != o.Issuer, e.Issuer == o.Issuer, knew(e, o.ID()):
			return false
		case e.TargetDevice != Device{} && e.TargetDevice != o.Device:
			return false
		case takes(o) && o.Target == e.Issuer: // each other
			return false
		case o.Kind == OrderRemove && o.Target == o.Issuer: // leaving
			return false
		case o.Kind == OrderResync && e.Kind == OrderDemote: // needs no admin
			return false
		}
		return true
	}
	out := map[OrderID]verdict{}
	for range 2 * len(all) {
		for _, o := range all {
			safe := true
			for _, e := range all {
				if voids(e, o) {
					if out[e.ID()] == holds {
						out[o.ID()] = void
					}
					safe = safe && out[e.ID()] == void
				}
			}
			if safe {
				out[o.ID()] = holds
			}
		}
	}
	return out
}
