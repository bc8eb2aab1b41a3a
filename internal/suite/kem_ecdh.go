package suite

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"

	"github.com/parley-im/parley/internal/secret"
)

// The DHKEMs of RFC 9180, Section 7.1, over the NIST curves. Keys are made and
// ciphertexts opened by crypto/hpke; these are for encrypting to many.
var (
	kemP256 = dhKEM{id: 0x0010, kdf: hkdfSHA256, group: ecdhGroup{ecdh.P256()}, privateSize: 32, bitmask: 0xff}
	kemP384 = dhKEM{id: 0x0011, kdf: hkdfSHA384, group: ecdhGroup{ecdh.P384()}, privateSize: 48, bitmask: 0xff}
	kemP521 = dhKEM{id: 0x0012, kdf: hkdfSHA512, group: ecdhGroup{ecdh.P521()}, privateSize: 66, bitmask: 0x01}
)

type ecdhGroup struct{ curve ecdh.Curve }

type ecdhKey struct{ k *ecdh.PrivateKey }

func (g ecdhGroup) generate() (dhKey, error) {
	k, err := g.curve.GenerateKey(rand.Reader)
	return ecdhKey{k}, err
}

func (g ecdhGroup) parse(private []byte) (dhKey, error) {
	k, err := g.curve.NewPrivateKey(private)
	if err != nil {
		return nil, ErrKey
	}
	return ecdhKey{k}, nil
}

func (g ecdhGroup) checkPublic(public []byte) error {
	if _, err := g.curve.NewPublicKey(public); err != nil {
		return ErrKey
	}
	return nil
}

func (k ecdhKey) Public() []byte             { return k.k.PublicKey().Bytes() }
func (k ecdhKey) Bytes() secret.Key          { return secret.New(k.k.Bytes()) }
func (k ecdhKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.HPKEKey(redacted)") }

func (k ecdhKey) dh(public []byte) (secret.Key, error) {
	pk, err := k.k.Curve().NewPublicKey(public)
	if err != nil {
		return secret.Key{}, ErrKey
	}
	shared, err := k.k.ECDH(pk)
	if err != nil {
		return secret.Key{}, ErrKey
	}
	return secret.New(shared), nil
}
