package agree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/wire"
)

// Statement says which epoch a device is in: that it is there with the keys of
// the epoch, and sends there. A later one, with a higher Seq, replaces it. An
// account's devices count together, so each takes a Seq above those it has seen
// of the others.
type Statement struct {
	GroupID []byte
	Account Account
	Device  Device
	Seq     uint64
	Head    CID
	// Signature is Sign("statement", m) by the device, and BeaconSignature
	// Sign("beacon", m) by the beacon key of the epoch Head, which its members
	// hold and everybody can check.
	Signature, BeaconSignature []byte
}

// SignedPart returns m:
//
//	struct {
//	    ...                  // version, group_id, account, device
//	    uint64 seq;
//	    opaque head[32];
//	} StatementContent;
func (s *Statement) SignedPart() []byte {
	b := author{s.GroupID, s.Account, s.Device}.append(nil)
	b = wire.AppendUint64(b, s.Seq)
	return append(b, s.Head[:]...)
}

// Marshal returns the statement:
//
//	struct {
//	    StatementContent content;
//	    LP signature;
//	    LP beacon_signature;
//	} Statement;
func (s *Statement) Marshal() []byte {
	return wire.AppendLP(wire.AppendLP(s.SignedPart(), s.Signature), s.BeaconSignature)
}

// ParseStatement decodes what [Statement.Marshal] makes. It returns
// [ErrMalformed] for anything else. Nothing is verified.
func ParseStatement(data []byte) (*Statement, error) {
	r := wire.NewReader(data)
	a := readAuthor(r)
	s := &Statement{GroupID: a.groupID, Account: a.account, Device: a.device, Seq: r.Uint64()}
	r.Copy(s.Head[:])
	s.Signature = bytes.Clone(r.LP(MaxSignature))
	s.BeaconSignature = bytes.Clone(r.LP(MaxSignature))
	if err := r.Done(); err != nil {
		return nil, malformed("statement", err)
	}
	return s, nil
}

// Verify returns [ErrWrongGroup], [ErrSignature] or [ErrUnknownEpoch].
func (s *Statement) Verify(groupID []byte, v Verifier) error {
	m := s.SignedPart()
	if err := signedBy(author{s.GroupID, s.Account, s.Device}, groupID, v, LabelStatement, m, s.Signature); err != nil {
		return err
	}
	return v.VerifyBeacon(s.Head, LabelBeacon, m, s.BeaconSignature)
}

// Statements are the latest statements of all devices. What it holds, and so
// which votes there are, depends on what was put in and not on the order.
type Statements struct {
	latest map[Device][]*Statement // of one seq; two that differ cancel each other
}

// Put takes in a statement that was verified. It returns [ErrStale] for one that
// a later one of its device replaces, nil if it was there, and [ErrFull].
//
// Of statements that differ in content and have one seq it keeps the two whose
// contents have the lowest hashes: more would say no more than two.
func (s *Statements) Put(in *Statement) error {
	have := s.latest[in.Device]
	switch {
	case s.latest == nil:
		s.latest = make(map[Device][]*Statement)
	case len(have) == 0 && len(s.latest) >= MaxDevices:
		return fmt.Errorf("%w: statements", ErrFull)
	case len(have) > 0 && in.Seq < have[0].Seq:
		return ErrStale
	case len(have) > 0 && in.Seq > have[0].Seq:
		have = nil
	case slices.ContainsFunc(have, func(h *Statement) bool { return h.id() == in.id() }):
		return nil
	}
	have = append(slices.Clone(have), in)
	slices.SortFunc(have, func(a, b *Statement) int {
		x, y := a.id(), b.id()
		return bytes.Compare(x[:], y[:])
	})
	s.latest[in.Device] = have[:min(2, len(have))]
	return nil
}

func (s *Statement) id() [32]byte { return sha256.Sum256(s.SignedPart()) }

// All returns what is held, by device and content. Its size is bounded by twice
// [MaxDevices].
func (s *Statements) All() []*Statement {
	var out []*Statement
	for _, have := range s.latest {
		out = append(out, have...)
	}
	slices.SortFunc(out, func(a, b *Statement) int {
		x, y := a.id(), b.id()
		return cmp.Or(bytes.Compare(a.Device[:], b.Device[:]), bytes.Compare(x[:], y[:]))
	})
	return out
}

// Votes returns the votes of all devices, but of those that said two things at
// once. They are in no order.
func (s *Statements) Votes() []Vote {
	out := make([]Vote, 0, len(s.latest))
	for _, have := range s.latest {
		if len(have) == 1 {
			out = append(out, Vote{have[0].Account, have[0].Device, have[0].Seq, have[0].Head})
		}
	}
	return out
}

// Of returns the vote of a device, and false if it has none.
func (s *Statements) Of(d Device) (Vote, bool) {
	have := s.latest[d]
	if len(have) != 1 {
		return Vote{}, false
	}
	return Vote{have[0].Account, d, have[0].Seq, have[0].Head}, true
}

// Seq returns a seq above all that an account's devices have used. It returns
// [ErrFull] if there is none.
func (s *Statements) Seq(a Account) (uint64, error) {
	var top uint64
	for _, have := range s.latest {
		if have[0].Account == a {
			top = max(top, have[0].Seq)
		}
	}
	if top+1 == 0 {
		return 0, errors.Join(ErrFull, errors.New("agree: an account's last seq is used"))
	}
	return top + 1, nil
}
