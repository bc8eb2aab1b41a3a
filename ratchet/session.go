package ratchet

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// maxN is the largest message number; a chain ends before it.
const maxN = math.MaxUint32 - 1

// Session is one side of a pairwise session. It is immutable: methods that
// advance it return the next state, which shares no key with the one before. It
// does not print its keys. The zero value is not usable.
type Session struct {
	*origin // never changed, so shared

	rk secret.Key

	// Our ratchet key. dhs is empty between the receive step that used it last
	// and the send step that makes the next: the step is lazy, so that the new
	// key is drawn when it is needed. dhsPub is the key of the current sending
	// chain and outlives dhs.
	dhs    secret.Key
	dhsPub [secp.PublicKeySize]byte
	// The peer's ratchet key.
	dhr [secp.PublicKeySize]byte

	// Sending chain; cks is empty before the first.
	cks, hks, nhks secret.Key
	ns             uint64 // number of the next message
	pn             uint32 // length of the chain before

	// Receiving chain; ckr is empty before the first. nhkr opens the first
	// header of the next.
	ckr, hkr, nhkr secret.Key
	nr             uint64 // number of the next message expected
	recvChain      uint32 // how many receiving chains there were

	// The tag keys of both chains, derived from hks and hkr; not stored.
	tks, tkr secret.Key

	pq pqState

	// What an initiator seals into every message until the first answer; nil
	// afterwards, and always on the other side. Never changed, so shared.
	pre *preamble

	meter *meter
}

// origin is what a session is from its beginning on.
type origin struct {
	id      ID
	peer    Identity
	created int64 // Unix seconds
}

// ID returns the session's id, the same on both sides.
func (s *Session) ID() ID { return s.id }

// Peer returns the other device.
func (s *Session) Peer() Identity { return s.peer }

// Created returns when this side made the session, to the second.
func (s *Session) Created() time.Time { return time.Unix(s.created, 0) }

// begin sets the times of a session that this side has just made.
func (s *Session) begin(now time.Time) {
	s.created = unix(now)
	s.pq.since = s.created
}

// Answered reports whether something from the peer was read in this session.
// Until then every message of an initiator carries the preamble.
func (s *Session) Answered() bool { return s.recvChain > 0 }

// Format writes the session's id, whatever the verb.
func (s Session) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "ratchet.Session(%x)", s.id[:4]) }

// Preferred returns the one of two sessions with one peer that both sides send
// on when both started at the same time: the one with the smaller ID. The other
// is kept for receiving for [SimultaneousGrace].
func Preferred(a, b *Session) *Session {
	if bytes.Compare(b.id[:], a.id[:]) < 0 {
		return b
	}
	return a
}

// keys lists the fields that hold secrets. The first storedKeys of them are
// stored: eight keys of keySize and the seed of KEMPrivateSize bytes.
func (s *Session) keys() [storedKeys + 2]*secret.Key {
	return [...]*secret.Key{&s.rk, &s.dhs, &s.cks, &s.hks, &s.nhks, &s.ckr, &s.hkr, &s.nhkr, &s.pq.seed, &s.tks, &s.tkr}
}

const (
	storedKeys     = 9
	storedKeysSize = 8*keySize + KEMPrivateSize // in bytes
)

func (s *Session) stored() []*secret.Key {
	all := s.keys()
	return all[:storedKeys]
}

// derive derives what is not stored.
func (s *Session) derive() {
	if !s.hks.IsZero() {
		s.tks = tagKey(s.hks)
	}
	if !s.hkr.IsZero() {
		s.tkr = tagKey(s.hkr)
	}
}

// clone returns a copy that shares no key.
func (s *Session) clone() *Session {
	next := *s
	keys := next.keys()
	secret.CloneAll(keys[:]...)
	return &next
}

// Erase overwrites the session's keys with zeros; it cannot be used
// afterwards. It is called on a state after the next one was stored.
func (s *Session) Erase() {
	for _, k := range s.keys() {
		k.Erase()
	}
}

// MaxPlaintext returns the largest plaintext, in bytes, that the next Encrypt
// takes: as much as there is room for beside the preamble until the peer has
// answered, and beside both extensions of the post-quantum ratchet afterwards,
// whether or not they are there.
func (s *Session) MaxPlaintext() int {
	if s.pre != nil {
		return MaxBody - messageOverhead - s.pre.overhead()
	}
	return MaxBody - messageOverhead - pqRoom
}

// Encrypt returns the next state and the message. appAD is authenticated and
// does not travel: the receiver must have the same. now decides the tag of
// messages before the first answer, and when the post-quantum ratchet is due. It
// returns [ErrTooLarge] or [ErrExhausted].
func (s *Session) Encrypt(plaintext, appAD []byte, now time.Time) (next *Session, m Message, err error) {
	if len(plaintext) > s.MaxPlaintext() {
		return nil, Message{}, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(plaintext), s.MaxPlaintext())
	}
	if s.rk.IsZero() {
		return nil, Message{}, ErrState
	}
	next = s.clone()
	if m, err = next.encrypt(plaintext, appAD, now); err != nil {
		next.Erase()
		return nil, Message{}, err
	}
	return next, m, nil
}

// encrypt is Encrypt on a state that may change.
func (s *Session) encrypt(plaintext, appAD []byte, now time.Time) (m Message, err error) {
	if s.dhs.IsZero() {
		if err := s.sendStep(); err != nil {
			return m, err
		}
	}
	if s.ns > maxN {
		return m, ErrExhausted
	}
	if err := s.offer(now); err != nil {
		return m, err
	}
	h := &header{dh: s.dhsPub, pn: s.pn, n: uint32(s.ns), ext: s.pq.exts()}
	mk, ck := kdfCK(s.cks)
	defer clear(mk[:])
	s.meter.add(countChain)
	s.cks.Erase()
	s.cks = secret.New(ck[:])
	s.ns++
	s.pq.sent = min(s.pq.sent, math.MaxUint32-1) + 1

	overhead := 0
	if s.pre != nil {
		overhead = s.pre.overhead()
	}
	size := sizeFor(messageOverhead + h.extSize() + len(plaintext) + overhead) // never 0: see MaxPlaintext
	m.Tag = messageTag(s.tks, h.n)
	m.Body = s.meter.sealMessage(s.hks, s.tks, mk[:], s.id, h, plaintext, appAD, size-overhead)
	if s.pre != nil {
		return s.pre.seal(&s.peer, m, now, s.meter)
	}
	return m, nil
}

// offer opens an offer if one is due, and makes sure that an open one can be
// sent. An initiator that has no answer yet makes none: what it sends carries a
// preamble already, and could not be answered sooner.
func (s *Session) offer(now time.Time) error {
	switch {
	case s.pre != nil:
		return nil
	case s.pq.due(now):
		s.meter.add(countKEM)
		return s.pq.open()
	case !s.pq.seed.IsZero() && s.pq.ek == nil:
		s.meter.add(countKEM)
		return s.pq.restore()
	}
	return nil
}

// sendStep starts a sending chain with a fresh ratchet key.
func (s *Session) sendStep() error {
	key, err := secp.GenerateKey()
	if err != nil {
		return fmt.Errorf("ratchet: %w", err)
	}
	return s.sendStepWith(key)
}

func (s *Session) sendStepWith(key *secp.PrivateKey) error {
	peer, err := secp.ParsePublicKey(s.dhr[:])
	if err != nil {
		return stateError(err)
	}
	shared, err := key.ECDH(peer)
	if err != nil {
		return fmt.Errorf("ratchet: %w", err)
	}
	defer shared.Erase()
	s.meter.add(countDH)
	ss, err := s.pq.answer(s.meter)
	if err != nil {
		return err
	}
	s.pn = uint32(s.ns)
	s.ns = 0
	s.hks = s.nhks
	s.tks.Erase()
	s.tks = tagKey(s.hks)
	rk := s.rk
	s.rk, s.cks, s.nhks = kdfRK(rk, shared, ss)
	s.dhs = key.Bytes()
	s.dhsPub = key.PublicKey().Compressed()
	s.meter.step(s, rk.Bytes(), shared.Bytes(), ss)
	clear(ss)
	rk.Erase()
	return nil
}

// receiveStep starts the receiving chain that h is of, and uses our ratchet key
// for the last time.
func (s *Session) receiveStep(h *header, now time.Time) error {
	if s.dhs.IsZero() || h.dh == s.dhr {
		return ErrDecrypt // the peer answered a chain that we have not begun, or repeats its key
	}
	peer, err := secp.ParsePublicKey(h.dh[:])
	if err != nil {
		return ErrDecrypt
	}
	key, err := secp.NewPrivateKey(s.dhs.Bytes())
	if err != nil {
		return stateError(err)
	}
	shared, err := key.ECDH(peer)
	if err != nil {
		return ErrDecrypt
	}
	defer shared.Erase()
	s.meter.add(countDH)
	ss, err := s.pq.read(h, s.meter, now)
	if err != nil {
		return err
	}
	s.pq.chainEnded()
	for _, k := range []*secret.Key{&s.hkr, &s.tkr, &s.ckr, &s.hks, &s.tks, &s.cks} {
		k.Erase() // the next message we send begins a chain, so ours has ended too
	}
	s.hkr = s.nhkr
	s.tkr = tagKey(s.hkr)
	rk := s.rk
	s.rk, s.ckr, s.nhkr = kdfRK(rk, shared, ss)
	clear(ss)
	rk.Erase()
	s.dhs.Erase()
	s.dhr = h.dh
	s.nr = 0
	s.recvChain++
	return nil
}

// Incoming is a message as it arrived, with what the caller has stored for it.
type Incoming struct {
	Tag     Tag
	Body    []byte
	AppAD   []byte      // as the sender gave it
	Skipped *SkippedKey // the session's stored key with this tag, nil if there is none
	Stored  int         // how many skipped keys are stored for the session
}

// Opened is what reading a message gives. The caller stores Session and
// applies Delta in one transaction with Plaintext.
type Opened struct {
	Session   *Session // the next state
	Plaintext []byte
	Delta     Delta
}

// Decrypt opens a message. It returns [ErrDecrypt], [ErrReplay],
// [ErrTooFarAhead] or [ErrVersion]; then nothing has changed. A message that
// the peer did not make, or that was touched on the way, costs at most one AEAD
// opening, of the header, and neither a point nor an ML-KEM operation. A tag that is not that of the message is
// refused like a flipped bit.
func (s *Session) Decrypt(in Incoming, now time.Time) (*Opened, error) {
	if s.rk.IsZero() {
		return nil, ErrState
	}
	if in.Skipped != nil {
		return s.decryptSkipped(in, now)
	}
	if !s.hkr.IsZero() {
		h, err := s.openHeader(s.hkr, s.tkr, in.Body)
		if err == nil {
			return s.decryptNext(h, s.tkr, in, now, false)
		}
		if !errors.Is(err, ErrDecrypt) {
			return nil, err
		}
	}
	if !s.nhkr.IsZero() {
		tk := tagKey(s.nhkr)
		defer tk.Erase()
		h, err := s.openHeader(s.nhkr, tk, in.Body)
		if err != nil {
			return nil, err
		}
		return s.decryptNext(h, tk, in, now, true)
	}
	return nil, ErrDecrypt
}

// decryptSkipped opens a message with a key stored earlier.
func (s *Session) decryptSkipped(in Incoming, now time.Time) (*Opened, error) {
	k := in.Skipped
	if k.Tag != in.Tag || k.HeaderKey.Len() != keySize || k.MessageKey.Len() != keySize {
		return nil, ErrDecrypt
	}
	if k.Expired(now) {
		return nil, ErrReplay
	}
	tk := tagKey(k.HeaderKey)
	defer tk.Erase()
	h, err := s.openHeader(k.HeaderKey, tk, in.Body)
	if err != nil {
		return nil, err
	}
	if h.n != k.N {
		return nil, ErrDecrypt
	}
	pt, err := h.openContent(k.MessageKey.Bytes(), s.id, in.AppAD)
	if err != nil {
		return nil, err
	}
	next := s.clone()
	if err := next.pq.take(&h.header, next.meter); err != nil {
		next.Erase()
		return nil, err
	}
	used := k.Tag
	return &Opened{Session: next, Plaintext: pt, Delta: Delta{Used: &used}}, nil
}

// decryptNext opens a message whose header is genuine, of the current receiving
// chain or, if step, of the next, whose tag key is tk.
func (s *Session) decryptNext(h *openedHeader, tk secret.Key, in Incoming, now time.Time, step bool) (*Opened, error) {
	tag := messageTag(tk, h.n)
	if subtle.ConstantTimeCompare(tag[:], in.Tag[:]) != 1 {
		return nil, ErrDecrypt
	}
	next := s.clone()
	var skipped []SkippedKey
	fail := func(err error) (*Opened, error) {
		next.Erase()
		for i := range skipped {
			skipped[i].Erase()
		}
		return nil, err
	}
	var err error
	if step {
		if !s.ckr.IsZero() {
			if skipped, err = next.skip(skipped, uint64(h.pn), now); err != nil {
				return fail(err)
			}
		}
		if h.n > MaxSkip {
			return fail(ErrTooFarAhead)
		}
		if err := next.receiveStep(&h.header, now); err != nil {
			return fail(err)
		}
		next.pre = nil
	} else if h.dh != s.dhr {
		return fail(ErrDecrypt)
	}
	if uint64(h.n) < next.nr {
		return fail(ErrReplay)
	}
	if skipped, err = next.skip(skipped, uint64(h.n), now); err != nil {
		return fail(err)
	}
	mk, ck := kdfCK(next.ckr)
	defer clear(mk[:])
	next.meter.add(countChain)
	pt, err := h.openContent(mk[:], s.id, in.AppAD)
	if err != nil {
		clear(ck[:])
		return fail(err)
	}
	next.ckr.Erase()
	next.ckr = secret.New(ck[:])
	next.nr++
	if err := next.pq.take(&h.header, next.meter); err != nil {
		return fail(err)
	}
	o := &Opened{Session: next, Plaintext: pt, Delta: Delta{New: skipped}}
	o.Delta.Evict = max(0, min(in.Stored, in.Stored+len(skipped)-MaxStored))
	return o, nil
}

// skip appends the keys of the messages before until in the current receiving
// chain, and advances the chain to it.
func (s *Session) skip(keys []SkippedKey, until uint64, now time.Time) ([]SkippedKey, error) {
	if until < s.nr {
		// Only for the length of a chain that has ended: the peer cannot have
		// sent fewer messages than were read.
		return keys, ErrDecrypt
	}
	if until-s.nr > MaxSkip {
		return keys, ErrTooFarAhead
	}
	if until == s.nr {
		return keys, nil
	}
	for ; s.nr < until; s.nr++ {
		mk, ck := kdfCK(s.ckr)
		s.meter.add(countChain)
		keys = append(keys, SkippedKey{
			Tag: messageTag(s.tkr, uint32(s.nr)), N: uint32(s.nr),
			HeaderKey: s.hkr.Clone(), MessageKey: secret.New(mk[:]), Created: now.Truncate(time.Second),
		})
		s.ckr.Erase()
		s.ckr = secret.New(ck[:])
	}
	return keys, nil
}
