package ratchet

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secp"
)

// What a first message costs its receiver, by what its maker knows. Who does not
// know the bundle causes no point operation; who knows it causes one HPKE opening
// with whatever he sends; and one decapsulation and five multiplications take a
// whole handshake in somebody's name. docs/spec.md, "First messages".
func TestCostOfForgedFirstMessages(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	id := a.start(b, "hello")
	genuine := a.send(id, "one")
	tag := FirstTag(b.inboxKey, testTime)
	outer := func(inner []byte) Message {
		fn := make([]byte, nonceSize)
		return Message{tag, xaead(expand(nil, b.inboxKey[:], labelFirstSeal, nil, keySize)).Seal(bytes.Clone(fn), fn, inner, firstAD(tag))}
	}
	// A claim in alice's name by one who has bob's bundle, and not her key.
	mallory := newDevice(t, "mallory")
	forged := must(initiate(mallory.id, mallory.ik, b.bundle(), nil, must(secp.GenerateKey()), must(secp.GenerateKey())))
	pre := forged.pre
	pre.from = a.id
	tr := transcript{
		a: a.id, b: b.id, ek: pre.ek, spkID: 7, spk: b.spk[7].PublicKey(),
		opk: &OneTimePrekey{*pre.opkID, b.opk[*pre.opkID].PublicKey()}, kemID: 9, kem: b.kem[9].Public(), ct: pre.ct[:],
	}
	wrongT := *pre
	pre.id = tr.hash()
	forged.id = pre.id
	_, inOurName, err := forged.Encrypt([]byte("x"), []byte("ad"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	forged.pre = &wrongT
	_, ofNoT, err := forged.Encrypt([]byte("x"), []byte("ad"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		m    Message
		want counts
	}{
		"another tag":             {Message{Tag{1}, genuine.Body}, counts{}},
		"garbage":                 {Message{tag, make([]byte, 4096)}, counts{}},
		"too short":               {Message{tag, genuine.Body[:256]}, counts{}},
		"a bit flipped":           {genuine.flip(8 * 2000), counts{}},
		"garbage inside":          {outer(make([]byte, 60)), counts{}},
		"a preamble of garbage":   {outer(cat(a.id.IK.Uncompressed(), lp(make([]byte, 1400)), make([]byte, 2000))), counts{countHPKE: 1}},
		"a T that does not fit":   {ofNoT, counts{countHPKE: 1}},
		"a claim in alice's name": {inOurName, counts{countHPKE: 1, countKEM: 1, countDH: 4, countHeader: 0}},
	} {
		watch := new(meter)
		f, err := peekFirst(b.id, b.ik, b.inboxKey, c.m, testTime, watch)
		if err == nil {
			_, err = f.Accept(b.id, b.ik, b, []byte("ad"), testTime)
		}
		if !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s: %v", name, err)
		}
		if watch.counts != c.want {
			t.Errorf("%s: %v, want %v", name, watch.counts, c.want)
		}
	}
	// The genuine one, and what it costs to see that it was there before.
	watch := new(meter)
	f := must(peekFirst(b.id, b.ik, b.inboxKey, genuine, testTime, watch))
	must(f.Accept(b.id, b.ik, b, []byte("ad"), testTime))
	if want := (counts{countHPKE: 1, countKEM: 1, countDH: 5, countHeader: 1, countChain: 1}); watch.counts != want {
		t.Errorf("the genuine message: %v, want %v", watch.counts, want)
	}
	if len(b.sessions) != 0 || len(b.opk) != 4 {
		t.Error("a refused message left something behind")
	}
}

// Prekeys that are replaced go on to serve for as long as their private halves
// are kept, and not a moment longer.
func TestPrekeyRotation(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	first, second := a.start(b, "hello"), a.start(b, "hello")
	early, late := a.send(first, "early"), a.send(second, "late")
	b.spk[8], b.kem[10] = must(secp.GenerateKey()), must(GenerateKEMKey())
	b.expect(early, "early")
	oldSPK, oldKEM := b.spk[7], b.kem[9]
	delete(b.spk, 7)
	b.refuse(late, ErrPrekey)
	b.spk[7] = oldSPK
	delete(b.kem, 9)
	b.refuse(late, ErrPrekey)
	b.kem[9] = oldKEM
	b.expect(late, "late")
	// A session that was begun with them does not need them any more.
	clear(b.spk)
	clear(b.kem)
	a.expect(b.send(first, "answer"), "answer")
	b.expect(a.send(first, "goes on"), "goes on")
}

// The ML-KEM key is of last resort: it serves everybody, so that nothing but the
// memory of ids refuses a replay of a first message without a one-time prekey. A
// caller that forgets them before the keys reads it again.
func TestReplayWithoutOneTimePrekey(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	clear(b.opk)
	id := a.start(b, "hello")
	m := a.send(id, "one")
	b.expect(m, "one")
	a.expect(b.send(id, "two"), "two")
	b.refuse(m, ErrReplay) // its session is there
	delete(b.sessions, id)
	b.refuse(m, ErrReplay)
	clear(b.seen)
	if _, text, err := b.receive(m, testTime); err != nil || text != "one" {
		t.Errorf("with the ids forgotten: %q, %v", text, err)
	}
	delete(b.sessions, id)
	clear(b.seen)
	clear(b.kem)
	b.refuse(m, ErrPrekey)
}

// Of two initiators that were handed one one-time prekey the second is refused,
// whatever it repeats, and begins anew without.
func TestOneTimePrekeyServesOnce(t *testing.T) {
	a, b, c := newDevice(t, "alice"), newDevice(t, "bob"), newDevice(t, "carol")
	bundle := b.bundle()
	start := func(d *device, p PrekeyBundle) ID {
		s := must(Initiate(d.id, d.ik, p, nil, testTime))
		d.save(s)
		return s.ID()
	}
	fromA, fromC := start(a, bundle), start(c, bundle)
	b.expect(a.send(fromA, "alice"), "alice")
	b.refuse(c.send(fromC, "carol"), ErrPrekey)
	b.refuse(c.send(fromC, "carol again"), ErrPrekey)
	bundle.OPK = nil
	m := c.send(start(c, bundle), "carol anew")
	if f := must(PeekFirst(b.id, b.ik, b.inboxKey, m, testTime)); f.OPKID != nil {
		t.Error("the receiver is not told that there was none")
	}
	b.expect(m, "carol anew")
}

// A session that another took over is kept for a while, and reads what is still
// under way in it, in both directions and across a turn.
func TestArchivedSession(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	fromA, fromB := a.start(b, ""), b.start(a, "")
	a1, a2, b1 := a.send(fromA, "a1"), a.send(fromA, "a2"), b.send(fromB, "b1")
	b.expect(a2, "a2")
	a.expect(b1, "b1")
	at, other := fromA, fromB
	if Preferred(a.load(fromA), a.load(fromB)).ID() != fromA {
		at, other = fromB, fromA
	}
	for range 3 {
		b.expect(a.send(at, "x"), "x")
		a.expect(b.send(at, "y"), "y")
	}
	b.expect(a1, "a1")
	late := b.send(other, "late")
	later := b.send(other, "later")
	a.expect(later, "later")
	a.expect(late, "late")
	a.refuse(late, ErrReplay)
	// A peer that comes back to it is heard: it may have lost the other.
	b.expect(a.send(other, "back"), "back")
}

// The tag of a first message goes out of use by its week, with the prekeys.
func TestFirstMessageThatIsLate(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	m := a.send(a.start(b, ""), "one")
	if _, _, err := b.receive(m, testTime.Add((LateWeeks+1)*7*24*time.Hour)); !errors.Is(err, ErrDecrypt) {
		t.Errorf("too late: %v", err)
	}
	if _, text, err := b.receive(m, testTime.Add(LateWeeks*7*24*time.Hour)); err != nil || text != "one" {
		t.Errorf("in time: %q, %v", text, err)
	}
}
