package parley

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// routeKind says what a tag belongs to.
type routeKind uint8

const (
	routeFirst   routeKind = iota + 1 // a first message to this device
	routeSession                      // a session, or one of its skipped keys
	routeEpoch                        // an envelope of a member of a group's epoch
)

// route is what the index knows of a tag.
type route struct {
	kind    routeKind
	session ratchet.ID
	cid     groups.CID
	class   groups.Class
	leaf    groups.LeafIndex
	n       uint64
}

// counters count what was dropped, by reason.
type counters struct {
	undecryptable atomic.Uint64 // no key opened it, or a signature failed
	content       atomic.Uint64 // genuine, and malformed inside
	stale         atomic.Uint64 // for an epoch that is over
	deferred      atomic.Uint64 // no room for it now
}

// Dropped counts what arrived and was not kept, since the client was opened.
type Dropped struct {
	Undecryptable uint64 `json:"undecryptable"` // addressed to a key of ours and did not open
	Content       uint64 `json:"content"`       // opened, and malformed inside
	Stale         uint64 `json:"stale"`         // a proposal or commit for an epoch that is over
	Deferred      uint64 `json:"deferred"`      // there was no room for it; it comes again
}

// Dropped returns the counts.
func (c *Client) Dropped() Dropped {
	return Dropped{c.dropped.undecryptable.Load(), c.dropped.content.Load(), c.dropped.stale.Load(), c.dropped.deferred.Load()}
}

// receiveLoop takes what the network brings.
func (c *Client) receiveLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r, ok := <-c.node.Envelopes():
			if !ok {
				return
			}
			all := []transport.Parked{parked(r)}
			for more := true; more && len(all) < maxTogether; {
				select {
				case r, more = <-c.node.Envelopes():
					if more {
						all = append(all, parked(r))
					}
				default:
					more = false
				}
			}
			c.receiveAll(ctx, all)
		}
	}
}

func parked(r transport.Received) transport.Parked {
	return transport.Parked{Envelope: r.Envelope, Shard: r.Shard, From: r.From}
}

// maxTogether is how many envelopes are read in one transaction.
const maxTogether = 64

// receiveAll takes envelopes in their order. Those of sessions that follow one
// another are read in one transaction, which costs as much as one by itself.
func (c *Client) receiveAll(ctx context.Context, all []transport.Parked) {
	var together []transport.Parked
	for _, p := range all {
		if r, ok := c.index.Lookup(p.Envelope.Tag); ok && r.kind == routeSession {
			together = append(together, p)
			continue
		}
		c.receiveTogether(ctx, together)
		together = nil
		c.receive(ctx, p)
	}
	c.receiveTogether(ctx, together)
}

// receiveTogether reads envelopes of sessions in one transaction. If there is one
// among them that cannot be read, each is read by itself.
func (c *Client) receiveTogether(ctx context.Context, all []transport.Parked) {
	if len(all) > 1 {
		err := c.step(ctx, func(s *step) error {
			for _, p := range all {
				r, _ := c.index.Lookup(p.Envelope.Tag)
				if seen, err := s.seenBefore(p.Envelope); err != nil {
					return err
				} else if seen {
					continue
				}
				if err := s.receiveSession(r.session, p.Envelope); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			return
		}
		c.log.Debug("one by one", "err", err)
	}
	for _, p := range all {
		c.receive(ctx, p)
	}
}

// receive takes an envelope, and those that waited for what it brings. It
// reports whether it was new and could be read.
func (c *Client) receive(ctx context.Context, p transport.Parked) bool {
	r, ok := c.index.Lookup(p.Envelope.Tag)
	if !ok {
		r, ok = c.idleOwner(ctx, p.Envelope.Tag)
	}
	if !ok {
		if c.repeated(ctx, p.Envelope) {
			return false
		}
		if _, found := c.index.Park(p, time.Now()); !found {
			return false
		}
		if r, ok = c.index.Lookup(p.Envelope.Tag); !ok {
			return false
		}
	}
	if r.kind == routeFirst {
		return c.receiveFirst(ctx, p)
	}
	return c.read(ctx, r, nil, p)
}

// read takes an envelope whose owner is known; first is what it is if it is a
// first message.
func (c *Client) read(ctx context.Context, r route, first *ratchet.First, p transport.Parked) bool {
	fresh := false
	err := c.step(ctx, func(s *step) error {
		seen, err := s.seenBefore(p.Envelope)
		if seen || err != nil {
			return err
		}
		fresh = true
		switch r.kind {
		case routeFirst:
			return s.receiveFirst(first, p.Envelope)
		case routeSession:
			return s.receiveSession(r.session, p.Envelope)
		default:
			return s.receiveEpoch(r, p.Envelope)
		}
	})
	if err == nil {
		return fresh
	}
	if ctx.Err() == nil {
		c.undelivered(err)
	}
	return false
}

// undelivered counts an envelope that was not read, by the reason.
func (c *Client) undelivered(err error) {
	switch {
	case errors.Is(err, ErrClosed):
	case errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFull):
		c.log.Error("receive", "err", err)
	case errors.Is(err, errHeldFull) || errors.Is(err, errCrowded) || errors.Is(err, errFirsts):
		c.dropped.deferred.Add(1)
		c.log.Debug("deferred", "err", err)
	default:
		c.dropped.undecryptable.Add(1)
		c.log.Debug("dropped", "err", err)
	}
}

// content reads what a message says. Of what cannot be read, because it is
// malformed or of a newer version, it counts that and returns the place, so
// that what comes after it need not wait; ErrContent if that cannot be read
// either.
func (s *step) content(b []byte) (Content, error) {
	c, err := ParseContent(b)
	if err == nil {
		return c, nil
	}
	s.c.dropped.content.Add(1)
	return parsePlace(b)
}

// repeated deals with an envelope under a tag that is not expected: most often
// one that was read, and comes again because its acknowledgement was lost.
func (c *Client) repeated(ctx context.Context, e transport.Envelope) bool {
	seen := false
	err := c.view(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM seen WHERE hash = ?)`, e.ContentHash()).Scan(&seen)
	})
	if err != nil || !seen {
		return false
	}
	if err := c.step(ctx, func(s *step) error { _, err := s.seenBefore(e); return err }); err != nil {
		c.log.Debug("repeated", "err", err)
	}
	return true
}

// expect makes the index know tags, and takes what waited under them, once the
// step that runs now is over. Held: c.mu.
func (c *Client) expect(r route, tags ...transport.Tag) {
	parked := c.index.Add(r, time.Now(), tags...)
	if len(parked) == 0 || c.node == nil {
		return
	}
	c.unparked = append(c.unparked, parked...)
	wake(c.wakeUnparked)
}

// unparkLoop takes the envelopes that found their owner late.
func (c *Client) unparkLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wakeUnparked:
		}
		c.mu.Lock()
		waiting := c.unparked
		c.unparked = nil
		c.mu.Unlock()
		for _, p := range waiting {
			c.receive(ctx, p)
		}
	}
}

// onPeer is told of peers that come and go.
func (c *Client) onPeer(e transport.PeerEvent) {
	if e.Kind == transport.PeerDisconnected {
		return
	}
	wake(c.wakePeer)
}

// peerLoop hurries everything that waits for somebody to come. Peers that come
// again and again do not make it do so more often than every hurryEvery.
func (c *Client) peerLoop(ctx context.Context) {
	const (
		gather     = 200 * time.Millisecond // a peer joins all shards one by one
		hurryEvery = 2 * time.Second
	)
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wakePeer:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(gather, time.Until(last.Add(hurryEvery)))):
		}
		last = time.Now()
		c.hurry()
		c.retryNow(ctx)
		wake(c.wakePublish)
		wake(c.wakeRepair)
	}
}

// TryOpen tries every key the client holds on an envelope, as the network
// carried it, and changes nothing. It returns nil if one opens it, ErrNoKey if
// none does, and the transport's errors for bytes that are no envelope. It is
// how a member who was removed shows that it cannot read on.
func (c *Client) TryOpen(ctx context.Context, envelope []byte) error {
	e, err := transport.Parse(envelope)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, g := range c.groups {
		if _, err := g.head.Open(e.Tag, e.Body); err == nil {
			return nil
		}
	}
	for _, past := range c.past {
		if _, err := past.Open(e.Tag, e.Body); err == nil {
			return nil
		}
	}
	in := ratchet.Incoming{Tag: ratchet.Tag(e.Tag), Body: e.Body}
	for _, session := range c.sessions {
		if canOpen(session.Session, in, now) {
			return nil
		}
	}
	if opens, err := c.tryIdle(ctx, in, now); opens || err != nil {
		return err
	}
	if _, err := c.peekFirst(e, now); err == nil {
		return nil
	}
	return ErrNoKey
}
