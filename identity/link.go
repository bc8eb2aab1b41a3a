package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/wire"
)

// DigestSize is the size of the EIP-712 digest of a link in bytes. The digest
// of a device's latest authorisation names the device everywhere else.
const DigestSize = 32

// Constants of the typed data that wallets show.
const (
	DomainName         = "Parley Identity"
	DomainVersion      = "1"
	AuthorizeStatement = "Let this device read and write Parley messages as this account. It gives no right to move funds."
	RevokeStatement    = "Withdraw this device's right to read and write Parley messages as this account."
	Scope              = "parley/1 messages"
)

// maxTime is the latest time a link may name: the last second of the year 9999,
// which every date library can show.
const maxTime = 253402300799

// textTemplate is what a wallet without typed data signs, followed by the digest
// in 64 lower-case hex digits. It is all ASCII, so every wallet shows it whole.
const textTemplate = "Parley Identity\n\n" +
	"Sign this only to add or withdraw a device that reads and writes Parley messages as your account. " +
	"It gives no right to move funds.\n\n" +
	"Digest: 0x"

// ErrLink is returned for a link that breaks a rule about its own fields.
var ErrLink = errors.New("identity: malformed link")

// LinkType says what a link does. The numbers are on the wire.
type LinkType uint8

// The types of links.
const (
	LinkAuthorize LinkType = 1
	LinkRevoke    LinkType = 2
)

// Scheme says how the wallet signed a link. The numbers are on the wire.
type Scheme uint8

// The schemes of wallet signatures.
const (
	SchemeTypedData Scheme = 1 // EIP-712
	SchemeText      Scheme = 2 // EIP-191 over a constant template with the EIP-712 digest
)

// Reason says why a device was revoked. It is shown to people and changes
// nothing else, so numbers that are not listed are accepted.
type Reason uint8

// Reasons for a revocation.
const (
	ReasonUnspecified Reason = 0
	ReasonReplaced    Reason = 1
	ReasonLost        Reason = 2
	ReasonCompromised Reason = 3
)

// Link is one entry of a [Log]: an authorisation or a revocation of a device.
type Link struct {
	Type LinkType
	// Seq is the link's place in the log, from 0.
	Seq uint64
	// Prev is the digest of the link before, zero at Seq 0. In a healing link it
	// is SHA-256 of the sorted digests in Heals.
	Prev [DigestSize]byte
	// Heals names the conflicting links at Seq-1 that a healing link replaces,
	// sorted; it is empty in every other link.
	Heals [][DigestSize]byte

	SigningKey [secp.PublicKeySize]byte

	// Of an authorisation: times are Unix seconds, the device is valid from
	// NotBefore until before NotAfter.
	DHKey      [secp.PublicKeySize]byte
	DeviceName string
	NotBefore  uint64
	NotAfter   uint64

	// Of a revocation.
	Reason    Reason
	RevokedAt uint64 // Unix seconds, as the wallet's owner says

	Scheme          Scheme
	WalletSignature [WalletSignatureSize]byte // r||s||v, v in {0, 1}
	DeviceSignature [secp.SignatureSize]byte  // of an authorisation: Sign("device", digest)
}

// typedDataTypes are the EIP-712 types of links.
func typedDataTypes() apitypes.Types {
	return apitypes.Types{
		"EIP712Domain": {
			{Name: "name", Type: "string"},
			{Name: "version", Type: "string"},
		},
		"AuthorizeDevice": {
			{Name: "statement", Type: "string"},
			{Name: "account", Type: "address"},
			{Name: "accountChainId", Type: "uint256"},
			{Name: "seq", Type: "uint64"},
			{Name: "prev", Type: "bytes32"},
			{Name: "deviceName", Type: "string"},
			{Name: "signingKey", Type: "bytes"},
			{Name: "dhKey", Type: "bytes"},
			{Name: "scope", Type: "string"},
			{Name: "notBefore", Type: "uint64"},
			{Name: "notAfter", Type: "uint64"},
		},
		"RevokeDevice": {
			{Name: "statement", Type: "string"},
			{Name: "account", Type: "address"},
			{Name: "accountChainId", Type: "uint256"},
			{Name: "seq", Type: "uint64"},
			{Name: "prev", Type: "bytes32"},
			{Name: "signingKey", Type: "bytes"},
			{Name: "reason", Type: "uint8"},
			{Name: "revokedAt", Type: "uint64"},
		},
	}
}

// TypedData returns the EIP-712 typed data that the account's wallet signs.
// Numbers are decimal strings and bytes 0x hex, as eth_signTypedData_v4 has them
// in JSON.
func (k *Link) TypedData(account Account) apitypes.TypedData {
	num := func(v uint64) string { return strconv.FormatUint(v, 10) }
	hexed := func(b []byte) string { return "0x" + hex.EncodeToString(b) }
	msg := apitypes.TypedDataMessage{
		"account":        account.Address.String(),
		"accountChainId": num(account.ChainID),
		"seq":            num(k.Seq),
		"prev":           hexed(k.Prev[:]),
		"signingKey":     hexed(k.SigningKey[:]),
	}
	primary := "AuthorizeDevice"
	if k.Type == LinkRevoke {
		primary = "RevokeDevice"
		msg["statement"] = RevokeStatement
		msg["reason"] = num(uint64(k.Reason))
		msg["revokedAt"] = num(k.RevokedAt)
	} else {
		msg["statement"] = AuthorizeStatement
		msg["scope"] = Scope
		msg["deviceName"] = k.DeviceName
		msg["dhKey"] = hexed(k.DHKey[:])
		msg["notBefore"] = num(k.NotBefore)
		msg["notAfter"] = num(k.NotAfter)
	}
	types := typedDataTypes()
	for name := range types {
		if name != primary && name != "EIP712Domain" {
			delete(types, name) // wallets show every type they are given
		}
	}
	return apitypes.TypedData{
		Types:       types,
		PrimaryType: primary,
		Domain:      apitypes.TypedDataDomain{Name: DomainName, Version: DomainVersion},
		Message:     msg,
	}
}

// Digest returns the EIP-712 digest of the link, which is its name.
func (k *Link) Digest(account Account) [DigestSize]byte {
	digest, _, err := apitypes.TypedDataAndHash(k.TypedData(account))
	if err != nil {
		panic("identity: the typed data of a link always hashes: " + err.Error())
	}
	return [DigestSize]byte(digest)
}

// LinkText returns what a wallet without typed data signs by EIP-191 in place of
// the link with the given digest.
func LinkText(digest [DigestSize]byte) []byte {
	return hex.AppendEncode([]byte(textTemplate), digest[:])
}

// healPrev is the prev of a link that heals the conflicting links with the given
// sorted digests.
func healPrev(digests [][DigestSize]byte) [DigestSize]byte {
	h := sha256.New()
	for _, d := range digests {
		h.Write(d[:])
	}
	return [DigestSize]byte(h.Sum(nil))
}

// check enforces the rules on the fields of one link. It returns [ErrLink].
func (k *Link) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrLink, what) }
	if _, err := secp.ParsePublicKey(k.SigningKey[:]); err != nil {
		return bad("signing key is not a point")
	}
	switch k.Type {
	case LinkAuthorize:
		if _, err := secp.ParsePublicKey(k.DHKey[:]); err != nil {
			return bad("DH key is not a point")
		}
		if k.SigningKey == k.DHKey {
			return bad("one key for two purposes")
		}
		if len(k.DeviceName) > MaxDeviceName {
			return bad("device name is too long")
		}
		for i := range len(k.DeviceName) {
			if c := k.DeviceName[i]; c < 0x20 || c > 0x7e {
				return bad("device name is not printable ASCII")
			}
		}
		if k.NotBefore >= k.NotAfter || k.NotAfter > maxTime {
			return bad("empty or endless period of validity")
		}
	case LinkRevoke:
		if k.RevokedAt > maxTime {
			return bad("time of revocation is out of range")
		}
	default:
		return bad("unknown type")
	}
	if k.Scheme != SchemeTypedData && k.Scheme != SchemeText {
		return bad("unknown signature scheme")
	}
	return k.checkPlace()
}

// checkPlace enforces the rules on seq, prev and heals that need no other link.
func (k *Link) checkPlace() error {
	if len(k.Heals) > 0 {
		if len(k.Heals) < 2 || len(k.Heals) > MaxHeals || k.Seq == 0 {
			return fmt.Errorf("%w: a conflict has two links or more", ErrLink)
		}
		for i := 1; i < len(k.Heals); i++ {
			if bytes.Compare(k.Heals[i-1][:], k.Heals[i][:]) >= 0 {
				return fmt.Errorf("%w: conflicting digests are not sorted", ErrLink)
			}
		}
		if k.Prev != healPrev(k.Heals) {
			return fmt.Errorf("%w: prev is not the hash of the conflicting digests", ErrLink)
		}
	}
	if (k.Seq == 0) != (k.Prev == [DigestSize]byte{}) {
		return fmt.Errorf("%w: prev is zero at seq 0 and only there", ErrLink)
	}
	return nil
}

// verify checks both signatures over the digest. It returns [ErrLogSignature].
func (k *Link) verify(account Account, digest [DigestSize]byte) error {
	signed := digest
	if k.Scheme == SchemeText {
		signed = textDigest(LinkText(digest))
	}
	key, err := secp.Recover(signed, k.WalletSignature[:])
	if err != nil || AddressOfKey(key) != account.Address {
		return fmt.Errorf("%w: not by the account's wallet", ErrLogSignature)
	}
	if k.Type != LinkAuthorize {
		return nil
	}
	dev, err := secp.ParsePublicKey(k.SigningKey[:])
	if err != nil {
		return fmt.Errorf("%w: signing key is not a point", ErrLink)
	}
	// Without the device's consent anyone could enrol another's key.
	if err := dev.Verify(labelDevice, digest[:], k.DeviceSignature[:]); err != nil {
		return fmt.Errorf("%w: not by the device", ErrLogSignature)
	}
	return nil
}

func (k *Link) append(b []byte) []byte {
	b = wire.AppendUint8(b, uint8(k.Type))
	b = wire.AppendUint64(b, k.Seq)
	b = append(b, k.Prev[:]...)
	b = wire.AppendVecFunc(b, func(b []byte) []byte {
		for i := range k.Heals {
			b = append(b, k.Heals[i][:]...)
		}
		return b
	})
	b = append(b, k.SigningKey[:]...)
	if k.Type == LinkAuthorize {
		b = append(b, k.DHKey[:]...)
		b = wire.AppendVec(b, []byte(k.DeviceName))
		b = wire.AppendUint64(b, k.NotBefore)
		b = wire.AppendUint64(b, k.NotAfter)
	} else {
		b = wire.AppendUint8(b, uint8(k.Reason))
		b = wire.AppendUint64(b, k.RevokedAt)
	}
	b = wire.AppendUint8(b, uint8(k.Scheme))
	b = append(b, k.WalletSignature[:]...)
	if k.Type == LinkAuthorize {
		b = append(b, k.DeviceSignature[:]...)
	}
	return b
}

func readLink(r *wire.Reader) *Link {
	k := new(Link)
	k.Type = LinkType(r.Uint8())
	if k.Type != LinkAuthorize && k.Type != LinkRevoke {
		r.Fail(wire.ErrValue)
	}
	k.Seq = r.Uint64()
	r.Copy(k.Prev[:])
	heals := wire.NewReader(r.VecMax(MaxHeals * DigestSize))
	for heals.More() {
		var d [DigestSize]byte
		heals.Copy(d[:])
		k.Heals = append(k.Heals, d)
	}
	r.Join(heals)
	r.Copy(k.SigningKey[:])
	if k.Type == LinkAuthorize {
		r.Copy(k.DHKey[:])
		k.DeviceName = string(r.VecMax(MaxDeviceName))
		k.NotBefore = r.Uint64()
		k.NotAfter = r.Uint64()
	} else {
		k.Reason = Reason(r.Uint8())
		k.RevokedAt = r.Uint64()
	}
	k.Scheme = Scheme(r.Uint8())
	r.Copy(k.WalletSignature[:])
	if k.Type == LinkAuthorize {
		r.Copy(k.DeviceSignature[:])
	}
	return k
}

// unix clamps a time to what the wire holds: seconds since 1970, not negative.
func unix(t time.Time) uint64 {
	return uint64(min(max(t.Unix(), 0), math.MaxInt64))
}
