package transport

import "sync/atomic"

// Stats counts what a node did since it was opened, and above all what it did
// not do: every envelope or request that is dropped is in one of these.
type Stats struct {
	Published     uint64 // envelopes handed to gossipsub
	PublishedNone uint64 // publishes refused with ErrNoPeers
	Received      uint64 // envelopes put into Envelopes
	Duplicates    uint64 // messages seen before

	Malformed     uint64 // gossip messages rejected: not an envelope, or without its work
	Throttled     uint64 // gossip messages ignored: their peer sends too many
	QueueFull     uint64 // gossip messages dropped before validation
	RejectedOther uint64 // gossip messages rejected by gossipsub itself: signed, from a banned peer
	Undelivered   uint64 // envelopes dropped because nobody read Envelopes in time
	OutboundDrops uint64 // gossip messages dropped because a peer reads too slowly

	Requests        uint64 // stream requests answered, with whatever answer
	RequestsRefused uint64 // streams reset because too many are open, or answered busy
	RequestsBad     uint64 // streams reset: malformed request, too long, or too slow

	Redials uint64 // dials of peers that are kept connected
	Deaf    uint64 // peers whose connections were closed because they listened to nothing
}

// counters are the node's own, updated by many goroutines.
type counters struct {
	published, publishedNone, received, duplicates                             atomic.Uint64
	malformed, throttled, queueFull, rejectedOther, undelivered, outboundDrops atomic.Uint64
	requests, requestsRefused, requestsBad, redials, deaf                      atomic.Uint64
}

func (c *counters) snapshot() Stats {
	return Stats{
		Published:       c.published.Load(),
		PublishedNone:   c.publishedNone.Load(),
		Received:        c.received.Load(),
		Duplicates:      c.duplicates.Load(),
		Malformed:       c.malformed.Load(),
		Throttled:       c.throttled.Load(),
		QueueFull:       c.queueFull.Load(),
		RejectedOther:   c.rejectedOther.Load(),
		Undelivered:     c.undelivered.Load(),
		OutboundDrops:   c.outboundDrops.Load(),
		Requests:        c.requests.Load(),
		RequestsRefused: c.requestsRefused.Load(),
		RequestsBad:     c.requestsBad.Load(),
		Redials:         c.redials.Load(),
		Deaf:            c.deaf.Load(),
	}
}
