package ratchet

import (
	"crypto/cipher"

	"golang.org/x/crypto/chacha20poly1305"
)

// aead is ChaCha20-Poly1305 (RFC 8439). key has 32 bytes, as every key here.
func aead(key []byte) cipher.AEAD {
	a, err := chacha20poly1305.New(key)
	if err != nil {
		panic("ratchet: " + err.Error())
	}
	return a
}

// xaead is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), whose nonces of 24
// bytes can be drawn at random.
func xaead(key []byte) cipher.AEAD {
	a, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic("ratchet: " + err.Error())
	}
	return a
}
