package devchain

import (
	"embed"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

//go:generate node contracts/build.mjs

// Where the contracts are. contracts/Addresses.sol has the same list.
var (
	// Registry is the canonical address of the ENS registry.
	Registry = common.HexToAddress("0x00000000000C2E074eC69A0dFb2997BA6C7d2e1e")
	// PublicResolver holds the records of every name that RegisterName makes.
	PublicResolver = common.HexToAddress("0x00dec0DE00000000000000000000000000000001")
	// ReverseRegistrar owns addr.reverse.
	ReverseRegistrar = common.HexToAddress("0x00Dec0DE00000000000000000000000000000002")
	// WildcardResolver answers for every name below the one it is set on
	// (ENSIP-10): WildcardAddress says with what.
	WildcardResolver = common.HexToAddress("0x00Dec0De00000000000000000000000000000003")
	// OffchainResolver sends its clients to a gateway (ERC-3668): see
	// SetGateway.
	OffchainResolver = common.HexToAddress("0x00dEc0DE00000000000000000000000000000004")
	// UniversalResolver is where every chain has it that has one (ENSIP-23), here
	// with Options.UniversalResolver.
	UniversalResolver = common.HexToAddress("0xeEeEEEeE14D718C2B47D9923Deab1335E144EeEe")

	// The contracts of Safes are where most chains have those of version 1.4.1,
	// so that what sends transactions to MultiSendCallOnly finds it.
	SafeSingleton     = common.HexToAddress("0x41675C099F32341bf84BFc5382aF534df5C7461a")
	SafeFactory       = common.HexToAddress("0x4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67")
	SafeHandler       = common.HexToAddress("0xfd0732Dc9E303f09fCEf3a7388Ad10A83459Ec99")
	MultiSend         = common.HexToAddress("0x38869bf66a61cF6bDB996A6aE40D5853Fd43B526")
	MultiSendCallOnly = common.HexToAddress("0x9641d764fc13c8B624c04430C7356C1C7C8102e2")
	// Token is an ERC-20 token of six decimals: see Mint.
	Token = common.HexToAddress("0x00DEC0dE00000000000000000000000000000005")
)

//go:embed contracts/artifacts/*.json
var artifacts embed.FS

// artifact is a compiled contract as contracts/build.mjs writes it.
type artifact struct {
	SourceHash       string          `json:"sourceHash"`
	ABI              json.RawMessage `json:"abi"`
	Bytecode         hexutil.Bytes   `json:"bytecode"`
	DeployedBytecode hexutil.Bytes   `json:"deployedBytecode"`
}

func loadArtifact(name string) (*artifact, error) {
	b, err := artifacts.ReadFile("contracts/artifacts/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("devchain: %w", err)
	}
	a := new(artifact)
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("devchain: artefact %s: %w", name, err)
	}
	return a, nil
}

// abis are the parsed interfaces of our contracts, by contract name.
var abis = sync.OnceValues(func() (map[string]*abi.ABI, error) {
	parsed := make(map[string]*abi.ABI)
	for name := range contracts {
		a, err := loadArtifact(name)
		if err != nil {
			return nil, err
		}
		i, err := abi.JSON(strings.NewReader(string(a.ABI)))
		if err != nil {
			return nil, fmt.Errorf("devchain: artefact %s: %w", name, err)
		}
		parsed[name] = &i
	}
	return parsed, nil
})

// method finds a function of one of our contracts, by name or, where several
// share one, by signature.
func method(contract, name string) (*abi.Method, error) {
	all, err := abis()
	if err != nil {
		return nil, err
	}
	for _, m := range all[contract].Methods {
		if m.Name == name || m.Sig == name {
			return &m, nil
		}
	}
	return nil, fmt.Errorf("devchain: %s has no %s", contract, name)
}

// pack makes the call data for a function, which method finds.
func pack(contract, name string, args ...any) ([]byte, error) {
	m, err := method(contract, name)
	if err != nil {
		return nil, err
	}
	data, err := m.Inputs.Pack(args...)
	if err != nil {
		return nil, fmt.Errorf("devchain: %s.%s: %w", contract, name, err)
	}
	return append(m.ID[:len(m.ID):len(m.ID)], data...), nil
}

// contracts are our contracts and where the genesis block has them.
var contracts = map[string]common.Address{
	"ENSRegistry":       Registry,
	"PublicResolver":    PublicResolver,
	"ReverseRegistrar":  ReverseRegistrar,
	"WildcardResolver":  WildcardResolver,
	"OffchainResolver":  OffchainResolver,
	"UniversalResolver": UniversalResolver,
	"Safe":              SafeSingleton,
	"SafeProxyFactory":  SafeFactory,
	"SafeHandler":       SafeHandler,
	"MultiSend":         MultiSend,
	"MultiSendCallOnly": MultiSendCallOnly,
	"Token":             Token,
}

// genesis is the state of block 0: the contracts, their first records, and the
// faucet's ether.
func genesis(faucet common.Address, opts Options) (types.GenesisAlloc, error) {
	alloc := types.GenesisAlloc{faucet: {Balance: faucetWei}}
	for name, at := range contracts {
		if at == UniversalResolver && !opts.UniversalResolver {
			continue
		}
		a, err := loadArtifact(name)
		if err != nil {
			return nil, err
		}
		alloc[at] = types.Account{Code: a.DeployedBytecode, Nonce: 1, Balance: common.Big0, Storage: map[common.Hash]common.Hash{}}
	}
	own := func(node common.Hash, owner common.Address) {
		alloc[Registry].Storage[mapSlot(node, 0)] = common.BytesToHash(owner[:])
	}
	own(common.Hash{}, faucet)
	own(nameHash("eth"), faucet)
	own(nameHash("reverse"), faucet)
	own(nameHash("addr.reverse"), ReverseRegistrar)
	// The faucet is a controller of the reverse registrar.
	alloc[ReverseRegistrar].Storage[mapSlot(common.BytesToHash(faucet[:]), 0)] = common.BigToHash(common.Big1)
	// What its constructor would have done: nobody can set the singleton up.
	alloc[SafeSingleton].Storage[common.BigToHash(big.NewInt(4))] = common.BigToHash(common.Big1)
	return alloc, nil
}

// mapSlot is the storage slot of m[key] for a mapping m that stands in the
// given slot.
func mapSlot(key common.Hash, slot uint64) common.Hash {
	at := common.BigToHash(new(big.Int).SetUint64(slot))
	return crypto.Keccak256Hash(key[:], at[:])
}

// nameHash is EIP-137's namehash of a normalised name.
func nameHash(name string) common.Hash {
	var node common.Hash
	if name == "" {
		return node
	}
	labels := strings.Split(name, ".")
	for i := len(labels) - 1; i >= 0; i-- {
		node = crypto.Keccak256Hash(node[:], crypto.Keccak256([]byte(labels[i])))
	}
	return node
}
