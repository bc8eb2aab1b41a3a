package safe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Version is the version of a Safe's contract, without the "+L2" that marks the
// variant with more events: both sign alike.
type Version string

// The versions that are understood.
const (
	V130 Version = "1.3.0"
	V141 Version = "1.4.1"
	V150 Version = "1.5.0"
)

// ErrVersion is returned for a Safe of another version than the three.
var ErrVersion = errors.New("safe: version is not supported (1.3.0, 1.4.1 and 1.5.0 are)")

// ParseVersion reads what a Safe's VERSION() returns, such as "1.4.1" or
// "1.3.0+L2". It returns [ErrVersion] for any other.
func ParseVersion(s string) (Version, error) {
	switch v := Version(strings.TrimSuffix(s, "+L2")); v {
	case V130, V141, V150:
		return v, nil
	}
	return "", fmt.Errorf("%w: %.32q", ErrVersion, s)
}

// Account is a Safe on a chain. It is comparable.
type Account struct {
	ChainID uint64
	Address common.Address
}

// String returns the account as CAIP-10 has it: "eip155:1:0x…".
func (a Account) String() string { return fmt.Sprintf("eip155:%d:%s", a.ChainID, a.Address) }

// domainTypeHash is of EIP712Domain(uint256 chainId,address verifyingContract),
// the domain of a Safe since 1.3.0.
var domainTypeHash = crypto.Keccak256([]byte("EIP712Domain(uint256 chainId,address verifyingContract)"))

// DomainHash returns the Safe's EIP-712 domain separator.
func (a Account) DomainHash() common.Hash {
	var chain [32]byte
	binary.BigEndian.PutUint64(chain[24:], a.ChainID)
	return crypto.Keccak256Hash(domainTypeHash, chain[:], word(a.Address))
}

// word is an address as the ABI has it, in 32 bytes.
func word(a common.Address) []byte { return common.LeftPadBytes(a[:], 32) }

// preimage is what is hashed for a signature: EIP-712 over a struct hash in the
// Safe's domain, 66 bytes.
func (a Account) preimage(structHash common.Hash) []byte {
	domain := a.DomainHash()
	return slices.Concat([]byte{0x19, 0x01}, domain[:], structHash[:])
}

// digest is what is signed.
func (a Account) digest(structHash common.Hash) common.Hash {
	return crypto.Keccak256Hash(a.preimage(structHash))
}
