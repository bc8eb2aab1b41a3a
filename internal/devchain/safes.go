package devchain

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// DeploySafe makes a Safe, which outsiders cannot tell from one of version 1.4.1,
// and returns its address.
func (c *Chain) DeploySafe(ctx context.Context, owners []common.Address, threshold int) (common.Address, error) {
	none := common.Address{}
	setup, err := pack("Safe", "setup", owners, big.NewInt(int64(threshold)), none, []byte{}, SafeHandler, none, new(big.Int), none)
	if err != nil {
		return none, err
	}
	var salt [32]byte
	rand.Read(salt[:])
	data, err := pack("SafeProxyFactory", "createProxyWithNonce", SafeSingleton, setup, new(big.Int).SetBytes(salt[:]))
	if err != nil {
		return none, err
	}
	// Where it will be does not depend on when.
	result, err := c.client.CallContract(ctx, ethereum.CallMsg{From: c.faucet.address, To: &SafeFactory, Data: data}, nil)
	if err != nil {
		return none, fmt.Errorf("devchain: %w", err)
	}
	return common.BytesToAddress(result), c.transact(ctx, SafeFactory, nil, data)
}

// Mint gives an address an amount of Token, in its smallest unit.
func (c *Chain) Mint(ctx context.Context, to common.Address, amount *big.Int) error {
	return c.call(ctx, "Token", "mint", to, amount)
}

// TokenBalance returns how much of Token an address has, in its smallest unit.
func (c *Chain) TokenBalance(ctx context.Context, of common.Address) (*big.Int, error) {
	data, err := pack("Token", "balanceOf", of)
	if err != nil {
		return nil, err
	}
	result, err := c.client.CallContract(ctx, ethereum.CallMsg{To: &Token, Data: data}, nil)
	if err != nil {
		return nil, fmt.Errorf("devchain: %w", err)
	}
	return new(big.Int).SetBytes(result), nil
}

// Deploy creates a contract from what its compiler made, with the arguments of
// its constructor packed behind, and returns its address.
func (c *Chain) Deploy(ctx context.Context, creation []byte) (common.Address, error) {
	nonce, err := c.send(ctx, nil, nil, creation)
	if err != nil {
		return common.Address{}, err
	}
	return crypto.CreateAddress(c.faucet.address, nonce), nil
}

// Transact calls a contract from the chain's own account and returns when the
// block is mined. A call that reverts is an error that has the contract's reason.
func (c *Chain) Transact(ctx context.Context, to common.Address, data []byte) error {
	return c.transact(ctx, to, nil, data)
}

// SafeABI returns the interface of the Safes that DeploySafe makes.
func SafeABI() (*abi.ABI, error) {
	a, err := loadArtifact("Safe")
	if err != nil {
		return nil, err
	}
	i, err := abi.JSON(strings.NewReader(string(a.ABI)))
	return &i, err
}
