// Package pprf is a puncturable pseudo-random function: a key from which the
// values at all points can be derived, until it is punctured at a point; then
// the values at all others.
//
// It is the tree of Goldreich, Goldwasser and Micali (1986) of depth 128. A node's
// seed gives those of its children; a value is the seed of a leaf. To puncture at
// a point is to replace the seed above its leaf by those of the siblings of the
// way there. Begin with [New]; [Function.Evaluate] first, and [Function.Puncture]
// when what was derived is on the disk.
package pprf

import (
	"errors"
	"fmt"
	"hash"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

const (
	// PointSize is the size of a point, in bytes.
	PointSize = 16
	// MaxPunctures bounds how often a function is punctured. At the limit a state
	// has some 2000 seeds.
	MaxPunctures = 16

	depth = 8 * PointSize
)

var (
	// ErrPunctured is returned for a point that the function was punctured at.
	ErrPunctured = errors.New("pprf: punctured at this point")
	// ErrFull is returned for one puncture more than [MaxPunctures].
	ErrFull = errors.New("pprf: punctured too often")
	// ErrState is returned for stored state that does not decode.
	ErrState = errors.New("pprf: stored state is damaged")
)

// Point is where a function has a value.
type Point [PointSize]byte

// bit returns the i-th bit of a point, the most significant one of its first byte
// being number 0.
func (x *Point) bit(i int) byte { return x[i/8] >> (7 - i%8) & 1 }

// Function is a state of a puncturable function. It does not change.
type Function struct {
	newHash   func() hash.Hash
	root      *node
	punctures int
}

// node is a subtree: nil where nothing is left of it, which is so of punctured
// leaves alone.
type node struct {
	seed  secret.Key // empty if the function was punctured below
	child [2]*node   // if so
}

// New returns the function with a root seed, which it owns. newHash is the hash
// of the tree, whose size is that of seeds and values; root has that size too, or
// New panics.
func New(newHash func() hash.Hash, root secret.Key) *Function {
	if root.Len() != newHash().Size() {
		panic("pprf: root seed of another size than the hash")
	}
	return &Function{newHash: newHash, root: &node{seed: root}}
}

// Punctures returns how often the function was punctured.
func (f *Function) Punctures() int { return f.punctures }

// Evaluate returns the value at a point, or [ErrPunctured].
func (f *Function) Evaluate(x Point) (secret.Key, error) {
	n, d := f.covering(x)
	if n == nil {
		return secret.Key{}, ErrPunctured
	}
	h := f.newHash()
	seed := n.seed.Clone()
	for ; d < depth; d++ {
		next := derive(h, seed, x.bit(d))
		seed.Erase()
		seed = next
	}
	return seed, nil
}

// covering returns the node that a point's value is derived from, and its depth;
// nil if there is none.
func (f *Function) covering(x Point) (*node, int) {
	n, d := f.root, 0
	for n != nil && n.seed.IsZero() {
		n, d = n.child[x.bit(d)], d+1
	}
	return n, d
}

// Puncture returns the function without its value at a point. The two share
// seeds. spent is the one that f has and next has not: erase it as soon as next
// is stored; f cannot be used then. It returns [ErrPunctured] and [ErrFull].
func (f *Function) Puncture(x Point) (next *Function, spent secret.Key, err error) {
	n, d := f.covering(x)
	if n == nil {
		return nil, spent, ErrPunctured
	}
	if f.punctures == MaxPunctures {
		return nil, spent, ErrFull
	}
	next = &Function{newHash: f.newHash, punctures: f.punctures + 1}
	// The way to the covering node, copied: its other children are f's.
	at := &next.root
	for i, old := 0, f.root; i < d; i++ {
		b := x.bit(i)
		*at = &node{child: old.child}
		at, old = &(*at).child[b], old.child[b]
	}
	h := f.newHash()
	seed := n.seed.Clone()
	for i := d; i < depth; i++ {
		b := x.bit(i)
		*at = new(node)
		(*at).child[1-b] = &node{seed: derive(h, seed, 1-b)}
		below := derive(h, seed, b)
		seed.Erase()
		seed, at = below, &(*at).child[b]
	}
	seed.Erase()
	*at = nil
	return next, n.seed, nil
}

// derive returns the seed of a child: Hash(seed || byte b).
func derive(h hash.Hash, seed secret.Key, b byte) secret.Key {
	h.Reset()
	h.Write(seed.Bytes())
	h.Write([]byte{b})
	return secret.New(h.Sum(make([]byte, 0, h.Size())))
}

// Erase overwrites all seeds, also those that it shares with others.
func (f *Function) Erase() {
	f.root.erase()
	f.root = nil
}

func (n *node) erase() {
	if n == nil {
		return
	}
	n.seed.Erase()
	n.child[0].erase()
	n.child[1].erase()
}

// What comes first in the stored form of a subtree.
const (
	stateGone  = 0 // nothing is left of it
	stateSeed  = 1 // its seed follows
	stateSplit = 2 // its children follow
)

// Marshal returns the state for storage: the tree from the root on, children in
// order. It is secret; with SHA-256 it has 4.4 KB after one puncture and at most
// 68 KB.
func (f *Function) Marshal() secret.Key { return secret.New(f.root.append(nil)) }

func (n *node) append(b []byte) []byte {
	switch {
	case n == nil:
		return append(b, stateGone)
	case !n.seed.IsZero():
		return append(append(b, stateSeed), n.seed.Bytes()...)
	}
	b = append(b, stateSplit)
	return n.child[1].append(n.child[0].append(b))
}

// Unmarshal decodes what [Function.Marshal] made, of a function with the same
// hash. It copies the bytes. It returns [ErrState] for anything else.
func Unmarshal(newHash func() hash.Hash, stored secret.Key) (*Function, error) {
	f := &Function{newHash: newHash}
	r := wire.NewReader(stored.Bytes())
	f.root = f.read(r, newHash().Size(), 0)
	if err := r.Done(); err != nil {
		f.Erase()
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return f, nil
}

// read decodes a subtree: leaves alone can be gone, and only what is punctured is
// split, so that a state has one form.
func (f *Function) read(r *wire.Reader, size, at int) *node {
	switch kind := r.Uint8(); {
	case kind == stateGone && at == depth && f.punctures < MaxPunctures:
		f.punctures++
		return nil
	case kind == stateSeed:
		return &node{seed: secret.Copy(r.Bytes(size))}
	case kind == stateSplit && at < depth:
		before := f.punctures
		n := &node{}
		n.child[0] = f.read(r, size, at+1)
		if r.Err() != nil {
			return n
		}
		n.child[1] = f.read(r, size, at+1)
		if f.punctures > before {
			return n
		}
		r.Fail(wire.ErrValue)
		return n
	}
	r.Fail(wire.ErrValue)
	return nil
}
