package devchain

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Gateway is how OffchainResolver behaves.
type Gateway struct {
	// URLs are the gateways it names, templates as ERC-3668 has them.
	URLs []string
	// Hops is how many look-ups it asks for before it takes an answer; 0 and 1
	// are both one.
	Hops uint64
	// Sender is the address it names as the error's sender. Zero is its own,
	// which alone is right.
	Sender common.Address
}

// SetGateway configures OffchainResolver. The answers that it accepts are
// those that SignAnswer makes.
func (c *Chain) SetGateway(ctx context.Context, g Gateway) error {
	if g.URLs == nil {
		g.URLs = []string{}
	}
	hops := new(big.Int).SetUint64(g.Hops)
	return c.call(ctx, "OffchainResolver", "configure", g.URLs, c.faucet.address, hops, g.Sender)
}

// bytesPair is the tuple (bytes, bytes).
var bytesPair = func() abi.Arguments {
	t, err := abi.NewType("bytes", "", nil)
	if err != nil {
		panic(err) // "bytes" is a type
	}
	return abi.Arguments{{Type: t}, {Type: t}}
}()

// DecodeQuestion takes apart the callData that a client brings to a gateway of
// OffchainResolver: resolve(bytes name, bytes data) of ENSIP-10, with name in
// DNS wire form.
func DecodeQuestion(callData []byte) (name, data []byte, err error) {
	if len(callData) < 4 {
		return nil, nil, errors.New("devchain: question is too short")
	}
	v, err := bytesPair.Unpack(callData[4:])
	if err != nil {
		return nil, nil, fmt.Errorf("devchain: question: %w", err)
	}
	return v[0].([]byte), v[1].([]byte), nil
}

// SignAnswer makes the response of a gateway: result is the ABI encoding of
// what the question's data asks for, and callData is the question as it came.
func (c *Chain) SignAnswer(callData, result []byte) ([]byte, error) {
	digest := crypto.Keccak256([]byte("gateway"), OffchainResolver[:], crypto.Keccak256(callData), crypto.Keccak256(result))
	sig, err := crypto.Sign(digest, c.faucet.key)
	if err != nil {
		return nil, fmt.Errorf("devchain: %w", err)
	}
	sig[64] += 27
	out, err := bytesPair.Pack(result, sig)
	if err != nil {
		return nil, fmt.Errorf("devchain: %w", err)
	}
	return out, nil
}
