package suite

import (
	"bytes"
	"fmt"

	"github.com/cloudflare/circl/dh/x448"

	"github.com/parley-im/parley/internal/secret"
)

// kemX448 is DHKEM(X448, HKDF-SHA512), KEM 0x0021 (RFC 9180, Section 7.1).
// circl has an HPKE too, but its DeriveKeyPair takes 56 bytes of input and no
// other number, where MLS gives it 64.
var kemX448 = dhKEM{id: 0x0021, kdf: hkdfSHA512, group: x448Group{}, privateSize: x448.Size}

type x448Group struct{}

type x448Key struct {
	k      secret.Key // clamped
	public *x448.Key
}

// anyX448 is some key, to find points of low order by.
var anyX448 = newX448(bytes.Repeat([]byte{1}, x448.Size))

// newX448 returns the key of 56 bytes, which it takes and clamps (RFC 9180,
// Section 7.1.2; RFC 7748, Section 5).
func newX448(private []byte) x448Key {
	private[0] &= 252
	private[x448.Size-1] |= 128
	public, sk := new(x448.Key), x448.Key(private)
	x448.KeyGen(public, &sk)
	clear(sk[:])
	return x448Key{secret.New(private), public}
}

func (x448Group) generate() (dhKey, error) {
	return newX448(secret.Random(x448.Size).Bytes()), nil
}

func (x448Group) parse(private []byte) (dhKey, error) {
	if len(private) != x448.Size {
		return nil, ErrKey
	}
	return newX448(bytes.Clone(private)), nil
}

// checkPublic refuses points of low order too, as for X25519: nobody could
// encrypt to them.
func (x448Group) checkPublic(public []byte) error {
	_, err := anyX448.dh(public)
	return err
}

func (k x448Key) Public() []byte             { return bytes.Clone(k.public[:]) }
func (k x448Key) Bytes() secret.Key          { return k.k.Clone() }
func (k x448Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.HPKEKey(redacted)") }

// dh returns ErrKey for a point of low order, with which the value would be all
// zeros (RFC 9180, Section 7.1.4).
func (k x448Key) dh(public []byte) (secret.Key, error) {
	if len(public) != x448.Size {
		return secret.Key{}, ErrKey
	}
	shared, sk, pk := new(x448.Key), x448.Key(k.k.Bytes()), x448.Key(public)
	defer clear(sk[:])
	if !x448.Shared(shared, &sk, &pk) {
		return secret.Key{}, ErrKey
	}
	return secret.New(shared[:]), nil
}
