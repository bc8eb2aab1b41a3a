package parley

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// rests makes a client's sessions idle, but for those used last.
func (p *person) rests(most int) {
	p.w.t.Helper()
	p.after(0, func(s *step) error { return s.rest(most) })
	if n := len(p.sessions); n > most {
		p.w.t.Fatalf("%s has %d sessions in memory", p.name, n)
	}
}

// An idle session is in no memory, and reads, in and out of order, and writes all
// the same; so it does after the profile was closed.
func TestIdleSessions(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	w.meet(alice, bob)
	w.meet(alice, carol)
	for _, p := range []*person{alice, bob, carol} {
		p.offline()
	}
	empty := alice.index.Len()
	for _, p := range []*person{bob, carol} {
		alice.say(p.name+".eth", "hello")
	}
	for i, e := range alice.encryptAll() {
		p := []*person{bob, carol}[i]
		p.takesAll([]transport.Envelope{e})
		alice.takesAll(p.encryptAll())
	}
	if len(alice.sessions) != 2 {
		t.Fatalf("%d sessions", len(alice.sessions))
	}
	// The one that was used last stays.
	var last ratchet.ID
	for id := range alice.sessions {
		last = id
	}
	alice.after(time.Hour, func(s *step) error { _, err := s.session(last); return err })
	alice.rests(1)
	if alice.sessions[last] == nil {
		t.Error("the session that was used last is idle")
	}
	alice.rests(0)
	if n := alice.index.Len(); n != empty {
		t.Errorf("the index has %d tags, and had %d before there were sessions", n, empty)
	}
	if n := alice.count(`SELECT COUNT(*) FROM idle_tags`); n != 2*2*idleWindow {
		t.Errorf("%d tags of idle sessions", n)
	}

	// What comes wakes the one it is for. The second message comes first.
	send := func(p *person, texts ...string) []transport.Envelope {
		for _, text := range texts {
			p.say("alice.eth", text)
		}
		out := p.encryptAll()
		return out[len(out)-len(texts):]
	}
	all := send(bob, "one", "two", "three")
	alice.takesAll(all[1:2])
	if len(alice.sessions) != 1 || alice.count(`SELECT COUNT(*) FROM idle_tags`) != 2*idleWindow {
		t.Errorf("%d sessions are awake, %d tags are idle", len(alice.sessions), alice.count(`SELECT COUNT(*) FROM idle_tags`))
	}
	alice.rests(0)
	for _, again := range []func(){func() {}, alice.offline} {
		again()
		if len(alice.sessions) != 0 {
			t.Errorf("%d sessions are in memory after opening", len(alice.sessions))
		}
	}
	raw := all[0].Marshal()
	if err := alice.TryOpen(t.Context(), raw); err != nil {
		t.Errorf("an idle session does not open what is for it: %v", err)
	}
	if len(alice.sessions) != 0 {
		t.Error("trying wakes")
	}
	alice.takesAll(all[:1]) // by its skipped key
	if alice.takes(all[0]) || alice.takes(all[1]) {
		t.Error("a message is read twice")
	}
	alice.rests(0)
	alice.takesAll(all[2:])
	if got := alice.shown(); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("alice reads %q", got)
	}

	// To write wakes too.
	alice.rests(0)
	alice.say("carol.eth", "are you there?")
	if out := alice.encryptAll(); !slices.ContainsFunc(out, carol.takes) || !slices.Equal(carol.shown(), []string{"hello", "are you there?"}) {
		t.Errorf("carol reads %q", carol.shown())
	}

	// An idle session that is dropped leaves nothing.
	alice.rests(0)
	alice.after(0, func(s *step) error { return s.dropSessions(`SELECT id FROM sessions`) })
	if n := alice.count(`SELECT (SELECT COUNT(*) FROM idle_tags) + (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM skipped)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// Envelopes that come together are read in one transaction, and each as it would
// be by itself: one that cannot be read takes nothing with it.
func TestEnvelopesTogether(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.meet(alice, bob)
	w.meet(bob, alice)
	alice.offline()
	bob.offline()
	alice.say("bob.eth", "hello")
	bob.takesAll(alice.encryptAll())
	alice.takesAll(bob.encryptAll())

	texts := []string{"one", "two", "three", "four", "five", "six"}
	for _, text := range texts {
		bob.say("alice.eth", text)
	}
	out := bob.encryptAll()
	var all []transport.Parked
	for _, e := range out[len(out)-len(texts):] {
		all = append(all, transport.Parked{Envelope: e, At: time.Now()})
	}
	forged := all[3]
	forged.Envelope.Body = slices.Clone(forged.Envelope.Body)
	forged.Envelope.Body[len(forged.Envelope.Body)-1] ^= 1

	alice.receiveAll(t.Context(), []transport.Parked{all[1], all[0], all[0]})
	if n := alice.count(`SELECT COUNT(DISTINCT at) FROM messages WHERE own = 0`); n != 1 {
		t.Errorf("two messages are read in %d transactions", n)
	}
	alice.receiveAll(t.Context(), []transport.Parked{all[2], forged, all[3], all[4], all[4]})
	alice.receiveAll(t.Context(), all)
	if got := alice.shown(); !slices.Equal(got, texts) {
		t.Errorf("alice reads %q", got)
	}
	if d := alice.Dropped(); d != (Dropped{Undecryptable: 1}) {
		t.Errorf("dropped %+v", d)
	}
}

// Sessions that another version of this program has stored are given up, those in
// memory and idle ones; both sides go on in new ones.
func TestSessionsOfAnotherVersion(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	for _, p := range []*person{bob, carol} {
		alice.wait(alice.say(p.name+".eth", "hello"), Delivered)
		p.wait(p.say("alice.eth", "hello"), Delivered)
	}
	alice.rests(1)
	if err := alice.step(t.Context(), func(s *step) error {
		ids, err := s.sessionIDs(`SELECT id FROM sessions`)
		if err != nil {
			return err
		}
		for _, id := range ids {
			sealed, err := s.SealKey(sessionScope(id), sessionPlace(id), secret.New([]byte{1, 2, 3}))
			if err != nil {
				return err
			}
			if _, err := s.Exec(`UPDATE sessions SET sealed = ? WHERE id = ?`, sealed, id); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	alice.Close()
	alice.options.Bootstrap = bob.node.Addrs()
	alice.open()
	for _, p := range []*person{bob, carol} {
		alice.wait(alice.say(p.name+".eth", "anew"), Delivered)
		p.until("it", heard("anew"))
		p.wait(p.say("alice.eth", "gladly"), Delivered)
	}
}
