package identity

import (
	"encoding/hex"
	"errors"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/parley-im/parley/internal/secp"
)

// AddressSize is the size of an [Address] in bytes.
const AddressSize = 20

var (
	// ErrAddress is returned for a string that is not 0x and 40 hex digits.
	ErrAddress = errors.New("identity: not an address: want 0x and 40 hex digits")
	// ErrAddressChecksum is returned for an address in mixed case whose EIP-55
	// checksum is wrong: a digit was most likely mistyped. It is not wrapped in
	// [ErrAddress], because here the person meant an address.
	ErrAddressChecksum = errors.New("identity: address has a wrong EIP-55 checksum, a digit may be mistyped")
)

// Address is an Ethereum address. It is comparable.
type Address [AddressSize]byte

// ParseAddress reads 0x and 40 hex digits, and nothing else: no spaces, no
// missing or upper-case prefix, no ICAP. Digits in mixed case must carry a valid
// EIP-55 checksum; all lower and all upper case carry none. It returns
// [ErrAddress] or [ErrAddressChecksum].
func ParseAddress(s string) (Address, error) {
	var a Address
	if len(s) != 2+2*AddressSize || s[:2] != "0x" {
		return Address{}, ErrAddress
	}
	digits := s[2:]
	if _, err := hex.Decode(a[:], []byte(digits)); err != nil {
		return Address{}, ErrAddress
	}
	var lower, upper bool
	for i := range len(digits) {
		lower = lower || 'a' <= digits[i] && digits[i] <= 'f'
		upper = upper || 'A' <= digits[i] && digits[i] <= 'F'
	}
	if lower && upper && a.String() != s {
		return Address{}, ErrAddressChecksum
	}
	return a, nil
}

// AddressOfKey returns the address that a public key controls: the last 20
// bytes of Keccak-256 over the uncompressed point without its first byte. The
// key must be valid.
func AddressOfKey(key secp.PublicKey) Address {
	h := crypto.Keccak256(key.Uncompressed()[1:])
	return Address(h[len(h)-AddressSize:])
}

// String returns the address with its EIP-55 checksum.
func (a Address) String() string {
	var buf [2 + 2*AddressSize]byte
	copy(buf[:], "0x")
	digits := buf[2:]
	hex.Encode(digits, a[:])
	// EIP-55: a letter is upper case where the digit of the hash of the lower
	// case digits is 8 or more.
	h := crypto.Keccak256(digits)
	for i := range digits {
		nibble := h[i/2] >> 4
		if i%2 == 1 {
			nibble = h[i/2] & 0xf
		}
		if digits[i] >= 'a' && nibble >= 8 {
			digits[i] -= 'a' - 'A'
		}
	}
	return string(buf[:])
}

// IsZero reports whether a is the zero address, which nobody controls.
func (a Address) IsZero() bool { return a == Address{} }

// MarshalText writes what String returns, so that addresses are strings in JSON.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what [ParseAddress] accepts.
func (a *Address) UnmarshalText(b []byte) error {
	v, err := ParseAddress(string(b))
	if err != nil {
		return err
	}
	*a = v
	return nil
}
