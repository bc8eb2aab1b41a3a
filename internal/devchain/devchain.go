// Package devchain is a development Ethereum chain with ENS on it, for
// cmd/devnet and for tests. Start gives a whole go-ethereum node in this
// process: real blocks, a real EVM, and JSON-RPC over HTTP on a loopback port
// that the system chooses. It has no peers, keeps everything in memory, mines a
// block as soon as a transaction arrives, whoever sent it, and is gone with
// Close.
//
// The contracts are ours, written to the interfaces of EIP-137 (registry),
// EIP-181 (reverse names), EIP-2304 (addresses by coin), ENSIP-10 (wildcards),
// ERC-3668 (off-chain look-ups) and ENSIP-23 (universal resolver); their
// Solidity sources and compiled artefacts are in contracts. The registry is
// where every chain has it.
//
// Nothing here is safe for value: whoever holds a Chain can rename anybody.
package devchain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"
)

// ChainID is the chain id of every development chain, the one that go-ethereum
// gives to its own.
const ChainID = 1337

// Chain is a running development chain. Its methods may be called from any
// goroutine.
type Chain struct {
	node   *node.Node
	client *ethclient.Client
	faucet *faucet

	mining sync.WaitGroup // the miner's goroutine
	stop   func()         // ends the miner's goroutine
	once   sync.Once
	err    error // what Close returned first
}

// Options are what chains differ in.
type Options struct {
	// UniversalResolver puts a universal resolver on the chain, through which
	// clients then resolve. Without it they go to the registry.
	UniversalResolver bool
}

// Start brings a chain up: the ENS contracts are in its genesis block, with
// "eth" owned by the chain itself, and JSON-RPC is served when Start returns.
// The context bounds the start alone; Close ends the chain.
func Start(ctx context.Context) (*Chain, error) { return StartWith(ctx, Options{}) }

// StartWith is Start with options.
func StartWith(ctx context.Context, opts Options) (*Chain, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := newFaucet()
	if err != nil {
		return nil, err
	}
	alloc, err := genesis(f.address, opts)
	if err != nil {
		return nil, err
	}
	stack, err := node.New(&node.Config{
		Name:         "devchain",
		P2P:          p2p.Config{NoDiscovery: true},
		HTTPHost:     "127.0.0.1",
		HTTPPort:     0,
		HTTPModules:  []string{"eth", "net", "web3"},
		HTTPTimeouts: rpc.DefaultHTTPTimeouts,
		Logger:       log.NewLogger(log.DiscardHandler()),
	})
	if err != nil {
		return nil, fmt.Errorf("devchain: %w", err)
	}
	c := &Chain{node: stack, faucet: f}
	if err := c.start(alloc); err != nil {
		return nil, errors.Join(fmt.Errorf("devchain: %w", err), c.Close())
	}
	return c, nil
}

// start puts an Ethereum service on the node and a miner beside it. These are
// the parts of go-ethereum's ethclient/simulated; its Backend keeps the node to
// itself, and with it the port that the system chose, and mines only what it is
// told to, so that a transaction from outside would wait for ever.
func (c *Chain) start(alloc types.GenesisAlloc) error {
	conf := ethconfig.Defaults
	all := core.SystemContractAllocs()
	maps.Copy(all, alloc)
	conf.Genesis = &core.Genesis{
		Config:   params.AllDevChainProtocolChanges,
		GasLimit: conf.Miner.GasCeil,
		Alloc:    all,
	}
	conf.SyncMode = ethconfig.FullSync
	conf.TxPool.NoLocals = true
	conf.LogNoHistory = true
	conf.DatabaseCache, conf.TrieCleanCache, conf.TrieDirtyCache, conf.SnapshotCache = 16, 16, 16, 0

	service, err := eth.New(c.node, &conf)
	if err != nil {
		return err
	}
	c.node.RegisterAPIs([]rpc.API{{
		Namespace: "eth",
		Service:   filters.NewFilterAPI(filters.NewFilterSystem(service.APIBackend, filters.Config{})),
	}})
	if err := c.node.Start(); err != nil {
		return err
	}
	beacon, err := catalyst.NewSimulatedBeacon(0, common.Address{}, service)
	if err != nil {
		return err
	}
	c.client = ethclient.NewClient(c.node.Attach())
	c.mine(service, beacon)
	return nil
}

// mine starts the goroutine that seals a block whenever the pool takes a
// transaction. Nobody else touches the beacon.
func (c *Chain) mine(service *eth.Ethereum, beacon *catalyst.SimulatedBeacon) {
	arrived := make(chan core.NewTxsEvent, 64)
	sub := service.TxPool().SubscribeTransactions(arrived, true)
	quit := make(chan struct{})
	c.stop = sync.OnceFunc(func() { close(quit) })
	c.mining.Go(func() {
		defer beacon.Stop()
		defer sub.Unsubscribe()
		for {
			select {
			case <-quit:
				return
			case <-arrived:
				beacon.Commit()
			}
		}
	})
}

// URL returns the endpoint of the chain's JSON-RPC, http://127.0.0.1:port.
func (c *Chain) URL() string { return c.node.HTTPEndpoint() }

// Client returns a client that is connected inside the process. It is closed
// with the chain.
func (c *Chain) Client() *ethclient.Client { return c.client }

// ChainID returns the chain's id, the constant ChainID.
func (c *Chain) ChainID() uint64 { return ChainID }

// Close stops mining, serving and the node. It may be called more than once.
func (c *Chain) Close() error {
	c.once.Do(func() {
		if c.stop != nil {
			c.stop()
			c.mining.Wait()
		}
		if c.client != nil {
			c.client.Close()
		}
		c.err = c.node.Close()
	})
	return c.err
}

// Fund sends wei from the chain's own account to an address and returns when
// the block is mined.
func (c *Chain) Fund(ctx context.Context, to common.Address, wei *big.Int) error {
	return c.transact(ctx, to, wei, nil)
}

// receiptPoll is the time between two looks for a transaction's receipt: a
// block takes a few milliseconds.
const receiptPoll = 2 * time.Millisecond
