package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secret"
)

const (
	loopQUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
	loopTCP  = "/ip4/127.0.0.1/tcp/0"
	loopWS   = "/ip4/127.0.0.1/tcp/0/ws"
)

// testContext ends well before the test binary's own limit.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// testOptions are what every test node has: loopback only, QUIC unless the test
// says otherwise, impatient with dead peers.
func testOptions() Options {
	return Options{
		HostKey:   secret.Random(32),
		Network:   "test",
		Listen:    []string{loopQUIC},
		Heartbeat: 100 * time.Millisecond,
		RedialMin: 20 * time.Millisecond,
		RedialMax: 200 * time.Millisecond,
	}
}

func openNode(t testing.TB, change func(*Options)) *Node {
	t.Helper()
	opts := testOptions()
	if change != nil {
		change(&opts)
	}
	n, err := Open(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// openFixed opens a node on a port that no other socket is given by chance: who
// closes the node and opens it again finds the port free. It is below those that
// systems give to sockets that ask for any.
func openFixed(t testing.TB, listen string, change func(*Options)) *Node {
	t.Helper()
	for range 100 {
		opts := testOptions()
		opts.Listen = []string{strings.Replace(listen, "/0", fmt.Sprintf("/%d", 20_000+mrand.IntN(10_000)), 1)}
		change(&opts)
		n, err := Open(testContext(t), opts)
		if errors.Is(err, ErrListen) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	t.Fatal("no free port")
	return nil
}

// join connects a to each of others and waits until they hear each other.
func join(t testing.TB, a *Node, others ...*Node) {
	t.Helper()
	ctx := testContext(t)
	for _, b := range others {
		if err := a.Connect(ctx, b.Addrs()...); err != nil {
			t.Fatal(err)
		}
	}
	for shard := range a.Shards() {
		if err := a.WaitPeers(ctx, shard, len(others)); err != nil {
			t.Fatal(err)
		}
		for _, b := range others {
			if err := b.WaitPeers(ctx, shard, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func randomEnvelope(t testing.TB, size int) Envelope {
	t.Helper()
	var tag Tag
	rand.Read(tag[:])
	body := make([]byte, size)
	rand.Read(body)
	e, err := NewEnvelope(tag, body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func receive(t testing.TB, n *Node) Received {
	t.Helper()
	select {
	case r, ok := <-n.Envelopes():
		if !ok {
			t.Fatal("Envelopes is closed")
		}
		return r
	case <-testContext(t).Done():
		t.Fatalf("nothing received: %+v", n.Stats())
	}
	return Received{}
}

func equalEnvelope(a, b Envelope) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

func TestPublishOverEveryTransport(t *testing.T) {
	for _, listen := range []string{loopQUIC, loopTCP, loopWS} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			change := func(o *Options) { o.Listen = []string{listen} }
			a, b := openNode(t, change), openNode(t, change)
			join(t, a, b)
			for shard, size := range Sizes() {
				e := randomEnvelope(t, size)
				if err := a.Publish(testContext(t), shard, e); err != nil {
					t.Fatal(err)
				}
				r := receive(t, b)
				if !equalEnvelope(r.Envelope, e) || r.Shard != shard || r.From != a.ID() {
					t.Fatalf("size %d: received another envelope, shard %d from %s", size, r.Shard, r.From)
				}
			}
			// And back.
			e := randomEnvelope(t, 256)
			if err := b.Publish(testContext(t), 7, e); err != nil {
				t.Fatal(err)
			}
			if r := receive(t, a); !equalEnvelope(r.Envelope, e) {
				t.Fatal("received another envelope")
			}
			if s := a.Stats(); s.Published != 5 || s.Received != 1 {
				t.Fatalf("stats %+v", s)
			}
		})
	}
}

func TestThreeInALine(t *testing.T) {
	t.Parallel()
	a, b, c := openNode(t, nil), openNode(t, nil), openNode(t, nil)
	join(t, b, a, c)
	e := randomEnvelope(t, 1024)
	if err := a.Publish(testContext(t), 3, e); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, b); !equalEnvelope(r.Envelope, e) {
		t.Fatal("received another envelope")
	}
	// c is in b's mesh from a heartbeat on; what came before is repeated, as
	// whoever publishes must.
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	ctx := testContext(t)
	for {
		select {
		case <-ctx.Done():
			t.Fatal("never reached the far end")
		case r := <-c.Envelopes():
			if r.Envelope.ContentHash() != e.ContentHash() || r.From != b.ID() {
				t.Fatalf("received another envelope, from %s", r.From)
			}
			return
		case <-tick.C:
			if err := a.Publish(testContext(t), 3, e.Reseal()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestNobodyToHear(t *testing.T) {
	t.Parallel()
	joined := make(chan PeerEvent, 64)
	a := openNode(t, func(o *Options) { o.OnPeer = func(e PeerEvent) { joined <- e } })
	e := randomEnvelope(t, 256)
	if err := a.Publish(testContext(t), 0, e); !errors.Is(err, ErrNoPeers) {
		t.Fatalf("publish alone: %v", err)
	}
	// A peer of another network does not hear either.
	other := openNode(t, func(o *Options) { o.Network = "other" })
	if err := a.Connect(testContext(t), other.Addrs()...); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(testContext(t), 0, e); !errors.Is(err, ErrNoPeers) {
		t.Fatalf("publish to another network: %v", err)
	}
	b := openNode(t, nil)
	if err := b.Connect(testContext(t), a.Addrs()...); err != nil {
		t.Fatal(err)
	}
	for ev := range joined {
		if ev.Kind == PeerJoined && ev.Shard == 0 {
			if ev.Peer != b.ID() {
				t.Fatalf("joined: %s", ev.Peer)
			}
			break
		}
	}
	// The envelope that nobody heard was not sent: it needs no new nonce.
	if err := a.Publish(testContext(t), 0, e); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, b); !equalEnvelope(r.Envelope, e) {
		t.Fatal("received another envelope")
	}
	if got := a.Stats().PublishedNone; got != 2 {
		t.Fatalf("PublishedNone = %d", got)
	}
}

func TestResealedEnvelopeArrivesAgain(t *testing.T) {
	t.Parallel()
	a, b := openNode(t, nil), openNode(t, nil)
	join(t, a, b)
	e := randomEnvelope(t, 256)
	last := randomEnvelope(t, 256)
	for _, p := range []Envelope{e, e, e.Reseal(), last} {
		if err := a.Publish(testContext(t), 0, p); err != nil {
			t.Fatal(err)
		}
	}
	var hashes [][32]byte
	for range 3 {
		hashes = append(hashes, receive(t, b).Envelope.ContentHash())
	}
	count := 0
	for _, h := range hashes {
		if h == e.ContentHash() {
			count++
		}
	}
	if count != 2 {
		t.Fatalf("arrived %d times, want the first and the resealed", count)
	}
}

// unworked returns envelopes that do not have n bits of work, however the dice
// fall: without any, with one bit too few, with the work of another envelope, and
// changed after the work was done.
func unworked(t *testing.T, n int) []Envelope {
	t.Helper()
	mint := func(bits int) Envelope {
		e := randomEnvelope(t, 256)
		if err := e.Mint(t.Context(), bits); err != nil {
			t.Fatal(err)
		}
		return e
	}
	var all []Envelope
	for _, make := range []func() Envelope{
		func() Envelope { return randomEnvelope(t, 256) },
		func() Envelope { return mint(n - 1) },
		func() Envelope { e := randomEnvelope(t, 256); e.Work = mint(n).Work; return e },
		func() Envelope { e := mint(n); e.Body[0]++; return e },
	} {
		e := make()
		for e.CheckWork(n) == nil { // as one in 2^n has it by chance
			e = make()
		}
		all = append(all, e)
	}
	return all
}

func TestWork(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	change := func(o *Options) { o.WorkBits = 8 }
	a, b := openNode(t, change), openNode(t, change)
	join(t, a, b)
	if err := a.Publish(ctx, 0, randomEnvelope(t, 256)); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, b); r.Envelope.CheckWork(8) != nil {
		t.Fatal("published without work")
	}
	lazy := newHostile(t).gossip(ctx, b, unsigned()...)
	bad := unworked(t, 8)
	for _, e := range bad {
		if err := lazy.Publish(ctx, e.Marshal()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return b.Stats().Malformed == uint64(len(bad)) })
	// The same peer is heard once it works.
	good := randomEnvelope(t, 256)
	if err := good.Mint(ctx, 8); err != nil {
		t.Fatal(err)
	}
	if err := lazy.Publish(ctx, good.Marshal()); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, b); !equalEnvelope(r.Envelope, good) {
		t.Fatal("an envelope without work was delivered")
	}
}

func TestUsedPort(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	_, tcpPort, _ := net.SplitHostPort(tcp.Addr().String())
	_, udpPort, _ := net.SplitHostPort(udp.LocalAddr().String())
	for _, addr := range []string{
		"/ip4/127.0.0.1/tcp/" + tcpPort,
		"/ip4/127.0.0.1/udp/" + udpPort + "/quic-v1",
		"/ip4/127.0.0.1/sctp/1",
		"nonsense",
	} {
		opts := testOptions()
		opts.Listen = []string{loopTCP, addr}
		n, err := Open(testContext(t), opts)
		if !errors.Is(err, ErrListen) || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: %v", addr, err)
		}
		if n != nil {
			t.Errorf("%s: a node beside the error", addr)
		}
	}
	// A port of another node is used as well.
	a := openNode(t, func(o *Options) { o.Listen = []string{loopTCP} })
	addr, _, _ := strings.Cut(a.Addrs()[0], "/p2p/")
	opts := testOptions()
	opts.Listen = []string{addr}
	if _, err := Open(testContext(t), opts); !errors.Is(err, ErrListen) {
		t.Errorf("port of another node: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"no network":    func(o *Options) { o.Network = "" },
		"network name":  func(o *Options) { o.Network = "a/b" },
		"long name":     func(o *Options) { o.Network = strings.Repeat("a", MaxNetworkName+1) },
		"no key":        func(o *Options) { o.HostKey = secret.Key{} },
		"zero key":      func(o *Options) { o.HostKey = secret.New(make([]byte, 32)) },
		"shards":        func(o *Options) { o.Shards = MaxShards + 1 },
		"work":          func(o *Options) { o.WorkBits = MaxWorkBits + 1 },
		"bootstrap":     func(o *Options) { o.Bootstrap = []string{"/ip4/127.0.0.1/tcp/1"} },
		"bootstrap too": func(o *Options) { o.Bootstrap = []string{"127.0.0.1:1"} },
	} {
		opts := testOptions()
		change(&opts)
		if n, err := Open(testContext(t), opts); err == nil {
			n.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRedialAfterPartition(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{loopQUIC, loopTCP} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			key := secret.Random(32)
			first := openFixed(t, listen, func(o *Options) { o.HostKey = key })
			addr := first.Addrs()[0]
			var mu sync.Mutex
			var kinds []PeerEventKind
			a := openNode(t, func(o *Options) {
				o.Listen = []string{}
				o.Bootstrap = []string{addr}
				o.OnPeer = func(e PeerEvent) {
					if e.Kind != PeerJoined {
						mu.Lock()
						kinds = append(kinds, e.Kind)
						mu.Unlock()
					}
				}
			})
			if err := a.WaitPeers(ctx, 0, 1); err != nil {
				t.Fatal(err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return len(a.Peers()) == 0 && a.ShardPeers(0) == 0 })
			if err := a.Publish(ctx, 0, randomEnvelope(t, 256)); !errors.Is(err, ErrNoPeers) {
				t.Fatalf("publish in a partition: %v", err)
			}
			port, _, _ := strings.Cut(addr, "/p2p/")
			again := openNode(t, func(o *Options) { o.HostKey = key; o.Listen = []string{port} })
			if again.ID() != first.ID() {
				t.Fatal("the same key gives another id")
			}
			if err := a.WaitPeers(ctx, 0, 1); err != nil {
				t.Fatal(err)
			}
			e := randomEnvelope(t, 256)
			if err := a.Publish(ctx, 0, e); err != nil {
				t.Fatal(err)
			}
			if r := receive(t, again); !equalEnvelope(r.Envelope, e) {
				t.Fatal("received another envelope")
			}
			if a.Stats().Redials < 2 {
				t.Fatalf("redials: %d", a.Stats().Redials)
			}
			eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(kinds) >= 3 })
			mu.Lock()
			defer mu.Unlock()
			if want := []PeerEventKind{PeerConnected, PeerDisconnected, PeerConnected}; !slices.Equal(kinds[:3], want) {
				t.Fatalf("events %v", kinds)
			}
		})
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	a, b := openNode(t, nil), openNode(t, nil)
	if err := a.Connect(ctx, append(a.Addrs(), b.Addrs()...)...); err != nil {
		t.Fatal(err)
	}
	if p := a.Peers(); len(p) != 1 || p[0] != b.ID() {
		t.Fatalf("peers %v", p)
	}
	if addr := a.PeerAddr(b.ID()); !strings.HasPrefix(b.Addrs()[0], addr) || addr == "" {
		t.Fatalf("peer at %q, listens on %q", addr, b.Addrs()[0])
	}
	for _, addr := range []string{"", "localhost:1", "/ip4/127.0.0.1/tcp/1", strings.Replace(b.Addrs()[0], "/p2p/16", "/p2p/17", 1)} {
		if err := a.Connect(ctx, addr); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", addr, err)
		}
		if err := a.Keep(addr); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", addr, err)
		}
	}
	// An address whose peer has another key is not that peer.
	impostor := openNode(t, nil)
	host, _, _ := strings.Cut(b.Addrs()[0], "/p2p/")
	if err := a.Connect(ctx, host+"/p2p/"+impostor.ID().String()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("impostor: %v", err)
	}
}

func TestClosedNode(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	a, b := openNode(t, nil), openNode(t, nil)
	join(t, a, b)
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := <-a.Envelopes(); ok {
		t.Error("an envelope after Close")
	}
	_, fetchErr := a.FetchRecord(ctx, b.ID(), [32]byte{})
	_, historyErr := a.FetchHistory(ctx, b.ID(), make([]Tag, 1))
	for name, err := range map[string]error{
		"Publish":      a.Publish(ctx, 0, randomEnvelope(t, 256)),
		"Connect":      a.Connect(ctx, b.Addrs()...),
		"Keep":         a.Keep(b.Addrs()...),
		"WaitPeers":    a.WaitPeers(ctx, 0, 1),
		"FetchRecord":  fetchErr,
		"StoreRecord":  a.StoreRecord(ctx, b.ID(), [32]byte{}, nil),
		"FetchHistory": historyErr,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Publish(ctx, 8, randomEnvelope(t, 256)); !errors.Is(err, ErrShard) {
		t.Errorf("shard 8: %v", err)
	}
	if err := b.Publish(ctx, 0, Envelope{Body: make([]byte, 100)}); !errors.Is(err, ErrSize) {
		t.Errorf("100 bytes: %v", err)
	}
}

// An OnPeer that is slow does not keep the node from connecting, loses no event,
// and is told of them in order.
func TestSlowOnPeer(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	release := make(chan struct{})
	var told []int
	last := make(chan struct{})
	const count = 5000
	a := openNode(t, func(o *Options) {
		o.OnPeer = func(e PeerEvent) {
			<-release
			if e.Kind != PeerJoined || e.Shard < 1000 {
				return // of a real peer
			}
			told = append(told, e.Shard)
			if len(told) == count {
				close(last)
			}
		}
	})
	emitted := make(chan struct{})
	go func() {
		defer close(emitted)
		for i := range count {
			a.emit(PeerEvent{Kind: PeerJoined, Shard: 1000 + i})
		}
	}()
	for _, c := range []chan struct{}{emitted, last} {
		select {
		case <-c:
		case <-ctx.Done():
			t.Fatal("the events wait for OnPeer")
		}
		if c == emitted {
			b := openNode(t, nil)
			join(t, a, b)
			close(release)
		}
	}
	if !slices.IsSorted(told) {
		t.Fatal("not in order")
	}
}

// A peer that was gone for a moment, too short to be missed, is told of again:
// what was published in between did not reach it.
func TestJoinedAgain(t *testing.T) {
	t.Parallel()
	joined := make(chan PeerEvent, 1024)
	a := openNode(t, func(o *Options) {
		o.OnPeer = func(e PeerEvent) {
			if e.Kind == PeerJoined {
				joined <- e
			}
		}
	})
	b := openNode(t, nil)
	join(t, a, b)
	all := func(why string) {
		t.Helper()
		ctx := testContext(t)
		missing := make(map[int]bool)
		for shard := range a.Shards() {
			missing[shard] = true
		}
		for len(missing) > 0 {
			select {
			case e := <-joined:
				delete(missing, e.Shard)
			case <-ctx.Done():
				t.Fatalf("%s: not told of %d shards", why, len(missing))
			}
		}
	}
	all("joined")
	(*tracer)(a).OnClosedOutboundStream(b.ID()) // as gossipsub says
	all("unseen")
	for range 5 {
		a.host.Network().ClosePeer(b.ID())
		join(t, a, b)
		all("reconnected")
	}
}

// eventually waits for what other goroutines bring about.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("did not happen in time")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
