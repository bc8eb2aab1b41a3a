package transport

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// buckets are token buckets, one a peer. A bucket outlives a connection, so that
// connecting again refills nothing.
type buckets struct {
	rate, burst float64 // tokens per second, tokens

	mu    sync.Mutex
	peers map[peer.ID]*bucket // guarded by mu, at most maxBuckets
	rest  bucket              // guarded by mu: shared by the peers beyond
	swept time.Time           // guarded by mu
}

type bucket struct {
	tokens float64
	at     time.Time // of tokens; zero means full
}

func newBuckets(rate, burst float64) *buckets {
	return &buckets{rate: rate, burst: burst, peers: make(map[peer.ID]*bucket)}
}

// take takes cost tokens from the bucket of a peer, or reports that it does not
// hold as many and takes none.
func (b *buckets) take(id peer.ID, cost float64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.peers[id]
	if p == nil {
		if len(b.peers) >= maxBuckets && now.Sub(b.swept) >= time.Second {
			b.sweep(now)
			b.swept = now
		}
		if len(b.peers) >= maxBuckets {
			p = &b.rest
		} else {
			p = new(bucket)
			b.peers[id] = p
		}
	}
	p.tokens, p.at = b.level(p, now), now
	if p.tokens < cost {
		return false
	}
	p.tokens -= cost
	return true
}

// level is how full a bucket is by now; mu is held.
func (b *buckets) level(p *bucket, now time.Time) float64 {
	if p.at.IsZero() {
		return b.burst
	}
	return min(b.burst, p.tokens+max(0, now.Sub(p.at).Seconds())*b.rate)
}

// sweep forgets full buckets, which are as good as new ones; mu is held.
func (b *buckets) sweep(now time.Time) {
	for id, p := range b.peers {
		if b.level(p, now) >= b.burst {
			delete(b.peers, id)
		}
	}
}

// slots bound how many requests are served at one time, in all and for a peer.
type slots struct {
	total, perPeer int

	mu    sync.Mutex
	used  int             // guarded by mu
	peers map[peer.ID]int // guarded by mu
}

func newSlots(total, perPeer int) *slots {
	return &slots{total: total, perPeer: perPeer, peers: make(map[peer.ID]int)}
}

// acquire takes a place and reports whether there was one.
func (s *slots) acquire(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.total || s.peers[id] >= s.perPeer {
		return false
	}
	s.used++
	s.peers[id]++
	return true
}

// release gives a place back.
func (s *slots) release(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.peers[id]--; s.peers[id] == 0 {
		delete(s.peers, id)
	}
}
