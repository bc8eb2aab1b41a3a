package parley

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
)

// ask returns what a client hands out to a peer.
func (p *person) ask(s *step, asker peer.ID) *identity.Bundle {
	p.w.t.Helper()
	b, err := s.ownRecord(asker)
	if err != nil {
		p.w.t.Fatal(err)
	}
	r, err := identity.VerifyRecord(b, p.account(), s.now)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return r.Bundle
}

func lastResort(t *testing.T, b *identity.Bundle) bool {
	t.Helper()
	kp, err := groups.ParseKeyPackage(b.KeyPackages[0])
	if err != nil {
		t.Fatal(err)
	}
	return kp.LastResort()
}

// docs/spec.md, "Records": no peer uses up the one-time keys that others would
// get, and all peers together use them up for a day at most.
func TestOneTimeKeysAreBounded(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	alice.offline()
	oneTime := func(s *step, asker peer.ID) bool {
		b := alice.ask(s, asker)
		if has := len(b.OneTime) > 0; has == lastResort(t, b) {
			t.Errorf("%s gets a one-time prekey: %t, and a key package of last resort: %t", asker, has, has)
		} else {
			return has
		}
		return false
	}
	asks := func(later time.Duration, asker peer.ID) (has bool) {
		alice.after(later, func(s *step) error { has = oneTime(s, asker); return nil })
		return has
	}
	for i := range maxOneTimeEach {
		if !asks(0, "greedy") {
			t.Fatalf("the peer gets %d", i)
		}
	}
	if asks(0, "greedy") {
		t.Error("one peer gets more than its share")
	}
	for i := range maxOneTime - maxOneTimeEach {
		if !asks(0, peer.ID(fmt.Sprint("peer", i))) {
			t.Fatalf("peer %d gets none", i)
		}
	}
	if asks(0, "late") {
		t.Error("more are handed out than a day's")
	}
	if asks(0, "") {
		t.Error("a record for others to keep has one")
	}
	if !asks(oneTimeEvery+time.Minute, "late") || !asks(oneTimeEvery+time.Minute, "greedy") {
		t.Error("the next day there are none")
	}
}

// Others keep the bundle with the highest number, so numbers do not go back with
// the profile.
func TestBundleNumbersOutlastRestores(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	alice.offline()
	var before, last uint64
	alice.after(0, func(s *step) error {
		before = alice.ask(s, "").Seq
		if last = alice.ask(s, "").Seq; last <= before {
			t.Errorf("number %d follows %d", last, before)
		}
		return nil
	})
	alice.after(time.Second, func(s *step) error {
		if _, err := s.Exec(`DELETE FROM meta WHERE key = ?`, metaBundleSeq); err != nil {
			return err
		}
		if now := alice.ask(s, "").Seq; now <= last {
			t.Errorf("number %d after the restore, %d before", now, last)
		}
		return nil
	})
}

// A one-time prekey and a key package that have served do not open any more,
// whatever is left of their rows.
func TestUsedOneTimeKeysAreErased(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	type row struct {
		id     uint32
		scope  string
		sealed []byte
	}
	rows := func() (all []row) {
		bob.after(0, func(s *step) error {
			rows, err := s.Query(`SELECT id, scope, sealed FROM prekeys WHERE kind IN (?, ?)`, prekeyOneTime, prekeyPackage)
			if err != nil {
				return err
			}
			for rows.Next() {
				var r row
				if err := rows.Scan(&r.id, &r.scope, &r.sealed); err != nil {
					return err
				}
				all = append(all, r)
			}
			return rows.Err()
		})
		return all
	}
	w.meet(alice, bob) // bob has handed out one of each
	before := rows()
	if len(before) < 2 {
		t.Fatalf("%d one-time keys are out", len(before))
	}
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	handed := rows()
	bob.until("the group", changed("joined"))
	left := map[uint32]bool{}
	for _, r := range rows() {
		left[r.id] = true
	}
	used := 0
	bob.after(0, func(s *step) error {
		for _, r := range append(before, handed...) {
			key, err := s.UnsealKey(r.scope, prekeyPlace(r.id), r.sealed)
			if err == nil {
				key.Erase()
			}
			if left[r.id] != (err == nil) || !left[r.id] && !errors.Is(err, store.ErrNoScope) {
				t.Errorf("key %d: left %t, %v", r.id, left[r.id], err)
			}
			if !left[r.id] {
				used++
			}
		}
		return nil
	})
	if used == 0 {
		t.Error("no key was used")
	}
	bob.after(2*prekeyLifetime, (*step).loadPrekeys)
	if n := bob.count(`SELECT COUNT(*) FROM prekeys`); n != 3 {
		t.Errorf("%d prekeys are kept, want the three that serve many times", n)
	}
	bob.after(0, func(s *step) error {
		if scopes := s.Scopes(prekeyScopes); len(scopes) != 1 {
			t.Errorf("scopes %v are left", scopes)
		}
		return nil
	})
}
