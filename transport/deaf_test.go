package transport

import (
	"context"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A node that has forgotten what a connected peer listens to, as gossipsub does
// when its stream there ends, hears it again.
func TestForgottenPeerIsHeardAgain(t *testing.T) {
	a := openNode(t, nil)
	b := openNode(t, func(o *Options) { o.Bootstrap = a.Addrs() })
	ctx, cancel := context.WithTimeout(testContext(t), time.Minute)
	defer cancel()
	join(t, b, a)
	// B ends the stream that a writes to. A's next one finds it as it is.
	reset := 0
	for _, c := range b.host.Network().ConnsToPeer(a.ID()) {
		for _, s := range c.GetStreams() {
			if s.Stat().Direction == network.DirInbound && slices.Contains(pubsub.GossipSubDefaultProtocols, s.Protocol()) {
				s.Reset()
				reset++
			}
		}
	}
	if reset == 0 {
		t.Fatal("there is no stream to end")
	}
	for a.ShardPeers(0) > 0 {
		if ctx.Err() != nil {
			t.Skip("gossipsub did not forget: the fault that this mends is gone")
		}
		time.Sleep(time.Millisecond)
	}
	for shard := range a.Shards() {
		if err := a.WaitPeers(ctx, shard, 1); err != nil {
			t.Fatalf("shard %d: %v; %+v", shard, err, a.Stats())
		}
	}
	if n := a.Stats().Deaf; n != 1 {
		t.Errorf("connections were closed %d times", n)
	}
	e := randomEnvelope(t, 256)
	if err := a.Publish(ctx, 0, e); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-b.Envelopes():
		if r.Envelope.ContentHash() != e.ContentHash() {
			t.Error("another envelope came")
		}
	case <-ctx.Done():
		t.Error("nothing comes")
	}
}

func TestDeafPeersAreLeftAloneLongerEachTime(t *testing.T) {
	d, now := deafPeers{}, time.Now()
	all := []peer.ID{"deaf", "fine"}
	listening := map[peer.ID]bool{"fine": true}
	var closed []time.Duration
	for s := range 100 {
		after := time.Duration(s) * time.Second
		for _, id := range d.check(all, listening, now.Add(after)) {
			if id != "deaf" {
				t.Fatalf("%s is closed", id)
			}
			closed = append(closed, after)
		}
	}
	// The second after a closing it is there again.
	if want := []time.Duration{3 * time.Second, 10 * time.Second, 23 * time.Second, 48 * time.Second, 97 * time.Second}; !slices.Equal(closed, want) {
		t.Errorf("closed at %v", closed)
	}
	listening["deaf"] = true
	d.check(all, listening, now)
	if len(d) != 0 {
		t.Errorf("%d are deaf", len(d))
	}
	for i := range 2 * maxDeafPeers {
		d.check([]peer.ID{peer.ID(rune(i))}, nil, now)
	}
	if len(d) > maxDeafPeers {
		t.Errorf("%d are remembered", len(d))
	}
}
