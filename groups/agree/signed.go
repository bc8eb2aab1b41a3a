package agree

import (
	"bytes"
	"fmt"

	"github.com/parley-im/parley/internal/wire"
)

// What members sign outside of MLS begins alike:
//
//	struct {
//	    uint8 version = 1;
//	    LP group_id;         // at most 256 bytes
//	    LP account;          // at most 256 bytes, not empty
//	    opaque device[32];
//	    ...
//	}
//
// and is signed by Sign(label, m), m being the whole struct. Who signs in a group
// of a suite with another signature scheme signs what Sign hashes, by the scheme.

// Labels of Sign.
const (
	LabelStatement    = "statement"
	LabelBeacon       = "beacon"
	LabelOrder        = "order"
	LabelAnnouncement = "commit"
)

const signedVersion = 1

// Verifier judges signatures, by what the chain of epochs says of members.
type Verifier interface {
	// VerifyDevice returns [ErrSignature] unless sig is the device's over m, and
	// the device is or was a leaf of the account in some epoch of the group.
	VerifyDevice(account Account, device Device, label string, m, sig []byte) error
	// VerifyBeacon returns [ErrSignature] unless sig is over m by the epoch's
	// beacon key, and [ErrUnknownEpoch] if that is not known.
	VerifyBeacon(epoch CID, label string, m, sig []byte) error
	// MayOrder returns [ErrNotAllowed] unless the issuer's device is a leaf in the
	// order's Basis, whose roles let its account give it, and [ErrUnknownEpoch] if
	// the epoch is not known. It judges by that epoch alone. Everybody may remove
	// or resynchronise its own account.
	MayOrder(o *Order) error
}

// author is who signed, for which group.
type author struct {
	groupID []byte
	account Account
	device  Device
}

func (a author) append(b []byte) []byte {
	b = wire.AppendUint8(b, signedVersion)
	b = wire.AppendLP(b, a.groupID)
	b = wire.AppendLP(b, []byte(a.account))
	return append(b, a.device[:]...)
}

func readAuthor(r *wire.Reader) author {
	if r.Uint8() != signedVersion {
		r.Fail(wire.ErrValue)
	}
	a := author{groupID: bytes.Clone(r.LP(MaxGroupID)), account: Account(r.LP(MaxAccount))}
	if a.account == "" {
		r.Fail(wire.ErrValue)
	}
	r.Copy(a.device[:])
	return a
}

func malformed(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrMalformed, what, err)
}

// signedBy checks the group first: nothing else is looked at for another's.
func signedBy(a author, groupID []byte, v Verifier, label string, m, sig []byte) error {
	if !bytes.Equal(a.groupID, groupID) {
		return ErrWrongGroup
	}
	return v.VerifyDevice(a.account, a.device, label, m, sig)
}
