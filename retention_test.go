package parley

import (
	"testing"
	"time"

	"github.com/parley-im/parley/groups"
)

// Past epochs end when there are too many and when they are too old: their rows,
// their stored form and the key that both were sealed with are gone, at once and
// after a restart, so that what they could open nobody opens any more.
func TestPastEpochsEnd(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	made, err := alice.CreateGroup(t.Context(), "friends", nil, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var order []groups.CID // of the epochs so far
	head := func() groups.CID {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		for _, g := range alice.groups {
			return g.head.CID()
		}
		t.Fatal("no group")
		return groups.CID{}
	}
	ended := func(cid groups.CID) (gone bool) {
		t.Helper()
		err := alice.step(t.Context(), func(s *step) error {
			var rows int
			if err := s.QueryRow(`SELECT (SELECT COUNT(*) FROM epoch_rows WHERE cid = ?1) + (SELECT COUNT(*) FROM epochs WHERE cid = ?1)
				+ (SELECT COUNT(*) FROM reads WHERE cid = ?1)`, cid).Scan(&rows); err != nil {
				return err
			}
			scope, inMemory := s.HasScope(epochScope(cid)), s.c.past[cid] != nil
			if gone = rows == 0; gone == scope || gone == inMemory {
				t.Errorf("epoch %x: %d rows, a key %v, in memory %v", cid[:4], rows, scope, inMemory)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return gone
	}
	check := func(kept int) {
		t.Helper()
		for i, cid := range order {
			if want := i < len(order)-kept; ended(cid) != want {
				t.Errorf("epoch %d of %d: ended %v", i, len(order), !want)
			}
		}
	}
	for range pastEpochs + 3 {
		order = append(order, head())
		if _, err := alice.SendGroup(t.Context(), made.ID, Text("hello"), SendOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := alice.UpdateKeys(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
	}
	check(pastEpochs)

	// All but the last two become too old.
	err = alice.step(t.Context(), func(s *step) error {
		for _, cid := range order[:len(order)-2] {
			if _, err := s.Exec(`UPDATE epochs SET ended = ? WHERE cid = ?`, s.now.Add(-pastFor-time.Second).UnixMilli(), cid); err != nil {
				return err
			}
		}
		return s.expireEpochs()
	})
	if err != nil {
		t.Fatal(err)
	}
	check(2)
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	alice.open()
	check(2)
}
