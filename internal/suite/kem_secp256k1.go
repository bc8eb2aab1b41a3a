package suite

import (
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// kemSecp256k1 is DHKEM(secp256k1, HKDF-SHA256), KEM 0x0016 (docs/spec.md):
// 65-byte points, and the x coordinate as the Diffie-Hellman value.
var kemSecp256k1 = dhKEM{id: 0x0016, kdf: hkdfSHA256, group: secpGroup{}, privateSize: secp.PrivateKeySize, bitmask: 0xff}

type secpGroup struct{}

type secpHPKEKey struct{ k *secp.PrivateKey }

// Secp256k1HPKEKey returns k as a KEM key of suite 0xF0E1.
func Secp256k1HPKEKey(k *secp.PrivateKey) HPKEKey { return secpHPKEKey{k} }

func (secpGroup) generate() (dhKey, error) {
	k, err := secp.GenerateKey()
	if err != nil {
		return nil, err
	}
	return secpHPKEKey{k}, nil
}

func (secpGroup) parse(private []byte) (dhKey, error) {
	k, err := secp.NewPrivateKey(private)
	if err != nil {
		return nil, ErrKey
	}
	return secpHPKEKey{k}, nil
}

func (secpGroup) checkPublic(public []byte) error {
	if _, err := secp.ParseUncompressed(public); err != nil {
		return ErrKey
	}
	return nil
}

func (k secpHPKEKey) Public() []byte    { return k.k.PublicKey().Uncompressed() }
func (k secpHPKEKey) Bytes() secret.Key { return k.k.Bytes() }

func (k secpHPKEKey) dh(public []byte) (secret.Key, error) {
	pk, err := secp.ParseUncompressed(public)
	if err != nil {
		return secret.Key{}, ErrKey
	}
	shared, err := k.k.ECDH(pk)
	if err != nil {
		return secret.Key{}, ErrKey
	}
	return shared, nil
}
