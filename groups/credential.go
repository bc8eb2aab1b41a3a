package groups

import (
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// The vocabulary of leaves is treekem's.
type (
	// Credential binds a leaf to whoever it stands for.
	Credential = treekem.Credential
	// LeafIndex is a member's place in its group.
	LeafIndex = treekem.LeafIndex
	// Extension is one extension of a group, leaf, key package or GroupInfo.
	Extension = treekem.Extension
	// Extensions is a list of extensions.
	Extensions = treekem.Extensions
	// Capabilities says what a member's software can do.
	Capabilities = treekem.Capabilities
	// LeafNode is a member's public half.
	LeafNode = treekem.LeafNode
)

// Code points of Parley in the ranges for private use (RFC 9420, Section 17).
const (
	// CredentialEthereum is the credential type of an Ethereum account's
	// device.
	CredentialEthereum treekem.CredentialType = 0xF0E1
	// ExtensionAgreement marks groups that agree without a server, and holds their
	// [Agreement], in the GroupContext.
	ExtensionAgreement treekem.ExtensionType = 0xF0E1
	// ExtensionRoles holds a group's [Roles], in the GroupContext.
	ExtensionRoles treekem.ExtensionType = 0xF0E2
	// ExtensionCID tells a joiner the CID of its first epoch, in a GroupInfo.
	ExtensionCID treekem.ExtensionType = 0xF0E3
)

// Code points of IANA's registry (RFC 9420, Section 17.3, and the MLS
// extensions draft for the last).
const (
	extensionRatchetTree     treekem.ExtensionType = 0x0002
	extensionRequired        treekem.ExtensionType = 0x0003
	extensionExternalPub     treekem.ExtensionType = 0x0004
	extensionExternalSenders treekem.ExtensionType = 0x0005
	extensionLastResort      treekem.ExtensionType = 0x000A
)

// Sizes of the ethereum credential's body, in bytes.
const (
	AcctSize       = 52 // address(20) || uint256 accountChainId
	LinkDigestSize = 32
)

// EthereumCredential returns the credential of a device of an account: its
// account and the digest of the log's link that authorises the device.
func EthereumCredential(acct [AcctSize]byte, link [LinkDigestSize]byte) Credential {
	return Credential{Type: CredentialEthereum, Body: slices.Concat(acct[:], link[:])}
}

// ParseEthereum takes an ethereum credential apart. It returns [ErrMalformed]
// for any other.
func ParseEthereum(c Credential) (acct [AcctSize]byte, link [LinkDigestSize]byte, err error) {
	if c.Type != CredentialEthereum || len(c.Body) != AcctSize+LinkDigestSize {
		return acct, link, fmt.Errorf("%w: not an ethereum credential", ErrMalformed)
	}
	copy(acct[:], c.Body)
	copy(link[:], c.Body[AcctSize:])
	return acct, link, nil
}

// Subject names who a credential stands for: its type and, for the ethereum
// credential, the account; for any other, the whole body. It is what roles are
// given to and what successors of a leaf must keep. Nil if an ethereum
// credential is malformed.
func Subject(c Credential) []byte {
	body := c.Body
	if c.Type == CredentialEthereum {
		if len(body) != AcctSize+LinkDigestSize {
			return nil
		}
		body = body[:AcctSize]
	}
	return append(wire.AppendUint16(nil, uint16(c.Type)), body...)
}

// EthereumSubject returns the subject of an account's credentials.
func EthereumSubject(acct [AcctSize]byte) []byte {
	return append(wire.AppendUint16(nil, uint16(CredentialEthereum)), acct[:]...)
}

// CredentialVerifier says whether a credential really speaks for the holder of
// a signature key, as far as one member knows now.
type CredentialVerifier interface {
	VerifyCredential(c Credential, signatureKey []byte) error
}

// checkSubject is what of a credential the chain alone can judge.
func checkSubject(c Credential) error {
	if s := Subject(c); s == nil || (c.Type == CredentialEthereum && len(s) != 2+AcctSize) {
		return fmt.Errorf("%w: malformed ethereum credential", ErrCredential)
	}
	return nil
}
