package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
)

// libp2p logs errors to stderr unless told otherwise, for the whole process. A
// library is silent; a program that wants those lines sets a handler of its own,
// which comes after this one.
func init() { gologshim.SetDefaultHandler(slog.DiscardHandler) }

var (
	// ErrListen is returned by Open when an address cannot be listened on, such
	// as one whose port is in use. Its text names the address.
	ErrListen = errors.New("transport: cannot listen")
	// ErrNoPeers is returned by Publish when no connected peer is subscribed to
	// the shard: nobody heard it. Queue it, and try again on PeerJoined.
	ErrNoPeers = errors.New("transport: nobody to hear it")
	// ErrClosed is returned by every method of a Node after Close.
	ErrClosed = errors.New("transport: node is closed")
	// ErrAddress is returned for what is not a multiaddr that ends in /p2p/<id>.
	ErrAddress = errors.New("transport: bad peer address")
	// ErrShard is returned for a shard the network does not have.
	ErrShard = errors.New("transport: no such shard")
	// ErrUnreachable is returned when a peer cannot be connected to.
	ErrUnreachable = errors.New("transport: peer cannot be reached")
)

// defaultListen is where a node listens unless told otherwise. A machine
// without IPv6 is no reason to fail.
var defaultListen = []struct {
	addr     string
	optional bool
}{
	{"/ip4/0.0.0.0/udp/0/quic-v1", false},
	{"/ip4/0.0.0.0/tcp/0", false},
	{"/ip6/::/udp/0/quic-v1", true},
	{"/ip6/::/tcp/0", true},
}

// Node is a peer of the network. Its methods are safe for concurrent use.
type Node struct {
	opts   Options
	host   host.Host
	pubsub *pubsub.PubSub
	topics []*pubsub.Topic // by shard
	events chan PeerEvent  // to the goroutine of queueEvents
	told   chan PeerEvent  // from there to the goroutine of dispatch
	out    chan Received   // written by the goroutines of readShard

	gossipRate *buckets
	streamRate *buckets
	slots      *slots
	counters   counters

	rosterHint chan struct{} // one place, to the goroutine of watchRoster
	mdnsDials  chan struct{} // one place for each dial of a peer found by mDNS

	mu     sync.Mutex
	closed bool                // guarded by mu
	joined chan struct{}       // guarded by mu: closed and replaced when a peer joins a shard
	roster []map[peer.ID]bool  // guarded by mu: by shard, who was told of by PeerJoined
	kept   map[peer.ID]*keeper // guarded by mu
	// rosterLost counts the calls of forgetPeer. Guarded by mu.
	rosterLost uint64

	// done ends when the node closes. It is the parent of every context that
	// no caller gave, and is a field because goroutines outlive the calls that
	// start them.
	done context.Context
	stop context.CancelFunc
	// wg counts every goroutine and stream handler of the node: Close waits.
	wg sync.WaitGroup
	// closeOnce runs the closing; closeErr is its outcome.
	closeOnce sync.Once
	closeErr  error
}

// Open listens, subscribes to every shard and starts to dial. It returns when
// the node listens; ctx bounds that only. It returns ErrListen, ErrNetwork,
// ErrAddress (for a bootstrap address), or secp.ErrPrivateKey. The caller closes
// the node.
func Open(ctx context.Context, opts Options) (*Node, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("transport: open: %w", err)
	}
	key, err := newHostKey(opts.HostKey)
	if err != nil {
		return nil, err
	}
	bootstrap, err := parseAddrs(opts.Bootstrap)
	if err != nil {
		return nil, err
	}
	h, err := libp2p.New(
		libp2p.Identity(key),
		libp2p.NoListenAddrs, // each address is listened on by itself, below
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.UserAgent("parley/1"),
		libp2p.Transport(quic.NewTransport),
		// With SO_REUSEPORT two processes share a port without an error.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Transport(websocket.New),
	)
	if err != nil {
		return nil, fmt.Errorf("transport: host: %w", err)
	}
	n := &Node{
		opts:       opts,
		host:       h,
		events:     make(chan PeerEvent),
		told:       make(chan PeerEvent),
		out:        make(chan Received, opts.Buffer),
		gossipRate: newBuckets(opts.GossipRate, opts.GossipBurst),
		streamRate: newBuckets(opts.StreamRate, opts.StreamBurst),
		slots:      newSlots(maxStreams, maxStreamsPerPeer),
		rosterHint: make(chan struct{}, 1),
		mdnsDials:  make(chan struct{}, maxMDNSDials),
		joined:     make(chan struct{}),
		roster:     make([]map[peer.ID]bool, opts.Shards),
		kept:       make(map[peer.ID]*keeper),
	}
	n.done, n.stop = context.WithCancel(context.Background())
	if err := n.start(bootstrap); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// start does what can fail after the host exists. Protocols come before
// listening: a peer that connects learns at once what is spoken.
func (n *Node) start(bootstrap []peer.AddrInfo) error {
	sub, err := n.host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("transport: events: %w", err)
	}
	n.wg.Go(func() { n.watchPeers(sub) })
	if n.opts.OnPeer != nil {
		n.wg.Go(n.queueEvents)
		n.wg.Go(n.dispatch)
	}
	if err := n.startGossip(); err != nil {
		return err
	}
	n.startStreams()
	if err := n.listen(); err != nil {
		return err
	}
	n.host.Network().Notify(&network.NotifyBundle{ConnectedF: n.checkOlder})
	for _, info := range bootstrap {
		if err := n.keep(info); err != nil {
			return err
		}
	}
	if n.opts.MDNS {
		n.wg.Go(n.runMDNS)
	}
	return nil
}

// listen opens every address by itself: libp2p is content with one of many.
func (n *Node) listen() error {
	if n.opts.Listen == nil {
		for _, d := range defaultListen {
			if err := n.listenOn(d.addr); err != nil && !d.optional {
				return err
			}
		}
		return nil
	}
	for _, addr := range n.opts.Listen {
		if err := n.listenOn(addr); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) listenOn(addr string) error {
	m, err := ma.NewMultiaddr(addr)
	if err != nil {
		return fmt.Errorf("%w on %s: %w", ErrListen, addr, err)
	}
	if err := n.host.Network().Listen(m); err != nil {
		return fmt.Errorf("%w on %s: %w", ErrListen, addr, err)
	}
	return nil
}

// enter counts a goroutine that the node did not start itself, and reports
// whether the node is open. The caller calls n.wg.Done when it is.
func (n *Node) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.wg.Add(1)
	return true
}

// Close stops everything the node started and waits for it, handlers and OnPeer
// included. Envelopes is closed when it returns. It may be called again.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		// Subscriptions are not cancelled one by one: that would prune the
		// meshes, and peers would not graft this node for a while when it
		// comes back.
		n.stop()
		if err := n.host.Close(); err != nil {
			n.closeErr = fmt.Errorf("transport: close: %w", err)
		}
		n.wg.Wait()
		close(n.out)
	})
	return n.closeErr
}

// ID returns the node's own peer id.
func (n *Node) ID() peer.ID { return n.host.ID() }

// Shards returns the number of shards of the network.
func (n *Node) Shards() int { return n.opts.Shards }

// Addrs returns the multiaddrs the node can be dialled at, each with /p2p.
func (n *Node) Addrs() []string {
	var addrs []string
	for _, a := range n.host.Addrs() {
		addrs = append(addrs, a.String()+"/p2p/"+n.host.ID().String())
	}
	return addrs
}

// Peers returns the connected peers, in order of their ids.
func (n *Node) Peers() []peer.ID {
	peers := n.host.Network().Peers()
	slices.SortFunc(peers, func(a, b peer.ID) int { return strings.Compare(string(a), string(b)) })
	return peers
}

// PeerAddr returns the address a connected peer is reached at, without /p2p, or
// "" if it is not connected.
func (n *Node) PeerAddr(id peer.ID) string {
	for _, c := range n.host.Network().ConnsToPeer(id) {
		return c.RemoteMultiaddr().String()
	}
	return ""
}

// Stats returns the node's counters.
func (n *Node) Stats() Stats { return n.counters.snapshot() }

// Connect dials peers, each named by one or more multiaddrs that end in /p2p,
// and returns when all are connected or have failed. A peer that is connected
// already is left as it is. It returns ErrAddress before any dial, or every
// failure as ErrUnreachable. Peers are not dialled again: see Keep.
func (n *Node) Connect(ctx context.Context, addrs ...string) error {
	infos, err := parseAddrs(addrs)
	if err != nil {
		return err
	}
	if !n.enter() {
		return ErrClosed
	}
	defer n.wg.Done()
	errs := make([]error, len(infos))
	var wg sync.WaitGroup
	for i, info := range infos {
		wg.Go(func() { errs[i] = n.dial(ctx, info) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// dial connects to a peer unless it is connected, or is the node itself.
func (n *Node) dial(ctx context.Context, info peer.AddrInfo) error {
	if info.ID == n.ID() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(n.done, cancel)()
	// The swarm refuses for a while what failed before. Who calls this knows
	// why it is time to try again.
	if sw, ok := n.host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(info.ID)
	}
	if err := n.host.Connect(ctx, info); err != nil {
		if n.done.Err() != nil {
			return ErrClosed
		}
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, info.ID, err)
	}
	return nil
}

func (n *Node) connected(id peer.ID) bool {
	return n.host.Network().Connectedness(id) == network.Connected
}

// parseAddrs groups multiaddrs by peer, in the order the peers first appear.
func parseAddrs(addrs []string) ([]peer.AddrInfo, error) {
	if len(addrs) > maxAddrs {
		return nil, fmt.Errorf("%w: more than %d of them", ErrAddress, maxAddrs)
	}
	var infos []peer.AddrInfo
	for _, s := range addrs {
		info, err := peer.AddrInfoFromString(s)
		if err != nil {
			return nil, fmt.Errorf("%w %q: %w", ErrAddress, s, err)
		}
		i := slices.IndexFunc(infos, func(o peer.AddrInfo) bool { return o.ID == info.ID })
		if i < 0 {
			infos = append(infos, *info)
		} else {
			infos[i].Addrs = append(infos[i].Addrs, info.Addrs...)
		}
	}
	return infos, nil
}

// watchPeers turns the host's events into the node's, and wakes the keepers. It
// ends with the node.
func (n *Node) watchPeers(sub event.Subscription) {
	defer sub.Close()
	for {
		select {
		case <-n.done.Done():
			return
		case e, ok := <-sub.Out():
			if !ok {
				return
			}
			change := e.(event.EvtPeerConnectednessChanged)
			switch change.Connectedness {
			case network.Connected:
				n.emit(PeerEvent{Kind: PeerConnected, Peer: change.Peer})
			case network.NotConnected:
				n.emit(PeerEvent{Kind: PeerDisconnected, Peer: change.Peer})
			}
			n.wake(change.Peer)
		}
	}
}

// emit hands an event on. It waits only when OnPeer is maxEvents behind: none may
// be lost, and while it waits the host takes no more connections.
func (n *Node) emit(e PeerEvent) {
	if e.Kind == PeerJoined {
		n.mu.Lock()
		close(n.joined)
		n.joined = make(chan struct{})
		n.mu.Unlock()
	}
	if n.opts.OnPeer == nil {
		return
	}
	select {
	case n.events <- e:
	case <-n.done.Done():
	}
}

// queueEvents lets events wait for dispatch. It ends with the node.
func (n *Node) queueEvents() {
	var waiting []PeerEvent
	for {
		in, out, first := n.events, n.told, PeerEvent{}
		if len(waiting) == maxEvents {
			in = nil
		}
		if len(waiting) == 0 {
			out = nil
		} else {
			first = waiting[0]
		}
		select {
		case <-n.done.Done():
			return
		case e := <-in:
			waiting = append(waiting, e)
		case out <- first:
			waiting = waiting[1:]
		}
	}
}

// dispatch calls OnPeer, from this goroutine alone. It ends with the node.
func (n *Node) dispatch() {
	for {
		select {
		case <-n.done.Done():
			return
		case e := <-n.told:
			n.opts.OnPeer(e)
		}
	}
}

// dialTimeout bounds one dial.
const dialTimeout = 15 * time.Second
