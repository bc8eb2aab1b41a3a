package identity

import (
	"errors"

	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/parley-im/parley/internal/secp"
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

// TypedData returns what the wallet of the account signs.
func (k *Link) TypedData(account Account) apitypes.TypedData { return apitypes.TypedData{} }

// Digest returns the EIP-712 digest of the link, which is its name.
func (k *Link) Digest(account Account) [DigestSize]byte { return [DigestSize]byte{} }
