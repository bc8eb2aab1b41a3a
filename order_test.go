package parley

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/transport"
)

// after runs a step as if it were so much later.
func (p *person) after(d time.Duration, fn func(*step) error) {
	p.w.t.Helper()
	if err := p.step(p.w.t.Context(), func(s *step) error { s.now = s.now.Add(d); return fn(s) }); err != nil {
		p.w.t.Fatal(err)
	}
}

// shown lists what is shown of others' messages now.
func (p *person) shown() []string {
	p.w.t.Helper()
	events, _, err := p.eventsAfter(p.w.t.Context(), 0)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return texts(events)
}

// docs/spec.md, "In pairs": a message waits for those before it while they may
// still come, which on a bad link is long after the slowest retry; and what
// waits is shown in the end.
func TestOrderOutlastsRetriesInPairs(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.meet(alice, bob)
	alice.offline()
	bob.offline()
	for i := range 6 {
		alice.say("bob.eth", fmt.Sprint("n", i))
	}
	all := alice.encryptAll()
	bob.takesAll([]transport.Envelope{all[2], all[1]})
	bob.after(10*retrySlowest, (*step).releaseOverdue)
	if got := bob.shown(); len(got) != 0 {
		t.Fatalf("bob reads %v before what came first", got)
	}
	bob.takesAll(all[:1])
	if got := bob.shown(); !slices.Equal(got, series("n", 3)) {
		t.Fatalf("bob reads %v", got)
	}
	// What never comes is not waited for without end.
	bob.takesAll(all[4:])
	bob.after(holdFor+time.Minute, (*step).releaseOverdue)
	if got, want := bob.shown(), append(series("n", 3), "n4", "n5"); !slices.Equal(got, want) {
		t.Errorf("bob reads %v", got)
	}
}

// A client that was closed meanwhile gives what is missing some time, and no
// more than that however often it is opened.
func TestHeldMessagesOutlastClosing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.meet(alice, bob)
	alice.offline()
	bob.offline()
	alice.say("bob.eth", "n0")
	alice.say("bob.eth", "n1")
	bob.takesAll(alice.encryptAll()[1:])
	for _, c := range []struct {
		age   time.Duration
		shown int
	}{{holdFor + time.Hour, 0}, {2*holdFor + time.Hour, 1}} {
		bob.after(-c.age, func(s *step) error {
			_, err := s.Exec(`UPDATE held SET at = ?`, s.unixMilli())
			return err
		})
		bob.offline()
		if got := bob.shown(); len(got) != c.shown {
			t.Fatalf("after %v bob reads %v", c.age, got)
		}
	}
}

// docs/spec.md, "In groups": the same for what other members have to be asked
// for.
func TestOrderOutlastsRetriesInGroups(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.tap() // who hears alice while bob is away
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	w.acquainted("ops", alice, bob)
	alice.sayAll("ops", "n0")
	bob.until("n0", heard("n0"))
	bob.Close()
	for i := 1; i < 4; i++ {
		alice.sayAll("ops", fmt.Sprint("n", i))
	}
	w.eventually("nothing is sent", func() bool { return alice.count(`SELECT COUNT(*) FROM messages WHERE state = ?`, string(Sent)) == 4 })
	var tags []transport.Tag
	alice.mu.Lock()
	for _, g := range alice.groups {
		for n := range uint64(3) {
			tags = append(tags, g.head.Tag(groups.ClassApplication, g.head.Self(), n+1))
		}
	}
	alice.mu.Unlock()
	late, err := alice.serveHistory(t.Context(), "", tags)
	if err != nil || len(late) != 3 {
		t.Fatalf("%d envelopes, %v", len(late), err)
	}
	bob.reopenOffline()
	bob.takesAll([]transport.Envelope{late[2], late[1]})
	bob.after(10*repairIdle, (*step).releaseOverdue)
	if got := bob.shown(); !slices.Equal(got, series("n", 1)) {
		t.Fatalf("bob reads %v before what came first", got)
	}
	bob.takesAll(late[:1])
	if got := bob.shown(); !slices.Equal(got, series("n", 4)) {
		t.Errorf("bob reads %v", got)
	}
}

// What waits for an earlier message is bounded: what exceeds the bound is not
// acknowledged, comes again, and is read in its turn.
func TestHeldMessagesAreBounded(t *testing.T) {
	const n = maxHeld + 2
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.meet(alice, bob)
	alice.offline()
	bob.offline()
	for i := range n {
		alice.say("bob.eth", fmt.Sprint("n", i))
	}
	begun := alice.encryptAll() // as many as the window holds
	bob.takesAll(begun[1:])
	for _, e := range bob.encryptAll() {
		alice.takes(e)
	}
	rest := slices.DeleteFunc(alice.encryptAll(), func(e transport.Envelope) bool { return e.ContentHash() == begun[0].ContentHash() })
	refused := 0
	for _, e := range rest {
		if !bob.takes(e) {
			refused++
		}
	}
	if held := bob.count(`SELECT COUNT(*) FROM held`); held != maxHeld || refused != n-1-maxHeld || bob.Dropped().Deferred != uint64(refused) {
		t.Fatalf("%d are held, %d refused, %+v", held, refused, bob.Dropped())
	}
	bob.takesAll(begun[:1])
	for _, e := range rest {
		bob.takes(e.Reseal())
	}
	if got := bob.count(`SELECT COUNT(*) FROM messages`); got != n {
		t.Errorf("bob has %d messages of %d", got, n)
	}
	if got := bob.count(`SELECT COUNT(*) FROM messages a JOIN messages b ON b.row = a.row + 1 WHERE a.content = b.content`); got != 0 {
		t.Errorf("%d are doubled", got)
	}
	for i, text := range bob.shown() {
		if text != fmt.Sprint("n", i) {
			t.Fatalf("message %d is %q", i, text)
		}
	}
}

// What a receiver cannot read, because its author's version is newer, holds up
// nothing that comes after it, and is not repeated for ever.
func TestUnknownContentHoldsUpNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	alice.wait(alice.say("bob.eth", "one"), Delivered)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	w.acquainted("ops", alice, bob)
	unknown := func(id MessageID, seq int) []byte {
		b, err := contentEncoding.Marshal(map[int]any{1: 99, 2: id[:], 10: seq})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bob.after(0, func(s *step) error {
		for id, session := range bob.sessions {
			b := unknown(MessageID{2}, 2)
			err := s.receivePair(session.Session, transport.Envelope{Body: b}, b)
			s.then(func() {
				if acks := bob.acks[alice.account()]; !slices.Contains(acks, MessageID{2}) {
					t.Errorf("what %x brought is not acknowledged: %v", id[:4], acks)
				}
			})
			return err
		}
		t.Fatal("no session")
		return nil
	})
	g, err := alice.groupID(t.Context(), "ops")
	if err != nil {
		t.Fatal(err)
	}
	alice.after(0, func(s *step) error {
		for conv, seq := range map[string]int{pairConv(bob.account()): 2, groupConv(g): 1} {
			if got, err := s.nextSeq(conv); got != uint64(seq) || err != nil {
				t.Fatalf("%s: number %d, %v, want %d", conv, got, err, seq)
			}
		}
		_, err := s.Exec(`INSERT INTO outbox (conv, wire, content, acked, seq) VALUES (?, ?, ?, 0, 1)`, groupConv(g), NewMessageID(), unknown(NewMessageID(), 1))
		return err
	})
	alice.wait(alice.say("bob.eth", "three"), Delivered)
	bob.until("it", heard("three"))
	alice.sayAll("ops", "two")
	bob.until("it", heard("two"))
	if n := bob.count(`SELECT COUNT(*) FROM held`); n != 0 {
		t.Errorf("%d messages are held", n)
	}
}

// The numbers of what was never sent are used again: other members, who know the
// author from before, would wait for them.
func TestUnsentNumbersAreUsedAgain(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	alice.offline()
	g, err := alice.CreateGroup(t.Context(), "ops", nil, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	alice.sayAll("ops", "a")
	id, err := alice.groupID(t.Context(), g.ID)
	if err != nil {
		t.Fatal(err)
	}
	alice.after(0, func(s *step) error { // as if it had been heard
		_, err := s.Exec(`DELETE FROM outbox`)
		return err
	})
	alice.sayAll("ops", "b")
	alice.sayAll("ops", "c")
	if err := alice.LeaveGroup(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	alice.after(0, func(s *step) error {
		if n, err := s.nextSeq(groupConv(id)); n != 2 || err != nil {
			t.Errorf("the next number is %d, %v, want 2", n, err)
		}
		return nil
	})
}
