package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/apps/safe"
	"github.com/parley-im/parley/internal/devchain"
)

// treasury is the Safe that the three have together, as each of them sees it.
type treasury struct {
	account safe.Account
	rooms   map[*person]*safe.Room
	invoice common.Hash // safeTxHash of the payment
	paid    common.Hash // transaction of the chain that made it
	trap    common.Hash // safeTxHash of the delegatecall
	items   int         // how many were written to the group
}

const (
	treasuryName = "harbour fund"
	invoiceNote  = "Invoice 417: lamp oil for the winter"
	trapNote     = "Routine upgrade, please sign"
)

// Token has six decimals.
var (
	treasuryFunds = big.NewInt(5_000_000_000)
	invoiceAmount = big.NewInt(1_200_000_000)
)

// chandler is who sent the invoice, and upgrade the contract that a wily
// proposal would let act for the Safe.
var (
	chandler = common.HexToAddress("0xC4a9d1e7000000000000000000000000000417A1")
	upgrade  = common.HexToAddress("0xBad0C0de00000000000000000000000000000BaD")
)

// openSafe deploys a 2-of-3 Safe, and has its owners meet.
func (s *story) openSafe(ctx context.Context) (string, error) {
	w := s.w
	var owners []common.Address
	for _, p := range w.people() {
		owners = append(owners, common.Address(p.address()))
	}
	address, err := w.chain.DeploySafe(ctx, owners, 2)
	if err != nil {
		return "", err
	}
	if err := w.chain.Mint(ctx, address, treasuryFunds); err != nil {
		return "", err
	}
	t := &treasury{rooms: map[*person]*safe.Room{}}
	for _, p := range w.people() {
		chain, err := safe.DialChain(ctx, w.chain.URL())
		if err != nil {
			return "", err
		}
		w.endpoints = append(w.endpoints, chain)
		if p == w.alice {
			t.rooms[p], err = safe.Open(ctx, p.Client, chain, address, safe.OpenOptions{Name: treasuryName})
		} else {
			t.rooms[p], err = p.findRoom(ctx, chain, address)
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", p.name, err)
		}
	}
	t.account = t.rooms[w.alice].Account()
	s.treasury = t
	if absent := t.rooms[w.alice].Absent(); len(absent) > 0 {
		return "", fmt.Errorf("owners who are not in the room: %v", absent)
	}
	for _, p := range w.people() {
		switch snapshot := t.rooms[p].Snapshot(); {
		case snapshot.Threshold != 2 || !sameOwners(snapshot.Owners, owners):
			return "", fmt.Errorf("to %s, the Safe has %d owners and threshold %d", p.name, len(snapshot.Owners), snapshot.Threshold)
		case t.rooms[p].Account() != t.account:
			return "", fmt.Errorf("%s is in the room of %s", p.name, t.rooms[p].Account())
		}
	}
	s.details["safe"], s.details["threshold"], s.details["owners"] = address, 2, owners
	s.out.note("%s, two of three sign", address)
	return "each reads owners and threshold from the chain, and is in the one group of the Safe's owners", nil
}

// findRoom waits until a person was brought into the room of a Safe.
func (p *person) findRoom(ctx context.Context, chain *safe.Chain, address common.Address) (*safe.Room, error) {
	for {
		r, err := safe.Find(ctx, p.Client, chain, address)
		if !errors.Is(err, safe.ErrNoRoom) {
			return r, err
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("nobody brings %s in: %w", p.name, err)
		}
	}
}

func sameOwners(a, b []common.Address) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, common.Address.Cmp)
	slices.SortFunc(b, common.Address.Cmp)
	return slices.Equal(a, b)
}

// payInvoice has alice propose a payment and bob sign and execute it. Carol does
// nothing, and sees all of it.
func (s *story) payInvoice(ctx context.Context) (string, error) {
	w, t := s.w, s.treasury
	pay := &safe.Transaction{To: devchain.Token, Data: safe.EncodeTransfer(chandler, uint256.MustFromBig(invoiceAmount))}
	signed, err := s.sign(ctx, w.alice, pay)
	if err != nil {
		return "", err
	}
	proposed, err := t.rooms[w.alice].Propose(ctx, pay, safe.ProposeOptions{Note: invoiceNote, Signatures: []safe.Signature{signed}})
	if err != nil {
		return "", err
	}
	t.invoice = proposed.Hash
	t.items += 2
	s.out.note("alice proposes “%s”: %s", invoiceNote, proposed.Decoded)

	seen, err := s.sees(ctx, w.bob, t.invoice, "alice's proposal", func(e *safe.Entry) bool { return e.Missing == 1 })
	if err != nil {
		return "", err
	}
	if !seen.Transaction.Equal(pay) || seen.Note != invoiceNote || seen.Status != safe.Waiting || len(seen.Warnings) > 0 {
		return "", fmt.Errorf("bob sees %+v", seen)
	}
	simulated, err := t.rooms[w.bob].Chain().Simulate(ctx, t.rooms[w.bob].Snapshot(), &seen.Transaction)
	if err != nil {
		return "", err
	}
	if !simulated.Success {
		return "", fmt.Errorf("bob simulates the payment: %s", simulated.Reason)
	}
	if signed, err = s.sign(ctx, w.bob, &seen.Transaction); err != nil {
		return "", err
	}
	s.out.note("bob's client works out the hashes and simulates the payment; he signs what his device shows:")
	s.out.note("  domain hash   %s", t.account.DomainHash())
	s.out.note("  message hash  %s", seen.MessageHash)
	s.out.note("  safeTxHash    %s", seen.Hash)
	if err := t.rooms[w.bob].Confirm(ctx, t.invoice, signed); err != nil {
		return "", err
	}
	t.items++
	if err := s.execute(ctx, w.bob); err != nil {
		return "", err
	}
	balance, err := w.chain.TokenBalance(ctx, chandler)
	if err != nil {
		return "", err
	}
	if balance.Cmp(invoiceAmount) != 0 {
		return "", fmt.Errorf("who sent the invoice has got %v", balance)
	}
	for _, p := range w.people() {
		e, err := s.sees(ctx, p, t.invoice, "the execution", func(e *safe.Entry) bool { return e.Status == safe.Executed })
		if err != nil {
			return "", err
		}
		if e.Outcome.Transaction != t.paid || !slices.Equal(signers(e), sorted(w.alice, w.bob)) {
			return "", fmt.Errorf("to %s, it was transaction %s, signed by %v", p.name, e.Outcome.Transaction, signers(e))
		}
	}
	s.details["safeTxHash"], s.details["transaction"], s.details["paid"] = t.invoice, t.paid, balance.String()
	s.out.note("bob executes it; carol has signed nothing, and sees who did")
	return "the invoice is paid with two signatures, and all three see the same transaction closed by the chain", nil
}

// sign has a person sign a transaction with the wallet.
func (s *story) sign(ctx context.Context, p *person, t *safe.Transaction) (safe.Signature, error) {
	a := s.treasury.account
	return safe.Sign(ctx, p.wallet, t.TypedData(a), t.Hash(a))
}

// execute has a person send the payment to the chain and pay for the gas.
func (s *story) execute(ctx context.Context, p *person) error {
	t := s.treasury
	if err := s.w.chain.Fund(ctx, common.Address(p.address()), big.NewInt(1e18)); err != nil {
		return err
	}
	ready, err := s.sees(ctx, p, t.invoice, "both signatures", func(e *safe.Entry) bool { return e.Status == safe.Ready })
	if err != nil {
		return err
	}
	call, err := safe.CallData(&ready.Transaction, ready.Signatures())
	if err != nil {
		return err
	}
	receipt, err := t.rooms[p].Chain().Execute(ctx, t.account.Address, call, p.wallet)
	if err != nil {
		return err
	}
	t.paid = receipt.TxHash
	return nil
}

// sees waits until a person's room has a transaction as is wanted.
func (s *story) sees(ctx context.Context, p *person, hash common.Hash, what string, want func(*safe.Entry) bool) (*safe.Entry, error) {
	r := s.treasury.rooms[p]
	for {
		if err := r.Refresh(ctx); err != nil {
			return nil, fmt.Errorf("%s waits for %s: %w", p.name, what, err)
		}
		if e, err := r.Transaction(hash); err == nil && want(e) {
			return e, nil
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("%s waits for %s: %w", p.name, what, err)
		}
	}
}

// signers are the owners whose signatures count, sorted.
func signers(e *safe.Entry) []common.Address {
	var all []common.Address
	for _, c := range e.Confirmations {
		if c.Counts {
			all = append(all, c.Signature.Owner)
		}
	}
	return all
}

func sorted(people ...*person) []common.Address {
	var all []common.Address
	for _, p := range people {
		all = append(all, common.Address(p.address()))
	}
	slices.SortFunc(all, common.Address.Cmp)
	return all
}

// refuseDelegateCall has carol propose what would hand the Safe to a contract.
// The others are warned and refuse.
func (s *story) refuseDelegateCall(ctx context.Context) (string, error) {
	w, t := s.w, s.treasury
	wily := &safe.Transaction{To: upgrade, Operation: safe.DelegateCall, Data: safe.EncodeTransfer(chandler, uint256.NewInt(1)), Nonce: *uint256.NewInt(1)}
	e, err := t.rooms[w.carol].Propose(ctx, wily, safe.ProposeOptions{Note: trapNote})
	if err != nil {
		return "", err
	}
	t.trap = e.Hash
	t.items++
	s.out.note("carol proposes “%s”", trapNote)
	for _, p := range []*person{w.alice, w.bob} {
		e, err := s.sees(ctx, p, t.trap, "carol's proposal", func(*safe.Entry) bool { return true })
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(e.Warnings, func(x safe.Warning) bool { return x.Code == "delegatecall" && x.Level == safe.Danger })
		if i < 0 {
			return "", fmt.Errorf("%s is warned of %v alone", p.name, e.Warnings)
		}
		if p == w.alice {
			s.out.warn("%s", e.Warnings[i].Text)
			s.details["warning"] = e.Warnings[i]
		}
		no, err := safe.Sign(ctx, p.wallet, safe.RejectionTypedData(t.account, t.trap), safe.RejectionHash(t.account, t.trap))
		if err != nil {
			return "", err
		}
		if err := t.rooms[p].Reject(ctx, t.trap, no); err != nil {
			return "", err
		}
		t.items++
	}
	for _, p := range w.people() {
		e, err := s.sees(ctx, p, t.trap, "the rejection", func(e *safe.Entry) bool { return e.Status == safe.Rejected })
		if err != nil {
			return "", err
		}
		if len(e.Confirmations) > 0 || len(e.Rejections) != 2 {
			return "", fmt.Errorf("to %s, it has %d signatures and %d rejections", p.name, len(e.Confirmations), len(e.Rejections))
		}
	}
	return "alice and bob are warned, and reject it with their signatures", nil
}

// checkTranscript exports what carol has, and has a stranger check it who has
// the text and the chain, and nothing else.
func (s *story) checkTranscript(ctx context.Context) (string, error) {
	t := s.treasury
	lines, err := safe.Export(t.rooms[s.w.carol].Export(), safe.ExportLine)
	if err != nil {
		return "", err
	}
	chain, err := safe.DialChain(ctx, s.w.chain.URL())
	if err != nil {
		return "", err
	}
	defer chain.Close()
	size := 0
	for _, l := range lines {
		size += len(l) + 1
	}
	all, err := audit(ctx, chain, lines)
	if err != nil {
		return "", err
	}
	if len(all) != 2 || all[0].Hash != t.trap || all[1].Hash != t.invoice {
		return "", fmt.Errorf("the stranger finds %d transactions", len(all))
	}
	if pay := all[1]; pay.Status != safe.Executed || pay.Outcome.Transaction != t.paid || pay.Outcome.Executor != common.Address(s.w.bob.address()) ||
		!slices.Equal(signers(pay), sorted(s.w.alice, s.w.bob)) {
		return "", fmt.Errorf("to the stranger, the payment is %+v", pay)
	}
	if trap := all[0]; trap.Status != safe.Rejected || len(trap.Rejections) != 2 || len(trap.Warnings) == 0 {
		return "", fmt.Errorf("to the stranger, the delegatecall is %+v", trap)
	}
	if err := s.checkForgeries(ctx, chain); err != nil {
		return "", err
	}
	s.details["lines"], s.details["bytes"] = len(lines), size
	s.out.note("carol exports %d lines, %d bytes; the stranger has the chain", len(lines), size)
	return "a stranger finds the same hashes, signers, rejections and payment; a transcript that was tampered with does not pass", nil
}

// audit is what a stranger does with a transcript: each signature is verified,
// and what became of each transaction is looked up, on the chain.
func audit(ctx context.Context, chain *safe.Chain, lines []string) ([]*safe.Entry, error) {
	var text []byte
	for _, l := range lines {
		text = append(append(text, l...), '\n')
	}
	items, unknown, err := safe.ParseExport(text)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 || unknown > 0 {
		return nil, fmt.Errorf("%d items, and %d of unknown types", len(items), unknown)
	}
	account := items[0].Account
	if err := chain.Expect(account.ChainID); err != nil {
		return nil, err
	}
	snapshot, err := chain.Read(ctx, account.Address)
	if err != nil {
		return nil, err
	}
	ledger := safe.NewLedger(account)
	var hashes []common.Hash
	for _, i := range items {
		if err := ledger.Add(i, common.Address{}, time.Now()); err != nil {
			return nil, err
		}
		if p := i.Proposal; p != nil {
			hashes = append(hashes, p.Transaction.Hash(account))
		}
	}
	outcomes, err := chain.Outcomes(ctx, snapshot, hashes, 0, snapshot.Block)
	if err != nil {
		return nil, err
	}
	return ledger.Transactions(safe.ChainView{Snapshot: snapshot, Outcomes: outcomes}), nil
}

// checkForgeries verifies that the audit could fail.
func (s *story) checkForgeries(ctx context.Context, chain *safe.Chain) error {
	forge := func(change func(*safe.Item)) ([]*safe.Entry, error) {
		var items []*safe.Item
		for _, i := range s.treasury.rooms[s.w.carol].Export() {
			copied := *i
			change(&copied)
			items = append(items, &copied)
		}
		lines, err := safe.Export(items, 0)
		if err != nil {
			return nil, err
		}
		return audit(ctx, chain, lines)
	}
	_, err := forge(func(i *safe.Item) {
		if i.Proposal != nil {
			p := *i.Proposal
			p.Transaction.To = upgrade
			i.Proposal = &p
		}
	})
	if !errors.Is(err, safe.ErrLie) {
		return fmt.Errorf("a transcript with another payee passes: %v", err)
	}
	_, err = forge(func(i *safe.Item) {
		if i.Signature != nil {
			x := *i.Signature
			x.Signature.Owner = common.Address(s.w.carol.address())
			i.Signature = &x
		}
	})
	if !errors.Is(err, safe.ErrSignature) {
		return fmt.Errorf("a transcript with another signer passes: %v", err)
	}
	return nil
}

// safeNeedles adds what would tell the eavesdropper of the Safe: which it is,
// and that something was proposed in it.
func (s *story) safeNeedles(n *needles) error {
	t := s.treasury
	for _, a := range []common.Address{t.account.Address, chandler, upgrade, devchain.Token} {
		n.raw(kindSafe, a.Hex(), a[:])
		n.text(kindSafe, a.Hex(), a.Hex()[2:])
	}
	for _, h := range []common.Hash{t.invoice, t.trap, t.paid, t.account.DomainHash()} {
		n.raw(kindSafe, h.Hex(), h[:])
	}
	n.text(kindSafe, "the account", t.account.String())
	n.text(kindSafe, "the types of messages", safe.Namespace)
	for _, item := range []string{"/proposal", "/signature", "/rejection", "safeTxHash"} {
		n.text(kindSafe, item, item)
	}
	for _, text := range []string{treasuryName, invoiceNote, trapNote} {
		n.text(kindText, text, text)
		n.words(kindWord, text)
	}
	for _, i := range t.rooms[s.w.carol].Export() {
		if x := i.Signature; x != nil {
			n.raw(kindSafe, "a signature", x.Signature.Data[:32])
		}
		if p := i.Proposal; p != nil {
			n.raw(kindSafe, "calldata", p.Transaction.Data)
		}
	}
	g, err := t.rooms[s.w.alice].Group()
	if err != nil {
		return err
	}
	for _, id := range []string{g.ID, g.Head} {
		raw, err := hex.DecodeString(id)
		if err != nil {
			return err
		}
		n.raw(kindGroup, id, raw)
	}
	return nil
}
