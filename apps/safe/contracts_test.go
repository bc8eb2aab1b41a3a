package safe

import (
	"crypto/rand"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/parley-im/parley/internal/devchain"
)

// contracts are those of Safes of one version, on a chain.
type contracts struct {
	version                                        Version
	singleton, factory, handler, multiSendCallOnly common.Address
	abi, handlerABI                                *abi.ABI
	testbed                                        *testbed
}

// npmVariable names a node_modules folder with the real contracts: .ci/run says
// in which packages. They are not ours to carry.
const npmVariable = "PARLEY_SAFE_NPM"

// npmPackages say where they are: folder, and the names that 1.3.0 has for them.
var npmPackages = map[string]struct{ name, singleton, factory string }{
	"1.3.0": {"@gnosis.pm/safe-contracts", "GnosisSafe", "GnosisSafeProxyFactory"},
	"1.4.1": {"@safe-global/safe-contracts", "Safe", "SafeProxyFactory"},
	"1.5.0": {"@safe-global/safe-smart-account", "Safe", "SafeProxyFactory"},
}

// contracts returns the development chain's own, or deploys the real ones of a
// version; without them the test is skipped.
func (w *testbed) contracts(t testing.TB, name string) *contracts {
	t.Helper()
	if name == "development" {
		i, err := devchain.SafeABI()
		if err != nil {
			t.Fatal(err)
		}
		return &contracts{
			V141, devchain.SafeSingleton, devchain.SafeFactory, devchain.SafeHandler, devchain.MultiSendCallOnly, i, nil, w,
		}
	}
	modules := os.Getenv(npmVariable)
	if modules == "" {
		t.Skipf("the real Safe %s is left out: %s names no node_modules folder with it", name, npmVariable)
	}
	c := &contracts{testbed: w, version: Version(name)}
	p := npmPackages[name]
	deploy := func(name string) (common.Address, *abi.ABI) {
		at, i := w.deployArtifact(t, filepath.Join(modules, p.name, "build/artifacts/contracts"), name)
		return at, i
	}
	c.singleton, c.abi = deploy(p.singleton)
	c.factory, _ = deploy("proxies/" + p.factory)
	c.handler, c.handlerABI = deploy("handler/CompatibilityFallbackHandler")
	c.multiSendCallOnly, _ = deploy("libraries/MultiSendCallOnly")
	return c
}

// deployArtifact deploys what Hardhat has compiled: dir/path.sol/Name.json.
func (w *testbed) deployArtifact(t testing.TB, dir, path string) (common.Address, *abi.ABI) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, path+".sol", filepath.Base(path)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		ABI      json.RawMessage
		Bytecode hexutil.Bytes
	}
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	i, err := abi.JSON(strings.NewReader(string(a.ABI)))
	if err != nil {
		t.Fatal(err)
	}
	at, err := w.dev.Deploy(t.Context(), a.Bytecode)
	if err != nil {
		t.Fatal(err)
	}
	return at, &i
}

// safe makes a Safe, with the same factory call in all versions.
func (c *contracts) safe(t testing.TB, threshold int, owners ...common.Address) common.Address {
	t.Helper()
	salt := make([]byte, 32)
	rand.Read(salt)
	return c.saltedSafe(t, new(big.Int).SetBytes(salt), threshold, owners...)
}

func (c *contracts) saltedSafe(t testing.TB, salt *big.Int, threshold int, owners ...common.Address) common.Address {
	t.Helper()
	none := common.Address{}
	setup, err := safeABI.Pack("setup", owners, big.NewInt(int64(threshold)), none, []byte{}, c.handler, none, new(big.Int), none)
	if err != nil {
		t.Fatal(err)
	}
	data, err := factoryABI.Pack("createProxyWithNonce", c.singleton, setup, salt)
	if err != nil {
		t.Fatal(err)
	}
	// Where it will be depends on neither sender nor block.
	result, err := c.testbed.dev.Client().CallContract(t.Context(), ethereum.CallMsg{To: &c.factory, Data: data}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.testbed.dev.Transact(t.Context(), c.factory, data); err != nil {
		t.Fatal(err)
	}
	return common.BytesToAddress(result)
}

var factoryABI = must(abi.JSON(strings.NewReader("[" +
	function("createProxyWithNonce", "address singleton", "bytes initializer", "uint256 saltNonce") + "]")))
