package agree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/wire"
)

// ErrState is returned for stored state that does not decode.
var ErrState = errors.New("agree: stored state is damaged")

const stateVersion = 1

// Marshal returns the machine for storage, without what [Options] says of the
// member and without what waits for something, which is fetched again. It holds no
// secret.
func (m *Machine) Marshal() []byte {
	root := m.tree.root
	b := wire.AppendUint8(nil, stateVersion)
	b = append(b, root.CID[:]...)
	b = append(b, root.seed[:]...)
	b = appendLeaves(b, m.tree.members)
	b = append(b, m.at[:]...)
	b = wire.AppendUint64(b, uint64(m.stated))
	b = wire.AppendUint64(b, uint64(m.resynced))
	b = wire.AppendOptional(b, m.out)
	b = appendList(b, sortedKeys(m.executed, OrderID.compare), func(b []byte, id OrderID) []byte {
		return append(b, id[:]...)
	})
	b = appendList(b, m.orders.list, func(b []byte, e *entry) []byte {
		return wire.AppendLP(wire.AppendOptional(b, e.bound), e.Marshal())
	})
	b = appendList(b, m.sorted(), func(b []byte, e *epoch) []byte {
		l := m.local[e.CID]
		if e != root {
			b = appendNode(b, &e.Node)
			b = wire.AppendLP(b, l.announcement.Marshal())
		}
		b = wire.AppendUint8(b, uint8(l.keys))
		b = wire.AppendUint64(b, uint64(l.entered))
		b = wire.AppendUint64(b, uint64(l.left))
		b = wire.AppendUint8(b, uint8(l.children))
		return wire.AppendOptional(b, l.released)
	})
	b = appendList(b, m.statements.All(), func(b []byte, s *Statement) []byte { return wire.AppendLP(b, s.Marshal()) })
	proofs := sortedKeys(m.proofs, func(a, b accusation) int {
		return cmp.Or(a.parent.compare(b.parent), a.device.compare(b.device))
	})
	b = appendList(b, proofs, func(b []byte, key accusation) []byte { return wire.AppendLP(b, m.proofs[key].Marshal()) })
	return appendList(b, sortedKeys(m.heard, Device.compare), func(b []byte, d Device) []byte {
		return wire.AppendUint64(append(b, d[:]...), uint64(m.heard[d]))
	})
}

// Unmarshal decodes what [Machine.Marshal] made. o says who the member is, as for
// [New]; its Root, Seed, Members and Executed are those stored. It returns
// [ErrState] for bytes that are damaged. Call [Machine.Tick] then: it asks again
// for what was asked for.
func Unmarshal(o Options, stored []byte) (*Machine, error) {
	r := wire.NewReader(stored)
	if r.Uint8() != stateVersion {
		r.Fail(wire.ErrValue)
	}
	r.Copy(o.Root[:])
	r.Copy(o.Seed[:])
	o.Members, o.Executed = readLeaves(r), nil
	m := New(o, 0)
	r.Copy(m.at[:])
	m.stated = time.Duration(r.Uint64())
	m.resynced = time.Duration(r.Uint64())
	m.out = r.Optional()
	readList(r, func() {
		var id OrderID
		r.Copy(id[:])
		m.executed[id] = true
	})
	readList(r, func() {
		bound := r.Optional()
		o, err := ParseOrder(r.LP(maxSigned + MaxPayload))
		if err == nil {
			err = m.orders.Put(o, bound)
		}
		failIf(r, err)
	})
	first := true
	readList(r, func() {
		cid, l := o.Root, new(local)
		if !first {
			n := readNode(r)
			a, err := ParseAnnouncement(r.LP(maxSigned))
			if err == nil {
				cid, l.announcement = n.CID, a
				err = m.tree.Add(n)
			}
			failIf(r, err)
		}
		first = false
		if l.keys = keys(r.Uint8()); l.keys > keysDeleted {
			r.Fail(wire.ErrValue)
		}
		l.entered = time.Duration(r.Uint64())
		l.left = time.Duration(r.Uint64())
		l.children = int(r.Uint8())
		l.released = r.Optional()
		m.local[cid] = l
	})
	readList(r, func() {
		s, err := ParseStatement(r.LP(maxSigned))
		if err == nil {
			err = m.statements.Put(s)
		}
		failIf(r, err)
	})
	readList(r, func() {
		e, err := ParseEquivocation(r.LP(2 * maxSigned))
		if err == nil {
			m.convict(e)
		}
		failIf(r, err)
	})
	m.fresh = nil
	readList(r, func() {
		var d Device
		r.Copy(d[:])
		m.heard[d] = time.Duration(r.Uint64())
	})
	if m.local[m.at] == nil {
		r.Fail(wire.ErrValue)
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return m, nil
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, compare)
	return out
}

func appendList[T any](b []byte, list []T, each func([]byte, T) []byte) []byte {
	b = wire.AppendUint32(b, uint32(len(list)))
	for _, v := range list {
		b = each(b, v)
	}
	return b
}

// readList calls each for every element while there is input.
func readList(r *wire.Reader, each func()) {
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		if !r.More() {
			r.Fail(wire.ErrTruncated)
		}
		each()
	}
}

func appendLeaves(b []byte, leaves []Leaf) []byte {
	return appendList(b, leaves, func(b []byte, l Leaf) []byte {
		b = wire.AppendLP(b, []byte(l.Account))
		b = append(b, l.Device[:]...)
		return append(b, l.Added[:]...)
	})
}

func readLeaves(r *wire.Reader) (out []Leaf) {
	readList(r, func() {
		l := Leaf{Account: Account(r.LP(MaxAccount))}
		r.Copy(l.Device[:])
		r.Copy(l.Added[:])
		out = append(out, l)
	})
	return out
}

func appendNode(b []byte, n *Node) []byte {
	b = append(b, n.CID[:]...)
	b = append(b, n.Parent[:]...)
	b = wire.AppendLP(b, []byte(n.Author))
	b = append(b, n.Device[:]...)
	b = wire.AppendUint8(b, uint8(n.Class))
	b = appendLeaves(appendLeaves(b, n.Removed), n.Added)
	return appendList(b, n.Orders, func(b []byte, id OrderID) []byte { return append(b, id[:]...) })
}

func readNode(r *wire.Reader) (n Node) {
	r.Copy(n.CID[:])
	r.Copy(n.Parent[:])
	n.Author = Account(r.LP(MaxAccount))
	r.Copy(n.Device[:])
	n.Class = Class(r.Uint8())
	n.Removed, n.Added = readLeaves(r), readLeaves(r)
	readList(r, func() {
		var id OrderID
		r.Copy(id[:])
		n.Orders = append(n.Orders, id)
	})
	return n
}

func failIf(r *wire.Reader, err error) {
	if err != nil {
		r.Fail(err)
	}
}
