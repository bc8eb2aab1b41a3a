package groups

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// KeyPackage is what a device publishes so that others can add it to groups
// while it is away (RFC 9420, Section 10). Each is used once, unless it is
// marked as a last resort. Do not change it: its encoding is signed.
type KeyPackage struct {
	Suite      suite.ID
	InitKey    []byte
	Leaf       *LeafNode
	Extensions Extensions
	Signature  []byte
}

// KeyPackagePrivate is the private half, to be kept until the key package is
// used or expires.
type KeyPackagePrivate struct {
	Init       suite.HPKEKey // opens a Welcome; delete once joined, unless last resort
	Encryption suite.HPKEKey // the leaf's, becomes the group's
}

// KeyPackageOptions say what a new key package is like.
type KeyPackageOptions struct {
	Suite      suite.ID // zero means secp256k1
	Credential Credential
	Signer     suite.SigningKey
	NotBefore  time.Time
	NotAfter   time.Time // at most MaxLifetime after NotBefore
	LastResort bool
	// Capabilities is what the caller's own code handles beyond this package:
	// its types of proposals, extensions and credentials. Extensions go into
	// the leaf, which must list their types.
	Capabilities Capabilities
	Extensions   Extensions
}

const (
	labelKeyPackageTBS = "KeyPackageTBS"
	labelKeyPackageRef = "MLS 1.0 KeyPackage Reference"
)

// NewKeyPackage makes and signs a key package. It returns [ErrLifetime] for a
// validity that is empty or too long, and errors of the suite.
func NewKeyPackage(o KeyPackageOptions) (*KeyPackage, *KeyPackagePrivate, error) {
	s, err := chosenSuite(o.Suite)
	if err != nil {
		return nil, nil, err
	}
	if d := o.NotAfter.Sub(o.NotBefore); d <= 0 || d > MaxLifetime || o.NotBefore.Unix() < 0 {
		return nil, nil, fmt.Errorf("%w: validity of %v", ErrLifetime, d)
	}
	leaf, encryption, err := newLeaf(s, o.Credential, o.Capabilities)
	if err != nil {
		return nil, nil, err
	}
	leaf.Source, leaf.Lifetime = treekem.SourceKeyPackage, lifetime(o.NotBefore, o.NotAfter)
	leaf.Extensions = o.Extensions
	if err := leaf.Sign(s, o.Signer, nil, 0); err != nil {
		return nil, nil, err
	}
	initKey, err := s.GenerateHPKEKey()
	if err != nil {
		return nil, nil, err
	}
	if err := leaf.Check(s); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrKeyPackage, err)
	}
	kp := &KeyPackage{Suite: s.ID(), InitKey: initKey.Public(), Leaf: leaf}
	if o.LastResort {
		kp.Extensions = Extensions{{Type: extensionLastResort}}
	}
	if kp.Signature, err = s.SignWithLabel(o.Signer, labelKeyPackageTBS, kp.unsigned(nil)); err != nil {
		return nil, nil, err
	}
	return kp, &KeyPackagePrivate{Init: initKey, Encryption: encryption}, nil
}

func chosenSuite(id suite.ID) (*suite.Suite, error) {
	if id == 0 {
		id = suite.Secp256k1ChaCha20Poly1305
	}
	s, err := suite.ByID(id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return s, nil
}

// newLeaf returns an unsigned leaf without a source, with a new encryption key.
// Its capabilities are those of this package and more.
func newLeaf(s *suite.Suite, c Credential, more Capabilities) (*LeafNode, suite.HPKEKey, error) {
	if err := checkSubject(c); err != nil {
		return nil, nil, err
	}
	key, err := s.GenerateHPKEKey()
	if err != nil {
		return nil, nil, err
	}
	// Default types must not be listed (RFC 9420, Section 7.2): they are what
	// empty capabilities have.
	var none Capabilities
	more.Extensions = slices.DeleteFunc(slices.Clone(more.Extensions), none.HasExtension)
	more.Proposals = slices.DeleteFunc(slices.Clone(more.Proposals), none.HasProposal)
	grease := grease()
	return &LeafNode{
		EncryptionKey: key.Public(),
		Credential:    c,
		Capabilities: Capabilities{
			Versions:    with([]treekem.ProtocolVersion{treekem.MLS10}, more.Versions),
			Suites:      with([]suite.ID{s.ID(), suite.ID(grease)}, more.Suites),
			Extensions:  with([]treekem.ExtensionType{extensionLastResort, ExtensionRoles, ExtensionAgreement, treekem.ExtensionType(grease)}, more.Extensions),
			Proposals:   with([]treekem.ProposalType{ProposalSelfRemove, treekem.ProposalType(grease)}, more.Proposals),
			Credentials: with([]treekem.CredentialType{c.Type, treekem.CredentialType(grease)}, more.Credentials),
		},
	}, key, nil
}

// with appends to a list what of another it has not.
func with[T comparable](list, more []T) []T {
	for _, v := range more {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// grease returns one of the numbers that mean nothing and keep others from
// choking on what they do not know (RFC 9420, Section 13.5).
func grease() uint16 {
	var b [1]byte
	rand.Read(b[:])
	return (uint16(b[0]%15)<<4 | 0x0a) * 0x0101
}

func lifetime(notBefore, notAfter time.Time) treekem.Lifetime {
	return treekem.Lifetime{NotBefore: uint64(notBefore.Unix()), NotAfter: uint64(notAfter.Unix())}
}

// roomForPackage is enough for the encoding of most key packages, in bytes.
const roomForPackage = 1 << 10

func (k *KeyPackage) unsigned(b []byte) []byte {
	b = wire.AppendUint16(b, protocolVersion)
	b = wire.AppendUint16(b, uint16(k.Suite))
	b = wire.AppendVec(b, k.InitKey)
	b = k.Leaf.Append(b)
	return k.Extensions.Append(b)
}

func (k *KeyPackage) append(b []byte) []byte { return wire.AppendVec(k.unsigned(b), k.Signature) }

func readKeyPackage(r *wire.Reader) *KeyPackage {
	if r.Uint16() != protocolVersion {
		r.Fail(wire.ErrValue)
	}
	return &KeyPackage{
		Suite:      suite.ID(r.Uint16()),
		InitKey:    bytes.Clone(r.VecMax(treekem.MaxKey)),
		Leaf:       treekem.ReadLeafNode(r),
		Extensions: treekem.ReadExtensions(r),
		Signature:  bytes.Clone(r.VecMax(treekem.MaxKey)),
	}
}

// Marshal returns the key package as an MLSMessage, which is how it travels.
func (k *KeyPackage) Marshal() []byte {
	return (&message{wireFormat: WireKeyPackage, keyPackage: k}).marshal()
}

// ParseKeyPackage decodes what [KeyPackage.Marshal] made and copies it. It
// verifies nothing: call Validate.
func ParseKeyPackage(msg []byte) (*KeyPackage, error) {
	m, err := parseMessage(msg)
	if err != nil {
		return nil, err
	}
	if m.wireFormat != WireKeyPackage {
		return nil, fmt.Errorf("%w: not a key package", ErrMalformed)
	}
	return m.keyPackage, nil
}

// LastResort reports whether the key package may be used more than once.
func (k *KeyPackage) LastResort() bool {
	_, ok := k.Extensions.Find(extensionLastResort)
	return ok
}

// Ref returns the key package's reference (RFC 9420, Section 5.2), or nil if
// its suite is unknown.
func (k *KeyPackage) Ref() []byte {
	s, err := suite.ByID(k.Suite)
	if err != nil {
		return nil
	}
	return s.RefHash(labelKeyPackageRef, k.append(make([]byte, 0, roomForPackage)))
}

// Validate applies RFC 9420, Section 10.1, and the lifetime at now. It returns
// [ErrKeyPackage], [ErrSignature], [ErrLifetime] or [ErrUnsupported]. Only who
// proposes or commits an Add asks; a receiver's clock must not decide whether a
// commit is valid.
func (k *KeyPackage) Validate(now time.Time) error {
	if err := k.check(); err != nil {
		return err
	}
	return checkLifetime(k.Leaf, now, false)
}

// checkLifetime is whether a key package's leaf is valid at now, and, unless any
// length will do, not for longer than [MaxLifetime] (RFC 9420, Section 7.2);
// other leaves have no lifetime.
func checkLifetime(l *LeafNode, now time.Time, anyLength bool) error {
	if err := l.CheckLifetime(now); err != nil {
		return fmt.Errorf("%w: %w", ErrLifetime, err)
	}
	if !anyLength && l.Lifetime.NotAfter-l.Lifetime.NotBefore > uint64(MaxLifetime/time.Second) {
		return fmt.Errorf("%w: longer than %v", ErrLifetime, MaxLifetime)
	}
	return nil
}

// check is Validate without the clock.
func (k *KeyPackage) check() error {
	s, err := suite.ByID(k.Suite)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	switch {
	case k.Leaf.Source != treekem.SourceKeyPackage:
		return fmt.Errorf("%w: leaf of another source", ErrKeyPackage)
	case s.CheckHPKEKey(k.InitKey) != nil:
		return fmt.Errorf("%w: unusable init key", ErrKeyPackage)
	case bytes.Equal(k.InitKey, k.Leaf.EncryptionKey):
		return fmt.Errorf("%w: init key is the encryption key", ErrKeyPackage)
	case !k.Extensions.Unique():
		return fmt.Errorf("%w: an extension occurs twice", ErrKeyPackage)
	}
	if data, _ := k.Extensions.Find(extensionLastResort); len(data) > 0 {
		return fmt.Errorf("%w: malformed last_resort", ErrKeyPackage)
	}
	if err := k.Leaf.Check(s); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyPackage, err)
	}
	if err := checkSubject(k.Leaf.Credential); err != nil {
		return err
	}
	if err := k.Leaf.Verify(s, nil, 0); err != nil {
		return fmt.Errorf("%w: leaf of a key package: %w", ErrSignature, err)
	}
	if err := s.VerifyWithLabel(k.Leaf.SignatureKey, labelKeyPackageTBS, k.unsigned(make([]byte, 0, roomForPackage)), k.Signature); err != nil {
		return fmt.Errorf("%w: key package: %w", ErrSignature, err)
	}
	return nil
}

// Marshal returns the private half for storage. It is secret.
func (p *KeyPackagePrivate) Marshal() secret.Key {
	b := wire.AppendVec(nil, p.Init.Bytes().Bytes())
	return secret.New(wire.AppendVec(b, p.Encryption.Bytes().Bytes()))
}

// ParseKeyPackagePrivate decodes what [KeyPackagePrivate.Marshal] made, for the
// suite of its key package. It returns [ErrState] for anything else.
func ParseKeyPackagePrivate(id suite.ID, stored secret.Key) (*KeyPackagePrivate, error) {
	s, err := chosenSuite(id)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(stored.Bytes())
	initKey, err1 := s.NewHPKEKey(r.Vec())
	encryption, err2 := s.NewHPKEKey(r.Vec())
	if err := errors.Join(r.Done(), err1, err2); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return &KeyPackagePrivate{Init: initKey, Encryption: encryption}, nil
}
