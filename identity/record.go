package identity

import (
	"errors"
	"time"
)

// ErrRecord is returned for bytes that are not LP(log) || LP(bundle).
var ErrRecord = errors.New("identity: malformed record")

// Record is what a node serves under an account's lookup key: the log, and the
// bundle of one of its devices, both verified.
type Record struct {
	Log    *Log
	Bundle *Bundle
	Device AuthorizedDevice // the device that made the bundle
}

// MarshalRecord returns LP(log) || LP(bundle).
func MarshalRecord(l *Log, b *Bundle) []byte { return nil }

// VerifyRecord reads and verifies a record of the wanted account in full. Its
// errors are [ErrRecord] and those of [ParseLog], [ParseBundle] and
// Bundle.Verify, a *[ConflictError] for a frozen log, and [ErrOtherAccount]. The
// caller merges the log with the one it has, and verifies the bundle again if
// that changed something.
func VerifyRecord(b []byte, want Account, now time.Time) (*Record, error) { return nil, ErrRecord }
