package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// WalletSignatureSize is the size of a wallet's signature in bytes: r||s||v.
const WalletSignatureSize = 65

var (
	// ErrHexKey is returned for a string that is not a private key in hex.
	ErrHexKey = errors.New("identity: not a private key: want 64 hex digits")
	// ErrWallet is returned when a wallet gave back something else than its
	// signature over what it was asked to sign.
	ErrWallet = errors.New("identity: the wallet's signature is not valid for its address")
)

// Wallet signs for a key-controlled account. It is asked only to add or revoke
// a device. Implementations may ask a person, so calls may take long.
type Wallet interface {
	// Address returns the address whose key signs.
	Address() Address
	// SignTypedData returns the EIP-712 signature r||s||v, 65 bytes, with v in
	// {0, 1, 27, 28} and a low s.
	SignTypedData(ctx context.Context, data apitypes.TypedData) ([]byte, error)
}

// TextWallet is a wallet that cannot sign typed data: its Text method signs by
// EIP-191 (personal_sign). A [Wallet] that has both methods is asked for typed
// data first, and for text when that fails with [ErrNoTypedData].
type TextWallet interface {
	// SignText returns the EIP-191 signature of text, in the form of
	// Wallet.SignTypedData.
	SignText(ctx context.Context, text []byte) ([]byte, error)
}

// ErrNoTypedData is what Wallet.SignTypedData returns, perhaps wrapped, when the
// wallet cannot sign typed data.
var ErrNoTypedData = errors.New("identity: the wallet does not sign typed data")

// KeyWallet is a wallet whose private key is in memory.
type KeyWallet struct {
	key  *secp.PrivateKey
	addr Address
}

// GenerateWallet returns a wallet with a new key: a new account.
func GenerateWallet() (*KeyWallet, error) {
	key, err := secp.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("identity: making an account: %w", err)
	}
	return newKeyWallet(key), nil
}

// ParseHexKey returns the wallet of a private key of 64 hex digits, with or
// without 0x. White space around it is ignored, since keys come from files. It
// returns [ErrHexKey], which never echoes the input.
func ParseHexKey(s string) (*KeyWallet, error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "0x")
	if len(s) != 2*secp.PrivateKeySize {
		return nil, ErrHexKey
	}
	scalar, err := hex.DecodeString(s)
	if err != nil {
		return nil, ErrHexKey
	}
	return NewKeyWallet(secret.New(scalar))
}

// NewKeyWallet returns the wallet of a 32-byte private key, which it copies. It
// returns [ErrHexKey] for a scalar that is out of range.
func NewKeyWallet(scalar secret.Key) (*KeyWallet, error) {
	key, err := secp.NewPrivateKey(scalar.Bytes())
	if err != nil {
		return nil, ErrHexKey
	}
	return newKeyWallet(key), nil
}

func newKeyWallet(key *secp.PrivateKey) *KeyWallet {
	return &KeyWallet{key: key, addr: AddressOfKey(key.PublicKey())}
}

// Address returns the wallet's address.
func (w *KeyWallet) Address() Address { return w.addr }

// String returns the address.
func (w *KeyWallet) String() string { return w.addr.String() }

// SignTypedData signs by EIP-712, with v in {27, 28}.
func (w *KeyWallet) SignTypedData(ctx context.Context, data apitypes.TypedData) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	digest, _, err := apitypes.TypedDataAndHash(data)
	if err != nil {
		return nil, fmt.Errorf("identity: hashing typed data: %w", err)
	}
	return w.sign([32]byte(digest)), nil
}

// SignText signs by EIP-191, with v in {27, 28}.
func (w *KeyWallet) SignText(ctx context.Context, text []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return w.sign(textDigest(text)), nil
}

func (w *KeyWallet) sign(digest [32]byte) []byte {
	sig := w.key.SignRecoverable(digest)
	sig[64] += 27
	return sig[:]
}

// textDigest is the hash that personal_sign signs (EIP-191, version 0x45).
func textDigest(text []byte) [32]byte {
	return [32]byte(crypto.Keccak256(
		[]byte("\x19Ethereum Signed Message:\n"+strconv.Itoa(len(text))), text))
}
