package parley

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/transport"
)

const (
	// repairIdle is how often members are asked for what this one may have
	// missed; repairSoon is how long after a change.
	repairIdle = 30 * time.Second
	repairSoon = 2 * time.Second
	// repairFirst is how soon after a peer has come, or a gap was seen.
	repairFirst = 300 * time.Millisecond
	// repairPeers is how many peers are asked in a round.
	repairPeers = 4
	// repairAsk is how many of a sender's next envelopes are asked for at once.
	repairAsk = 16
	// historyFor is how long group envelopes are kept for others.
	historyFor = 7 * 24 * time.Hour
	// historyMax is how many are kept at most.
	historyMax = 100_000
	// historyBytes bounds the sum of their lengths.
	historyBytes = 1 << 30
)

// keepHistory keeps an envelope for members who missed it.
func (s *step) keepHistory(e transport.Envelope) error {
	_, err := s.Exec(`INSERT OR IGNORE INTO history (tag, envelope, stored) VALUES (?, ?, ?)`, e.Tag, e.Marshal(), s.unixMilli())
	return err
}

// serveHistory answers a peer who asks for envelopes by their tags. Who knows a
// tag belongs to the group, and what it gets is ciphertext.
func (c *Client) serveHistory(ctx context.Context, _ peer.ID, tags []transport.Tag) ([]transport.Envelope, error) {
	var all []transport.Envelope
	err := c.view(ctx, func(tx *store.Tx) error {
		for _, tag := range tags {
			rows, err := tx.Query(`SELECT envelope FROM history WHERE tag = ?`, tag)
			if err != nil {
				return err
			}
			for rows.Next() {
				var b []byte
				if err := rows.Scan(&b); err != nil {
					return err
				}
				e, err := transport.Parse(b)
				if err != nil {
					return err
				}
				all = append(all, e)
			}
			if err := rows.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// repairLoop asks the members' nodes for what this one has missed: gossip forgets in
// seconds, a split lasts longer. It is driven by levels, not by edges: it asks
// for the next envelopes of every member whether or not there seem to be any.
func (c *Client) repairLoop(ctx context.Context) {
	timer := time.NewTimer(repairSoon)
	defer timer.Stop()
	for {
		wait := repairIdle
		select {
		case <-ctx.Done():
			return
		case <-c.wakeRepair:
			select {
			case <-ctx.Done():
				return
			case <-time.After(repairFirst):
			}
			wait = repairSoon
		case <-timer.C:
		}
		for range 256 { // rounds that bring something new are followed by another
			if !c.repair(ctx) {
				break
			}
		}
		if len(c.node.Peers()) > 0 {
			c.mu.Lock()
			c.caughtUp = true
			c.mu.Unlock()
			wake(c.wakePump)
		}
		timer.Reset(wait)
	}
}

// repair asks some members once, and reports whether something new came of it.
// Nobody else is asked: who sees the tags that a client waits for knows which
// envelopes are of one group, and who is in it.
func (c *Client) repair(ctx context.Context) bool {
	connected := map[peer.ID]bool{}
	for _, id := range c.node.Peers() {
		connected[id] = true
	}
	c.mu.Lock()
	var accounts []identity.Account
	for account, id := range c.nodes {
		if connected[id] {
			accounts = append(accounts, account)
		}
	}
	c.mu.Unlock()
	rand.Shuffle(len(accounts), func(i, j int) { accounts[i], accounts[j] = accounts[j], accounts[i] })
	fresh, asked := false, 0
	for _, account := range accounts {
		if tags := c.missing(account); len(tags) > 0 && asked < repairPeers {
			asked++
			fresh = c.repairFrom(ctx, account, tags) || fresh
		}
	}
	return fresh
}

// repairFrom asks one member, for no longer than fetchTimeout.
func (c *Client) repairFrom(ctx context.Context, account identity.Account, tags []transport.Tag) (fresh bool) {
	c.mu.Lock()
	id := c.nodes[account]
	c.mu.Unlock()
	askCtx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	for ask := range slices.Chunk(tags, transport.MaxHistoryTags) {
		got, err := c.node.FetchHistory(askCtx, id, ask)
		for _, e := range got {
			if c.receive(ctx, transport.Parked{Envelope: e, From: id, At: time.Now()}) {
				fresh = true
			}
		}
		if err != nil {
			c.log.Debug("history", "err", err)
			break
		}
	}
	return fresh
}

// missing returns the tags of the next envelopes of every member of every
// epoch that can still be read and that the account is a member of.
func (c *Client) missing(account identity.Account) []transport.Tag {
	c.mu.Lock()
	defer c.mu.Unlock()
	var tags []transport.Tag
	ask := func(e epoch, head bool) {
		if !slices.ContainsFunc(e.Members(), func(m groups.Member) bool {
			a, err := memberAccount(m)
			return err == nil && a == account
		}) {
			return
		}
		c.eachReader(e, head, func(r reader, size uint64) {
			next, ok := c.reading[streamKey{e.CID(), r}]
			if !ok {
				return
			}
			if r.class == groups.ClassHandshake {
				size = 2
			}
			for n := next; n < next+min(size, repairAsk); n++ {
				tag := transport.Tag(e.Tag(r.class, r.leaf, n))
				if _, expected := c.index.Lookup(tag); expected {
					tags = append(tags, tag)
				}
			}
		})
	}
	for _, g := range c.groups {
		ask(g.head, true)
	}
	for _, past := range c.past {
		ask(past, false)
	}
	return tags
}
