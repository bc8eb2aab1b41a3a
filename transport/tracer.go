package transport

import (
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// tracer is the node as gossipsub calls it: it counts what gossipsub drops. What
// the node's own validator drops is counted there.
type tracer Node

var _ pubsub.RawTracer = (*tracer)(nil)

// RejectMessage counts by reason.
func (t *tracer) RejectMessage(_ *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationFailed, pubsub.RejectValidationIgnored:
		// counted by validate
	case pubsub.RejectValidationQueueFull, pubsub.RejectValidationThrottled:
		t.counters.queueFull.Add(1)
	default:
		t.counters.rejectedOther.Add(1)
	}
}

// DuplicateMessage counts what was seen before.
func (t *tracer) DuplicateMessage(*pubsub.Message) { t.counters.duplicates.Add(1) }

// UndeliverableMessage counts what nobody read in time.
func (t *tracer) UndeliverableMessage(*pubsub.Message) { t.counters.undelivered.Add(1) }

// DropRPC counts what a slow peer does not get.
func (t *tracer) DropRPC(rpc *pubsub.RPC, _ peer.ID) {
	t.counters.outboundDrops.Add(uint64(len(rpc.GetPublish())))
}

// RecvRPC hints at a change of who listens where.
func (t *tracer) RecvRPC(rpc *pubsub.RPC) {
	if len(rpc.GetSubscriptions()) > 0 {
		(*Node)(t).hintRoster()
	}
}

// OnNewOutboundStream hints at a peer that can be sent to.
func (t *tracer) OnNewOutboundStream(peer.ID, protocol.ID) { (*Node)(t).hintRoster() }

// OnClosedOutboundStream tells of one that cannot.
func (t *tracer) OnClosedOutboundStream(id peer.ID) { (*Node)(t).forgetPeer(id) }

// The rest is not counted.

func (t *tracer) Join(string)                     {}
func (t *tracer) Leave(string)                    {}
func (t *tracer) Graft(peer.ID, string)           {}
func (t *tracer) Prune(peer.ID, string)           {}
func (t *tracer) ValidateMessage(*pubsub.Message) {}
func (t *tracer) DeliverMessage(*pubsub.Message)  {}
func (t *tracer) ThrottlePeer(peer.ID)            {}
func (t *tracer) SendRPC(*pubsub.RPC, peer.ID)    {}
