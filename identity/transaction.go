package identity

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/core/types"
)

// TransactionWallet is a wallet that signs transactions of its account too. A
// messaging client needs none; an application that acts on the chain does.
type TransactionWallet interface {
	Wallet
	// SignTransaction returns the transaction with the account's signature, for the
	// chain of an id.
	SignTransaction(ctx context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error)
}

var _ TransactionWallet = (*KeyWallet)(nil)

// SignTransaction signs a transaction of any type that go-ethereum knows.
func (w *KeyWallet) SignTransaction(ctx context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	signer := types.LatestSignerForChainID(chainID)
	sig := w.key.SignRecoverable(signer.Hash(tx))
	signed, err := tx.WithSignature(signer, sig[:])
	if err != nil {
		return nil, fmt.Errorf("identity: signing a transaction: %w", err)
	}
	return signed, nil
}
