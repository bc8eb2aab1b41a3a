package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
)

// pingTimeout is how long a sign of life may take.
const pingTimeout = 5 * time.Second

// keeper keeps one peer connected. Its goroutine, run, belongs to the node.
type keeper struct {
	info  peer.AddrInfo
	wake  chan struct{} // one place: something changed
	again chan struct{} // one place: it may be at another address now
}

// Keep dials peers, named as for Connect, for as long as the node is open: at
// once, and whenever they are not connected, with a pause between dials that
// doubles from RedialMin to RedialMax, until a connection outlives PingEvery or
// Keep names another address of the peer. A connected peer that gives no sign of
// life is disconnected and dialled again. The node itself is skipped. It returns
// ErrAddress, also for more peers than a node keeps, and ErrClosed.
func (n *Node) Keep(addrs ...string) error {
	infos, err := parseAddrs(addrs)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := n.keep(info); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) keep(info peer.AddrInfo) error {
	if info.ID == n.ID() {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	if n.kept[info.ID] == nil && len(n.kept) >= maxKept {
		return fmt.Errorf("%w: more than %d peers to keep", ErrAddress, maxKept)
	}
	if old := n.kept[info.ID]; old != nil {
		// The goroutine of old goes on; its addresses are in the peerstore,
		// where the dial finds those added here too.
		known := n.host.Peerstore().Addrs(info.ID)
		n.host.Peerstore().AddAddrs(info.ID, info.Addrs, keptTTL)
		if slices.ContainsFunc(info.Addrs, func(a ma.Multiaddr) bool { return !ma.Contains(known, a) }) {
			hint(old.again)
		}
		return nil
	}
	k := &keeper{info: info, wake: make(chan struct{}, 1), again: make(chan struct{}, 1)}
	n.kept[info.ID] = k
	n.host.Peerstore().AddAddrs(info.ID, info.Addrs, keptTTL)
	n.host.ConnManager().Protect(info.ID, "kept")
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		n.run(k)
	}()
	return nil
}

// keptTTL outlives every node: the addresses of kept peers do not age.
const keptTTL = 100 * 365 * 24 * time.Hour

// wake tells the keeper of a peer, if there is one, to look.
func (n *Node) wake(id peer.ID) {
	n.mu.Lock()
	k := n.kept[id]
	n.mu.Unlock()
	if k != nil {
		hint(k.wake)
	}
}

// hint fills the one place of a channel, and never waits.
func hint(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run dials while the peer is not connected, and looks after it while it is. It
// ends with the node. The pause doubles with every dial and starts anew when a
// connection has proved itself: a peer that accepts and hangs up at once, as a
// full one does, is not dialled without end.
func (n *Node) run(k *keeper) {
	pause := n.opts.RedialMin
	var next time.Time // no dial before it
	for {
		var wait time.Duration
		connected := n.connected(k.info.ID)
		switch {
		case connected:
			wait = n.opts.PingEvery
		case time.Now().Before(next):
			wait = time.Until(next)
		default:
			n.counters.redials.Add(1)
			if err := n.dial(n.done, k.info); err != nil && n.done.Err() == nil {
				n.opts.Logger.Debug("transport: redial", "peer", k.info.ID, "err", err)
			}
			// Up to a quarter less, so that peers that lost one node do
			// not come back in step.
			next = time.Now().Add(pause - time.Duration(mrand.Int64N(int64(pause)/4+1)))
			pause = min(2*pause, n.opts.RedialMax)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-n.done.Done():
			timer.Stop()
			return
		case <-k.again:
			timer.Stop()
			pause, next = n.opts.RedialMin, time.Time{}
		case <-k.wake:
			timer.Stop()
		case <-timer.C:
			if !connected {
				continue
			}
			pause = n.opts.RedialMin
			for _, c := range n.host.Network().ConnsToPeer(k.info.ID) {
				n.checkAlive(c)
			}
		}
	}
}

// checkOlder is told of every new connection. A second connection to a peer
// often means that the peer was killed and started again, and that the first one
// is dead without anyone having said so; what is sent on it would be lost.
func (n *Node) checkOlder(_ network.Network, fresh network.Conn) {
	for _, c := range n.host.Network().ConnsToPeer(fresh.RemotePeer()) {
		if c == fresh || !n.enter() {
			continue
		}
		go func() {
			defer n.wg.Done()
			n.checkAlive(c)
		}()
	}
}

// checkAlive disconnects a peer that gives no sign of life on a connection in
// time. Any answer is one, a refusal too. All of the peer's connections are
// closed, not this one alone: when the dead one carries gossipsub's outgoing
// stream, gossipsub forgets with it what the peer listens to, and the peer, whose
// own stream on the other connection is well, has no reason to say it again.
func (n *Node) checkAlive(c network.Conn) {
	ctx, cancel := context.WithTimeout(n.done, min(pingTimeout, n.opts.PingEvery))
	defer cancel()
	if err := pingConn(ctx, c); err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		n.opts.Logger.Debug("transport: no sign of life", "peer", c.RemotePeer(), "err", err)
		n.host.Network().ClosePeer(c.RemotePeer())
	}
}

// pingConn is the libp2p ping protocol over one connection: libp2p's own client
// takes a connection of its choice.
func pingConn(ctx context.Context, c network.Conn) error {
	s, err := c.NewStream(ctx)
	if err != nil {
		return err
	}
	defer s.Reset()
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	if err := multistream.SelectProtoOrFail(ping.ID, s); err != nil {
		return err
	}
	var sent, got [ping.PingSize]byte
	rand.Read(sent[:])
	if _, err := s.Write(sent[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(s, got[:]); err != nil {
		return err
	}
	if !bytes.Equal(sent[:], got[:]) {
		return errors.New("transport: wrong answer to a ping")
	}
	return nil
}
