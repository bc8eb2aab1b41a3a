package parley

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Limits of content, in bytes.
const (
	// MaxContent bounds the CBOR of a pairwise message. What exceeds one
	// envelope travels in parts.
	MaxContent = 1 << 20
	// MaxGroupContent bounds the CBOR of a group message, which travels whole.
	MaxGroupContent = 56 << 10
	// maxGroupLogs bounds the logs that one group message passes on.
	maxGroupLogs = 48 << 10
	// MaxReaction bounds a reaction: a few code points, such as one emoji.
	MaxReaction = 64
	// MaxTypeName bounds the name of an application's content type, and the
	// purpose of a group.
	MaxTypeName = 128
	// MaxReceipt is the number of message ids in one receipt.
	MaxReceipt = 256
	// maxSeq is the largest Seq: nobody writes as much, and there are numbers
	// after it.
	maxSeq = 1 << 53
)

// MessageID names a message for all who can read it. Its author draws it at
// random, and receivers take a second message of one author under one id for a
// repetition.
type MessageID [16]byte

// NewMessageID returns a random id.
func NewMessageID() MessageID {
	var id MessageID
	rand.Read(id[:])
	return id
}

// ParseMessageID reads the 32 hex digits that String writes.
func ParseMessageID(s string) (MessageID, error) {
	var id MessageID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("%w: a message id has 32 hex digits", ErrContent)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return MessageID{}, fmt.Errorf("%w: a message id has 32 hex digits", ErrContent)
	}
	return id, nil
}

// String returns the id as 32 hex digits.
func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes what String returns, so that ids are strings in JSON.
func (id MessageID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *MessageID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseMessageID(string(b))
	return err
}

// Kind says what a Content is. The numbers are on the wire (docs/spec.md,
// "Content"), after draft-ietf-mimi-content where it fits.
type Kind uint8

// The kinds of content.
const (
	KindText        Kind = 1  // Text, perhaps a reply to Ref
	KindReaction    Kind = 2  // Text is the reaction to Ref, empty to take it back
	KindEdit        Kind = 3  // Text replaces the author's own message Ref
	KindDelete      Kind = 4  // the author's own message Ref is withdrawn
	KindReceipt     Kind = 5  // Refs were delivered, or read
	KindAttachment  Kind = 6  // Data of media type Type, Text is its file name
	KindApplication Kind = 7  // Data of the application's type Type
	kindWelcome     Kind = 64 // Data is an MLS Welcome; pairs only
	kindPart        Kind = 65 // Data is a part of a larger content; pairs only
	kindLogs        Kind = 66 // Data are logs of members; groups only
)

// String returns the kind's name as JSON has it.
func (k Kind) String() string {
	switch k {
	case KindText:
		return "text"
	case KindReaction:
		return "reaction"
	case KindEdit:
		return "edit"
	case KindDelete:
		return "delete"
	case KindReceipt:
		return "receipt"
	case KindAttachment:
		return "attachment"
	case KindApplication:
		return "application"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a name that MarshalText writes.
func (k *Kind) UnmarshalText(b []byte) error {
	for c := KindText; c <= KindApplication; c++ {
		if c.String() == string(b) {
			*k = c
			return nil
		}
	}
	return fmt.Errorf("%w: unknown kind", ErrContent)
}

// Content is what a message says. Its wire form is deterministic CBOR (RFC
// 8949, Section 4.2.1): a map with the keys below, absent when empty.
type Content struct {
	Kind Kind      `cbor:"1,keyasint" json:"kind"`
	ID   MessageID `cbor:"2,keyasint" json:"id"` // drawn by Send when zero
	// Text is UTF-8.
	Text string `cbor:"3,keyasint,omitempty" json:"text,omitempty"`
	// Ref is the message this one answers, reacts to, edits or withdraws.
	Ref *MessageID `cbor:"4,keyasint,omitempty" json:"ref,omitempty"`
	// Refs are the messages of a receipt, at most MaxReceipt.
	Refs []MessageID `cbor:"5,keyasint,omitempty" json:"refs,omitempty"`
	// Type is the media type of an attachment (RFC 6838), or the name of an
	// application's own type, such as "im.parley.safe/proposal".
	Type string `cbor:"6,keyasint,omitempty" json:"type,omitempty"`
	// Data is the attachment, or the application's bytes.
	Data []byte `cbor:"7,keyasint,omitempty" json:"data,omitempty"`
	// Expires is the Unix time, in seconds, after which receivers delete the
	// message; zero is never.
	Expires uint64 `cbor:"8,keyasint,omitempty" json:"expires,omitempty"`
	// Read tells a receipt of reading from one of delivery.
	Read bool `cbor:"9,keyasint,omitempty" json:"read,omitempty"`
	// Seq numbers an author's messages in a conversation, from 1; Send sets it.
	// What has none (receipts, parts) stands outside the conversation's order.
	Seq uint64 `cbor:"10,keyasint,omitempty" json:"-"`
	// Base is the author's lowest Seq that the other side of a pair has not
	// acknowledged: a receiver does not wait for what is below it.
	Base uint64 `cbor:"11,keyasint,omitempty" json:"-"`
	// Index and Total place a part of the larger content Ref.
	Index uint32 `cbor:"12,keyasint,omitempty" json:"-"`
	Total uint32 `cbor:"13,keyasint,omitempty" json:"-"`
	// Logs are those of the members of a group, with a Welcome.
	Logs []byte `cbor:"14,keyasint,omitempty" json:"-"`
}

// Text returns content that says s.
func Text(s string) Content { return Content{Kind: KindText, Text: s} }

// Reply returns an answer to the message ref.
func Reply(ref MessageID, s string) Content { return Content{Kind: KindText, Ref: &ref, Text: s} }

// Reaction returns a reaction to ref, such as one emoji; the empty string
// takes an earlier one back.
func Reaction(ref MessageID, s string) Content {
	return Content{Kind: KindReaction, Ref: &ref, Text: s}
}

// Edit returns content that replaces the text of one's own message ref.
func Edit(ref MessageID, s string) Content { return Content{Kind: KindEdit, Ref: &ref, Text: s} }

// Delete returns content that withdraws one's own message ref.
func Delete(ref MessageID) Content { return Content{Kind: KindDelete, Ref: &ref} }

// Attachment returns a file of the given media type.
func Attachment(name, mediaType string, data []byte) Content {
	return Content{Kind: KindAttachment, Text: name, Type: mediaType, Data: data}
}

// Application returns content of an application's own type.
func Application(typeName string, data []byte) Content {
	return Content{Kind: KindApplication, Type: typeName, Data: data}
}

var (
	contentEncoding = must(cbor.CoreDetEncOptions().EncMode())
	contentDecoding = must(decoding.DecMode())
	placeDecoding   = must(func() (cbor.DecMode, error) {
		lenient := decoding
		lenient.ExtraReturnErrors = cbor.ExtraDecErrorNone
		lenient.MaxMapPairs = 64
		return lenient.DecMode()
	}())
)

var decoding = cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	TagsMd:            cbor.TagsForbidden,
	UTF8:              cbor.UTF8RejectInvalid,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	MaxNestedLevels:   4,
	MaxArrayElements:  MaxReceipt,
	MaxMapPairs:       16,
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Marshal returns the deterministic CBOR of c, or ErrContent when c is not
// what its kind asks for, ErrTooLarge when it exceeds MaxContent.
func (c Content) Marshal() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	b, err := contentEncoding.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	if len(b) > MaxContent {
		return nil, ErrTooLarge
	}
	return b, nil
}

// ParseContent reads what Marshal wrote. It returns ErrContent for anything
// that is not canonical, has unknown keys, or lacks what its kind asks for.
func ParseContent(b []byte) (Content, error) {
	if len(b) > MaxContent {
		return Content{}, ErrTooLarge
	}
	var c Content
	if err := contentDecoding.Unmarshal(b, &c); err != nil {
		return Content{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	again, err := c.Marshal()
	if err != nil {
		return Content{}, err
	}
	if string(again) != string(b) {
		return Content{}, fmt.Errorf("%w: not in deterministic encoding", ErrContent)
	}
	return c, nil
}

// parsePlace reads no more of a content than its id and its place among its
// author's messages: what a newer version says and this one cannot read has a
// place all the same. It returns ErrContent where there is none.
func parsePlace(b []byte) (Content, error) {
	if len(b) > MaxContent {
		return Content{}, ErrTooLarge
	}
	var p struct {
		ID   MessageID `cbor:"2,keyasint"`
		Seq  uint64    `cbor:"10,keyasint"`
		Base uint64    `cbor:"11,keyasint"`
	}
	if err := placeDecoding.Unmarshal(b, &p); err != nil {
		return Content{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	if p.Seq == 0 || p.Seq > maxSeq || p.Base > p.Seq {
		return Content{}, fmt.Errorf("%w: no sequence number", ErrContent)
	}
	return Content{ID: p.ID, Seq: p.Seq, Base: p.Base}, nil
}

// check enforces what each kind carries.
func (c Content) check() error {
	fail := func(why string) error { return fmt.Errorf("%w: %s", ErrContent, why) }
	if !utf8.ValidString(c.Text) || !utf8.ValidString(c.Type) {
		return fail("text is not UTF-8")
	}
	if len(c.Type) > MaxTypeName {
		return fail("type name is too long")
	}
	if len(c.Refs) > MaxReceipt {
		return fail("too many references")
	}
	var wantRef, wantText, wantData, wantRefs, wantType bool
	switch c.Kind {
	case KindText:
		wantText, wantRef = true, c.Ref != nil
	case KindReaction:
		if len(c.Text) > MaxReaction {
			return fail("reaction is too long")
		}
		wantRef, wantText = true, c.Text != ""
	case KindEdit:
		wantRef, wantText = true, true
	case KindDelete:
		wantRef = true
	case KindReceipt:
		wantRefs = true
	case KindAttachment:
		wantType, wantData, wantText = true, true, c.Text != ""
	case KindApplication:
		wantType, wantData, wantRef = true, len(c.Data) > 0, c.Ref != nil
	case kindWelcome:
		wantData, wantText, wantType = true, c.Text != "", c.Type != ""
	case kindLogs:
		wantData = true
	case kindPart:
		wantData, wantRef = true, true
		if c.Total < 2 || c.Total > maxParts || c.Index >= c.Total {
			return fail("part out of range")
		}
	default:
		return fail("unknown kind")
	}
	switch {
	case wantText != (c.Text != ""):
		return fail("text is missing or out of place")
	case wantRef != (c.Ref != nil):
		return fail("reference is missing or out of place")
	case wantData != (len(c.Data) > 0):
		return fail("data is missing or out of place")
	case wantRefs != (len(c.Refs) > 0):
		return fail("references are missing or out of place")
	case wantType != (c.Type != ""):
		return fail("type is missing or out of place")
	case c.Read && c.Kind != KindReceipt:
		return fail("read is of receipts")
	case c.Kind != kindPart && (c.Index != 0 || c.Total != 0):
		return fail("part out of place")
	case c.Kind != kindWelcome && len(c.Logs) > 0:
		return fail("logs out of place")
	case c.Seq > maxSeq:
		return fail("sequence number is out of range")
	case c.Base > c.Seq:
		return fail("base is beyond the sequence number")
	}
	return nil
}

// sendable reports whether an application may send c as it is: protocol kinds
// are the client's own.
func (c Content) sendable() error {
	if c.Kind > KindApplication {
		return fmt.Errorf("%w: unknown kind", ErrContent)
	}
	if c.Seq != 0 || c.Base != 0 || c.Index != 0 || c.Total != 0 {
		return fmt.Errorf("%w: sequence numbers are set by the client", ErrContent)
	}
	return c.check()
}
