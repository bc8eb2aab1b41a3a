package treekem

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// ProtocolVersion is a version of MLS.
type ProtocolVersion uint16

// MLS10 is the one version there is (RFC 9420, Section 6).
const MLS10 ProtocolVersion = 1

// LeafSource says how a leaf came into its tree (RFC 9420, Section 7.2).
type LeafSource uint8

// Leaf node sources.
const (
	SourceKeyPackage LeafSource = 1
	SourceUpdate     LeafSource = 2
	SourceCommit     LeafSource = 3
)

// CredentialType is a number of the IANA registry "MLS Credential Types".
type CredentialType uint16

// Credential types known here; all others are opaque.
const (
	CredentialBasic CredentialType = 1
	CredentialX509  CredentialType = 2
)

// Credential binds a leaf to whoever it stands for. Its body is opaque here:
//
//	struct {
//	    CredentialType credential_type;
//	    opaque body<V>;
//	} Credential;
//
// which for the basic and x509 types is the encoding of RFC 9420, Section 5.3.
type Credential struct {
	Type CredentialType
	Body []byte // the identity if basic; the encoded certificate list if x509
}

// Basic returns the basic credential of an identity.
func Basic(identity []byte) Credential { return Credential{CredentialBasic, identity} }

// Certificates returns the DER certificates of an x509 credential, the leaf
// first, as views. It returns [ErrMalformed] if the credential is of another
// type or its body is not a list.
func (c Credential) Certificates() ([][]byte, error) {
	if c.Type != CredentialX509 {
		return nil, fmt.Errorf("%w: not an x509 credential", ErrMalformed)
	}
	r := wire.NewReader(c.Body)
	var certs [][]byte
	for r.More() {
		certs = append(certs, r.Vec())
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: certificate list: %w", ErrMalformed, err)
	}
	return certs, nil
}

// Equal reports whether both have the same type and body.
func (c Credential) Equal(d Credential) bool { return c.Type == d.Type && bytes.Equal(c.Body, d.Body) }

// Append appends the credential's encoding.
func (c Credential) Append(b []byte) []byte {
	return wire.AppendVec(wire.AppendUint16(b, uint16(c.Type)), c.Body)
}

// ReadCredential reads a credential, copying its body. Errors stick to r.
func ReadCredential(r *wire.Reader) Credential {
	c := viewCredential(r)
	c.Body = bytes.Clone(c.Body)
	return c
}

func viewCredential(r *wire.Reader) Credential {
	c := Credential{CredentialType(r.Uint16()), r.VecMax(MaxLeafNode)}
	if c.Type == CredentialX509 && r.Err() == nil {
		if _, err := c.Certificates(); err != nil {
			r.Fail(err)
		}
	}
	return c
}

// ExtensionType is a number of the IANA registry "MLS Extension Types".
type ExtensionType uint16

// ProposalType is a number of the IANA registry "MLS Proposal Types".
type ProposalType uint16

// Extension is one extension of a leaf, a key package or a group:
//
//	struct {
//	    ExtensionType extension_type;
//	    opaque extension_data<V>;
//	} Extension;
type Extension struct {
	Type ExtensionType
	Data []byte
}

// Extensions is a list of extensions, in the order of the wire.
type Extensions []Extension

// Find returns the data of the first extension of that type.
func (e Extensions) Find(t ExtensionType) ([]byte, bool) {
	for _, x := range e {
		if x.Type == t {
			return x.Data, true
		}
	}
	return nil, false
}

// Unique reports whether no type occurs twice, as RFC 9420, Section 13.4
// demands of every list.
func (e Extensions) Unique() bool {
	seen := make(map[ExtensionType]bool, len(e))
	for _, x := range e {
		if seen[x.Type] {
			return false
		}
		seen[x.Type] = true
	}
	return true
}

// Append appends Extension extensions<V>.
func (e Extensions) Append(b []byte) []byte {
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, x := range e {
			b = wire.AppendVec(wire.AppendUint16(b, uint16(x.Type)), x.Data)
		}
		return b
	})
}

// ReadExtensions reads Extension extensions<V>, copying the data. Errors stick
// to r; more than [MaxExtensions] are [ErrMalformed].
func ReadExtensions(r *wire.Reader) Extensions {
	e := viewExtensions(r, wire.MaxVector)
	for i := range e {
		e[i].Data = bytes.Clone(e[i].Data)
	}
	return e
}

func viewExtensions(r *wire.Reader, limit int) Extensions {
	var e Extensions
	sub := wire.NewReader(r.VecMax(limit))
	for sub.More() {
		if len(e) == MaxExtensions {
			sub.Fail(fmt.Errorf("%w: more than %d extensions", ErrMalformed, MaxExtensions))
		}
		e = append(e, Extension{ExtensionType(sub.Uint16()), sub.Vec()})
	}
	r.Join(sub)
	return e
}

// Capabilities says what a member's software can do (RFC 9420, Section 7.2).
// Extension types 1 to 5 and proposal types 1 to 7 are always supported and not
// listed.
type Capabilities struct {
	Versions    []ProtocolVersion
	Suites      []suite.ID
	Extensions  []ExtensionType
	Proposals   []ProposalType
	Credentials []CredentialType
}

// extensionApplicationID is application_id, which is in leaves alone (RFC 9420,
// Section 5.3.3).
const extensionApplicationID ExtensionType = 1

// The highest default types of RFC 9420, Sections 17.3 and 17.4.
const (
	lastDefaultExtension ExtensionType = 5
	lastDefaultProposal  ProposalType  = 7
)

// HasExtension reports whether the extension type is listed or default.
func (c *Capabilities) HasExtension(t ExtensionType) bool {
	return (t >= 1 && t <= lastDefaultExtension) || slices.Contains(c.Extensions, t)
}

// HasProposal reports whether the proposal type is listed or default.
func (c *Capabilities) HasProposal(t ProposalType) bool {
	return (t >= 1 && t <= lastDefaultProposal) || slices.Contains(c.Proposals, t)
}

// HasCredential reports whether the credential type is listed.
func (c *Capabilities) HasCredential(t CredentialType) bool {
	return slices.Contains(c.Credentials, t)
}

func (c *Capabilities) append(b []byte) []byte {
	b = appendUint16s(b, c.Versions)
	b = appendUint16s(b, c.Suites)
	b = appendUint16s(b, c.Extensions)
	b = appendUint16s(b, c.Proposals)
	return appendUint16s(b, c.Credentials)
}

// capabilitySet has the capabilities read so far, by their encoding: leaves that
// can do the same share their lists. A nil set remembers nothing.
type capabilitySet map[string]Capabilities

// read reads capabilities. Errors stick to r.
func (s capabilitySet) read(r *wire.Reader) Capabilities {
	lists := *r
	for range 5 {
		r.VecMax(MaxLeafNode)
	}
	encoded := lists.Bytes(lists.Len() - r.Len())
	c, ok := s[string(encoded)]
	if ok || r.Err() != nil {
		return c
	}
	sub := wire.NewReader(encoded)
	c = Capabilities{
		Versions:    readUint16s[ProtocolVersion](sub),
		Suites:      readUint16s[suite.ID](sub),
		Extensions:  readUint16s[ExtensionType](sub),
		Proposals:   readUint16s[ProposalType](sub),
		Credentials: readUint16s[CredentialType](sub),
	}
	r.Join(sub)
	if s != nil {
		s[string(encoded)] = c
	}
	return c
}

func appendUint16s[T ~uint16](b []byte, list []T) []byte {
	b = wire.AppendVarint(b, 2*len(list))
	for _, v := range list {
		b = wire.AppendUint16(b, uint16(v))
	}
	return b
}

func readUint16s[T ~uint16](r *wire.Reader) []T {
	sub := wire.NewReader(r.Vec())
	var list []T
	if n := sub.Len() / 2; n > 0 {
		list = make([]T, 0, n)
	}
	for sub.More() {
		list = append(list, T(sub.Uint16()))
	}
	r.Join(sub)
	return list
}

// Lifetime is when a key package may be used, in seconds since 1970.
type Lifetime struct{ NotBefore, NotAfter uint64 }

// LeafNode is a member's public half (RFC 9420, Section 7.2). Once in a tree it
// is shared between clones and must not be changed.
type LeafNode struct {
	EncryptionKey []byte
	SignatureKey  []byte
	Credential    Credential
	Capabilities  Capabilities
	Source        LeafSource
	Lifetime      Lifetime // of SourceKeyPackage only
	ParentHash    []byte   // of SourceCommit only
	Extensions    Extensions
	Signature     []byte
}

// Append appends the leaf's encoding.
func (l *LeafNode) Append(b []byte) []byte { return wire.AppendVec(l.appendUnsigned(b), l.Signature) }

// appendUnsigned appends what LeafNode and LeafNodeTBS have in common.
func (l *LeafNode) appendUnsigned(b []byte) []byte {
	b = wire.AppendVec(b, l.EncryptionKey)
	b = wire.AppendVec(b, l.SignatureKey)
	b = l.Credential.Append(b)
	b = l.Capabilities.append(b)
	b = wire.AppendUint8(b, uint8(l.Source))
	switch l.Source {
	case SourceKeyPackage:
		b = wire.AppendUint64(b, l.Lifetime.NotBefore)
		b = wire.AppendUint64(b, l.Lifetime.NotAfter)
	case SourceCommit:
		b = wire.AppendVec(b, l.ParentHash)
	}
	return l.Extensions.Append(b)
}

// ReadLeafNode reads a leaf, copying what it keeps. Errors stick to r; a source
// that is none of the three, or a leaf of more than [MaxLeafNode] bytes, is
// [ErrMalformed].
func ReadLeafNode(r *wire.Reader) *LeafNode {
	l := viewLeafNode(r, nil)
	l.EncryptionKey = bytes.Clone(l.EncryptionKey)
	l.SignatureKey = bytes.Clone(l.SignatureKey)
	l.Credential.Body = bytes.Clone(l.Credential.Body)
	l.ParentHash = bytes.Clone(l.ParentHash)
	for i := range l.Extensions {
		l.Extensions[i].Data = bytes.Clone(l.Extensions[i].Data)
	}
	l.Signature = bytes.Clone(l.Signature)
	return l
}

// viewLeafNode is ReadLeafNode, but what it returns refers into the input, and
// shares its capabilities with the leaves before.
func viewLeafNode(r *wire.Reader, seen capabilitySet) *LeafNode {
	before := r.Len()
	l := &LeafNode{
		EncryptionKey: r.VecMax(MaxKey),
		SignatureKey:  r.VecMax(MaxKey),
		Credential:    viewCredential(r),
		Capabilities:  seen.read(r),
		Source:        LeafSource(r.Uint8()),
	}
	switch l.Source {
	case SourceKeyPackage:
		l.Lifetime = Lifetime{r.Uint64(), r.Uint64()}
	case SourceUpdate:
	case SourceCommit:
		l.ParentHash = r.VecMax(MaxKey)
	default:
		r.Fail(fmt.Errorf("%w: leaf source %d", ErrMalformed, l.Source))
	}
	l.Extensions = viewExtensions(r, MaxLeafNode)
	l.Signature = r.VecMax(MaxKey)
	if r.Err() == nil && before-r.Len() > MaxLeafNode {
		r.Fail(fmt.Errorf("%w: leaf node of %d bytes", ErrMalformed, before-r.Len()))
	}
	return l
}

// Clone returns a copy whose fields can be assigned to; the slices are shared,
// so they can be replaced but not written into.
func (l *LeafNode) Clone() *LeafNode {
	c := *l
	return &c
}

// roomForLeaf is enough for the encoding of most leaves, in bytes.
const roomForLeaf = 1 << 9

// signed is LeafNodeTBS (RFC 9420, Section 7.2).
func (l *LeafNode) signed(groupID []byte, index LeafIndex) []byte {
	b := l.appendUnsigned(make([]byte, 0, roomForLeaf))
	if l.Source != SourceKeyPackage {
		b = wire.AppendVec(b, groupID)
		b = wire.AppendUint32(b, uint32(index))
	}
	return b
}

const leafLabel = "LeafNodeTBS"

// Sign sets SignatureKey to the signer's and Signature to its signature. The
// group and the leaf's index go into it unless the source is a key package.
func (l *LeafNode) Sign(s *suite.Suite, signer suite.SigningKey, groupID []byte, index LeafIndex) error {
	l.SignatureKey = signer.Public()
	sig, err := s.SignWithLabel(signer, leafLabel, l.signed(groupID, index))
	if err != nil {
		return fmt.Errorf("treekem: signing a leaf: %w", err)
	}
	l.Signature = sig
	return nil
}

// Verify returns [ErrSignature] unless the leaf was signed with its own
// signature key for that group and index; a key package's leaf is bound to
// neither.
func (l *LeafNode) Verify(s *suite.Suite, groupID []byte, index LeafIndex) error {
	if err := s.VerifyWithLabel(l.SignatureKey, leafLabel, l.signed(groupID, index), l.Signature); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}

// Check applies the rules of RFC 9420, Section 7.3, that can be judged from the
// leaf alone, its signature and lifetime excepted: usable keys, no extension
// twice nor more than [MaxExtensions], capabilities that cover the version, the leaf's own credential and its
// extensions, and an application_id that is one. It returns [ErrLeaf]. That they
// name the suite is no rule of the RFC, and published vectors of suite 7 have
// leaves that do not.
func (l *LeafNode) Check(s *suite.Suite) error {
	switch {
	case s.CheckHPKEKey(l.EncryptionKey) != nil:
		return fmt.Errorf("%w: unusable encryption key", ErrLeaf)
	case s.CheckSignatureKey(l.SignatureKey) != nil:
		return fmt.Errorf("%w: unusable signature key", ErrLeaf)
	case len(l.Extensions) > MaxExtensions:
		return fmt.Errorf("%w: more than %d extensions", ErrLeaf, MaxExtensions)
	case !l.Extensions.Unique():
		return fmt.Errorf("%w: an extension occurs twice", ErrLeaf)
	case !slices.Contains(l.Capabilities.Versions, MLS10):
		return fmt.Errorf("%w: capabilities without MLS 1.0", ErrLeaf)
	case !l.Capabilities.HasCredential(l.Credential.Type):
		return fmt.Errorf("%w: capabilities without the leaf's own credential type %d", ErrLeaf, l.Credential.Type)
	}
	for _, x := range l.Extensions {
		if !l.Capabilities.HasExtension(x.Type) {
			return fmt.Errorf("%w: capabilities without the leaf's own extension type %d", ErrLeaf, x.Type)
		}
		if x.Type != extensionApplicationID {
			continue
		}
		r := wire.NewReader(x.Data)
		if r.Vec(); r.Done() != nil {
			return fmt.Errorf("%w: malformed application_id", ErrLeaf)
		}
	}
	return nil
}

// CheckLifetime returns [ErrExpired] if the leaf is of a key package that is
// not valid at that time. Only who proposes or commits an Add should ask:
// receivers' clocks must not decide whether a commit is valid.
func (l *LeafNode) CheckLifetime(now time.Time) error {
	if l.Source != SourceKeyPackage {
		return nil
	}
	if at := now.Unix(); at < 0 || uint64(at) < l.Lifetime.NotBefore || uint64(at) > l.Lifetime.NotAfter {
		return fmt.Errorf("%w: valid from %d to %d", ErrExpired, l.Lifetime.NotBefore, l.Lifetime.NotAfter)
	}
	return nil
}

// Equal reports whether both leaves have the same encoding.
func (l *LeafNode) Equal(m *LeafNode) bool { return bytes.Equal(l.Append(nil), m.Append(nil)) }
