package suite

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"

	"github.com/parley-im/parley/internal/secret"
)

// The DHKEMs of RFC 9180, Section 7.1, over the curves of crypto/ecdh. Keys are
// made and ciphertexts opened by crypto/hpke; these are for encrypting to many.
var (
	kemP256   = dhKEM{id: 0x0010, kdf: hkdfSHA256, group: ecdhGroup{ecdh.P256()}, privateSize: 32, bitmask: 0xff}
	kemP384   = dhKEM{id: 0x0011, kdf: hkdfSHA384, group: ecdhGroup{ecdh.P384()}, privateSize: 48, bitmask: 0xff}
	kemP521   = dhKEM{id: 0x0012, kdf: hkdfSHA512, group: ecdhGroup{ecdh.P521()}, privateSize: 66, bitmask: 0x01}
	kemX25519 = dhKEM{id: 0x0020, kdf: hkdfSHA256, group: ecdhGroup{ecdh.X25519()}, privateSize: 32}
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
	if g.curve == ecdh.X25519() && lowOrder25519([32]byte(public)) {
		return ErrKey
	}
	return nil
}

func (k ecdhKey) Public() []byte             { return k.k.PublicKey().Bytes() }
func (k ecdhKey) Bytes() secret.Key          { return secret.New(k.k.Bytes()) }
func (k ecdhKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.HPKEKey(redacted)") }

// dh returns ErrKey for a point of low order, with which the value would be all
// zeros (RFC 9180, Section 7.1.4).
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

// lowOrder25519 reports whether an X25519 public key is a point of low order: a
// member with such a key would stop every commit of its group, because nobody can
// encrypt to it. There are five such points on the curve and its twist, and two of
// them have a second encoding; the highest bit does not count (RFC 7748, Sections 5
// and 6.1).
func lowOrder25519(u [32]byte) bool {
	u[31] &= 0x7f
	return lowOrders25519[u]
}

// lowOrders25519 are those encodings, little-endian. That no other is refused by
// crypto/ecdh follows from the group's structure: the scalar is a multiple of the
// cofactors, 8 and 4, so that the value is zero for these alone.
var lowOrders25519 = map[[32]byte]bool{
	{}:     true, // order 2
	{0: 1}: true, // order 4, on the curve
	{ // order 8
		0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
	}: true,
	{ // order 8
		0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
	}: true,
	near25519(-1): true, // order 4, on the twist
	near25519(0):  true, // 0 again
	near25519(1):  true, // 1 again
}

// near25519 returns 2^255 - 19 + d.
func near25519(d int) [32]byte {
	var p [32]byte
	for i := range p {
		p[i] = 0xff
	}
	p[0], p[31] = byte(0xed+d), 0x7f
	return p
}
