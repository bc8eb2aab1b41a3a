package agree

import "errors"

// Refusals a caller acts differently on. Each leaves everything as it was.
var (
	// ErrMalformed is returned for bytes that are not what they should be, and
	// for values beyond a limit.
	ErrMalformed = errors.New("agree: malformed")
	// ErrUnknownEpoch is returned for what refers to an epoch that is not in the
	// tree.
	ErrUnknownEpoch = errors.New("agree: unknown epoch")
	// ErrFull is returned where a limit on what is kept is reached.
	ErrFull = errors.New("agree: too much is kept")
)
