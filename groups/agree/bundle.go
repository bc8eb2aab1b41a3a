package agree

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/parley-im/parley/internal/wire"
)

// Bundle is a commit with all it takes to judge it: nothing has to be waited for
// but its parent.
type Bundle struct {
	Commit       []byte // the MLSMessage, unsealed, whose hash is the CID
	Announcement *Announcement
	Statement    *Statement // its author's, that it is in the epoch
	Orders       []*Order   // that the commit executes, each after its heads
}

// AuthenticatedData returns the authenticated_data of a commit in an epoch that
// executes these orders:
//
//	LP(parent) || LP(SHA-256(LP(order) for each))
func AuthenticatedData(parent CID, orders []*Order) []byte {
	var all []byte
	for _, o := range orders {
		all = wire.AppendLP(all, o.Marshal())
	}
	sum := sha256.Sum256(all)
	return wire.AppendLP(wire.AppendLP(nil, parent[:]), sum[:])
}

// Marshal returns the bundle:
//
//	struct {
//	    LP commit;           // at most 16 MiB
//	    LP announcement;
//	    LP statement;
//	    uint16 n;            // at most 256
//	    LP orders[n];
//	} Bundle;
func (b *Bundle) Marshal() []byte {
	out := wire.AppendLP(nil, b.Commit)
	out = wire.AppendLP(out, b.Announcement.Marshal())
	out = wire.AppendLP(out, b.Statement.Marshal())
	out = wire.AppendUint16(out, uint16(len(b.Orders)))
	for _, o := range b.Orders {
		out = wire.AppendLP(out, o.Marshal())
	}
	return out
}

// maxSigned bounds what is signed, but for the payload of an order.
const maxSigned = 16 << 10

// ParseBundle decodes what [Bundle.Marshal] makes. It returns [ErrMalformed] for
// anything else, and for parts that are not of one commit. Nothing is verified.
func ParseBundle(data []byte) (*Bundle, error) {
	r := wire.NewReader(data)
	b := &Bundle{Commit: bytes.Clone(r.LP(MaxCommit))}
	announcement, statement := r.LP(maxSigned), r.LP(maxSigned)
	n := int(r.Uint16())
	if n > MaxBundleOrders {
		r.Fail(wire.ErrLength)
	}
	var orders [][]byte
	for i := 0; i < n && r.Err() == nil; i++ {
		orders = append(orders, r.LP(maxSigned+MaxPayload))
	}
	err := r.Done()
	if err != nil {
		return nil, malformed("bundle", err)
	}
	if b.Announcement, err = ParseAnnouncement(announcement); err != nil {
		return nil, err
	}
	if b.Statement, err = ParseStatement(statement); err != nil {
		return nil, err
	}
	for _, raw := range orders {
		o, err := ParseOrder(raw)
		if err != nil {
			return nil, err
		}
		b.Orders = append(b.Orders, o)
	}
	return b, b.check()
}

// check is whether the parts are of one commit.
func (b *Bundle) check() error {
	a, s := b.Announcement, b.Statement
	switch {
	case a.CID != sha256.Sum256(b.Commit), s.Head != a.CID, s.Account != a.Account, s.Device != a.Device, !bytes.Equal(s.GroupID, a.GroupID):
		return malformed("bundle", wire.ErrValue)
	}
	return nil
}

// fits is whether a bundle and what the caller makes of its commit agree.
func (b *Bundle) fits(n *Node) error {
	a := b.Announcement
	if n.CID != a.CID || n.Parent != a.Parent || n.Author != a.Account || n.Device != a.Device || len(n.Orders) != len(b.Orders) {
		return fmt.Errorf("%w: bundle of another commit", ErrMalformed)
	}
	for i, o := range b.Orders {
		if n.Orders[i] != o.ID() {
			return fmt.Errorf("%w: bundle with other orders", ErrMalformed)
		}
	}
	return nil
}
