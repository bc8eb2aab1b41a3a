package parley

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// DefaultNetwork is the network a client joins unless told otherwise.
const DefaultNetwork = "main"

// Options say how to open a client. Dir and Unlock are needed.
type Options struct {
	Dir    string
	Unlock Unlock
	// RPC is the URL of an Ethereum JSON-RPC endpoint, by which ENS names are
	// resolved. Without it, and without Resolver, only addresses are understood.
	RPC string
	// Resolver takes the place of ENS at RPC.
	Resolver identity.Resolver
	// Network names the network, DefaultNetwork if empty.
	Network string
	// Listen, Bootstrap and MDNS are as in transport.Options.
	Listen    []string
	Bootstrap []string
	MDNS      bool
	// Offline opens no socket: what is sent stays queued.
	Offline bool
	// Logger gets what an operator may want to know, never a key, a text or an
	// address. Nil is silence.
	Logger *slog.Logger
}

// Client is an open profile on the network. Its methods may be called from any
// goroutine. Close it.
type Client struct {
	db       *store.Store
	me       *self
	resolver identity.Resolver
	closeENS func()
	node     *transport.Node // nil offline
	network  string          // its name
	log      *slog.Logger
	index    *transport.Index[route]
	changed  *signal // fires after every commit that made an event

	opened time.Time
	ready  chan struct{} // closed when node is set: handlers of the node wait for it
	stop   context.CancelFunc
	work   sync.WaitGroup // every goroutine the client started

	// Channels of capacity 1 that wake a loop.
	wakePump, wakeRepair, wakePublish, wakePeer, wakeUnparked, wakeNames chan struct{}
	published                                                            map[peer.ID]bool // owned by publishRecordLoop

	// mu serialises the protocol: a step reads state, changes it in one
	// transaction of db, and then updates what is below.
	mu          sync.Mutex
	sessions    map[ratchet.ID]*resident // those in memory
	groups      map[string]*group        // the active ones, by group id
	heads       map[groups.CID]string    // their ids, by the epoch they are in
	past        map[groups.CID]*groups.Past
	reading     map[streamKey]uint64           // how far the index has each stream: its lowest missing number
	proposals   map[string]*proposals          // of the groups that this client commits in
	judgeWanted map[string]bool                // groups whose members are to be judged again
	wanted      map[identity.Account]*want     // accounts whose record is looked for
	nodes       map[identity.Account]peer.ID   // whose node is known
	suspects    map[ratchet.ID]suspect         // sessions that the other side may have lost
	renewed     map[identity.Account]time.Time // when the record of one who does not acknowledge was wanted again

	caughtUp bool // peers were asked for what was missed, since there are any

	openings       openings // of first messages
	strangersNew   int      // admitted since strangersSince
	strangersSince time.Time
	handed         map[peer.ID]int // one-time prekeys since handedSince
	handedSince    time.Time
	acks           map[identity.Account][]MessageID
	reacked        map[MessageID]time.Time        // when a repetition was last acknowledged
	found          map[identity.Account]string    // names of strangers who are about to be heard
	nameDue        map[identity.Account]time.Time // when members' names are to be asked for
	unparked       []transport.Parked             // found their owner, not yet read

	entrustedMu sync.Mutex
	entrusted   map[peer.ID]bool // peers that are left the record; guarded by entrustedMu

	strangers chan stranger // whose name is looked up before they are heard

	dropped counters
}

// Open opens the profile in a folder, joins the network and goes on where it
// stopped. ctx bounds the opening only. Errors of the store (ErrPassphrase,
// ErrLocked, ErrCorrupt, …) and of the transport (ErrListen) come wrapped.
func Open(ctx context.Context, o Options) (*Client, error) {
	db, err := store.Open(o.Dir, o.Unlock, schema(), nil)
	if err != nil {
		return nil, err
	}
	c := &Client{
		db:           db,
		log:          o.Logger,
		resolver:     o.Resolver,
		index:        transport.NewIndex[route](transport.IndexOptions{}),
		changed:      newSignal(),
		opened:       time.Now(),
		ready:        make(chan struct{}),
		strangers:    make(chan stranger, 64),
		found:        map[identity.Account]string{},
		nameDue:      map[identity.Account]time.Time{},
		wakePump:     make(chan struct{}, 1),
		wakeRepair:   make(chan struct{}, 1),
		wakePublish:  make(chan struct{}, 1),
		wakePeer:     make(chan struct{}, 1),
		wakeUnparked: make(chan struct{}, 1),
		wakeNames:    make(chan struct{}, 1),
		published:    map[peer.ID]bool{},
		entrusted:    map[peer.ID]bool{},
		sessions:     map[ratchet.ID]*resident{},
		groups:       map[string]*group{},
		heads:        map[groups.CID]string{},
		past:         map[groups.CID]*groups.Past{},
		wanted:       map[identity.Account]*want{},
		nodes:        map[identity.Account]peer.ID{},
		reading:      map[streamKey]uint64{},
		proposals:    map[string]*proposals{},
		judgeWanted:  map[string]bool{},
		acks:         map[identity.Account][]MessageID{},
		reacked:      map[MessageID]time.Time{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.open(ctx, o); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Client) open(ctx context.Context, o Options) error {
	if c.resolver == nil && o.RPC != "" {
		ens, err := identity.DialENS(ctx, o.RPC, nil)
		if err != nil {
			return err
		}
		c.resolver, c.closeENS = ens, ens.Close
	}
	background, stop := context.WithCancel(context.Background())
	c.stop = stop
	if err := c.view(ctx, func(tx *store.Tx) (err error) {
		c.me, err = loadSelf(tx)
		return err
	}); err != nil {
		return err
	}
	if err := c.noteRollback(ctx); err != nil {
		return err
	}
	for _, load := range []func(*step) error{(*step).loadNodes, c.load, (*step).expire} {
		if err := c.step(ctx, load); err != nil {
			return err
		}
	}
	if o.Offline {
		return nil
	}
	if o.Network == "" {
		o.Network = DefaultNetwork
	}
	c.network = o.Network
	key := c.me.device.Host.Bytes()
	defer key.Erase()
	node, err := transport.Open(ctx, transport.Options{
		HostKey: key, Network: o.Network, Listen: o.Listen, Bootstrap: o.Bootstrap, MDNS: o.MDNS,
		Handlers: transport.Handlers{GetRecord: c.serveRecord, PutRecord: c.keepRecord, History: c.serveHistory},
		OnPeer:   c.onPeer,
		Logger:   o.Logger,
	})
	if err != nil {
		return err
	}
	c.node = node
	c.entrust(o.Bootstrap)
	close(c.ready)
	c.keepContacts(ctx)
	for _, loop := range []func(context.Context){c.receiveLoop, c.unparkLoop, c.peerLoop, c.pumpLoop, c.repairLoop, c.namesLoop, c.publishRecordLoop, c.expireLoop} {
		c.work.Go(func() { loop(background) })
	}
	return nil
}

// load fills the memory of a client from its database.
func (c *Client) load(s *step) error {
	for _, load := range []func() error{s.loadPrekeys, s.loadSessions, s.loadGroups} {
		if err := load(); err != nil {
			return err
		}
	}
	return nil
}

// Close leaves the network, waits for everything the client started, and
// closes the profile. Messages in the outbox stay there.
func (c *Client) Close() error {
	var err error
	if c.stop != nil {
		c.stop()
	}
	if c.node != nil {
		err = c.node.Close()
	}
	c.work.Wait()
	if c.closeENS != nil {
		c.closeENS()
	}
	c.changed.close()
	return errors.Join(err, c.db.Close())
}

// Info describes the profile and its connection.
func (c *Client) Info(context.Context) (Info, error) {
	info := c.me.info()
	if c.node != nil {
		info.Network = c.network
		info.Addrs = c.node.Addrs()
		info.Peers = len(c.node.Peers())
		info.Connected = info.Peers > 0
	}
	return info, nil
}

// Connect dials peers of the network, each named by a multiaddr that ends in
// /p2p and its peer id.
func (c *Client) Connect(ctx context.Context, addrs ...string) error {
	if c.node == nil {
		return transport.ErrClosed
	}
	return closed(c.node.Connect(ctx, addrs...))
}

// step is one change of the client's state: a transaction, and what is to be
// done to the memory once it has been committed.
type step struct {
	*store.Tx
	c     *Client
	now   time.Time
	after []func()
	live  map[ratchet.ID]*ratchet.Session // states of sessions that are not in memory yet
	event bool                            // an event was written
}

// view runs fn on a snapshot, beside the steps.
func (c *Client) view(ctx context.Context, fn func(*store.Tx) error) error {
	return closed(c.db.View(ctx, fn))
}

// closed adds ErrClosed to those of the store and the node.
func closed(err error) error {
	if errors.Is(err, store.ErrClosed) || errors.Is(err, transport.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// step runs fn in a transaction under c.mu.
func (c *Client) step(ctx context.Context, fn func(*step) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stepLocked(ctx, fn)
}

func (c *Client) stepLocked(ctx context.Context, fn func(*step) error) error {
	s := &step{c: c, now: time.Now()}
	err := c.db.Update(ctx, func(tx *store.Tx) error {
		s.Tx = tx
		return fn(s)
	})
	err = closed(err)
	var conflict *identity.ConflictError
	if errors.As(err, &conflict) && conflict.Log != nil {
		// The step is undone, what it found out is not.
		note := c.stepLocked(ctx, func(s *step) error { return s.noteConflict(conflict) })
		return errors.Join(err, note)
	}
	if err != nil {
		for _, session := range s.live {
			session.Erase()
		}
		return err
	}
	for _, f := range s.after {
		f()
	}
	if s.event {
		c.changed.fire()
	}
	return nil
}

// then adds work for after the commit. It runs under c.mu.
func (s *step) then(f func()) { s.after = append(s.after, f) }

// unixMilli is the form of times in the database.
func (s *step) unixMilli() int64 { return s.now.UnixMilli() }

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// signal wakes all who wait for something to change.
type signal struct {
	mu     sync.Mutex
	ch     chan struct{}
	closed bool
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

// wait returns a channel that is closed at the next change.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		close(s.ch)
		s.ch = make(chan struct{})
	}
}

func (s *signal) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.ch)
	}
}
