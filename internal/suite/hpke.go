package suite

import (
	"crypto/hpke"
	"fmt"

	"github.com/parley-im/parley/internal/secret"
)

// HPKEKey is a KEM private key of some suite.
type HPKEKey interface {
	// Public returns the serialised public key (RFC 9180, Section 4).
	Public() []byte
	// Bytes returns a copy of the serialised private key.
	Bytes() secret.Key
}

// hpkeScheme is RFC 9180 in base mode with KEM, KDF and AEAD fixed.
type hpkeScheme interface {
	generate() (HPKEKey, error)
	derive(ikm []byte) (HPKEKey, error)
	parse(private []byte) (HPKEKey, error)
	checkPublic(public []byte) error
	seal(public, info, aad, plaintext []byte) (enc, ciphertext []byte, err error)
	open(k HPKEKey, enc, info, aad, ciphertext []byte) ([]byte, error)
	exportTo(public, info []byte, context string, n int) (enc, secret []byte, err error)
	exportFrom(k HPKEKey, enc, info []byte, context string, n int) ([]byte, error)
}

// GenerateHPKEKey returns a new KEM key.
func (s *Suite) GenerateHPKEKey() (HPKEKey, error) { return s.hpke.generate() }

// DeriveHPKEKey is KEM.DeriveKeyPair (RFC 9180, Section 7.1.3), deterministic
// in ikm.
func (s *Suite) DeriveHPKEKey(ikm secret.Key) (HPKEKey, error) { return s.hpke.derive(ikm.Bytes()) }

// NewHPKEKey returns the key that [HPKEKey].Bytes gave, or [ErrKey].
func (s *Suite) NewHPKEKey(private []byte) (HPKEKey, error) { return s.hpke.parse(private) }

// CheckHPKEKey returns [ErrKey] unless public is a KEM public key.
func (s *Suite) CheckHPKEKey(public []byte) error { return s.hpke.checkPublic(public) }

// EncryptWithLabel is the function of RFC 9420, Section 5.1.3. It returns
// [ErrKey] for a bad public key.
func (s *Suite) EncryptWithLabel(public []byte, label string, context, plaintext []byte) (enc, ciphertext []byte, err error) {
	return s.NewEncrypter(label, context).Encrypt(public, plaintext)
}

// Encrypter is EncryptWithLabel for one label and context, to any number of keys.
// The context is hashed once, not once for each key: that of a Welcome grows with
// the group as the number of its joiners can. It is safe for concurrent use.
type Encrypter struct {
	hpke    ownHPKE
	context []byte // of the HPKE key schedule
}

// NewEncrypter returns the Encrypter of that label and context.
func (s *Suite) NewEncrypter(label string, context []byte) *Encrypter {
	return &Encrypter{s.many, s.many.context(labelled(label, context))}
}

// Encrypt is [Suite.EncryptWithLabel] to public. It returns [ErrKey] for a bad
// public key.
func (e *Encrypter) Encrypt(public, plaintext []byte) (enc, ciphertext []byte, err error) {
	return e.hpke.sealIn(e.context, public, nil, plaintext)
}

// DecryptWithLabel is the function of RFC 9420, Section 5.1.3. It returns
// [ErrOpen] for anything that does not open.
func (s *Suite) DecryptWithLabel(k HPKEKey, label string, context, enc, ciphertext []byte) (secret.Key, error) {
	out, err := s.hpke.open(k, enc, labelled(label, context), nil, ciphertext)
	return secret.New(out), err
}

// SealBase is the single-shot HPKE of RFC 9180, Section 6.1, in base mode.
func (s *Suite) SealBase(public, info, aad, plaintext []byte) (enc, ciphertext []byte, err error) {
	return s.hpke.seal(public, info, aad, plaintext)
}

// OpenBase opens what [Suite.SealBase] sealed, or returns [ErrOpen].
func (s *Suite) OpenBase(k HPKEKey, enc, info, aad, ciphertext []byte) ([]byte, error) {
	return s.hpke.open(k, enc, info, aad, ciphertext)
}

// ExportTo sets up an HPKE context to public and exports n bytes from it, as
// external commits do (RFC 9420, Section 8.3). It returns [ErrKey] for a bad
// public key.
func (s *Suite) ExportTo(public, info []byte, context string, n int) (enc []byte, exported secret.Key, err error) {
	enc, out, err := s.hpke.exportTo(public, info, context, n)
	return enc, secret.New(out), err
}

// ExportFrom is the receiver's side of [Suite.ExportTo]; it returns [ErrOpen]
// for a malformed enc.
func (s *Suite) ExportFrom(k HPKEKey, enc, info []byte, context string, n int) (secret.Key, error) {
	out, err := s.hpke.exportFrom(k, enc, info, context, n)
	return secret.New(out), err
}

// stdHPKE is a scheme of the standard library.
type stdHPKE struct {
	kem  hpke.KEM
	kdf  hpke.KDF
	aead hpke.AEAD
}

type stdHPKEKey struct{ k hpke.PrivateKey }

func (k stdHPKEKey) Public() []byte             { return k.k.PublicKey().Bytes() }
func (k stdHPKEKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.HPKEKey(redacted)") }

func (k stdHPKEKey) Bytes() secret.Key {
	b, err := k.k.Bytes()
	if err != nil {
		panic("suite: a key made here has bytes")
	}
	return secret.New(b)
}

func (s stdHPKE) generate() (HPKEKey, error) {
	k, err := s.kem.GenerateKey()
	return stdHPKEKey{k}, err
}

func (s stdHPKE) derive(ikm []byte) (HPKEKey, error) {
	k, err := s.kem.DeriveKeyPair(ikm)
	if err != nil {
		return nil, ErrKey
	}
	return stdHPKEKey{k}, nil
}

func (s stdHPKE) parse(private []byte) (HPKEKey, error) {
	k, err := s.kem.NewPrivateKey(private)
	if err != nil {
		return nil, ErrKey
	}
	return stdHPKEKey{k}, nil
}

func (s stdHPKE) checkPublic(public []byte) error {
	if _, err := s.kem.NewPublicKey(public); err != nil {
		return ErrKey
	}
	if s.kem.ID() == kemX25519.id && lowOrder25519([32]byte(public)) {
		return ErrKey // which crypto/hpke takes, and fails when it encrypts to it
	}
	return nil
}

func (s stdHPKE) sender(public, info []byte) ([]byte, *hpke.Sender, error) {
	pk, err := s.kem.NewPublicKey(public)
	if err != nil {
		return nil, nil, ErrKey
	}
	enc, sender, err := hpke.NewSender(pk, s.kdf, s.aead, info)
	if err != nil {
		return nil, nil, ErrKey // for example an X25519 point of low order
	}
	return enc, sender, nil
}

func (s stdHPKE) recipient(k HPKEKey, enc, info []byte) (*hpke.Recipient, error) {
	own, ok := k.(stdHPKEKey)
	if !ok {
		return nil, ErrKey
	}
	r, err := hpke.NewRecipient(enc, own.k, s.kdf, s.aead, info)
	if err != nil {
		return nil, ErrOpen
	}
	return r, nil
}

func (s stdHPKE) seal(public, info, aad, plaintext []byte) (enc, ciphertext []byte, err error) {
	enc, sender, err := s.sender(public, info)
	if err != nil {
		return nil, nil, err
	}
	ciphertext, err = sender.Seal(aad, plaintext)
	return enc, ciphertext, err
}

func (s stdHPKE) open(k HPKEKey, enc, info, aad, ciphertext []byte) ([]byte, error) {
	r, err := s.recipient(k, enc, info)
	if err != nil {
		return nil, err
	}
	out, err := r.Open(aad, ciphertext)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

func (s stdHPKE) exportTo(public, info []byte, context string, n int) ([]byte, []byte, error) {
	enc, sender, err := s.sender(public, info)
	if err != nil {
		return nil, nil, err
	}
	out, err := sender.Export(context, n)
	return enc, out, err
}

func (s stdHPKE) exportFrom(k HPKEKey, enc, info []byte, context string, n int) ([]byte, error) {
	r, err := s.recipient(k, enc, info)
	if err != nil {
		return nil, err
	}
	return r.Export(context, n)
}
