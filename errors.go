package parley

import (
	"errors"
	"fmt"

	"github.com/parley-im/parley/identity"
)

// Errors of the client. Those of the packages below (identity.ErrNameNotFound,
// store.ErrPassphrase, …) come through wrapped, so errors.Is finds them.
var (
	// ErrClosed is returned by the methods of a Client after Close, by all that
	// read or change the profile or use the network.
	ErrClosed = errors.New("parley: client is closed")
	// ErrNoResolver is returned for an ENS name when the client was opened
	// without an RPC endpoint; addresses work without one.
	ErrNoResolver = errors.New("parley: a name needs an Ethereum RPC endpoint (only addresses work without)")
	// ErrNoRecord is returned when no peer that can be reached has the
	// account's log and bundle.
	ErrNoRecord = errors.New("parley: no peer has this account's keys")
	// ErrNobody is returned by Init when none of the bootstrap peers can be asked
	// about the account's earlier devices.
	ErrNobody = errors.New("parley: nobody can be asked about the account's earlier devices")
	// ErrSelf is returned when a message or an invitation is addressed to the
	// client's own account.
	ErrSelf = errors.New("parley: this is your own account")
	// ErrUnknownGroup is returned for a group name or id the client does not have.
	ErrUnknownGroup = errors.New("parley: no such group")
	// ErrGroupName is returned for a group name that is empty, too long, taken,
	// or has characters that do not print.
	ErrGroupName = errors.New("parley: bad group name")
	// ErrNotInGroup is returned when the client has left the group or was
	// removed from it.
	ErrNotInGroup = errors.New("parley: you are not in this group any more")
	// ErrNotAdmin is returned to a member who asks for what only the group's
	// creator may do.
	ErrNotAdmin = errors.New("parley: only the group's creator may do this")
	// ErrMember is returned for adding someone who is in the group already.
	ErrMember = errors.New("parley: is already a member")
	// ErrNotMember is returned for removing someone who is not in the group.
	ErrNotMember = errors.New("parley: is not a member")
	// ErrCreatorLeaves is returned to a creator who asks to leave: nobody else
	// could commit any more.
	ErrCreatorLeaves = errors.New("parley: the creator of a group cannot leave it while others are in it")
	// ErrRestored is returned for writing to a group after the profile was put
	// back to an earlier state: a key might serve twice, and what was agreed
	// since is unknown. Leave the group and have yourself added again.
	ErrRestored = errors.New("parley: this profile was put back to an earlier state, and cannot write to groups it was in then")
	// ErrTooLarge is returned for content that exceeds MaxContent, or a group
	// message that exceeds MaxGroupContent.
	ErrTooLarge = errors.New("parley: content is too large")
	// ErrContent is returned for content that is not canonical CBOR of the form
	// in docs/spec.md.
	ErrContent = errors.New("parley: malformed content")
	// ErrAppData is returned for a name, a key or a value of an application that
	// is empty or too long, and when it keeps too many.
	ErrAppData = errors.New("parley: application data")
	// ErrNoKey is returned by TryOpen for an envelope that none of the client's
	// keys opens.
	ErrNoKey = errors.New("parley: no key opens this envelope")
	// ErrUnknownMessage is returned for a message id the client does not have.
	ErrUnknownMessage = errors.New("parley: no such message")
	// ErrIdempotency is returned when an idempotency key comes again with
	// another recipient or other content.
	ErrIdempotency = errors.New("parley: idempotency key was used for another message")
	// ErrLog is returned when an account's log conflicts with what was seen of
	// it before, or its record does not fit the log.
	ErrLog = errors.New("parley: the account's log is not acceptable")
)

// PinChangedError is returned when an ENS name resolves to another address
// than the first one seen. A person decides: Client.AcceptPin takes the new
// address, doing nothing keeps the old.
type PinChangedError = identity.PinChangedError

// PeerError names the peer that an error is about, as the caller wrote it.
type PeerError struct {
	Peer string
	Err  error
}

func (e *PeerError) Error() string { return fmt.Sprintf("%s: %v", e.Peer, e.Err) }

// Unwrap returns the cause.
func (e *PeerError) Unwrap() error { return e.Err }
