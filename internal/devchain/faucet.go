package devchain

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// faucet is the chain's own account: it holds the ether of the genesis block
// and owns the root of ENS. Its key is new with each chain and guards nothing,
// so go-ethereum's signing will do for it.
type faucet struct {
	key     *ecdsa.PrivateKey
	address common.Address

	mu    sync.Mutex
	nonce uint64 // of the next transaction; mu
}

// faucetWei is what the faucet starts with: 2^96 wei, some 79 billion ether.
var faucetWei = new(big.Int).Lsh(big.NewInt(1), 96)

func newFaucet() (*faucet, error) {
	key, err := crypto.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("devchain: %w", err)
	}
	return &faucet{key: key, address: crypto.PubkeyToAddress(key.PublicKey)}, nil
}

// transact sends one transaction of the faucet and waits until it is mined. A
// transaction that reverts is an error that has the contract's reason.
func (c *Chain) transact(ctx context.Context, to common.Address, wei *big.Int, data []byte) error {
	_, err := c.send(ctx, &to, wei, data)
	return err
}

// send is transact, or creates a contract where to is nil. It returns the
// transaction's nonce.
func (c *Chain) send(ctx context.Context, to *common.Address, wei *big.Int, data []byte) (nonce uint64, err error) {
	if wei == nil {
		wei = new(big.Int)
	}
	f := c.faucet
	f.mu.Lock()
	defer f.mu.Unlock()
	// The estimate runs the call first, so that a revert is found before a
	// nonce is spent on it.
	gas, err := c.client.EstimateGas(ctx, ethereum.CallMsg{From: f.address, To: to, Value: wei, Data: data})
	if err != nil {
		return 0, fmt.Errorf("devchain: %w", err)
	}
	head, err := c.client.HeaderByNumber(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("devchain: %w", err)
	}
	tip := big.NewInt(1e9)
	tx, err := types.SignNewTx(f.key, types.LatestSignerForChainID(big.NewInt(ChainID)), &types.DynamicFeeTx{
		ChainID:   big.NewInt(ChainID),
		Nonce:     f.nonce,
		GasTipCap: tip,
		GasFeeCap: new(big.Int).Add(tip, new(big.Int).Lsh(head.BaseFee, 1)),
		Gas:       gas + gas/4,
		To:        to,
		Value:     wei,
		Data:      data,
	})
	if err != nil {
		return 0, fmt.Errorf("devchain: %w", err)
	}
	if err := c.client.SendTransaction(ctx, tx); err != nil {
		return 0, fmt.Errorf("devchain: %w", err)
	}
	f.nonce++
	return tx.Nonce(), c.wait(ctx, tx.Hash())
}

// wait returns when a transaction is in the latest block or before it, or the
// context ends. go-ethereum shows the receipt a moment before the block is the
// latest, and until then the next call would see the state before it.
func (c *Chain) wait(ctx context.Context, tx common.Hash) error {
	ticker := time.NewTicker(receiptPoll)
	defer ticker.Stop()
	for {
		// An error here says that the receipt is not there yet, or not indexed.
		receipt, err := c.client.TransactionReceipt(ctx, tx)
		var head uint64
		if err == nil {
			head, err = c.client.BlockNumber(ctx)
		}
		if err == nil && head >= receipt.BlockNumber.Uint64() {
			if receipt.Status != types.ReceiptStatusSuccessful {
				return errors.New("devchain: transaction reverted")
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("devchain: waiting for a block: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}
