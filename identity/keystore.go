package identity

import "errors"

var (
	// ErrKeystore is returned for a file that is not a keystore of version 3, or
	// one whose cost exceeds a limit.
	ErrKeystore = errors.New("identity: malformed keystore file")
	// ErrPassphrase is returned when the passphrase does not open the keystore.
	ErrPassphrase = errors.New("identity: wrong passphrase for the keystore")
)

// KeystoreCost is the cost of a passphrase guess in a new keystore file.
type KeystoreCost struct {
	N, P int // of scrypt; r is 8
}

// The costs that geth uses.
var (
	StandardCost = KeystoreCost{N: 1 << 18, P: 1} // 256 MiB, about a second
	LightCost    = KeystoreCost{N: 1 << 12, P: 6} // 4 MiB, about 100 ms
)

// OpenKeystore decrypts a keystore file of version 3 (Web3 Secret Storage), made
// by geth, clef, ethers or another wallet. It returns [ErrKeystore] or
// [ErrPassphrase].
func OpenKeystore(file []byte, passphrase string) (*KeyWallet, error) { return nil, ErrKeystore }

// Keystore returns the wallet's key as a keystore file of version 3.
func (w *KeyWallet) Keystore(passphrase string, cost KeystoreCost) ([]byte, error) {
	return nil, ErrKeystore
}
