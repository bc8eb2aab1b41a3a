package parley

import (
	"context"
	"errors"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

const (
	// nameTimeout bounds how long a stranger's first message waits for a name.
	nameTimeout = 3 * time.Second
	// nameRetry is when members' names are asked for again that could not be
	// found out, nameAgain when those who have none are.
	nameRetry = time.Minute
	nameAgain = 24 * time.Hour
)

// stranger is a first message from an account that has no name here yet.
type stranger struct {
	account identity.Account
	first   *ratchet.First
	parked  transport.Parked
}

// unnamed reports whether a first message is from a stranger whose name can be
// asked for, and hands it to namesLoop then, which brings it back.
func (c *Client) unnamed(ctx context.Context, first *ratchet.First, p transport.Parked) bool {
	if !c.canReverse() {
		return false
	}
	log, err := helloLog(first)
	if err != nil {
		return false // dropped, and counted, where it is read
	}
	known := true
	err = c.view(ctx, func(tx *store.Tx) error {
		known = c.peer(tx, log.Account()).Name != "" || hasLog(tx, log.Account())
		return nil
	})
	if err != nil || known {
		return false
	}
	select {
	case c.strangers <- stranger{log.Account(), first, p}:
		return true
	default: // many strangers at once stay addresses
		return false
	}
}

func hasLog(tx *store.Tx, a identity.Account) bool {
	var n int
	return tx.QueryRow(`SELECT 1 FROM accounts WHERE acct = ?`, a.Bytes()).Scan(&n) == nil
}

func (c *Client) canReverse() bool {
	_, ok := c.resolver.(identity.ReverseResolver)
	return ok
}

// nameless notes accounts whose names are to be asked for when there is time.
// Held: c.mu.
func (c *Client) nameless(all []identity.Account) {
	for _, a := range all {
		if _, known := c.nameDue[a]; !known {
			c.nameDue[a] = time.Time{}
			wake(c.wakeNames)
		}
	}
}

// namesLoop asks for the names of strangers before their first message is
// shown, so that it is shown under a name that was checked; and for those of
// members of groups who were never met in a pair.
func (c *Client) namesLoop(ctx context.Context) {
	reverse, ok := c.resolver.(identity.ReverseResolver)
	if !ok {
		return // nobody is waiting
	}
	ticker := time.NewTicker(nameRetry)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c.strangers:
			c.nameStranger(ctx, reverse, s)
		case <-ticker.C:
			wake(c.wakeNames)
		case <-c.wakeNames: // one at a time: strangers wait for theirs
			c.nameMember(ctx, reverse)
		}
	}
}

// nameStranger asks for the name of a stranger, and lets the first message go on.
func (c *Client) nameStranger(ctx context.Context, reverse identity.ReverseResolver, s stranger) {
	askCtx, cancel := context.WithTimeout(ctx, nameTimeout)
	name, err := reverse.Reverse(askCtx, s.account.Address)
	cancel()
	if err != nil {
		c.log.Debug("no name", "err", err)
	} else {
		c.mu.Lock()
		c.found[s.account] = name
		c.mu.Unlock()
	}
	c.read(ctx, route{kind: routeFirst}, s.first, s.parked)
}

// nameMember asks for the name of one account that is due.
func (c *Client) nameMember(ctx context.Context, reverse identity.ReverseResolver) {
	var account identity.Account
	due := 0
	c.mu.Lock()
	now := time.Now()
	for a, at := range c.nameDue {
		if !at.After(now) {
			account = a
			due++
		}
	}
	c.mu.Unlock()
	if due == 0 {
		return
	}
	askCtx, cancel := context.WithTimeout(ctx, nameTimeout)
	name, err := reverse.Reverse(askCtx, account.Address)
	cancel()
	if err == nil {
		err = c.step(ctx, func(s *step) error {
			s.then(func() { delete(c.nameDue, account) })
			_, err := s.Exec(`UPDATE accounts SET name = ? WHERE acct = ? AND name = ''`, name, account.Bytes())
			return err
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		due--
	case errors.Is(err, identity.ErrNameNotFound) || errors.Is(err, identity.ErrNameInvalid):
		c.nameDue[account] = now.Add(nameAgain)
		due--
	default: // others would fare no better
		c.log.Debug("names cannot be looked up now", "err", err)
		for a, at := range c.nameDue {
			if !at.After(now) {
				c.nameDue[a] = now.Add(nameRetry)
			}
		}
		due = 0
	}
	if due > 0 {
		wake(c.wakeNames)
	}
}
