package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secp"
)

// peek opens the header of a message that d has not read.
func (d *device) peek(id ID, m Message) *header {
	d.tb.Helper()
	s := d.load(id)
	h, err := s.openHeader(s.hkr, tagKey(s.hkr), m.Body)
	if err != nil {
		h, err = s.openHeader(s.nhkr, tagKey(s.nhkr), m.Body)
	}
	if err != nil {
		d.tb.Fatalf("no header: %v", err)
	}
	return &h.header
}

// carries says what extensions a message has: "", "offer", "answer" or both.
func (d *device) carries(id ID, m Message) string {
	d.tb.Helper()
	h := d.peek(id, m)
	var out []string
	if _, ek := h.numbered(extOffer); ek != nil {
		out = append(out, "offer")
	}
	if _, ct := h.numbered(extAnswer); ct != nil {
		out = append(out, "answer")
	}
	return strings.Join(out, " and ")
}

// says delivers a message from one device to the other, and returns what its
// header carries.
func says(from, to *device, id ID, text string) string {
	from.tb.Helper()
	m := from.send(id, text)
	carried := to.carries(id, m)
	to.expect(m, text)
	return carried
}

// until lets a device speak alone until its messages carry an offer, of which it
// returns the first one, unread.
func offering(from, to *device, id ID) Message {
	from.tb.Helper()
	for range OfferMessages + 1 {
		m := from.send(id, "words")
		if to.carries(id, m) != "" {
			return m
		}
		to.expect(m, "words")
	}
	from.tb.Fatal("no offer")
	return Message{}
}

// A chain of messages begins an offer after OfferMessages of them; the answer
// comes with the peer's next chain, in every message of it, and ends it.
func TestPostQuantumStep(t *testing.T) {
	a, b, id := pair(t) // alice has sent three
	for i := range OfferMessages - 3 {
		if got := says(a, b, id, fmt.Sprint(i)); got != "" {
			t.Fatalf("message %d of alice carries %s", i+3, got)
		}
	}
	for range 3 {
		if got := says(a, b, id, "offered"); got != "offer" {
			t.Fatalf("a message of alice carries %q", got)
		}
	}
	seed := bytes.Clone(a.load(id).pq.seed.Bytes())
	if !bytes.Contains(a.sessions[id].state, seed) {
		t.Fatal("the state is without the seed of the open offer")
	}
	late := a.send(id, "late")
	for range 3 {
		if got := says(b, a, id, "answered"); got != "answer" {
			t.Fatalf("a message of bob carries %q", got)
		}
	}
	if bytes.Contains(a.sessions[id].state, seed) || !a.load(id).pq.seed.IsZero() {
		t.Error("the decapsulation key outlives its use")
	}
	if b.load(id).pq.kind != heldAnswer {
		t.Error("bob does not hold the ciphertext of his chain")
	}
	b.expect(late, "late") // with the offer that was answered
	if got := says(a, b, id, "goes on"); got != "" {
		t.Errorf("after the answer alice's messages carry %q", got)
	}
	if p := b.load(id).pq; p.kind != heldNothing || p.taken != 1 {
		t.Error("bob took an offer again, or holds on to his answer")
	}
	// Bob's own drive is still to come, and alice's next.
	if got := says(b, a, id, "goes on"); got != "" {
		t.Errorf("bob's messages carry %q", got)
	}
}

// Both sides of a conversation drive, and neither disturbs the other. What it
// costs is one operation for each of the four steps of an exchange.
func TestBothSidesDrive(t *testing.T) {
	a, b, id := pair(t)
	counted := map[string]int{}
	kem := [2]int{}
	for i := range 4 * OfferMessages {
		for side, d := range [2][2]*device{{a, b}, {b, a}} {
			s := d[0].load(id)
			s.meter = new(meter)
			next, m, err := s.Encrypt([]byte("x"), []byte("ad"), testTime)
			if err != nil {
				t.Fatal(err)
			}
			next.meter = nil
			d[0].save(next)
			counted[d[1].carries(id, m)]++
			kem[side] += s.meter.counts[countKEM]
			s = d[1].load(id)
			s.meter = new(meter)
			o, err := s.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}, testTime)
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			kem[1-side] += s.meter.counts[countKEM]
			d[1].apply(o)
		}
	}
	// Each side has sent some 200 messages. An offer is made every 51, and is
	// open for one or two of them.
	for _, d := range []*device{a, b} {
		if p := d.load(id).pq; p.offered < 3 || p.offered > 5 || p.taken < 3 || p.taken > 5 {
			t.Errorf("%d offers made and %d taken", p.offered, p.taken)
		}
	}
	if n := counted[""]; n < 8*OfferMessages-40 {
		t.Errorf("only %d messages are without extensions: %v", n, counted)
	}
	if counted["answer"]+counted["offer and answer"] < 6 {
		t.Errorf("answers are missing: %v", counted)
	}
	for side, n := range kem {
		if n < 4*3 || n > 4*4+1 {
			t.Errorf("side %d had %d ML-KEM operations", side, n)
		}
	}
}

// Two offers under way at once are both answered.
func TestOffersCross(t *testing.T) {
	a, b, id := pair(t)
	fromA := offering(a, b, id)
	a.expect(b.send(id, "turn"), "turn")
	var fromB Message
	for range OfferMessages + 1 {
		fromB = b.send(id, "b")
		if a.carries(id, fromB) != "" {
			break
		}
		a.expect(fromB, "b")
	}
	b.expect(fromA, "words")
	a.expect(fromB, "b")
	if got := says(a, b, id, "x"); got != "offer and answer" {
		t.Fatalf("alice's message carries %q", got)
	}
	if got := says(b, a, id, "y"); got != "answer" {
		t.Fatalf("bob's message carries %q", got)
	}
	if got := says(a, b, id, "z"); got != "" {
		t.Fatalf("alice's message carries %q", got)
	}
	for i, d := range []*device{a, b} { // bob's first offer was before
		if p := d.load(id).pq; !p.seed.IsZero() || int(p.offered) != 1+i || int(p.taken) != 2-i {
			t.Errorf("%s: %d offered, %d taken", d.id.Acct[:5], p.offered, p.taken)
		}
	}
}

func TestOfferByTime(t *testing.T) {
	a, b, id := pair(t)
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{OfferInterval - time.Second, ""}, {-time.Hour, ""}, {OfferInterval, "offer"}} {
		m := a.sendAt(id, "x", testTime.Add(c.after))
		if got := b.carries(id, m); got != c.want {
			t.Errorf("after %v a message carries %q, want %q", c.after, got, c.want)
		}
		b.expect(m, "x")
	}
	says(b, a, id, "answer")
	if p := a.load(id).pq; p.since != testTime.Unix() || p.sent != 0 {
		t.Errorf("after the answer the count is %d since %d", p.sent, p.since)
	}
}

// What nobody has answered carries preambles, and no offers. The responder offers
// with its first message: the key that the session was begun with is not its own.
func TestOffersOfANewSession(t *testing.T) {
	for _, oneTime := range []bool{true, false} {
		a, b := newDevice(t, "alice"), newDevice(t, "bob")
		if !oneTime {
			clear(b.opk)
		}
		id := a.start(b, "hello")
		for range OfferMessages + 5 {
			b.expect(a.send(id, "x"), "x")
		}
		if p := a.load(id).pq; p.offered != 0 {
			t.Error("an offer was made before an answer")
		}
		for _, want := range []string{"offer", "offer"} {
			if got := says(b, a, id, "y"); got != want {
				t.Errorf("bob's message carries %q, want %q", got, want)
			}
		}
		if got := says(a, b, id, "x"); got != "offer and answer" {
			t.Errorf("after the answer alice's message carries %q", got)
		}
		if got := says(b, a, id, "y"); got != "answer" {
			t.Errorf("bob's message carries %q", got)
		}
		if got := says(a, b, id, "x"); got != "" {
			t.Errorf("alice's message carries %q", got)
		}
	}
}

// Of the messages that carry an offer one is enough, and of those that carry an
// answer as well, whichever comes, in whatever order, however often.
func TestCarriersAreLost(t *testing.T) {
	for keep := range 3 {
		a, b, id := pair(t)
		offers := []Message{offering(a, b, id), a.send(id, "words"), a.send(id, "words")}
		b.expect(offers[keep], "words")
		b.refuse(offers[keep], ErrReplay)
		answers := []Message{b.send(id, "y"), b.send(id, "y"), b.send(id, "y")}
		a.expect(answers[keep], "y")
		a.refuse(answers[keep], ErrReplay)
		if got := says(a, b, id, "next"); got != "" {
			t.Errorf("after the answer a message carries %q", got)
		}
		if says(b, a, id, "next") != "" {
			t.Error("an offer was answered twice")
		}
		for i := range offers {
			if i != keep {
				b.expect(offers[i], "words")
				a.expect(answers[i], "y")
			}
		}
		if got := says(a, b, id, "next") + says(b, a, id, "next"); got != "" {
			t.Errorf("late messages brought back %q", got)
		}
	}
}

// An offer that comes late, by a skipped key, while the chain after it was
// answered without, is taken then.
func TestLateOffer(t *testing.T) {
	a, b, id := pair(t)
	late := offering(a, b, id)
	if got := says(b, a, id, "no answer yet"); got != "" {
		t.Fatalf("bob's message carries %q", got)
	}
	m := a.send(id, "the next chain") // repeats the offer, and is lost for now
	if got := b.carries(id, m); got != "offer" {
		t.Fatalf("alice's message carries %q", got)
	}
	b.expect(late, "words")
	a2 := a.send(id, "again")
	b.expect(a2, "again")
	if got := says(b, a, id, "answer"); got != "answer" {
		t.Errorf("bob's message carries %q", got)
	}
	b.expect(m, "the next chain")
	if got := says(a, b, id, "x") + says(b, a, id, "y"); got != "" {
		t.Errorf("messages go on to carry %q", got)
	}
}

// evil is a peer that holds the session's keys and puts what it likes into its
// headers.
func (d *device) evil(id ID, exts ...ext) Message {
	d.tb.Helper()
	s := d.load(id)
	if s.dhs.IsZero() {
		if err := s.sendStep(); err != nil {
			d.tb.Fatal(err)
		}
	}
	mk, _ := kdfCK(s.cks)
	h := &header{dh: s.dhsPub, pn: s.pn, n: uint32(s.ns), ext: exts}
	return Message{messageTag(tagKey(s.hks), h.n), (*meter)(nil).sealMessage(s.hks, tagKey(s.hks), mk[:], s.id, h, []byte("evil"), []byte("ad"), 4096)}
}

func numberedExt(typ uint16, number uint32, data []byte) ext {
	return ext{typ, append([]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)}, data...)}
}

func TestBadOffersAndAnswers(t *testing.T) {
	a, b, id := pair(t)
	good := must(GenerateKEMKey()).Public()
	for name, m := range map[string]Message{
		"short offer":   a.evil(id, ext{extOffer, make([]byte, offerSize-1)}),
		"long offer":    a.evil(id, ext{extOffer, make([]byte, offerSize+1)}),
		"empty offer":   a.evil(id, ext{extOffer, nil}),
		"not a key":     a.evil(id, numberedExt(extOffer, 1, bytes.Repeat([]byte{0xff}, KEMPublicSize))),
		"short answer":  a.evil(id, ext{extAnswer, make([]byte, answerSize-1)}),
		"offered twice": a.evil(id, numberedExt(extOffer, 1, good), numberedExt(extOffer, 2, good)),
	} {
		before := bytes.Clone(b.sessions[id].state)
		if _, _, err := b.receive(m, testTime); !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(before, b.sessions[id].state) {
			t.Errorf("%s: the state changed", name)
		}
	}
	// A new chain that claims to answer an offer which bob has not made, or one
	// that he has made under another number, or made and had answered.
	b.send(id, "turn")
	answer := func(number uint32) Message {
		return b.evilPeerOf(a, id, numberedExt(extAnswer, number, make([]byte, kemCTSize)))
	}
	for _, number := range []uint32{0, 1, 2} {
		b.refuse(answer(number), ErrDecrypt)
	}
	if p := b.load(id).pq; p.offered != 1 || !p.seed.IsZero() {
		t.Fatal("bob has an offer open")
	}
}

// evilPeerOf makes, as a's peer would see it, the first message of a new chain
// of a, in answer to what d has sent last.
func (d *device) evilPeerOf(a *device, id ID, exts ...ext) Message {
	d.tb.Helper()
	peer, own := d.load(id), a.load(id)
	key := must(secp.GenerateKey())
	shared := must(key.ECDH(must(secp.ParsePublicKey(peer.dhsPub[:]))))
	_, ck, _ := kdfRK(peer.rk, shared, nil)
	mk, _ := kdfCK(ck)
	h := &header{dh: key.PublicKey().Compressed(), pn: uint32(own.ns), ext: exts}
	return Message{messageTag(tagKey(peer.nhkr), 0), (*meter)(nil).sealMessage(peer.nhkr, tagKey(peer.nhkr), mk[:], id, h, []byte("evil"), []byte("ad"), 4096)}
}

func TestAnswerToAnotherOffer(t *testing.T) {
	a, b, id := pair(t)
	m := offering(a, b, id)
	b.expect(m, "words")
	s := a.load(id)
	ct := bytes.Repeat([]byte{1}, kemCTSize)
	for _, number := range []uint32{0, 2} {
		s.meter = new(meter)
		m := a.evilPeerOf(b, id, numberedExt(extAnswer, number, ct))
		if _, err := s.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}, testTime); !errors.Is(err, ErrDecrypt) {
			t.Errorf("answer %d: %v", number, err)
		}
		if s.meter.counts[countKEM] != 0 {
			t.Errorf("answer %d was decapsulated", number)
		}
	}
	// The right number and another ciphertext: another secret, so nothing opens.
	a.refuse(a.evilPeerOf(b, id, numberedExt(extAnswer, 1, ct)), ErrDecrypt)
	if got := says(b, a, id, "answer"); got != "answer" {
		t.Errorf("the true answer: %q", got)
	}
}

// A peer that goes on offering is heard once a turn.
func TestOffersOutOfTurn(t *testing.T) {
	a, b, id := pair(t)
	key := func() []byte { return must(GenerateKEMKey()).Public() }
	o := must(b.load(id).Decrypt(incoming(a.evil(id, numberedExt(extOffer, 5, key()))), testTime))
	if p := o.Session.pq; p.taken != 5 || p.kind != heldOffer {
		t.Fatal("the first offer is not taken")
	}
	held := o.Session.pq.held
	b.apply(o)
	for _, number := range []uint32{0, 4, 5, 6} {
		s := b.load(id)
		h := &header{ext: []ext{numberedExt(extOffer, number, key())}}
		s.meter = new(meter)
		if err := s.pq.take(h, s.meter); err != nil || s.pq.taken != 5 || !bytes.Equal(s.pq.held, held) || s.meter.counts[countKEM] != 0 {
			t.Errorf("offer %d: %v", number, err)
		}
	}
	b.send(id, "turn")
	s := b.load(id) // holds his answer, which has not been read
	if err := s.pq.take(&header{ext: []ext{numberedExt(extOffer, 6, key())}}, nil); err != nil || s.pq.taken != 5 || s.pq.kind != heldAnswer {
		t.Errorf("an offer was taken before the answer to the last was read: %v", err)
	}
}

func incoming(m Message) Incoming { return Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")} }

// A header says by a flag that its chain has a post-quantum secret: a receiver
// that does not know the flag refuses the message, and the flag cannot be
// without its extension, nor the extension without the flag.
func TestAnswerFlag(t *testing.T) {
	h := &header{ext: []ext{numberedExt(extAnswer, 1, make([]byte, kemCTSize))}}
	b := h.marshal()
	if b[1] != flagAnswer {
		t.Fatalf("flags are %#x", b[1])
	}
	if again, err := parseHeader(b); err != nil || again.flags() != flagAnswer {
		t.Fatal(err)
	}
	b[1] = 0
	if _, err := parseHeader(b); !errors.Is(err, ErrDecrypt) {
		t.Errorf("an answer without its flag: %v", err)
	}
	b = (&header{}).marshal()
	b[1] = flagAnswer
	if _, err := parseHeader(b); !errors.Is(err, ErrDecrypt) {
		t.Errorf("a flag without its answer: %v", err)
	}
	b[1] |= 2
	if _, err := parseHeader(b); !errors.Is(err, ErrVersion) {
		t.Errorf("an unknown flag: %v", err)
	}
}

// Who touches a message that begins a chain and answers an offer makes the
// receiver open one header, and neither multiply a point nor decapsulate.
func TestCostOfForgedAnswers(t *testing.T) {
	a, b, id := pair(t)
	b.expect(offering(a, b, id), "words")
	m := b.send(id, "answer")
	s := a.load(id)
	for _, at := range []int{nonceSize + maskSize + 3, nonceSize + maskSize + headerSize + 500, 2000, len(m.Body) - 1} {
		s.meter = new(meter)
		if _, err := s.Decrypt(incoming(m.flip(8*at)), testTime); !errors.Is(err, ErrDecrypt) {
			t.Fatal(err)
		}
		if got, want := s.meter.counts, (counts{countHeader: 1}); got != want {
			t.Errorf("byte %d: %v, want %v", at, got, want)
		}
	}
	s.meter = new(meter)
	if _, err := s.Decrypt(incoming(m), testTime); err != nil {
		t.Fatal(err)
	}
	if got, want := s.meter.counts, (counts{countChain: 1, countHeader: 1, countDH: 1, countKEM: 1}); got != want {
		t.Errorf("the genuine message: %v, want %v", got, want)
	}
}

// A message that is too large is so whether or not extensions ride along.
func TestLargestPlaintextWithExtensions(t *testing.T) {
	a, b, id := pair(t)
	b.expect(offering(a, b, id), "words")
	for range OfferMessages {
		b.send(id, "lost")
	}
	text := strings.Repeat("x", b.load(id).MaxPlaintext())
	m := b.send(id, text)
	if got := a.carries(id, m); got != "offer and answer" || len(m.Body) != MaxBody {
		t.Errorf("%q in %d bytes", got, len(m.Body))
	}
	a.expect(m, text)
	if _, _, err := b.load(id).Encrypt([]byte(text+"x"), nil, testTime); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// The public half of an open offer is derived again after the state was stored,
// once.
func TestOfferSurvivesTheStore(t *testing.T) {
	a, b, id := pair(t)
	offering(a, b, id)
	s := a.load(id)
	s.meter = new(meter)
	next, m1, err := s.Encrypt(nil, []byte("ad"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	if next, _, err = next.Encrypt(nil, []byte("ad"), testTime); err != nil {
		t.Fatal(err)
	}
	if s.meter.counts[countKEM] != 1 {
		t.Errorf("%d ML-KEM operations for two messages", s.meter.counts[countKEM])
	}
	a.save(next)
	b.expect(m1, "")
	if says(b, a, id, "x") != "answer" {
		t.Error("no answer")
	}
}
