package identity

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/ethereum/go-ethereum/common"
)

// The contract ABI, as much of it as contracts chosen by strangers answer with.
// go-ethereum's decoder copies every string of an array, and a hostile array can
// point to one long string a thousand times; this one checks counts and sizes
// against named limits first, and returns slices of its input.

const (
	// MaxLookup is the largest OffchainLookup error that is followed, in bytes.
	MaxLookup = 128 << 10
	// MaxGatewayURLs is the largest number of gateways in one OffchainLookup.
	MaxGatewayURLs = 16
	// MaxGatewayURL is the longest URL template of a gateway, in bytes.
	MaxGatewayURL = 2048
)

// errABI is returned for bytes that are not the ABI encoding that was asked for.
var errABI = errors.New("identity: malformed ABI encoding")

const abiWord = 32

// abiUint reads the word at off as a number that is at most max.
func abiUint(b []byte, off, max int) (int, error) {
	if off < 0 || off > len(b)-abiWord {
		return 0, errABI
	}
	w := b[off : off+abiWord]
	for _, c := range w[:abiWord-8] {
		if c != 0 {
			return 0, errABI
		}
	}
	v := binary.BigEndian.Uint64(w[abiWord-8:])
	if max < 0 || v > uint64(max) {
		return 0, errABI
	}
	return int(v), nil
}

// abiAddress reads the word at off as an address.
func abiAddress(b []byte, off int) (common.Address, error) {
	if off < 0 || off > len(b)-abiWord {
		return common.Address{}, errABI
	}
	w := b[off : off+abiWord]
	for _, c := range w[:abiWord-common.AddressLength] {
		if c != 0 {
			return common.Address{}, errABI
		}
	}
	return common.BytesToAddress(w), nil
}

// abiBytes reads the bytes or string whose offset, from the beginning of b, is
// the word at head.
func abiBytes(b []byte, head int) ([]byte, error) {
	off, err := abiUint(b, head, len(b))
	if err != nil {
		return nil, err
	}
	n, err := abiUint(b, off, len(b)-off-abiWord)
	if err != nil {
		return nil, err
	}
	off += abiWord
	return b[off : off+n : off+n], nil
}

// abiStrings reads the string[] whose offset is the word at head: gateway URLs,
// with their limits.
func abiStrings(b []byte, head int) ([]string, error) {
	off, err := abiUint(b, head, len(b))
	if err != nil {
		return nil, err
	}
	n, err := abiUint(b, off, MaxGatewayURLs)
	if err != nil {
		return nil, err
	}
	b = b[off+abiWord:] // the offsets inside count from here
	list := make([]string, n)
	for i := range list {
		s, err := abiBytes(b, i*abiWord)
		if err != nil {
			return nil, err
		}
		if len(s) > MaxGatewayURL {
			return nil, errABI
		}
		list[i] = string(s)
	}
	return list, nil
}

// appendABIBytes appends the tail of a bytes value: length, bytes, padding.
func appendABIBytes(b, v []byte) []byte {
	b = appendABIUint(b, len(v))
	b = append(b, v...)
	return append(b, make([]byte, -len(v)&(abiWord-1))...)
}

func appendABIUint(b []byte, v int) []byte {
	b = append(b, make([]byte, abiWord-8)...)
	return binary.BigEndian.AppendUint64(b, uint64(v))
}

// callBytesPair encodes a call of a function that takes (bytes, bytes): resolve
// of ENSIP-10, and every callback of ERC-3668.
func callBytesPair(selector [4]byte, first, second []byte) []byte {
	b := append([]byte(nil), selector[:]...)
	b = appendABIUint(b, 2*abiWord)
	b = appendABIUint(b, 3*abiWord+(len(first)+abiWord-1)&^(abiWord-1))
	b = appendABIBytes(b, first)
	return appendABIBytes(b, second)
}

// Selectors: the first four bytes of the Keccak-256 of the signature.
var (
	selOffchainLookup = [4]byte{0x55, 0x6f, 0x18, 0x30} // OffchainLookup(address,string[],bytes,bytes4,bytes)
	selResolve        = [4]byte{0x90, 0x61, 0xb9, 0x23} // resolve(bytes,bytes), also its EIP-165 id
)

// offchainLookup is the error of ERC-3668.
type offchainLookup struct {
	sender   common.Address
	urls     []string
	callData []byte
	callback [4]byte
	extra    []byte
}

// isLookup reports whether revert data claims to be an OffchainLookup.
func isLookup(revert []byte) bool { return bytes.HasPrefix(revert, selOffchainLookup[:]) }

// decodeLookup reads revert data for which isLookup holds.
func decodeLookup(revert []byte) (*offchainLookup, error) {
	if !isLookup(revert) || len(revert) > MaxLookup {
		return nil, errABI
	}
	b := revert[len(selOffchainLookup):]
	l := new(offchainLookup)
	var err error
	if l.sender, err = abiAddress(b, 0); err != nil {
		return nil, err
	}
	if l.urls, err = abiStrings(b, abiWord); err != nil {
		return nil, err
	}
	if l.callData, err = abiBytes(b, 2*abiWord); err != nil {
		return nil, err
	}
	// A bytes4 stands at the left of its word; abiBytes below checks the length.
	if len(b) < 5*abiWord {
		return nil, errABI
	}
	copy(l.callback[:], b[3*abiWord:])
	if l.extra, err = abiBytes(b, 4*abiWord); err != nil {
		return nil, err
	}
	return l, nil
}
