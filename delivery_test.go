package parley

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/store"
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
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
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
			return p.count(`SELECT COUNT(*) FROM outbox WHERE tag IS NOT NULL`) == maxUnacked
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
