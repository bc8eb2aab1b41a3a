package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

const (
	// MaxRPCAnswer is the largest answer of an RPC endpoint in bytes.
	MaxRPCAnswer = 4 << 20
	// MaxLookups is how many times in a row one question may be sent off chain
	// (ERC-3668 leaves the number to clients; they use four).
	MaxLookups = 4
)

// unavailableError is an ErrNameUnavailable with its cause. Its text has what
// happened and nothing that the other side chose, nor the endpoint's URL, which
// often holds a key.
type unavailableError struct {
	what string
	err  error // or nil
}

func (e *unavailableError) Error() string { return ErrNameUnavailable.Error() + ": " + e.what }

func (e *unavailableError) Unwrap() []error {
	if e.err == nil {
		return []error{ErrNameUnavailable}
	}
	return []error{ErrNameUnavailable, e.err}
}

// ErrRPCURL is returned by [DialENS] for a string that names no endpoint. It does
// not repeat the string, which often holds a key.
var ErrRPCURL = errors.New("identity: bad RPC URL")

var (
	errAnswerTooLarge = errors.New("identity: answer is too large")
	errRedirect       = errors.New("identity: redirects are not followed")
)

// endpointError makes an ErrNameUnavailable of what the RPC client returned.
func endpointError(err error) error {
	what := "the RPC endpoint's answer makes no sense"
	var (
		httpErr rpc.HTTPError
		rpcErr  rpc.Error
		netErr  net.Error
	)
	switch {
	case errors.Is(err, context.Canceled):
		what = "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		what = "the RPC endpoint did not answer in time"
	case errors.Is(err, errAnswerTooLarge):
		what = "the RPC endpoint's answer is too large"
	case errors.As(err, &httpErr):
		what = fmt.Sprintf("the RPC endpoint answered with HTTP status %d", httpErr.StatusCode)
	case errors.As(err, &rpcErr):
		what = fmt.Sprintf("the RPC endpoint answered with error code %d", rpcErr.ErrorCode())
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = "the RPC endpoint cannot be reached"
	}
	return &unavailableError{what: what, err: err}
}

// revertError is a contract's refusal. It is the chain's own answer, and so not
// an ErrNameUnavailable by itself.
type revertError struct {
	data []byte // what the contract said, or empty
	// gateway says that a gateway's answer was part of the call, which the
	// contract may have refused.
	gateway bool
}

func (e *revertError) Error() string { return "identity: contract reverted" }

// revertOf finds the revert in an error of an eth_call, or returns nil. Nodes
// give code 3 and the data (geth, EIP-1474 drafts), another code and the data,
// or no data and a text that begins the same everywhere.
func revertOf(err error) *revertError {
	var rpcErr rpc.Error
	if !errors.As(err, &rpcErr) {
		return nil
	}
	var dataErr rpc.DataError
	if errors.As(err, &dataErr) {
		if s, ok := dataErr.ErrorData().(string); ok {
			s = strings.TrimPrefix(s, "Reverted ")
			if data, err := hexutil.Decode(s); err == nil {
				return &revertError{data: data}
			}
		}
	}
	if rpcErr.ErrorCode() == 3 || strings.HasPrefix(rpcErr.Error(), "execution reverted") {
		return &revertError{}
	}
	return nil
}

// call asks a contract. It fails with a *revertError or an ErrNameUnavailable.
func (e *ENS) call(ctx context.Context, to common.Address, data []byte) ([]byte, error) {
	out, err := e.client.CallContract(ctx, ethereum.CallMsg{To: &to, Data: data}, nil)
	if err == nil {
		return out, nil
	}
	if r := revertOf(err); r != nil {
		return nil, r
	}
	return nil, endpointError(err)
}

// callOffchain asks a contract and follows it to gateways (ERC-3668). It fails as
// call does.
func (e *ENS) callOffchain(ctx context.Context, to common.Address, data []byte) ([]byte, error) {
	for hop := 0; ; hop++ {
		out, err := e.call(ctx, to, data)
		var r *revertError
		if !errors.As(err, &r) {
			return out, err
		}
		r.gateway = hop > 0
		if !isLookup(r.data) {
			return nil, r
		}
		if hop == MaxLookups {
			return nil, &unavailableError{what: "the name's contract asks for too many off-chain look-ups"}
		}
		l, err := decodeLookup(r.data)
		if err != nil {
			return nil, &unavailableError{what: "the name's contract asks for a malformed off-chain look-up", err: err}
		}
		// Another contract's error, passed on by one that did not look at it: its
		// callback is not for us to call.
		if l.sender != to {
			return nil, &unavailableError{what: "the name's contract asks for an off-chain look-up of another contract"}
		}
		answer, err := e.gateways.ask(ctx, l, 0)
		if err != nil {
			return nil, err
		}
		data = callBytesPair(l.callback, answer, l.extra)
	}
}

// boundedTransport is an http.RoundTripper that ends answers after MaxRPCAnswer
// bytes.
type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > MaxRPCAnswer {
		resp.Body.Close()
		return nil, errAnswerTooLarge
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: MaxRPCAnswer}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int64 // bytes that may still come
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errAnswerTooLarge
	}
	// One byte more than allowed tells an end from an excess.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, errAnswerTooLarge
	}
	return n, err
}

// dialRPC connects to an endpoint with the bounds of this package. Redirects are
// not followed: the user named an endpoint, and no other.
func dialRPC(ctx context.Context, rpcURL string) (*rpc.Client, *http.Transport, error) {
	u, err := url.Parse(rpcURL)
	if err != nil || rpcURL == "" {
		return nil, nil, ErrRPCURL
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
		if u.Host == "" {
			return nil, nil, fmt.Errorf("%w: it has no host", ErrRPCURL)
		}
	case "":
	default:
		return nil, nil, fmt.Errorf("%w: it is http, https, ws, wss or the path of a socket", ErrRPCURL)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	client, err := rpc.DialOptions(
		ctx, rpcURL,
		rpc.WithHTTPClient(&http.Client{
			Transport:     boundedTransport{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		rpc.WithWebsocketMessageSizeLimit(MaxRPCAnswer),
	)
	if err != nil {
		return nil, nil, endpointError(err)
	}
	return client, transport, nil
}
