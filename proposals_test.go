package parley

import (
	"testing"
	"time"
)

// docs/spec.md, "In groups": what members propose is committed together, and no
// member forces epoch after epoch by proposing again and again. Leaving is
// not held up by that.
func TestProposalsDoNotForceEpochs(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth", "carol.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	for _, p := range []*person{alice, bob, carol} {
		p.offline()
	}
	all := []*person{alice, bob, carol}
	passed := map[*person]int{}
	pass := func() { // what was sent since reaches everyone
		for _, from := range all {
			sent := from.groupEnvelopes()
			for _, e := range sent[passed[from]:] {
				for _, to := range all {
					if to != from {
						to.takes(e)
					}
				}
			}
			passed[from] = len(sent)
		}
	}
	id, err := alice.groupID(t.Context(), "ops")
	if err != nil {
		t.Fatal(err)
	}
	epoch := func() uint64 { return alice.groups[string(id)].head.Epoch() }
	first, later := epoch(), time.Duration(0)
	commitAfter := func(d time.Duration) {
		pass()
		later += d
		alice.after(later, func(s *step) error { return s.onGroup(string(id), s.commitProposals) })
		pass()
	}
	update := func(p *person) {
		if err := p.UpdateKeys(t.Context(), "ops"); err != nil {
			t.Fatal(err)
		}
	}
	intends := func(p *person) bool { return p.count(`SELECT COUNT(*) FROM intents`) > 0 }

	update(bob)
	pass()
	alice.proposals[string(id)].due = time.Now().Add(time.Hour)
	if err := alice.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := epoch(); got != first {
		t.Errorf("epoch %d before proposals have gathered", got)
	}
	update(carol)
	commitAfter(gatherFor)
	if got := epoch(); got != first+1 || intends(bob) || intends(carol) {
		t.Fatalf("epoch %d after two updates, was %d", got, first)
	}
	for range 5 {
		update(bob)
		commitAfter(time.Second)
	}
	if got := epoch(); got != first+1 || !intends(bob) {
		t.Fatalf("epoch %d: bob forces epochs", got)
	}
	if due := alice.proposals[string(id)].due; due.IsZero() {
		t.Error("nobody will look at bob's proposal again")
	}
	if err := carol.LeaveGroup(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	commitAfter(time.Second)
	if got := epoch(); got != first+2 || intends(bob) {
		t.Fatalf("epoch %d after carol left with bob's update, was %d", got, first)
	}
	update(bob)
	commitAfter(time.Second)
	if got := epoch(); got != first+2 {
		t.Fatalf("epoch %d: bob forces epochs", got)
	}
	commitAfter(proposeEvery)
	if got := epoch(); got != first+3 || intends(bob) {
		t.Fatalf("epoch %d when bob may be heard again", got)
	}
}
