package safe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
)

// ErrMessage is returned for what is neither a text nor typed data (EIP-712), or
// is too long.
var ErrMessage = errors.New("safe: not a message")

// Message is what a Safe can sign off-chain: a text (EIP-191) or typed data
// (EIP-712). A verifier asks the Safe's isValidSignature (ERC-1271) about its
// Digest.
type Message struct {
	text   string
	typed  []byte // JSON as it came, nil for a text
	digest common.Hash
}

// TextMessage returns the message of a text of at most [MaxMessage] bytes of
// UTF-8, or [ErrMessage].
func TextMessage(text string) (Message, error) {
	if len(text) > MaxMessage || !utf8.ValidString(text) {
		return Message{}, fmt.Errorf("%w: texts have at most %d bytes of UTF-8", ErrMessage, MaxMessage)
	}
	return Message{text: text, digest: common.Hash(accounts.TextHash([]byte(text)))}, nil
}

// ParseTypedMessage returns the message of typed data in JSON, in the form of
// eth_signTypedData_v4 and of at most [MaxMessage] bytes, or [ErrMessage].
func ParseTypedMessage(b []byte) (m Message, err error) {
	if len(b) > MaxMessage {
		return Message{}, fmt.Errorf("%w: typed data has at most %d bytes", ErrMessage, MaxMessage)
	}
	var data apitypes.TypedData
	if err := json.Unmarshal(b, &data); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	defer func() { // the library trusts its input in places
		if p := recover(); p != nil {
			m, err = Message{}, fmt.Errorf("%w: typed data cannot be hashed", ErrMessage)
		}
	}()
	digest, _, err := apitypes.TypedDataAndHash(data)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return Message{typed: bytes.Clone(b), digest: common.Hash(digest)}, nil
}

// Text returns a text's, and false for typed data.
func (m *Message) Text() (string, bool) { return m.text, m.typed == nil }

// TypedJSON returns typed data as it came, and nil for a text. Do not change it.
func (m *Message) TypedJSON() []byte { return m.typed }

// Digest returns the message's own hash, by EIP-191 or EIP-712, without the Safe.
func (m *Message) Digest() common.Hash { return m.digest }

// messageTypeHash is of the struct in which a Safe's owners sign a message.
var messageTypeHash = crypto.Keccak256([]byte("SafeMessage(bytes message)"))

// StructHash returns the EIP-712 struct hash of the SafeMessage, whose only
// field is the digest.
func (m *Message) StructHash() common.Hash {
	return crypto.Keccak256Hash(messageTypeHash, crypto.Keccak256(m.digest[:]))
}

// Hash returns what a Safe's owners sign.
func (m *Message) Hash(a Account) common.Hash { return a.digest(m.StructHash()) }

// SafeTypedData is what a wallet is asked to sign for Hash.
func (m *Message) SafeTypedData(a Account) apitypes.TypedData {
	return a.typedData("SafeMessage", []apitypes.Type{{Name: "message", Type: "bytes"}},
		apitypes.TypedDataMessage{"message": hexutil.Encode(m.digest[:])})
}

// MarshalJSON writes a text as a string, and typed data as the object it is.
func (m Message) MarshalJSON() ([]byte, error) {
	if m.typed != nil {
		return m.typed, nil
	}
	return json.Marshal(m.text)
}
