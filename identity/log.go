package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/secp"
)

var (
	// ErrLog is returned for a log that is malformed or breaks a rule of the
	// chain: a wrong prev or seq, an unreachable link, a limit.
	ErrLog = errors.New("identity: invalid log")
	// ErrLogSignature is returned for a log with a signature that is not of the
	// account's wallet, or not of the device.
	ErrLogSignature = errors.New("identity: bad signature in log")
	// ErrContractWallet is returned for the log of a contract wallet, whose
	// signatures only a chain can check.
	ErrContractWallet = errors.New("identity: the account is a contract wallet, whose log this version cannot verify")
	// ErrOtherAccount is returned when a log, bundle or record is of another
	// account than the one that was wanted.
	ErrOtherAccount = errors.New("identity: is of another account")
	// ErrUnknownDevice is returned for a device that the log does not list.
	ErrUnknownDevice = errors.New("identity: the account has not authorised this device")
	// ErrDeviceRevoked is returned for a device that was revoked; its signing
	// key is never authorised again.
	ErrDeviceRevoked = errors.New("identity: the device was revoked")
	// ErrDeviceExpired is returned for a device whose authorisation is over, or
	// has not begun.
	ErrDeviceExpired = errors.New("identity: the device's authorisation is not valid at this time")
)

// ConflictError is the alert that a log has different links at one seq: the
// wallet's key is used by two who do not know of each other, or was stolen. The
// log stays as it was before Seq until the wallet signs a healing link.
type ConflictError struct {
	Account Account
	Seq     uint64
	Digests [][DigestSize]byte // of the conflicting links, sorted, at least two
	Log     *Log               // the frozen log
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("identity: %s has %d conflicting device links at seq %d (%x and %x): the log is frozen until the wallet heals it",
		e.Account, len(e.Digests), e.Seq, e.Digests[0], e.Digests[1])
}

// AuthorizedDevice is a device as its account's log has it.
type AuthorizedDevice struct {
	Link       [DigestSize]byte // digest of the latest link that authorised it
	Seq        uint64           // of that link
	Name       string
	SigningKey secp.PublicKey
	DHKey      secp.PublicKey
	NotBefore  time.Time
	NotAfter   time.Time
}

// Log is an account's list of devices, verified. It is immutable: what changes
// a log returns another one. It is safe for concurrent use.
type Log struct {
	account Account
}

// NewLog returns the empty log of an account.
func NewLog(account Account) *Log { return &Log{account: account} }

// ParseLog reads and verifies a log in full. It returns [ErrLog],
// [ErrLogSignature] or [ErrContractWallet]. A log with a conflict is returned
// without an error; see Conflict.
func ParseLog(b []byte) (*Log, error) { return nil, ErrLog }

// Marshal returns the wire form.
func (l *Log) Marshal() []byte { return nil }

// Account returns the account whose log it is.
func (l *Log) Account() Account { return l.account }

// Len returns the number of links that count: one more than the highest seq.
func (l *Log) Len() int { return 0 }

// Conflict returns the conflict that freezes the log, or nil.
func (l *Log) Conflict() *ConflictError { return nil }

// Devices lists the devices that are authorised at the given time and not
// revoked, in the order of their links.
func (l *Log) Devices(now time.Time) []AuthorizedDevice { return nil }

// Device returns the device with the given link digest. It returns
// [ErrUnknownDevice], [ErrDeviceRevoked] or [ErrDeviceExpired].
func (l *Log) Device(link [DigestSize]byte, now time.Time) (AuthorizedDevice, error) {
	return AuthorizedDevice{}, ErrUnknownDevice
}

// MergeLogs returns the union of two logs of one account, so that a verifier
// never goes back: nothing that old knows is lost, whatever new is. old may be
// nil. Conflicts come to light here. It returns [ErrOtherAccount], or [ErrLog]
// when the union exceeds a limit; the caller then keeps old.
func MergeLogs(old, new *Log) (*Log, error) { return nil, ErrLog }

// Authorization is what the owner decides about a device.
type Authorization struct {
	Name      string // at most MaxDeviceName printable ASCII characters
	NotBefore time.Time
	NotAfter  time.Time
	// Heal makes the new link end a conflict. Without it a frozen log takes no
	// link.
	Heal bool
}

// AuthorizeDevice asks the wallet to authorise the device and returns the log
// with the new link. It returns [ErrDeviceRevoked] for a device that was revoked
// before, a *[ConflictError] for a frozen log, [ErrWallet] for a bad signature,
// and what the wallet returns.
func AuthorizeDevice(ctx context.Context, l *Log, w Wallet, d *Device, a Authorization) (*Log, error) {
	return nil, ErrWallet
}

// RevokeDevice asks the wallet to revoke a signing key for ever and returns the
// log with the new link. heal is as in [Authorization]. Its errors are those of
// [AuthorizeDevice].
func RevokeDevice(ctx context.Context, l *Log, w Wallet, signingKey secp.PublicKey, reason Reason, now time.Time, heal bool) (*Log, error) {
	return nil, ErrWallet
}

// RevokeSelf returns the log with the terminal statement of a device about
// itself, which needs no wallet. The device must be in the log.
func RevokeSelf(l *Log, d *Device, now time.Time) (*Log, error) { return nil, ErrUnknownDevice }
