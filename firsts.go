package parley

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// Opening a first message costs operations on points, and whoever has this
// device's bundle can make envelopes that cost as much and are nothing. Each peer
// that hands them on has maxFirsts opened within firstsEvery.
const (
	maxFirsts   = 1024
	firstsEvery = 10 * time.Second
)

// errFirsts is for what exceeds that. It is not acknowledged, so it comes again.
var errFirsts = errors.New("parley: too many first messages from one peer")

// openings counts the first messages that were opened, by who handed them on.
type openings struct {
	since time.Time
	by    map[peer.ID]int
	all   int // ever
}

// allow reports whether another one from a peer may be opened, and counts it.
func (o *openings) allow(from peer.ID, now time.Time) bool {
	if now.Sub(o.since) >= firstsEvery {
		o.since, o.by = now, map[peer.ID]int{}
	}
	if o.by[from] >= maxFirsts {
		return false
	}
	o.by[from]++
	o.all++
	return true
}

// receiveFirst takes an envelope under a tag of first messages. It is opened once.
func (c *Client) receiveFirst(ctx context.Context, p transport.Parked) bool {
	if c.repeated(ctx, p.Envelope) {
		return false
	}
	now := time.Now()
	c.mu.Lock()
	allowed := c.openings.allow(p.From, now)
	c.mu.Unlock()
	if !allowed {
		c.undelivered(errFirsts)
		return false
	}
	first, err := c.peekFirst(p.Envelope, now)
	if err != nil {
		c.undelivered(err)
		return false
	}
	if c.node != nil && c.unnamed(ctx, first, p) {
		return false
	}
	return c.read(ctx, route{kind: routeFirst}, first, p)
}

func (c *Client) peekFirst(e transport.Envelope, now time.Time) (*ratchet.First, error) {
	return ratchet.PeekFirst(c.ratchetSelf(), c.me.device.DH, c.me.inbox, ratchet.Message{Tag: ratchet.Tag(e.Tag), Body: e.Body}, now)
}
