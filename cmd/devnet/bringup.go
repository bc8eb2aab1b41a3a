package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/ethclient"
	"golang.org/x/sync/errgroup"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// startChain brings up the chain, and asks it from outside who it is.
func (s *story) startChain(ctx context.Context) (string, error) {
	chain, err := devchain.Start(ctx)
	if err != nil {
		return "", err
	}
	s.w.chain = chain
	s.out.note("JSON-RPC at %s", chain.URL())
	client, err := ethclient.DialContext(ctx, chain.URL())
	if err != nil {
		return "", err
	}
	defer client.Close()
	id, err := client.ChainID(ctx)
	if err != nil {
		return "", err
	}
	if !id.IsUint64() || id.Uint64() != devchain.ChainID {
		return "", fmt.Errorf("the endpoint is of chain %v", id)
	}
	code, err := client.CodeAt(ctx, devchain.Registry, nil)
	if err != nil {
		return "", err
	}
	if len(code) == 0 {
		return "", fmt.Errorf("no ENS registry at %s", devchain.Registry)
	}
	s.details["url"], s.details["chainId"] = chain.URL(), id.Uint64()
	s.details["registry"], s.details["registryBytes"] = devchain.Registry.Hex(), len(code)
	return fmt.Sprintf("chain %v answers, and has the ENS registry at %s", id, devchain.Registry), nil
}

// bringUp makes the three people, with names on the chain, and opens their
// clients and the eavesdropper's node.
func (s *story) bringUp(ctx context.Context) (string, error) {
	w := s.w
	for _, slot := range []struct {
		p    **person
		name string
	}{{&w.alice, "alice"}, {&w.bob, "bob"}, {&w.carol, "carol"}} {
		p, err := w.newPerson(slot.name)
		if err != nil {
			return "", err
		}
		*slot.p = p
		if err := w.chain.RegisterName(ctx, p.ens, [20]byte(p.address())); err != nil {
			return "", err
		}
	}
	if err := s.checkNames(ctx); err != nil {
		return "", err
	}
	for _, p := range w.people() {
		if err := p.init(ctx); err != nil {
			return "", fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if err := s.openNetwork(ctx); err != nil {
		return "", err
	}
	who := map[string]any{}
	for _, p := range w.people() {
		s.out.note("%-9s  %s  %s", p.ens, p.address(), p.dir)
		who[p.ens] = map[string]any{"address": p.address(), "peerId": p.info.PeerID, "keystore": p.keystore}
	}
	s.details["people"], s.details["eavesdropper"] = who, w.tap.node.ID().String()
	return "each name leads to its address and back, over HTTP; a name nobody has leads nowhere", nil
}

// checkNames asks the chain for every name, in both directions.
func (s *story) checkNames(ctx context.Context) error {
	ens, err := identity.DialENS(ctx, s.w.chain.URL(), nil)
	if err != nil {
		return err
	}
	defer ens.Close()
	for _, p := range s.w.people() {
		switch got, err := ens.Resolve(ctx, p.ens); {
		case err != nil:
			return err
		case got != p.address():
			return fmt.Errorf("%s leads to %s", p.ens, got)
		}
		switch got, err := ens.Reverse(ctx, p.address()); {
		case err != nil:
			return err
		case got != p.ens:
			return fmt.Errorf("%s is shown as %q", p.address(), got)
		}
	}
	if a, err := ens.Resolve(ctx, "nobody.eth"); !errors.Is(err, identity.ErrNameNotFound) {
		return fmt.Errorf("nobody.eth leads to %s: %v", a, err)
	}
	return nil
}

// openNetwork opens the clients and the eavesdropper's node, which is there
// before anything is said, and waits until everybody hears everybody.
func (s *story) openNetwork(ctx context.Context) error {
	w := s.w
	if err := w.up(ctx, w.alice, nil); err != nil {
		return fmt.Errorf("alice: %w", err)
	}
	var err error
	if w.tap, err = listen(ctx, w.alice.info.Addrs); err != nil {
		return err
	}
	var opening errgroup.Group
	for _, p := range []*person{w.bob, w.carol} {
		opening.Go(func() error {
			if err := w.up(ctx, p, w.alice.info.Addrs); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			return w.tap.node.Connect(ctx, p.info.Addrs...)
		})
	}
	if err := opening.Wait(); err != nil {
		return err
	}
	for shard := range w.tap.node.Shards() {
		if err := w.tap.node.WaitPeers(ctx, shard, len(w.people())); err != nil {
			return fmt.Errorf("the eavesdropper waits for shard %d: %w", shard, err)
		}
	}
	return nil
}
