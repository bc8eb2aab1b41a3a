package ratchet

import (
	"bytes"
	"errors"
	"testing"

	"github.com/parley-im/parley/internal/secp"
)

// The peers here hold all keys of their session and keep to none of its rules.
// What they send is well encrypted.

// In a chain that has begun, every message names the chain's ratchet key.
func TestOtherRatchetKeyInAChain(t *testing.T) {
	a, b, id := pair(t)
	s := a.load(id)
	mk, _ := kdfCK(s.cks)
	h := &header{dh: must(secp.GenerateKey()).PublicKey().Compressed(), pn: s.pn, n: uint32(s.ns)}
	b.refuse(Message{messageTag(tagKey(s.hks), h.n), (*meter)(nil).sealMessage(s.hks, tagKey(s.hks), mk[:], id, h, []byte("x"), []byte("ad"), 256)}, ErrDecrypt)
	b.expect(a.send(id, "four"), "four")
}

// A new chain has a new ratchet key: else the peer's next step would rest on a
// secret that was used before.
func TestRatchetKeyRepeated(t *testing.T) {
	a, b, id := pair(t)
	old := must(secp.NewPrivateKey(a.load(id).dhs.Bytes()))
	a.expect(b.send(id, "turn"), "turn")
	evil := a.load(id)
	if err := evil.sendStepWith(old); err != nil {
		t.Fatal(err)
	}
	_, m, err := evil.Encrypt([]byte("x"), []byte("ad"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	b.refuse(m, ErrDecrypt)
	b.expect(a.send(id, "four"), "four")
}

// A chain cannot have been shorter than what was read of it.
func TestChainShorterThanRead(t *testing.T) {
	a, b, id := pair(t)
	b.expect(a.send(id, "four"), "four")
	a.expect(b.send(id, "turn"), "turn")
	evil := a.load(id)
	if err := evil.sendStep(); err != nil {
		t.Fatal(err)
	}
	evil.pn = 1
	_, m, err := evil.Encrypt([]byte("x"), []byte("ad"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	b.refuse(m, ErrDecrypt)
	b.expect(a.send(id, "five"), "five")
}

// A message under a skipped key's tag has that key's number.
func TestSkippedKeyOfAnotherNumber(t *testing.T) {
	a, b, id := pair(t)
	s := a.load(id)
	lost := a.send(id, "lost")
	b.expect(a.send(id, "next"), "next")
	mk, _ := kdfCK(s.cks)
	h := &header{dh: s.dhsPub, pn: s.pn, n: uint32(s.ns) + 5}
	b.refuse(Message{lost.Tag, (*meter)(nil).sealMessage(s.hks, tagKey(s.hks), mk[:], id, h, []byte("x"), []byte("ad"), 256)}, ErrDecrypt)
	b.expect(lost, "lost")
}

// Nobody starts a session with us in our own name.
func TestFirstMessageFromOurselves(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	id := a.start(b, "hello")
	pre := *a.load(id).pre
	seal := func() error {
		m, err := pre.seal(&b.id, Message{Body: bytes.Repeat([]byte{1}, 256)}, testTime, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = PeekFirst(b.id, b.ik, b.inboxKey, m, testTime)
		return err
	}
	if err := seal(); err != nil {
		t.Fatal(err)
	}
	pre.from = b.id
	if err := seal(); !errors.Is(err, ErrDecrypt) {
		t.Fatal(err)
	}
}

// What follows the header is zeros.
func TestOtherPadding(t *testing.T) {
	a, b, id := pair(t)
	s := a.load(id)
	mk, _ := kdfCK(s.cks)
	h := &header{dh: s.dhsPub, pn: s.pn, n: uint32(s.ns)}
	tag := messageTag(s.tks, h.n)
	body := (*meter)(nil).sealMessage(s.hks, s.tks, mk[:], id, h, []byte("x"), []byte("ad"), 256)
	n := len(body) - nonceSize - maskSize - 1 - aeadTag
	sealed, content := body[nonceSize+maskSize:][:n], body[nonceSize+maskSize+n:]
	padded := must(xaead(s.hks.Bytes()).Open(nil, body[:nonceSize], sealed, content))
	for _, at := range []int{headerSize, headerSize + 9, len(padded) - 1} {
		other := bytes.Clone(padded)
		other[at] = 1
		spoilt := bytes.Clone(body)
		xaead(s.hks.Bytes()).Seal(spoilt[nonceSize+maskSize:][:0], body[:nonceSize], other, content)
		b.refuse(Message{tag, spoilt}, ErrDecrypt)
	}
	b.expect(Message{tag, body}, "x")
}
