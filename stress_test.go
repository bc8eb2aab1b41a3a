package parley

import (
	"fmt"
	"slices"
	"testing"
)

// numbered returns the texts that begin with prefix.
func numbered(events []Event, prefix string) []string {
	var all []string
	for _, text := range texts(events) {
		if len(text) > len(prefix) && text[:len(prefix)] == prefix {
			all = append(all, text)
		}
	}
	return all
}

func series(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}

// Every message arrives once and in its author's order, also when a client is
// closed and opened in the middle of it.
func TestTrafficSurvivesRestart(t *testing.T) {
	const n = 60
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth", "carol.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	for i := range n {
		if i == n/3 {
			bob.Close()
		}
		if i == 2*n/3 {
			bob.open()
		}
		alice.say("bob.eth", fmt.Sprint("pair", i))
		alice.sayAll("ops", fmt.Sprint("alice", i))
		carol.sayAll("ops", fmt.Sprint("carol", i))
		if i < n/3 || i >= 2*n/3 {
			bob.say("alice.eth", fmt.Sprint("back", i))
			bob.sayAll("ops", fmt.Sprint("bob", i))
		}
	}
	all := func(prefix string, count int) func([]Event) bool {
		return func(events []Event) bool { return len(numbered(events, prefix)) >= count }
	}
	check := func(p *person, prefix string, want []string) {
		t.Helper()
		got := numbered(p.until(prefix, all(prefix, len(want))), prefix)
		if !slices.Equal(got, want) {
			t.Errorf("%s reads %v", p.name, got)
		}
	}
	check(bob, "pair", series("pair", n))
	check(bob, "alice", series("alice", n))
	check(bob, "carol", series("carol", n))
	check(carol, "alice", series("alice", n))
	check(alice, "carol", series("carol", n))
	sent := slices.Concat(series("bob", n)[:n/3], series("bob", n)[2*n/3:])
	check(alice, "bob", sent)
	check(carol, "bob", sent)
}
