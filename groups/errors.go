package groups

import (
	"errors"
	"fmt"

	"github.com/parley-im/parley/treekem"
)

// Refusals a caller acts differently on. Every one leaves the state as it was;
// errors.Is finds them under the context they are wrapped in.
var (
	// ErrMalformed is returned for bytes that are not what they should be: a
	// codec error, a value outside its type, a limit exceeded.
	ErrMalformed = errors.New("groups: malformed message")
	// ErrUnsupported is returned for a well-formed message, proposal or suite
	// that this package does not act on.
	ErrUnsupported = errors.New("groups: not supported")
	// ErrWrongGroup is returned for a message of another group.
	ErrWrongGroup = errors.New("groups: message is for another group")
	// ErrNotMember is returned when the sender, or the target of an operation,
	// is not a leaf of the group in this epoch.
	ErrNotMember = errors.New("groups: not a member")
	// ErrRemoved is returned by Merge when the commit removes this very member:
	// there is no next epoch for it.
	ErrRemoved = errors.New("groups: removed from the group")
	// ErrNotAdmin is returned when the roles of the group do not allow the
	// sender what it does.
	ErrNotAdmin = errors.New("groups: not allowed by the group's roles")
	// ErrConfirmationTag is returned for a commit or a Welcome whose epoch does
	// not come out as its author says.
	ErrConfirmationTag = errors.New("groups: confirmation tag differs")
	// ErrMembershipTag is returned for a PublicMessage of someone who does not
	// hold the epoch's keys.
	ErrMembershipTag = errors.New("groups: membership tag differs")
	// ErrSignature is returned for a signature that does not verify.
	ErrSignature = errors.New("groups: invalid signature")
	// ErrReplay is returned for a message whose key was used already, or was
	// skipped so long ago that it is gone.
	ErrReplay = errors.New("groups: message key already used")
	// ErrTooFarAhead is returned for a generation more than
	// [MaxGenerationsAhead] beyond the next one.
	ErrTooFarAhead = errors.New("groups: generation too far ahead")
	// ErrExhausted is returned when an own ratchet or counter has reached its
	// end; the next epoch has a new one.
	ErrExhausted = errors.New("groups: ratchet exhausted in this epoch")
	// ErrDecrypt is returned when a ciphertext does not open, whatever the
	// reason.
	ErrDecrypt = errors.New("groups: decryption failed")
	// ErrOwnMessage is returned for a message this member sent itself, which
	// cannot be opened, as its key is gone.
	ErrOwnMessage = errors.New("groups: own message")
	// ErrWelcomeNotForUs is returned when a Welcome has no secrets for the key
	// package it is opened with.
	ErrWelcomeNotForUs = errors.New("groups: welcome is not for this key package")
	// ErrLifetime is returned by the committer's checks for a key package
	// outside its validity, or with one longer than [MaxLifetime].
	ErrLifetime = errors.New("groups: outside of lifetime")
	// ErrDuplicate is returned when a key or a member would be twice in the
	// group, or two proposals concern one leaf.
	ErrDuplicate = errors.New("groups: duplicate")
	// ErrProposal is returned for a proposal, or a list of proposals, that RFC
	// 9420, Section 12 forbids.
	ErrProposal = errors.New("groups: invalid proposal")
	// ErrUnknownProposal is returned for a commit that refers to a proposal
	// not seen.
	ErrUnknownProposal = errors.New("groups: commit refers to an unknown proposal")
	// ErrUnknownPSK is returned when a commit or Welcome needs a pre-shared key
	// that was not supplied.
	ErrUnknownPSK = errors.New("groups: unknown pre-shared key")
	// ErrKeyPackage is returned for a key package that does not validate.
	ErrKeyPackage = errors.New("groups: invalid key package")
	// ErrCapabilities is returned when a leaf does not support what the group
	// requires, or the group uses.
	ErrCapabilities = errors.New("groups: capabilities do not suffice")
	// ErrCredential is returned by a committer whose verifier refused a
	// credential, and for a successor leaf whose subject differs.
	ErrCredential = errors.New("groups: credential refused")
	// ErrTree is returned for a ratchet tree or an update path that does not
	// validate.
	ErrTree = errors.New("groups: invalid ratchet tree")
	// ErrRoles is returned for a missing or invalid roles extension.
	ErrRoles = errors.New("groups: missing or invalid roles")
	// ErrReInit is returned for anything that would go on in a group after the
	// commit of a ReInit (RFC 9420, Section 12.4.2).
	ErrReInit = errors.New("groups: closed by a re-initialisation")
	// ErrLink is returned for a Welcome that is not of the successor or the
	// branch it should be (RFC 9420, Sections 11.2 and 11.3).
	ErrLink = errors.New("groups: not linked to the other group as it should be")
	// ErrState is returned for stored state that does not decode.
	ErrState = errors.New("groups: stored state is damaged")
	// ErrLastMember is returned for a commit that would leave nobody who may
	// commit.
	ErrLastMember = errors.New("groups: would leave nobody in charge")
)

// EpochError is returned for a message of another epoch than the one it was
// given to. Nothing of the message has been verified.
type EpochError struct {
	Have uint64 // the epoch it was given to
	Got  uint64 // the epoch the message names
}

func (e *EpochError) Error() string {
	return fmt.Sprintf("groups: message is for epoch %d, state is at %d", e.Got, e.Have)
}

// treeError gives an error of package treekem its place among this package's.
func treeError(err error) error {
	for _, m := range []struct{ from, to error }{
		{treekem.ErrMalformed, ErrMalformed},
		{treekem.ErrSignature, ErrSignature},
		{treekem.ErrExpired, ErrLifetime},
		{treekem.ErrDuplicateKey, ErrDuplicate},
		{treekem.ErrNotMember, ErrNotMember},
		{treekem.ErrOpen, ErrDecrypt},
	} {
		if errors.Is(err, m.from) {
			return fmt.Errorf("%w: %w", m.to, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrTree, err)
}
