package safe

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"
	"github.com/fxamacker/cbor/v2"
	"github.com/holiman/uint256"
)

// The types of application messages, by which items travel in a group.
const (
	// Namespace is the beginning of every type, and the application's name.
	Namespace = "im.parley.safe"

	typePrefix    = Namespace + "/"
	typeProposal  = typePrefix + "proposal"
	typeMessage   = typePrefix + "message"
	typeSignature = typePrefix + "signature"
	typeRejection = typePrefix + "rejection"
	typeOwners    = typePrefix + "owners"
)

var (
	// ErrItem is returned for an item that is not in the form of docs/spec.md,
	// "Signers of a Safe".
	ErrItem = errors.New("safe: malformed item")
	// ErrItemType is returned for an item of a type that this version does not
	// know. Such items are skipped.
	ErrItemType = errors.New("safe: unknown type of item")
)

// Item is one statement about one Safe: one of its pointers is set. Items are a
// set: their order means nothing, and one that comes again changes nothing.
type Item struct {
	Account   Account
	Proposal  *Proposal
	Message   *MessageProposal
	Signature *SignatureItem
	Rejection *Rejection
	Owners    *OwnersNotice
}

// Proposal is a transaction that a member wants done.
type Proposal struct {
	Transaction Transaction
	// Claimed is the safeTxHash that the proposer's client worked out. Receivers
	// work out their own, and tell of a proposer who claims another.
	Claimed common.Hash
	Note    string // for the other signers
	Origin  string // which program proposed it
	// Relayed says that the sender passes the proposal on, and does not propose
	// it: to an owner who joined later.
	Relayed bool
}

// MessageProposal is an off-chain message that a member wants signed.
type MessageProposal struct {
	Message Message
	Claimed common.Hash // of the SafeMessage
	Note    string
	Origin  string
	Relayed bool
}

// SignatureItem is an owner's signature over a safeTxHash, or over the hash of
// a SafeMessage.
type SignatureItem struct {
	Hash      common.Hash
	Signature Signature
}

// Rejection is an owner's signed statement that it will not sign: see
// [RejectionHash].
type Rejection struct {
	Hash      common.Hash
	Signature Signature // over RejectionHash, of kind EIP712 or EthSign
}

// OwnersNotice tells the group that the owners on chain are not its members any
// more. It is a reason to look at the chain, and nothing is taken from it.
type OwnersNotice struct {
	Block uint64 // at which the sender has seen it
}

type wireTransaction struct {
	Chain          uint64         `cbor:"1,keyasint"`
	Safe           common.Address `cbor:"2,keyasint"`
	Claimed        common.Hash    `cbor:"3,keyasint"`
	Note           string         `cbor:"4,keyasint,omitempty"`
	Origin         string         `cbor:"5,keyasint,omitempty"`
	Relayed        bool           `cbor:"6,keyasint,omitempty"`
	To             common.Address `cbor:"10,keyasint"`
	Value          []byte         `cbor:"11,keyasint"`
	Data           []byte         `cbor:"12,keyasint"`
	Operation      uint8          `cbor:"13,keyasint"`
	SafeTxGas      []byte         `cbor:"14,keyasint"`
	BaseGas        []byte         `cbor:"15,keyasint"`
	GasPrice       []byte         `cbor:"16,keyasint"`
	GasToken       common.Address `cbor:"17,keyasint"`
	RefundReceiver common.Address `cbor:"18,keyasint"`
	Nonce          []byte         `cbor:"19,keyasint"`
}

type wireMessage struct {
	Chain     uint64         `cbor:"1,keyasint"`
	Safe      common.Address `cbor:"2,keyasint"`
	Claimed   common.Hash    `cbor:"3,keyasint"`
	Note      string         `cbor:"4,keyasint,omitempty"`
	Origin    string         `cbor:"5,keyasint,omitempty"`
	Relayed   bool           `cbor:"6,keyasint,omitempty"`
	Text      *string        `cbor:"10,keyasint,omitempty"`
	TypedData []byte         `cbor:"11,keyasint,omitempty"` // JSON
}

type wireSignature struct {
	Chain uint64         `cbor:"1,keyasint"`
	Safe  common.Address `cbor:"2,keyasint"`
	Hash  common.Hash    `cbor:"3,keyasint"`
	Owner common.Address `cbor:"10,keyasint"`
	Kind  uint8          `cbor:"11,keyasint"`
	Data  []byte         `cbor:"12,keyasint,omitempty"`
}

type wireOwners struct {
	Chain uint64         `cbor:"1,keyasint"`
	Safe  common.Address `cbor:"2,keyasint"`
	Block uint64         `cbor:"10,keyasint"`
}

var (
	itemEncoding = must(cbor.CoreDetEncOptions().EncMode())
	itemDecoding = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   4,
		MaxArrayElements:  maxItems,
		MaxMapPairs:       32,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// marshal returns the item's type and its deterministic CBOR, or [ErrItem].
func (i *Item) marshal() (typ string, body []byte, err error) {
	if err := i.check(); err != nil {
		return "", nil, err
	}
	chain, safe := i.Account.ChainID, i.Account.Address
	var v any
	switch {
	case i.Proposal != nil:
		p, t := i.Proposal, &i.Proposal.Transaction
		typ, v = typeProposal, wireTransaction{
			chain, safe, p.Claimed, p.Note, p.Origin, p.Relayed,
			t.To, t.Value.Bytes(), orEmpty(t.Data), uint8(t.Operation), t.SafeTxGas.Bytes(), t.BaseGas.Bytes(), t.GasPrice.Bytes(),
			t.GasToken, t.RefundReceiver, t.Nonce.Bytes(),
		}
	case i.Message != nil:
		m := i.Message
		w := wireMessage{chain, safe, m.Claimed, m.Note, m.Origin, m.Relayed, nil, m.Message.TypedJSON()}
		if text, ok := m.Message.Text(); ok {
			w.Text = &text
		}
		typ, v = typeMessage, w
	case i.Signature != nil:
		s := i.Signature
		typ, v = typeSignature, wireSignature{chain, safe, s.Hash, s.Signature.Owner, uint8(s.Signature.Kind), s.Signature.Data}
	case i.Rejection != nil:
		s := i.Rejection
		typ, v = typeRejection, wireSignature{chain, safe, s.Hash, s.Signature.Owner, uint8(s.Signature.Kind), s.Signature.Data}
	default:
		typ, v = typeOwners, wireOwners{chain, safe, i.Owners.Block}
	}
	body, err = itemEncoding.Marshal(v)
	return typ, body, err
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// parseItem reads what marshal wrote. It returns [ErrItem] for what is not
// canonical or breaks a limit, and [ErrItemType]. The item's slices are its own.
func parseItem(typ string, body []byte) (*Item, error) {
	item, err := decodeItem(typ, body)
	if err != nil {
		return nil, err
	}
	again, b, err := item.marshal()
	if err != nil {
		return nil, err
	}
	if again != typ || string(b) != string(body) {
		return nil, fmt.Errorf("%w: not in deterministic encoding", ErrItem)
	}
	return item, nil
}

func decodeItem(typ string, body []byte) (*Item, error) {
	malformed := func(err error) error { return fmt.Errorf("%w: %s: %w", ErrItem, typ, err) }
	switch typ {
	case typeProposal:
		var w wireTransaction
		if err := itemDecoding.Unmarshal(body, &w); err != nil {
			return nil, malformed(err)
		}
		p := &Proposal{Claimed: w.Claimed, Note: w.Note, Origin: w.Origin, Relayed: w.Relayed}
		t := &p.Transaction
		t.To, t.Data, t.Operation, t.GasToken, t.RefundReceiver = w.To, w.Data, Operation(w.Operation), w.GasToken, w.RefundReceiver
		for _, n := range []struct {
			to   *uint256.Int
			from []byte
		}{{&t.Value, w.Value}, {&t.SafeTxGas, w.SafeTxGas}, {&t.BaseGas, w.BaseGas}, {&t.GasPrice, w.GasPrice}, {&t.Nonce, w.Nonce}} {
			if len(n.from) > 32 {
				return nil, malformed(errors.New("a number exceeds 256 bits"))
			}
			n.to.SetBytes(n.from)
		}
		return &Item{Account: Account{w.Chain, w.Safe}, Proposal: p}, nil
	case typeMessage:
		var w wireMessage
		if err := itemDecoding.Unmarshal(body, &w); err != nil {
			return nil, malformed(err)
		}
		m := &MessageProposal{Claimed: w.Claimed, Note: w.Note, Origin: w.Origin, Relayed: w.Relayed}
		var err error
		switch {
		case w.Text != nil && w.TypedData == nil:
			m.Message, err = TextMessage(*w.Text)
		case w.Text == nil && w.TypedData != nil:
			m.Message, err = ParseTypedMessage(w.TypedData)
		default:
			err = errors.New("neither a text nor typed data")
		}
		if err != nil {
			return nil, malformed(err)
		}
		return &Item{Account: Account{w.Chain, w.Safe}, Message: m}, nil
	case typeSignature, typeRejection:
		var w wireSignature
		if err := itemDecoding.Unmarshal(body, &w); err != nil {
			return nil, malformed(err)
		}
		item := &Item{Account: Account{w.Chain, w.Safe}}
		s := Signature{Owner: w.Owner, Kind: SignatureKind(w.Kind), Data: w.Data}
		if typ == typeSignature {
			item.Signature = &SignatureItem{w.Hash, s}
		} else {
			item.Rejection = &Rejection{w.Hash, s}
		}
		return item, nil
	case typeOwners:
		var w wireOwners
		if err := itemDecoding.Unmarshal(body, &w); err != nil {
			return nil, malformed(err)
		}
		return &Item{Account: Account{w.Chain, w.Safe}, Owners: &OwnersNotice{w.Block}}, nil
	}
	return nil, fmt.Errorf("%w: %.64q", ErrItemType, typ)
}

// check is what can be said of an item without keys and chain.
func (i *Item) check() error {
	set := 0
	for _, is := range []bool{i.Proposal != nil, i.Message != nil, i.Signature != nil, i.Rejection != nil, i.Owners != nil} {
		if is {
			set++
		}
	}
	fail := func(what string) error { return fmt.Errorf("%w: %s", ErrItem, what) }
	switch {
	case set != 1:
		return fail("not one statement")
	case i.Account.ChainID == 0 || i.Account.Address == common.Address{}:
		return fail("no Safe")
	case i.Proposal != nil:
		t := &i.Proposal.Transaction
		if t.Operation > DelegateCall {
			return fail("unknown operation")
		}
		if len(t.Data) > MaxData {
			return fmt.Errorf("%w: calldata of %d bytes, %d are the most", ErrItem, len(t.Data), MaxData)
		}
		return checkSaid(i.Proposal.Note, i.Proposal.Origin)
	case i.Message != nil:
		return checkSaid(i.Message.Note, i.Message.Origin)
	case i.Signature != nil:
		return i.Signature.Signature.checkForm()
	case i.Rejection != nil:
		if i.Rejection.Signature.OnChain() {
			return fail("a rejection is signed by a key")
		}
		return i.Rejection.Signature.checkForm()
	}
	return nil
}

func checkSaid(note, origin string) error {
	if len(note) > MaxNote || len(origin) > MaxOrigin || !utf8.ValidString(note) || !utf8.ValidString(origin) || strings.ContainsRune(origin, '\n') {
		return fmt.Errorf("%w: a note has at most %d bytes of UTF-8, an origin %d in one line", ErrItem, MaxNote, MaxOrigin)
	}
	return nil
}
