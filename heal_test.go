package parley

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parley-im/parley/identity"
)

// A contact who has lost the session on which we write, and writes on another,
// gets what was meant for it all the same.
func TestLostSessionHeals(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	bob.wait(bob.say("alice.eth", "hello"), Delivered)
	if err := bob.step(t.Context(), func(s *step) error { return s.dropSessions(`SELECT id FROM sessions`) }); err != nil {
		t.Fatal(err)
	}
	bob.say("alice.eth", "anew")
	alice.until("it", heard("anew"))
	// Whatever is preferred, alice goes on with the session that bob has lost.
	if err := alice.step(t.Context(), func(s *step) error {
		_, err := s.Exec(`UPDATE sessions SET archived = CASE own WHEN 1 THEN NULL ELSE ?1 END`, s.unixMilli())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	lost := alice.say("bob.eth", "into the void")
	alice.wait(lost, Sent)
	healAt := func(later time.Duration) {
		t.Helper()
		if err := alice.step(t.Context(), func(s *step) error { s.now = s.now.Add(later); return s.heal() }); err != nil {
			t.Fatal(err)
		}
	}
	healAt(healEvery + healAfter)
	if len(alice.suspects) != 0 {
		t.Error("a session is suspected while nothing was heard since")
	}
	if err := alice.step(t.Context(), func(s *step) error {
		_, err := s.Exec(`UPDATE sessions SET heard = ? WHERE own = 0`, s.now.Add(2*healAfter).UnixMilli())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	healAt(healEvery + 2*healAfter)
	if len(alice.suspects) != 1 {
		t.Errorf("%d sessions are suspected, want 1", len(alice.suspects))
	}
	healAt(healEvery + 2*healAfter + healPatience)
	alice.wait(lost, Delivered)
	bob.until("it", heard("into the void"))
}

// A first message that was not answered while its prekeys lived begins anew.
func TestUnansweredSessionIsBegunAnew(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.meet(alice, bob)
	bob.Close()
	r := alice.say("bob.eth", "anybody there?")
	w.eventually("nothing is encrypted", func() bool { return alice.count(`SELECT COUNT(*) FROM outbox WHERE tag IS NOT NULL`) == 1 })
	before := alice.sendsOn()
	if err := alice.step(t.Context(), func(s *step) error { s.now = s.now.Add(answerFor + time.Hour); return s.heal() }); err != nil {
		t.Fatal(err)
	}
	bob.open()
	alice.wait(r, Delivered)
	if after := alice.sendsOn(); len(after) != 1 || after[0] == before[0] {
		t.Errorf("sends on %v, before on %v", after, before)
	}
}

// A profile whose database was put back opens, begins new sessions, hears what
// was queued for it, and can leave the groups whose keys are gone.
func TestRestoredProfileTalksInPairs(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	for _, name := range []string{"moves", "stays"} {
		if _, err := alice.CreateGroup(t.Context(), name, []string{"bob.eth"}, GroupOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	alice.Close()
	file := filepath.Join(alice.options.Dir, "parley.db")
	backup, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	alice.options.Bootstrap = bob.node.Addrs()
	alice.open()
	for _, text := range []string{"1", "2"} {
		alice.wait(alice.say("bob.eth", text), Delivered)
		bob.wait(bob.say("alice.eth", text), Delivered)
	}
	if err := alice.UpdateKeys(t.Context(), "moves"); err != nil {
		t.Fatal(err)
	}
	alice.Close()
	if err := os.WriteFile(file, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	alice.open()
	alice.wait(alice.say("bob.eth", "after the restore"), Delivered)
	bob.until("it", heard("after the restore"))
	bob.wait(bob.say("alice.eth", "welcome back"), Delivered)
	alice.until("it", heard("welcome back"))
	if _, err := alice.SendGroup(t.Context(), "moves", Text("x"), SendOptions{}); !errors.Is(err, ErrNotInGroup) {
		t.Errorf("to the group that moved on: %v, want ErrNotInGroup", err)
	}
	if err := alice.LeaveGroup(t.Context(), "stays"); err != nil {
		t.Errorf("leave: %v", err)
	}
	if g, err := alice.Group(t.Context(), "stays"); err != nil || g.Status != groupLeft {
		t.Errorf("the group is %q, %v", g.Status, err)
	}
}

// A device that its account has revoked is not heard any more, on the sessions
// it has either.
func TestRevokedDeviceIsNotHeard(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	bob.wait(bob.say("alice.eth", "hello"), Delivered)
	revoked, err := identity.RevokeSelf(bob.me.log, bob.me.device, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.step(t.Context(), func(s *step) error { _, err := s.learnLog(revoked); return err }); err != nil {
		t.Fatal(err)
	}
	before := alice.Dropped().Undecryptable
	r := bob.say("alice.eth", "it is me, bob")
	w.eventually("nothing is dropped", func() bool { return alice.Dropped().Undecryptable > before })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if m, err := bob.Wait(ctx, r.ID, Delivered); err == nil {
		t.Errorf("the message is %s", m.State)
	}
}
