package transport

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/internal/secret"
)

// Options say how to open a Node. HostKey and Network must be set; the zero
// value of everything else is a default.
type Options struct {
	// HostKey is the 32-byte secp256k1 scalar of the host. Open copies it.
	HostKey secret.Key
	// Network names the network, 1 to 32 of a-z, 0-9, '-' and '.'. Peers of
	// other networks hear nothing.
	Network string
	// Shards is the number of shards of the network, DefaultShards if zero.
	Shards int
	// WorkBits is the proof of work the network asks for, 0 to MaxWorkBits.
	WorkBits int

	// Listen is a list of multiaddrs. If nil, the node listens on every
	// interface on free ports, over QUIC and TCP; a list that is empty but not
	// nil makes a node that only dials.
	Listen []string
	// Bootstrap is a list of multiaddrs with /p2p, dialled for as long as the
	// node is open: see Node.Keep.
	Bootstrap []string
	// MDNS finds peers of the same network on the local network. Where that has
	// no multicast, the node warns the Logger and tries again each minute.
	MDNS bool

	// Handlers answer the stream protocols.
	Handlers Handlers
	// OnPeer is told of peers that come and go, from one goroutine, in order. It
	// must not block for long and must not call Close.
	OnPeer func(PeerEvent)
	// Buffer is how many envelopes wait in Envelopes before more are dropped.
	Buffer int
	// Logger gets what an operator may want to know. If nil, nothing is logged.
	Logger *slog.Logger

	// Heartbeat is how often gossipsub mends its mesh. A peer that joins is not
	// passed what others publish before the next one, so tests shorten it.
	Heartbeat time.Duration
	// StreamTimeout bounds each request on a stream, from first byte to last.
	StreamTimeout time.Duration
	// RedialMin and RedialMax bound the time between dials of a kept peer.
	RedialMin, RedialMax time.Duration
	// PingEvery is how often a kept peer is asked for a sign of life.
	PingEvery time.Duration
	// GossipRate (KiB per second) and GossipBurst (KiB) bound the envelopes
	// accepted from one peer. A KiB begun counts whole.
	GossipRate, GossipBurst float64
	// StreamRate (requests per second) and StreamBurst bound the requests
	// accepted from one peer.
	StreamRate, StreamBurst float64

	// mdnsRound is how often mDNS tells of everybody anew; tests shorten it.
	mdnsRound time.Duration
}

// Handlers answer requests of peers. They are called from many goroutines, with a
// context that ends with the request's deadline or the node. A nil handler
// answers not found, refused, or nothing.
type Handlers struct {
	// GetRecord returns the record under key, at most MaxRecord bytes.
	GetRecord func(ctx context.Context, from peer.ID, key [32]byte) ([]byte, bool)
	// PutRecord verifies and stores a record of at most MaxRecord bytes, or
	// refuses it with an error, whose text does not travel. It owns record.
	PutRecord func(ctx context.Context, from peer.ID, key [32]byte, record []byte) error
	// History returns the stored envelopes with any of tags, of which there are
	// at most MaxHistoryTags, always in the same order: it is called once per page.
	History func(ctx context.Context, from peer.ID, tags []Tag) ([]Envelope, error)
}

// PeerEventKind says what happened to a peer.
type PeerEventKind int

// Kinds of peer events.
const (
	PeerConnected    PeerEventKind = iota + 1 // the first connection stands
	PeerJoined                                // it listens to Shard: what is published there reaches it
	PeerDisconnected                          // the last connection is gone
)

// PeerEvent tells of a peer.
type PeerEvent struct {
	Kind  PeerEventKind
	Peer  peer.ID
	Shard int // of PeerJoined
}

// Received is an envelope that arrived, with the peer that handed it on, who is
// not its author.
type Received struct {
	Envelope Envelope
	Shard    int
	From     peer.ID
}

// check fills in defaults, and returns what cannot be.
func (o *Options) check() error {
	if err := checkNetwork(o.Network); err != nil {
		return err
	}
	if o.Shards == 0 {
		o.Shards = DefaultShards
	}
	if o.Shards < 0 || o.Shards > MaxShards {
		return fmt.Errorf("%w: a network has 1 to %d", ErrShard, MaxShards)
	}
	if o.WorkBits < 0 || o.WorkBits > MaxWorkBits {
		return fmt.Errorf("%w: %d bits asked for", ErrWork, o.WorkBits)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Buffer <= 0 {
		o.Buffer = defaultBuffer
	}
	setDuration(&o.Heartbeat, defaultHeartbeat)
	setDuration(&o.StreamTimeout, defaultStreamTimeout)
	setDuration(&o.RedialMin, defaultRedialMin)
	setDuration(&o.RedialMax, defaultRedialMax)
	setDuration(&o.PingEvery, defaultPingEvery)
	setDuration(&o.mdnsRound, defaultMDNSRound)
	setRate(&o.GossipRate, defaultGossipRate)
	setRate(&o.GossipBurst, defaultGossipBurst)
	setRate(&o.StreamRate, defaultStreamRate)
	setRate(&o.StreamBurst, defaultStreamBurst)
	return nil
}

func setDuration(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

func setRate(r *float64, def float64) {
	if !(*r > 0) {
		*r = def
	}
}
