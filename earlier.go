package parley

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/transport"
)

// earlierLog asks the network for what it knows of an account's devices: whoever
// makes a profile for an account that had one before goes on with its log, since
// a second beginning would freeze it for all who know the first. It returns an
// empty log if nobody knows of any, and ErrNobody if there is nobody to ask.
func earlierLog(ctx context.Context, account identity.Account, network string, bootstrap []string) (*identity.Log, error) {
	key, err := secp.GenerateKey() // of a node that has nothing to do with the account
	if err != nil {
		return nil, err
	}
	var scalar secret.Key = key.Bytes()
	defer scalar.Erase()
	if network == "" {
		network = DefaultNetwork
	}
	node, err := transport.Open(ctx, transport.Options{HostKey: scalar, Network: network, Listen: []string{}, Bootstrap: bootstrap})
	if err != nil {
		return nil, err
	}
	defer node.Close()
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	if err := node.Connect(ctx, bootstrap...); err != nil && len(node.Peers()) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrNobody, err)
	}
	log := identity.NewLog(account)
	answered := false
	for _, id := range node.Peers() {
		askCtx, cancel := context.WithTimeout(ctx, fetchTimeout)
		b, err := node.FetchRecord(askCtx, id, account.LookupKey())
		cancel()
		answered = answered || err == nil || errors.Is(err, transport.ErrNotFound)
		if err != nil {
			continue
		}
		r, err := identity.VerifyRecord(b, account, time.Now())
		if err != nil {
			continue // what does not verify is nobody's
		}
		if log, err = identity.MergeLogs(log, r.Log); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLog, err)
		}
	}
	if !answered {
		return nil, ErrNobody
	}
	return log, nil
}
