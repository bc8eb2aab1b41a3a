package parley

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/parley-im/parley/identity"
)

// reversing is a Resolver that leads back, and may be out of order.
type reversing struct {
	names
	down atomic.Bool
}

func (r *reversing) Reverse(_ context.Context, a identity.Address) (string, error) {
	if r.down.Load() {
		return "", identity.ErrNameUnavailable
	}
	for name, address := range r.names {
		if address == a {
			return name, nil
		}
	}
	return "", identity.ErrNameNotFound
}

// docs/spec.md, "Reverse names": members who were never met in a pair are shown
// by the name that leads to them and back, once the endpoint can be asked.
func TestMembersAreShownByName(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	bob.Close()
	resolver := &reversing{names: w.names}
	resolver.down.Store(true)
	bob.options.Resolver = resolver
	bob.open()
	w.connected(bob)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth", "carol.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	carolsName := func() string {
		g, err := bob.Group(t.Context(), "ops")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range g.Members {
			if m.Address == w.names["carol.eth"].String() {
				return m.Name
			}
		}
		t.Fatal("carol is not a member")
		return ""
	}
	postponed := func() bool {
		bob.mu.Lock()
		defer bob.mu.Unlock()
		due, asked := bob.nameDue[carol.account()]
		return asked && !due.IsZero()
	}
	w.eventually("bob does not ask", postponed)
	if name := carolsName(); name != "" {
		t.Fatalf("carol is called %q", name)
	}
	resolver.down.Store(false)
	bob.mu.Lock()
	clear(bob.nameDue)
	bob.nameless([]identity.Account{carol.account()}) // as after nameRetry
	bob.mu.Unlock()
	w.eventually("carol stays an address", func() bool { return carolsName() == "carol.eth" })
	carol.sayAll("ops", "it is me")
	events := bob.until("carol", heard("it is me"))
	if from := events[len(events)-1].Message.From; from.Name != "carol.eth" {
		t.Errorf("the message is from %q", from)
	}
	bob.after(0, func(s *step) error { // a name that is known is not asked for again
		for _, g := range bob.groups {
			if err := s.judge(g); err != nil {
				return err
			}
		}
		return nil
	})
	bob.mu.Lock()
	defer bob.mu.Unlock()
	if due, again := bob.nameDue[carol.account()]; again {
		t.Errorf("carol's name is asked for again at %v", due)
	}
}
