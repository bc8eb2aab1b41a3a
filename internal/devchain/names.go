package devchain

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/adraffy/go-ens-normalize/ensip15"
	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// ErrName is returned for a name that ENSIP-15 does not allow.
var ErrName = errors.New("devchain: invalid name")

// normalise returns the ENSIP-15 form of a name.
func normalise(name string) (string, error) {
	n, err := ensip15.Shared().Normalize(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrName, err)
	}
	if n == "" {
		return "", ErrName
	}
	return n, nil
}

// RegisterName makes addr the owner of a name and of all the chain has about
// it: the registry's record, the public resolver's address, and the reverse
// record, by which addr is shown as this name. Missing parents are made on the
// way. A name that exists is taken from its owner.
func (c *Chain) RegisterName(ctx context.Context, name string, addr common.Address) error {
	name, err := normalise(name)
	if err != nil {
		return err
	}
	if err := c.own(ctx, name, PublicResolver); err != nil {
		return err
	}
	node := nameHash(name)
	if err := c.call(ctx, "PublicResolver", "setAddr(bytes32,address)", node, addr); err != nil {
		return err
	}
	if err := c.call(ctx, "ENSRegistry", "setOwner", node, addr); err != nil {
		return err
	}
	return c.SetReverse(ctx, addr, name)
}

// SetAddr points a name to another address and leaves its owner and all reverse
// records as they are.
func (c *Chain) SetAddr(ctx context.Context, name string, addr common.Address) error {
	return c.asOwner(ctx, name, func(node common.Hash) error {
		return c.call(ctx, "PublicResolver", "setAddr(bytes32,address)", node, addr)
	})
}

// SetCoinAddr sets a name's address for a SLIP-44 coin type (EIP-2304), in that
// coin's binary form.
func (c *Chain) SetCoinAddr(ctx context.Context, name string, coinType uint64, addr []byte) error {
	return c.asOwner(ctx, name, func(node common.Hash) error {
		return c.call(ctx, "PublicResolver", "setAddr(bytes32,uint256,bytes)", node, new(big.Int).SetUint64(coinType), addr)
	})
}

// SetText sets a text record of a name (EIP-634).
func (c *Chain) SetText(ctx context.Context, name, key, value string) error {
	return c.asOwner(ctx, name, func(node common.Hash) error {
		return c.call(ctx, "PublicResolver", "setText", node, key, value)
	})
}

// SetReverse sets the name that an address claims to have (EIP-181). Nothing
// checks that the claim is true, here as on a real chain.
func (c *Chain) SetReverse(ctx context.Context, addr common.Address, name string) error {
	return c.call(ctx, "ReverseRegistrar", "setNameForAddr", addr, addr, PublicResolver, name)
}

// SetResolver makes a name, which the chain itself will own, answer through a
// resolver: WildcardResolver, OffchainResolver, or any address at all.
func (c *Chain) SetResolver(ctx context.Context, name string, resolver common.Address) error {
	name, err := normalise(name)
	if err != nil {
		return err
	}
	return c.own(ctx, name, resolver)
}

// WildcardAddress is the address that WildcardResolver gives to a name: the
// last 20 bytes of the Keccak-256 of its first label.
func WildcardAddress(name string) common.Address {
	label, _, _ := strings.Cut(name, ".")
	return common.BytesToAddress(crypto.Keccak256([]byte(label)))
}

// own makes the faucet the owner of a name, and of every parent that nobody
// owns, and sets the name's resolver.
func (c *Chain) own(ctx context.Context, name string, resolver common.Address) error {
	labels := strings.Split(name, ".")
	for i := len(labels) - 1; i >= 0; i-- {
		parent := nameHash(strings.Join(labels[i+1:], "."))
		label := crypto.Keccak256Hash([]byte(labels[i]))
		if i == 0 {
			return c.call(ctx, "ENSRegistry", "setSubnodeRecord", parent, label, c.faucet.address, resolver, uint64(0))
		}
		node := nameHash(strings.Join(labels[i:], "."))
		owner, err := c.owner(ctx, node)
		if err != nil {
			return err
		}
		switch owner {
		case c.faucet.address:
		case common.Address{}:
			err = c.call(ctx, "ENSRegistry", "setSubnodeOwner", parent, label, c.faucet.address)
		default:
			err = fmt.Errorf("devchain: %s belongs to %s", strings.Join(labels[i:], "."), owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// asOwner lends a name to the faucet while it writes a record, and gives the
// name back.
func (c *Chain) asOwner(ctx context.Context, name string, write func(common.Hash) error) error {
	name, err := normalise(name)
	if err != nil {
		return err
	}
	node := nameHash(name)
	owner, err := c.owner(ctx, node)
	if err != nil {
		return err
	}
	if owner == (common.Address{}) {
		return fmt.Errorf("devchain: %s is not registered", name)
	}
	first, rest, _ := strings.Cut(name, ".")
	parent, label := nameHash(rest), crypto.Keccak256Hash([]byte(first))
	if err := c.call(ctx, "ENSRegistry", "setSubnodeOwner", parent, label, c.faucet.address); err != nil {
		return err
	}
	err = write(node)
	return errors.Join(err, c.call(ctx, "ENSRegistry", "setSubnodeOwner", parent, label, owner))
}

func (c *Chain) owner(ctx context.Context, node common.Hash) (common.Address, error) {
	data, err := pack("ENSRegistry", "owner", node)
	if err != nil {
		return common.Address{}, err
	}
	out, err := c.client.CallContract(ctx, ethereum.CallMsg{To: &Registry, Data: data}, nil)
	if err != nil {
		return common.Address{}, fmt.Errorf("devchain: %w", err)
	}
	return common.BytesToAddress(out), nil
}

// call sends a transaction to one of our contracts.
func (c *Chain) call(ctx context.Context, contract, method string, args ...any) error {
	data, err := pack(contract, method, args...)
	if err != nil {
		return err
	}
	if err := c.transact(ctx, contracts[contract], nil, data); err != nil {
		return fmt.Errorf("%s.%s: %w", contract, method, err)
	}
	return nil
}
