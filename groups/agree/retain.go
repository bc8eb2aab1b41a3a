package agree

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// retain says which epochs' secrets have had their time, and who has been silent
// for too long, and drops what the tree need not have.
func (m *Machine) retain(now time.Duration) (out []Action) {
	head := m.tree.epochs[m.at]
	for _, l := range m.members(m.at) {
		if _, ok := m.heard[l.Device]; !ok {
			m.heard[l.Device] = now
		}
		if l != m.o.Self && now-m.heard[l.Device] >= m.o.Policy.Expel && !m.orders.Covers(l) {
			out = append(out, Expel{l})
		}
	}
	votes := make(map[Device]*epoch)
	for _, v := range m.statements.Votes() {
		votes[v.Device] = m.tree.epochs[v.Head]
	}
	for _, e := range m.sorted() {
		l := m.local[e.CID]
		if l.keys != keysHeld || e == head {
			continue
		}
		if head.depth-e.depth > m.o.Policy.Epochs || now-l.left >= m.o.Policy.Fork || m.allBelow(e, head, votes, now) {
			l.keys = keysDeleted
			out = append(out, Forget{e.CID})
		}
	}
	return append(out, m.prune(head)...)
}

// allBelow reports whether an epoch is above the head, and every leaf of it that
// is neither dormant nor to be removed stated one below it.
func (m *Machine) allBelow(e, head *epoch, votes map[Device]*epoch, now time.Duration) bool {
	if !e.above(head) {
		return false
	}
	for _, l := range m.members(e.CID) {
		if !e.above(votes[l.Device]) && !m.dormant(l.Device, now) && !m.orders.Covers(l) {
			return false
		}
	}
	return true
}

func (m *Machine) dormant(d Device, now time.Duration) bool {
	at, ok := m.heard[d]
	return ok && now-at >= m.o.Policy.Dormant
}

// above reports whether o is below e.
func (e *epoch) above(o *epoch) bool {
	for o != nil && o.depth > e.depth {
		if o = o.parent; o == e {
			return true
		}
	}
	return false
}

// sorted returns all epochs, each after its parent.
func (m *Machine) sorted() []*epoch {
	out := make([]*epoch, 0, len(m.tree.epochs))
	for _, e := range m.tree.epochs {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *epoch) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), bytes.Compare(a.CID[:], b.CID[:]))
	})
	return out
}

// prune moves the root when the chain has become long, and drops epochs that
// nobody supports when the tree has become large. What was dropped is fetched
// again if a statement names it.
func (m *Machine) prune(head *epoch) []Action {
	root := m.tree.root
	if head.depth >= 2*m.o.Policy.Epochs {
		root = head.line()[head.depth-m.o.Policy.Epochs]
	}
	crowded := len(m.tree.epochs) > MaxTree/2
	if root == m.tree.root && !crowded {
		return nil
	}
	keep := map[*epoch]bool{root: true}
	mark := func(e *epoch) {
		for ; e != nil && !keep[e]; e = e.parent {
			keep[e] = true
		}
	}
	mark(head)
	for _, v := range m.statements.Votes() {
		mark(m.tree.epochs[v.Head])
	}
	for _, e := range m.tree.epochs {
		if !crowded || m.local[e.CID].keys == keysHeld {
			mark(e)
		}
	}
	var out []Action
	tree := NewTree(root.CID, root.seed, m.members(root.CID))
	for _, e := range m.sorted() {
		switch {
		case e == root:
		case keep[e] && root.above(e):
			if err := tree.Add(e.Node); err != nil {
				panic("agree: smaller tree: " + err.Error())
			}
		default:
			if m.local[e.CID].keys == keysHeld {
				out = append(out, Forget{e.CID})
			}
			delete(m.local, e.CID)
		}
	}
	for _, e := range root.line() {
		for _, id := range e.Orders {
			m.executed[id] = true
		}
	}
	for key := range m.proofs {
		if tree.epochs[key.parent] == nil {
			delete(m.proofs, key)
			continue
		}
		tree.Accuse(key.parent, key.device)
	}
	m.tree = tree
	return out
}
