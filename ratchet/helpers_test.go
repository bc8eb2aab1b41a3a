package ratchet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secp"
)

var testTime = time.Unix(1_800_000_000, 0)

var errNoKey = errors.New("no such key")

// device is one peer as a caller would keep it: prekeys by id, and for every
// session its stored bytes and rows of skipped keys.
type device struct {
	tb       testing.TB
	id       Identity
	ik       *secp.PrivateKey
	inboxKey [InboxKeySize]byte
	spk      map[uint32]*secp.PrivateKey
	opk      map[uint32]*secp.PrivateKey
	kem      map[uint32]*KEMKey

	nextOPK  uint32
	sessions map[ID]*stored
	seen     map[ID]bool // of first messages, for the life of the prekeys
}

// stored is what a caller has on disk for one session.
type stored struct {
	state   []byte
	skipped map[Tag]row
	order   int
}

type row struct {
	bytes []byte
	order int
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newDevice(tb testing.TB, name string) *device {
	ik, sk := must(secp.GenerateKey()), must(secp.GenerateKey())
	d := &device{
		tb: tb, ik: ik, id: Identity{IK: ik.PublicKey(), SK: sk.PublicKey()},
		spk:      map[uint32]*secp.PrivateKey{7: must(secp.GenerateKey())},
		opk:      map[uint32]*secp.PrivateKey{},
		nextOPK:  100,
		kem:      map[uint32]*KEMKey{9: must(GenerateKEMKey())},
		sessions: map[ID]*stored{}, seen: map[ID]bool{},
	}
	copy(d.id.Acct[:], name)
	rand.Read(d.id.Dev[:])
	rand.Read(d.inboxKey[:])
	for id := uint32(100); id < 104; id++ {
		d.opk[id] = must(secp.GenerateKey())
	}
	return d
}

func lookup[T any](m map[uint32]*T, id uint32) (*T, error) {
	if k, ok := m[id]; ok {
		return k, nil
	}
	return nil, errNoKey
}

func (d *device) SignedPrekey(id uint32) (*secp.PrivateKey, error)  { return lookup(d.spk, id) }
func (d *device) OneTimePrekey(id uint32) (*secp.PrivateKey, error) { return lookup(d.opk, id) }
func (d *device) KEMKey(id uint32) (*KEMKey, error)                 { return lookup(d.kem, id) }

// bundle publishes the device's prekeys, with a one-time prekey that nobody was
// given before, if there is one.
func (d *device) bundle() PrekeyBundle {
	b := PrekeyBundle{
		Identity: d.id, SPKID: 7, SPK: d.spk[7].PublicKey(), EKID: 9, EK: d.kem[9].Public(), InboxKey: d.inboxKey,
	}
	if k := d.opk[d.nextOPK]; k != nil {
		b.OPK = &OneTimePrekey{ID: d.nextOPK, Key: k.PublicKey()}
		d.nextOPK++
	}
	return b
}

func (d *device) save(s *Session) *stored {
	st := d.sessions[s.ID()]
	if st == nil {
		st = &stored{skipped: map[Tag]row{}}
		d.sessions[s.ID()] = st
	}
	state := s.Marshal().Bytes()
	if len(state) > MaxSessionSize || s.pre == nil && len(state) != StateSize {
		d.tb.Fatalf("state of %d bytes", len(state))
	}
	st.state = state
	s.Erase()
	return st
}

func (d *device) load(id ID) *Session {
	s, err := ParseSession(d.sessions[id].state)
	if err != nil {
		d.tb.Fatal(err)
	}
	return s
}

func (d *device) start(peer *device, hello string) ID {
	s, err := Initiate(d.id, d.ik, peer.bundle(), []byte(hello), testTime)
	if err != nil {
		d.tb.Fatal(err)
	}
	id := s.ID()
	d.save(s)
	return id
}

func (d *device) send(id ID, text string) Message {
	d.tb.Helper()
	return d.sendAt(id, text, testTime)
}

func (d *device) sendAt(id ID, text string, now time.Time) Message {
	d.tb.Helper()
	next, m, err := d.load(id).Encrypt([]byte(text), []byte("ad"), now)
	if err != nil {
		d.tb.Fatal(err)
	}
	if !slices.Contains(BodySizes(), len(m.Body)) {
		d.tb.Fatalf("body of %d bytes", len(m.Body))
	}
	d.save(next)
	return m
}

// receive does what a caller does with an arriving envelope.
func (d *device) receive(m Message, now time.Time) (ID, string, error) {
	tags := FirstTags(d.inboxKey, now)
	if slices.Contains(tags[:], m.Tag) {
		f, err := PeekFirst(d.id, d.ik, d.inboxKey, m, now)
		if err != nil {
			return ID{}, "", err
		}
		if d.sessions[f.ID] == nil {
			if d.seen[f.ID] {
				return ID{}, "", ErrReplay
			}
			o, err := f.Accept(d.id, d.ik, d, []byte("ad"), now)
			if err != nil {
				return ID{}, "", err
			}
			d.seen[f.ID] = true
			if f.OPKID != nil {
				delete(d.opk, *f.OPKID)
			}
			d.apply(o)
			return f.ID, string(o.Plaintext), nil
		}
		pt, err := d.decrypt(f.ID, f.Message, now)
		return f.ID, pt, err
	}
	for id := range d.sessions {
		if pt, err := d.decrypt(id, m, now); err == nil || !errors.Is(err, ErrDecrypt) {
			return id, pt, err
		}
	}
	return ID{}, "", ErrDecrypt
}

func (d *device) decrypt(id ID, m Message, now time.Time) (string, error) {
	st := d.sessions[id]
	before := d.load(id)
	in := Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad"), Stored: len(st.skipped)}
	if r, ok := st.skipped[m.Tag]; ok {
		in.Skipped = must(ParseSkippedKey(r.bytes))
	}
	o, err := before.Decrypt(in, now)
	if err != nil {
		if !bytes.Equal(before.Marshal().Bytes(), st.state) {
			d.tb.Fatal("a failed decrypt changed the state")
		}
		return "", err
	}
	d.apply(o)
	return string(o.Plaintext), nil
}

func (d *device) apply(o *Opened) {
	st := d.save(o.Session)
	if o.Delta.Used != nil {
		if _, ok := st.skipped[*o.Delta.Used]; !ok {
			d.tb.Fatal("used a key that was not stored")
		}
		delete(st.skipped, *o.Delta.Used)
	}
	for range o.Delta.Evict {
		var oldest Tag
		order := st.order + 1
		for tag, r := range st.skipped {
			if r.order < order {
				oldest, order = tag, r.order
			}
		}
		delete(st.skipped, oldest)
	}
	for _, k := range o.Delta.New {
		st.order++
		st.skipped[k.Tag] = row{k.Marshal().Bytes(), st.order}
	}
	if len(st.skipped) > MaxStored {
		d.tb.Fatalf("%d skipped keys stored", len(st.skipped))
	}
}

// expect delivers m to d and requires the text.
func (d *device) expect(m Message, text string) ID {
	d.tb.Helper()
	id, got, err := d.receive(m, testTime)
	if err != nil || got != text {
		d.tb.Fatalf("received %q, %v; want %q", got, err, text)
	}
	return id
}

// refuse delivers m to d and requires the error.
func (d *device) refuse(m Message, want error) {
	d.tb.Helper()
	if _, got, err := d.receive(m, testTime); !errors.Is(err, want) {
		d.tb.Fatalf("received %q, %v; want %v", got, err, want)
	}
}

// pair returns two devices with a session that both have sent and read in, and
// in which the responder's first offer is closed.
func pair(tb testing.TB) (a, b *device, id ID) {
	a, b = newDevice(tb, "alice"), newDevice(tb, "bob")
	id = a.start(b, "hello")
	b.expect(a.send(id, "one"), "one")
	a.expect(b.send(id, "two"), "two")
	b.expect(a.send(id, "three"), "three")
	a.expect(b.send(id, "four"), "four")
	b.expect(a.send(id, "five"), "five")
	return a, b, id
}

func (m Message) flip(bit int) Message {
	body := bytes.Clone(m.Body)
	body[bit/8] ^= 1 << (bit % 8)
	return Message{Tag: m.Tag, Body: body}
}
