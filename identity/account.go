package identity

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"

	"github.com/parley-im/parley/internal/wire"
)

const (
	// AccountSize is the size of the wire form of an [Account] in bytes:
	// address(20) || uint256 accountChainId.
	AccountSize = 52
	// LookupKeySize is the size of a lookup key in bytes.
	LookupKeySize = 32
)

// ErrAccount is returned for bytes or a string that are no account.
var ErrAccount = errors.New("identity: not an account: want 0x… or eip155:<chain id>:0x…")

// Account is an Ethereum account as a peer of Parley. It is comparable.
type Account struct {
	Address Address
	// ChainID is 0 for an account controlled by a key, which is the same on
	// every chain, and the chain's id for a contract wallet. Chain ids that
	// exceed 64 bits are refused, as EIP-2294 would have it.
	ChainID uint64
}

// KeyAccount returns the key-controlled account of an address.
func KeyAccount(a Address) Account { return Account{Address: a} }

// ParseAccount reads an address, which is a key-controlled account, or
// "eip155:<chain id>:<address>" (CAIP-10), which is a contract wallet on that
// chain. The chain id is decimal, not zero and without leading zeros. It
// returns [ErrAccount], or an error of [ParseAddress].
func ParseAccount(s string) (Account, error) {
	rest, ok := strings.CutPrefix(s, "eip155:")
	if !ok {
		a, err := ParseAddress(s)
		return Account{Address: a}, err
	}
	chain, addr, ok := strings.Cut(rest, ":")
	if !ok {
		return Account{}, ErrAccount
	}
	id, err := strconv.ParseUint(chain, 10, 64)
	if err != nil || id == 0 || strconv.FormatUint(id, 10) != chain {
		return Account{}, ErrAccount
	}
	a, err := ParseAddress(addr)
	if err != nil {
		return Account{}, err
	}
	return Account{Address: a, ChainID: id}, nil
}

// AccountFromBytes reads the 52 bytes that Bytes returns, or fails with
// [ErrAccount].
func AccountFromBytes(b []byte) (Account, error) {
	r := wire.NewReader(b)
	a := readAccount(r)
	if r.Done() != nil {
		return Account{}, ErrAccount
	}
	return a, nil
}

// Bytes returns the wire form: address(20) || uint256 accountChainId, 52 bytes.
func (a Account) Bytes() []byte { return a.append(make([]byte, 0, AccountSize)) }

func (a Account) append(b []byte) []byte {
	b = append(b, a.Address[:]...)
	b = append(b, make([]byte, 24)...)
	return wire.AppendUint64(b, a.ChainID)
}

func readAccount(r *wire.Reader) (a Account) {
	r.Copy(a.Address[:])
	for _, c := range r.Bytes(24) {
		if c != 0 {
			r.Fail(ErrAccount)
		}
	}
	a.ChainID = r.Uint64()
	return a
}

// String returns the address with its checksum, preceded by "eip155:<chain id>:"
// for a contract wallet. [ParseAccount] reads it back.
func (a Account) String() string {
	if a.ChainID == 0 {
		return a.Address.String()
	}
	return "eip155:" + strconv.FormatUint(a.ChainID, 10) + ":" + a.Address.String()
}

// MarshalText writes what String returns.
func (a Account) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what [ParseAccount] accepts.
func (a *Account) UnmarshalText(b []byte) error {
	v, err := ParseAccount(string(b))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// LookupKey returns the key under which nodes serve the account's [Record]:
// SHA-256(LP("parley/1 lookup") || account). Asking for it tells the account's
// address to nobody who does not know that address already; it does not hide it
// from one who hashes every address there is.
func (a Account) LookupKey() [LookupKeySize]byte {
	return sha256.Sum256(a.append(wire.AppendLP(nil, []byte("parley/1 lookup"))))
}
