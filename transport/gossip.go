package transport

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Parameters of gossipsub, as the specification has them.
const (
	meshD          = 8
	meshLow        = 6
	meshHigh       = 12
	historyLength  = 4200 * time.Millisecond // how long a message can be asked for
	historyGossip  = 2100 * time.Millisecond // how long it is offered
	queueSize      = 1024
	minShardQueue  = 384
	maxSubsPerRPC  = 2 * MaxShards
	scoreInterval  = 12 * time.Second
	scoreRetain    = time.Hour
	gossipBelow    = -4000  // no gossip is exchanged
	publishBelow   = -8000  // own envelopes are not sent
	graylistBelow  = -16000 // everything is ignored
	invalidWeight  = -140
	scoreDecayZero = 0.01
)

// startGossip joins every shard and starts the goroutines that read them.
func (n *Node) startGossip() error {
	names := make([]string, n.opts.Shards)
	for i := range names {
		names[i] = Topic(n.opts.Network, i)
	}
	params := pubsub.DefaultGossipSubParams()
	params.D, params.Dlo, params.Dhi = meshD, meshLow, meshHigh
	params.HeartbeatInterval = n.opts.Heartbeat
	params.HistoryLength = max(2, int(historyLength/n.opts.Heartbeat))
	params.HistoryGossip = max(1, int(historyGossip/n.opts.Heartbeat))
	score, thresholds := scoring(names)
	quiet := slog.New(slog.DiscardHandler) // it logs each message
	ps, err := pubsub.NewGossipSub(n.done, n.host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithGossipSubParams(params),
		pubsub.WithFloodPublish(true),
		pubsub.WithMaxMessageSize(MaxMessage),
		pubsub.WithPeerOutboundQueueSize(queueSize),
		pubsub.WithValidateQueueSize(queueSize),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(
			pubsub.NewAllowlistSubscriptionFilter(names...), maxSubsPerRPC)),
		pubsub.WithPeerScore(score, thresholds),
		pubsub.WithRawTracer((*tracer)(n)),
		pubsub.WithLogger(quiet),
		pubsub.WithRPCLogger(quiet),
	)
	if err != nil {
		return fmt.Errorf("transport: gossipsub: %w", err)
	}
	n.pubsub = ps
	for shard, name := range names {
		if err := n.joinShard(shard, name); err != nil {
			return fmt.Errorf("transport: shard %d: %w", shard, err)
		}
	}
	n.wg.Go(n.watchRoster)
	return nil
}

func (n *Node) joinShard(shard int, name string) error {
	// Inline: parsing costs less than a goroutine, and its outcome must not be
	// "throttled" while an envelope can still be judged.
	if err := n.pubsub.RegisterTopicValidator(name, n.validate, pubsub.WithValidatorInline(true)); err != nil {
		return err
	}
	topic, err := n.pubsub.Join(name)
	if err != nil {
		return err
	}
	n.topics = append(n.topics, topic)
	sub, err := topic.Subscribe(pubsub.WithBufferSize(shardQueue(n.opts.Shards)))
	if err != nil {
		return err
	}
	n.wg.Go(func() { n.readShard(shard, sub) })
	return nil
}

// shardQueue is how many messages wait on one shard until the goroutine that
// reads it gets to run: queueSize on all together, as they are up to 64 KiB each,
// but never less than a burst from two conversations of a contact who was away.
func shardQueue(shards int) int { return max(minShardQueue, queueSize/shards) }

// messageID is SHA-256 of the data: there is no author and no sequence number.
func messageID(m *pb.Message) string {
	h := sha256.Sum256(m.Data)
	return string(h[:])
}

// validate judges a message before it is delivered or passed on. What is
// malformed is rejected, which costs its sender score; what is only too much is
// ignored, which does not: an honest peer may pass on a flood it did not make.
func (n *Node) validate(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	e, err := parse(m.Data)
	if err != nil {
		n.counters.malformed.Add(1)
		return pubsub.ValidationReject
	}
	if from == n.ID() {
		return pubsub.ValidationAccept
	}
	if !n.gossipRate.take(from, kibibytes(len(m.Data)), time.Now()) {
		n.counters.throttled.Add(1)
		return pubsub.ValidationIgnore
	}
	if e.CheckWork(n.opts.WorkBits) != nil {
		n.counters.malformed.Add(1)
		return pubsub.ValidationReject
	}
	return pubsub.ValidationAccept
}

// kibibytes counts a KiB begun as a whole one.
func kibibytes(n int) float64 { return float64((n + 1023) / 1024) }

// readShard moves envelopes of a shard to Envelopes. When nobody reads there it
// waits, gossipsub's own queue fills, and the tracer counts what is dropped. It
// ends with the node.
func (n *Node) readShard(shard int, sub *pubsub.Subscription) {
	for {
		m, err := sub.Next(n.done)
		if err != nil {
			return
		}
		if m.ReceivedFrom == n.ID() {
			continue
		}
		e, err := Parse(m.Data)
		if err != nil {
			continue // was validated
		}
		n.counters.received.Add(1) // before: who takes it finds it counted
		select {
		case n.out <- Received{Envelope: e, Shard: shard, From: m.ReceivedFrom}:
		case <-n.done.Done():
			return
		}
	}
}

// Publish sends an envelope to everyone who listens to a shard, and returns when
// it is queued for each peer that is connected. If the network asks for work
// that the envelope does not have, Publish mints it. It returns ErrNoPeers when
// nobody can hear, ErrSize for a body that is not of the five sizes, ErrShard,
// and ErrClosed. An envelope that was sent before goes nowhere: see
// Envelope.Reseal.
func (n *Node) Publish(ctx context.Context, shard int, e Envelope) error {
	if shard < 0 || shard >= n.opts.Shards {
		return fmt.Errorf("%w: %d of %d", ErrShard, shard, n.opts.Shards)
	}
	if !isSize(len(e.Body)) {
		return fmt.Errorf("%w: %d bytes", ErrSize, len(e.Body))
	}
	if !n.enter() {
		return ErrClosed
	}
	defer n.wg.Done()
	if n.ShardPeers(shard) == 0 {
		n.counters.publishedNone.Add(1)
		n.forgetRoster(shard)
		return ErrNoPeers
	}
	if e.CheckWork(n.opts.WorkBits) != nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(n.done, cancel)()
		if err := e.Mint(ctx, n.opts.WorkBits); err != nil {
			if n.done.Err() != nil {
				return ErrClosed
			}
			return err
		}
	}
	if err := n.topics[shard].Publish(ctx, e.Marshal()); err != nil {
		if n.done.Err() != nil {
			return ErrClosed
		}
		return fmt.Errorf("transport: publish: %w", err)
	}
	n.counters.published.Add(1)
	return nil
}

// Envelopes is what arrives from others: malformed messages are taken out, and
// what gossipsub has seen, but not ciphertext that comes again under a fresh
// nonce. The channel is closed when the node is.
func (n *Node) Envelopes() <-chan Received { return n.out }

// scoring is what consensus clients use, without penalties for delivering too
// little in the mesh: on a quiet shard honest peers deliver nothing.
func scoring(topics []string) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	decay := func(d time.Duration) float64 {
		return pubsub.ScoreParameterDecayWithBase(d, scoreInterval, scoreDecayZero)
	}
	perTopic := make(map[string]*pubsub.TopicScoreParams, len(topics))
	for _, name := range topics {
		perTopic[name] = &pubsub.TopicScoreParams{
			SkipAtomicValidation:           true, // mesh deliveries are left out
			TopicWeight:                    0.5,
			TimeInMeshWeight:               0.03,
			TimeInMeshQuantum:              scoreInterval,
			TimeInMeshCap:                  300,
			FirstMessageDeliveriesWeight:   1,
			FirstMessageDeliveriesDecay:    decay(4 * time.Minute),
			FirstMessageDeliveriesCap:      40,
			InvalidMessageDeliveriesWeight: invalidWeight,
			InvalidMessageDeliveriesDecay:  decay(time.Hour),
		}
	}
	params := &pubsub.PeerScoreParams{
		Topics:                      perTopic,
		TopicScoreCap:               32,
		AppSpecificScore:            func(peer.ID) float64 { return 0 },
		AppSpecificWeight:           1,
		IPColocationFactorWeight:    -35,
		IPColocationFactorThreshold: 10,
		IPColocationFactorWhitelist: localNetworks(),
		BehaviourPenaltyWeight:      -16,
		BehaviourPenaltyThreshold:   6,
		BehaviourPenaltyDecay:       decay(time.Hour),
		DecayInterval:               scoreInterval,
		DecayToZero:                 scoreDecayZero,
		RetainScore:                 scoreRetain,
	}
	thresholds := &pubsub.PeerScoreThresholds{
		GossipThreshold:             gossipBelow,
		PublishThreshold:            publishBelow,
		GraylistThreshold:           graylistBelow,
		AcceptPXThreshold:           100,
		OpportunisticGraftThreshold: 5,
	}
	return params, thresholds
}

// localNetworks are where many peers on one address are no attack: a laptop, an
// office behind one router.
func localNetworks() []*net.IPNet {
	var nets []*net.IPNet
	for _, s := range []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} {
		if _, n, err := net.ParseCIDR(s); err == nil {
			nets = append(nets, n)
		}
	}
	return nets
}
