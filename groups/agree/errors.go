package agree

import "errors"

// Refusals a caller acts differently on. Each leaves everything as it was.
var (
	// ErrMalformed is returned for bytes that are not what they should be, and
	// for values beyond a limit.
	ErrMalformed = errors.New("agree: malformed")
	// ErrWrongGroup is returned for what was signed for another group.
	ErrWrongGroup = errors.New("agree: of another group")
	// ErrSignature is what a [Verifier] returns for a signature that does not
	// verify.
	ErrSignature = errors.New("agree: invalid signature")
	// ErrNotAllowed is what a [Verifier] returns for an order whose issuer may not
	// give it.
	ErrNotAllowed = errors.New("agree: the issuer may not")
	// ErrUnknownEpoch is returned for what refers to an epoch that is not in the
	// tree.
	ErrUnknownEpoch = errors.New("agree: unknown epoch")
	// ErrUnknownOrder is returned for an order with causal heads that are not
	// known. It can be put in when they are.
	ErrUnknownOrder = errors.New("agree: unknown order")
	// ErrStale is returned for a statement that a later one of its device has
	// replaced.
	ErrStale = errors.New("agree: replaced by a later statement")
	// ErrFull is returned where a limit on what is kept is reached.
	ErrFull = errors.New("agree: too much is kept")
)
