package identity

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/ethereum/go-ethereum/common"
)

// ensUniversal is where every chain that has the universal resolver of ENSIP-23
// has it. It finds resolvers by itself, and by rules that may change; where it
// is missing, findResolver has those of ENSIP-10.
var ensUniversal = common.HexToAddress("0xeEeEEEeE14D718C2B47D9923Deab1335E144EeEe")

// batchGatewayURL in a list of gateways lets the client serve the batch protocol
// of ENSIP-21 itself, without a third party that sees all names.
const batchGatewayURL = "x-batch-gateway:true"

const (
	// MaxBatch is the largest number of look-ups in one batch.
	MaxBatch = 8
	// maxBatchDepth is how deep batches may be inside one another.
	maxBatchDepth = 2
)

var (
	selResolveWithGateways = [4]byte{0xa1, 0x47, 0x28, 0x44} // resolveWithGateways(bytes,bytes,string[])
	selBatchQuery          = [4]byte{0xa7, 0x80, 0xba, 0xb6} // query((address,string[],bytes)[])
	selError               = [4]byte{0x08, 0xc3, 0x79, 0xa0} // Error(string)
)

// The errors by which the universal resolver says that a name has no answer, for
// whatever reason. Its ResolverError holds a resolver's own refusal.
var (
	selResolverError     = [4]byte{0x95, 0xc0, 0xc7, 0x52} // ResolverError(bytes)
	selResolverNotFound  = [4]byte{0x77, 0x20, 0x9f, 0xe8} // ResolverNotFound(bytes)
	selResolverNoCode    = [4]byte{0x1e, 0x95, 0x35, 0xf2} // ResolverNotContract(bytes,address)
	selUnsupportedMethod = [4]byte{0x7b, 0x1c, 0x46, 0x1b} // UnsupportedResolverProfile(bytes4)
)

// hasUniversal reports whether the chain has a universal resolver. The answer is
// asked for until there is one, and then remembered.
func (e *ENS) hasUniversal(ctx context.Context) (bool, error) {
	if known := e.universal.Load(); known != nil {
		return *known, nil
	}
	code, err := e.client.CodeAt(ctx, ensUniversal, nil)
	if err != nil {
		return false, endpointError(err)
	}
	has := len(code) > 0
	e.universal.Store(&has)
	return has, nil
}

// askUniversal brings a question to the universal resolver and returns the
// answer of the name's resolver, as ask does.
func (e *ENS) askUniversal(ctx context.Context, name string, question []byte) ([]byte, error) {
	out, err := e.callOffchain(ctx, ensUniversal, callUniversal(dnsEncode(name), question))
	var r *revertError
	switch {
	case errors.As(err, &r):
		return nil, universalError(name, r)
	case err != nil:
		return nil, err
	}
	answer, err := abiBytes(out, 0)
	if err != nil {
		return nil, &unavailableError{what: "the universal resolver's answer makes no sense", err: err}
	}
	return answer, nil
}

// universalError tells what a revert of the universal resolver means.
func universalError(name string, r *revertError) error {
	is := func(sel [4]byte) bool { return bytes.HasPrefix(r.data, sel[:]) }
	if is(selResolverError) {
		// A look-up that it could not wrap.
		if inner, err := abiBytes(r.data[len(selResolverError):], 0); err == nil && isLookup(inner) {
			return &unavailableError{what: "the name's contract asks for an off-chain look-up of another contract"}
		}
	}
	switch {
	case is(selResolverNotFound):
		return notFound(name, errNoResolver)
	case is(selResolverNoCode), is(selUnsupportedMethod), is(selResolverError) && !r.gateway:
		return notFound(name, errors.New("its resolver refuses the question"))
	case r.gateway:
		return &unavailableError{what: "the name's contract refused its gateway's answer", err: r}
	}
	return &unavailableError{what: "the universal resolver refuses the question", err: r}
}

// callUniversal encodes resolveWithGateways(name, question, [batchGatewayURL]).
func callUniversal(name, question []byte) []byte {
	pad := func(n int) int { return (n + abiWord - 1) &^ (abiWord - 1) }
	b := append([]byte(nil), selResolveWithGateways[:]...)
	second := 3*abiWord + abiWord + pad(len(name))
	b = appendABIUint(b, 3*abiWord)
	b = appendABIUint(b, second)
	b = appendABIUint(b, second+abiWord+pad(len(question)))
	b = appendABIBytes(b, name)
	b = appendABIBytes(b, question)
	b = appendABIUint(b, 1)       // one URL,
	b = appendABIUint(b, abiWord) // after its offset
	return appendABIBytes(b, []byte(batchGatewayURL))
}

// decodeBatch reads the callData of a batch.
func decodeBatch(callData []byte) ([]*offchainLookup, error) {
	if !bytes.HasPrefix(callData, selBatchQuery[:]) || len(callData) > MaxLookup {
		return nil, errABI
	}
	b := callData[len(selBatchQuery):]
	off, err := abiUint(b, 0, len(b))
	if err != nil {
		return nil, err
	}
	n, err := abiUint(b, off, MaxBatch)
	if err != nil {
		return nil, err
	}
	b = b[off+abiWord:]
	list := make([]*offchainLookup, n)
	for i := range list {
		at, err := abiUint(b, i*abiWord, len(b))
		if err != nil {
			return nil, err
		}
		query := b[at:]
		l := new(offchainLookup)
		if l.sender, err = abiAddress(query, 0); err != nil {
			return nil, err
		}
		if l.urls, err = abiStrings(query, abiWord); err != nil {
			return nil, err
		}
		if l.callData, err = abiBytes(query, 2*abiWord); err != nil {
			return nil, err
		}
		list[i] = l
	}
	return list, nil
}

// encodeBatchAnswer encodes (bool[] failures, bytes[] responses).
func encodeBatchAnswer(failed []bool, answers [][]byte) []byte {
	n := len(answers)
	b := appendABIUint(nil, 2*abiWord)
	b = appendABIUint(b, 3*abiWord+n*abiWord)
	b = appendABIUint(b, n)
	for _, f := range failed {
		v := 0
		if f {
			v = 1
		}
		b = appendABIUint(b, v)
	}
	b = appendABIUint(b, n)
	var tails []byte
	for _, a := range answers {
		b = appendABIUint(b, n*abiWord+len(tails))
		tails = appendABIBytes(tails, a)
	}
	return append(b, tails...)
}

// batchFailure stands for an answer that no gateway gave: Error("unavailable").
var batchFailure = appendABIBytes(appendABIUint(selError[:len(selError):len(selError)], abiWord), []byte("unavailable"))

// askBatch serves a batch: each of its look-ups goes to its own gateways. A
// look-up that fails is the contract's to judge, unless all of them do.
func (g *gateways) askBatch(ctx context.Context, callData []byte, depth int) ([]byte, error) {
	queries, err := decodeBatch(callData)
	if err != nil || depth > maxBatchDepth {
		return nil, &unavailableError{what: "the name's contract asks for a malformed off-chain look-up", err: err}
	}
	failed, answers := make([]bool, len(queries)), make([][]byte, len(queries))
	var last error
	for i, l := range queries {
		answers[i], err = g.ask(ctx, l, depth)
		if err != nil {
			failed[i], answers[i], last = true, batchFailure, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if last != nil && (ctx.Err() != nil || !slices.Contains(failed, false)) {
		return nil, last
	}
	return encodeBatchAnswer(failed, answers), nil
}
