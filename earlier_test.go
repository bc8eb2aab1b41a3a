package parley

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parley-im/parley/identity"
)

// again makes a profile for a person whose profile was deleted.
func (p *person) again(o InitOptions) error {
	p.w.t.Helper()
	if err := os.RemoveAll(p.options.Dir); err != nil {
		p.w.t.Fatal(err)
	}
	o.Dir, o.Unlock, o.Wallet, o.FastKDF = p.options.Dir, p.options.Unlock, p.wallet, true
	o.Network = p.options.Network
	_, err := Init(p.w.t.Context(), o)
	return err
}

func alerted(text string) func([]Event) bool {
	return func(events []Event) bool {
		last := events[len(events)-1]
		return last.Kind == EventAlert && strings.Contains(last.Text, text)
	}
}

// Who has deleted the profile makes another, and goes on with the log that others
// know: nothing is frozen, the contacts are told of the new device, and get to it
// what they had sent to the lost one.
func TestDeletedProfileComesBack(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace bool
	}{{"beside", false}, {"replaced", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			alice, bob := w.join("alice"), w.join("bob")
			w.connected(alice, bob)
			alice.wait(alice.say("bob.eth", "hello"), Delivered)
			bob.wait(bob.say("alice.eth", "hello"), Delivered)
			w.eventually("alice has no record of bob's", func() bool { return alice.count(`SELECT COUNT(*) FROM records`) == 1 })
			before := bob.me.link
			bob.Close()
			lost := alice.say("bob.eth", "into the void")
			w.eventually("nothing is encrypted", func() bool { return alice.count(`SELECT COUNT(*) FROM outbox WHERE tag IS NOT NULL`) == 1 })

			if err := bob.again(InitOptions{Bootstrap: w.bootstrap, Replace: c.replace, DeviceName: "new phone"}); err != nil {
				t.Fatal(err)
			}
			bob.open()
			if devices := bob.me.log.Devices(time.Now()); len(devices) != map[bool]int{false: 2, true: 1}[c.replace] || bob.me.link == before {
				t.Fatalf("devices are %+v", devices)
			}
			bob.say("alice.eth", "I am back")
			alice.until("it", heard("I am back"))
			alice.until("the alert", alerted(`the safety number with bob.eth has changed, new: device "new phone"`))
			alice.wait(lost, Delivered)
			bob.until("it", heard("into the void"))
			bob.wait(bob.say("alice.eth", "got it"), Delivered)
		})
	}
}

// It is found out also if the new device does not write.
func TestDeletedProfileIsLookedUp(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	w.eventually("alice has no record of bob's", func() bool { return alice.count(`SELECT COUNT(*) FROM records`) == 1 })
	bob.Close()
	lost := alice.say("bob.eth", "into the void")
	if err := bob.again(InitOptions{Bootstrap: w.bootstrap}); err != nil {
		t.Fatal(err)
	}
	bob.open()
	w.connected(alice, bob)
	alice.wait(lost, Sent)
	healAt := func(later time.Duration) {
		t.Helper()
		if err := alice.step(t.Context(), func(s *step) error { s.now = s.now.Add(later); return s.heal() }); err != nil {
			t.Fatal(err)
		}
	}
	looked := func() int {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return len(alice.renewed)
	}
	healAt(healAfter / 2)
	if looked() != 0 {
		t.Error("the record is looked up at once")
	}
	w.eventually("bob's record is not looked up", func() bool {
		healAt(2 * healAfter)
		alice.mu.Lock()
		defer alice.mu.Unlock()
		w := alice.wanted[identity.KeyAccount(bob.wallet.Address())]
		return w == nil && len(alice.renewed) == 0 || w != nil && w.found != nil
	})
	healAt(2 * healAfter)
	alice.wait(lost, Delivered)
	bob.until("it", heard("into the void"))
}

// A profile is not made for an account that may have had devices, as long as
// nobody can be asked about them.
func TestInitAsksSomebody(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	alice.Close()
	if err := alice.again(InitOptions{Bootstrap: w.bootstrap}); !errors.Is(err, ErrNobody) {
		t.Errorf("with nobody there: %v", err)
	}
	if _, err := os.Stat(alice.options.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	// Without asking, it is a second beginning, of which those who know the first
	// are warned.
	bob := w.join("bob")
	if err := alice.again(InitOptions{}); err != nil {
		t.Fatal(err)
	}
	alice.options.Bootstrap = bob.node.Addrs()
	alice.open()
	w.connected(alice, bob)
	bob.wait(bob.say("alice.eth", "hello"), Delivered)
	alice.Close()
	if err := alice.again(InitOptions{}); err != nil {
		t.Fatal(err)
	}
	alice.open()
	alice.say("bob.eth", "it is me")
	bob.until("the alert", alerted("conflict"))
}
