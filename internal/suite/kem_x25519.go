package suite

import (
	"bytes"
	"fmt"

	"github.com/cloudflare/circl/dh/x25519"

	"github.com/parley-im/parley/internal/secret"
)

// kemX25519 is DHKEM(X25519, HKDF-SHA256), KEM 0x0020 (RFC 9180, Section 7.1).
// Keys are made and ciphertexts opened by crypto/hpke; this one is for encrypting to
// many, with the multiplications of circl, constant time as those of crypto/ecdh,
// which take twice as long.
var kemX25519 = dhKEM{id: 0x0020, kdf: hkdfSHA256, group: x25519Group{}, privateSize: x25519.Size}

type x25519Group struct{}

type x25519Key struct {
	k      secret.Key
	public *x25519.Key
}

func newX25519(private []byte) x25519Key {
	public, sk := new(x25519.Key), x25519.Key(private)
	x25519.KeyGen(public, &sk)
	clear(sk[:])
	return x25519Key{secret.New(private), public}
}

func (x25519Group) generate() (dhKey, error) {
	return newX25519(secret.Random(x25519.Size).Bytes()), nil
}

func (x25519Group) parse(private []byte) (dhKey, error) {
	if len(private) != x25519.Size {
		return nil, ErrKey
	}
	return newX25519(bytes.Clone(private)), nil
}

func (x25519Group) checkPublic(public []byte) error {
	if len(public) != x25519.Size || lowOrder25519([32]byte(public)) {
		return ErrKey
	}
	return nil
}

func (k x25519Key) Public() []byte             { return bytes.Clone(k.public[:]) }
func (k x25519Key) Bytes() secret.Key          { return k.k.Clone() }
func (k x25519Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.HPKEKey(redacted)") }

// dh returns ErrKey for a point of low order, with which the value would be all
// zeros (RFC 9180, Section 7.1.4).
func (k x25519Key) dh(public []byte) (secret.Key, error) {
	if len(public) != x25519.Size {
		return secret.Key{}, ErrKey
	}
	shared, sk, pk := new(x25519.Key), x25519.Key(k.k.Bytes()), x25519.Key(public)
	defer clear(sk[:])
	if !x25519.Shared(shared, &sk, &pk) {
		return secret.Key{}, ErrKey
	}
	return secret.New(shared[:]), nil
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

// lowOrders25519 are those encodings, little-endian. That no other makes the
// value zero follows from the group's structure: the scalar is a multiple of the
// cofactors, 8 and 4, so that it does for these alone.
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
