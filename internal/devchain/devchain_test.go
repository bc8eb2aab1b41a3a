package devchain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
)

func start(t testing.TB) *Chain {
	t.Helper()
	c, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// ask calls a view method of one of our contracts over HTTP.
func ask(t *testing.T, c *Chain, contract, name string, args ...any) []any {
	t.Helper()
	client, err := ethclient.Dial(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	data, err := pack(contract, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	m, err := method(contract, name)
	if err != nil {
		t.Fatal(err)
	}
	to := contracts[contract]
	out, err := client.CallContract(t.Context(), ethereum.CallMsg{To: &to, Data: data}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := m.Outputs.Unpack(out)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The artefacts were compiled from the sources beside them.
func TestArtefactsMatchSources(t *testing.T) {
	files, err := filepath.Glob("contracts/*.sol")
	if err != nil || len(files) == 0 {
		t.Fatal("no sources", err)
	}
	h := sha256.New()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s\n%d\n%s", filepath.Base(f), len(b), b)
	}
	want := hex.EncodeToString(h.Sum(nil))
	for name := range contracts {
		a, err := loadArtifact(name)
		if err != nil {
			t.Fatal(err)
		}
		if a.SourceHash != want {
			t.Errorf("%s is stale: run go generate (contracts/build.mjs says how)", name)
		}
		if len(a.DeployedBytecode) == 0 {
			t.Errorf("%s has no code", name)
		}
	}
}

func TestNames(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	alice := common.HexToAddress("0xa11ce")
	other := common.HexToAddress("0x0e4")

	if err := c.RegisterName(ctx, "Alice.eth", alice); err != nil {
		t.Fatal(err)
	}

	node := nameHash("alice.eth")
	if got := ask(t, c, "ENSRegistry", "owner", node)[0]; got != alice {
		t.Errorf("owner is %v", got)
	}
	if got := ask(t, c, "ENSRegistry", "resolver", node)[0]; got != PublicResolver {
		t.Errorf("resolver is %v", got)
	}
	if got := ask(t, c, "PublicResolver", "addr(bytes32)", node)[0]; got != alice {
		t.Errorf("addr is %v", got)
	}
	if got := ask(t, c, "PublicResolver", "addr(bytes32,uint256)", node, big.NewInt(60))[0].([]byte); !bytes.Equal(got, alice[:]) {
		t.Errorf("addr 60 is %x", got)
	}
	reverse := nameHash(hex.EncodeToString(alice[:]) + ".addr.reverse")
	if got := ask(t, c, "ReverseRegistrar", "node", alice)[0]; got != [32]byte(reverse) {
		t.Errorf("reverse node is %x, want %x", got, reverse)
	}
	if got := ask(t, c, "PublicResolver", "name", reverse)[0]; got != "alice.eth" {
		t.Errorf("reverse name is %v", got)
	}

	if err := c.SetAddr(ctx, "alice.eth", other); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, "PublicResolver", "addr(bytes32)", node)[0]; got != other {
		t.Errorf("addr is %v after SetAddr", got)
	}
	if got := ask(t, c, "ENSRegistry", "owner", node)[0]; got != alice {
		t.Errorf("SetAddr changed the owner to %v", got)
	}
	if err := c.SetText(ctx, "alice.eth", "org.example", "hello"); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, "PublicResolver", "text", node, "org.example")[0]; got != "hello" {
		t.Errorf("text is %v", got)
	}
	if err := c.RegisterName(ctx, "deep.under.example.eth", other); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, "PublicResolver", "addr(bytes32)", nameHash("deep.under.example.eth"))[0]; got != other {
		t.Errorf("deep name is %v", got)
	}

	if err := c.RegisterName(ctx, "bad name.eth", alice); err == nil {
		t.Error("an invalid name was registered")
	}
	if err := c.SetAddr(ctx, "nobody.eth", alice); err == nil {
		t.Error("an unregistered name was given an address")
	}
}

// A stranger's transaction is mined without anyone asking, and cannot write
// what belongs to another.
func TestTransactionFromOutside(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	mallory := crypto.PubkeyToAddress(key.PublicKey)
	if err := c.Fund(ctx, mallory, big.NewInt(1e18)); err != nil {
		t.Fatal(err)
	}
	if err := c.RegisterName(ctx, "bob.eth", common.HexToAddress("0xb0b")); err != nil {
		t.Fatal(err)
	}
	client, err := ethclient.Dial(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	id, err := client.ChainID(ctx)
	if err != nil || id.Uint64() != c.ChainID() {
		t.Fatalf("chain id %v, %v", id, err)
	}
	balance, err := client.BalanceAt(ctx, mallory, nil)
	if err != nil || balance.Cmp(big.NewInt(1e18)) != 0 {
		t.Fatalf("balance %v, %v", balance, err)
	}
	for _, try := range []struct {
		contract, method string
		args             []any
	}{
		{"ENSRegistry", "setOwner", []any{nameHash("bob.eth"), mallory}},
		{"ENSRegistry", "setSubnodeOwner", []any{nameHash("eth"), crypto.Keccak256Hash([]byte("bob")), mallory}},
		{"PublicResolver", "setAddr(bytes32,address)", []any{nameHash("bob.eth"), mallory}},
		{"ReverseRegistrar", "setNameForAddr", []any{common.HexToAddress("0xb0b"), mallory, PublicResolver, "mallory.eth"}},
	} {
		data, err := pack(try.contract, try.method, try.args...)
		if err != nil {
			t.Fatal(err)
		}
		to := contracts[try.contract]
		if _, err := client.EstimateGas(ctx, ethereum.CallMsg{From: mallory, To: &to, Data: data}); err == nil {
			t.Errorf("%s.%s was allowed", try.contract, try.method)
		}
	}
	// What is her own she may write: her reverse name.
	data, err := pack("ReverseRegistrar", "setName", "mallory.eth")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(1e10), Gas: 500_000, To: &ReverseRegistrar, Data: data,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SendTransaction(ctx, tx); err != nil {
		t.Fatal(err)
	}
	if err := c.wait(ctx, tx.Hash()); err != nil {
		t.Fatal(err)
	}
	reverse := nameHash(hex.EncodeToString(mallory[:]) + ".addr.reverse")
	if got := ask(t, c, "PublicResolver", "name", reverse)[0]; got != "mallory.eth" {
		t.Errorf("reverse name is %v", got)
	}
}

// Two chains run side by side, and closing one twice is fine.
func TestTwoChains(t *testing.T) {
	a, b := start(t), start(t)
	if a.URL() == b.URL() {
		t.Fatal("two chains share an address")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Fund(t.Context(), common.HexToAddress("0x1"), big.NewInt(1)); err != nil {
		t.Fatal(err)
	}
}
