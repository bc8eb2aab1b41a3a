package agree

import (
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// A simulation of a group without cryptography: machines on a bad network, of
// which two may be colluders. Keys are who has entered an epoch; signatures say
// "true" if the signer could make them. docs/spec.md, "Agreement".

var (
	simRuns = flag.Int("agree.runs", 10, "random schedules to simulate")
	// The default is not fresh while a violation is known: in 10103143520033409227 two
	// colluders settle 200 epochs while the three others, and no quorum with them,
	// are away for longer than secrets are kept; they are left to be resynchronised
	// by the colluders alone, who do not.
	simSeed = flag.Uint64("agree.seed", 300, "seed of the first schedule; 0 takes a fresh one")
	simDump = flag.Bool("agree.dump", false, "print what members know when a schedule fails")
)

// mutant is a rule left out, which the simulation must notice.
type mutant string

const (
	longestChain   mutant = "longest chain"
	lotteryOnly    mutant = "lottery only"
	noBarrier      mutant = "no send barrier"
	firstStatement mutant = "of two statements with one seq the first counts"
)

type world struct {
	r       *rand.Rand
	mutant  mutant
	now     time.Duration
	queue   events
	seq     int
	group   []byte
	root    CID
	members []*member
	bundles map[CID]*waitingBundle
	beacons map[CID]bool
	admins  map[Account]bool
	side    []int // which part of the network a member is in
	loss    float64
	fork    time.Duration // for which secrets are kept: shorter than a policy may say
	calm    bool          // everything is healed
	words   []*word
	err     error
}

type member struct {
	*world
	n        int
	leaf     Leaf
	m        *Machine
	entered  map[CID]bool // ever made the secrets of
	deleted  map[CID]bool
	offline  bool
	removed  bool
	colluder bool
	stash    []func() // what a colluder withholds from the others
	commits  int      // scheduled and not cancelled
	stated   []*Statement
	proofs   []*Equivocation
	moves    int
}

// word is something that was said.
type word struct {
	epoch   CID
	sender  int
	removed map[Leaf]bool // whose removal the sender knew
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + d, w.seq, do})
}

func (w *world) run(until time.Duration) {
	for w.err == nil && len(w.queue) > 0 && w.queue[0].at <= until {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %v: %s", w.now, fmt.Sprintf(format, args...))
	}
}

// honest is the verifier of a member: what was signed with keys the signer had
// carries the signature "true".
type honest struct{ *member }

func (h honest) VerifyDevice(_ Account, _ Device, _ string, _, sig []byte) error {
	if string(sig) != "true" {
		return ErrSignature
	}
	return nil
}

func (h honest) VerifyBeacon(e CID, _ string, _, sig []byte) error {
	if h.m.local[e] == nil {
		return ErrUnknownEpoch
	}
	return h.VerifyDevice("", Device{}, "", nil, sig)
}

func (h honest) MayOrder(o *Order) error {
	if h.m.local[o.Basis] == nil {
		return ErrUnknownEpoch
	}
	if !h.admins[o.Issuer] && o.Issuer != o.Target {
		return ErrNotAllowed
	}
	return nil
}

func newWorld(seed uint64, mutant mutant) *world {
	w := &world{
		r: rand.New(rand.NewPCG(seed, 11)), mutant: mutant, group: testGroup, bundles: map[CID]*waitingBundle{},
		beacons: map[CID]bool{}, admins: map[Account]bool{},
	}
	w.fork = []time.Duration{30 * time.Second, 2 * time.Minute, 24 * time.Hour}[w.r.IntN(3)]
	w.root = sha256.Sum256(binary.BigEndian.AppendUint64([]byte("root"), seed))
	n := 4 + w.r.IntN(6)
	var leaves []Leaf
	for i := range n {
		leaves = append(leaves, leafOf(i, 0))
		if i < 3 {
			w.admins[accountOf(i)] = true
		}
	}
	for i := range n {
		m := &member{world: w, n: i, leaf: leaves[i], entered: map[CID]bool{w.root: true}, deleted: map[CID]bool{}}
		m.m = New(Options{GroupID: w.group, Self: m.leaf, Root: w.root, Seed: FirstSeed(w.group), Members: leaves, Verifier: honest{m}}, 0)
		m.mutate()
		w.members = append(w.members, m)
	}
	w.side = make([]int, n)
	w.loss = []float64{0, 0.1, 0.3}[w.r.IntN(3)]
	return w
}

// mutate sets what is not for users to set.
func (m *member) mutate() {
	m.m.o.Policy.Fork = m.fork
	switch m.mutant {
	case longestChain:
		m.m.rules.choose = func(t *Tree, _ []Vote, covered func(Leaf) bool) Choice {
			deepest := t.root
			for _, e := range t.epochs {
				if e.depth > deepest.depth || e.depth == deepest.depth && e.CID.compare(deepest.CID) < 0 {
					deepest = e
				}
			}
			return chainOf(deepest)
		}
	case lotteryOnly:
		m.m.rules.choose = func(t *Tree, _ []Vote, _ func(Leaf) bool) Choice {
			e := t.root
			for len(e.children) > 0 {
				e = slices.MinFunc(e.children, func(a, b *epoch) int {
					if a.seed != b.seed {
						return CID(a.seed).compare(CID(b.seed))
					}
					return a.CID.compare(b.CID)
				})
			}
			return chainOf(e)
		}
	case firstStatement:
		m.m.rules.put = func(s *Statements, in *Statement) error {
			if s.latest == nil {
				s.latest = map[Device][]*Statement{}
			}
			if have := s.latest[in.Device]; len(have) > 0 && have[0].Seq >= in.Seq {
				return ErrStale
			}
			s.latest[in.Device] = []*Statement{in}
			return nil
		}
	}
}

func chainOf(e *epoch) (c Choice) {
	for _, at := range e.line() {
		c.Chain = append(c.Chain, at.CID)
	}
	c.Settled = len(c.Chain)
	return c
}

// connected reports whether what one member sends reaches another.
func (w *world) connected(a, b int) bool {
	return !w.members[a].offline && !w.members[b].offline && w.side[a] == w.side[b]
}

// broadcast hands something to all, by gossip. Colluders withhold it from others.
func (m *member) broadcast(deliver func(*member)) {
	for _, to := range m.members {
		if to == m {
			continue
		}
		if m.colluder && !to.colluder && !m.calm {
			m.stash = append(m.stash, func() { deliver(to) })
			continue
		}
		m.send(to, deliver)
	}
}

func (m *member) send(to *member, deliver func(*member)) {
	if m.r.Float64() < m.loss && !m.calm {
		return
	}
	delay := time.Duration(20+m.r.IntN(280)) * time.Millisecond
	m.after(delay, func() {
		if m.connected(m.n, to.n) {
			deliver(to)
		}
	})
}

func (m *member) takeBundle(cid CID) {
	b := m.bundles[cid]
	m.act(m.m.Receive(b.Bundle, b.node, m.now))
}

func (m *member) act(actions []Action, err error) {
	if err != nil && !errors.Is(err, ErrStale) && !errors.Is(err, ErrUnknownEpoch) && !errors.Is(err, ErrFull) {
		m.fail("member %d: %v", m.n, err)
	}
	for _, a := range actions {
		switch a := a.(type) {
		case Enter:
			m.doEnter(a)
		case Move:
			m.moves++
			m.removed = false
			if a.From == a.To {
				m.fail("member %d moves to where it is", m.n)
			}
		case Publish:
			m.publish(a.Head, a.Seq)
		case Fetch:
			m.doFetch(a)
		case Forget:
			m.deleted[a.Epoch] = true
		case Accuse:
			m.proofs = append(m.proofs, a.Proof)
		case Removed:
			m.removed = true
		case Resync:
			m.publishOrder(m.order(OrderResync, m.leaf.Account))
		}
	}
}

func (m *member) doEnter(a Enter) {
	switch {
	case m.entered[a.Epoch]:
		m.fail("member %d is to derive %v again", m.n, a.Epoch)
	case a.Welcome:
		author := m.byDevice(m.bundles[a.Epoch].node.Device)
		if author == nil || !m.connected(author.n, m.n) || author.colluder {
			return // no Welcome from there
		}
	case !m.entered[a.Parent] || m.deleted[a.Parent]:
		m.fail("member %d is to enter %v without the keys of its parent (entered %v, deleted %v, colluder %v)", m.n, a.Epoch, m.entered[a.Parent], m.deleted[a.Parent], m.colluder)
	}
	m.entered[a.Epoch] = true
	m.act(m.m.Entered(a.Epoch, m.now))
}

func (m *member) byDevice(d Device) *member {
	for _, o := range m.members {
		if o.leaf.Device == d {
			return o
		}
	}
	return nil
}

func (m *member) publish(head CID, seq uint64) {
	if next, _ := m.m.statements.Seq(m.leaf.Account); head != m.m.Head() || seq != next {
		return // an action before this one led on
	}
	s := &Statement{GroupID: m.group, Account: m.leaf.Account, Device: m.leaf.Device, Seq: seq, Head: head, Signature: []byte("true"), BeaconSignature: []byte("true")}
	if !m.entered[head] {
		m.fail("member %d states an epoch it has no keys of", m.n)
	}
	m.stated = append(m.stated, s)
	m.act(m.m.State(s, m.now))
	m.broadcast(func(to *member) { to.act(to.m.State(s, to.now)) })
	if m.colluder && m.r.IntN(3) == 0 && len(m.stated) > 1 {
		// Something else with the same seq, to some.
		old := *m.stated[m.r.IntN(len(m.stated))]
		old.Seq = seq
		for _, to := range m.members {
			if m.r.IntN(2) == 0 && to != m {
				m.send(to, func(to *member) { to.act(to.m.State(&old, to.now)) })
			}
		}
	}
}

func (m *member) doFetch(f Fetch) {
	for _, to := range m.members {
		if to == m || !m.connected(m.n, to.n) || m.r.IntN(3) > 0 || to.colluder && !m.colluder {
			continue
		}
		for _, cid := range f.Epochs {
			if to.m.local[cid] != nil && m.bundles[cid] != nil {
				to.send(m, func(m *member) { m.takeBundle(cid) })
			}
		}
		for _, id := range f.Orders {
			if o := to.m.orders.Get(id); o != nil {
				to.send(m, func(m *member) { m.act(m.m.Order(o, m.now)) })
			}
		}
	}
}

func (m *member) order(k Kind, target Account) *Order {
	o := &Order{GroupID: m.group, Issuer: m.leaf.Account, Device: m.leaf.Device, Basis: m.m.Head(), Kind: k, Target: target, Heads: m.m.orders.Heads(target), Signature: []byte("true")}
	if k == OrderResync {
		o.TargetDevice = m.leaf.Device
		o.Payload = binary.BigEndian.AppendUint64(nil, uint64(m.now))
	}
	return o
}

func (m *member) publishOrder(o *Order) {
	m.act(m.m.Order(o, m.now))
	m.broadcast(func(to *member) { to.act(to.m.Order(o, to.now)) })
}

// say sends a message on the head, unless the barrier is down.
func (m *member) say() {
	if err := m.m.MaySend(); err != nil && m.mutant != noBarrier {
		return
	}
	if m.removed || m.colluder {
		return
	}
	known := map[Leaf]bool{}
	for _, o := range m.members {
		if m.m.orders.Covers(o.leaf) {
			known[o.leaf] = true
		}
	}
	m.words = append(m.words, &word{m.m.Head(), m.n, known})
}

// commit makes a commit in the head, of what is pending.
func (m *member) commit() {
	m.commitOnce()
	if m.colluder && m.r.IntN(4) == 0 {
		m.equivocate()
	}
}

func (m *member) commitOnce() {
	if m.offline || m.removed || !slices.Contains(m.m.Members(m.m.Head()), m.leaf) || m.m.orders.Covers(m.leaf) && !m.colluder {
		return
	}
	b, n, ok := m.makeCommit()
	if !ok {
		return
	}
	m.bundles[n.CID] = &waitingBundle{b, n}
	m.entered[n.CID] = true
	m.stated = append(m.stated, b.Statement)
	m.act(m.m.Committed(b, n, m.now))
	m.broadcast(func(to *member) { to.takeBundle(n.CID) })
}

// equivocate makes a second commit in the parent of the head, and shows it to some.
func (m *member) equivocate() {
	head := m.m.tree.epochs[m.m.Head()]
	if head.parent == nil || head.Device != m.leaf.Device {
		return
	}
	b, n := m.bundleOf(head.parent.CID, Renewal, nil, nil, nil)
	m.bundles[n.CID] = &waitingBundle{b, n}
	m.broadcast(func(to *member) {
		if to.n%2 == 0 {
			to.takeBundle(n.CID)
		}
	})
}

func (m *member) makeCommit() (*Bundle, Node, bool) {
	head := m.m.Head()
	if m.m.local[head].children >= MaxEntered {
		return nil, Node{}, false
	}
	class := Renewal
	var orders []*Order
	var removed, added []Leaf
	for _, l := range m.m.Covered() {
		if l == m.leaf || m.colluder {
			continue // nobody removes itself; colluders remove nobody
		}
		removed = append(removed, l)
		class = Removal
	}
	for _, o := range m.m.Pending() {
		switch {
		case o.Kind == OrderRemove && (m.colluder || o.Target == m.leaf.Account):
			continue
		case o.Kind == OrderResync:
			if m.colluder || o.Issuer == m.leaf.Account {
				continue
			}
			removed = append(removed, Leaf{Account: o.Issuer, Device: o.Device})
			added = append(added, Leaf{Account: o.Issuer, Device: o.Device})
			class = max(class, Change)
		default:
			class = max(class, Change)
		}
		orders = append(orders, o)
	}
	b, n := m.bundleOf(head, class, orders, removed, added)
	return b, n, true
}

func (m *member) bundleOf(parent CID, class Class, orders []*Order, removed, added []Leaf) (*Bundle, Node) {
	m.world.seq++
	raw := binary.BigEndian.AppendUint64([]byte("commit"), uint64(m.world.seq))
	n := Node{CID: sha256.Sum256(raw), Parent: parent, Author: m.leaf.Account, Device: m.leaf.Device, Class: class, Removed: removed, Added: added}
	for _, o := range orders {
		n.Orders = append(n.Orders, o.ID())
	}
	seq, err := m.m.statements.Seq(m.leaf.Account)
	if err != nil {
		m.fail("no seq: %v", err)
	}
	return &Bundle{
		Commit:       raw,
		Announcement: &Announcement{GroupID: m.group, Account: m.leaf.Account, Device: m.leaf.Device, Parent: parent, CID: n.CID, Signature: []byte("true")},
		Statement:    &Statement{GroupID: m.group, Account: m.leaf.Account, Device: m.leaf.Device, Seq: seq, Head: n.CID, Signature: []byte("true"), BeaconSignature: []byte("true")},
		Orders:       orders,
	}, n
}

// maybeCommit commits when there is something to do, in its turn.
func (m *member) maybeCommit() {
	if m.commits > 0 || m.offline || m.removed {
		return
	}
	idle := m.r.IntN(60) > 0 || m.calm
	if len(m.m.Pending())+len(m.m.Covered()) == 0 && idle && !(m.colluder && !m.calm && m.r.IntN(4) == 0) {
		return
	}
	m.commits++
	head := m.m.Head()
	m.after(m.m.Turn(), func() {
		m.commits--
		if m.m.Head() == head {
			m.commit()
		}
	})
}

// reconcile gives each of two members what the other has and it has not.
func (w *world) reconcile(a, b *member) {
	if a.colluder != b.colluder && !w.calm {
		return
	}
	for _, x := range [][2]*member{{a, b}, {b, a}} {
		from, to := x[0], x[1]
		for _, o := range from.m.orders.All() {
			if to.m.orders.Get(o.ID()) == nil {
				to.act(to.m.Order(o, w.now))
			}
		}
		for _, e := range from.m.sorted() {
			if to.m.local[e.CID] == nil && w.bundles[e.CID] != nil {
				to.takeBundle(e.CID)
			}
		}
		for _, s := range from.m.statements.All() {
			if !slices.ContainsFunc(to.m.statements.latest[s.Device], func(h *Statement) bool { return h.id() == s.id() }) {
				to.act(to.m.State(s, w.now))
			}
		}
		for _, p := range from.proofs {
			to.act(to.m.Convict(p, w.now))
		}
	}
}

// crash loses what is not stored.
func (m *member) crash() {
	stored := m.m.Marshal()
	again, err := Unmarshal(m.m.o, stored)
	if err != nil {
		m.fail("member %d: %v", m.n, err)
		return
	}
	if !bytes.Equal(again.Marshal(), stored) {
		m.fail("member %d: other state after a restart", m.n)
	}
	if !reflect.DeepEqual(again.choose(), m.m.choose()) && m.mutant == "" {
		m.fail("member %d: another choice after a restart", m.n)
	}
	m.m = again
	m.mutate()
	m.act(m.m.Tick(m.now), nil)
}

// live schedules what a member does all the time.
func (m *member) live() {
	m.after(time.Duration(500+m.r.IntN(1000))*time.Millisecond, func() {
		if !m.offline {
			m.act(m.m.Tick(m.now), nil)
			m.maybeCommit()
			if m.r.IntN(4) == 0 {
				m.say()
			}
			peer := m.members[m.r.IntN(len(m.members))]
			if peer != m && m.connected(m.n, peer.n) && m.r.IntN(8) == 0 {
				m.reconcile(m, peer)
			}
			if m.r.IntN(60) == 0 {
				m.crash()
			}
		}
		m.live()
	})
}

// simulate plays one schedule: trouble, then calm, then the checks.
func simulate(seed uint64, mutant mutant) error {
	w := newWorld(seed, mutant)
	r := w.r
	if r.IntN(2) == 0 && len(w.members) > 4 {
		w.members[len(w.members)-1].colluder = true
		w.members[len(w.members)-2].colluder = r.IntN(2) == 0
	}
	for _, m := range w.members {
		m.live()
	}
	length := time.Duration(60+r.IntN(240)) * time.Second
	at := func(do func()) { w.after(time.Duration(r.Int64N(int64(length))), do) }
	for range r.IntN(4) { // partitions
		from, to := time.Duration(r.Int64N(int64(length))), time.Duration(r.Int64N(int64(length)))
		w.after(min(from, to), func() {
			for i := range w.side {
				w.side[i] = r.IntN(2)
			}
		})
		w.after(max(from, to), func() { clear(w.side) })
	}
	for range r.IntN(4) { // absences
		m := w.members[r.IntN(len(w.members))]
		from, to := time.Duration(r.Int64N(int64(length))), time.Duration(r.Int64N(int64(length)))
		w.after(min(from, to), func() { m.offline = true })
		w.after(max(from, to), func() { m.offline = false })
	}
	for range 1 + r.IntN(3) { // orders
		at(func() {
			admin := w.members[r.IntN(3)]
			target := w.members[r.IntN(len(w.members))]
			if admin.offline || admin.removed || target == admin || len(admin.m.Members(admin.m.Head())) < 4 {
				return
			}
			kind := OrderRemove
			if r.IntN(3) == 0 {
				kind = OrderPromote
			}
			admin.publishOrder(admin.order(kind, target.leaf.Account))
		})
	}
	at(func() { // what was withheld comes out
		for _, m := range w.members {
			stash := m.stash
			m.stash = nil
			for _, deliver := range stash {
				w.after(time.Duration(r.IntN(3000))*time.Millisecond, deliver)
			}
		}
	})
	w.run(length)

	w.calm = true
	clear(w.side)
	for _, m := range w.members {
		m.offline = false
		for _, deliver := range m.stash {
			deliver()
		}
		m.stash = nil
	}
	w.run(length + 4*time.Minute)
	if w.err == nil {
		w.check()
		if w.err != nil && *simDump {
			w.dump()
		}
	}
	return w.err
}

// check is whether the invariants hold when all is calm.
func (w *world) check() {
	gone := func(m *member) bool {
		for _, o := range w.members {
			if o.m.orders.Covers(m.leaf) {
				return true
			}
		}
		// A removal that was executed stays so when its order becomes void.
		c := m.m.choose()
		return !slices.Contains(m.m.members(c.Head()), m.leaf) && len(m.m.orders.removes[m.leaf.Account]) > 0
	}
	var left []*member
	for _, m := range w.members {
		if !gone(m) && !m.colluder {
			left = append(left, m)
		}
	}
	// I3: nobody had the keys whose removal the sender knew.
	for _, said := range w.words {
		for _, m := range w.members {
			if said.removed[m.leaf] && m.entered[said.epoch] {
				w.fail("I3: member %d reads what %d said in %v after it knew of its removal", m.n, said.sender, said.epoch)
				return
			}
		}
	}
	if len(left) == 0 {
		return
	}
	first := left[0]
	for _, m := range left {
		// I1.
		if m.m.Head() != first.m.Head() {
			w.fail("I1: member %d is in %v, member %d in %v", first.n, first.m.Head(), m.n, m.m.Head())
			return
		}
		c := m.m.choose()
		if m.m.Head() != c.Head() {
			w.fail("I1: member %d is in %v and should be in %v", m.n, m.m.Head(), c.Head())
			return
		}
		// After healing all have the same sets.
		if x, y := votesOf(first), votesOf(m); !reflect.DeepEqual(x, y) {
			w.fail("I1: other votes: member %d %v, member %d %v", first.n, x, m.n, y)
			return
		}
		if len(m.m.orders.list) != len(first.m.orders.list) {
			w.fail("I1: member %d has %d orders, member %d %d", first.n, len(first.m.orders.list), m.n, len(m.m.orders.list))
			return
		}
		// I4.
		for _, o := range m.m.Pending() {
			w.fail("I4: order of kind %d about %q is not on the chain of member %d", o.Kind, o.Target, m.n)
			return
		}
		for _, l := range m.m.Covered() {
			w.fail("I4: %v is still there for member %d", l, m.n)
			return
		}
		// I8: in another order, and after a restart.
		s := &situation{root: m.m.tree.root.CID, seed: m.m.tree.root.seed, members: m.m.tree.members, votes: m.m.statements.Votes(), covered: map[Leaf]bool{}}
		for _, e := range m.m.sorted()[1:] {
			s.nodes = append(s.nodes, e.Node)
		}
		for _, o := range w.members {
			s.covered[o.leaf] = m.m.orders.Covers(o.leaf)
		}
		for key := range m.m.proofs {
			s.accused = append(s.accused, key)
		}
		if again := shuffled(s, w.r).choose(); w.mutant == "" && !reflect.DeepEqual(again, c) {
			w.fail("I8: %v in another order, %v", again.Chain, c.Chain)
			return
		}
	}
}

func votesOf(m *member) map[Vote]bool {
	set := map[Vote]bool{}
	for _, v := range m.m.statements.Votes() {
		set[v] = true
	}
	return set
}

func TestSimulation(t *testing.T) {
	first := *simSeed
	if first == 0 {
		first = rand.Uint64()
	}
	for i := range *simRuns {
		if err := simulate(first+uint64(i), ""); err != nil {
			t.Fatalf("-agree.seed=%d: %v", first+uint64(i), err)
		}
	}
}

// Every rule that is left out is noticed, within a bounded number of schedules.
// The first is one that was seen to fail, so that the test is short.
func TestMutants(t *testing.T) {
	const runs = 100
	for _, m := range []struct {
		mutant
		first uint64
	}{{longestChain, 2}, {lotteryOnly, 2}, {noBarrier, 3}, {firstStatement, 1}} {
		t.Run(string(m.mutant), func(t *testing.T) {
			for i := range uint64(runs) {
				if err := simulate(m.first+i, m.mutant); err != nil {
					t.Logf("in schedule %d: %v", m.first+i, err)
					return
				}
			}
			t.Errorf("not noticed in %d schedules", runs)
		})
	}
}

func (w *world) dump() {
	for _, m := range w.members {
		c := m.m.choose()
		fmt.Printf("member %d colluder %v removed %v offline %v head %v chosen %v settled %d/%d epochs %d orders %d pending %d covered %v moves %d\n", m.n, m.colluder, m.removed, m.offline, m.m.Head(), c.Head(), c.Settled, len(c.Chain), len(m.m.local), len(m.m.orders.list), len(m.m.Pending()), m.m.Covered(), m.moves)
		for _, v := range m.m.statements.Votes() {
			fmt.Printf("   vote %q seq %d head %v\n", v.Account, v.Seq, v.Head)
		}
		for _, cid := range c.Chain[max(0, len(c.Chain)-4):] {
			l := m.m.local[cid]
			n := m.m.tree.epochs[cid].Node
			fmt.Printf("   chain %v keys %d children %d by %q +%d -%d\n", cid, l.keys, l.children, n.Author, len(n.Added), len(n.Removed))
		}
	}
}
