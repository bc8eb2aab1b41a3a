package ratchet

import (
	"crypto/mlkem"
	"fmt"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// PrekeyBundle is what a device publishes so that others can start a session
// with it while it is away. The caller has verified its signature.
type PrekeyBundle struct {
	Identity Identity
	SPKID    uint32
	SPK      secp.PublicKey // signed prekey, rotated weekly
	OPK      *OneTimePrekey // nil when none was left
	EKID     uint32
	EK       []byte // ML-KEM-768 encapsulation key, 1184 bytes
	InboxKey [InboxKeySize]byte
}

// OneTimePrekey is the public half of a prekey that serves one session: of two
// initiators that were handed the same one, the second is refused with
// [ErrPrekey], whatever it sends. Where nobody hands them out one by one, a
// bundle is better used without.
type OneTimePrekey struct {
	ID  uint32
	Key secp.PublicKey
}

// Prekeys looks up the private halves of a device's own prekeys. A method
// returns an error for an id that is unknown or whose key was deleted.
type Prekeys interface {
	SignedPrekey(id uint32) (*secp.PrivateKey, error)
	OneTimePrekey(id uint32) (*secp.PrivateKey, error)
	KEMKey(id uint32) (*KEMKey, error)
}

// KEMKey is an ML-KEM-768 private key (FIPS 203). It does not print.
type KEMKey struct {
	dk *mlkem.DecapsulationKey768
}

// GenerateKEMKey returns a new key from crypto/rand.
func GenerateKEMKey() (*KEMKey, error) {
	dk, err := mlkem.GenerateKey768()
	if err != nil {
		return nil, fmt.Errorf("ratchet: %w", err)
	}
	return &KEMKey{dk: dk}, nil
}

// NewKEMKey returns the key that [KEMKey.Bytes] gave: a 64-byte seed.
func NewKEMKey(seed []byte) (*KEMKey, error) {
	dk, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return nil, fmt.Errorf("ratchet: bad ML-KEM seed: %w", err)
	}
	return &KEMKey{dk: dk}, nil
}

// Public returns the 1184-byte encapsulation key.
func (k *KEMKey) Public() []byte { return k.dk.EncapsulationKey().Bytes() }

// Bytes returns the 64-byte seed d || z.
func (k *KEMKey) Bytes() secret.Key { return secret.New(k.dk.Bytes()) }

// Format writes a constant, whatever the verb.
func (k KEMKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "ratchet.KEMKey(redacted)") }
