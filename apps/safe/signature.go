package safe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

var (
	// ErrSignature is returned for a signature that is malformed, or not its
	// owner's over the hash.
	ErrSignature = errors.New("safe: signature is not valid")
	// ErrSignatures is returned for a list of signatures that a Safe would not
	// take: two by one owner, or none.
	ErrSignatures = errors.New("safe: signatures do not go together")
)

// SignatureKind says how an owner has signed.
type SignatureKind uint8

// The kinds of signature that a Safe's checkSignatures tells by the byte v.
const (
	EIP712   SignatureKind = 1 // v 27 or 28: by a key, over the hash itself
	EthSign  SignatureKind = 2 // v 31 or 32: by a key, over EIP-191 of the hash (eth_sign)
	Contract SignatureKind = 3 // v 0: by a contract (ERC-1271)
	Approved SignatureKind = 4 // v 1: the owner has called approveHash
)

// String returns the kind's name, as the Safe Transaction Service has it.
func (k SignatureKind) String() string {
	switch k {
	case EIP712:
		return "EOA"
	case EthSign:
		return "ETH_SIGN"
	case Contract:
		return "CONTRACT_SIGNATURE"
	case Approved:
		return "APPROVED_HASH"
	}
	return fmt.Sprintf("SignatureKind(%d)", uint8(k))
}

// staticSize is the size of one signature's fixed part: r, s and v.
const staticSize = 65

// Signature is one owner's. What is signed is a hash in the Safe's domain: a
// safeTxHash, or that of a SafeMessage.
type Signature struct {
	Owner common.Address
	Kind  SignatureKind
	// Data is r||s||v for EIP712 (v is 27 or 28) and EthSign (v is 31 or 32), the
	// contract's own signature for Contract, and empty for Approved.
	Data []byte
}

// OnChain reports whether only the chain can verify the signature.
func (s *Signature) OnChain() bool { return s.Kind == Contract || s.Kind == Approved }

// checkForm is whether a signature has the size its kind asks for.
func (s *Signature) checkForm() error {
	ok := false
	switch s.Kind {
	case EIP712:
		ok = len(s.Data) == staticSize && (s.Data[64] == 27 || s.Data[64] == 28)
	case EthSign:
		ok = len(s.Data) == staticSize && (s.Data[64] == 31 || s.Data[64] == 32)
	case Contract:
		ok = len(s.Data) <= MaxContractSignature
	case Approved:
		ok = len(s.Data) == 0
	}
	if !ok {
		return fmt.Errorf("%w: of kind %s with %d bytes", ErrSignature, s.Kind, len(s.Data))
	}
	return nil
}

// Check verifies a signature by a key over a hash. It returns [ErrSignature] for
// one that is not its owner's, is malformed, or has a high s, of which there are
// two for each low one; and for the kinds that only the chain can verify.
func (s *Signature) Check(hash common.Hash) error {
	if err := s.checkForm(); err != nil {
		return err
	}
	if s.OnChain() {
		return fmt.Errorf("%w: only the chain can verify it", ErrSignature)
	}
	signer, err := recoverSigner(hash, s.Data)
	if err != nil {
		return err
	}
	if signer != s.Owner {
		return fmt.Errorf("%w: it is of %s, not of %s", ErrSignature, signer, s.Owner)
	}
	return nil
}

// recoverSigner returns whose r||s||v over a hash is: v is 27, 28, 31 or 32.
func recoverSigner(hash common.Hash, sig []byte) (common.Address, error) {
	digest, v := hash[:], sig[64]
	if v >= 31 {
		digest, v = accounts.TextHash(hash[:]), v-4
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:64])
	if !crypto.ValidateSignatureValues(v-27, r, s, true) {
		return common.Address{}, fmt.Errorf("%w: r or s is out of range", ErrSignature)
	}
	key, err := crypto.SigToPub(digest, slices.Concat(sig[:64], []byte{v - 27}))
	if err != nil {
		return common.Address{}, fmt.Errorf("%w: no key has made it", ErrSignature)
	}
	return crypto.PubkeyToAddress(*key), nil
}

// ParseSignatures reads what wallets and services pass around: signatures as
// execTransaction takes them, one after the other with what is longer behind, or
// one of a wallet alone, whose v may be 0 or 1 too: then it does not begin with
// the twelve zeros before an owner's address. The owners of keys' signatures are
// recovered from the hash, so this verifies nothing. It returns [ErrSignature].
func ParseSignatures(hash common.Hash, b []byte) ([]Signature, error) {
	if len(b) > maxSignatures {
		return nil, fmt.Errorf("%w: %d bytes, %d are the most", ErrSignature, len(b), maxSignatures)
	}
	if len(b) == staticSize && b[64] <= 1 && !allZero(b[:12]) {
		sig := bytes.Clone(b)
		sig[64] += 27
		signer, err := recoverSigner(hash, sig)
		if err != nil {
			return nil, err
		}
		return []Signature{{signer, EIP712, sig}}, nil
	}
	fixed, err := fixedPart(b)
	if err != nil {
		return nil, err
	}
	var all []Signature
	behind := fixed
	for at := 0; at < fixed; at += staticSize {
		sig := b[at : at+staticSize]
		switch v := sig[64]; v {
		case 0:
			data, end, err := dynamicPart(b, sig, behind)
			if err != nil {
				return nil, err
			}
			behind = end
			all = append(all, Signature{common.BytesToAddress(sig[:32]), Contract, data})
		case 1:
			if !approves(sig) {
				return nil, fmt.Errorf("%w: an approval with more than an owner", ErrSignature)
			}
			all = append(all, Signature{common.BytesToAddress(sig[:32]), Approved, nil})
		case 27, 28, 31, 32:
			signer, err := recoverSigner(hash, sig)
			if err != nil {
				return nil, err
			}
			kind := EIP712
			if v >= 31 {
				kind = EthSign
			}
			all = append(all, Signature{signer, kind, bytes.Clone(sig)})
		default:
			return nil, fmt.Errorf("%w: v is %d; 0, 1, 27, 28, 31 and 32 are known", ErrSignature, v)
		}
	}
	if behind != len(b) {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrSignature, len(b)-behind)
	}
	return all, nil
}

// approves reports whether a fixed part is of an approved hash: an address, and
// nothing in s.
func approves(sig []byte) bool {
	return allZero(sig[:12]) && allZero(sig[32:64])
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// fixedPart returns how many bytes of signatures come before what is longer:
// where the first contract's signature begins, else all.
func fixedPart(b []byte) (int, error) {
	fixed := len(b)
	for at := 0; at+staticSize <= fixed; at += staticSize {
		if sig := b[at : at+staticSize]; sig[64] == 0 {
			if !allZero(sig[32:60]) || !allZero(sig[:12]) {
				return 0, fmt.Errorf("%w: a contract's signature without owner and offset", ErrSignature)
			}
			fixed = min(fixed, int(binary.BigEndian.Uint32(sig[60:64])))
		}
	}
	if fixed == 0 || fixed%staticSize != 0 || fixed > len(b) {
		return 0, fmt.Errorf("%w: %d bytes are no number of signatures", ErrSignature, len(b))
	}
	return fixed, nil
}

// dynamicPart returns a contract's signature, which begins at the offset in its
// fixed part, where the one before has ended, and where it ends.
func dynamicPart(b, sig []byte, begin int) (data []byte, end int, err error) {
	offset := int(binary.BigEndian.Uint32(sig[60:64]))
	if offset != begin || len(b)-begin < 32 {
		return nil, 0, fmt.Errorf("%w: a contract's signature is not where it should be", ErrSignature)
	}
	size := b[begin : begin+32]
	n := int(binary.BigEndian.Uint32(size[28:]))
	begin += 32
	if !allZero(size[:28]) || n > MaxContractSignature || n > len(b)-begin {
		return nil, 0, fmt.Errorf("%w: a contract's signature is too long", ErrSignature)
	}
	return bytes.Clone(b[begin : begin+n]), begin + n, nil
}

// PackSignatures returns signatures as execTransaction and isValidSignature take
// them: by owner, contracts' own signatures behind all others. It returns
// [ErrSignatures] for two of one owner or none, and [ErrSignature] for a
// malformed one.
func PackSignatures(all []Signature) ([]byte, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrSignatures)
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Signature) int { return a.Owner.Cmp(b.Owner) })
	var fixed, behind []byte
	for i, s := range all {
		if err := s.checkForm(); err != nil {
			return nil, err
		}
		if i > 0 && all[i-1].Owner == s.Owner {
			return nil, fmt.Errorf("%w: two are of %s", ErrSignatures, s.Owner)
		}
		switch s.Kind {
		case EIP712, EthSign:
			fixed = append(fixed, s.Data...)
		case Approved:
			fixed = append(append(append(fixed, word(s.Owner)...), make([]byte, 32)...), 1)
		case Contract:
			fixed = append(append(append(fixed, word(s.Owner)...), number(len(all)*staticSize+len(behind))...), 0)
			behind = append(append(behind, number(len(s.Data))...), s.Data...)
		}
	}
	return append(fixed, behind...), nil
}

// number is an integer as the ABI has it, in 32 bytes.
func number(n int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24, 32), uint64(n)) }
