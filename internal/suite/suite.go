// Package suite holds the cipher suites of groups: HPKE, signatures, hashes and
// the labelled functions of RFC 9420, Section 5, once for all who need them.
//
// A suite is data: [Suite] is a row of the table in this file, and adding one
// touches this file alone. A new mechanism comes in a file of its own
// (kem_*.go, sign*.go). Start with [ByID].
package suite

import (
	"crypto"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// ID is a cipher suite number of the IANA registry "MLS Cipher Suites", or one
// of Parley's in the range for private use.
type ID uint16

// Cipher suites (RFC 9420, Section 17.1, and docs/spec.md).
const (
	X25519AES128GCMEd25519            ID = 0x0001
	P256AES128GCM                     ID = 0x0002
	X25519ChaCha20Ed25519             ID = 0x0003
	X448AES256GCMEd448                ID = 0x0004
	P521AES256GCM                     ID = 0x0005
	X448ChaCha20Ed448                 ID = 0x0006
	P384AES256GCM                     ID = 0x0007
	Secp256k1ChaCha20Poly1305         ID = 0xF0E1 // the default of Parley's groups
	MLKEM768Secp256k1ChaCha20Poly1305 ID = 0xF0E2 // the same with a hybrid KEM
)

var (
	// ErrUnknown is returned for a suite number that has no row in the table.
	ErrUnknown = errors.New("suite: unknown cipher suite")
	// ErrKey is returned for a key that its suite cannot use: wrong length, not
	// on the curve, out of range.
	ErrKey = errors.New("suite: invalid key")
	// ErrOpen is returned when a ciphertext does not open, whatever the reason.
	ErrOpen = errors.New("suite: decryption failed")
	// ErrSignature is returned when a signature does not verify.
	ErrSignature = errors.New("suite: invalid signature")
)

// Suite is one cipher suite. It is immutable and safe for concurrent use.
type Suite struct {
	id        ID
	name      string
	hash      crypto.Hash
	newHash   func() hash.Hash
	aead      *AEAD
	hpke      hpkeScheme
	many      ownHPKE // the same scheme, for encrypting in one context to many keys
	signature signatureScheme
}

var table = []*Suite{
	{
		id: X25519AES128GCMEd25519, name: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
		hash: crypto.SHA256, newHash: sha256.New, aead: aes128GCM,
		hpke:      stdHPKE{hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES128GCM()},
		many:      ownHPKE{kemX25519, hkdfSHA256, aes128GCM},
		signature: ed25519Scheme{},
	},
	{
		id: P256AES128GCM, name: "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
		hash: crypto.SHA256, newHash: sha256.New, aead: aes128GCM,
		hpke:      stdHPKE{hpke.DHKEM(ecdh.P256()), hpke.HKDFSHA256(), hpke.AES128GCM()},
		many:      ownHPKE{kemP256, hkdfSHA256, aes128GCM},
		signature: ecdsaP256,
	},
	{
		id: X25519ChaCha20Ed25519, name: "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
		hash: crypto.SHA256, newHash: sha256.New, aead: chaCha20Poly1305,
		hpke:      stdHPKE{hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()},
		many:      ownHPKE{kemX25519, hkdfSHA256, chaCha20Poly1305},
		signature: ed25519Scheme{},
	},
	{
		id: X448AES256GCMEd448, name: "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448",
		hash: crypto.SHA512, newHash: sha512.New, aead: aes256GCM,
		hpke:      ownHPKE{kemX448, hkdfSHA512, aes256GCM},
		many:      ownHPKE{kemX448, hkdfSHA512, aes256GCM},
		signature: ed448Scheme{},
	},
	{
		id: P521AES256GCM, name: "MLS_256_DHKEMP521_AES256GCM_SHA512_P521",
		hash: crypto.SHA512, newHash: sha512.New, aead: aes256GCM,
		hpke:      stdHPKE{hpke.DHKEM(ecdh.P521()), hpke.HKDFSHA512(), hpke.AES256GCM()},
		many:      ownHPKE{kemP521, hkdfSHA512, aes256GCM},
		signature: ecdsaP521,
	},
	{
		id: X448ChaCha20Ed448, name: "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448",
		hash: crypto.SHA512, newHash: sha512.New, aead: chaCha20Poly1305,
		hpke:      ownHPKE{kemX448, hkdfSHA512, chaCha20Poly1305},
		many:      ownHPKE{kemX448, hkdfSHA512, chaCha20Poly1305},
		signature: ed448Scheme{},
	},
	{
		id: P384AES256GCM, name: "MLS_256_DHKEMP384_AES256GCM_SHA384_P384",
		hash: crypto.SHA384, newHash: sha512.New384, aead: aes256GCM,
		hpke:      stdHPKE{hpke.DHKEM(ecdh.P384()), hpke.HKDFSHA384(), hpke.AES256GCM()},
		many:      ownHPKE{kemP384, hkdfSHA384, aes256GCM},
		signature: ecdsaP384,
	},
	{
		id: Secp256k1ChaCha20Poly1305, name: "PARLEY_128_DHKEMSECP256K1_CHACHA20POLY1305_SHA256_SECP256K1",
		hash: crypto.SHA256, newHash: sha256.New, aead: chaCha20Poly1305,
		hpke:      ownHPKE{kemSecp256k1, hkdfSHA256, chaCha20Poly1305},
		many:      ownHPKE{kemSecp256k1, hkdfSHA256, chaCha20Poly1305},
		signature: secp256k1Scheme{},
	},
	{
		id: MLKEM768Secp256k1ChaCha20Poly1305, name: "PARLEY_128_MLKEM768SECP256K1_CHACHA20POLY1305_SHA256_SECP256K1",
		hash: crypto.SHA256, newHash: sha256.New, aead: chaCha20Poly1305,
		hpke:      ownHPKE{kemMLKEM768Secp256k1, hkdfSHA256, chaCha20Poly1305},
		many:      ownHPKE{kemMLKEM768Secp256k1, hkdfSHA256, chaCha20Poly1305},
		signature: secp256k1Scheme{},
	},
}

var byID = func() map[ID]*Suite {
	m := make(map[ID]*Suite, len(table))
	for _, s := range table {
		m[s.id] = s
	}
	return m
}()

// ByID returns the suite with that number, or [ErrUnknown].
func ByID(id ID) (*Suite, error) {
	s, ok := byID[id]
	if !ok {
		return nil, fmt.Errorf("%w 0x%04x", ErrUnknown, uint16(id))
	}
	return s, nil
}

// All returns every suite, in the order of the table.
func All() []*Suite { return append([]*Suite(nil), table...) }

// ID returns the suite's number.
func (s *Suite) ID() ID { return s.id }

// String returns the suite's registered name.
func (s *Suite) String() string { return s.name }

// AEAD returns the suite's message encryption.
func (s *Suite) AEAD() *AEAD { return s.aead }

// HashSize is KDF.Nh and the size of every hash, in bytes.
func (s *Suite) HashSize() int { return s.hash.Size() }

// Hash returns the suite's hash of the concatenation of parts.
func (s *Suite) Hash(parts ...[]byte) []byte {
	if len(parts) == 1 && s.hash == crypto.SHA256 { // without the running hash on the heap
		sum := sha256.Sum256(parts[0])
		return sum[:]
	}
	h := s.newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// NewHash returns a running hash, for callers that hash without concatenating.
func (s *Suite) NewHash() hash.Hash { return s.newHash() }

// MAC returns the suite's HMAC of data.
func (s *Suite) MAC(key secret.Key, data []byte) []byte {
	m := hmac.New(s.newHash, key.Bytes())
	m.Write(data)
	return m.Sum(nil)
}

// VerifyMAC reports, in constant time, whether tag is the MAC of data.
func (s *Suite) VerifyMAC(key secret.Key, data, tag []byte) bool {
	return hmac.Equal(s.MAC(key, data), tag)
}

// Extract is KDF.Extract. An empty salt is a string of zeros (RFC 5869).
func (s *Suite) Extract(salt, ikm secret.Key) secret.Key {
	prk, err := hkdf.Extract(s.newHash, ikm.Bytes(), salt.Bytes())
	if err != nil {
		panic("suite: HKDF-Extract: " + err.Error()) // only in FIPS-only mode
	}
	return secret.New(prk)
}

// ExpandWithLabel is the function of RFC 9420, Section 8; n is in bytes and at
// most 255 hashes.
func (s *Suite) ExpandWithLabel(k secret.Key, label string, context []byte, n int) secret.Key {
	info := make([]byte, 0, len(label)+len(context)+24)
	info = wire.AppendUint16(info, uint16(n))
	info = wire.AppendVec(info, []byte("MLS 1.0 "+label))
	info = wire.AppendVec(info, context)
	out, err := hkdf.Expand(s.newHash, k.Bytes(), string(info), n)
	if err != nil {
		panic("suite: HKDF-Expand: " + err.Error()) // n is a constant of the protocol
	}
	return secret.New(out)
}

// DeriveSecret is the function of RFC 9420, Section 8.
func (s *Suite) DeriveSecret(k secret.Key, label string) secret.Key {
	return s.ExpandWithLabel(k, label, nil, s.HashSize())
}

// DeriveTreeSecret is the function of RFC 9420, Section 9.
func (s *Suite) DeriveTreeSecret(k secret.Key, label string, generation uint32, n int) secret.Key {
	return s.ExpandWithLabel(k, label, wire.AppendUint32(nil, generation), n)
}

// RefHash is the function of RFC 9420, Section 5.2, with the whole label, such
// as "MLS 1.0 KeyPackage Reference".
func (s *Suite) RefHash(label string, value []byte) []byte {
	in := wire.AppendVec(make([]byte, 0, len(label)+len(value)+8), []byte(label))
	return s.Hash(wire.AppendVec(in, value))
}

// labelled is SignContent and EncryptContext of RFC 9420, Sections 5.1.2 and
// 5.1.3, which have the same form.
func labelled(label string, content []byte) []byte {
	b := make([]byte, 0, len(content)+len(label)+16)
	b = wire.AppendVec(b, []byte("MLS 1.0 "+label))
	return wire.AppendVec(b, content)
}
