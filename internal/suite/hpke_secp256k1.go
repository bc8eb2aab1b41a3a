package suite

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// secpHPKE is HPKE base mode over DHKEM(secp256k1, HKDF-SHA256), KEM 0x0016,
// with KDF HKDF-SHA256 (RFC 9180). crypto/hpke cannot take another curve, so
// this is a small one of our own: single-shot contexts only, so the sequence
// number is always zero and the nonce is the base nonce.
type secpHPKE struct{ aead *AEAD }

var hpkeSecp256k1ChaCha = secpHPKE{chaCha20Poly1305}

const (
	kemSecp256k1   = 0x0016
	kdfHKDFSHA256  = 0x0001
	sharedSecretNs = 32 // Nsecret
)

type secpHPKEKey struct{ k *secp.PrivateKey }

// Secp256k1HPKEKey returns k as a KEM key of suite 0xF0E1.
func Secp256k1HPKEKey(k *secp.PrivateKey) HPKEKey { return secpHPKEKey{k} }

func (k secpHPKEKey) Public() []byte    { return k.k.PublicKey().Uncompressed() }
func (k secpHPKEKey) Bytes() secret.Key { return k.k.Bytes() }

func (secpHPKE) generate() (HPKEKey, error) {
	k, err := secp.GenerateKey()
	if err != nil {
		return nil, err
	}
	return secpHPKEKey{k}, nil
}

// derive is DeriveKeyPair for curves with rejection sampling (RFC 9180, Section
// 7.1.3), bitmask 0xff.
func (secpHPKE) derive(ikm []byte) (HPKEKey, error) {
	prk := labelledExtract(kemID(), nil, "dkp_prk", ikm)
	for counter := range 256 {
		b := labelledExpand(kemID(), prk, "candidate", []byte{byte(counter)}, secp.PrivateKeySize)
		if k, err := secp.NewPrivateKey(b); err == nil {
			return secpHPKEKey{k}, nil
		}
	}
	return nil, ErrKey // DeriveKeyPairError; happens with probability 2^-32640
}

func (secpHPKE) parse(private []byte) (HPKEKey, error) {
	k, err := secp.NewPrivateKey(private)
	if err != nil {
		return nil, ErrKey
	}
	return secpHPKEKey{k}, nil
}

func (secpHPKE) checkPublic(public []byte) error {
	if _, err := secp.ParseUncompressed(public); err != nil {
		return ErrKey
	}
	return nil
}

func (s secpHPKE) seal(public, info, aad, plaintext []byte) (enc, ciphertext []byte, err error) {
	enc, shared, err := encap(public)
	if err != nil {
		return nil, nil, err
	}
	key, nonce, exporter := s.schedule(shared, info)
	defer key.Erase()
	clear(exporter)
	return enc, s.aead.Seal(nil, key, nonce, plaintext, aad), nil
}

func (s secpHPKE) open(k HPKEKey, enc, info, aad, ciphertext []byte) ([]byte, error) {
	shared, err := decap(k, enc)
	if err != nil {
		return nil, err
	}
	key, nonce, exporter := s.schedule(shared, info)
	defer key.Erase()
	clear(exporter)
	return s.aead.Open(nil, key, nonce, ciphertext, aad)
}

func (s secpHPKE) exportTo(public, info []byte, context string, n int) ([]byte, []byte, error) {
	enc, shared, err := encap(public)
	if err != nil {
		return nil, nil, err
	}
	return enc, s.export(shared, info, context, n), nil
}

func (s secpHPKE) exportFrom(k HPKEKey, enc, info []byte, context string, n int) ([]byte, error) {
	shared, err := decap(k, enc)
	if err != nil {
		return nil, err
	}
	return s.export(shared, info, context, n), nil
}

// export is Section 5.3.
func (s secpHPKE) export(shared, info []byte, context string, n int) []byte {
	key, _, exporter := s.schedule(shared, info)
	key.Erase()
	defer clear(exporter)
	return labelledExpand(s.suiteID(), exporter, "sec", []byte(context), n)
}

// schedule is KeySchedule in mode_base without PSK (Section 5.1). It overwrites
// the shared secret.
func (s secpHPKE) schedule(shared, info []byte) (key secret.Key, nonce, exporter []byte) {
	id := s.suiteID()
	context := []byte{0} // mode_base
	context = append(context, labelledExtract(id, nil, "psk_id_hash", nil)...)
	context = append(context, labelledExtract(id, nil, "info_hash", info)...)
	sec := labelledExtract(id, shared, "secret", nil)
	defer clear(sec)
	clear(shared)
	key = secret.New(labelledExpand(id, sec, "key", context, s.aead.keySize))
	nonce = labelledExpand(id, sec, "base_nonce", context, NonceSize)
	exporter = labelledExpand(id, sec, "exp", context, sha256.Size)
	return key, nonce, exporter
}

func (s secpHPKE) suiteID() []byte {
	id := binary.BigEndian.AppendUint16([]byte("HPKE"), kemSecp256k1)
	id = binary.BigEndian.AppendUint16(id, kdfHKDFSHA256)
	return binary.BigEndian.AppendUint16(id, s.aead.id)
}

func kemID() []byte { return binary.BigEndian.AppendUint16([]byte("KEM"), kemSecp256k1) }

// encap is Encap (Section 4.1).
func encap(public []byte) (enc, shared []byte, err error) {
	e, err := secp.GenerateKey()
	if err != nil {
		return nil, nil, err
	}
	return encapWith(e, public)
}

func encapWith(e *secp.PrivateKey, public []byte) (enc, shared []byte, err error) {
	pk, err := secp.ParseUncompressed(public)
	if err != nil {
		return nil, nil, ErrKey
	}
	dh, err := e.ECDH(pk)
	if err != nil {
		return nil, nil, ErrKey
	}
	enc = e.PublicKey().Uncompressed()
	return enc, extractAndExpand(dh, enc, public), nil
}

// decap is Decap (Section 4.1).
func decap(k HPKEKey, enc []byte) ([]byte, error) {
	own, ok := k.(secpHPKEKey)
	if !ok {
		return nil, ErrKey
	}
	pk, err := secp.ParseUncompressed(enc)
	if err != nil {
		return nil, ErrOpen
	}
	dh, err := own.k.ECDH(pk)
	if err != nil {
		return nil, ErrOpen
	}
	return extractAndExpand(dh, enc, own.Public()), nil
}

// extractAndExpand is ExtractAndExpand with kem_context = enc || pkR. It erases
// dh.
func extractAndExpand(dh secret.Key, enc, public []byte) []byte {
	defer dh.Erase()
	prk := labelledExtract(kemID(), nil, "eae_prk", dh.Bytes())
	defer clear(prk)
	return labelledExpand(kemID(), prk, "shared_secret", slices.Concat(enc, public), sharedSecretNs)
}

// labelledExtract and labelledExpand are LabeledExtract and LabeledExpand
// (Section 4) over HKDF-SHA256.
func labelledExtract(suiteID, salt []byte, label string, ikm []byte) []byte {
	out, err := hkdf.Extract(sha256.New, slices.Concat([]byte("HPKE-v1"), suiteID, []byte(label), ikm), salt)
	if err != nil {
		panic("suite: HKDF-Extract: " + err.Error()) // only in FIPS-only mode
	}
	return out
}

func labelledExpand(suiteID, prk []byte, label string, info []byte, n int) []byte {
	in := binary.BigEndian.AppendUint16(nil, uint16(n))
	out, err := hkdf.Expand(sha256.New, prk, string(slices.Concat(in, []byte("HPKE-v1"), suiteID, []byte(label), info)), n)
	if err != nil {
		panic("suite: HKDF-Expand: " + err.Error()) // n is a constant of the protocol
	}
	return out
}
