package identity

import (
	"bytes"
	"fmt"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/wire"
)

// selfRevocation is a device's terminal statement about itself. It stands
// outside the chain and has no seq, because the device that was lost or
// dismissed cannot ask the wallet for a place in it.
type selfRevocation struct {
	signingKey [secp.PublicKeySize]byte
	revokedAt  uint64 // Unix seconds
	signature  [secp.SignatureSize]byte
}

// selfRevocationSize is the size of the wire form in bytes.
const selfRevocationSize = secp.PublicKeySize + 8 + secp.SignatureSize

// content is what the device signs: account(52) || signingKey(33) ||
// uint64 revokedAt.
func (s *selfRevocation) content(account Account) []byte {
	b := append(account.Bytes(), s.signingKey[:]...)
	return wire.AppendUint64(b, s.revokedAt)
}

func (s *selfRevocation) verify(account Account) error {
	key, err := secp.ParsePublicKey(s.signingKey[:])
	if err != nil {
		return fmt.Errorf("%w: signing key of a revocation is not a point", ErrLog)
	}
	if err := key.Verify(labelRevoke, s.content(account), s.signature[:]); err != nil {
		return fmt.Errorf("%w: self-revocation is not by its device", ErrLogSignature)
	}
	return nil
}

func (s *selfRevocation) append(b []byte) []byte {
	b = append(b, s.signingKey[:]...)
	b = wire.AppendUint64(b, s.revokedAt)
	return append(b, s.signature[:]...)
}

func readSelfRevocation(r *wire.Reader) (s selfRevocation) {
	r.Copy(s.signingKey[:])
	s.revokedAt = r.Uint64()
	r.Copy(s.signature[:])
	return s
}

// before orders statements: by key, and for one key the earliest first, so that
// all who merge keep the same one.
func (s *selfRevocation) before(t *selfRevocation) bool {
	if c := bytes.Compare(s.signingKey[:], t.signingKey[:]); c != 0 {
		return c < 0
	}
	if s.revokedAt != t.revokedAt {
		return s.revokedAt < t.revokedAt
	}
	return bytes.Compare(s.signature[:], t.signature[:]) < 0
}
