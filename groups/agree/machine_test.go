package agree

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"
)

// duo is a world of members whose machines are called by hand.
func duo(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(1, "")
	w.members, w.calm, w.loss = nil, true, 0
	var leaves []Leaf
	for i := range n {
		leaves = append(leaves, leafOf(i, 0))
	}
	for i := range n {
		m := &member{world: w, n: i, leaf: leaves[i], entered: map[CID]bool{w.root: true}, deleted: map[CID]bool{}}
		m.m = New(Options{GroupID: w.group, Self: m.leaf, Root: w.root, Seed: FirstSeed(w.group), Members: leaves, Verifier: honest{m}}, 0)
		w.members = append(w.members, m)
	}
	w.side = make([]int, n)
	return w
}

func ask[T Action](actions []Action) (out []T) {
	for _, a := range actions {
		if a, ok := a.(T); ok {
			out = append(out, a)
		}
	}
	return out
}

func TestBundleCodec(t *testing.T) {
	town := newTown(3)
	commit := []byte("a commit")
	a := town.announcement(1, 0, 2, "key")
	a.CID = sha256.Sum256(commit)
	s := &Statement{GroupID: testGroup, Account: a.Account, Device: a.Device, Seq: 1, Head: a.CID, Signature: []byte{1}, BeaconSignature: []byte{2}}
	b := &Bundle{commit, a, s, []*Order{town.order(Order{Issuer: accountOf(0), Kind: OrderRemove, Target: accountOf(2)})}}
	data := b.Marshal()
	got, err := ParseBundle(data)
	if err != nil || !bytes.Equal(got.Marshal(), data) {
		t.Fatalf("does not come out as it went in: %v", err)
	}
	for i := range data {
		if _, err := ParseBundle(data[:i]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("prefix of %d bytes: %v", i, err)
		}
	}
	other := *b
	other.Commit = []byte("another commit")
	if _, err := ParseBundle(other.Marshal()); !errors.Is(err, ErrMalformed) {
		t.Errorf("with another commit: %v", err)
	}
	stranger := *s
	stranger.Device = deviceOf(77)
	other = *b
	other.Statement = &stranger
	if _, err := ParseBundle(other.Marshal()); !errors.Is(err, ErrMalformed) {
		t.Errorf("with another's statement: %v", err)
	}
	if bytes.Equal(AuthenticatedData(cidOf(1), b.Orders), AuthenticatedData(cidOf(1), nil)) {
		t.Error("authenticated data does not depend on the orders")
	}
}

func FuzzBundle(f *testing.F) {
	town := newTown(3)
	a := town.announcement(1, 0, 2, "key")
	a.CID = sha256.Sum256([]byte("c"))
	s := &Statement{GroupID: testGroup, Account: a.Account, Device: a.Device, Head: a.CID}
	f.Add((&Bundle{[]byte("c"), a, s, nil}).Marshal())
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBundle(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if !bytes.Equal(b.Marshal(), data) {
			t.Fatal("not canonical")
		}
	})
}

func TestMachineRefuses(t *testing.T) {
	w := duo(t, 3)
	a, b := w.members[0], w.members[1]
	bundle, node := a.bundleOf(w.root, Renewal, nil, nil, nil)
	before := b.m.Marshal()
	refused := func(name string, want error, change func(*Bundle, *Node)) {
		t.Helper()
		x, an, st, n := *bundle, *bundle.Announcement, *bundle.Statement, node
		x.Announcement, x.Statement = &an, &st
		change(&x, &n)
		if _, err := b.m.Receive(&x, n, 0); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(before, b.m.Marshal()) {
			t.Errorf("%s: changed the machine", name)
		}
	}
	refused("forged announcement", ErrSignature, func(b *Bundle, _ *Node) { b.Announcement.Signature = nil })
	refused("of another group", ErrWrongGroup, func(b *Bundle, _ *Node) { b.Announcement.GroupID, b.Statement.GroupID = []byte("x"), []byte("x") })
	refused("with an order it does not name", ErrMalformed, func(b *Bundle, _ *Node) { b.Orders = []*Order{a.order(OrderPromote, "x")} })
	refused("with another commit's bytes", ErrMalformed, func(b *Bundle, _ *Node) { b.Commit = []byte("x") })
	refused("node of another commit", ErrMalformed, func(_ *Bundle, n *Node) { n.Parent = cidOf(9) })
	refused("by no member", ErrMalformed, func(b *Bundle, n *Node) {
		b.Announcement.Device, b.Statement.Device, n.Device = deviceOf(99), deviceOf(99), deviceOf(99)
	})
	first := a.order(OrderPromote, "x")
	later := a.order(OrderPromote, "y")
	later.Heads = []OrderID{first.ID()}
	x, n := *bundle, node
	x.Orders, n.Orders = []*Order{later, first}, []OrderID{later.ID(), first.ID()}
	if _, err := w.members[2].m.Receive(&x, n, 0); err != nil || w.members[2].m.local[n.CID] != nil {
		t.Errorf("an order before its head: %v", err)
	}
	refused("with an order its issuer may not give", ErrNotAllowed, func(b *Bundle, n *Node) {
		w.admins = map[Account]bool{}
		o := a.order(OrderPromote, "x")
		b.Orders, n.Orders = []*Order{o}, []OrderID{o.ID()}
	})
	if _, err := b.m.Entered(cidOf(9), 0); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("entered what is not known: %v", err)
	}
	if _, err := b.m.Committed(bundle, Node{CID: node.CID, Parent: cidOf(9)}, 0); !errors.Is(err, ErrMalformed) {
		t.Errorf("committed something else: %v", err)
	}
}

// A commit that comes before its parent waits for it, and is asked for.
func TestWaiting(t *testing.T) {
	w := duo(t, 2)
	a, b := w.members[0], w.members[1]
	first, n1 := a.bundleOf(w.root, Renewal, nil, nil, nil)
	w.bundles[n1.CID] = &waitingBundle{first, n1}
	second, n2 := a.bundleOf(n1.CID, Renewal, nil, nil, nil)
	second.Statement.Seq = 2
	w.bundles[n2.CID] = &waitingBundle{second, n2}
	out, err := b.m.Receive(second, n2, 0)
	if err != nil || b.m.Head() != w.root {
		t.Fatal(b.m.Head(), err)
	}
	if f := ask[Fetch](out); len(f) != 1 || !slices.Equal(f[0].Epochs, []CID{n1.CID}) {
		t.Fatalf("fetches %v", f)
	}
	b.takeBundle(n1.CID)
	if b.m.Head() != n2.CID || w.err != nil {
		t.Fatalf("head %v, %v", b.m.Head(), w.err)
	}
}

// Who cannot open a commit stays, until it is settled; then it has to be
// resynchronised, and asks again while it is so.
func TestFailedCommit(t *testing.T) {
	w := duo(t, 4)
	a, b := w.members[0], w.members[1]
	bundle, n := a.bundleOf(w.root, Renewal, nil, nil, nil)
	out, err := b.m.Receive(bundle, n, 0)
	if err != nil || len(ask[Enter](out)) != 1 {
		t.Fatal(out, err)
	}
	if out := b.m.Tick(time.Second); len(ask[Enter](out)) != 1 {
		t.Fatalf("not asked again: %v", out)
	}
	out, err = b.m.Failed(n.CID, 2*time.Second)
	if err != nil || len(ask[Resync](out))+len(ask[Enter](out)) != 0 || b.m.Head() != w.root {
		t.Fatal(out, err)
	}
	for _, of := range []int{2, 3} {
		s := &Statement{GroupID: w.group, Account: accountOf(of), Device: deviceOf(10 * of), Seq: 1, Head: n.CID, Signature: []byte("true"), BeaconSignature: []byte("true")}
		if out, err = b.m.State(s, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if of == 2 && len(ask[Resync](out)) != 1 {
			t.Fatalf("settled, and no resync: %v", out)
		}
	}
	if len(ask[Resync](out)) != 0 {
		t.Error("asked for a resync at once again")
	}
	if out := b.m.Tick(3*time.Second + resyncEvery); len(ask[Resync](out)) != 1 {
		t.Errorf("not asked again: %v", out)
	}
}

func TestEquivocationIsToldOnce(t *testing.T) {
	w := duo(t, 3)
	a, b := w.members[0], w.members[1]
	for i := range 3 {
		bundle, n := a.bundleOf(w.root, Renewal, nil, nil, nil)
		out, err := b.m.Receive(bundle, n, 0)
		if err != nil {
			t.Fatal(err)
		}
		if told := len(ask[Accuse](out)); told != map[int]int{1: 1}[i] {
			t.Errorf("commit %d: %d proofs", i, told)
		}
	}
	for _, proof := range b.m.proofs {
		out, err := w.members[2].m.Convict(proof, 0)
		if err != nil || len(ask[Accuse](out)) != 1 {
			t.Errorf("a proof that was received: %v, %v", out, err)
		}
	}
}

// Secrets go when everyone is beyond the epoch, when their time is over, or when
// there are too many; those of a branch that was left not before their time.
func TestRetention(t *testing.T) {
	w := duo(t, 3)
	a := w.members[0]
	step := func(m *member, parent CID, now time.Duration) CID {
		t.Helper()
		b, n := m.bundleOf(parent, Renewal, nil, nil, nil)
		w.bundles[n.CID] = &waitingBundle{b, n}
		w.now = now
		m.entered[n.CID] = true
		m.act(m.m.Committed(b, n, now))
		for _, o := range w.members {
			if o != m {
				o.takeBundle(n.CID)
			}
		}
		return n.CID
	}
	one := step(a, w.root, time.Minute)
	for range 3 {
		for i, m := range w.members {
			w.reconcile(m, w.members[(i+1)%3])
		}
	}
	if out := a.m.Tick(2 * time.Minute); !slices.Contains(ask[Forget](out), Forget{w.root}) {
		t.Fatalf("everyone has left the root: %v", out)
	}
	if out := a.m.Tick(3 * time.Minute); len(ask[Forget](out)) != 0 {
		t.Fatalf("forgets again: %v", out)
	}
	step(a, one, 4*time.Minute)
	alone := duo(t, 3).members[0] // nobody else is heard
	w = alone.world
	b, n := alone.bundleOf(w.root, Renewal, nil, nil, nil)
	alone.entered[n.CID] = true
	alone.act(alone.m.Committed(b, n, 0))
	if out := alone.m.Tick(24*time.Hour - 1); len(ask[Forget](out)) != 0 {
		t.Fatalf("forgets too early: %v", out)
	}
	if out := alone.m.Tick(24 * time.Hour); !slices.Contains(ask[Forget](out), Forget{w.root}) {
		t.Fatalf("keeps the root for too long: %v", out)
	}
	if out := alone.m.Tick(90*24*time.Hour - 1); len(ask[Expel](out)) != 0 {
		t.Errorf("expels too early: %v", out)
	}
	if out := alone.m.Tick(91 * 24 * time.Hour); len(ask[Expel](out)) != 2 {
		t.Errorf("expels nobody: %v", out)
	}
}

// A long chain keeps its tree small, and its secrets few.
func TestLongChain(t *testing.T) {
	w := duo(t, 2)
	a := w.members[0]
	forgotten := 0
	for i := range 700 {
		now := time.Duration(i) * time.Second
		b, n := a.bundleOf(a.m.Head(), Renewal, nil, nil, nil)
		a.entered[n.CID] = true
		w.now = now
		a.act(a.m.Committed(b, n, now))
		out := a.m.Tick(now)
		forgotten += len(ask[Forget](out))
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
	if len(a.m.local) > 2*256+1 || forgotten < 700-257 {
		t.Errorf("%d epochs in the tree, %d forgotten", len(a.m.local), forgotten)
	}
	again, err := Unmarshal(a.m.o, a.m.Marshal())
	if err != nil || again.Head() != a.m.Head() {
		t.Fatal(err)
	}
}

// Welcomes and the like go out when a commit is settled, or alone for long enough.
func TestSettled(t *testing.T) {
	w := duo(t, 2)
	a, b := w.members[0], w.members[1]
	bundle, n := a.bundleOf(w.root, Renewal, nil, nil, nil)
	a.entered[n.CID] = true
	out, err := a.m.Committed(bundle, n, 0)
	if err != nil || len(ask[Settled](out)) != 0 {
		t.Fatal(out, err)
	}
	if out := a.m.Tick(1499 * time.Millisecond); len(ask[Settled](out)) != 0 {
		t.Errorf("too early: %v", out)
	}
	rival, n2 := b.bundleOf(w.root, Renewal, nil, nil, nil)
	if _, err := a.m.Receive(rival, n2, 1499*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if out := a.m.Tick(time.Minute); len(ask[Settled](out)) != 0 {
		t.Errorf("though there is a rival: %v", out)
	}
	s := &Statement{GroupID: w.group, Account: accountOf(1), Device: deviceOf(10), Seq: 5, Head: n.CID, Signature: []byte("true"), BeaconSignature: []byte("true")}
	if out, err = a.m.State(s, time.Minute); err != nil || !slices.Contains(ask[Settled](out), Settled{n.CID}) {
		t.Errorf("with two supporters of two: %v, %v", out, err)
	}
}

func TestStateRefused(t *testing.T) {
	w := duo(t, 3)
	a := w.members[0]
	for range 3 {
		a.commitOnce()
	}
	a.publishOrder(a.order(OrderRemove, accountOf(2)))
	good := a.m.Marshal()
	for i := range good {
		if _, err := Unmarshal(a.m.o, good[:i]); !errors.Is(err, ErrState) {
			t.Fatalf("prefix of %d bytes: %v", i, err)
		}
	}
	if _, err := Unmarshal(a.m.o, append(slices.Clone(good), 0)); !errors.Is(err, ErrState) {
		t.Errorf("with a byte too many: %v", err)
	}
}

func FuzzMachine(f *testing.F) {
	w := newWorld(3, "")
	a := w.members[0]
	a.commitOnce()
	a.publishOrder(a.order(OrderRemove, accountOf(2)))
	a.commitOnce()
	f.Add(a.m.Marshal())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Unmarshal(a.m.o, data)
		if err != nil {
			if !errors.Is(err, ErrState) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := Unmarshal(a.m.o, m.Marshal())
		if err != nil || !bytes.Equal(again.Marshal(), m.Marshal()) {
			t.Fatalf("not stable: %v", err)
		}
		m.Tick(time.Hour)
	})
}
