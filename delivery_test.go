package parley

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// counts runs a query that gives one number.
func (p *person) count(query string, args ...any) (n int) {
	p.w.t.Helper()
	if err := p.db.View(p.w.t.Context(), func(tx *store.Tx) error { return tx.QueryRow(query, args...).Scan(&n) }); err != nil {
		p.w.t.Fatal(err)
	}
	return n
}

// eventually waits until cond holds.
func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal(what)
		}
	}
}

// Two who wrote more to each other than the window holds, each while the other
// was away, hear everything when they meet: acknowledgements do not wait for
// room in the window that only acknowledgements make.
func TestFullWindowsOnBothSides(t *testing.T) {
	const n = maxUnacked + 44
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	bob.wait(bob.say("alice.eth", "hello"), Delivered)
	fill := func(p, away *person, to string) {
		t.Helper()
		away.Close()
		for i := range n {
			p.say(to, fmt.Sprint("n", i))
		}
		w.eventually("the window fills", func() bool {
			return p.count(`SELECT COUNT(*) FROM outbox WHERE tag IS NOT NULL AND acked = 1`) == maxUnacked
		})
	}
	fill(alice, bob, "bob.eth")
	alice.Close()
	bob.options.Bootstrap = nil
	bob.open()
	fill(bob, alice, "alice.eth")
	alice.options.Bootstrap = bob.node.Addrs()
	alice.open()
	for _, p := range []*person{alice, bob} {
		got := numbered(p.until("all", func(es []Event) bool { return len(numbered(es, "n")) >= n }), "n")
		if !slices.Equal(got, series("n", n)) {
			t.Errorf("%s reads %d messages: %v", p.name, len(got), got)
		}
		w.eventually("the outbox is empty", func() bool { return p.count(`SELECT COUNT(*) FROM outbox`) == 0 })
	}
}

// Two who begin to write at the same moment send on one session in the end, in
// whatever order what they wrote arrives: here bob's first message comes after
// his answer to alice's.
func TestSimultaneousStartsChooseAlike(t *testing.T) {
	for range 4 { // which session is preferred is up to chance
		w := newWorld(t)
		alice, bob := w.join("alice"), w.join("bob")
		w.connected(alice, bob)
		w.meet(alice, bob)
		alice.offline()
		bob.offline()
		alice.say("bob.eth", "from alice")
		bob.say("alice.eth", "from bob")
		fromAlice, fromBob := alice.encryptAll(), bob.encryptAll()
		bob.takesAll(fromAlice)
		answer := bob.encryptAll()[len(fromBob):]
		alice.takesAll(answer)
		alice.takesAll(fromBob)
		bob.takesAll(alice.encryptAll())
		if a, b := alice.sendsOn(), bob.sendsOn(); len(a) != 1 || !slices.Equal(a, b) {
			t.Fatalf("alice sends on %x, bob on %x", a, b)
		}
	}
}

// meet gives two clients each other's records, as a look-up would.
func (w *world) meet(a, b *person) {
	w.t.Helper()
	for _, pair := range [][2]*person{{a, b}, {b, a}} {
		account := pair[1].me.account
		r, err := pair[0].fetchPatiently(w.t.Context(), account)
		if err != nil {
			w.t.Fatal(err)
		}
		pair[0].mu.Lock()
		pair[0].wantRecord(account).take(r, time.Now())
		pair[0].mu.Unlock()
	}
}

// offline opens a client again without a network, with what it was looking for.
func (p *person) offline() {
	p.w.t.Helper()
	wanted := p.wanted
	p.Close()
	p.reopenOffline()
	p.wanted = wanted
}

// encryptAll moves what waits in the outbox, and returns all that is on its way.
func (p *person) encryptAll() []transport.Envelope {
	p.w.t.Helper()
	p.sendAcks()
	if err := p.fill(p.w.t.Context()); err != nil {
		p.w.t.Fatal(err)
	}
	return p.envelopes(`SELECT tag, body FROM outbox WHERE tag IS NOT NULL ORDER BY id`)
}

// envelopes returns those whose tags and bodies a query finds.
func (p *person) envelopes(query string) (all []transport.Envelope) {
	p.w.t.Helper()
	err := p.db.View(p.w.t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(query)
		if err != nil {
			return err
		}
		for rows.Next() {
			var tag transport.Tag
			var body []byte
			if err := rows.Scan(&tag, &body); err != nil {
				return err
			}
			e, err := transport.NewEnvelope(tag, body)
			if err != nil {
				return err
			}
			all = append(all, e)
		}
		return rows.Err()
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	return all
}

func (p *person) takesAll(all []transport.Envelope) {
	p.w.t.Helper()
	for i, e := range all {
		if !p.takes(e) {
			p.w.t.Fatalf("%s: envelope %d of %d is refused", p.name, i, len(all))
		}
	}
}

// sendsOn lists the sessions that are not archived.
func (p *person) sendsOn() (ids []string) {
	p.w.t.Helper()
	err := p.db.View(p.w.t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT hex(id) FROM sessions WHERE archived IS NULL`)
		if err != nil {
			return err
		}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	return ids
}

// A sender begins no more contents in parts than a receiver keeps: what was
// acknowledged in part and then dropped would be lost.
func TestPartsInFlightAreBounded(t *testing.T) {
	const n = 2*maxWholes + 1
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.meet(alice, bob)
	alice.offline()
	bob.offline()
	for i := range n {
		if _, err := alice.Send(t.Context(), "bob.eth", Attachment(fmt.Sprint("file", i), "a/b", make([]byte, 2*partSize)), SendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for rounds := 0; bob.count(`SELECT COUNT(*) FROM messages`) < n; rounds++ {
		if rounds > n {
			t.Fatalf("bob has %d of %d files", bob.count(`SELECT COUNT(*) FROM messages`), n)
		}
		all := alice.encryptAll()
		// The first part of each comes first, then the rest: the worst order.
		for first := range 3 {
			for i := first; i < len(all); i += 3 {
				bob.takes(all[i])
			}
		}
		for _, e := range bob.encryptAll() {
			alice.takes(e)
		}
	}
}

// acquainted waits until members know each other's logs and nodes: until then
// they write nothing, and ask nobody for what they miss.
func (w *world) acquainted(name string, all ...*person) {
	w.t.Helper()
	for _, p := range all {
		w.eventually(p.name+" does not know the members", func() bool {
			g, err := p.Group(w.t.Context(), name)
			if err != nil {
				w.t.Fatal(err)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.nodes) >= len(g.Members)-1 && !slices.ContainsFunc(g.Members, func(m Member) bool { return !m.Verified })
		})
	}
}

// Who missed a commit and what was said before and after it asks the other
// members, and nobody else: the tags would tell a stranger who is in the group.
func TestRepairAsksMembersOnly(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	key, err := secp.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	stranger, err := transport.Open(t.Context(), transport.Options{
		HostKey: key.Bytes(), Network: "test", Bootstrap: w.bootstrap, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
		Handlers: transport.Handlers{History: func(context.Context, peer.ID, []transport.Tag) ([]transport.Envelope, error) {
			asked.Add(1)
			return nil, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stranger.Close() })
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth", "carol.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	w.acquainted("ops", bob, carol)
	carol.Close()
	alice.sayAll("ops", "missed")
	bob.until("it", heard("missed"))
	if err := alice.UpdateKeys(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	bob.until("the commit", changed("updated"))
	bob.sayAll("ops", "missed too")
	alice.until("it", heard("missed too"))
	alice.Close() // bob alone has it all
	carol.options.Bootstrap = bob.node.Addrs()
	carol.open()
	if err := carol.Connect(t.Context(), stranger.Addrs()...); err != nil {
		t.Fatal(err)
	}
	carol.until("what she missed", heard("missed too"))
	carol.repair(t.Context())
	if n := asked.Load(); n != 0 {
		t.Errorf("a stranger was asked %d times", n)
	}
}

// A receipt of reading reaches an author who was away when it was sent.
func TestReadReceiptReachesWhoWasAway(t *testing.T) {
	w := newWorld(t)
	carol, alice, bob := w.join("carol"), w.join("alice"), w.join("bob")
	w.connected(alice, bob, carol)
	r := alice.say("bob.eth", "read me")
	bob.until("it", heard("read me"))
	alice.wait(r, Delivered)
	alice.Close()
	read, err := bob.Send(t.Context(), "alice.eth", Content{Kind: KindReceipt, Refs: []MessageID{r.ID}, Read: true}, SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bob.wait(read, Sent) // carol heard it
	alice.open()
	alice.wait(r, Read)
	bob.wait(read, Delivered)
}

// What one conversation cannot encrypt holds up no other: here the record of a
// contact whose prekeys do not serve.
func TestOneConversationHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.join("alice"), w.join("bob"), w.join("eve")
	w.connected(alice, bob, eve)
	record, err := alice.fetchPatiently(t.Context(), eve.account())
	if err != nil {
		t.Fatal(err)
	}
	record.Bundle.KEMPrekey.Key = [len(record.Bundle.KEMPrekey.Key)]byte{0: 0xff, 1: 0xff, 2: 0xff}
	alice.mu.Lock()
	alice.wantRecord(eve.account()).take(record, time.Now())
	alice.mu.Unlock()
	alice.say("eve.eth", "does not go")
	alice.wait(alice.say("bob.eth", "goes"), Delivered)
}

// A contact who skips as many messages as it may, again and again, does not
// grow the index without end.
func TestSkippedKeysLeaveTheIndex(t *testing.T) {
	const skip = ratchet.MaxSkip
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.meet(alice, bob)
	alice.offline()
	bob.offline()
	alice.say("bob.eth", "begin")
	bob.takesAll(alice.encryptAll())
	alice.takesAll(bob.encryptAll())
	var id ratchet.ID
	for id = range alice.sessions {
	}
	before := bob.index.Len()
	session := alice.sessions[id].Session
	for i := range 4 {
		var m ratchet.Message
		for range skip {
			content := Text("x")
			content.ID = NewMessageID()
			b, err := content.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if session, m, err = session.Encrypt(b, nil, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		e, err := transport.NewEnvelope(transport.Tag(m.Tag), m.Body)
		if err != nil {
			t.Fatal(err)
		}
		// Far ahead of the window, as it is found by who looks for it.
		if err := bob.step(t.Context(), func(s *step) error {
			return s.receiveOn(bob.sessions[id].Session, e, m.Tag, m.Body)
		}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if n := bob.count(`SELECT COUNT(*) FROM skipped`); n > ratchet.MaxStored {
		t.Errorf("%d skipped keys are stored", n)
	}
	if grown := bob.index.Len() - before; grown > ratchet.MaxStored+2*pairWindow {
		t.Errorf("the index has grown by %d tags", grown)
	}
}
