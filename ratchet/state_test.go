package ratchet

import (
	"bytes"
	"errors"
	"testing"

	"github.com/parley-im/parley/internal/secp"
)

func TestStateRoundTrip(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	id := a.start(b, "hello")
	states := [][]byte{bytes.Clone(a.sessions[id].state)}
	b.expect(a.send(id, "one"), "one")
	states = append(states, bytes.Clone(b.sessions[id].state))
	a.expect(b.send(id, "two"), "two")
	states = append(states, bytes.Clone(a.sessions[id].state), bytes.Clone(b.sessions[id].state))
	for i, state := range states {
		s, err := ParseSession(state)
		if err != nil {
			t.Fatalf("state %d: %v", i, err)
		}
		if !bytes.Equal(s.Marshal().Bytes(), state) {
			t.Errorf("state %d re-encodes differently", i)
		}
		for n := range state {
			if _, err := ParseSession(state[:n]); !errors.Is(err, ErrState) {
				t.Fatalf("state %d: prefix of %d bytes: %v", i, n, err)
			}
		}
		if _, err := ParseSession(append(bytes.Clone(state), 0)); !errors.Is(err, ErrState) {
			t.Errorf("state %d: trailing byte: %v", i, err)
		}
		other := bytes.Clone(state)
		other[0]++
		if _, err := ParseSession(other); !errors.Is(err, ErrVersion) {
			t.Errorf("state %d: other version: %v", i, err)
		}
	}
	for i, state := range states[1:] {
		if len(state) != StateSize {
			t.Errorf("state %d, of an answered session or one that the other side began, has %d bytes", i+1, len(state))
		}
	}
}

func TestImpossibleStates(t *testing.T) {
	a, _, id := pair(t)
	for name, spoil := range map[string]func(*Session){
		"no root key":            func(s *Session) { s.rk.Erase() },
		"no next header key":     func(s *Session) { s.nhkr.Erase() },
		"chain without header":   func(s *Session) { s.hkr.Erase() },
		"header without chain":   func(s *Session) { s.cks.Erase() },
		"no receiving chain yet": func(s *Session) { s.recvChain = 0 },
		"number beyond the end":  func(s *Session) { s.ns = maxN + 2 },
		"preamble after answer":  func(s *Session) { s.pre = &preamble{id: s.id, from: s.peer, ek: s.peer.IK} },
	} {
		s := a.load(id)
		spoil(s)
		if _, err := ParseSession(s.Marshal().Bytes()); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSkippedKeyRoundTrip(t *testing.T) {
	a, b, id := pair(t)
	a.send(id, "lost")
	b.expect(a.send(id, "read"), "read")
	for _, r := range b.sessions[id].skipped {
		k, err := ParseSkippedKey(r.bytes)
		if err != nil || !bytes.Equal(k.Marshal().Bytes(), r.bytes) || !k.Created.Equal(testTime) || k.N != 1 {
			t.Fatalf("round trip: %v", err)
		}
		for n := range r.bytes {
			if _, err := ParseSkippedKey(r.bytes[:n]); !errors.Is(err, ErrState) {
				t.Fatalf("prefix of %d bytes: %v", n, err)
			}
		}
		if _, err := ParseSkippedKey(append(bytes.Clone(r.bytes), 0)); !errors.Is(err, ErrState) {
			t.Errorf("trailing byte: %v", err)
		}
		r.bytes[0]++
		if _, err := ParseSkippedKey(r.bytes); !errors.Is(err, ErrVersion) {
			t.Errorf("other version: %v", err)
		}
	}
}

func TestPreambleRoundTrip(t *testing.T) {
	d := newDevice(t, "alice")
	opk := uint32(5)
	p := &preamble{
		id: ID{1}, tag: Tag{2}, from: d.id, ek: must(secp.GenerateKey()).PublicKey(), spkID: 3, opkID: &opk, kemID: 4,
		hello: []byte("hello"),
	}
	for range 2 {
		b := p.marshal()
		if len(b) != p.size() {
			t.Errorf("%d bytes, announced %d", len(b), p.size())
		}
		q, err := parsePreamble(b)
		if err != nil || !bytes.Equal(q.marshal(), b) {
			t.Fatalf("round trip: %v", err)
		}
		for n := range b {
			if _, err := parsePreamble(b[:n]); !errors.Is(err, ErrDecrypt) {
				t.Fatalf("prefix of %d bytes: %v", n, err)
			}
		}
		if _, err := parsePreamble(append(bytes.Clone(b), 0)); !errors.Is(err, ErrDecrypt) {
			t.Errorf("trailing byte: %v", err)
		}
		b[0]++
		if _, err := parsePreamble(b); !errors.Is(err, ErrVersion) {
			t.Errorf("other version: %v", err)
		}
		p.opkID = nil
	}
	p.hello = make([]byte, MaxHello+1)
	if _, err := parsePreamble(p.marshal()); !errors.Is(err, ErrDecrypt) {
		t.Errorf("oversized hello: %v", err)
	}
}

func TestKEMKeyRoundTrip(t *testing.T) {
	k := must(GenerateKEMKey())
	again, err := NewKEMKey(k.Bytes().Bytes())
	if err != nil || !bytes.Equal(again.Public(), k.Public()) || len(k.Public()) != KEMPublicSize || k.Bytes().Len() != KEMPrivateSize {
		t.Errorf("round trip: %v", err)
	}
	if _, err := NewKEMKey(make([]byte, 63)); err == nil {
		t.Error("a short seed was taken")
	}
}
