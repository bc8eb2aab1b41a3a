package groups

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// ratchetType is one of the two ratchets of a leaf (RFC 9420, Section 9.1).
type ratchetType uint32

const (
	ratchetHandshake   ratchetType = 1
	ratchetApplication ratchetType = 2
)

func ratchetFor(t ContentType) ratchetType {
	if t == ContentApplication {
		return ratchetApplication
	}
	return ratchetHandshake
}

// secretTree derives the message keys of one epoch (RFC 9420, Section 9). Its
// state is rows: at first the root's secret alone; where a leaf's secret was
// taken, the siblings along its path instead of it; for each sender heard of,
// two ratchets; for each generation that was skipped, its key and nonce. A
// secret from which another was derived is gone with the same transaction.
type secretTree struct {
	suite  *suite.Suite
	epoch  CID
	leaves uint32 // of the ratchet tree, blank ones included: a power of two
	rows   Rows
}

// root is the index of the root in the array form of RFC 9420, Appendix C.
func (t *secretTree) root() uint32 { return t.leaves - 1 }

// start stages the first row.
func (t *secretTree) start(encryption secret.Key, out *changes) {
	out.put(rowKey(rowNode, t.root()), encryption.Clone().Bytes())
}

// ratchetState is a sender's ratchet as it is stored:
//
//	struct {
//	    uint64 next;    // the generation that secret belongs to
//	    uint64 oldest;  // no skipped key is kept below
//	    opaque secret[Nh];
//	} Ratchet;
type ratchetState struct {
	next, oldest uint64
	secret       secret.Key
}

func (s *ratchetState) marshal() []byte {
	b := wire.AppendUint64(make([]byte, 0, 16+s.secret.Len()), s.next)
	b = wire.AppendUint64(b, s.oldest)
	return append(b, s.secret.Bytes()...)
}

func (t *secretTree) parseRatchet(b []byte) (*ratchetState, error) {
	r := wire.NewReader(b)
	s := &ratchetState{next: r.Uint64(), oldest: r.Uint64()}
	s.secret = secret.Copy(r.Bytes(t.suite.HashSize()))
	if err := r.Done(); err != nil || s.oldest > s.next || s.next-s.oldest > MaxSkippedKeys || s.next > math.MaxUint32+1 {
		return nil, fmt.Errorf("%w: ratchet row", ErrState)
	}
	return s, nil
}

// load returns a sender's ratchet. If it is the first time, both of the leaf's
// ratchets are taken out of the tree, and out receives what that changes.
func (t *secretTree) load(typ ratchetType, leaf uint32, out *changes) (*ratchetState, error) {
	if leaf >= t.leaves {
		return nil, fmt.Errorf("%w: leaf %d", ErrNotMember, leaf)
	}
	row, err := t.rows.Get(t.epoch, rowKey(rowRatchet, uint32(typ), leaf))
	if err != nil {
		return nil, err
	}
	if row != nil {
		return t.parseRatchet(row)
	}
	node, err := t.takeLeaf(2*leaf, out)
	if err != nil {
		return nil, err
	}
	var wanted *ratchetState
	for _, r := range []struct {
		typ   ratchetType
		label string
	}{{ratchetHandshake, "handshake"}, {ratchetApplication, "application"}} {
		s := &ratchetState{secret: t.suite.ExpandWithLabel(node, r.label, nil, t.suite.HashSize())}
		if r.typ == typ {
			wanted = s // the caller stages it, one step further
		} else {
			out.put(rowKey(rowRatchet, uint32(r.typ), leaf), s.marshal())
		}
	}
	return wanted, nil
}

// takeLeaf derives a leaf's secret from the nearest ancestor that is left, and
// stages the ancestor's end and its other descendants' beginnings.
func (t *secretTree) takeLeaf(leafNode uint32, out *changes) (secret.Key, error) {
	root := t.root()
	path := []uint32{leafNode} // upwards
	var row []byte
	for {
		at := path[len(path)-1]
		var err error
		if row, err = t.rows.Get(t.epoch, rowKey(rowNode, at)); err != nil {
			return secret.Key{}, err
		}
		if row != nil {
			break
		}
		if at == root {
			return secret.Key{}, fmt.Errorf("%w: secret tree has no row for a leaf", ErrState)
		}
		path = append(path, parentNode(at))
	}
	if len(row) != t.suite.HashSize() {
		return secret.Key{}, fmt.Errorf("%w: secret tree row", ErrState)
	}
	node := secret.Copy(row)
	out.del(rowKey(rowNode, path[len(path)-1]))
	for i := len(path) - 1; i > 0; i-- {
		left := t.suite.ExpandWithLabel(node, "tree", []byte("left"), t.suite.HashSize())
		right := t.suite.ExpandWithLabel(node, "tree", []byte("right"), t.suite.HashSize())
		node.Erase()
		half := uint32(1) << (level(path[i]) - 1)
		if path[i-1] < path[i] {
			node = left
			out.put(rowKey(rowNode, path[i]+half), right.Bytes())
		} else {
			node = right
			out.put(rowKey(rowNode, path[i]-half), left.Bytes())
		}
	}
	return node, nil
}

// level and parentNode are RFC 9420, Appendix C.
func level(x uint32) int { return bits.TrailingZeros32(^x) }

func parentNode(x uint32) uint32 {
	k := level(x)
	return (x | 1<<k) &^ (1 << (k + 1))
}

// messageKey is what one generation encrypts with.
type messageKey struct {
	generation uint32
	key        secret.Key
	nonce      []byte // suite.NonceSize
}

func (t *secretTree) keyAt(s *ratchetState) messageKey {
	g := uint32(s.next)
	return messageKey{
		generation: g,
		key:        t.suite.DeriveTreeSecret(s.secret, "key", g, t.suite.AEAD().KeySize()),
		nonce:      t.suite.DeriveTreeSecret(s.secret, "nonce", g, suite.NonceSize).Bytes(),
	}
}

// step moves the ratchet one generation on.
func (t *secretTree) step(s *ratchetState) {
	next := t.suite.DeriveTreeSecret(s.secret, "secret", uint32(s.next), t.suite.HashSize())
	s.secret.Erase()
	s.secret = next
	s.next++
}

// next returns the key of the own next message, and stages the step.
func (t *secretTree) next(typ ratchetType, leaf uint32, out *changes) (messageKey, error) {
	s, err := t.load(typ, leaf, out)
	if err != nil {
		return messageKey{}, err
	}
	if s.next > math.MaxUint32 {
		return messageKey{}, ErrExhausted
	}
	k := t.keyAt(s)
	t.step(s)
	s.oldest = s.next
	out.put(rowKey(rowRatchet, uint32(typ), leaf), s.marshal())
	return k, nil
}

// at returns the key of a generation of a sender's ratchet, and stages its
// consumption: the ratchet moves on, generations passed over leave their key
// and nonce behind, and those too old are dropped.
func (t *secretTree) at(typ ratchetType, leaf, generation uint32, out *changes) (messageKey, error) {
	s, err := t.load(typ, leaf, out)
	if err != nil {
		return messageKey{}, err
	}
	g := uint64(generation)
	if g < s.next {
		return t.skipped(typ, leaf, generation, out)
	}
	if g-s.next > MaxGenerationsAhead {
		return messageKey{}, fmt.Errorf("%w: generation %d, next is %d", ErrTooFarAhead, g, s.next)
	}
	if s.oldest == s.next && g == s.next {
		s.oldest++ // nothing is kept, and nothing will be
	}
	for s.next < g {
		k := t.keyAt(s)
		out.put(rowKey(rowSkipped, uint32(typ), leaf, k.generation), append(k.key.Bytes(), k.nonce...))
		t.step(s)
	}
	k := t.keyAt(s)
	t.step(s)
	for ; s.oldest+MaxSkippedKeys < s.next; s.oldest++ {
		out.del(rowKey(rowSkipped, uint32(typ), leaf, uint32(s.oldest)))
	}
	out.put(rowKey(rowRatchet, uint32(typ), leaf), s.marshal())
	return k, nil
}

func (t *secretTree) skipped(typ ratchetType, leaf, generation uint32, out *changes) (messageKey, error) {
	at := rowKey(rowSkipped, uint32(typ), leaf, generation)
	row, err := t.rows.Get(t.epoch, at)
	if err != nil {
		return messageKey{}, err
	}
	if row == nil {
		return messageKey{}, fmt.Errorf("%w: generation %d of leaf %d", ErrReplay, generation, leaf)
	}
	n := t.suite.AEAD().KeySize()
	if len(row) != n+suite.NonceSize {
		return messageKey{}, fmt.Errorf("%w: skipped key row", ErrState)
	}
	out.del(at)
	return messageKey{generation: generation, key: secret.Copy(row[:n]), nonce: append([]byte(nil), row[n:]...)}, nil
}
