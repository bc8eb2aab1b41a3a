package identity

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/accounts/abi/bind"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/wealdtech/go-ens/v3/contracts/registry"
	"github.com/wealdtech/go-ens/v3/contracts/resolver"
)

// ensRegistry is where the registry is on every chain that has ENS.
var ensRegistry = common.HexToAddress("0x00000000000C2E074eC69A0dFb2997BA6C7d2e1e")

// coinTypeEther is Ethereum's coin type in SLIP-44.
const coinTypeEther = 60

// defaultENSTimeout bounds a Resolve when the options do not.
const defaultENSTimeout = 20 * time.Second

// ENSOptions adjusts an [ENS]; the zero value, or nil, is right for a public
// chain.
type ENSOptions struct {
	// Timeout bounds each Resolve and each Reverse as a whole. Zero is 20 s.
	Timeout time.Duration
	// AllowLoopbackGateways admits gateways on loopback addresses, and http to
	// them, for development chains. Without it a name could make this program
	// talk to services of the machine it runs on.
	AllowLoopbackGateways bool
}

// ENS resolves names of the Ethereum Name Service over an RPC endpoint. It is a
// [Resolver] and a [ReverseResolver], and safe for concurrent use.
//
// It trusts the endpoint for the chain's state, and nobody else: names are
// normalised by ENSIP-15 before they are hashed, resolvers are found by the
// universal resolver where the chain has one (ENSIP-23) and through the registry
// otherwise, wildcards included (ENSIP-10), off-chain answers count only when
// the contract's callback accepts them (ERC-3668), and a reverse record only
// when the name leads back.
type ENS struct {
	client    *ethclient.Client
	transport *http.Transport // of the client, or nil
	gateways  *gateways
	timeout   time.Duration
	universal atomic.Pointer[bool] // what hasUniversal found, or nil
}

var (
	_ Resolver        = (*ENS)(nil)
	_ ReverseResolver = (*ENS)(nil)
)

// DialENS returns an ENS at an RPC endpoint: an http, https, ws or wss URL or
// the path of a socket; anything else is [ErrRPCURL]. It bounds the size of every
// answer. Over HTTP nothing is sent before the first question, so an endpoint
// that is down shows as [ErrNameUnavailable] there. Close releases it.
func DialENS(ctx context.Context, rpcURL string, opts *ENSOptions) (*ENS, error) {
	client, transport, err := dialRPC(ctx, rpcURL)
	if err != nil {
		return nil, err
	}
	e := NewENS(ethclient.NewClient(client), opts)
	e.transport = transport
	return e, nil
}

// NewENS returns an ENS on a client that the caller has, which Close closes. How
// large an answer may be is then up to that client.
func NewENS(client *ethclient.Client, opts *ENSOptions) *ENS {
	if opts == nil {
		opts = &ENSOptions{}
	}
	e := &ENS{
		client:   client,
		gateways: newGateways(opts.AllowLoopbackGateways),
		timeout:  opts.Timeout,
	}
	if e.timeout <= 0 {
		e.timeout = defaultENSTimeout
	}
	return e
}

// Close releases the connections.
func (e *ENS) Close() {
	e.client.Close()
	e.gateways.close()
	if e.transport != nil {
		e.transport.CloseIdleConnections()
	}
}

// Resolve returns the Ethereum address of a name (coin type 60), as [Resolver]
// has it.
func (e *ENS) Resolve(ctx context.Context, name string) (Address, error) {
	name, err := NormalizeName(name)
	if err != nil {
		return Address{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	return e.forward(ctx, name)
}

// Reverse returns the name of an address, as [ReverseResolver] has it.
func (e *ENS) Reverse(ctx context.Context, addr Address) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	node := hex.EncodeToString(addr[:]) + ".addr.reverse"
	out, err := e.ask(ctx, node, "name", nameHash(node))
	if err != nil {
		return "", err
	}
	claim, err := abiBytes(out, 0)
	if err != nil || len(claim) == 0 {
		return "", fmt.Errorf("%w: %s has no name", ErrNameNotFound, addr)
	}
	// A claim counts only in normal form: what is shown is what was checked.
	name, err := NormalizeName(string(claim))
	if err != nil || name != string(claim) {
		return "", fmt.Errorf("%w: %s claims a name that is not valid", ErrNameNotFound, addr)
	}
	switch back, err := e.forward(ctx, name); {
	case errors.Is(err, ErrNameUnavailable):
		return "", err
	case err != nil || back != addr:
		return "", fmt.Errorf("%w: %s claims %s, which does not lead to it", ErrNameNotFound, addr, name)
	}
	return name, nil
}

// forward resolves a normalised name.
func (e *ENS) forward(ctx context.Context, name string) (Address, error) {
	node := nameHash(name)
	// addr(bytes32) is the profile that every resolver has. One that has only
	// that of EIP-2304 refuses it, and is asked again.
	out, err := e.ask(ctx, name, "addr", node)
	if err == nil {
		a, err := abiAddress(out, 0)
		if err == nil && a != (common.Address{}) {
			return Address(a), nil
		}
	} else if !errors.Is(err, ErrNameNotFound) {
		return Address{}, err
	}
	none := notFound(name, errors.New("it has no Ethereum address"))
	if errors.Is(err, errNoResolver) {
		return Address{}, err
	}
	out, err = e.ask(ctx, name, "addr0", node, big.NewInt(coinTypeEther))
	switch {
	case errors.Is(err, ErrNameNotFound):
		return Address{}, none
	case err != nil:
		return Address{}, err
	}
	a, err := abiBytes(out, 0)
	if err != nil || len(a) != AddressSize || Address(a).IsZero() {
		return Address{}, none
	}
	return Address(a), nil
}

// errNoResolver is inside the ErrNameNotFound of a name that no resolver answers
// for.
var errNoResolver = errors.New("nobody has registered it")

// notFound is an ErrNameNotFound for a normalised name.
func notFound(name string, why error) error {
	return fmt.Errorf("%w: %s: %w", ErrNameNotFound, name, why)
}

// ask brings a question, a method of go-ens's resolver binding, to the resolver
// of a name, and returns the ABI encoding of the answer, which may be anything.
// It fails with an ErrNameNotFound when the resolver refuses the question.
func (e *ENS) ask(ctx context.Context, name, method string, args ...any) ([]byte, error) {
	abi, err := resolver.ContractMetaData.GetAbi()
	if err != nil {
		return nil, &unavailableError{what: "internal error", err: err}
	}
	question, err := abi.Pack(method, args...)
	if err != nil {
		return nil, &unavailableError{what: "internal error", err: err}
	}
	if has, err := e.hasUniversal(ctx); err != nil {
		return nil, err
	} else if has {
		return e.askUniversal(ctx, name, question)
	}
	at, exact, err := e.findResolver(ctx, name)
	if err != nil {
		return nil, err
	}
	extended, err := e.isExtended(ctx, at)
	if err != nil {
		return nil, err
	}
	switch {
	case extended:
		question = callBytesPair(selResolve, dnsEncode(name), question)
	case !exact:
		// A parent's resolver that is not made for it says nothing about this name.
		return nil, notFound(name, errNoResolver)
	}
	out, err := e.callOffchain(ctx, at, question)
	var r *revertError
	if errors.As(err, &r) {
		if r.gateway {
			return nil, &unavailableError{what: "the name's contract refused its gateway's answer", err: err}
		}
		return nil, notFound(name, errors.New("its resolver refuses the question"))
	}
	if err != nil || !extended {
		return out, err
	}
	if out, err = abiBytes(out, 0); err != nil {
		return nil, notFound(name, errors.New("its resolver's answer makes no sense"))
	}
	return out, nil
}

// findResolver looks for the resolver of a name or else of its closest parent
// that has one (ENSIP-10). exact says that it is the name's own.
func (e *ENS) findResolver(ctx context.Context, name string) (at common.Address, exact bool, err error) {
	reg, err := registry.NewContractCaller(ensRegistry, e.client)
	if err != nil {
		return at, false, &unavailableError{what: "internal error", err: err}
	}
	for current := name; current != ""; {
		at, err = reg.Resolver(&bind.CallOpts{Context: ctx}, nameHash(current))
		switch {
		case errors.Is(err, bind.ErrNoCode):
			return at, false, &unavailableError{what: "this chain has no ENS registry", err: err}
		case err != nil:
			return at, false, endpointError(err)
		case at != (common.Address{}):
			return at, current == name, nil
		}
		_, current, _ = strings.Cut(current, ".")
	}
	return at, false, notFound(name, errNoResolver)
}

// abiTrue is the ABI encoding of true.
var abiTrue = append(make([]byte, abiWord-1), 1)

// isExtended asks a resolver by EIP-165 whether it has resolve(bytes,bytes) of
// ENSIP-10. A contract that refuses the question, or has no code, has not.
func (e *ENS) isExtended(ctx context.Context, at common.Address) (bool, error) {
	abi, err := resolver.ContractMetaData.GetAbi()
	if err != nil {
		return false, &unavailableError{what: "internal error", err: err}
	}
	question, err := abi.Pack("supportsInterface", selResolve)
	if err != nil {
		return false, &unavailableError{what: "internal error", err: err}
	}
	out, err := e.call(ctx, at, question)
	var r *revertError
	if errors.As(err, &r) {
		return false, nil
	}
	return bytes.Equal(out, abiTrue), err
}
