package main

import (
	"context"
	"testing"
	"time"

	"github.com/parley-im/parley"
)

// TestKilledAndBack: with nobody between the two, the one who stays hears and is
// heard by the one who was killed and came back at once.
func TestKilledAndBack(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice.eth")
	alice.start()
	bob := w.join("bob.eth", alice.up.Addrs...)
	bob.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	say := func(from *person, to, text string) {
		t.Helper()
		r, err := from.dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		began := time.Now()
		receipt, err := r.Send(ctx, to, parley.Text(text), parley.SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := r.Wait(ctx, receipt.ID, parley.Delivered); err != nil {
			t.Fatalf("%s is %s after %v: %v", text, m.State, time.Since(began), err)
		}
		t.Logf("%q is delivered after %v", text, time.Since(began))
	}
	say(alice, "bob.eth", "before")
	bob.kill()
	bob.start()
	say(alice, "bob.eth", "after")
	say(bob, "alice.eth", "answer")
	for range 3 {
		say(alice, "bob.eth", "and again")
	}
}
