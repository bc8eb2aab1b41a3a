package identity

import (
	"context"
	"errors"
)

// The three ways a name fails to lead to an address. They are told apart by
// errors.Is, and a caller must: only ErrNameNotFound says something about the
// name, and ErrNameUnavailable says nothing at all.
var (
	// ErrNameNotFound is returned when the chain answered, and the name has no
	// address, or the address has no name that leads back to it.
	ErrNameNotFound = errors.New("identity: name does not resolve")
	// ErrNameUnavailable is returned when there was no answer to rely on: the RPC
	// endpoint or a gateway is down, slow or talks nonsense, or the chain has no
	// ENS. Trying again later may help.
	ErrNameUnavailable = errors.New("identity: names cannot be resolved now")
	// ErrNameInvalid is returned, inside a *[NameError], for a string that cannot
	// be a name.
	ErrNameInvalid = errors.New("identity: not a valid name")
)

// Resolver leads from names to addresses. [ENS] is one; another naming system
// can take its place.
type Resolver interface {
	// Resolve returns the address of a name. It normalises the name itself, and
	// fails with an error that is [ErrNameNotFound], [ErrNameUnavailable] or
	// [ErrNameInvalid].
	Resolve(ctx context.Context, name string) (Address, error)
}

// ReverseResolver is the optional ability of a [Resolver] to lead back.
type ReverseResolver interface {
	// Reverse returns the name that an address has chosen to be shown by, in
	// normalised form, after checking that the name leads to the address. It fails
	// as Resolve does; a name that leads elsewhere is [ErrNameNotFound].
	Reverse(ctx context.Context, addr Address) (string, error)
}
