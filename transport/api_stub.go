package transport

import (
	"context"
	"errors"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Node is a peer of the network.
type Node struct{}

// Errors of requests to a peer.
var (
	// ErrNotFound is returned when the peer does not have the record.
	ErrNotFound = errors.New("transport: peer has no such record")
	// ErrRefused is returned when the peer does not want the record.
	ErrRefused = errors.New("transport: peer refuses")
	// ErrBusy is returned when the peer serves too many requests, ours or all.
	ErrBusy = errors.New("transport: peer is busy")
	// ErrAnswer is returned for an answer that is malformed or not to the question.
	ErrAnswer = errors.New("transport: malformed answer")
)

// Open listens, subscribes to every shard and starts to dial. ctx bounds the
// opening only. The caller closes the node.
func Open(ctx context.Context, opts Options) (*Node, error) { return nil, errors.ErrUnsupported }

// Close stops everything the node started and waits for it, handlers included.
func (n *Node) Close() error { return nil }

// ID returns the node's own peer id.
func (n *Node) ID() peer.ID { return "" }

// Addrs returns the multiaddrs the node can be dialled at, each with /p2p.
func (n *Node) Addrs() []string { return nil }

// Peers returns the connected peers, in order of their ids.
func (n *Node) Peers() []peer.ID { return nil }

// Shards returns the number of shards of the network.
func (n *Node) Shards() int { return 0 }

// ShardPeers returns how many connected peers listen to a shard.
func (n *Node) ShardPeers(shard int) int { return 0 }

// WaitPeers waits until at least count peers listen to a shard.
func (n *Node) WaitPeers(ctx context.Context, shard, count int) error { return nil }

// Connect dials peers, each named by one or more multiaddrs that end in /p2p.
func (n *Node) Connect(ctx context.Context, addrs ...string) error { return nil }

// Keep dials peers for as long as the node is open.
func (n *Node) Keep(addrs ...string) error { return nil }

// Publish sends an envelope to everyone who listens to a shard.
func (n *Node) Publish(ctx context.Context, shard int, e Envelope) error { return nil }

// Envelopes is what arrives from others, malformed and repeated messages taken out.
func (n *Node) Envelopes() <-chan Received { return nil }

// Stats returns the node's counters.
func (n *Node) Stats() Stats { return Stats{} }

// FetchRecord asks a peer for the record under key.
func (n *Node) FetchRecord(ctx context.Context, from peer.ID, key [32]byte) ([]byte, error) {
	return nil, nil
}

// StoreRecord asks a peer to store a record under key.
func (n *Node) StoreRecord(ctx context.Context, at peer.ID, key [32]byte, record []byte) error {
	return nil
}

// FetchHistory asks a peer for the envelopes it stored with any of tags.
func (n *Node) FetchHistory(ctx context.Context, from peer.ID, tags []Tag) ([]Envelope, error) {
	return nil, nil
}
