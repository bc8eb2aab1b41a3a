package agree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Action is something that the caller has to do, in the transaction that stores
// the machine or after it. Actions are done in order; what an input that follows
// from one asks for is done after those that wait. By then an Enter may be of an
// epoch that is held, and a Publish of one that is no longer the head: these are
// skipped. Enter, Publish, Fetch and Resync are asked for again while they are
// wanted; the others are said once.
type Action interface{ action() }

type (
	// Enter asks to work out an epoch's secrets from its parent's, which are held:
	// evaluate the init function, process the commit and, when its confirmation tag
	// has verified, puncture and store. Say [Machine.Entered] or [Machine.Failed].
	// It is asked again until then. If Welcome is set the commit resynchronises this
	// member, and the secrets come by a Welcome.
	Enter struct {
		Epoch, Parent CID
		Welcome       bool
	}
	// Move says that the head is another. Left are the epochs of the branch that was
	// left, the oldest first, if From is not above To: what state-changing messages
	// of theirs did is withdrawn, and own messages not everyone could read are sent
	// again. Taken are those of the way to To.
	Move struct {
		From, To    CID
		Left, Taken []CID
	}
	// Publish asks for a statement: sign it, give it to [Machine.State], publish it.
	Publish struct {
		Head CID
		Seq  uint64
	}
	// Fetch asks other members for bundles and orders that something known refers
	// to.
	Fetch struct {
		Epochs []CID
		Orders []OrderID
	}
	// Resync asks for an own Resync order with a fresh key package, as the chain
	// went where this member cannot follow. It is asked again while that is so.
	Resync struct{ Head CID }
	// Settled says that an epoch may have effects outside: its Welcomes are sent,
	// its exporter used.
	Settled struct{ Epoch CID }
	// Removed says that the chain goes on without this member: it is not in Epoch.
	Removed struct{ Epoch CID }
	// Forget asks to delete all secrets of an epoch.
	Forget struct{ Epoch CID }
	// Accuse hands out a proof that is new: publish it, and whoever may gives an
	// order to remove the device.
	Accuse struct{ Proof *Equivocation }
	// Expel says that a leaf has been silent for so long that it should be removed.
	Expel struct{ Leaf Leaf }
)

func (Enter) action()   {}
func (Move) action()    {}
func (Publish) action() {}
func (Fetch) action()   {}
func (Resync) action()  {}
func (Settled) action() {}
func (Removed) action() {}
func (Forget) action()  {}
func (Accuse) action()  {}
func (Expel) action()   {}

const (
	// resyncEvery is how long an own Resync may take before it is asked for again.
	resyncEvery = 30 * time.Second
	// stateEvery is how often members of large groups state settled epochs.
	stateEvery = 10 * time.Minute
)

// advance is what every input ends with.
func (m *Machine) advance(now time.Duration) []Action {
	m.retry(now)
	var out []Action
	for _, proof := range m.fresh {
		out = append(out, Accuse{proof})
	}
	m.fresh = nil
	c := m.choose()
	out = append(out, m.follow(&c, now)...)
	out = append(out, m.release(&c, now)...)
	out = append(out, m.state(&c, now)...)
	return append(out, m.fetch()...)
}

func (m *Machine) choose() Choice {
	return m.rules.choose(m.tree, m.statements.Votes(), m.orders.Covers)
}

// follow goes to the head, or as near as this member can.
func (m *Machine) follow(c *Choice, now time.Duration) []Action {
	d := len(c.Chain) - 1
	for d >= 0 && m.local[c.Chain[d]].keys != keysHeld {
		d--
	}
	if d == len(c.Chain)-1 {
		return m.move(c.Chain[d], now)
	}
	var out []Action
	if d >= 0 {
		// What leads only away from the chain is left, even if the way on is barred.
		stay := m.tree.epochs[m.at]
		if stay.depth <= d || stay.line()[d].CID != c.Chain[d] {
			out = m.move(c.Chain[d], now)
		}
	}
	if !slices.Contains(m.members(c.Head()), m.o.Self) {
		if !m.out {
			m.out = true
			out = append(out, Removed{c.Head()})
		}
		return out
	}
	// A commit on the way that resynchronised this member has a Welcome for it.
	for i := len(c.Chain) - 1; i > d && i > 0; i-- {
		e := m.tree.epochs[c.Chain[i]]
		if slices.Contains(e.Added, m.o.Self) && m.local[e.CID].keys == keysNone {
			return append(append(out, Enter{e.CID, e.Parent, true}), m.resync(c, now)...)
		}
	}
	if d < 0 {
		return append(out, m.resync(c, now)...)
	}
	next := c.Chain[d+1]
	switch l := m.local[next]; {
	case l.keys == keysNone && m.local[c.Chain[d]].children < MaxEntered:
		return append(out, Enter{next, c.Chain[d], false})
	case l.keys == keysFailed && c.Settled <= d+1:
		// Who cannot open a commit does not support it: it may yet lose.
		return out
	}
	return append(out, m.resync(c, now)...)
}

// resync asks for one, unless one is under way.
func (m *Machine) resync(c *Choice, now time.Duration) []Action {
	if m.resynced >= 0 && now-m.resynced < resyncEvery {
		return nil
	}
	m.resynced = now
	return []Action{Resync{c.Head()}}
}

func (m *Machine) move(to CID, now time.Duration) []Action {
	if to == m.at {
		return nil
	}
	from, way := m.tree.epochs[m.at].line(), m.tree.epochs[to].line()
	common := 0
	for common < min(len(from), len(way)) && from[common] == way[common] {
		common++
	}
	act := Move{From: m.at, To: to}
	for _, e := range from[common:] {
		act.Left = append(act.Left, e.CID)
		m.local[e.CID].left = now
		m.local[e.CID].released = false
	}
	for _, e := range way[common:] {
		act.Taken = append(act.Taken, e.CID)
	}
	m.local[m.at].left = now
	m.at, m.out = to, false
	return []Action{act}
}

// release says which epochs of the chain are settled, or were without a rival for
// long enough.
func (m *Machine) release(c *Choice, now time.Duration) (out []Action) {
	head := m.tree.epochs[m.at]
	for i, e := range head.line() {
		l := m.local[e.CID]
		if l.released {
			continue
		}
		if i >= len(c.Chain) || c.Chain[i] != e.CID {
			break
		}
		alone := e.parent == nil || len(e.parent.children) == 1
		if i >= c.Settled && !(alone && now-l.entered >= m.o.Policy.Unchallenged) {
			break
		}
		l.released = true
		out = append(out, Settled{e.CID})
	}
	return out
}

// state asks for a statement if others do not know where this member is.
func (m *Machine) state(c *Choice, now time.Duration) []Action {
	if v, ok := m.statements.Of(m.o.Self.Device); ok && v.Head == m.at {
		return nil
	}
	if !slices.Contains(m.members(m.at), m.o.Self) {
		return nil
	}
	if len(c.Chain) == c.Settled && now-m.stated < stateEvery && accounts(m.members(m.at)) > LargeGroup {
		return nil
	}
	seq, err := m.statements.Seq(m.o.Self.Account)
	if err != nil {
		return nil // it has used up what there is: it has no more votes
	}
	m.stated = now
	return []Action{Publish{m.at, seq}}
}

func accounts(leaves []Leaf) int {
	set := make(map[Account]bool, len(leaves))
	for _, l := range leaves {
		set[l.Account] = true
	}
	return len(set)
}

// fetch asks for what is referred to and not known.
func (m *Machine) fetch() []Action {
	epochs, orders := make(map[CID]bool), make(map[OrderID]bool)
	for _, w := range m.bundles {
		if m.bundles[w.node.Parent] == nil && m.local[w.node.Parent] == nil {
			epochs[w.node.Parent] = true
		}
		for _, o := range w.Orders {
			m.fetchFor(o, epochs, orders)
		}
	}
	for _, s := range m.unverified {
		if m.bundles[s.Head] == nil && m.local[s.Head] == nil {
			epochs[s.Head] = true
		}
	}
	for _, o := range m.waiting {
		m.fetchFor(o, epochs, orders)
	}
	if len(epochs)+len(orders) == 0 {
		return nil
	}
	var f Fetch
	f.Epochs = sortedKeys(epochs, CID.compare)
	f.Orders = sortedKeys(orders, OrderID.compare)
	f.Epochs = f.Epochs[:min(len(f.Epochs), MaxFetch)]
	f.Orders = f.Orders[:min(len(f.Orders), MaxFetch)]
	return []Action{f}
}

func (m *Machine) fetchFor(o *Order, epochs map[CID]bool, orders map[OrderID]bool) {
	if m.local[o.Basis] == nil && m.bundles[o.Basis] == nil {
		epochs[o.Basis] = true
	}
	for _, h := range o.Heads {
		if m.orders.Get(h) == nil && m.waiting[h] == nil {
			orders[h] = true
		}
	}
}

// ErrBarrier is returned by [Machine.MaySend] while the head has a leaf that a
// known order removes.
var ErrBarrier = errors.New("agree: a removal has to be committed first")

// MaySend returns [ErrBarrier] while a leaf of the head is covered by an order
// that this member knows: nothing is sent there, but a commit that executes it.
func (m *Machine) MaySend() error {
	for _, l := range m.members(m.at) {
		if m.orders.Covers(l) {
			return fmt.Errorf("%w: of %v", ErrBarrier, l.Device)
		}
	}
	return nil
}

// Covered returns the leaves of the head that its next commit has to remove.
func (m *Machine) Covered() (out []Leaf) {
	for _, l := range m.members(m.at) {
		if m.orders.Covers(l) {
			out = append(out, l)
		}
	}
	return out
}

// Pending returns the orders that the next commit in the head should execute, each
// after its heads, at most [MaxBundleOrders]: those in force that the chain has
// not executed and that still have an object. A Remove is pending while a leaf of
// its target is covered.
func (m *Machine) Pending() []*Order {
	done := make(map[OrderID]bool)
	for _, e := range m.tree.epochs[m.at].line() {
		for _, id := range e.Orders {
			done[id] = true
		}
	}
	present := make(map[Account][]Leaf)
	for _, l := range m.members(m.at) {
		present[l.Account] = append(present[l.Account], l)
	}
	var out []*Order
	for _, e := range m.orders.list {
		if len(out) == MaxBundleOrders {
			break
		}
		if !m.orders.Holds(e.id) || e.Kind != OrderRemove && (done[e.id] || m.executed[e.id]) {
			continue
		}
		if m.hasObject(e, present[e.Target]) {
			out = append(out, e.Order)
		}
	}
	return out
}

func (m *Machine) hasObject(e *entry, leaves []Leaf) bool {
	free := func(l Leaf) bool { return !m.orders.Covers(l) }
	switch e.Kind {
	case OrderAdd:
		return free(Leaf{Account: e.Target, Added: e.id})
	case OrderRemove:
		return slices.ContainsFunc(leaves, func(l Leaf) bool {
			return !free(l) && (e.TargetDevice == Device{} || e.TargetDevice == l.Device)
		})
	case OrderResync:
		return slices.ContainsFunc(leaves, func(l Leaf) bool { return free(l) && l.Device == e.Device })
	}
	return slices.ContainsFunc(leaves, free)
}

// commitRound is how long a commit takes to reach everybody.
const commitRound = 150 * time.Millisecond

// Turn returns how long this member waits before it commits in the head, unless
// another's commit comes first: those who win the lottery go first, the more
// rivals there were in the last ten epochs the further apart.
func (m *Machine) Turn() time.Duration {
	head := m.tree.epochs[m.at]
	rivals := 0
	for e, i := head, 0; e.parent != nil && i < 10; e, i = e.parent, i+1 {
		rivals += len(e.parent.children) - 1
	}
	own := head.seed.next(m.o.Self.Account)
	before, all := 0, make(map[Account]bool)
	for _, l := range m.members(m.at) {
		if all[l.Account] {
			continue
		}
		all[l.Account] = true
		ticket := head.seed.next(l.Account)
		if bytes.Compare(ticket[:], own[:]) < 0 {
			before++
		}
	}
	spread := 3 * time.Duration(rivals+1) * commitRound
	return spread * time.Duration(before) / time.Duration(max(1, len(all)))
}
