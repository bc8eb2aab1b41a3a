package suite

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"slices"

	"github.com/parley-im/parley/internal/secret"
)

// ownHPKE is HPKE base mode (RFC 9180) over a KEM that crypto/hpke does not
// have and cannot be given, and for encrypting to many, where crypto/hpke hashes
// the same info for each. It is a small one: single-shot contexts only, so the
// sequence number is always zero and the nonce is the base nonce.
type ownHPKE struct {
	kem
	kdf  kdf
	aead *AEAD
}

// kem is a key encapsulation mechanism (RFC 9180, Section 4). The bytes of
// public keys and of enc come from peers.
type kem interface {
	kemID() uint16
	generate() (HPKEKey, error)
	derive(ikm []byte) (HPKEKey, error)    // DeriveKeyPair
	parse(private []byte) (HPKEKey, error) // ErrKey
	checkPublic(public []byte) error       // ErrKey
	// encap returns ErrKey for a bad public key, and a shared secret that the
	// caller owns.
	encap(public []byte) (enc, shared []byte, err error)
	// decap returns ErrOpen for a malformed enc, and ErrKey for a key of another
	// KEM.
	decap(k HPKEKey, enc []byte) (shared []byte, err error)
}

func (s ownHPKE) seal(public, info, aad, plaintext []byte) (enc, ciphertext []byte, err error) {
	return s.sealIn(s.context(info), public, aad, plaintext)
}

func (s ownHPKE) sealIn(context, public, aad, plaintext []byte) (enc, ciphertext []byte, err error) {
	enc, shared, err := s.encap(public)
	if err != nil {
		return nil, nil, err
	}
	key, nonce := s.keys(shared, context)
	defer key.Erase()
	return enc, s.aead.Seal(nil, key, nonce, plaintext, aad), nil
}

func (s ownHPKE) open(k HPKEKey, enc, info, aad, ciphertext []byte) ([]byte, error) {
	shared, err := s.decap(k, enc)
	if err != nil {
		return nil, err
	}
	key, nonce := s.keys(shared, s.context(info))
	defer key.Erase()
	return s.aead.Open(nil, key, nonce, ciphertext, aad)
}

func (s ownHPKE) exportTo(public, info []byte, context string, n int) ([]byte, []byte, error) {
	enc, shared, err := s.encap(public)
	if err != nil {
		return nil, nil, err
	}
	return enc, s.export(shared, info, context, n), nil
}

func (s ownHPKE) exportFrom(k HPKEKey, enc, info []byte, context string, n int) ([]byte, error) {
	shared, err := s.decap(k, enc)
	if err != nil {
		return nil, err
	}
	return s.export(shared, info, context, n), nil
}

// export is Section 5.3. It overwrites the shared secret.
func (s ownHPKE) export(shared, info []byte, context string, n int) []byte {
	exporter := s.exporter(shared, s.context(info))
	defer clear(exporter)
	return s.kdf.expand(s.suiteID(), exporter, "sec", []byte(context), n)
}

// context is key_schedule_context in mode_base without PSK (Section 5.1).
func (s ownHPKE) context(info []byte) []byte {
	id := s.suiteID()
	context := []byte{0} // mode_base
	context = append(context, s.kdf.extract(id, nil, "psk_id_hash", nil)...)
	return append(context, s.kdf.extract(id, nil, "info_hash", info)...)
}

// keys and exporter are the rest of KeySchedule: the key and nonce of a message,
// and what is exported from. They overwrite the shared secret.
func (s ownHPKE) keys(shared, context []byte) (key secret.Key, nonce []byte) {
	sec := s.extracted(shared)
	defer clear(sec)
	key = secret.New(s.kdf.expand(s.suiteID(), sec, "key", context, s.aead.keySize))
	return key, s.kdf.expand(s.suiteID(), sec, "base_nonce", context, NonceSize)
}

func (s ownHPKE) exporter(shared, context []byte) []byte {
	sec := s.extracted(shared)
	defer clear(sec)
	return s.kdf.expand(s.suiteID(), sec, "exp", context, s.kdf.size)
}

// extracted is the secret of KeySchedule. It overwrites the shared secret.
func (s ownHPKE) extracted(shared []byte) []byte {
	defer clear(shared)
	return s.kdf.extract(s.suiteID(), shared, "secret", nil)
}

func (s ownHPKE) suiteID() []byte {
	id := binary.BigEndian.AppendUint16([]byte("HPKE"), s.kemID())
	id = binary.BigEndian.AppendUint16(id, s.kdf.id)
	return binary.BigEndian.AppendUint16(id, s.aead.id)
}

// kdf is an HKDF of RFC 9180, Section 7.2.
type kdf struct {
	id   uint16
	size int // Nh
	hash func() hash.Hash
}

var (
	hkdfSHA256 = kdf{0x0001, sha256.Size, sha256.New}
	hkdfSHA384 = kdf{0x0002, sha512.Size384, sha512.New384}
	hkdfSHA512 = kdf{0x0003, sha512.Size, sha512.New}
)

// extract is LabeledExtract (Section 4).
func (f kdf) extract(suiteID, salt []byte, label string, ikm []byte) []byte {
	in := slices.Concat([]byte("HPKE-v1"), suiteID, []byte(label), ikm)
	defer clear(in)
	out, err := hkdf.Extract(f.hash, in, salt)
	if err != nil {
		panic("suite: HKDF-Extract: " + err.Error()) // only in FIPS-only mode
	}
	return out
}

// expand is LabeledExpand (Section 4).
func (f kdf) expand(suiteID, prk []byte, label string, info []byte, n int) []byte {
	in := binary.BigEndian.AppendUint16(nil, uint16(n))
	out, err := hkdf.Expand(f.hash, prk, string(slices.Concat(in, []byte("HPKE-v1"), suiteID, []byte(label), info)), n)
	if err != nil {
		panic("suite: HKDF-Expand: " + err.Error()) // n is a constant of the protocol
	}
	return out
}
