package safe

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// signer is an owner by a key, with ether.
type signer struct {
	key     *ecdsa.PrivateKey
	wallet  *identity.KeyWallet
	address common.Address
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	wallet, err := identity.ParseHexKey(hexutil.Encode(crypto.FromECDSA(key)))
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, wallet, crypto.PubkeyToAddress(key.PublicKey)}
}

// sign makes a signature as a wallet would.
func (s *signer) sign(t testing.TB, kind SignatureKind, hash common.Hash) Signature {
	t.Helper()
	digest, v := hash[:], byte(27)
	if kind == EthSign {
		digest, v = accounts.TextHash(hash[:]), 31
	}
	sig, err := crypto.Sign(digest, s.key)
	if err != nil {
		t.Fatal(err)
	}
	sig[64] += v
	return Signature{s.address, kind, sig}
}

// testbed is a development chain, as the package reads it.
type testbed struct {
	dev   *devchain.Chain
	chain *Chain
}

func newTestbed(t testing.TB) *testbed {
	t.Helper()
	dev, err := devchain.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	chain, err := DialChain(t.Context(), dev.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		chain.Close()
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return &testbed{dev, chain}
}

func (w *testbed) fund(t testing.TB, to ...common.Address) {
	t.Helper()
	for _, a := range to {
		if err := w.dev.Fund(t.Context(), a, big.NewInt(1e18)); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *testbed) deploy(t testing.TB, code string) common.Address {
	t.Helper()
	at, err := w.dev.Deploy(t.Context(), creation(common.FromHex(code)))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// creation is code that creates a contract of code.
func creation(code []byte) []byte {
	n := []byte{byte(len(code) >> 8), byte(len(code))}
	// PUSH2 n DUP1 PUSH1 12 PUSH1 0 CODECOPY PUSH1 0 RETURN
	return slices.Concat([]byte{0x61}, n, common.FromHex("80600c6000396000f3"), code)
}

func (w *testbed) balance(t testing.TB, a common.Address) *big.Int {
	t.Helper()
	b, err := w.dev.Client().BalanceAt(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tokens returns a balance of the development token.
func (w *testbed) tokens(t testing.TB, a common.Address) *big.Int {
	t.Helper()
	out := w.view(t, devchain.Token, &tokenABI, "balanceOf", a)
	return out[0].(*big.Int)
}

// view calls a view and returns its results.
func (w *testbed) view(t testing.TB, to common.Address, i *abi.ABI, method string, args ...any) []any {
	t.Helper()
	data, err := i.Pack(method, args...)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := w.dev.Client().CallContract(t.Context(), ethereum.CallMsg{To: &to, Data: data}, nil)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	out, err := i.Unpack(method, reply)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *testbed) read(t testing.TB, safe common.Address) *Snapshot {
	t.Helper()
	s, err := w.chain.Read(t.Context(), safe)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send has a signer send what a contract may refuse, for which it returns an
// error, and nothing is mined. It returns what the call returns, and its events.
func (w *testbed) send(t testing.TB, from *signer, to common.Address, data []byte) ([]byte, []*types.Log, error) {
	t.Helper()
	ctx, client := t.Context(), w.dev.Client()
	result, err := client.CallContract(ctx, ethereum.CallMsg{From: from.address, To: &to, Data: data, Gas: sendGas}, nil)
	if err != nil {
		return nil, nil, Explain(callError(err))
	}
	nonce, err := client.PendingNonceAt(ctx, from.address)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := types.SignNewTx(from.key, types.LatestSignerForChainID(bigUint(w.chain.ID())), &types.LegacyTx{
		Nonce: nonce, GasPrice: big.NewInt(5e9), Gas: sendGas, To: &to, Data: data,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SendTransaction(ctx, tx); err != nil {
		t.Fatal(err)
	}
	receipt, err := w.chain.wait(ctx, tx.Hash())
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Status != types.ReceiptStatusSuccessful {
		t.Fatalf("%s was run, and is reverted in its block", tx.Hash())
	}
	return result, receipt.Logs, nil
}

const sendGas = 2_000_000

// each runs a test on every kind of Safe's contracts that is at hand, on one
// chain.
func each(t *testing.T, test func(*testing.T, *testbed, *contracts)) {
	t.Parallel()
	w := newTestbed(t)
	for _, name := range []string{"development", "1.3.0", "1.4.1", "1.5.0"} {
		t.Run(name, func(t *testing.T) { test(t, w, w.contracts(t, name)) })
	}
}

func TestChainReads(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		a, b := newSigner(t).address, newSigner(t).address
		safe := c.safe(t, 2, a, b)
		s := w.read(t, safe)
		if s.Account != (Account{devchain.ChainID, safe}) || s.Version != c.version || !slices.Equal(s.Owners, []common.Address{a, b}) ||
			s.Threshold != 2 || s.Nonce != 0 || len(s.Modules) != 0 || s.Guard != (common.Address{}) || s.ModuleGuard != (common.Address{}) ||
			s.FallbackHandler != c.handler || s.Singleton != c.singleton {
			t.Errorf("%+v", s)
		}
		head, err := w.dev.Client().HeaderByHash(t.Context(), s.BlockHash)
		if err != nil || head.Number.Uint64() != s.Block || uint64(s.Time.Unix()) != head.Time {
			t.Errorf("block %d %s: %v", s.Block, s.BlockHash, err)
		}
		if got := w.view(t, safe, c.abi, "domainSeparator")[0]; got != [32]byte(s.Account.DomainHash()) {
			t.Errorf("domain %x, on the chain %x", s.Account.DomainHash(), got)
		}
		if _, err := w.chain.Read(t.Context(), c.singleton); !errors.Is(err, ErrNotSafe) {
			t.Errorf("a singleton that nobody owns: %v", err)
		}
	})
}

// What Read says is of one block, whatever happens meanwhile.
func TestChainReadsOneBlock(t *testing.T) {
	t.Parallel()
	w := newTestbed(t)
	o := newSigner(t)
	w.fund(t, o.address)
	safe := w.contracts(t, "development").safe(t, 1, o.address)
	other := newSigner(t).address
	// Before the third call the owners change.
	var calls atomic.Int32
	chain := w.through(t, func(method string, _ json.RawMessage) string {
		if method == "eth_call" && calls.Add(1) == 3 {
			w.execute(t, safe, o, &Transaction{To: safe, Data: must(safeABI.Pack("addOwnerWithThreshold", other, bigUint(2)))})
		}
		return ""
	})
	s, err := chain.Read(t.Context(), safe)
	if err != nil || s.Nonce != 0 || s.Threshold != 1 || !slices.Equal(s.Owners, []common.Address{o.address}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s := w.read(t, safe); s.Nonce != 1 || s.Threshold != 2 || len(s.Owners) != 2 {
		t.Errorf("after it %+v", s)
	}
}

func TestChainReadRefuses(t *testing.T) {
	t.Parallel()
	w := newTestbed(t)
	// answers returns a contract that answers everything with one word, or with a
	// string.
	word := func(last byte) string { return fmt.Sprintf("60%02x60005260206000f3", last) }
	// mstore(0, 0x20) mstore(0x20, 5) mstore(0x40, "1.2.0") return(0, 0x60)
	version := func(v string) string {
		return fmt.Sprintf("602060005260%02x6020527f%x60405260606000f3", len(v), common.RightPadBytes([]byte(v), 32))
	}
	for name, c := range map[string]struct {
		at   common.Address
		want error
		says string
	}{
		"no code":          {newSigner(t).address, ErrNotSafe, "no code"},
		"token":            {devchain.Token, ErrNotSafe, "reverted"},
		"answers one":      {w.deploy(t, word(1)), ErrNotSafe, "VERSION"},
		"answers nothing":  {w.deploy(t, "00"), ErrNotSafe, "VERSION"},
		"runs out of gas":  {w.deploy(t, "5b600056"), ErrNotSafe, "revert"},
		"invalid opcode":   {w.deploy(t, "fe"), ErrNotSafe, "revert"},
		"1.2.0":            {w.deploy(t, version("1.2.0")), ErrVersion, "1.2.0"},
		"long version":     {w.deploy(t, version("1.4.1+"+strings.Repeat("x", 20))), ErrVersion, "1.4.1+"},
		"only the version": {w.deploy(t, version("1.4.1")), ErrNotSafe, "getOwners"},
	} {
		s, err := w.chain.Read(t.Context(), c.at)
		if s != nil || !errors.Is(err, c.want) || errors.Is(err, ErrChain) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	if err := w.chain.Expect(1); !errors.Is(err, ErrChainID) {
		t.Error(err)
	}
	if err := w.chain.Expect(devchain.ChainID); err != nil {
		t.Error(err)
	}
}

// What an endpoint says is not believed where it cannot be.
func TestChainHostileEndpoint(t *testing.T) {
	t.Parallel()
	w := newTestbed(t)
	o := newSigner(t)
	safe := w.contracts(t, "development").safe(t, 1, o.address)
	reply := func(result any) string {
		b, _ := json.Marshal(result)
		return `"result":` + string(b)
	}
	ownersOf := func(owners ...common.Address) string {
		return hexutil.Encode(must(safeABI.Methods["getOwners"].Outputs.Pack(owners)))
	}
	many := make([]common.Address, maxOwners+1)
	for i := range many {
		many[i] = common.BigToAddress(big.NewInt(int64(i + 2)))
	}
	selector := func(method string) string { return hexutil.Encode(safeABI.Methods[method].ID) }
	for name, c := range map[string]struct {
		method, holds string
		reply         string
		want          error
	}{
		"no block":          {"eth_getBlockByNumber", "latest", `"result":null`, ErrChain},
		"block of junk":     {"eth_getBlockByNumber", "latest", `"result":"junk"`, ErrChain},
		"error":             {"eth_getCode", "", `"error":{"code":-32000,"message":"missing trie node"}`, ErrChain},
		"rate limit":        {"eth_call", "", `"error":{"code":-32005,"message":"too many requests","data":"slow down"}`, ErrChain},
		"huge":              {"eth_call", selector("VERSION"), reply("0x" + strings.Repeat("00", maxReply+1)), ErrChain},
		"duplicate owners":  {"eth_call", selector("getOwners"), reply(ownersOf(o.address, o.address)), ErrNotSafe},
		"no owners":         {"eth_call", selector("getOwners"), reply(ownersOf()), ErrNotSafe},
		"owner zero":        {"eth_call", selector("getOwners"), reply(ownersOf(common.Address{})), ErrNotSafe},
		"too many owners":   {"eth_call", selector("getOwners"), reply(ownersOf(many...)), ErrNotSafe},
		"length of a lie":   {"eth_call", selector("getOwners"), reply("0x" + fmt.Sprintf("%064x%064x", 32, 1<<40)), ErrNotSafe},
		"threshold zero":    {"eth_call", selector("getThreshold"), reply("0x" + fmt.Sprintf("%064x", 0)), ErrNotSafe},
		"threshold too big": {"eth_call", selector("getThreshold"), reply("0x" + strings.Repeat("ff", 32)), ErrNotSafe},
		"nonce too big":     {"eth_call", selector("nonce"), reply("0x01" + strings.Repeat("00", 31)), ErrNotSafe},
		"storage":           {"eth_getStorageAt", "", `"error":{"code":-32000,"message":"no"}`, ErrChain},
	} {
		var met atomic.Bool
		chain := w.through(t, func(method string, params json.RawMessage) string {
			if method != c.method || !bytes.Contains(params, []byte(c.holds)) {
				return ""
			}
			met.Store(true)
			return c.reply
		})
		if s, err := chain.Read(t.Context(), safe); s != nil || !errors.Is(err, c.want) || !met.Load() {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestChainUnreachable(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	url := down.URL
	if _, err := DialChain(t.Context(), url); !errors.Is(err, ErrChain) {
		t.Errorf("an endpoint that is none: %v", err)
	}
	down.Close()
	for _, url := range []string{url, "", "ftp://example.org", "\x00"} {
		if c, err := DialChain(t.Context(), url); c != nil || !errors.Is(err, ErrChain) {
			t.Errorf("%q: %v, %v", url, c, err)
		}
	}
	w := newTestbed(t)
	for _, id := range []string{"0x0", "0x10000000000000000", "x"} {
		s := w.proxy(t, func(method string, _ json.RawMessage) string {
			if method == "eth_chainId" {
				return fmt.Sprintf(`"result":%q`, id)
			}
			return ""
		})
		if c, err := DialChain(t.Context(), s.URL); c != nil || !errors.Is(err, ErrChain) {
			t.Errorf("chain id %s: %v, %v", id, c, err)
		}
	}
	o := newSigner(t).address
	safe := w.contracts(t, "development").safe(t, 1, o)
	s := w.read(t, safe)
	gone := w.through(t, func(string, json.RawMessage) string { return `"error":{"code":-32603,"message":"internal error"}` })
	ctx := t.Context()
	_, read := gone.Read(ctx, safe)
	_, simulated := gone.Simulate(ctx, s, &Transaction{To: o})
	_, delegated := gone.Simulate(ctx, s, &Transaction{To: o, Operation: DelegateCall})
	_, outcomes := gone.Outcomes(ctx, s, []common.Hash{{1}}, 0, s.Block)
	for name, err := range map[string]error{
		"read": read, "simulate": simulated, "simulate a delegate call": delegated, "outcomes": outcomes,
		"approved": gone.VerifySignature(ctx, s, common.Hash{}, Signature{Owner: o, Kind: Approved}),
		"contract": gone.VerifySignature(ctx, s, common.Hash{}, Signature{Owner: o, Kind: Contract}),
		"check":    gone.Check(ctx, safe, o, nil),
	} {
		if !errors.Is(err, ErrChain) || errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// proxy is an endpoint before the chain's own that may answer calls itself: what
// it is told to put beside the id, or nothing to let the chain answer.
func (w *testbed) proxy(t testing.TB, answer func(method string, params json.RawMessage) string) *httptest.Server {
	t.Helper()
	to, err := url.Parse(w.dev.URL())
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var call struct {
			ID     json.RawMessage
			Method string
			Params json.RawMessage
		}
		if err != nil || json.Unmarshal(b, &call) != nil {
			t.Errorf("%q: %v", b, err)
		}
		if reply := answer(call.Method, call.Params); reply != "" {
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(rw, `{"jsonrpc":"2.0","id":%s,%s}`, call.ID, reply)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		pass.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// through is the chain as a proxy tells it.
func (w *testbed) through(t testing.TB, answer func(method string, params json.RawMessage) string) *Chain {
	t.Helper()
	client, err := ethclient.Dial(w.proxy(t, answer).URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &Chain{client, w.chain.ID()}
}

// The hashes are the contract's own.
func TestChainHashes(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		seed := rand.Uint64()
		t.Log("seed", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		safe := c.safe(t, 1, newSigner(t).address)
		account := Account{devchain.ChainID, safe}
		for range 50 {
			tx := randomTransaction(r)
			got := w.view(t, safe, c.abi, "getTransactionHash", tx.To, tx.Value.ToBig(), tx.Data, uint8(tx.Operation), tx.SafeTxGas.ToBig(),
				tx.BaseGas.ToBig(), tx.GasPrice.ToBig(), tx.GasToken, tx.RefundReceiver, tx.Nonce.ToBig())[0]
			if got != [32]byte(tx.Hash(account)) {
				t.Fatalf("%+v: %s, by the contract %x", tx, tx.Hash(account), got)
			}
		}
	})
}

func randomTransaction(r *rand.Rand) *Transaction {
	blob := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	number := func() (x uint256.Int) {
		x.SetBytes(blob(r.IntN(33)))
		return x
	}
	return &Transaction{
		To: common.Address(blob(20)), Value: number(), Data: blob(r.IntN(200)), Operation: Operation(r.IntN(2)), SafeTxGas: number(), BaseGas: number(),
		GasPrice: number(), GasToken: common.Address(blob(20)), RefundReceiver: common.Address(blob(20)), Nonce: number(),
	}
}

// execute has a Safe's only signer execute a transaction, with the next nonce.
func (w *testbed) execute(t testing.TB, safe common.Address, o *signer, tx *Transaction) *types.Receipt {
	t.Helper()
	s := w.read(t, safe)
	tx.Nonce = *uint256.NewInt(s.Nonce)
	receipt, err := w.tryExecute(t.Context(), safe, o, tx, o.sign(t, EIP712, tx.Hash(s.Account)))
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func (w *testbed) tryExecute(ctx context.Context, safe common.Address, executor *signer, tx *Transaction, sigs ...Signature) (*types.Receipt, error) {
	data, err := CallData(tx, sigs)
	if err != nil {
		return nil, err
	}
	return w.chain.Execute(ctx, safe, data, executor.wallet)
}
