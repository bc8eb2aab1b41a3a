package agree

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Policy says how long things are kept. The zero value takes the defaults.
type Policy struct {
	// Fork is how long the secrets of an epoch that was left are kept for those who
	// are behind: 10 minutes to 7 days, 24 hours by default.
	Fork time.Duration
	// Epochs is how many epochs behind the head they are kept at most: 256 by
	// default, and at most.
	Epochs int
	// Dormant is after how much silence a device is not waited for, 30 days by
	// default, and Expel after how much it is to be removed, 90 days by default.
	Dormant, Expel time.Duration
	// Unchallenged is how long a commit without a rival waits until it may have
	// effects outside, 1.5 seconds by default.
	Unchallenged time.Duration
}

func (p Policy) withDefaults() Policy {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&p.Fork, 24*time.Hour)
	p.Fork = min(max(p.Fork, 10*time.Minute), 7*24*time.Hour)
	set(&p.Dormant, 30*24*time.Hour)
	set(&p.Expel, 90*24*time.Hour)
	set(&p.Unchallenged, 1500*time.Millisecond)
	if p.Epochs <= 0 || p.Epochs > 256 {
		p.Epochs = 256
	}
	return p
}

// Options begin a [Machine].
type Options struct {
	GroupID []byte
	Self    Leaf // this member
	// Root is the epoch that the member begins in: the first, or the one it joined;
	// with its seed and all its members.
	Root    CID
	Seed    Seed
	Members []Leaf
	// Executed are orders that were executed before the root and that others may
	// refer to.
	Executed []OrderID
	Verifier Verifier
	Policy   Policy
}

// Machine is what one member knows of a group's epochs, and which one it is in.
// Its inputs return what is to be done, in order. Time is how long this member was
// online and in contact with others, since some beginning; it does not go back.
//
// An input that returns an error changed nothing. Store [Machine.Marshal] in one
// transaction with what the actions change; if that fails, load it again. It is
// not safe for concurrent use.
type Machine struct {
	o          Options
	tree       *Tree
	statements Statements
	orders     Orders
	proofs     map[accusation]*Equivocation
	fresh      []*Equivocation  // not told of yet
	executed   map[OrderID]bool // before the root

	at       CID
	local    map[CID]*local // of all epochs of the tree
	heard    map[Device]time.Duration
	stated   time.Duration // when this member last had to state its epoch
	resynced time.Duration // when it last asked for a resync; -1 for never
	out      bool          // it told that this member was removed

	bundles    map[CID]*waitingBundle // by CID, whose parent or orders are not known
	waiting    map[OrderID]*Order     // whose heads are not known
	unverified map[Device]*Statement  // whose epoch is not known

	rules rules
}

// rules are what the tests' mutants change.
type rules struct {
	choose func(*Tree, []Vote, func(Leaf) bool) Choice
	put    func(*Statements, *Statement) error
}

type accusation struct {
	parent CID
	device Device
}

type waitingBundle struct {
	*Bundle
	node Node
}

// keys is what this member has of an epoch's secrets.
type keys uint8

const (
	keysNone    keys = 0 // it was not in the epoch
	keysHeld    keys = 1
	keysFailed  keys = 2 // the commit does not open
	keysDeleted keys = 3
)

// local is what the member knows of an epoch beyond the commit.
type local struct {
	announcement *Announcement // nil for the root
	keys         keys
	entered      time.Duration // when
	left         time.Duration // when it was last the head
	children     int           // entered from it, ever
	released     bool
}

// New returns the machine of a member in its first epoch.
func New(o Options, now time.Duration) *Machine {
	o.Policy = o.Policy.withDefaults()
	m := &Machine{
		o:          o,
		tree:       NewTree(o.Root, o.Seed, o.Members),
		proofs:     make(map[accusation]*Equivocation),
		executed:   make(map[OrderID]bool),
		at:         o.Root,
		local:      map[CID]*local{o.Root: {keys: keysHeld, entered: now, released: true}},
		heard:      make(map[Device]time.Duration),
		resynced:   -1,
		bundles:    make(map[CID]*waitingBundle),
		waiting:    make(map[OrderID]*Order),
		unverified: make(map[Device]*Statement),
		rules:      rules{(*Tree).Choose, (*Statements).Put},
	}
	for _, id := range o.Executed {
		m.executed[id] = true
	}
	return m
}

// Head returns the epoch that this member is in, and sends in.
func (m *Machine) Head() CID { return m.at }

// Receive takes in a commit of another member, with what the caller makes of it
// in the public state of its parent. It returns what [Announcement.Verify],
// [Statement.Verify] and [Order.Verify] do, [ErrMalformed] for parts that do not
// belong together and for an author that is no leaf of the parent, and [ErrFull].
// What lacks its parent or its orders' heads waits for them.
func (m *Machine) Receive(b *Bundle, n Node, now time.Duration) ([]Action, error) {
	if m.local[n.CID] != nil || m.bundles[n.CID] != nil {
		return nil, nil
	}
	if err := m.verify(b, &n); err != nil {
		return nil, err
	}
	if err := m.accept(b, n, now); err != nil {
		if !waits(err) {
			return nil, err
		}
		if err := m.wait(b, n); err != nil {
			return nil, err
		}
	}
	return m.advance(now), nil
}

// Committed takes in this member's own commit, whose epoch it has the secrets of.
// The bundle is published when all this is stored.
func (m *Machine) Committed(b *Bundle, n Node, now time.Duration) ([]Action, error) {
	if err := m.verify(b, &n); err != nil {
		return nil, err
	}
	parent := m.local[n.Parent]
	if parent == nil || parent.keys != keysHeld || parent.children >= MaxEntered {
		return nil, fmt.Errorf("%w: %v, to commit in", ErrUnknownEpoch, n.Parent)
	}
	if err := m.accept(b, n, now); err != nil {
		return nil, err
	}
	m.enter(n.CID, now)
	return m.advance(now), nil
}

func (m *Machine) verify(b *Bundle, n *Node) error {
	if err := b.check(); err != nil {
		return err
	}
	if err := b.fits(n); err != nil {
		return err
	}
	if err := b.Announcement.Verify(m.o.GroupID, m.o.Verifier); err != nil {
		return err
	}
	for _, o := range b.Orders {
		if err := o.verifySignature(m.o.GroupID, m.o.Verifier); err != nil {
			return err
		}
	}
	return nil
}

// accept puts a commit into the tree, with its orders and its author's statement.
func (m *Machine) accept(b *Bundle, n Node, now time.Duration) error {
	if m.local[n.CID] != nil {
		return nil
	}
	parent := m.tree.epochs[n.Parent]
	if parent == nil {
		return fmt.Errorf("%w: %v, of commit %v", ErrUnknownEpoch, n.Parent, n.CID)
	}
	if !slices.ContainsFunc(m.members(n.Parent), func(l Leaf) bool { return l.Account == n.Author && l.Device == n.Device }) {
		return fmt.Errorf("%w: commit by no member", ErrMalformed)
	}
	earlier := make(map[OrderID]bool)
	for _, o := range b.Orders {
		if err := m.o.Verifier.MayOrder(o); err != nil {
			return err
		}
		for _, h := range o.Heads {
			if m.orders.Get(h) == nil && !earlier[h] {
				return fmt.Errorf("%w: %v", ErrUnknownOrder, h)
			}
		}
		earlier[o.ID()] = true
	}
	if len(m.orders.list)+len(b.Orders) > MaxOrders {
		return fmt.Errorf("%w: orders", ErrFull)
	}
	if err := m.tree.Add(n); err != nil {
		return err
	}
	for _, o := range b.Orders {
		if err := m.orders.Put(o, true); err != nil {
			panic("agree: order whose heads are known: " + err.Error())
		}
	}
	for _, c := range parent.children {
		if c.CID == n.CID || c.Device != n.Device {
			continue
		}
		if proof, err := NewEquivocation(b.Announcement, m.local[c.CID].announcement); err == nil {
			m.convict(proof)
		}
	}
	m.local[n.CID] = &local{announcement: b.Announcement}
	if err := b.Statement.Verify(m.o.GroupID, m.o.Verifier); err == nil {
		m.note(b.Statement, now)
	}
	return nil
}

// wait keeps a bundle until what it refers to is there.
func (m *Machine) wait(b *Bundle, n Node) error {
	small := *b
	small.Commit = nil // the node says it all
	w := &waitingBundle{&small, n}
	of, size := 0, w.size()
	for _, other := range m.bundles {
		size += other.size()
		if other.node.Device == n.Device {
			of++
		}
	}
	if len(m.bundles) >= MaxWaiting || of >= MaxWaitingPerDevice || size > MaxWaitingBytes {
		return fmt.Errorf("%w: commits that wait for others", ErrFull)
	}
	m.bundles[n.CID] = w
	return nil
}

func (w *waitingBundle) size() int {
	n := 256 * (1 + len(w.node.Added) + len(w.node.Removed))
	for _, o := range w.Orders {
		n += len(o.Payload) + 1024
	}
	return n
}

// State takes in a statement. It returns what [Statement.Verify] does,
// [ErrStale], and [ErrFull]. A statement of an epoch that is not known waits for
// it.
func (m *Machine) State(s *Statement, now time.Duration) ([]Action, error) {
	if slices.ContainsFunc(m.statements.latest[s.Device], func(h *Statement) bool { return h.id() == s.id() }) {
		return nil, nil // who repeats it shows no sign of life
	}
	err := s.Verify(m.o.GroupID, m.o.Verifier)
	if err == nil && m.local[s.Head] == nil {
		err = ErrUnknownEpoch
	}
	switch {
	case errors.Is(err, ErrUnknownEpoch):
		// Its device's signature holds, so one statement is kept of each device.
		was := m.unverified[s.Device]
		if was != nil && was.Seq >= s.Seq {
			return nil, ErrStale
		}
		if was == nil && len(m.unverified) >= MaxDevices {
			return nil, fmt.Errorf("%w: statements that wait", ErrFull)
		}
		m.unverified[s.Device] = s
	case err != nil:
		return nil, err
	default:
		if err := m.note(s, now); err != nil {
			return nil, err
		}
	}
	return m.advance(now), nil
}

func (m *Machine) note(s *Statement, now time.Duration) error {
	err := m.rules.put(&m.statements, s)
	if err == nil {
		m.heard[s.Device] = now
	}
	return err
}

// Order takes in an order. It returns what [Order.Verify] does, and [ErrFull]. An
// order whose heads or basis are not known waits for them.
func (m *Machine) Order(o *Order, now time.Duration) ([]Action, error) {
	if m.orders.Get(o.ID()) != nil {
		return nil, nil
	}
	if err := o.verifySignature(m.o.GroupID, m.o.Verifier); err != nil {
		return nil, err
	}
	err := m.putOrder(o)
	if waits(err) {
		of := 0
		for _, w := range m.waiting {
			if w.Device == o.Device {
				of++
			}
		}
		if len(m.waiting) >= MaxWaiting || of >= MaxWaitingPerDevice {
			return nil, fmt.Errorf("%w: orders that wait for others", ErrFull)
		}
		m.waiting[o.ID()] = o
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return m.advance(now), nil
}

// putOrder takes in an order whose signature verified.
func (m *Machine) putOrder(o *Order) error {
	if err := m.o.Verifier.MayOrder(o); err != nil {
		return err
	}
	return m.orders.Put(o, false)
}

// waits reports whether an error says that something has to come first.
func waits(err error) bool {
	return errors.Is(err, ErrUnknownEpoch) || errors.Is(err, ErrUnknownOrder)
}

// Convict takes in a proof that a device made two commits in one epoch. It
// returns what [Equivocation.Verify] does, and [ErrUnknownEpoch].
func (m *Machine) Convict(e *Equivocation, now time.Duration) ([]Action, error) {
	if err := e.Verify(m.o.GroupID, m.o.Verifier); err != nil {
		return nil, err
	}
	if m.local[e.First.Parent] == nil {
		return nil, fmt.Errorf("%w: %v", ErrUnknownEpoch, e.First.Parent)
	}
	m.convict(e)
	return m.advance(now), nil
}

func (m *Machine) convict(e *Equivocation) {
	key := accusation{e.First.Parent, e.First.Device}
	if m.proofs[key] == nil {
		m.proofs[key] = e
		m.fresh = append(m.fresh, e)
		m.tree.Accuse(key.parent, key.device)
	}
}

// Entered says that the secrets of an epoch were made of those of its parent, and
// the parent's init function punctured; or, if it was joined by a Welcome, that
// they are there.
func (m *Machine) Entered(epoch CID, now time.Duration) ([]Action, error) {
	if m.local[epoch] == nil {
		return nil, fmt.Errorf("%w: %v", ErrUnknownEpoch, epoch)
	}
	m.enter(epoch, now)
	return m.advance(now), nil
}

func (m *Machine) enter(epoch CID, now time.Duration) {
	l := m.local[epoch]
	if l.keys == keysHeld {
		return
	}
	l.keys, l.entered, l.left = keysHeld, now, now
	if e := m.tree.epochs[epoch]; e.parent != nil {
		m.local[e.parent.CID].children++
	}
}

// Failed says that a commit does not open for this member.
func (m *Machine) Failed(epoch CID, now time.Duration) ([]Action, error) {
	l := m.local[epoch]
	if l == nil {
		return nil, fmt.Errorf("%w: %v", ErrUnknownEpoch, epoch)
	}
	if l.keys == keysNone {
		l.keys = keysFailed
	}
	return m.advance(now), nil
}

// Heard says that a member's device sent something, so that it is not dormant. A
// statement that is new says so too.
func (m *Machine) Heard(d Device, now time.Duration) {
	m.heard[d] = now
}

// Tick says that time has passed: call it each second or so, and after a restart.
func (m *Machine) Tick(now time.Duration) []Action {
	return append(m.advance(now), m.retain(now)...)
}

// retry gives what waits another chance, until nothing changes.
func (m *Machine) retry(now time.Duration) {
	for again := true; again; {
		again = false
		for _, id := range sortedKeys(m.waiting, OrderID.compare) {
			if !waits(m.putOrder(m.waiting[id])) {
				delete(m.waiting, id)
				again = true
			}
		}
		for _, cid := range sortedKeys(m.bundles, CID.compare) {
			if w := m.bundles[cid]; !waits(m.accept(w.Bundle, w.node, now)) {
				delete(m.bundles, cid)
				again = true
			}
		}
		for _, d := range sortedKeys(m.unverified, Device.compare) {
			s := m.unverified[d]
			if m.local[s.Head] == nil {
				continue
			}
			if err := s.Verify(m.o.GroupID, m.o.Verifier); errors.Is(err, ErrUnknownEpoch) {
				continue
			} else if err == nil {
				_ = m.note(s, now) // what is stale has been replaced
			}
			delete(m.unverified, d)
			again = true
		}
	}
}

// members returns the leaves of an epoch; they are not the caller's to change.
func (m *Machine) members(epoch CID) []Leaf {
	e := m.tree.epochs[epoch]
	out := m.tree.members
	for _, at := range e.line()[1:] {
		if len(at.Removed)+len(at.Added) == 0 {
			continue
		}
		set := make(map[Leaf]bool, len(out))
		for _, l := range at.Removed {
			set[l] = true
		}
		out = slices.DeleteFunc(slices.Clone(out), func(l Leaf) bool { return set[l] })
		clear(set)
		for _, l := range out {
			set[l] = true
		}
		for _, l := range at.Added {
			if !set[l] {
				set[l] = true
				out = append(out, l)
			}
		}
	}
	return out
}

// Beacon returns the public beacon key of an epoch, as announced; nil for the root
// and for an epoch that is not known.
func (m *Machine) Beacon(epoch CID) []byte {
	if l := m.local[epoch]; l != nil && l.announcement != nil {
		return l.announcement.Beacon
	}
	return nil
}

// Members returns the leaves of an epoch, nil if it is not known.
func (m *Machine) Members(epoch CID) []Leaf {
	if m.local[epoch] == nil {
		return nil
	}
	return slices.Clone(m.members(epoch))
}
