package suite

import (
	"crypto/aes"
	"crypto/cipher"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secret"
)

// AEAD is a suite's message encryption. Every one has 12-byte nonces and a
// 16-byte tag.
type AEAD struct {
	id      uint16 // of RFC 9180, Section 7.3
	keySize int
	make    func(key []byte) (cipher.AEAD, error)
}

// Sizes common to all AEADs, in bytes.
const (
	NonceSize = 12
	TagSize   = 16
)

var (
	aes128GCM        = &AEAD{0x0001, 16, newGCM}
	aes256GCM        = &AEAD{0x0002, 32, newGCM}
	chaCha20Poly1305 = &AEAD{0x0003, 32, chacha20poly1305.New}
)

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// KeySize is AEAD.Nk in bytes.
func (a *AEAD) KeySize() int { return a.keySize }

// Seal appends the encryption of plaintext to dst. It panics unless key and
// nonce have the AEAD's sizes.
func (a *AEAD) Seal(dst []byte, key secret.Key, nonce, plaintext, aad []byte) []byte {
	return a.cipher(key).Seal(dst, nonce, plaintext, aad)
}

// Open appends the decryption of ciphertext to dst, or returns [ErrOpen]. It
// panics unless key and nonce have the AEAD's sizes.
func (a *AEAD) Open(dst []byte, key secret.Key, nonce, ciphertext, aad []byte) ([]byte, error) {
	out, err := a.cipher(key).Open(dst, nonce, ciphertext, aad)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

func (a *AEAD) cipher(key secret.Key) cipher.AEAD {
	c, err := a.make(key.Bytes())
	if err != nil {
		panic("suite: AEAD key of the wrong size")
	}
	return c
}
