package safe

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/identity"
)

// Simulation is what a transaction would have done at a block.
type Simulation struct {
	Block   uint64 `json:"block"`
	Success bool   `json:"success"`
	Reason  string `json:"reason,omitempty"` // why not, in the contract's words
	// NoCode says that what is called has no code: such a call succeeds, and does
	// nothing but pay.
	NoCode bool   `json:"noCode,omitempty"`
	Result []byte `json:"-"` // what the call returned
}

// Simulate runs a transaction at a snapshot's block as the Safe would: its
// effects, without its signatures, refund and guard. It returns [ErrChain].
func (c *Chain) Simulate(ctx context.Context, s *Snapshot, t *Transaction) (*Simulation, error) {
	out := &Simulation{Block: s.Block}
	var err error
	if t.Operation == DelegateCall || len(t.Data) > 0 {
		if out.NoCode, err = c.idle(ctx, s, t.To); err != nil {
			return nil, err
		}
	}
	if t.Operation == DelegateCall {
		out.Success, out.Result, err = c.simulateDelegate(ctx, s, t)
	} else {
		out.Success, out.Result, err = c.simulateCall(ctx, s, t)
	}
	var reverted *RevertError
	if errors.As(err, &reverted) {
		out.Result, out.Reason, err = reverted.Data, reverted.Reason, nil
	}
	if err != nil {
		return nil, err
	}
	if !out.Success && out.Reason == "" {
		out.Reason, _ = abi.UnpackRevert(out.Result)
	}
	return out, nil
}

// simulateCall calls from the Safe's address. A node refuses to run a call that
// the caller has not the ether for; a Safe's just fails.
func (c *Chain) simulateCall(ctx context.Context, s *Snapshot, t *Transaction) (bool, []byte, error) {
	if value := t.Value.ToBig(); value.Sign() > 0 {
		has, err := c.client.BalanceAtHash(ctx, s.Account.Address, s.BlockHash)
		if err != nil {
			return false, nil, fmt.Errorf("%w: %w", ErrChain, err)
		}
		if has.Cmp(value) < 0 {
			return false, nil, &RevertError{Reason: fmt.Sprintf("the Safe has %v wei", has)}
		}
	}
	result, err := c.call(ctx, ethereum.CallMsg{From: s.Account.Address, To: &t.To, Value: t.Value.ToBig(), Data: t.Data}, s.BlockHash)
	return err == nil, result, err
}

// simulateDelegate has the Safe run foreign code and undo it, which it offers to
// everybody; the outcome is in what it reverts with: success, length, result.
func (c *Chain) simulateDelegate(ctx context.Context, s *Snapshot, t *Transaction) (bool, []byte, error) {
	data, err := safeABI.Pack("simulateAndRevert", t.To, orEmpty(t.Data))
	if err != nil {
		return false, nil, err
	}
	// The code sees who has called the Safe: not the Safe itself.
	_, err = c.call(ctx, ethereum.CallMsg{From: s.Owners[0], To: &s.Account.Address, Data: data}, s.BlockHash)
	if err == nil {
		return false, nil, fmt.Errorf("%w: a simulation did not revert", ErrChain)
	}
	var reverted *RevertError
	if !errors.As(err, &reverted) {
		return false, nil, err
	}
	b := reverted.Data
	if len(b) < 64 || !allZero(b[:31]) || b[31] > 1 {
		return false, nil, reverted
	}
	var size uint256.Int
	if size.SetBytes(b[32:64]); size.GtUint64(uint64(len(b) - 64)) {
		return false, nil, reverted
	}
	return b[31] == 1, b[64 : 64+size.Uint64()], nil
}

// CallData returns the call of execTransaction, to the Safe itself, for whoever
// sends it to the chain. The signatures must suffice. It returns [ErrSignatures]
// and [ErrSignature] for what cannot be packed.
func CallData(t *Transaction, signatures []Signature) ([]byte, error) {
	packed, err := PackSignatures(signatures)
	if err != nil {
		return nil, err
	}
	return safeABI.Pack("execTransaction", t.To, t.Value.ToBig(), orEmpty(t.Data), uint8(t.Operation), t.SafeTxGas.ToBig(),
		t.BaseGas.ToBig(), t.GasPrice.ToBig(), t.GasToken, t.RefundReceiver, packed)
}

// ErrWouldFail is returned for a transaction that the Safe would let through and
// whose own call fails.
var ErrWouldFail = errors.New("safe: the transaction's own call would fail")

// Check runs execTransaction at the latest block without sending it. It returns
// an *[ExplainedError] if the Safe refuses, [ErrWouldFail] if the call within
// fails, else [ErrChain].
func (c *Chain) Check(ctx context.Context, safe, executor common.Address, callData []byte) error {
	return c.dryRun(ctx, ethereum.CallMsg{From: executor, To: &safe, Data: callData})
}

func (c *Chain) dryRun(ctx context.Context, msg ethereum.CallMsg) error {
	reply, err := c.client.CallContract(ctx, msg, nil)
	if err != nil {
		return Explain(callError(err))
	}
	if len(reply) != 32 || reply[31] != 1 {
		return fmt.Errorf("%w: the nonce would be used, and a refund paid", ErrWouldFail)
	}
	return nil
}

// Execute sends execTransaction from a wallet's account, which pays for the gas,
// and waits for the block. Nothing is sent, and no gas spent, for what the Safe
// would refuse: see [Chain.Check]. It returns [ErrWouldFail] also for a call that
// has failed on the chain, and [ErrChain].
func (c *Chain) Execute(ctx context.Context, safe common.Address, callData []byte, wallet identity.TransactionWallet) (*types.Receipt, error) {
	from := common.Address(wallet.Address())
	if err := c.Check(ctx, safe, from, callData); err != nil {
		return nil, err
	}
	tx, err := c.prepare(ctx, from, safe, callData)
	if err != nil {
		return nil, err
	}
	signed, err := wallet.SignTransaction(ctx, tx, bigUint(c.id))
	if err != nil {
		return nil, err
	}
	if err := c.client.SendTransaction(ctx, signed); err != nil {
		return nil, fmt.Errorf("%w: it did not take the transaction: %w", ErrChain, err)
	}
	receipt, err := c.wait(ctx, signed.Hash())
	if err != nil {
		return nil, err
	}
	if receipt.Status != types.ReceiptStatusSuccessful {
		return receipt, fmt.Errorf("%w: %s was reverted", ErrWouldFail, signed.Hash())
	}
	for _, l := range receipt.Logs {
		if l.Address == safe && len(l.Topics) > 0 && l.Topics[0] == topicFailure {
			return receipt, fmt.Errorf("%w: %s is on the chain, and its nonce is used", ErrWouldFail, signed.Hash())
		}
	}
	return receipt, nil
}

// maxDoublings is how often the gas that a node estimates is doubled.
const maxDoublings = 6

// hungry reports whether an error may be for want of gas, of which a contract
// says nothing.
func hungry(err error) bool {
	var reverted *RevertError
	return errors.Is(err, ErrWouldFail) || errors.As(err, &reverted) && len(reverted.Data) == 0
}

// prepare makes the transaction that carries a call, and runs it as it will be:
// only with its price is a refund paid, and an estimate is the least gas with
// which the Safe does not revert, though the call within may then fail.
func (c *Chain) prepare(ctx context.Context, from, to common.Address, data []byte) (*types.Transaction, error) {
	fail := func(err error) (*types.Transaction, error) { return nil, fmt.Errorf("%w: %w", ErrChain, err) }
	nonce, err := c.client.PendingNonceAt(ctx, from)
	if err != nil {
		return fail(err)
	}
	msg := ethereum.CallMsg{From: from, To: &to, Data: data}
	gas, err := c.client.EstimateGas(ctx, msg)
	if err != nil {
		return nil, Explain(callError(err))
	}
	msg.Gas = gas + gas/5 // what it meets may have changed a little until then
	head, err := c.head(ctx, "latest")
	if err != nil {
		return nil, err
	}
	if head.BaseFee == nil {
		msg.GasPrice, err = c.client.SuggestGasPrice(ctx)
	} else if msg.GasTipCap, err = c.client.SuggestGasTipCap(ctx); err == nil {
		msg.GasFeeCap = new(big.Int).Add(msg.GasTipCap, new(big.Int).Lsh(head.BaseFee.ToInt(), 1))
	}
	if err != nil {
		return fail(err)
	}
	err = c.dryRun(ctx, msg)
	for n := 0; hungry(err) && n < maxDoublings; n++ {
		msg.Gas *= 2
		err = c.dryRun(ctx, msg)
	}
	if err != nil {
		return nil, err
	}
	if head.BaseFee == nil {
		return types.NewTx(&types.LegacyTx{Nonce: nonce, GasPrice: msg.GasPrice, Gas: msg.Gas, To: &to, Data: data}), nil
	}
	return types.NewTx(&types.DynamicFeeTx{
		ChainID: bigUint(c.id), Nonce: nonce, GasTipCap: msg.GasTipCap, GasFeeCap: msg.GasFeeCap, Gas: msg.Gas, To: &to, Data: data,
	}), nil
}

// firstPoll and lastPoll are how long it takes until a receipt is asked for
// again: twice as long each time.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// wait returns a transaction's receipt when it is in a block that is the latest
// or before it.
func (c *Chain) wait(ctx context.Context, hash common.Hash) (*types.Receipt, error) {
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		receipt, err := c.client.TransactionReceipt(ctx, hash)
		if err == nil {
			head, err := c.client.BlockNumber(ctx)
			if err == nil && head >= receipt.BlockNumber.Uint64() {
				return receipt, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s was sent, and is in no block yet: %w", ErrChain, hash, ctx.Err())
		case <-time.After(poll):
		}
	}
}

// ApproveCallData returns the call of approveHash, by which an owner signs on
// the chain.
func ApproveCallData(hash common.Hash) []byte { return must(safeABI.Pack("approveHash", hash)) }
