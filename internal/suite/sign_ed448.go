package suite

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"github.com/cloudflare/circl/ecc/goldilocks"
	"github.com/cloudflare/circl/sign/ed448"

	"github.com/parley-im/parley/internal/secret"
)

// Ed448 (RFC 8032) with an empty context. A private key is the 57-byte seed.

type ed448Scheme struct{}

type ed448Key struct{ k secret.Key } // seed || public key

func (ed448Scheme) generate() (SigningKey, error) {
	_, k, err := ed448.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ed448Key{secret.New(k)}, nil
}

func (ed448Scheme) parse(private []byte) (SigningKey, error) {
	if len(private) != ed448.SeedSize {
		return nil, ErrKey
	}
	return ed448Key{secret.New(ed448.NewKeyFromSeed(private))}, nil
}

func (ed448Scheme) checkPublic(public []byte) error {
	if len(public) != ed448.PublicKeySize {
		return ErrKey
	}
	if _, err := goldilocks.FromBytes(public); err != nil {
		return ErrKey
	}
	return nil
}

func (ed448Scheme) verify(public, content, sig []byte) error {
	if !ed448.Verify(public, content, sig, "") { // judges all lengths
		return ErrSignature
	}
	return nil
}

func (k ed448Key) Public() []byte             { return bytes.Clone(k.k.Bytes()[ed448.SeedSize:]) }
func (k ed448Key) Bytes() secret.Key          { return secret.Copy(k.k.Bytes()[:ed448.SeedSize]) }
func (k ed448Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.SigningKey(redacted)") }

func (k ed448Key) sign(content []byte) ([]byte, error) {
	return ed448.Sign(k.k.Bytes(), content, ""), nil
}
