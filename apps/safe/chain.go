package safe

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
)

var (
	// ErrChain is returned when the RPC endpoint does not answer, or not sensibly.
	ErrChain = errors.New("safe: the chain cannot be read")
	// ErrNotSafe is returned for an address where there is no Safe.
	ErrNotSafe = errors.New("safe: there is no Safe at this address")
	// ErrChainID is returned when the RPC endpoint serves another chain than is
	// asked for.
	ErrChainID = errors.New("safe: the RPC endpoint serves another chain")
)

// Limits on what an RPC endpoint can have us keep.
const (
	maxOwners  = 1000
	maxModules = 100
	// maxReply bounds what one call of a contract returns, in bytes.
	maxReply = 1 << 20
)

// Chain is an Ethereum chain as an RPC endpoint tells it. Its methods may be
// called from any goroutine.
type Chain struct {
	client *ethclient.Client
	id     uint64
}

// DialChain connects to a JSON-RPC endpoint (http, https, ws, wss or the path of
// a socket). It returns [ErrChain].
func DialChain(ctx context.Context, url string) (*Chain, error) {
	client, err := ethclient.DialContext(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	c, err := NewChain(ctx, client)
	if err != nil {
		client.Close()
	}
	return c, err
}

// NewChain returns the chain of a client, which it asks for the chain's id. The
// client is the chain's to close.
func NewChain(ctx context.Context, client *ethclient.Client) (*Chain, error) {
	id, err := client.ChainID(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if !id.IsUint64() || id.Sign() == 0 {
		return nil, fmt.Errorf("%w: chain id %v", ErrChain, id)
	}
	return &Chain{client, id.Uint64()}, nil
}

// ID returns the chain's id.
func (c *Chain) ID() uint64 { return c.id }

// Expect returns [ErrChainID] unless the chain has an id.
func (c *Chain) Expect(id uint64) error {
	if c.id != id {
		return fmt.Errorf("%w: %d, not %d", ErrChainID, c.id, id)
	}
	return nil
}

// Close hangs up.
func (c *Chain) Close() { c.client.Close() }

// Snapshot is a Safe at one block.
type Snapshot struct {
	Account         Account          `json:"-"`
	Version         Version          `json:"version"`
	Owners          []common.Address `json:"owners"`
	Threshold       uint64           `json:"threshold"`
	Nonce           uint64           `json:"nonce"`
	Singleton       common.Address   `json:"singleton"`
	Modules         []common.Address `json:"modules"`               // the first hundred
	MoreModules     bool             `json:"moreModules,omitempty"` // there are others
	Guard           common.Address   `json:"guard"`
	ModuleGuard     common.Address   `json:"moduleGuard"` // since 1.5.0
	FallbackHandler common.Address   `json:"fallbackHandler"`
	Block           uint64           `json:"block"`
	BlockHash       common.Hash      `json:"blockHash"`
	Time            time.Time        `json:"time"` // the block's
}

// Storage slots of a Safe: its singleton is first, the others are at the hash of
// a name.
var (
	slotSingleton       = common.Hash{}
	slotGuard           = crypto.Keccak256Hash([]byte("guard_manager.guard.address"))
	slotModuleGuard     = crypto.Keccak256Hash([]byte("module_manager.module_guard.address"))
	slotFallbackHandler = crypto.Keccak256Hash([]byte("fallback_manager.handler.address"))
)

// sentinel is the first element of a Safe's linked lists.
var sentinel = common.BigToAddress(common.Big1)

// Read reads a Safe at the latest block, all of it at the same. It returns
// [ErrNotSafe], [ErrVersion], or [ErrChain].
func (c *Chain) Read(ctx context.Context, address common.Address) (*Snapshot, error) {
	head, err := c.head(ctx, "latest")
	if err != nil {
		return nil, err
	}
	s := &Snapshot{
		Account: Account{c.id, address}, Block: uint64(head.Number), BlockHash: head.Hash,
		Time: time.Unix(int64(head.Time), 0),
	}
	code, err := c.client.CodeAtHash(ctx, address, s.BlockHash)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if len(code) == 0 {
		return nil, fmt.Errorf("%w: %s has no code on chain %d", ErrNotSafe, address, c.id)
	}
	var version string
	if err := c.ask(ctx, s, address, &version, "VERSION"); err != nil {
		return nil, notSafe(address, err)
	}
	if s.Version, err = ParseVersion(version); err != nil {
		return nil, err
	}
	var threshold, nonce *big.Int
	for _, q := range []struct {
		out    any
		method string
	}{{&s.Owners, "getOwners"}, {&threshold, "getThreshold"}, {&nonce, "nonce"}} {
		if err := c.ask(ctx, s, address, q.out, q.method); err != nil {
			return nil, notSafe(address, err)
		}
	}
	s.Threshold, s.Nonce = threshold.Uint64(), nonce.Uint64()
	if !threshold.IsUint64() || !nonce.IsUint64() || !plausible(s.Owners, s.Threshold) {
		return nil, fmt.Errorf("%w: %s has %d owners and the threshold %v", ErrNotSafe, address, len(s.Owners), threshold)
	}
	if err := c.ask(ctx, s, address, &s.Modules, "getModulesPaginated", sentinel, bigUint(maxModules+1)); err != nil {
		return nil, notSafe(address, err)
	}
	if len(s.Modules) > maxModules {
		s.Modules, s.MoreModules = s.Modules[:maxModules], true
	}
	for _, q := range []struct {
		out  *common.Address
		slot common.Hash
	}{{&s.Singleton, slotSingleton}, {&s.Guard, slotGuard}, {&s.ModuleGuard, slotModuleGuard}, {&s.FallbackHandler, slotFallbackHandler}} {
		value, err := c.client.StorageAtHash(ctx, address, q.slot, s.BlockHash)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrChain, err)
		}
		*q.out = common.BytesToAddress(value)
	}
	return s, nil
}

// MultiSendCallOnly returns where, at a snapshot's block, the contract of this
// name is that runs several calls for a Safe of its version. It returns
// [ErrBuilder] where there is none: a delegatecall to an address without code
// succeeds, and does nothing. Else it returns [ErrChain].
func (c *Chain) MultiSendCallOnly(ctx context.Context, s *Snapshot) (common.Address, error) {
	for _, at := range multiSendCallOnly[s.Version] {
		if idle, err := c.idle(ctx, s, at); err != nil || !idle {
			return at, err
		}
	}
	return common.Address{}, fmt.Errorf("%w: chain %d has no MultiSendCallOnly %s", ErrBuilder, c.id, s.Version)
}

// idle reports whether there is no code at an address.
func (c *Chain) idle(ctx context.Context, s *Snapshot, at common.Address) (bool, error) {
	code, err := c.client.CodeAtHash(ctx, at, s.BlockHash)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrChain, err)
	}
	return len(code) == 0, nil
}

// head is what is asked of a block. Its hash is the endpoint's word: some chains
// hash more fields than go-ethereum knows.
type head struct {
	Number  hexutil.Uint64 `json:"number"`
	Hash    common.Hash    `json:"hash"`
	Time    hexutil.Uint64 `json:"timestamp"`
	BaseFee *hexutil.Big   `json:"baseFeePerGas"` // nil on chains without
}

// head returns the block of a number in hex, or of "latest". It returns
// [ErrChain].
func (c *Chain) head(ctx context.Context, block string) (*head, error) {
	var h *head
	if err := c.client.Client().CallContext(ctx, &h, "eth_getBlockByNumber", block, false); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if h == nil || h.Hash == (common.Hash{}) {
		return nil, fmt.Errorf("%w: there is no block %s", ErrChain, block)
	}
	return h, nil
}

// notSafe makes ErrNotSafe of a contract that does not answer as a Safe does.
func notSafe(address common.Address, err error) error {
	if errors.Is(err, ErrChain) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrNotSafe, address, err)
}

// plausible reports whether there are as many owners as a threshold needs, each
// once.
func plausible(owners []common.Address, threshold uint64) bool {
	if len(owners) == 0 || len(owners) > maxOwners || threshold == 0 || threshold > uint64(len(owners)) {
		return false
	}
	sorted := slices.SortedFunc(slices.Values(owners), common.Address.Cmp)
	return sorted[0] != common.Address{} && len(slices.Compact(sorted)) == len(owners)
}

// ask calls a view of a Safe's at a snapshot's block, and reads its first result
// into out. An error that is not ErrChain is the contract's.
func (c *Chain) ask(ctx context.Context, s *Snapshot, to common.Address, out any, method string, args ...any) error {
	m := safeABI.Methods[method]
	data, err := m.Inputs.Pack(args...)
	if err != nil {
		return err
	}
	reply, err := c.call(ctx, ethereum.CallMsg{From: s.Account.Address, To: &to, Data: slices.Concat(m.ID, data)}, s.BlockHash)
	if err != nil {
		return err
	}
	return unpack(m, reply, out)
}

// call runs a call at a block and returns what it returns. It returns [ErrChain],
// or a *[RevertError].
func (c *Chain) call(ctx context.Context, msg ethereum.CallMsg, block common.Hash) ([]byte, error) {
	reply, err := c.client.CallContractAtHash(ctx, msg, block)
	if err != nil {
		return nil, callError(err)
	}
	if len(reply) > maxReply {
		return nil, fmt.Errorf("%w: a call returned %d bytes", ErrChain, len(reply))
	}
	return reply, nil
}

// VerifySignature verifies a signature over the hash of a struct in a Safe's
// domain, as the Safe itself would at a snapshot's block. It does not ask whether
// the signer is an owner. It returns [ErrSignature], or [ErrChain].
func (c *Chain) VerifySignature(ctx context.Context, s *Snapshot, structHash common.Hash, sig Signature) error {
	hash := s.Account.digest(structHash)
	switch sig.Kind {
	case Approved:
		var approved *big.Int
		if err := sig.checkForm(); err != nil {
			return err
		}
		if err := c.ask(ctx, s, s.Account.Address, &approved, "approvedHashes", sig.Owner, hash); err != nil {
			return fmt.Errorf("%w: its approvals: %w", ErrChain, err)
		}
		if approved.Sign() == 0 {
			return fmt.Errorf("%w: %s has not approved the hash on the chain", ErrSignature, sig.Owner)
		}
		return nil
	case Contract:
		return c.verifyContract(ctx, s, structHash, &sig)
	}
	return sig.Check(hash)
}

// verifyContract asks a contract that is an owner (ERC-1271). Up to 1.4.1 a Safe
// hands it what was hashed, by the interface's first draft; since 1.5.0 the hash.
func (c *Chain) verifyContract(ctx context.Context, s *Snapshot, structHash common.Hash, sig *Signature) error {
	if err := sig.checkForm(); err != nil {
		return err
	}
	hash := s.Account.digest(structHash)
	method, magic := "isValidSignature0", [4]byte{0x20, 0xc1, 0x3b, 0x0b}
	var what any = s.Account.preimage(structHash)
	if s.Version == V150 {
		method, magic, what = "isValidSignature", [4]byte{0x16, 0x26, 0xba, 0x7e}, hash
	}
	var got [4]byte
	err := c.ask(ctx, s, sig.Owner, &got, method, what, orEmpty(sig.Data))
	switch {
	case errors.Is(err, ErrChain):
		return err
	case err != nil:
		return fmt.Errorf("%w: the contract %s: %w", ErrSignature, sig.Owner, err)
	case got != magic:
		return fmt.Errorf("%w: the contract %s does not accept it", ErrSignature, sig.Owner)
	}
	return nil
}

// TokenDecimals returns how many decimals an ERC-20 token has. It returns
// [ErrChain], or a *[RevertError] from a contract that does not say.
func (c *Chain) TokenDecimals(ctx context.Context, s *Snapshot, token common.Address) (uint8, error) {
	m := tokenABI.Methods["decimals"]
	reply, err := c.call(ctx, ethereum.CallMsg{To: &token, Data: m.ID}, s.BlockHash)
	if err != nil {
		return 0, err
	}
	var places uint8
	if err := unpack(m, reply, &places); err != nil {
		return 0, fmt.Errorf("safe: %s is not a token: %w", token, err)
	}
	return places, nil
}

// Outcome is what became of a transaction whose nonce was used.
type Outcome struct {
	Success     bool           `json:"success"`
	Transaction common.Hash    `json:"transactionHash"` // of the chain
	Block       uint64         `json:"block"`
	Time        time.Time      `json:"time"`
	Executor    common.Address `json:"executor"`
}

var (
	topicSuccess = crypto.Keccak256Hash([]byte("ExecutionSuccess(bytes32,uint256)"))
	topicFailure = crypto.Keccak256Hash([]byte("ExecutionFailure(bytes32,uint256)"))
)

// maxSearches is how many pieces a search of the chain's logs is cut into, where
// an endpoint refuses a whole one.
const maxSearches = 256

// Outcomes looks in the logs of blocks from..to for what became of safeTxHashes.
// What is not there is not in the result. An endpoint that allows only narrow
// searches is asked for the latest blocks first, and not for ever: what happened
// long before is not found through it. It returns [ErrChain].
func (c *Chain) Outcomes(ctx context.Context, s *Snapshot, hashes []common.Hash, from, to uint64) (map[common.Hash]*Outcome, error) {
	found, wanted := map[common.Hash]*Outcome{}, map[common.Hash]bool{}
	for _, hash := range hashes {
		wanted[hash] = true
	}
	if from > to {
		return found, nil
	}
	q := ethereum.FilterQuery{Addresses: []common.Address{s.Account.Address}, Topics: [][]common.Hash{{topicSuccess, topicFailure}}}
	if s.Version != V130 { // whose events do not index the hash
		q.Topics = append(q.Topics, hashes)
	}
	most := to - from // blocks before the last one of a search
	for n := 0; n < maxSearches && len(wanted) > 0; n++ {
		begin := from
		if to-from > most {
			begin = to - most
		}
		q.FromBlock, q.ToBlock = bigUint(begin), bigUint(to)
		logs, err := c.client.FilterLogs(ctx, q)
		if err != nil {
			if ctx.Err() != nil || begin == to {
				return nil, fmt.Errorf("%w: its logs: %w", ErrChain, err)
			}
			most = (to - begin) / 2
			continue
		}
		for _, l := range logs {
			hash, ok := executed(&l)
			if !ok || !wanted[hash] || l.Address != s.Account.Address {
				continue
			}
			o, err := c.outcome(ctx, &l)
			if err != nil {
				return nil, err
			}
			found[hash] = o
			delete(wanted, hash)
		}
		if begin == from {
			break
		}
		to = begin - 1
	}
	return found, nil
}

// executed returns the safeTxHash of an event, which is indexed since 1.4.1.
func executed(l *types.Log) (common.Hash, bool) {
	switch {
	case l.Removed || len(l.Topics) == 0 || l.Topics[0] != topicSuccess && l.Topics[0] != topicFailure:
		return common.Hash{}, false
	case len(l.Topics) == 2 && len(l.Data) == 32:
		return l.Topics[1], true
	case len(l.Topics) == 1 && len(l.Data) == 64:
		return common.Hash(l.Data[:32]), true
	}
	return common.Hash{}, false
}

// outcome asks for the block and the sender of an event.
func (c *Chain) outcome(ctx context.Context, l *types.Log) (*Outcome, error) {
	head, err := c.head(ctx, hexutil.EncodeUint64(l.BlockNumber))
	if err != nil {
		return nil, err
	}
	var tx *struct {
		From common.Address `json:"from"`
	}
	if err := c.client.Client().CallContext(ctx, &tx, "eth_getTransactionByHash", l.TxHash); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if tx == nil {
		return nil, fmt.Errorf("%w: it has an event of %s, and not the transaction", ErrChain, l.TxHash)
	}
	return &Outcome{
		Success: l.Topics[0] == topicSuccess, Transaction: l.TxHash, Block: l.BlockNumber,
		Time: time.Unix(int64(head.Time), 0), Executor: tx.From,
	}, nil
}
