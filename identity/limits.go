package identity

import "time"

// Limits of what this package accepts, part of the protocol (docs/spec.md).
const (
	// MaxDeviceName bounds a device's name, in printable ASCII characters.
	MaxDeviceName = 64
	// MaxLinks is the number of links in a log, those of abandoned branches
	// included.
	MaxLinks = 96
	// MaxHeals is the number of conflicting links that one link heals.
	MaxHeals = 8
	// MaxRevocations is the number of self-revocations in a log.
	MaxRevocations = 64
	// MaxLogSize bounds the wire form of a log in bytes. The first message to a
	// contact carries its sender's log, and has to fit one envelope.
	MaxLogSize = 32 << 10

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
