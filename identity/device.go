package identity

import (
	"errors"
	"fmt"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// Labels of Sign for what a device signs in this package.
const (
	labelDevice = "device" // counter-signature over the digest of a link
	labelRevoke = "revoke" // terminal statement
	labelBundle = "bundle"
	labelHost   = "host" // counter-signature of the host key in a bundle
)

const deviceVersion = 1

// ErrDevice is returned for bytes that are not a device's stored secrets.
var ErrDevice = errors.New("identity: malformed device secrets")

// Device is the private half of one installation: three secp256k1 keys that
// are made on it and never leave it.
type Device struct {
	// Signing signs what the device says about itself, and is the signature key
	// of its leaves in groups.
	Signing *secp.PrivateKey
	// DH is the identity key of pairwise sessions.
	DH *secp.PrivateKey
	// Host is the key of the libp2p host. Host.Bytes is the raw 32-byte scalar
	// that libp2p's secp256k1 keys are made of.
	Host *secp.PrivateKey
}

// NewDevice makes a device's keys from crypto/rand.
func NewDevice() (*Device, error) {
	var d Device
	for _, k := range []**secp.PrivateKey{&d.Signing, &d.DH, &d.Host} {
		var err error
		if *k, err = secp.GenerateKey(); err != nil {
			return nil, fmt.Errorf("identity: making device keys: %w", err)
		}
	}
	return &d, nil
}

// Marshal returns the three private keys for the store, 97 bytes:
// version(1) || signing(32) || dh(32) || host(32).
func (d *Device) Marshal() secret.Key {
	b := make([]byte, 0, 1+3*secp.PrivateKeySize)
	b = wire.AppendUint8(b, deviceVersion)
	for _, k := range []*secp.PrivateKey{d.Signing, d.DH, d.Host} {
		scalar := k.Bytes()
		b = append(b, scalar.Bytes()...)
		scalar.Erase()
	}
	return secret.New(b)
}

// UnmarshalDevice reads what Marshal returned, or fails with [ErrDevice].
func UnmarshalDevice(k secret.Key) (*Device, error) {
	r := wire.NewReader(k.Bytes())
	if r.Uint8() != deviceVersion {
		return nil, ErrDevice
	}
	var d Device
	for _, key := range []**secp.PrivateKey{&d.Signing, &d.DH, &d.Host} {
		var err error
		if *key, err = secp.NewPrivateKey(r.Bytes(secp.PrivateKeySize)); err != nil {
			return nil, ErrDevice
		}
	}
	if r.Done() != nil {
		return nil, ErrDevice
	}
	return &d, nil
}

// String names the device by its public signing key.
func (d *Device) String() string { return "identity.Device(" + d.Signing.PublicKey().String() + ")" }
