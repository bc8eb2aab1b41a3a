package suite

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// SigningKey is a signature private key of some suite.
type SigningKey interface {
	// Public returns the public key as a leaf carries it (RFC 9420, Section
	// 5.1.1; 33 bytes for secp256k1).
	Public() []byte
	// Bytes returns a copy of the private key as it is stored.
	Bytes() secret.Key

	sign(content []byte) ([]byte, error)
}

type signatureScheme interface {
	generate() (SigningKey, error)
	parse(private []byte) (SigningKey, error)
	checkPublic(public []byte) error
	verify(public, content, sig []byte) error
}

// GenerateSigningKey returns a new signature key.
func (s *Suite) GenerateSigningKey() (SigningKey, error) { return s.signature.generate() }

// NewSigningKey returns the key that [SigningKey].Bytes gave, or [ErrKey].
func (s *Suite) NewSigningKey(private []byte) (SigningKey, error) { return s.signature.parse(private) }

// CheckSignatureKey returns [ErrKey] unless public is a signature public key.
func (s *Suite) CheckSignatureKey(public []byte) error { return s.signature.checkPublic(public) }

// SignWithLabel is the function of RFC 9420, Section 5.1.2. k must be of this
// suite's scheme.
func (s *Suite) SignWithLabel(k SigningKey, label string, content []byte) ([]byte, error) {
	return k.sign(labelled(label, content))
}

// VerifyWithLabel is the function of RFC 9420, Section 5.1.2. It returns
// [ErrSignature], also for a malformed key.
func (s *Suite) VerifyWithLabel(public []byte, label string, content, sig []byte) error {
	return s.signature.verify(public, labelled(label, content), sig)
}

// Ed25519 (suites 1 and 3). A private key is the 32-byte seed.

type ed25519Scheme struct{}

type ed25519Key struct{ k secret.Key } // seed || public key

func (ed25519Scheme) generate() (SigningKey, error) {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return ed25519Key{secret.New(k)}, err
}

func (ed25519Scheme) parse(private []byte) (SigningKey, error) {
	if len(private) != ed25519.SeedSize {
		return nil, ErrKey
	}
	return ed25519Key{secret.New(ed25519.NewKeyFromSeed(private))}, nil
}

func (ed25519Scheme) checkPublic(public []byte) error {
	if len(public) != ed25519.PublicKeySize {
		return ErrKey
	}
	return nil
}

func (ed25519Scheme) verify(public, content, sig []byte) error {
	if len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, content, sig) {
		return ErrSignature
	}
	return nil
}

func (k ed25519Key) Public() []byte {
	return append([]byte(nil), k.k.Bytes()[ed25519.SeedSize:]...)
}

func (k ed25519Key) Bytes() secret.Key          { return secret.Copy(k.k.Bytes()[:ed25519.SeedSize]) }
func (k ed25519Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.SigningKey(redacted)") }

func (k ed25519Key) sign(content []byte) ([]byte, error) {
	return ed25519.Sign(k.k.Bytes(), content), nil
}

// ECDSA on the NIST curves (suites 2, 5 and 7): uncompressed points, DER
// signatures. A private key is the scalar.

type ecdsaScheme struct {
	curve  elliptic.Curve
	digest func([]byte) []byte
}

var (
	ecdsaP256 = ecdsaScheme{elliptic.P256(), func(b []byte) []byte { d := sha256.Sum256(b); return d[:] }}
	ecdsaP384 = ecdsaScheme{elliptic.P384(), func(b []byte) []byte { d := sha512.Sum384(b); return d[:] }}
	ecdsaP521 = ecdsaScheme{elliptic.P521(), func(b []byte) []byte { d := sha512.Sum512(b); return d[:] }}
)

type ecdsaKey struct {
	k      *ecdsa.PrivateKey
	digest func([]byte) []byte
}

func (s ecdsaScheme) generate() (SigningKey, error) {
	k, err := ecdsa.GenerateKey(s.curve, rand.Reader)
	return ecdsaKey{k, s.digest}, err
}

func (s ecdsaScheme) parse(private []byte) (SigningKey, error) {
	k, err := ecdsa.ParseRawPrivateKey(s.curve, private)
	if err != nil {
		return nil, ErrKey
	}
	return ecdsaKey{k, s.digest}, nil
}

func (s ecdsaScheme) checkPublic(public []byte) error {
	if _, err := ecdsa.ParseUncompressedPublicKey(s.curve, public); err != nil {
		return ErrKey
	}
	return nil
}

func (s ecdsaScheme) verify(public, content, sig []byte) error {
	k, err := ecdsa.ParseUncompressedPublicKey(s.curve, public)
	if err != nil || !ecdsa.VerifyASN1(k, s.digest(content), sig) {
		return ErrSignature
	}
	return nil
}

func (k ecdsaKey) Public() []byte {
	b, err := k.k.PublicKey.Bytes()
	if err != nil {
		panic("suite: a generated ECDSA key is on its curve")
	}
	return b
}

func (k ecdsaKey) Bytes() secret.Key {
	b, err := k.k.Bytes()
	if err != nil {
		panic("suite: a generated ECDSA key is on its curve")
	}
	return secret.New(b)
}

func (k ecdsaKey) sign(content []byte) ([]byte, error) {
	return ecdsa.SignASN1(rand.Reader, k.k, k.digest(content))
}

func (k ecdsaKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.SigningKey(redacted)") }

// ECDSA on secp256k1 (suites 0xF0E1 and 0xF0E2): 33-byte keys; 64-byte r||s, low-s, over
// SHA-256 of the SignContent (docs/spec.md).

type secp256k1Scheme struct{}

type secp256k1Key struct{ k *secp.PrivateKey }

// Secp256k1SigningKey returns k as the signature key of suites 0xF0E1 and
// 0xF0E2.
func Secp256k1SigningKey(k *secp.PrivateKey) SigningKey { return secp256k1Key{k} }

func (secp256k1Scheme) generate() (SigningKey, error) {
	k, err := secp.GenerateKey()
	return secp256k1Key{k}, err
}

func (secp256k1Scheme) parse(private []byte) (SigningKey, error) {
	k, err := secp.NewPrivateKey(private)
	if err != nil {
		return nil, ErrKey
	}
	return secp256k1Key{k}, nil
}

func (secp256k1Scheme) checkPublic(public []byte) error {
	if secp.CheckPublicKey(public) != nil {
		return ErrKey
	}
	return nil
}

func (secp256k1Scheme) verify(public, content, sig []byte) error {
	if secp.VerifyDigest(public, sha256.Sum256(content), sig) != nil {
		return ErrSignature
	}
	return nil
}

func (k secp256k1Key) Public() []byte    { return k.k.PublicKey().Bytes() }
func (k secp256k1Key) Bytes() secret.Key { return k.k.Bytes() }

func (k secp256k1Key) sign(content []byte) ([]byte, error) {
	sig := k.k.SignDigest(sha256.Sum256(content))
	return sig[:], nil
}
