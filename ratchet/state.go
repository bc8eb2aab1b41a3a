package ratchet

import (
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// stateVersion is the first byte of everything stored. It is not a version of
// the protocol: a new layout of the state gets a new one.
const stateVersion = 1

// Marshal returns the state to be stored, at most [MaxSessionSize] bytes,
// secrets included. A state is about 600 bytes, and larger by the hello until
// the peer has answered.
//
//	struct {
//	  uint8 version = 1;
//	  opaque id[32];
//	  opaque peer[150];
//	  uint64 created;  // Unix seconds
//	  optional<opaque[32]> rk, dhs, cks, hks, nhks, ckr, hkr, nhkr;
//	  opaque dhs_public[33];
//	  opaque dhr[33];
//	  uint64 ns;
//	  uint32 pn;
//	  uint64 nr;
//	  uint32 receiving_chain;
//	  optional<struct { opaque inbox_key[32]; LP preamble; }> first;
//	} Session;
func (s *Session) Marshal() secret.Key {
	size := 1 + IDSize + IdentitySize + 8 + 8*(1+keySize) + 66 + 24 + 1
	if s.pre != nil {
		size += InboxKeySize + 4 + s.pre.size()
	}
	b := make([]byte, 0, size)
	b = append(append(b, stateVersion), s.id[:]...)
	b = s.peer.append(b)
	b = wire.AppendUint64(b, uint64(s.created))
	for _, k := range s.keys() {
		b = wire.AppendOptional(b, !k.IsZero())
		b = append(b, k.Bytes()...)
	}
	b = append(append(b, s.dhsPub[:]...), s.dhr[:]...)
	b = wire.AppendUint64(b, s.ns)
	b = wire.AppendUint32(b, s.pn)
	b = wire.AppendUint64(b, s.nr)
	b = wire.AppendUint32(b, s.recvChain)
	b = wire.AppendOptional(b, s.pre != nil)
	if s.pre != nil {
		b = append(b, s.pre.inboxKey[:]...)
		b = wire.AppendLP(b, s.pre.marshal())
	}
	return secret.New(b)
}

// ParseSession returns the session that [Session.Marshal] gave. It copies what
// it keeps. It returns [ErrState] or [ErrVersion].
func ParseSession(b []byte) (*Session, error) {
	r := wire.NewReader(b)
	if err := readStateVersion(r); err != nil {
		return nil, err
	}
	s := new(Session)
	r.Copy(s.id[:])
	s.peer = readIdentity(r)
	s.created = readUnix(r)
	for _, k := range s.keys() {
		if r.Optional() {
			*k = secret.Copy(r.Bytes(keySize))
		}
	}
	r.Copy(s.dhsPub[:])
	r.Copy(s.dhr[:])
	s.ns = r.Uint64()
	s.pn = r.Uint32()
	s.nr = r.Uint64()
	s.recvChain = r.Uint32()
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
		s.pre != nil && (receiving || s.pre.id != s.id || s.pre.tag != Tag{}):
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
