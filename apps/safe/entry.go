package safe

import (
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Status is how far a transaction or a message has come.
type Status string

// The statuses.
const (
	Waiting    Status = "waiting"    // for signatures
	Rejected   Status = "rejected"   // by so many that the others do not suffice
	Ready      Status = "ready"      // signatures suffice; a transaction waits for its nonce and for who executes it
	Executed   Status = "executed"   // on chain, with success
	Failed     Status = "failed"     // on chain: the nonce is used, and the call has failed
	Superseded Status = "superseded" // another transaction took the nonce
)

// Entry is a transaction as one member sees it.
type Entry struct {
	Hash        common.Hash `json:"safeTxHash"`
	MessageHash common.Hash `json:"messageHash"`
	Transaction Transaction `json:"transaction"`
	Status      Status      `json:"status"`
	// Proposers are the members who want it, the first heard first. It may be
	// none: who passes a proposal on does not propose it.
	Proposers     []common.Address `json:"proposers"`
	Note          string           `json:"note,omitempty"`
	Origin        string           `json:"origin,omitempty"`
	Proposed      time.Time        `json:"proposed"` // when this client heard of it
	Modified      time.Time        `json:"modified"`
	Confirmations []Confirmation   `json:"confirmations"` // by owner
	Rejections    []Confirmation   `json:"rejections"`    // by owner
	Threshold     uint64           `json:"threshold"`     // of the Safe now
	Missing       int              `json:"missing"`       // signatures until it is ready
	Outcome       *Outcome         `json:"outcome,omitempty"`
	Warnings      []Warning        `json:"warnings"`
	Decoded       *Decoded         `json:"decoded"`
}

// Confirmation is an owner's signature as one member sees it.
type Confirmation struct {
	Signature Signature      `json:"signature"`
	From      common.Address `json:"from"` // the member who brought it
	Time      time.Time      `json:"time"` // when this client heard of it
	// Counts says that it was verified, and that the signer is an owner now.
	Counts bool `json:"counts"`
	// Why it does not count.
	Why string `json:"why,omitempty"`
}

// MessageEntry is an off-chain message as one member sees it.
type MessageEntry struct {
	Hash          common.Hash      `json:"safeMessageHash"` // which owners sign
	Message       Message          `json:"message"`
	Status        Status           `json:"status"`
	Proposers     []common.Address `json:"proposers"`
	Note          string           `json:"note,omitempty"`
	Origin        string           `json:"origin,omitempty"`
	Proposed      time.Time        `json:"proposed"`
	Modified      time.Time        `json:"modified"`
	Confirmations []Confirmation   `json:"confirmations"`
	Rejections    []Confirmation   `json:"rejections"`
	Threshold     uint64           `json:"threshold"`
	Missing       int              `json:"missing"`
	// Signature is what the Safe's isValidSignature (ERC-1271) accepts, when the
	// status is ready.
	Signature hexutil.Bytes `json:"preparedSignature,omitempty"`
}

// Fault is something a member did that an honest client does not do.
type Fault struct {
	From common.Address `json:"from"`
	Time time.Time      `json:"time"`
	Err  error          `json:"-"`
	Text string         `json:"error"`
}
