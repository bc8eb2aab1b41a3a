package parley

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// A flood of first messages that are forged costs a bounded number of openings
// for each peer that hands them on, and what others hand on is read meanwhile.
func TestForgedFirstsAreBounded(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	record, err := alice.fetch(t.Context(), identity.KeyAccount(bob.wallet.Address()))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := prekeyBundle(record)
	if err != nil {
		t.Fatal(err)
	}
	key := func() *secp.PrivateKey {
		k, err := secp.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ik, now := key(), time.Now()
	forger, err := ratchet.Initiate(ratchet.Identity{IK: ik.PublicKey(), SK: key().PublicKey()}, ik, bundle, []byte("no log"), now)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(from peer.ID) {
		t.Helper()
		next, m, err := forger.Encrypt([]byte("buy now"), nil, now)
		if err != nil {
			t.Fatal(err)
		}
		forger = next
		e, err := transport.NewEnvelope(transport.Tag(m.Tag), m.Body)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // it is not read the second time either
			if bob.receive(t.Context(), transport.Parked{Envelope: e, From: from, At: now}) {
				t.Fatal("a forgery is read")
			}
		}
	}
	opened := func() int {
		bob.mu.Lock()
		defer bob.mu.Unlock()
		return bob.openings.all
	}
	before := bob.dump()
	for range maxFirsts/2 + 20 {
		forge("a relay of a flood")
	}
	if n := opened(); n != maxFirsts {
		t.Errorf("%d were opened, %d are allowed", n, maxFirsts)
	}
	if n := bob.Dropped().Deferred; n != 40 {
		t.Errorf("%d were put off", n)
	}
	forge("another peer")
	if n := opened(); n != maxFirsts+2 {
		t.Errorf("%d were opened with another peer's", n)
	}
	if after := bob.dump(); len(after) != len(before) || after["sessions"] != before["sessions"] || after["seen"] != before["seen"] {
		t.Errorf("the flood changed %v to %v", before, after)
	}
	alice.wait(alice.say("bob.eth", "hello"), Delivered)

	// The count begins anew after a while.
	o := openings{since: now, by: map[peer.ID]int{"p": maxFirsts}}
	if o.allow("p", now.Add(firstsEvery-1)) || !o.allow("p", now.Add(firstsEvery)) {
		t.Error("the count does not begin anew when it should")
	}
}
