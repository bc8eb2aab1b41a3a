package transport

import (
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Gossipsub forgets what a peer listens to when the stream to it ends, and is told
// only once, when the peer's own stream begins. Of a peer that was killed and is
// back before its old connection is found dead it therefore hears first, forgets
// then, and sends it nothing more for as long as the two are connected. As every
// node of the network listens to every shard, such a peer can be told: it is
// connected, speaks gossipsub, and listens to nothing. Its connections are closed,
// so that one side dials again and both say anew what they listen to.

const (
	// deafAfter is how long a peer may be so. A peer that goes on like that, as one
	// of another network does, is left alone for twice as long each time.
	deafAfter    = 3 * time.Second
	deafLongest  = 15 * time.Minute
	maxDeafPeers = 1024
)

// deafness is since when a connected peer listens to nothing, and how long it may.
type deafness struct {
	since time.Time // zero while it is not connected
	allow time.Duration
}

// deafPeers are those that listen to nothing. Only watchRoster uses them.
type deafPeers map[peer.ID]deafness

// check returns the peers that have listened to nothing for too long. connected are
// those that speak gossipsub, listening those that are on some shard.
func (d deafPeers) check(connected []peer.ID, listening map[peer.ID]bool, now time.Time) (over []peer.ID) {
	here := make(map[peer.ID]bool, len(connected))
	for _, id := range connected {
		here[id] = true
		x, known := d[id]
		switch {
		case listening[id]:
			delete(d, id)
		case !known && len(d) >= maxDeafPeers:
		case !known:
			d[id] = deafness{now, deafAfter}
		case x.since.IsZero():
			d[id] = deafness{now, x.allow}
		case now.Sub(x.since) >= x.allow:
			over = append(over, id)
			d[id] = deafness{allow: min(2*x.allow, deafLongest)}
		}
	}
	for id, x := range d {
		if !here[id] {
			if d[id] = (deafness{allow: x.allow}); len(d) >= maxDeafPeers {
				delete(d, id)
			}
		}
	}
	return over
}

// mendDeaf closes the connections of peers that listen to nothing.
func (n *Node) mendDeaf(d deafPeers) {
	listening := make(map[peer.ID]bool)
	for _, t := range n.topics {
		for _, id := range t.ListPeers() {
			listening[id] = true
		}
	}
	var connected []peer.ID
	for _, id := range n.host.Network().Peers() {
		if n.host.Network().Connectedness(id) != network.Connected {
			continue
		}
		if speaks, err := n.host.Peerstore().SupportsProtocols(id, pubsub.GossipSubDefaultProtocols...); err == nil && len(speaks) > 0 {
			connected = append(connected, id)
		}
	}
	for _, id := range d.check(connected, listening, time.Now()) {
		n.counters.deaf.Add(1)
		n.opts.Logger.Debug("transport: peer listens to nothing", "peer", id)
		_ = n.host.Network().ClosePeer(id) // it is gone already then
	}
}
