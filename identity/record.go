package identity

import (
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/wire"
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

// MarshalRecord returns LP(log) || LP(bundle), at most [MaxRecordSize] bytes.
func MarshalRecord(l *Log, b *Bundle) []byte {
	return wire.AppendLP(wire.AppendLP(nil, l.Marshal()), b.Marshal())
}

// VerifyRecord reads and verifies a record of the wanted account in full. Its
// errors are [ErrRecord] and those of [ParseLog], [ParseBundle] and
// [Bundle.Verify], a *[ConflictError] for a frozen log, and [ErrOtherAccount].
//
// The record proves itself, but an old one does too: the caller merges the log
// with the one it has by [MergeLogs], calls Bundle.Verify again with the result
// if that is longer or revokes more, and keeps the bundle of the highest Seq.
func VerifyRecord(b []byte, want Account, now time.Time) (*Record, error) {
	r := wire.NewReader(b)
	logBytes, bundleBytes := r.LP(MaxLogSize), r.LP(MaxBundleSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	l, err := ParseLog(logBytes)
	if err != nil {
		return nil, err
	}
	if l.account != want {
		return nil, ErrOtherAccount
	}
	if l.conflict != nil {
		return nil, l.conflict
	}
	bundle, err := ParseBundle(bundleBytes)
	if err != nil {
		return nil, err
	}
	d, err := bundle.Verify(l, now)
	if err != nil {
		return nil, err
	}
	return &Record{Log: l, Bundle: bundle, Device: d}, nil
}
