package ratchet

import (
	"bytes"
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// stateVersion is the first byte of everything stored. It is not a version of
// the protocol: a new layout of the state gets a new one.
const stateVersion = 2

// StateSize is the size of a marshalled session that has been answered, in
// bytes, whatever is in it.
const StateSize = 1 + IDSize + IdentitySize + 8 + 2 + storedKeysSize + 2*secp.PublicKeySize + 8 + 4 + 8 + 4 +
	4 + 4 + 8 + 4 + 1 + KEMPublicSize + 1

// Marshal returns the state to be stored, secrets included: always [StateSize]
// bytes once the peer has answered, and until then, for an initiator, larger by
// what it repeats in its messages, at most [MaxSessionSize] bytes.
//
//	struct {
//	  uint8 version = 2;
//	  opaque id[32];
//	  opaque peer[150];
//	  uint64 created;        // Unix seconds
//	  uint16 present;        // bit i: key i of the following is there; zeros if not
//	  opaque rk[32], dhs[32], cks[32], hks[32], nhks[32], ckr[32], hkr[32], nhkr[32];
//	  opaque seed[64];       // of the open offer
//	  opaque dhs_public[33];
//	  opaque dhr[33];
//	  uint64 ns;
//	  uint32 pn;
//	  uint64 nr;
//	  uint32 receiving_chain;
//	  uint32 offered;
//	  uint32 sent;           // since the last offer was answered
//	  uint64 since;          // when that was, Unix seconds
//	  uint32 taken;
//	  uint8  held_kind;      // 0 nothing, 1 encapsulation key, 2 ciphertext
//	  opaque held[1184];     // and zeros to the end
//	  optional<struct { opaque inbox_key[32]; LP preamble; }> first;
//	} Session;
func (s *Session) Marshal() secret.Key {
	size := StateSize
	if s.pre != nil {
		size += InboxKeySize + 4 + s.pre.size()
	}
	b := make([]byte, 0, size)
	b = append(append(b, stateVersion), s.id[:]...)
	b = s.peer.append(b)
	b = wire.AppendUint64(b, uint64(s.created))
	var present uint16
	for i, k := range s.stored() {
		if !k.IsZero() {
			present |= 1 << i
		}
	}
	b = wire.AppendUint16(b, present)
	for i, k := range s.stored() {
		b = appendPadded(b, k.Bytes(), keyLen(i))
	}
	b = append(append(b, s.dhsPub[:]...), s.dhr[:]...)
	b = wire.AppendUint64(b, s.ns)
	b = wire.AppendUint32(b, s.pn)
	b = wire.AppendUint64(b, s.nr)
	b = wire.AppendUint32(b, s.recvChain)
	b = wire.AppendUint32(b, s.pq.offered)
	b = wire.AppendUint32(b, s.pq.sent)
	b = wire.AppendUint64(b, uint64(s.pq.since))
	b = wire.AppendUint32(b, s.pq.taken)
	b = append(b, byte(s.pq.kind))
	b = appendPadded(b, s.pq.held, KEMPublicSize)
	b = wire.AppendOptional(b, s.pre != nil)
	if s.pre != nil {
		b = append(b, s.pre.inboxKey[:]...)
		b = wire.AppendLP(b, s.pre.marshal())
	}
	return secret.New(b)
}

// keyLen is the length of key i of [Session.keys].
func keyLen(i int) int {
	if i == 8 {
		return KEMPrivateSize
	}
	return keySize
}

// appendPadded appends data, and zeros up to n bytes.
func appendPadded(b, data []byte, n int) []byte {
	b = append(b, data...)
	return append(b, make([]byte, n-len(data))...)
}

// readPadded reads n bytes, of which those beyond want must be zeros.
func readPadded(r *wire.Reader, want, n int) []byte {
	b := r.Bytes(n)
	if b == nil {
		return nil
	}
	for _, c := range b[want:] {
		if c != 0 {
			r.Fail(wire.ErrValue)
			return nil
		}
	}
	return b[:want]
}

// ParseSession returns the session that [Session.Marshal] gave. It copies what
// it keeps. It returns [ErrState] or [ErrVersion].
func ParseSession(b []byte) (*Session, error) {
	r := wire.NewReader(b)
	if err := readStateVersion(r); err != nil {
		return nil, err
	}
	s := &Session{origin: new(origin)}
	r.Copy(s.id[:])
	s.peer = readIdentity(r)
	s.created = readUnix(r)
	present := r.Uint16()
	if present >= 1<<storedKeys {
		r.Fail(wire.ErrValue)
	}
	for i, k := range s.stored() {
		if present&(1<<i) != 0 {
			*k = secret.Copy(r.Bytes(keyLen(i)))
		} else {
			readPadded(r, 0, keyLen(i))
		}
	}
	r.Copy(s.dhsPub[:])
	r.Copy(s.dhr[:])
	s.ns = r.Uint64()
	s.pn = r.Uint32()
	s.nr = r.Uint64()
	s.recvChain = r.Uint32()
	s.pq.offered = r.Uint32()
	s.pq.sent = r.Uint32()
	s.pq.since = readUnix(r)
	s.pq.taken = r.Uint32()
	s.pq.kind = heldKind(r.Uint8())
	if s.pq.kind > heldAnswer {
		r.Fail(wire.ErrValue)
		s.pq.kind = heldNothing
	}
	s.pq.held = bytes.Clone(readPadded(r, s.pq.kind.size(), KEMPublicSize))
	if r.Optional() {
		var inboxKey [InboxKeySize]byte
		r.Copy(inboxKey[:])
		pre, err := parsePreamble(r.LP(maxPreamble))
		if err != nil {
			r.Fail(err)
		} else {
			s.pre = pre
			s.pre.inboxKey = inboxKey
		}
	}
	if err := r.Done(); err != nil {
		s.Erase()
		return nil, stateError(err)
	}
	if err := s.check(); err != nil {
		s.Erase()
		return nil, err
	}
	s.derive()
	return s, nil
}

// check refuses states that no session has, so that the methods need not ask.
func (s *Session) check() error {
	sending := !s.cks.IsZero()
	receiving := !s.ckr.IsZero()
	switch {
	case s.rk.IsZero() || s.nhks.IsZero() || s.nhkr.IsZero(),
		sending == s.hks.IsZero(), receiving == s.hkr.IsZero(), // chain and header key come together
		receiving != (s.recvChain > 0),
		!sending && !s.dhs.IsZero(), // a key of ours belongs to a sending chain
		!sending && !receiving,      // one of the two begins the session
		s.ns > maxN+1 || s.nr > maxN+1,
		!s.pq.seed.IsZero() && s.pq.offered == 0,
		s.pq.kind != heldNothing && s.pq.taken == 0,
		s.pq.kind == heldAnswer && !sending, // it is of the sending chain
		s.pre != nil && (receiving || s.pq.offered != 0 || s.pq.taken != 0 || s.pre.id != s.id || s.pre.tag != Tag{}):
		return fmt.Errorf("%w: impossible state", ErrState)
	}
	return nil
}

func readStateVersion(r *wire.Reader) error {
	if v := r.Uint8(); r.Err() == nil && v != stateVersion {
		return fmt.Errorf("%w: stored state has version %d", ErrVersion, v)
	}
	return nil
}

// maxUnix bounds stored times, so that any sum with them fits a time.Time.
const maxUnix = 1 << 40

// readUnix reads a time in Unix seconds.
func readUnix(r *wire.Reader) int64 {
	v := r.Uint64()
	if v > maxUnix {
		r.Fail(wire.ErrValue)
		return 0
	}
	return int64(v)
}

// unix is now in seconds as it is stored: not before 1970.
func unix(now time.Time) int64 { return max(0, now.Unix()) }

func stateError(err error) error { return fmt.Errorf("%w: %w", ErrState, err) }
