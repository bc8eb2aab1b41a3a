package transport

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// IndexOptions bound what an Index parks. A zero field means its default.
type IndexOptions struct {
	Count   int           // parked envelopes
	Bytes   int           // sum of their lengths
	PerPeer int           // parked envelopes that one peer sent
	Age     time.Duration // how long an envelope waits
}

// Parked is an envelope that arrived under a tag nobody knew.
type Parked struct {
	Envelope Envelope
	Shard    int
	From     peer.ID // empty if not known
	At       time.Time
}

// Index maps tags to what they belong to: a session, a group's epoch, an inbox.
// Finding the owner of an envelope is one map look-up, however many tags there
// are. Envelopes under unknown tags wait in a bounded buffer, and are handed back
// when their tag is added. It is safe for concurrent use.
type Index[V any] struct {
	opts IndexOptions

	mu      sync.Mutex
	tags    map[Tag]V            // guarded by mu
	parked  map[Tag]*parkedEntry // guarded by mu: the newest under a tag, then by below
	hashes  map[[32]byte]bool    // guarded by mu: content hashes of what is parked
	perPeer map[peer.ID]int      // guarded by mu
	oldest  *parkedEntry         // guarded by mu: list in order of arrival
	newest  *parkedEntry         // guarded by mu
	count   int                  // guarded by mu
	bytes   int                  // guarded by mu
	dropped uint64               // guarded by mu
	lookups uint64               // guarded by mu: operations on tags, for tests
}

// parkedEntry is in two lists: all by arrival, and those of one tag.
type parkedEntry struct {
	Parked
	hash         [32]byte
	older, newer *parkedEntry
	above, below *parkedEntry
}

// NewIndex returns an empty index.
func NewIndex[V any](opts IndexOptions) *Index[V] {
	if opts.Count <= 0 {
		opts.Count = DefaultParkedCount
	}
	if opts.Bytes <= 0 {
		opts.Bytes = DefaultParkedBytes
	}
	if opts.PerPeer <= 0 {
		opts.PerPeer = DefaultParkedPerPeer
	}
	if opts.Age <= 0 {
		opts.Age = DefaultParkedAge
	}
	return &Index[V]{
		opts:    opts,
		tags:    make(map[Tag]V),
		parked:  make(map[Tag]*parkedEntry),
		hashes:  make(map[[32]byte]bool),
		perPeer: make(map[peer.ID]int),
	}
}

// Lookup returns what tag belongs to.
func (x *Index[V]) Lookup(tag Tag) (V, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lookup(tag)
}

func (x *Index[V]) lookup(tag Tag) (V, bool) {
	x.lookups++
	v, ok := x.tags[tag]
	return v, ok
}

// Add makes tags belong to v, whatever they belonged to before, and returns the
// envelopes that waited under them, oldest first, which the index then forgets.
func (x *Index[V]) Add(v V, now time.Time, tags ...Tag) []Parked {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.expire(now)
	var found []Parked
	for _, tag := range tags {
		x.tags[tag] = v
		first := len(found)
		for e := x.parked[tag]; e != nil; {
			next := e.below
			found = append(found, e.Parked)
			x.unpark(e)
			e = next
		}
		reverse(found[first:])
	}
	return found
}

// Remove forgets tags.
func (x *Index[V]) Remove(tags ...Tag) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, tag := range tags {
		delete(x.tags, tag)
	}
}

// Len returns the number of tags.
func (x *Index[V]) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.tags)
}

// Park keeps an envelope whose tag was not found, and reports whether it did:
// ciphertext that is parked already is not kept twice, and a peer that fills its
// share is refused. When the buffer is full the oldest make room. A tag that has
// been added since the look-up is reported as found: the caller looks it up again.
func (x *Index[V]) Park(p Parked, now time.Time) (parked, found bool) {
	hash := p.Envelope.ContentHash()
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.lookup(p.Envelope.Tag); ok {
		return false, true
	}
	x.expire(now)
	if x.hashes[hash] {
		return false, false
	}
	size := parkedSize(p)
	if size > x.opts.Bytes || p.From != "" && x.perPeer[p.From] >= x.opts.PerPeer {
		x.dropped++
		return false, false
	}
	for x.count >= x.opts.Count || x.bytes+size > x.opts.Bytes {
		x.unpark(x.oldest)
		x.dropped++
	}
	p.At = now
	e := &parkedEntry{Parked: p, hash: hash, older: x.newest, below: x.parked[p.Envelope.Tag]}
	if e.older == nil {
		x.oldest = e
	} else {
		e.older.newer = e
	}
	x.newest = e
	if e.below != nil {
		e.below.above = e
	}
	x.parked[p.Envelope.Tag] = e
	x.hashes[hash] = true
	x.count++
	x.bytes += size
	if p.From != "" {
		x.perPeer[p.From]++
	}
	return true, false
}

// Expire drops what has waited longer than the index keeps it.
func (x *Index[V]) Expire(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.expire(now)
}

// Parked returns how many envelopes wait, the sum of their lengths, and how many
// were dropped unread since the index was made.
func (x *Index[V]) Parked() (count, bytes int, dropped uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count, x.bytes, x.dropped
}

// expire drops from the old end; mu is held.
func (x *Index[V]) expire(now time.Time) {
	for x.oldest != nil && now.Sub(x.oldest.At) > x.opts.Age {
		x.unpark(x.oldest)
		x.dropped++
	}
}

// unpark takes an entry out of both lists and all counts; mu is held.
func (x *Index[V]) unpark(e *parkedEntry) {
	if e.older == nil {
		x.oldest = e.newer
	} else {
		e.older.newer = e.newer
	}
	if e.newer == nil {
		x.newest = e.older
	} else {
		e.newer.older = e.older
	}
	switch {
	case e.above != nil:
		e.above.below = e.below
	case e.below != nil:
		x.parked[e.Envelope.Tag] = e.below
	default:
		delete(x.parked, e.Envelope.Tag)
	}
	if e.below != nil {
		e.below.above = e.above
	}
	delete(x.hashes, e.hash)
	x.count--
	x.bytes -= parkedSize(e.Parked)
	if e.From != "" {
		if x.perPeer[e.From]--; x.perPeer[e.From] == 0 {
			delete(x.perPeer, e.From)
		}
	}
}

func parkedSize(p Parked) int { return HeaderSize + len(p.Envelope.Body) }

func reverse(s []Parked) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}
