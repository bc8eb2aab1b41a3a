package identity

import "time"

// Limits of what this package accepts, part of the protocol (docs/spec.md).
const (
	// MaxDeviceName bounds a device's name, in printable ASCII characters.
	MaxDeviceName = 64
	// MaxLinks is the number of links in a log, those of abandoned branches
	// included.
	MaxLinks = 64
	// MaxHeals is the number of conflicting links that one link heals.
	MaxHeals = 8
	// MaxLinksSize bounds the links of a log in bytes: MaxLinks of the longest
	// kind, a few of which heal a conflict.
	MaxLinksSize = 24 << 10
	// MaxRevocations is the number of self-revocations in a log: as many as there
	// can be devices, so that there is always room for one more.
	MaxRevocations = MaxLinks
	// MaxLogSize bounds the wire form of a log in bytes. It leaves room for every
	// self-revocation. The first message to a contact carries its sender's log,
	// and has to fit one envelope.
	MaxLogSize = 32 << 10

	// reservedLinks is how many places in a log AuthorizeDevice leaves free, so
	// that a device can always be revoked and a conflict healed. It is a policy
	// of this implementation, not a rule of the protocol.
	reservedLinks = 16

	// MaxBundleSize bounds the wire form of a bundle in bytes.
	MaxBundleSize = 60 << 10
	// MaxOneTimePrekeys is the number of one-time prekeys in a bundle.
	MaxOneTimePrekeys = 128
	// MaxKeyPackages is the number of MLS key packages in a bundle.
	MaxKeyPackages = 16
	// MaxKeyPackageSize bounds an MLS key package in bytes.
	MaxKeyPackageSize = 8 << 10
	// MaxMultiaddrs is the number of addresses of the device's own node, and of
	// its mailboxes, each.
	MaxMultiaddrs = 16
	// MaxMultiaddrSize bounds a multiaddr in its text form, in bytes.
	MaxMultiaddrSize = 256
	// MaxBundleLifetime is how far ahead the expiry of a bundle may lie. Private
	// halves of prekeys are kept as long.
	MaxBundleLifetime = 30 * 24 * time.Hour

	// MaxRecordSize bounds a record: LP(log) || LP(bundle).
	MaxRecordSize = 4 + MaxLogSize + 4 + MaxBundleSize

	// ClockSkew is how much a verifier's clock may be behind the one that
	// signed.
	ClockSkew = 10 * time.Minute

	// MaxKeystoreSize bounds a keystore file in bytes.
	MaxKeystoreSize = 64 << 10
	// MaxKeystoreMemory bounds what the key derivation of a keystore may
	// allocate, in bytes: scrypt takes 128·n·r, which is 256 MiB at the cost
	// that geth writes.
	MaxKeystoreMemory = 1 << 30
	// MaxKeystoreWork bounds the work of a key derivation: 128·n·r·p bytes
	// mixed by scrypt, or 128 times the iterations of PBKDF2.
	MaxKeystoreWork = 4 << 30
)
