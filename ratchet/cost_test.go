package ratchet

import (
	"errors"
	"testing"
)

// chains returns both ends of a chain from a to b whose next message is number n.
func chains(tb testing.TB, n uint64) (a, b *Session) {
	da, db, id := pair(tb)
	m := da.send(id, "in the chain")
	db.expect(m, "in the chain")
	a, b = da.load(id), db.load(id)
	if n > 0 {
		// Both ends forget how they came here: the cost must not depend on it.
		a.ns, b.nr = n, n
	}
	return a, b
}

// One message costs one step of the chain and one header, wherever it is.
func TestCostDoesNotGrow(t *testing.T) {
	for _, n := range []uint64{0, 1000, 100_000, maxN - 1} {
		a, b := chains(t, n)
		a.meter, b.meter = new(meter), new(meter)
		next, m, err := a.Encrypt([]byte("x"), nil, testTime)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := next.meter.counts, (counts{countChain: 1}); got != want {
			t.Errorf("encrypting message %d: %v, want %v", n, got, want)
		}
		if _, err := b.Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime); err != nil {
			t.Fatal(err)
		}
		if got, want := b.meter.counts, (counts{countChain: 1, countHeader: 1}); got != want {
			t.Errorf("decrypting message %d: %v, want %v", n, got, want)
		}
	}
}

func TestChainEnds(t *testing.T) {
	a, b := chains(t, maxN)
	a, m, err := a.Encrypt([]byte("last"), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Encrypt([]byte("beyond"), nil, testTime); !errors.Is(err, ErrExhausted) {
		t.Errorf("beyond the end: %v", err)
	}
	o, err := b.Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime)
	if err != nil || string(o.Plaintext) != "last" {
		t.Fatalf("the last message: %v", err)
	}
	if tags := o.Session.ReceiveTags(2); len(tags) != 2 || tags[0].Chain != o.Session.recvChain+1 {
		t.Errorf("after the last message %d tags are expected", len(tags))
	}
}

// A turn costs each side two scalar multiplications with its peer's point: one
// for receiving, one for sending.
func TestCostOfATurn(t *testing.T) {
	a, b, id := pair(t)
	m := b.send(id, "turn")
	s := a.load(id)
	s.meter = new(meter)
	o, err := s.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.meter.counts, (counts{countChain: 1, countHeader: 1, countDH: 1}); got != want {
		t.Errorf("receiving: %v, want %v", got, want)
	}
	if _, _, err := o.Session.Encrypt(nil, nil, testTime); err != nil {
		t.Fatal(err)
	}
	if got, want := s.meter.counts, (counts{countChain: 2, countHeader: 1, countDH: 2}); got != want {
		t.Errorf("answering: %v, want %v", got, want)
	}
}

// Who has seen a tag and makes up a body costs the receiver one AEAD opening at
// most, and neither a chain step nor a point operation.
func TestCostOfForgeries(t *testing.T) {
	a, b, id := pair(t)
	skippedMessage := a.send(id, "skipped")
	b.expect(a.send(id, "read"), "read")
	inChain := a.send(id, "in chain")
	var skipped *SkippedKey
	for _, r := range b.sessions[id].skipped {
		skipped = must(ParseSkippedKey(r.bytes))
	}
	da, db, did := pair(t)
	da.expect(db.send(did, "turn"), "turn")
	newChain := da.send(did, "new chain")

	for name, c := range map[string]struct {
		s       *Session
		m       Message
		skipped *SkippedKey
	}{
		"in chain":  {b.load(id), inChain, nil},
		"skipped":   {b.load(id), skippedMessage, skipped},
		"new chain": {db.load(did), newChain, nil},
	} {
		garbage := Message{Tag: c.m.Tag, Body: make([]byte, 256)}
		inHeader := c.m.flip(8 * (nonceSize + maskSize + 5))
		for what, v := range map[string]struct {
			m    Message
			want int
		}{"garbage": {garbage, 0}, "bit flipped in the header": {inHeader, 1}} {
			c.s.meter = new(meter)
			if _, err := c.s.Decrypt(Incoming{Tag: v.m.Tag, Body: v.m.Body, AppAD: []byte("ad"), Skipped: c.skipped}, testTime); !errors.Is(err, ErrDecrypt) {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
			if got, want := c.s.meter.counts, (counts{countHeader: v.want}); got != want {
				t.Errorf("%s, %s: %v, want %v", name, what, got, want)
			}
		}
		if _, err := c.s.Decrypt(Incoming{Tag: c.m.Tag, Body: c.m.Body, AppAD: []byte("ad"), Skipped: c.skipped}, testTime); err != nil {
			t.Errorf("%s: the genuine message: %v", name, err)
		}
	}
}
