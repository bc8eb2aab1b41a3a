// Package secp is secp256k1 for Parley: the only place where a secret scalar
// is touched. Every operation on a secret is constant time (secp256k1-voi,
// RFC 6979 nonces); verification and recovery, which see public values only,
// go through go-ethereum/crypto (libsecp256k1 with cgo, pure Go without).
//
// Points are compressed (33 bytes) everywhere but in HPKE (65 bytes) and are
// checked to be on the curve; signatures are low-s only.
package secp

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
	"gitlab.com/yawning/secp256k1-voi/secec"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// Sizes in bytes.
const (
	PrivateKeySize           = 32
	PublicKeySize            = 33 // compressed
	UncompressedSize         = 65
	SharedSize               = 32 // x coordinate
	SignatureSize            = 64 // r || s
	RecoverableSignatureSize = 65 // r || s || v, v in {0, 1}
	DigestSize               = 32
)

var (
	// ErrPrivateKey is returned for a scalar that is zero, not below the group
	// order, or not 32 bytes.
	ErrPrivateKey = errors.New("secp: invalid private key")
	// ErrPublicKey is returned for bytes that are not a point on the curve in
	// the expected encoding.
	ErrPublicKey = errors.New("secp: invalid public key")
	// ErrSignature is returned when a signature does not verify, is malformed,
	// or has a high s.
	ErrSignature = errors.New("secp: invalid signature")
)

// PrivateKey is a secret scalar with its public key. The zero value is not
// usable. It prints as its public key.
type PrivateKey struct {
	_   [0]func()
	k   *secec.PrivateKey
	pub PublicKey
}

// GenerateKey returns a new key from crypto/rand.
func GenerateKey() (*PrivateKey, error) {
	k, err := secec.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("secp: generating a key: %w", err)
	}
	return wrap(k), nil
}

// NewPrivateKey returns the key with the given 32-byte big-endian scalar, which
// it copies. It returns [ErrPrivateKey] for zero and for values not below the
// group order.
func NewPrivateKey(scalar []byte) (*PrivateKey, error) {
	if len(scalar) != PrivateKeySize {
		return nil, ErrPrivateKey
	}
	k, err := secec.NewPrivateKey(scalar)
	if err != nil {
		return nil, ErrPrivateKey
	}
	return wrap(k), nil
}

func wrap(k *secec.PrivateKey) *PrivateKey {
	return &PrivateKey{k: k, pub: fromPoint(k.PublicKey())}
}

// Bytes returns a copy of the 32-byte scalar.
func (k *PrivateKey) Bytes() secret.Key { return secret.New(k.k.Bytes()) }

// PublicKey returns the public half.
func (k *PrivateKey) PublicKey() PublicKey { return k.pub }

// String returns the public key, never the scalar.
func (k *PrivateKey) String() string { return "secp.PrivateKey(of " + k.pub.String() + ")" }

// GoString returns what String does.
func (k *PrivateKey) GoString() string { return k.String() }

// Format writes what String returns, whatever the verb.
func (k *PrivateKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// ECDH returns the 32-byte x coordinate of the shared point. The receiver and
// peer must both be valid, as their constructors made sure; the result is then
// never the point at infinity.
func (k *PrivateKey) ECDH(peer PublicKey) (secret.Key, error) {
	if peer.p == nil {
		return secret.Key{}, ErrPublicKey
	}
	x, err := k.k.ECDH(peer.p)
	if err != nil {
		return secret.Key{}, ErrPublicKey
	}
	return secret.New(x), nil
}

// SignDigest returns r||s over a 32-byte digest: ECDSA, RFC 6979, low s.
func (k *PrivateKey) SignDigest(digest [DigestSize]byte) [SignatureSize]byte {
	full := k.SignRecoverable(digest)
	return [SignatureSize]byte(full[:SignatureSize])
}

// SignRecoverable returns r||s||v with v in {0, 1}, as Ethereum signatures have
// it before their offset (27, or EIP-155).
func (k *PrivateKey) SignRecoverable(digest [DigestSize]byte) [RecoverableSignatureSize]byte {
	r, s, v, err := k.k.SignRaw(secec.RFC6979SHA256(), digest[:])
	if err != nil {
		panic("secp: signing a 32-byte digest cannot fail: " + err.Error())
	}
	return [RecoverableSignatureSize]byte(secec.BuildCompactRecoverableSignature(r, s, v))
}

// Sign is Sign(label, m) of the specification: ECDSA over
// SHA-256(LP("parley/1 sig") || LP(label) || LP(m)), 64 bytes r||s.
func (k *PrivateKey) Sign(label string, m []byte) [SignatureSize]byte {
	return k.SignDigest(labelled(label, m))
}

// PublicKey is a point on the curve, not the point at infinity. The zero value
// is invalid. Compare with Equal.
type PublicKey struct {
	_ [0]func()
	p *secec.PublicKey
	c [PublicKeySize]byte
}

// ParsePublicKey decodes a 33-byte compressed point and checks that it is on
// the curve. It returns [ErrPublicKey] for anything else.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != PublicKeySize {
		return PublicKey{}, ErrPublicKey
	}
	return parse(b)
}

// CheckPublicKey returns the error of [ParsePublicKey], faster: the key is public,
// so that libsecp256k1 may look at it.
func CheckPublicKey(b []byte) error {
	if len(b) != PublicKeySize {
		return ErrPublicKey
	}
	if _, err := crypto.DecompressPubkey(b); err != nil {
		return ErrPublicKey
	}
	return nil
}

// ParseUncompressed decodes a 65-byte uncompressed point, as HPKE has it.
func ParseUncompressed(b []byte) (PublicKey, error) {
	if len(b) != UncompressedSize || b[0] != 4 {
		return PublicKey{}, ErrPublicKey
	}
	return parse(b)
}

func parse(b []byte) (PublicKey, error) {
	p, err := secec.NewPublicKey(b)
	if err != nil {
		return PublicKey{}, ErrPublicKey
	}
	return fromPoint(p), nil
}

func fromPoint(p *secec.PublicKey) PublicKey {
	return PublicKey{p: p, c: [PublicKeySize]byte(p.CompressedBytes())}
}

// IsZero reports whether p is the invalid zero value.
func (p PublicKey) IsZero() bool { return p.p == nil }

// Bytes returns a copy of the 33-byte compressed encoding.
func (p PublicKey) Bytes() []byte { return append([]byte(nil), p.c[:]...) }

// Compressed returns the 33-byte compressed encoding as an array, usable as a
// map key.
func (p PublicKey) Compressed() [PublicKeySize]byte { return p.c }

// Uncompressed returns a copy of the 65-byte encoding; p must be valid.
func (p PublicKey) Uncompressed() []byte { return p.p.Bytes() }

// Equal reports whether both are the same point.
func (p PublicKey) Equal(q PublicKey) bool { return p.c == q.c }

// String returns the compressed encoding in hex.
func (p PublicKey) String() string { return fmt.Sprintf("%x", p.c[:]) }

// Verify checks a signature made by [PrivateKey.Sign]. It returns
// [ErrSignature] unless it is 64 bytes, low-s, and over label and m.
func (p PublicKey) Verify(label string, m, sig []byte) error {
	return p.VerifyDigest(labelled(label, m), sig)
}

// VerifyDigest checks r||s over a digest. It returns [ErrSignature] unless sig
// is 64 bytes, low-s, and valid.
func (p PublicKey) VerifyDigest(digest [DigestSize]byte, sig []byte) error {
	if p.p == nil {
		return ErrSignature
	}
	return VerifyDigest(p.c[:], digest, sig)
}

// VerifyDigest is [PublicKey.VerifyDigest] for a key as it is encoded, which is
// then parsed no more than once. It returns [ErrSignature] also for bytes that are
// no key.
func VerifyDigest(public []byte, digest [DigestSize]byte, sig []byte) error {
	if len(public) != PublicKeySize || len(sig) != SignatureSize || !crypto.VerifySignature(public, digest[:], sig) {
		return ErrSignature
	}
	return nil
}

// Recover returns the key that made r||s||v over digest. v must be 0 or 1 and s
// must be low; otherwise it returns [ErrSignature].
func Recover(digest [DigestSize]byte, sig []byte) (PublicKey, error) {
	if len(sig) != RecoverableSignatureSize || sig[64] > 1 {
		return PublicKey{}, ErrSignature
	}
	point, err := crypto.Ecrecover(digest[:], sig)
	if err != nil {
		return PublicKey{}, ErrSignature
	}
	p, err := ParseUncompressed(point)
	if err != nil {
		return PublicKey{}, ErrSignature
	}
	// crypto.VerifySignature refuses a high s, which Ecrecover accepts.
	if err := p.VerifyDigest(digest, sig[:SignatureSize]); err != nil {
		return PublicKey{}, err
	}
	return p, nil
}

// labelled is the digest that Sign signs.
func labelled(label string, m []byte) [DigestSize]byte {
	b := wire.AppendLP(nil, []byte("parley/1 sig"))
	b = wire.AppendLP(b, []byte(label))
	return sha256.Sum256(wire.AppendLP(b, m))
}
