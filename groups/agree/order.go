package agree

import (
	"bytes"
	"crypto/sha256"

	"github.com/parley-im/parley/internal/wire"
)

// Kind is what an order asks for.
type Kind uint8

// Kinds of orders.
const (
	OrderAdd     Kind = 1 // bring Target in, with the key package in Payload
	OrderRemove  Kind = 2 // remove Target, or one device of it
	OrderResync  Kind = 3 // put the key package in Payload in the place of the issuer's leaf
	OrderPromote Kind = 4 // make Target an admin
	OrderDemote  Kind = 5 // make Target an admin no longer
)

// Order is a member's wish to change who is in the group, independent of any
// branch: commits execute orders, and one that was executed in a branch that is
// left is executed again in the other.
type Order struct {
	GroupID []byte
	Issuer  Account
	Device  Device
	Basis   CID // the epoch by whose roles the issuer may
	Kind    Kind
	Target  Account
	// TargetDevice is the only device that a Remove concerns; zero means all. It
	// is the issuer's device in a Resync and zero in other orders.
	TargetDevice Device
	Payload      []byte // Add and Resync: a key package; empty in others
	// Heads are the orders that the issuer knew and that no other it knew came
	// after: at most [MaxHeads], strictly increasing.
	Heads     []OrderID
	Signature []byte // Sign("order", m) by the device
}

// SignedPart returns m:
//
//	struct {
//	    ...                  // version, group_id, account (the issuer's), device
//	    opaque basis[32];
//	    Kind kind;           // uint8: add(1), remove(2), resync(3), promote(4), demote(5)
//	    LP target;
//	    opaque target_device[32];
//	    LP payload;
//	    uint8 n;
//	    opaque heads[n][32];
//	} OrderContent;
func (o *Order) SignedPart() []byte {
	b := author{o.GroupID, o.Issuer, o.Device}.append(nil)
	b = append(b, o.Basis[:]...)
	b = wire.AppendUint8(b, uint8(o.Kind))
	b = wire.AppendLP(b, []byte(o.Target))
	b = append(b, o.TargetDevice[:]...)
	b = wire.AppendLP(b, o.Payload)
	b = wire.AppendUint8(b, uint8(len(o.Heads)))
	for _, h := range o.Heads {
		b = append(b, h[:]...)
	}
	return b
}

// ID returns the order's name: the SHA-256 of its signed part.
func (o *Order) ID() OrderID { return sha256.Sum256(o.SignedPart()) }

// Marshal returns the order:
//
//	struct {
//	    OrderContent content;
//	    LP signature;
//	} Order;
func (o *Order) Marshal() []byte { return wire.AppendLP(o.SignedPart(), o.Signature) }

// ParseOrder decodes what [Order.Marshal] makes. It returns [ErrMalformed] for
// anything else. Nothing is verified.
func ParseOrder(data []byte) (*Order, error) {
	r := wire.NewReader(data)
	from := readAuthor(r)
	o := &Order{GroupID: from.groupID, Issuer: from.account, Device: from.device}
	r.Copy(o.Basis[:])
	o.Kind = Kind(r.Uint8())
	o.Target = Account(r.LP(MaxAccount))
	r.Copy(o.TargetDevice[:])
	o.Payload = bytes.Clone(r.LP(MaxPayload))
	n := int(r.Uint8())
	if n > MaxHeads {
		r.Fail(wire.ErrLength)
	}
	for range n {
		var h OrderID
		r.Copy(h[:])
		o.Heads = append(o.Heads, h)
		if r.Err() != nil {
			break
		}
	}
	o.Signature = bytes.Clone(r.LP(MaxSignature))
	if err := r.Done(); err != nil {
		return nil, malformed("order", err)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return o, nil
}

// check is what an order's own bytes must be.
func (o *Order) check() error {
	oneDevice := o.TargetDevice != Device{}
	ok := false
	switch o.Kind {
	case OrderAdd:
		ok = !oneDevice
	case OrderRemove:
		ok = len(o.Payload) == 0
	case OrderResync:
		ok = o.Target == o.Issuer && o.TargetDevice == o.Device
	case OrderPromote, OrderDemote:
		ok = !oneDevice && len(o.Payload) == 0
	}
	for i := range o.Heads {
		ok = ok && (i == 0 || bytes.Compare(o.Heads[i-1][:], o.Heads[i][:]) < 0)
	}
	if !ok || o.Target == "" {
		return malformed("order", wire.ErrValue)
	}
	return nil
}

// Verify returns [ErrMalformed], [ErrWrongGroup], [ErrSignature],
// [ErrNotAllowed] or [ErrUnknownEpoch].
func (o *Order) Verify(groupID []byte, v Verifier) error {
	if err := o.verifySignature(groupID, v); err != nil {
		return err
	}
	return v.MayOrder(o)
}

func (o *Order) verifySignature(groupID []byte, v Verifier) error {
	if err := o.check(); err != nil {
		return err
	}
	return signedBy(author{o.GroupID, o.Issuer, o.Device}, groupID, v, LabelOrder, o.SignedPart(), o.Signature)
}
