package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// hostile is a libp2p host without any of this package's manners.
type hostile struct {
	host.Host
	t *testing.T
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings(loopQUIC), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return &hostile{Host: h, t: t}
}

func (h *hostile) addr() string { return h.Addrs()[0].String() + "/p2p/" + h.ID().String() }

func (h *hostile) connect(ctx context.Context, n *Node) {
	h.t.Helper()
	info, err := peer.AddrInfoFromString(n.Addrs()[0])
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.Connect(ctx, *info); err != nil {
		h.t.Fatal(err)
	}
}

// serve answers both protocols with f.
func (h *hostile) serve(f func(network.Stream)) {
	h.SetStreamHandler(RecordProtocol, f)
	h.SetStreamHandler(HistoryProtocol, f)
}

// ask writes b on a stream, closes it or not, and returns what comes back until
// the stream ends.
func (h *hostile) ask(ctx context.Context, n *Node, proto string, b []byte, end bool) []byte {
	h.t.Helper()
	s, err := h.NewStream(ctx, n.ID(), protocol.ID(proto))
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Reset()
	s.SetDeadline(time.Now().Add(10 * time.Second))
	s.Write(b) // the peer may have reset the stream already
	if end {
		s.CloseWrite()
	}
	answer, err := io.ReadAll(s)
	if err == nil {
		h.t.Errorf("%s: the stream ended without a reset", proto)
	}
	return answer
}

// gossip makes the hostile host speak gossipsub on every shard of the test
// network, with whatever options.
func (h *hostile) gossip(ctx context.Context, n *Node, opts ...pubsub.Option) *pubsub.Topic {
	h.t.Helper()
	opts = append(opts, pubsub.WithMessageIdFn(messageID), pubsub.WithFloodPublish(true), pubsub.WithMaxMessageSize(1<<20))
	ps, err := pubsub.NewGossipSub(h.t.Context(), h, opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	topic, err := ps.Join(Topic("test", 0))
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := topic.Subscribe(); err != nil {
		h.t.Fatal(err)
	}
	h.connect(ctx, n)
	eventually(h.t, func() bool { return len(topic.ListPeers()) > 0 })
	return topic
}

// unsigned is how honest peers speak.
func unsigned() []pubsub.Option {
	return []pubsub.Option{pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor()}
}

// checkServes proves that a node still delivers, to and from an honest peer.
func checkServes(t *testing.T, n *Node) {
	t.Helper()
	honest := openNode(t, nil)
	join(t, honest, n)
	e := randomEnvelope(t, 256)
	if err := honest.Publish(testContext(t), 5, e); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, n); !equalEnvelope(r.Envelope, e) {
		t.Fatal("received another envelope")
	}
	back := randomEnvelope(t, 1024)
	if err := n.Publish(testContext(t), 5, back); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, honest); !equalEnvelope(r.Envelope, back) {
		t.Fatal("received another envelope")
	}
}

func TestMalformedGossip(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	n := openNode(t, nil)
	topic := newHostile(t).gossip(ctx, n, unsigned()...)
	good := randomEnvelope(t, 256).Marshal()
	version := bytes.Clone(good)
	version[0] = 9
	work := bytes.Clone(good)
	work[HeaderSize-1] = 1
	for i, data := range [][]byte{{}, {1}, version, work, good[:len(good)-1], append(bytes.Clone(good), 0), bytes.Repeat([]byte{7}, 60_000)} {
		if err := topic.Publish(ctx, data); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return n.Stats().Malformed == uint64(i+1) })
	}
	checkServes(t, n)
	if s := n.Stats(); s.Received != 1 {
		t.Fatalf("stats %+v", s)
	}
}

func TestSignedGossip(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	n := openNode(t, nil)
	topic := newHostile(t).gossip(ctx, n, pubsub.WithMessageSignaturePolicy(pubsub.StrictSign))
	if err := topic.Publish(ctx, randomEnvelope(t, 256).Marshal()); err != nil {
		t.Fatal(err)
	}
	// It may be offered, asked for and refused again.
	eventually(t, func() bool { return n.Stats().RejectedOther >= 1 })
	checkServes(t, n)
}

func TestOversizeGossip(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	n := openNode(t, nil)
	topic := newHostile(t).gossip(ctx, n, unsigned()...)
	for range 3 {
		if err := topic.Publish(ctx, append(randomEnvelope(t, MaxBody).Marshal(), make([]byte, 200_000)...)); err != nil {
			t.Fatal(err)
		}
	}
	checkServes(t, n)
	if s := n.Stats(); s.Received != 1 {
		t.Fatalf("stats %+v", s)
	}
}

// Bytes that are no gossipsub at all, on the streams of gossipsub.
func TestNoiseOnGossipStreams(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	n := openNode(t, nil)
	h := newHostile(t)
	h.connect(ctx, n)
	for _, b := range [][]byte{
		bytes.Repeat([]byte{0xff}, 100_000),
		binary.AppendUvarint(nil, 1<<62),
		append(binary.AppendUvarint(nil, 1000), bytes.Repeat([]byte{0xa5}, 1000)...),
		{},
	} {
		s, err := h.NewStream(ctx, n.ID(), pubsub.GossipSubID_v11)
		if err != nil {
			t.Fatal(err)
		}
		s.SetDeadline(time.Now().Add(10 * time.Second))
		s.Write(b)
		s.CloseWrite()
		if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the stream was left open")
		}
	}
	checkServes(t, n)
}

func TestThrottledGossip(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	// Two KiB begun in an envelope of the smallest size but one.
	n := openNode(t, func(o *Options) { o.GossipRate, o.GossipBurst = 0.001, 6 })
	loud := openNode(t, nil)
	join(t, loud, n)
	for range 10 {
		if err := loud.Publish(ctx, 0, randomEnvelope(t, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { s := n.Stats(); return s.Throttled == 7 && s.Received == 3 })
	for range 3 {
		receive(t, n)
	}
	checkServes(t, n)
}

// When nobody reads Envelopes, what does not fit is dropped and counted, and the
// node goes on.
func TestUndelivered(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	n := openNode(t, func(o *Options) { o.Buffer = 1 })
	a := openNode(t, nil)
	join(t, a, n)
	// What waits is in Envelopes, with the goroutine that fills it, and in the
	// shard's queue; more than that, but less than a peer's outbound queue.
	sent := uint64(2*shardQueue(n.Shards()) + 2)
	for range sent {
		if err := a.Publish(ctx, 0, randomEnvelope(t, 256)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return n.Stats().Undelivered > 0 })
	go func() {
		for range n.Envelopes() {
		}
	}()
	eventually(t, func() bool {
		s, out := n.Stats(), a.Stats().OutboundDrops
		return s.Received+s.Undelivered+s.QueueFull+out >= sent // what was lost on the way can be asked for
	})
}

// A kept peer that stays connected but says nothing is disconnected and dialled
// again.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	silent := newHostile(t)
	silent.SetStreamHandler(ping.ID, func(network.Stream) {})
	n := openNode(t, func(o *Options) {
		o.PingEvery = 50 * time.Millisecond
		o.Bootstrap = []string{silent.addr()}
	})
	eventually(t, func() bool { return n.Stats().Redials >= 3 })
}

// A kept peer that accepts and hangs up is not dialled again before the pause is
// over, unless it is said to be elsewhere.
func TestHangsUp(t *testing.T) {
	t.Parallel()
	rude := newHostile(t)
	rude.Network().Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) { go c.Close() }})
	n := openNode(t, func(o *Options) {
		o.RedialMin, o.RedialMax = time.Hour, time.Hour
		o.Bootstrap = []string{rude.addr()}
	})
	eventually(t, func() bool { return n.Stats().Redials == 1 && len(n.Peers()) == 0 })
	n.mu.Lock()
	k := n.kept[rude.ID()]
	n.mu.Unlock()
	for range 20 {
		n.wake(rude.ID())
		eventually(t, func() bool { return len(k.wake) == 0 })
		if err := n.Keep(rude.addr()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // for a dial that should not be
	}
	if got := n.Stats().Redials; got != 1 {
		t.Fatalf("dialled %d times", got)
	}
	if err := n.Keep("/ip4/127.0.0.1/udp/1/quic-v1/p2p/" + rude.ID().String()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return n.Stats().Redials == 2 })
}

// A peer that refuses the ping has given a sign of life.
func TestRefusedPing(t *testing.T) {
	t.Parallel()
	refusing := newHostile(t)
	refusing.RemoveStreamHandler(ping.ID)
	n := openNode(t, nil)
	if err := n.Connect(testContext(t), refusing.addr()); err != nil {
		t.Fatal(err)
	}
	c := n.host.Network().ConnsToPeer(refusing.ID())[0]
	if err := pingConn(testContext(t), c); err == nil {
		t.Fatal("the ping was not refused")
	}
	n.checkAlive(c)
	if c.IsClosed() {
		t.Fatal("disconnected")
	}
}

// Close leaves no goroutine of this package, or that it had libp2p start.
func TestNoLeak(t *testing.T) {
	ours := func() int {
		buf := make([]byte, 4<<20)
		count := 0
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "libp2p/") || strings.Contains(g, "parley/transport.(*Node)") || strings.Contains(g, "quic-go") {
				count++
			}
		}
		return count
	}
	run := func() {
		opts := testOptions()
		opts.Listen = []string{loopQUIC, loopTCP}
		opts.MDNS = true
		a, err := Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		opts = testOptions()
		opts.Bootstrap = append(a.Addrs(), "/ip4/127.0.0.1/tcp/1/p2p/16Uiu2HAm6xre1f1jY3fGrByyFifJkq6QRFcpvEhRpkuXWgfwawsD")
		b, err := Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.WaitPeers(testContext(t), 0, 1); err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), 0, randomEnvelope(t, 256)); err != nil {
			t.Fatal(err)
		}
		receive(t, a)
		if ours() == 0 {
			t.Error("the count of goroutines counts nothing")
		}
		b.FetchRecord(t.Context(), a.ID(), [32]byte{})
	}
	run()
	eventually(t, func() bool { return ours() == 0 })
}
