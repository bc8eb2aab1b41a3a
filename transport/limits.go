package transport

import "time"

// Limits of what a peer can make a node hold, read or do. Sizes are in bytes.
const (
	// MaxMessage is the largest gossipsub message.
	MaxMessage = 64 << 10
	// MaxShards bounds the number of shards of a network: a shard is chosen by
	// one byte of a hash.
	MaxShards = 256
	// DefaultShards is the number of shards unless a network says otherwise.
	DefaultShards = 8
	// MaxNetworkName is the length of a network's name.
	MaxNetworkName = 32
	// MaxWorkBits bounds the proof of work a network can ask for. At 32 bits an
	// envelope takes minutes to mint.
	MaxWorkBits = 32

	// MaxRecord is the largest record that is served or stored.
	MaxRecord = 64 << 10
	// MaxHistoryTags is the number of tags in one history query.
	MaxHistoryTags = 256
	// MaxHistoryItems is the number of envelopes in one page of an answer.
	MaxHistoryItems = 100
	// MaxHistoryBytes is the sum of the envelopes' lengths in one page.
	MaxHistoryBytes = 1 << 20
	// MaxHistoryPages is the number of pages FetchHistory reads for one query.
	MaxHistoryPages = 16

	// maxKept bounds the peers a node keeps dialling, and maxAddrs the addresses
	// in one call.
	maxKept  = 64
	maxAddrs = 256
	// maxEvents is how many peer events wait for a slow OnPeer.
	maxEvents = 1 << 16
	// maxBuckets is the number of peers whose rates are counted one by one;
	// those beyond share one bucket.
	maxBuckets = 4096
	// maxStreams and maxStreamsPerPeer bound the inbound streams of both
	// protocols that are served at one time.
	maxStreams        = 64
	maxStreamsPerPeer = 8
)

// Defaults of the options.
const (
	defaultBuffer        = 1024
	defaultHeartbeat     = 700 * time.Millisecond
	defaultStreamTimeout = 10 * time.Second
	defaultRedialMin     = 500 * time.Millisecond
	defaultRedialMax     = time.Minute
	defaultPingEvery     = 15 * time.Second

	defaultGossipRate  = 4096  // KiB begun per second from one peer
	defaultGossipBurst = 32768 // KiB
	defaultStreamRate  = 20    // requests per second from one peer
	defaultStreamBurst = 100
)

// Defaults of an Index.
const (
	DefaultParkedCount   = 4096
	DefaultParkedBytes   = 16 << 20
	DefaultParkedPerPeer = 1024
	DefaultParkedAge     = 10 * time.Minute
)
