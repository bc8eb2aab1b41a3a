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
	b := wire.AppendUint16(nil, protocolVersion)
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

// checkPublic checks a member's membership tag. Signatures come after.
func checkPublic(s *suite.Suite, membership secret.Key, m *publicMessage, context []byte) error {
	if m.content.contentType == ContentApplication {
		return fmt.Errorf("%w: application data in the clear", ErrMalformed) // Section 6.2
	}
	if m.content.sender.Type != SenderMember {
		return nil
	}
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

// protectPrivate encrypts signed content as a PrivateMessage (RFC 9420, Section
// 6.3). It adds no padding: the envelope around it does.
func protectPrivate(s *suite.Suite, senderDataSecret secret.Key, k messageKey, a *authContent) *message {
	c := a.content
	m := &privateMessage{
		groupID:           c.groupID,
		epoch:             c.epoch,
		contentType:       c.contentType,
		authenticatedData: c.authenticatedData,
	}
	sd := senderData{leaf: c.sender.Index, generation: k.generation}
	rand.Read(sd.reuseGuard[:])

	plain := a.auth.append(c.appendBody(nil), c.contentType)
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
		sender:            member(sd.leaf),
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
