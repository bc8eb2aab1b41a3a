package agree

import (
	"fmt"
	"slices"
)

// Orders are the orders of a group, a set that only grows. Which of them hold,
// and which leaves they cover, depends on the set alone.
type Orders struct {
	known   map[OrderID]*entry
	list    []*entry             // as they came
	removes map[Account][]*entry // Remove orders by target
	counts  map[Account]*orderCount
	dirty   bool // verdicts have to be worked out again
}

type entry struct {
	*Order
	id      OrderID
	index   int // in list
	past    bitset
	after   bool // some order has it among its heads
	bound   bool // some commit executes it
	verdict verdict
}

type orderCount struct{ removes, others int }

// verdict is whether an order holds.
type verdict int8

const (
	undecided verdict = iota
	holds
	void
)

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(i int) bool { return i/64 < len(b) && b[i/64]>>(i%64)&1 == 1 }

func (b *bitset) add(i int) {
	for len(*b) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

func (b *bitset) union(o bitset) {
	for len(*b) < len(o) {
		*b = append(*b, 0)
	}
	for i, w := range o {
		(*b)[i] |= w
	}
}

// Put takes in an order that was verified. bound says that a commit executes it:
// such orders are bounded by the commits, others by quotas of their issuer. It
// returns [ErrUnknownOrder] if some of its heads are not known, and [ErrFull].
// It does nothing if the order is known, but for noting bound.
func (s *Orders) Put(o *Order, bound bool) error {
	id := o.ID()
	if e := s.known[id]; e != nil {
		if bound && !e.bound {
			e.bound = true
			s.count(e, -1)
		}
		return nil
	}
	e := &entry{Order: o, id: id, index: len(s.list), bound: bound}
	var heads []*entry
	for _, h := range o.Heads {
		head := s.known[h]
		if head == nil {
			return fmt.Errorf("%w: %v, before %v", ErrUnknownOrder, h, id)
		}
		heads = append(heads, head)
	}
	if len(s.list) >= MaxOrders {
		return fmt.Errorf("%w: orders", ErrFull)
	}
	if c := s.counts[o.Issuer]; !bound && c != nil &&
		(o.Kind == OrderRemove && c.removes >= MaxRemoves || o.Kind != OrderRemove && c.others >= MaxOrdersPerIssuer) {
		return fmt.Errorf("%w: orders of one issuer", ErrFull)
	}
	for _, h := range heads {
		h.after = true
		e.past.union(h.past)
		e.past.add(h.index)
	}
	if s.known == nil {
		s.known, s.counts = make(map[OrderID]*entry), make(map[Account]*orderCount)
		s.removes = make(map[Account][]*entry)
	}
	s.known[id] = e
	s.list = append(s.list, e)
	if o.Kind == OrderRemove {
		s.removes[o.Target] = append(s.removes[o.Target], e)
	}
	s.dirty = true
	if !bound {
		s.count(e, 1)
	}
	return nil
}

// count keeps the quota of the issuer.
func (s *Orders) count(e *entry, n int) {
	c := s.counts[e.Issuer]
	if c == nil {
		c = new(orderCount)
		s.counts[e.Issuer] = c
	}
	if e.Kind == OrderRemove {
		c.removes += n
	} else {
		c.others += n
	}
}

// Get returns an order, or nil.
func (s *Orders) Get(id OrderID) *Order {
	if e := s.known[id]; e != nil {
		return e.Order
	}
	return nil
}

// All returns the orders, each after its heads.
func (s *Orders) All() []*Order {
	out := make([]*Order, len(s.list))
	for i, e := range s.list {
		out[i] = e.Order
	}
	return out
}

// Heads returns what a new order that concerns an account names as its Heads: the
// orders that none came after, at most [MaxHeads] of them, those first that are
// by or about the account or came after such.
func (s *Orders) Heads(about Account) []OrderID {
	var of []int
	for _, e := range s.list {
		if e.Issuer == about || e.Target == about {
			of = append(of, e.index)
		}
	}
	var near, far []OrderID
	for _, e := range s.list {
		switch {
		case e.after:
		case slices.ContainsFunc(of, func(i int) bool { return i == e.index || e.past.has(i) }):
			near = append(near, e.id)
		default:
			far = append(far, e.id)
		}
	}
	slices.SortFunc(near, OrderID.compare)
	slices.SortFunc(far, OrderID.compare)
	out := append(near, far...)
	out = out[:min(len(out), MaxHeads)]
	slices.SortFunc(out, OrderID.compare)
	return out
}

// Holds reports whether an order is to be executed: it is known and not void.
func (s *Orders) Holds(id OrderID) bool {
	e := s.known[id]
	if e == nil {
		return false
	}
	s.judge()
	return e.inForce()
}

// inForce: where removals of admins go in a circle, all of them apply.
func (e *entry) inForce() bool {
	return e.verdict == holds || e.verdict == undecided && e.Kind == OrderRemove
}

// Covers reports whether a leaf has to go: a Remove order covers it, or the order
// that brought it in is void.
//
// A Remove order covers every leaf of its target, or of its target's device, but
// those that came in by an order after it. As a leaf keeps the order by which
// its account came in, a resync does not lift a removal.
func (s *Orders) Covers(l Leaf) bool {
	s.judge()
	added := s.known[l.Added]
	if added != nil && !added.inForce() {
		return true
	}
	for _, e := range s.removes[l.Account] {
		if !e.inForce() {
			continue
		}
		if e.TargetDevice != (Device{}) && e.TargetDevice != l.Device {
			continue
		}
		if added == nil || !added.past.has(e.index) {
			return true
		}
	}
	return false
}

// voids reports whether e, if it holds, makes another order void: e removes, or
// demotes, who gave it, and its issuer did not know of it. But who removed or
// demoted e's issuer did: of two admins who remove each other, both go. To leave
// takes nothing back, nor does a demotion what needs no admin.
func (e *entry) voids(o *entry) bool {
	takes := e.Kind == OrderRemove || e.Kind == OrderDemote
	if !takes || e.Target != o.Issuer || e.Issuer == o.Issuer || e.past.has(o.index) {
		return false
	}
	if e.TargetDevice != (Device{}) && e.TargetDevice != o.Device {
		return false
	}
	against := (o.Kind == OrderRemove || o.Kind == OrderDemote) && o.Target == e.Issuer
	itself := o.Target == o.Issuer && (o.Kind == OrderRemove || o.Kind == OrderResync && e.Kind == OrderDemote)
	return !against && !itself
}

// judge works out which orders hold: those that only void orders would make void;
// void are those that one which holds makes so. What is left, in circles, is
// undecided.
func (s *Orders) judge() {
	if !s.dirty {
		return
	}
	s.dirty = false
	against := make([][]*entry, len(s.list)) // who would make it void
	byIssuer := make(map[Account][]*entry)
	for _, e := range s.list {
		e.verdict = undecided
		byIssuer[e.Issuer] = append(byIssuer[e.Issuer], e)
	}
	for _, e := range s.list {
		if e.Kind != OrderRemove && e.Kind != OrderDemote {
			continue
		}
		for _, o := range byIssuer[e.Target] {
			if e.voids(o) {
				against[o.index] = append(against[o.index], e)
			}
		}
	}
	for changed := true; changed; {
		changed = false
		for _, e := range s.list {
			if e.verdict != undecided {
				continue
			}
			open := false
			for _, a := range against[e.index] {
				if a.verdict == holds {
					e.verdict = void
					break
				}
				open = open || a.verdict == undecided
			}
			if e.verdict == undecided && !open {
				e.verdict = holds
			}
			changed = changed || e.verdict != undecided
		}
	}
}
