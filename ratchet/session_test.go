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

func TestConversation(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	id := a.start(b, "log and device of alice")
	if s := a.load(id); s.Answered() || !s.Peer().Equal(b.id) || !s.Created().Equal(testTime) {
		t.Fatal("a new session has been answered, or has another peer or age")
	}

	first := a.send(id, "one")
	if first.Tag != FirstTag(b.inboxKey, testTime) {
		t.Error("the first message has another tag")
	}
	f, err := PeekFirst(b.id, b.ik, b.inboxKey, first, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != id || string(f.Hello) != "log and device of alice" || !f.From.Equal(a.id) ||
		f.SPKID != 7 || f.EKID != 9 || f.OPKID == nil || *f.OPKID != 100 {
		t.Errorf("peeked %+v", f)
	}
	second := a.send(id, "two")

	// The second message comes first. The one-time prekey is gone after it, and
	// the first still opens.
	b.expect(second, "two")
	if b.opk[100] != nil {
		t.Error("the one-time prekey was not used")
	}
	b.expect(first, "one")
	if n := len(b.sessions[id].skipped); n != 0 {
		t.Errorf("%d skipped keys left", n)
	}
	if s := b.load(id); !s.Peer().Equal(a.id) || s.ID() != id || !s.Created().Equal(testTime) {
		t.Error("bob's session is with someone else")
	}

	// Still unanswered: the preamble is there, and is routed to the session.
	third := a.send(id, "three")
	if third.Tag != first.Tag {
		t.Error("an unanswered message has another tag")
	}
	b.expect(third, "three")

	answer := b.send(id, "four")
	if answer.Tag == FirstTag(a.inboxKey, testTime) {
		t.Error("an answer has a first message's tag")
	}
	a.expect(answer, "four")
	if !a.load(id).Answered() {
		t.Error("the session was not answered")
	}
	if m := a.send(id, "five"); m.Tag == first.Tag || a.load(id).pre != nil {
		t.Error("the preamble is still there after an answer")
	} else {
		b.expect(m, "five")
	}
	for range 2 { // once the first offer is closed
		a.expect(b.send(id, "six"), "six")
		if m := a.send(id, "seven"); len(m.Body) != BodySizes()[0] {
			t.Errorf("a short message has %d bytes", len(m.Body))
		} else {
			b.expect(m, "seven")
		}
	}
	for i := range 20 {
		b.expect(a.send(id, fmt.Sprint("a", i)), fmt.Sprint("a", i))
		b.expect(a.send(id, fmt.Sprint("aa", i)), fmt.Sprint("aa", i))
		a.expect(b.send(id, fmt.Sprint("b", i)), fmt.Sprint("b", i))
	}
}

func TestWithoutOneTimePrekey(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	clear(b.opk)
	id := a.start(b, "")
	m := a.send(id, "one")
	if f := must(PeekFirst(b.id, b.ik, b.inboxKey, m, testTime)); f.OPKID != nil {
		t.Error("a one-time prekey from nowhere")
	}
	b.expect(m, "one")
	a.expect(b.send(id, "two"), "two")
}

func TestBadBundle(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	good := b.bundle()
	for name, spoil := range map[string]func(*PrekeyBundle){
		"no identity":  func(p *PrekeyBundle) { p.Identity.IK = secp.PublicKey{} },
		"no SK":        func(p *PrekeyBundle) { p.Identity.SK = secp.PublicKey{} },
		"no SPK":       func(p *PrekeyBundle) { p.SPK = secp.PublicKey{} },
		"no OPK key":   func(p *PrekeyBundle) { p.OPK = &OneTimePrekey{ID: p.OPK.ID} },
		"short KEM":    func(p *PrekeyBundle) { p.EK = p.EK[1:] },
		"KEM modulus":  func(p *PrekeyBundle) { p.EK = bytes.Repeat([]byte{0xff}, KEMPublicSize) },
		"KEM missing":  func(p *PrekeyBundle) { p.EK = nil },
		"our own keys": func(p *PrekeyBundle) { p.Identity = a.id },
	} {
		bundle := good
		spoil(&bundle)
		if _, err := Initiate(a.id, a.ik, bundle, nil, testTime); !errors.Is(err, ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Initiate(a.id, a.ik, b.bundle(), make([]byte, MaxHello+1), testTime); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large hello: %v", err)
	}
	if _, err := Initiate(a.id, b.ik, b.bundle(), nil, testTime); err == nil {
		t.Error("another's private key was taken")
	}
	if _, err := Initiate(a.id, a.ik, b.bundle(), make([]byte, MaxHello), testTime); err != nil {
		t.Errorf("largest hello: %v", err)
	}
}

// What the two sides do not agree on makes another T, or another key.
func TestAcceptRefuses(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	id := a.start(b, "hello")
	m := a.send(id, "one")
	peek := func() *First { return must(PeekFirst(b.id, b.ik, b.inboxKey, m, testTime)) }

	for name, c := range map[string]struct {
		spoil func(f *First, keys *device)
		want  error
	}{
		"no signed prekey":    {func(_ *First, k *device) { clear(k.spk) }, ErrPrekey},
		"no KEM key":          {func(_ *First, k *device) { clear(k.kem) }, ErrPrekey},
		"no one-time prekey":  {func(_ *First, k *device) { clear(k.opk) }, ErrPrekey},
		"other signed prekey": {func(_ *First, k *device) { k.spk[7] = must(secp.GenerateKey()) }, ErrDecrypt},
		"other KEM key":       {func(_ *First, k *device) { k.kem[9] = must(GenerateKEMKey()) }, ErrDecrypt},
		"one-time prekey":     {func(_ *First, k *device) { k.opk[100] = must(secp.GenerateKey()) }, ErrDecrypt},
		"claimed id":          {func(f *First, _ *device) { f.pre.id[0]++ }, ErrDecrypt},
		"claimed account":     {func(f *First, _ *device) { f.pre.from.Acct[0]++ }, ErrDecrypt},
		"claimed device":      {func(f *First, _ *device) { f.pre.from.Dev[0]++ }, ErrDecrypt},
		"claimed signing key": {func(f *First, _ *device) { f.pre.from.SK = f.pre.from.IK }, ErrDecrypt},
		"KEM ciphertext":      {func(f *First, _ *device) { f.pre.ct[5]++ }, ErrDecrypt},
		"the tag inside":      {func(f *First, _ *device) { f.Message.Tag[0]++ }, ErrDecrypt},
		"the message inside":  {func(f *First, _ *device) { f.Message = f.Message.flip(900) }, ErrDecrypt},
	} {
		f, keys := peek(), newDevice(t, "keys")
		keys.spk[7], keys.kem[9] = b.spk[7], b.kem[9]
		keys.opk[100] = b.opk[100]
		c.spoil(f, keys)
		if _, err := f.Accept(b.id, b.ik, keys, []byte("ad"), testTime); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}

	// A claim whose T is right but whose sender does not have the key: alice's
	// IK is named, DH1 is not hers.
	forged := *peek()
	pre := *forged.pre
	mallory := newDevice(t, "mallory")
	pre.from.IK = mallory.id.IK
	tr := transcript{
		a: pre.from, b: b.id, ek: pre.ek, spkID: 7, spk: b.spk[7].PublicKey(),
		opk: &OneTimePrekey{100, b.opk[100].PublicKey()}, kemID: 9, kem: b.kem[9].Public(), ct: pre.ct[:],
	}
	pre.id = tr.hash()
	forged.pre = &pre
	if _, err := forged.Accept(b.id, b.ik, b, []byte("ad"), testTime); !errors.Is(err, ErrDecrypt) {
		t.Errorf("forged identity: %v", err)
	}

	if _, err := peek().Accept(b.id, b.ik, b, []byte("other"), testTime); !errors.Is(err, ErrDecrypt) {
		t.Errorf("other application data: %v", err)
	}
	b.expect(m, "one")
}

func TestPeekRefuses(t *testing.T) {
	a, b, c := newDevice(t, "alice"), newDevice(t, "bob"), newDevice(t, "carol")
	id := a.start(b, "hello")
	m := a.send(id, "one")
	week := 7 * 24 * time.Hour
	for _, d := range []time.Duration{-week, 0, week, LateWeeks * week} {
		if _, err := PeekFirst(b.id, b.ik, b.inboxKey, m, testTime.Add(d)); err != nil {
			t.Errorf("%v later: %v", d, err)
		}
	}
	for _, d := range []time.Duration{-2 * week, (LateWeeks + 1) * week} {
		if _, err := PeekFirst(b.id, b.ik, b.inboxKey, m, testTime.Add(d)); !errors.Is(err, ErrDecrypt) {
			t.Errorf("%v later: %v", d, err)
		}
	}
	if _, err := PeekFirst(c.id, c.ik, b.inboxKey, m, testTime); !errors.Is(err, ErrDecrypt) {
		t.Errorf("another device: %v", err)
	}
	if _, err := PeekFirst(b.id, b.ik, c.inboxKey, m, testTime); !errors.Is(err, ErrDecrypt) {
		t.Errorf("another inbox key: %v", err)
	}
	// The same keys under another link digest are another device.
	moved := b.id
	moved.Dev[0]++
	if _, err := PeekFirst(moved, b.ik, b.inboxKey, m, testTime); !errors.Is(err, ErrDecrypt) {
		t.Errorf("another link: %v", err)
	}
	// The tag is bound: the same body under the tag of next week.
	next := Message{Tag: FirstTag(b.inboxKey, testTime.Add(week)), Body: m.Body}
	if _, err := PeekFirst(b.id, b.ik, b.inboxKey, next, testTime); !errors.Is(err, ErrDecrypt) {
		t.Errorf("another week's tag: %v", err)
	}
}

func TestReplays(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	id := a.start(b, "hello")
	first := a.send(id, "one")
	b.expect(first, "one")
	b.refuse(first, ErrReplay) // the session is there
	kept := b.sessions[id]
	delete(b.sessions, id)
	b.refuse(first, ErrReplay) // it is not, but the id was seen
	delete(b.seen, id)
	b.refuse(first, ErrPrekey) // nor that, but the one-time prekey was used
	b.sessions[id] = kept

	answer := b.send(id, "two")
	a.expect(answer, "two")
	a.refuse(answer, ErrReplay)
	later := a.send(id, "three")
	skipping := a.send(id, "four")
	b.expect(skipping, "four")
	b.refuse(skipping, ErrReplay)
	b.expect(later, "three")
	b.refuse(later, ErrReplay)
	a.expect(b.send(id, "five"), "five")
	b.expect(a.send(id, "six"), "six")
	b.refuse(later, ErrDecrypt) // its chain is forgotten
}

// A state that has read a message cannot read it again, nor can the one before
// once it is erased.
func TestOldKeysAreGone(t *testing.T) {
	a, b, id := pair(t)
	m := a.send(id, "secret")
	before := b.load(id)
	o, err := before.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Session.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}, testTime); !errors.Is(err, ErrReplay) {
		t.Errorf("read again: %v", err)
	}
	mk, _ := kdfCK(before.ckr)
	state := o.Session.Marshal().Bytes()
	for name, k := range map[string][]byte{"chain key": before.ckr.Bytes(), "message key": mk[:]} {
		if bytes.Contains(state, k) {
			t.Errorf("the %s is in the next state", name)
		}
	}
	before.Erase()
	if _, err := before.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}, testTime); !errors.Is(err, ErrState) {
		t.Errorf("an erased state read: %v", err)
	}
	if _, _, err := before.Encrypt(nil, nil, testTime); !errors.Is(err, ErrState) {
		t.Errorf("an erased state wrote: %v", err)
	}
	// Erasing the old state left the next alone.
	if !bytes.Equal(state, o.Session.Marshal().Bytes()) {
		t.Error("erasing a state changed the next")
	}
	// Our ratchet key and sending chain end with the peer's new chain.
	if s := b.load(id); !s.dhs.IsZero() || !s.cks.IsZero() || !s.hks.IsZero() {
		t.Error("keys of an ended sending chain are kept")
	}
}

func TestEveryBitFlipIsRefused(t *testing.T) {
	a, b, id := pair(t)
	m := a.send(id, "text")
	for bit := range len(m.Body) * 8 {
		b.refuse(m.flip(bit), ErrDecrypt)
	}
	for bit := range TagSize * 8 {
		flipped := m
		flipped.Tag[bit/8] ^= 1 << (bit % 8)
		b.refuse(flipped, ErrDecrypt)
	}
	for n := range len(m.Body) {
		b.refuse(Message{m.Tag, m.Body[:n]}, ErrDecrypt)
	}
	b.refuse(Message{m.Tag, append(bytes.Clone(m.Body), 0)}, ErrDecrypt)
	b.expect(m, "text")

	// The first message of a chain, with a key skipped before it.
	a.expect(b.send(id, "turn"), "turn")
	lost := a.send(id, "lost")
	m = a.send(id, "new chain")
	for bit := range len(m.Body) * 8 {
		b.refuse(m.flip(bit), ErrDecrypt)
	}
	b.expect(m, "new chain")
	for bit := range len(lost.Body) * 8 {
		b.refuse(lost.flip(bit), ErrDecrypt)
	}
	if n := len(b.sessions[id].skipped); n != 1 {
		t.Fatalf("%d skipped keys, want 1", n)
	}
	b.expect(lost, "lost")
}

func TestEveryBitFlipOfAFirstMessageIsRefused(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	m := a.send(a.start(b, "hello"), "text")
	// Every bit of the outer layer is covered by one AEAD; the layers below are
	// flipped under a valid outer layer.
	for bit := range len(m.Body) * 8 {
		if bit%8 != bit/8%8 {
			continue // one bit of every byte
		}
		b.refuse(m.flip(bit), ErrDecrypt)
	}
	for bit := range TagSize * 8 {
		flipped := m
		flipped.Tag[bit/8] ^= 1 << (bit % 8)
		b.refuse(flipped, ErrDecrypt)
	}
	key := expand(nil, b.inboxKey[:], labelFirstSeal, nil, keySize)
	inner := must(xaead(key).Open(nil, m.Body[:nonceSize], m.Body[nonceSize:], firstAD(m.Tag)))
	for i := 0; i < len(inner); i += 7 {
		body := bytes.Clone(inner)
		body[i] ^= 1 << (i % 8)
		b.refuse(Message{m.Tag, xaead(key).Seal(bytes.Clone(m.Body[:nonceSize]), m.Body[:nonceSize], body, firstAD(m.Tag))}, ErrDecrypt)
	}
	if len(b.sessions) != 0 || len(b.opk) != 4 {
		t.Error("a refused message left something behind")
	}
	b.expect(m, "text")
}

func TestSkipLimits(t *testing.T) {
	a, b, id := pair(t)
	m := make([]Message, MaxSkip+3)
	for i := range m {
		m[i] = a.send(id, fmt.Sprint(i))
	}
	b.refuse(m[MaxSkip+1], ErrTooFarAhead)
	b.expect(m[MaxSkip], fmt.Sprint(MaxSkip))
	if n := len(b.sessions[id].skipped); n != MaxSkip {
		t.Fatalf("%d skipped keys, want %d", n, MaxSkip)
	}
	b.expect(m[MaxSkip+2], fmt.Sprint(MaxSkip+2))
	b.expect(m[0], "0")

	// The end of a chain and the beginning of the next are limited alike.
	a.expect(b.send(id, "turn"), "turn")
	for i := range m {
		m[i] = a.send(id, fmt.Sprint("next ", i))
	}
	b.refuse(m[MaxSkip+1], ErrTooFarAhead)
	b.expect(m[MaxSkip], fmt.Sprint("next ", MaxSkip))
	if n := len(b.sessions[id].skipped); n != MaxStored {
		t.Fatalf("%d skipped keys, want %d", n, MaxStored)
	}
	// Full: the oldest give way, and what is newer still opens.
	b.expect(m[MaxSkip+2], fmt.Sprint("next ", MaxSkip+2))
	if n := len(b.sessions[id].skipped); n != MaxStored {
		t.Fatalf("%d skipped keys, want %d", n, MaxStored)
	}
	b.expect(m[0], "next 0")
	b.expect(m[MaxSkip+1], fmt.Sprint("next ", MaxSkip+1))
}

// The end of an old chain is limited as well: PN is the peer's word.
func TestOldChainSkipLimit(t *testing.T) {
	a, b, id := pair(t)
	for range MaxSkip + 1 {
		a.send(id, "lost")
	}
	a.expect(b.send(id, "turn"), "turn")
	b.refuse(a.send(id, "too far"), ErrTooFarAhead)
}

func TestSkippedKeysExpire(t *testing.T) {
	a, b, id := pair(t)
	m1, m2 := a.send(id, "1"), a.send(id, "2")
	b.expect(m2, "2")
	if _, _, err := b.receive(m1, testTime.Add(SkippedLifetime+time.Second)); !errors.Is(err, ErrReplay) {
		t.Errorf("expired key: %v", err)
	}
	if _, pt, err := b.receive(m1, testTime.Add(SkippedLifetime)); err != nil || pt != "1" {
		t.Errorf("key on its last day: %q, %v", pt, err)
	}
}

func TestSizes(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	id := a.start(b, strings.Repeat("h", MaxHello))
	for range 2 {
		limit := a.load(id).MaxPlaintext()
		text := strings.Repeat("x", limit)
		b.expect(a.send(id, text), text)
		if _, _, err := a.load(id).Encrypt(make([]byte, limit+1), nil, testTime); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes: %v", limit+1, err)
		}
		b.expect(a.send(id, ""), "")
		a.expect(b.send(id, "turn"), "turn")
	}
	if got, want := a.load(id).MaxPlaintext(), MaxBody-messageOverhead-pqRoom; got != want {
		t.Errorf("limit is %d, want %d", got, want)
	}
	// The edge of the smallest size.
	for n, want := range map[int]int{256 - messageOverhead: 256, 257 - messageOverhead: 1024} {
		m := a.send(id, strings.Repeat("x", n))
		if len(m.Body) != want {
			t.Errorf("%d bytes of text make %d, want %d", n, len(m.Body), want)
		}
		b.expect(m, strings.Repeat("x", n))
	}
}

func TestSimultaneousStarts(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	fromA, fromB := a.start(b, ""), b.start(a, "")
	ma, mb := a.send(fromA, "from alice"), b.send(fromB, "from bob")
	b.expect(ma, "from alice")
	a.expect(mb, "from bob")
	at := Preferred(a.load(fromA), a.load(fromB)).ID()
	if Preferred(a.load(fromB), a.load(fromA)).ID() != at ||
		Preferred(b.load(fromA), b.load(fromB)).ID() != at || bytes.Compare(at[:], fromA[:]) > 0 || bytes.Compare(at[:], fromB[:]) > 0 {
		t.Fatal("the sides prefer different sessions")
	}
	for i := range 3 {
		b.expect(a.send(at, fmt.Sprint("a", i)), fmt.Sprint("a", i))
		a.expect(b.send(at, fmt.Sprint("b", i)), fmt.Sprint("b", i))
	}
	// What is still under way in the other opens.
	other := fromA
	if at == fromA {
		other = fromB
	}
	a.expect(b.send(other, "late"), "late")
}

// A header key of one direction does not open the other, nor another session.
func TestMessagesOfOthers(t *testing.T) {
	a, b, id := pair(t)
	_, c, _ := pair(t)
	m := a.send(id, "for bob")
	c.refuse(m, ErrDecrypt)
	a.refuse(m, ErrDecrypt)
	b.expect(m, "for bob")
}

// A peer that answers a chain we have not begun, or repeats its ratchet key,
// holds the header key, but is refused.
func TestPeerOutOfTurn(t *testing.T) {
	a, b, id := pair(t)
	s := a.load(id)
	out := b.load(id) // in the receiving position: its dhs is erased
	hk := out.nhkr    // which alice's next chain would use
	h := &header{dh: s.dhsPub, pn: 2}
	tag := messageTag(tagKey(hk), 0)
	body := (*meter)(nil).sealMessage(hk, tagKey(hk), s.cks.Bytes(), id, h, []byte("x"), []byte("ad"), 256)
	b.refuse(Message{tag, body}, ErrDecrypt)
	b.send(id, "now it has begun")
	b.refuse(Message{tag, body}, ErrDecrypt)

	// A ratchet key that is no point.
	h.dh[0] = 9
	body = (*meter)(nil).sealMessage(b.load(id).nhkr, tagKey(b.load(id).nhkr), s.cks.Bytes(), id, h, []byte("x"), []byte("ad"), 256)
	b.refuse(Message{messageTag(tagKey(b.load(id).nhkr), 0), body}, ErrDecrypt)
}

func TestNothingPrints(t *testing.T) {
	a, b, id := pair(t)
	s := a.load(id)
	for _, v := range []any{s, *s, a.kem[9], &a.kem} {
		text := fmt.Sprintf("%v %+v %#v %s %x", v, v, v, v, v)
		if len(text) > 2000 || strings.Contains(text, fmt.Sprintf("%x", s.rk.Bytes())) {
			t.Errorf("%T prints %d bytes", v, len(text))
		}
	}
	m := b.send(id, "1")
	a.expect(b.send(id, "2"), "2")
	for _, r := range a.sessions[id].skipped {
		k := must(ParseSkippedKey(r.bytes))
		if strings.Contains(fmt.Sprintf("%v %x", k, *k), fmt.Sprintf("%x", k.MessageKey.Bytes())) {
			t.Error("a skipped key prints")
		}
	}
	a.expect(m, "1")
}
