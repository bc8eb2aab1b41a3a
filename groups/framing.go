package groups

import (
	"fmt"

	"github.com/parley-im/parley/internal/wire"
)

// protocolVersion is mls10 (RFC 9420, Section 17).
const protocolVersion = 1

// WireFormat says what an MLSMessage holds (RFC 9420, Section 17.2).
type WireFormat uint16

// Wire formats.
const (
	WirePublicMessage  WireFormat = 0x0001
	WirePrivateMessage WireFormat = 0x0002
	WireWelcome        WireFormat = 0x0003
	WireGroupInfo      WireFormat = 0x0004
	WireKeyPackage     WireFormat = 0x0005
)

// ContentType says what a framed message carries (RFC 9420, Section 6).
type ContentType uint8

// Content types.
const (
	ContentApplication ContentType = 1
	ContentProposal    ContentType = 2
	ContentCommit      ContentType = 3
)

// SenderType says who signed a framed message (RFC 9420, Section 6).
type SenderType uint8

// Sender types.
const (
	SenderMember            SenderType = 1
	SenderExternal          SenderType = 2
	SenderNewMemberProposal SenderType = 3
	SenderNewMemberCommit   SenderType = 4
)

// Sender is who signed a framed message. Index is the leaf of a member or the
// place of an external sender in the external_senders extension.
type Sender struct {
	Type  SenderType
	Index uint32
}

func member(leaf LeafIndex) Sender { return Sender{Type: SenderMember, Index: uint32(leaf)} }

// is reports whether the sender is the member at a leaf.
func (s Sender) is(leaf LeafIndex) bool { return s == member(leaf) }

func (s Sender) String() string {
	switch s.Type {
	case SenderMember:
		return fmt.Sprintf("leaf %d", s.Index)
	case SenderExternal:
		return fmt.Sprintf("external sender %d", s.Index)
	default:
		return "a newcomer"
	}
}

func (s Sender) append(b []byte) []byte {
	b = wire.AppendUint8(b, uint8(s.Type))
	if s.Type == SenderMember || s.Type == SenderExternal {
		b = wire.AppendUint32(b, s.Index)
	}
	return b
}

func readSender(r *wire.Reader) Sender {
	s := Sender{Type: SenderType(r.Uint8())}
	switch s.Type {
	case SenderMember, SenderExternal:
		s.Index = r.Uint32()
	case SenderNewMemberProposal, SenderNewMemberCommit:
	default:
		r.Fail(wire.ErrValue)
	}
	return s
}

// framedContent is FramedContent of RFC 9420, Section 6. Of the last three
// fields the one that contentType names is set.
type framedContent struct {
	groupID           []byte
	epoch             uint64
	sender            Sender
	authenticatedData []byte
	contentType       ContentType

	application []byte
	proposal    *Proposal
	commit      *commit
}

func (c *framedContent) append(b []byte) []byte {
	b = wire.AppendVec(b, c.groupID)
	b = wire.AppendUint64(b, c.epoch)
	b = c.sender.append(b)
	b = wire.AppendVec(b, c.authenticatedData)
	b = wire.AppendUint8(b, uint8(c.contentType))
	return c.appendBody(b)
}

func (c *framedContent) appendBody(b []byte) []byte {
	switch c.contentType {
	case ContentApplication:
		return wire.AppendVec(b, c.application)
	case ContentProposal:
		return c.proposal.append(b)
	default:
		return c.commit.append(b)
	}
}

func readFramedContent(r *wire.Reader) *framedContent {
	c := &framedContent{
		groupID: r.VecMax(MaxGroupID),
		epoch:   r.Uint64(),
		sender:  readSender(r),
	}
	c.authenticatedData = r.VecMax(MaxAuthenticatedData)
	c.contentType = ContentType(r.Uint8())
	c.readBody(r)
	return c
}

func (c *framedContent) readBody(r *wire.Reader) {
	switch c.contentType {
	case ContentApplication:
		c.application = r.VecMax(MaxApplicationData)
	case ContentProposal:
		c.proposal = readProposal(r)
	case ContentCommit:
		c.commit = readCommit(r)
	default:
		r.Fail(wire.ErrValue)
	}
}

// readable returns [ErrMalformed] for content of our own that nobody would read,
// because something of it exceeds a limit. Who committed it would be alone.
func (c *framedContent) readable() error {
	r := wire.NewReader(c.append(nil))
	readFramedContent(r)
	if err := r.Done(); err != nil {
		return malformed(err)
	}
	return nil
}

// framedAuth is FramedContentAuthData; the tag is set for commits only.
type framedAuth struct {
	signature       []byte
	confirmationTag []byte
}

func (a *framedAuth) append(b []byte, t ContentType) []byte {
	b = wire.AppendVec(b, a.signature)
	if t == ContentCommit {
		b = wire.AppendVec(b, a.confirmationTag)
	}
	return b
}

func readFramedAuth(r *wire.Reader, t ContentType) framedAuth {
	a := framedAuth{signature: r.Vec()}
	if t == ContentCommit {
		a.confirmationTag = r.Vec()
	}
	return a
}

// authContent is AuthenticatedContent of RFC 9420, Section 6.
type authContent struct {
	wireFormat WireFormat
	content    *framedContent
	auth       framedAuth
}

// room is enough for the encoding of an application message or a small proposal,
// in bytes. What needs more grows.
func (a *authContent) room() int {
	const fields = 256 // signature and lengths among them
	return fields + len(a.content.groupID) + len(a.content.authenticatedData) + len(a.content.application)
}

func (a *authContent) marshal() []byte {
	b := wire.AppendUint16(make([]byte, 0, a.room()), uint16(a.wireFormat))
	b = a.content.append(b)
	return a.auth.append(b, a.content.contentType)
}

func readAuthContent(r *wire.Reader) *authContent {
	a := &authContent{wireFormat: WireFormat(r.Uint16())}
	if a.wireFormat != WirePublicMessage && a.wireFormat != WirePrivateMessage {
		r.Fail(wire.ErrValue)
	}
	a.content = readFramedContent(r)
	a.auth = readFramedAuth(r, a.content.contentType)
	return a
}

// publicMessage is PublicMessage of RFC 9420, Section 6.2. membershipTag is set
// for members only.
type publicMessage struct {
	content       *framedContent
	auth          framedAuth
	membershipTag []byte
}

func (m *publicMessage) append(b []byte) []byte {
	b = m.content.append(b)
	b = m.auth.append(b, m.content.contentType)
	if m.content.sender.Type == SenderMember {
		b = wire.AppendVec(b, m.membershipTag)
	}
	return b
}

func readPublicMessage(r *wire.Reader) *publicMessage {
	m := &publicMessage{content: readFramedContent(r)}
	m.auth = readFramedAuth(r, m.content.contentType)
	if m.content.sender.Type == SenderMember {
		m.membershipTag = r.Vec()
	}
	return m
}

// authenticated returns the message as it is signed and hashed.
func (m *publicMessage) authenticated() *authContent {
	return &authContent{wireFormat: WirePublicMessage, content: m.content, auth: m.auth}
}

// privateMessage is PrivateMessage of RFC 9420, Section 6.3.
type privateMessage struct {
	groupID             []byte
	epoch               uint64
	contentType         ContentType
	authenticatedData   []byte
	encryptedSenderData []byte
	ciphertext          []byte
}

func (m *privateMessage) append(b []byte) []byte {
	b = m.appendAAD(b)
	b = wire.AppendVec(b, m.encryptedSenderData)
	return wire.AppendVec(b, m.ciphertext)
}

// appendAAD appends PrivateContentAAD (RFC 9420, Section 6.3.1), which has the
// same fields in the same order as the message.
func (m *privateMessage) appendAAD(b []byte) []byte {
	b = m.appendSenderAAD(b)
	return wire.AppendVec(b, m.authenticatedData)
}

// appendSenderAAD appends SenderDataAAD (RFC 9420, Section 6.3.2).
func (m *privateMessage) appendSenderAAD(b []byte) []byte {
	b = wire.AppendVec(b, m.groupID)
	b = wire.AppendUint64(b, m.epoch)
	return wire.AppendUint8(b, uint8(m.contentType))
}

func readPrivateMessage(r *wire.Reader) *privateMessage {
	m := &privateMessage{
		groupID:     r.VecMax(MaxGroupID),
		epoch:       r.Uint64(),
		contentType: ContentType(r.Uint8()),
	}
	if m.contentType < ContentApplication || m.contentType > ContentCommit {
		r.Fail(wire.ErrValue)
	}
	m.authenticatedData = r.VecMax(MaxAuthenticatedData)
	m.encryptedSenderData = r.Vec()
	m.ciphertext = r.VecMax(MaxMessageSize)
	return m
}

// message is MLSMessage of RFC 9420, Section 6: one field is set, as
// wireFormat says.
type message struct {
	wireFormat WireFormat
	public     *publicMessage
	private    *privateMessage
	welcome    *welcome
	groupInfo  *groupInfo
	keyPackage *KeyPackage
}

func (m *message) marshal() []byte {
	var b []byte
	if m.private != nil {
		b = make([]byte, 0, 256+len(m.private.groupID)+len(m.private.authenticatedData)+len(m.private.ciphertext))
	}
	b = wire.AppendUint16(b, protocolVersion)
	b = wire.AppendUint16(b, uint16(m.wireFormat))
	switch m.wireFormat {
	case WirePublicMessage:
		return m.public.append(b)
	case WirePrivateMessage:
		return m.private.append(b)
	case WireWelcome:
		return m.welcome.append(b)
	case WireGroupInfo:
		return m.groupInfo.append(b)
	default:
		return m.keyPackage.append(b)
	}
}

// parseMessage decodes an MLSMessage that fills b. What it returns is views
// into b.
func parseMessage(b []byte) (*message, error) {
	if len(b) > MaxMessageSize {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(b), MaxMessageSize)
	}
	r := wire.NewReader(b)
	if r.Uint16() != protocolVersion {
		r.Fail(wire.ErrValue)
	}
	m := &message{wireFormat: WireFormat(r.Uint16())}
	switch m.wireFormat {
	case WirePublicMessage:
		m.public = readPublicMessage(r)
	case WirePrivateMessage:
		m.private = readPrivateMessage(r)
	case WireWelcome:
		m.welcome = readWelcome(r)
	case WireGroupInfo:
		m.groupInfo = readGroupInfo(r)
	case WireKeyPackage:
		m.keyPackage = readKeyPackage(r)
	default:
		r.Fail(wire.ErrValue)
	}
	if err := r.Done(); err != nil {
		return nil, malformed(err)
	}
	return m, nil
}

// MessageInfo is what a framed message says of itself in the clear.
type MessageInfo struct {
	Format  WireFormat
	Content ContentType // zero for a Welcome, a GroupInfo and a key package
	GroupID []byte      // nil where Content is zero
	Epoch   uint64
}

// Peek returns what an MLSMessage says of itself, without verifying anything.
// It returns [ErrMalformed] for bytes that are not one.
func Peek(msg []byte) (MessageInfo, error) {
	m, err := parseMessage(msg)
	if err != nil {
		return MessageInfo{}, err
	}
	info := MessageInfo{Format: m.wireFormat}
	switch m.wireFormat {
	case WirePublicMessage:
		c := m.public.content
		info.Content, info.GroupID, info.Epoch = c.contentType, c.groupID, c.epoch
	case WirePrivateMessage:
		info.Content, info.GroupID, info.Epoch = m.private.contentType, m.private.groupID, m.private.epoch
	}
	return info, nil
}

func malformed(err error) error { return fmt.Errorf("%w: %w", ErrMalformed, err) }
