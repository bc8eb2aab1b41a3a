package identity

import (
	"crypto/mlkem"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/wire"
)

const bundleVersion = 1

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
	InboxKey [InboxKeySize]byte
	// HostKey is the public key of the device's libp2p host, and HostSignature is
	// Sign("host", account || link || signing key) by it.
	HostKey       [secp.PublicKeySize]byte
	HostSignature [secp.SignatureSize]byte
	Addrs         []string // multiaddrs of the device's own node
	Mailboxes     []string // multiaddrs of its mailboxes, with peer ids

	// Signature is Sign("bundle", all before) by the signing key.
	Signature [secp.SignatureSize]byte
}

// SignBundle fills in HostKey and both signatures. It returns [ErrBundle] for a
// bundle that exceeds a limit or holds an invalid key, and leaves it as it was.
func SignBundle(b *Bundle, d *Device) error {
	signed := *b
	signed.HostKey = d.Host.PublicKey().Compressed()
	signed.HostSignature = d.Host.Sign(labelHost, signed.hostContent(d.Signing.PublicKey()))
	signed.Signature = d.Signing.Sign(labelBundle, signed.content())
	if err := signed.check(); err != nil {
		return err
	}
	*b = signed
	return nil
}

// hostContent is what the host key signs to agree that this device names it:
// account(52) || link digest(32) || signing key(33).
func (b *Bundle) hostContent(signing secp.PublicKey) []byte {
	m := append(b.Account.Bytes(), b.Link[:]...)
	return append(m, signing.Bytes()...)
}

// content is what the device signs: everything before the signature.
func (b *Bundle) content() []byte {
	m := wire.AppendUint8(nil, bundleVersion)
	m = b.Account.append(m)
	m = append(m, b.Link[:]...)
	m = wire.AppendUint64(m, b.Seq)
	m = wire.AppendUint64(m, b.Expiry)
	m = b.Prekey.append(m)
	m = wire.AppendUint32(m, b.KEMPrekey.ID)
	m = append(m, b.KEMPrekey.Key[:]...)
	m = wire.AppendVecFunc(m, func(m []byte) []byte {
		for _, p := range b.OneTime {
			m = p.append(m)
		}
		return m
	})
	m = wire.AppendVecFunc(m, func(m []byte) []byte {
		for _, kp := range b.KeyPackages {
			m = wire.AppendVec(m, kp)
		}
		return m
	})
	m = append(m, b.InboxKey[:]...)
	m = append(m, b.HostKey[:]...)
	m = append(m, b.HostSignature[:]...)
	m = appendAddrs(m, b.Addrs)
	return appendAddrs(m, b.Mailboxes)
}

func (p Prekey) append(b []byte) []byte {
	return append(wire.AppendUint32(b, p.ID), p.Key[:]...)
}

func readPrekey(r *wire.Reader) (p Prekey) {
	p.ID = r.Uint32()
	r.Copy(p.Key[:])
	return p
}

func appendAddrs(b []byte, addrs []string) []byte {
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, a := range addrs {
			b = wire.AppendVec(b, []byte(a))
		}
		return b
	})
}

func readAddrs(r *wire.Reader) (addrs []string) {
	sub := r.Sub()
	for sub.More() {
		if len(addrs) == MaxMultiaddrs {
			sub.Fail(wire.ErrLength)
		}
		addrs = append(addrs, string(sub.VecMax(MaxMultiaddrSize)))
	}
	r.Join(sub)
	return addrs
}

// Marshal returns the wire form, at most [MaxBundleSize] bytes once signed.
func (b *Bundle) Marshal() []byte { return append(b.content(), b.Signature[:]...) }

// ParseBundle reads a bundle within the limits and checks what can be checked
// without a log. It returns [ErrBundle]. Call Verify before use. The bundle
// shares no memory with its input.
func ParseBundle(in []byte) (*Bundle, error) {
	if len(in) > MaxBundleSize {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrBundle, MaxBundleSize)
	}
	r := wire.NewReader(in)
	if r.Uint8() != bundleVersion {
		r.Fail(wire.ErrValue)
	}
	b := new(Bundle)
	b.Account = readAccount(r)
	r.Copy(b.Link[:])
	b.Seq = r.Uint64()
	b.Expiry = r.Uint64()
	b.Prekey = readPrekey(r)
	b.KEMPrekey.ID = r.Uint32()
	r.Copy(b.KEMPrekey.Key[:])
	sub := wire.NewReader(r.VecMax(MaxOneTimePrekeys * (4 + secp.PublicKeySize)))
	for sub.More() {
		b.OneTime = append(b.OneTime, readPrekey(sub))
	}
	r.Join(sub)
	sub = r.Sub()
	for sub.More() {
		if len(b.KeyPackages) == MaxKeyPackages {
			sub.Fail(wire.ErrLength)
		}
		b.KeyPackages = append(b.KeyPackages, append([]byte(nil), sub.VecMax(MaxKeyPackageSize)...))
	}
	r.Join(sub)
	r.Copy(b.InboxKey[:])
	r.Copy(b.HostKey[:])
	r.Copy(b.HostSignature[:])
	b.Addrs = readAddrs(r)
	b.Mailboxes = readAddrs(r)
	r.Copy(b.Signature[:])
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return b, nil
}

// check enforces the rules on a bundle's own fields. It returns [ErrBundle].
func (b *Bundle) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrBundle, what) }
	if len(b.OneTime) > MaxOneTimePrekeys || len(b.KeyPackages) > MaxKeyPackages ||
		len(b.Addrs) > MaxMultiaddrs || len(b.Mailboxes) > MaxMultiaddrs {
		return bad("too many keys or addresses")
	}
	if b.Expiry > maxTime {
		return bad("expiry is out of range")
	}
	if _, err := secp.ParsePublicKey(b.Prekey.Key[:]); err != nil {
		return bad("prekey is not a point")
	}
	if _, err := secp.ParsePublicKey(b.HostKey[:]); err != nil {
		return bad("host key is not a point")
	}
	if _, err := mlkem.NewEncapsulationKey768(b.KEMPrekey.Key[:]); err != nil {
		return bad("not an ML-KEM-768 key")
	}
	seen := make(map[uint32]bool, len(b.OneTime))
	for _, p := range b.OneTime {
		if _, err := secp.ParsePublicKey(p.Key[:]); err != nil || seen[p.ID] {
			return bad("one-time prekey is not a point, or comes twice")
		}
		seen[p.ID] = true
	}
	for _, kp := range b.KeyPackages {
		if len(kp) == 0 || len(kp) > MaxKeyPackageSize {
			return bad("key package is empty or too long")
		}
	}
	for _, addrs := range [][]string{b.Addrs, b.Mailboxes} {
		for _, a := range addrs {
			if len(a) > MaxMultiaddrSize || !isMultiaddr(a) {
				return bad("not a multiaddr")
			}
		}
	}
	if len(b.content())+secp.SignatureSize > MaxBundleSize {
		return bad("too long")
	}
	return nil
}

// isMultiaddr reports whether s has the look of a multiaddr: a slash and
// printable ASCII without spaces. What it means is for transport to say.
func isMultiaddr(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return len(s) > 1 && s[0] == '/'
}

// Verify checks the bundle against its account's log at the given time and
// returns the device that made it. It returns [ErrOtherAccount],
// [ErrUnknownDevice], [ErrDeviceRevoked], [ErrDeviceExpired],
// [ErrBundleSignature], [ErrBundleExpired] or [ErrBundleLifetime].
func (b *Bundle) Verify(l *Log, now time.Time) (AuthorizedDevice, error) {
	if l.account != b.Account {
		return AuthorizedDevice{}, ErrOtherAccount
	}
	d, err := l.Device(b.Link, now)
	if err != nil {
		return AuthorizedDevice{}, err
	}
	if err := d.SigningKey.Verify(labelBundle, b.content(), b.Signature[:]); err != nil {
		return AuthorizedDevice{}, fmt.Errorf("%w: not by the device", ErrBundleSignature)
	}
	// The host agrees to be named: else a device could claim a stranger's node
	// as its own and have its contacts dial it.
	host, err := secp.ParsePublicKey(b.HostKey[:])
	if err != nil || host.Verify(labelHost, b.hostContent(d.SigningKey), b.HostSignature[:]) != nil {
		return AuthorizedDevice{}, fmt.Errorf("%w: not by the host", ErrBundleSignature)
	}
	switch expiry := time.Unix(int64(b.Expiry), 0); {
	case !now.Before(expiry):
		return AuthorizedDevice{}, ErrBundleExpired
	case expiry.After(now.Add(MaxBundleLifetime + ClockSkew)):
		return AuthorizedDevice{}, ErrBundleLifetime
	}
	return d, nil
}
