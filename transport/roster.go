package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// rosterEvery is how often the roster is compared when nothing hints at a change.
const rosterEvery = time.Second

// rosterAfter is when it is compared after a hint: a hint can come before what it
// hints at, as gossipsub knows of a subscription before it can send there.
var rosterAfter = [...]time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond}

// ShardPeers returns how many connected peers listen to a shard.
func (n *Node) ShardPeers(shard int) int {
	if shard < 0 || shard >= len(n.topics) {
		return 0
	}
	return len(n.topics[shard].ListPeers())
}

// WaitPeers waits until at least count peers listen to a shard. It returns
// ErrShard, ErrClosed, or the context's error.
func (n *Node) WaitPeers(ctx context.Context, shard, count int) error {
	if shard < 0 || shard >= n.opts.Shards {
		return ErrShard
	}
	tick := time.NewTicker(rosterAfter[2])
	defer tick.Stop()
	for {
		n.mu.Lock()
		joined, closed := n.joined, n.closed
		n.mu.Unlock()
		if closed {
			return ErrClosed
		}
		if n.ShardPeers(shard) >= count {
			return nil
		}
		select {
		case <-joined:
		case <-tick.C: // they can leave and join between two looks
		case <-n.done.Done():
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("transport: waiting for peers: %w", ctx.Err())
		}
	}
}

// watchRoster emits PeerJoined for every peer that what is published on a shard
// now reaches, and did not before. It ends with the node.
func (n *Node) watchRoster() {
	timer := time.NewTimer(rosterEvery)
	defer timer.Stop()
	step := len(rosterAfter)
	deaf := deafPeers{}
	for {
		select {
		case <-n.done.Done():
			return
		case <-n.rosterHint:
			step = 0
		case <-timer.C:
		}
		if step < len(rosterAfter) {
			timer.Reset(rosterAfter[step])
			step++
		} else {
			timer.Reset(rosterEvery)
		}
		for shard := range n.topics {
			n.compareRoster(shard)
		}
		if step == len(rosterAfter) {
			n.mendDeaf(deaf)
		}
	}
}

func (n *Node) compareRoster(shard int) {
	n.mu.Lock()
	lost := n.rosterLost
	n.mu.Unlock()
	now := make(map[peer.ID]bool)
	for _, id := range n.topics[shard].ListPeers() {
		now[id] = true
	}
	n.mu.Lock()
	if lost != n.rosterLost {
		n.mu.Unlock() // now may hold the one that was lost; a hint has come with it
		return
	}
	var fresh []peer.ID
	for id := range now {
		if !n.roster[shard][id] {
			fresh = append(fresh, id)
		}
	}
	n.roster[shard] = now
	n.mu.Unlock()
	for _, id := range fresh {
		n.emit(PeerEvent{Kind: PeerJoined, Peer: id, Shard: shard})
	}
}

// forgetRoster makes sure that PeerJoined comes again for a shard on which a
// publish found nobody, whatever happened since the last comparison.
func (n *Node) forgetRoster(shard int) {
	n.mu.Lock()
	n.roster[shard] = nil
	n.mu.Unlock()
	n.hintRoster()
}

// forgetPeer makes sure that PeerJoined comes again for a peer that cannot be sent
// to any more, even if it can before the next comparison. It waits for nothing
// that waits for gossipsub, whose own loop calls it.
func (n *Node) forgetPeer(id peer.ID) {
	n.mu.Lock()
	n.rosterLost++
	for _, listeners := range n.roster {
		delete(listeners, id)
	}
	n.mu.Unlock()
	n.hintRoster()
}

// hintRoster never waits: gossipsub's own loop calls it.
func (n *Node) hintRoster() { hint(n.rosterHint) }
