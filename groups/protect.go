package groups

import (
	"crypto/rand"
	"fmt"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

const labelFramedContent = "FramedContentTBS"

// signed is FramedContentTBS (RFC 9420, Section 6.1). context is the encoded
// GroupContext, which counts for senders that know it.
func (a *authContent) signed(context []byte) []byte {
	b := make([]byte, 0, a.room()+len(context))
	b = wire.AppendUint16(b, protocolVersion)
	b = wire.AppendUint16(b, uint16(a.wireFormat))
	b = a.content.append(b)
	if t := a.content.sender.Type; t == SenderMember || t == SenderNewMemberCommit {
		b = append(b, context...)
	}
	return b
}

func (a *authContent) sign(s *suite.Suite, signer suite.SigningKey, context []byte) error {
	sig, err := s.SignWithLabel(signer, labelFramedContent, a.signed(context))
	a.auth.signature = sig
	return err
}

func (a *authContent) verify(s *suite.Suite, signatureKey, context []byte) error {
	if err := s.VerifyWithLabel(signatureKey, labelFramedContent, a.signed(context), a.auth.signature); err != nil {
		return fmt.Errorf("%w: framed content: %w", ErrSignature, err)
	}
	return nil
}

// membershipTag is RFC 9420, Section 6.2.
func membershipTag(s *suite.Suite, key secret.Key, a *authContent, context []byte) []byte {
	return s.MAC(key, a.auth.append(a.signed(context), a.content.contentType))
}

// protectPublic frames signed content as a PublicMessage.
func protectPublic(s *suite.Suite, membership secret.Key, a *authContent, context []byte) *message {
	m := &publicMessage{content: a.content, auth: a.auth}
	if a.content.sender.Type == SenderMember {
		m.membershipTag = membershipTag(s, membership, a, context)
	}
	return &message{wireFormat: WirePublicMessage, public: m}
}

// checkMembershipTag checks a member's membership tag. Signatures come after.
func checkMembershipTag(s *suite.Suite, membership secret.Key, m *publicMessage, context []byte) error {
	want := secret.New(membershipTag(s, membership, m.authenticated(), context))
	if !want.Equal(secret.New(m.membershipTag)) {
		return ErrMembershipTag
	}
	return nil
}

// senderData is SenderData of RFC 9420, Section 6.3.2.
type senderData struct {
	leaf       uint32
	generation uint32
	reuseGuard [4]byte
}

// senderDataCipher derives key and nonce from a sample of the ciphertext.
func senderDataCipher(s *suite.Suite, senderDataSecret secret.Key, ciphertext []byte) (secret.Key, []byte) {
	sample := ciphertext[:min(len(ciphertext), s.HashSize())]
	return s.ExpandWithLabel(senderDataSecret, "key", sample, s.AEAD().KeySize()),
		s.ExpandWithLabel(senderDataSecret, "nonce", sample, suite.NonceSize).Bytes()
}

func guarded(nonce []byte, guard [4]byte) []byte {
	n := append([]byte(nil), nonce...)
	for i, g := range guard {
		n[i] ^= g
	}
	return n
}

// Framing says how a message is framed. The zero value is what Parley's own
// groups do, whose envelopes hide and pad everything.
type Framing struct {
	// Private makes a proposal or commit a PrivateMessage instead of a
	// PublicMessage. Its key is consumed at once, so the rows must be on disk
	// before it leaves, also where a commit is merged later.
	Private bool
	// Padding is how many zeros are appended to what a PrivateMessage encrypts,
	// at most [MaxPadding].
	Padding int
	// AuthenticatedData travels in the clear and is signed; at most
	// [MaxAuthenticatedData] bytes.
	AuthenticatedData []byte
}

// format checks the framing and returns the wire format it asks for.
func (f *Framing) format() (WireFormat, error) {
	if len(f.AuthenticatedData) > MaxAuthenticatedData {
		return 0, fmt.Errorf("%w: authenticated data of %d bytes", ErrMalformed, len(f.AuthenticatedData))
	}
	if f.Padding < 0 || f.Padding > MaxPadding {
		return 0, fmt.Errorf("%w: padding of %d bytes", ErrMalformed, f.Padding)
	}
	if f.Private {
		return WirePrivateMessage, nil
	}
	return WirePublicMessage, nil
}

// protect frames signed content of this member's as its wire format says, and
// stages what that consumes.
func (g *Group) protect(rows Rows, a *authContent, padding int, out *changes) ([]byte, error) {
	if a.wireFormat == WirePublicMessage {
		return protectPublic(g.suite, g.membership, a, g.context).marshal(), nil
	}
	k, err := g.secretTree(rows).next(ratchetFor(a.content.contentType), uint32(g.self), out)
	if err != nil {
		return nil, err
	}
	defer k.key.Erase()
	return protectPrivate(g.suite, g.senderData, k, a, padding).marshal(), nil
}

// protectPrivate encrypts signed content as a PrivateMessage (RFC 9420, Section
// 6.3).
func protectPrivate(s *suite.Suite, senderDataSecret secret.Key, k messageKey, a *authContent, padding int) *message {
	c := a.content
	m := &privateMessage{
		groupID:           c.groupID,
		epoch:             c.epoch,
		contentType:       c.contentType,
		authenticatedData: c.authenticatedData,
	}
	sd := senderData{leaf: c.sender.Index, generation: k.generation}
	rand.Read(sd.reuseGuard[:])

	plain := a.auth.append(c.appendBody(make([]byte, 0, a.room()+padding)), c.contentType)
	plain = append(plain, make([]byte, padding)...)
	m.ciphertext = s.AEAD().Seal(nil, k.key, guarded(k.nonce, sd.reuseGuard), plain, m.appendAAD(nil))

	key, nonce := senderDataCipher(s, senderDataSecret, m.ciphertext)
	data := wire.AppendUint32(nil, sd.leaf)
	data = wire.AppendUint32(data, sd.generation)
	data = append(data, sd.reuseGuard[:]...)
	m.encryptedSenderData = s.AEAD().Seal(nil, key, nonce, data, m.appendSenderAAD(nil))
	return &message{wireFormat: WirePrivateMessage, private: m}
}

func openSenderData(s *suite.Suite, senderDataSecret secret.Key, m *privateMessage) (senderData, error) {
	var sd senderData
	key, nonce := senderDataCipher(s, senderDataSecret, m.ciphertext)
	plain, err := s.AEAD().Open(nil, key, nonce, m.encryptedSenderData, m.appendSenderAAD(nil))
	if err != nil {
		return sd, ErrDecrypt
	}
	r := wire.NewReader(plain)
	sd.leaf, sd.generation = r.Uint32(), r.Uint32()
	r.Copy(sd.reuseGuard[:])
	if err := r.Done(); err != nil {
		return sd, malformed(err)
	}
	return sd, nil
}

// openPrivate decrypts a PrivateMessage with its key. The signature is still
// to be verified.
func openPrivate(s *suite.Suite, k messageKey, sd senderData, m *privateMessage) (*authContent, error) {
	plain, err := s.AEAD().Open(nil, k.key, guarded(k.nonce, sd.reuseGuard), m.ciphertext, m.appendAAD(nil))
	if err != nil {
		return nil, ErrDecrypt
	}
	c := &framedContent{
		groupID:           m.groupID,
		epoch:             m.epoch,
		sender:            member(LeafIndex(sd.leaf)),
		authenticatedData: m.authenticatedData,
		contentType:       m.contentType,
	}
	r := wire.NewReader(plain)
	c.readBody(r)
	a := &authContent{wireFormat: WirePrivateMessage, content: c, auth: readFramedAuth(r, c.contentType)}
	for _, b := range r.Rest() {
		if b != 0 { // Section 6.3.1
			r.Fail(wire.ErrValue)
		}
	}
	if err := r.Done(); err != nil {
		return nil, malformed(err)
	}
	return a, nil
}
