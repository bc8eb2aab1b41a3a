package identity

import (
	"errors"
	"time"

	"github.com/parley-im/parley/internal/secp"
)

const (
	// KEMKeySize is the size of an ML-KEM-768 encapsulation key in bytes.
	KEMKeySize = 1184
	// InboxKeySize is the size of the inbox key in bytes.
	InboxKeySize = 32
)

var (
	// ErrBundle is returned for a malformed bundle, or one with an invalid key.
	ErrBundle = errors.New("identity: malformed bundle")
	// ErrBundleSignature is returned for a bundle that its device did not sign,
	// or whose host key did not counter-sign.
	ErrBundleSignature = errors.New("identity: bad signature in bundle")
	// ErrBundleExpired is returned for a bundle past its expiry.
	ErrBundleExpired = errors.New("identity: bundle has expired")
	// ErrBundleLifetime is returned for a bundle whose expiry lies further ahead
	// than [MaxBundleLifetime].
	ErrBundleLifetime = errors.New("identity: bundle expires too far ahead")
)

// Prekey is a public secp256k1 prekey with the number its owner gave it.
type Prekey struct {
	ID  uint32
	Key [secp.PublicKeySize]byte
}

// KEMPrekey is a public ML-KEM-768 prekey with the number its owner gave it.
type KEMPrekey struct {
	ID  uint32
	Key [KEMKeySize]byte
}

// Bundle is what a device publishes for others to write to it. It is signed by
// the device alone, so that rotation asks nothing of the wallet.
type Bundle struct {
	Account     Account
	Link        [DigestSize]byte // of the device's latest authorisation
	Seq         uint64           // grows with every bundle of the device
	Expiry      uint64           // Unix seconds
	Prekey      Prekey
	KEMPrekey   KEMPrekey
	OneTime     []Prekey // may be empty; ids differ
	KeyPackages [][]byte // MLS key packages, opaque here
	// InboxKey is the public value from which the tags of first messages are
	// made.
	InboxKey  [InboxKeySize]byte
	HostKey   [secp.PublicKeySize]byte // of the libp2p host
	Addrs     []string                 // multiaddrs of the device's own node
	Mailboxes []string                 // multiaddrs of its mailboxes, with peer ids

	HostSignature [secp.SignatureSize]byte // Sign("host", account || link || signing key) by the host key
	Signature     [secp.SignatureSize]byte // Sign("bundle", all before) by the signing key
}

// SignBundle fills in HostKey and both signatures. It returns [ErrBundle] for a
// bundle that exceeds a limit or holds an invalid key.
func SignBundle(b *Bundle, d *Device) error { return ErrBundle }

// ParseBundle reads a bundle within the limits and checks what can be checked
// without a log. It returns [ErrBundle]. Call Verify before use.
func ParseBundle(b []byte) (*Bundle, error) { return nil, ErrBundle }

// Marshal returns the wire form, at most [MaxBundleSize] bytes once signed.
func (b *Bundle) Marshal() []byte { return nil }

// Verify checks the bundle against its account's log at the given time and
// returns the device that made it. It returns [ErrOtherAccount],
// [ErrUnknownDevice], [ErrDeviceRevoked], [ErrDeviceExpired],
// [ErrBundleSignature], [ErrBundleExpired] or [ErrBundleLifetime].
func (b *Bundle) Verify(l *Log, now time.Time) (AuthorizedDevice, error) {
	return AuthorizedDevice{}, ErrBundle
}
