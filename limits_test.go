package parley

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/transport"
)

// account returns a person's account.
func (p *person) account() identity.Account { return p.me.account }

// A number at the end of what counts can be held, released and followed, and
// one beyond it is refused: the outbox is not held up by what a contact makes
// up.
func TestSequenceNumbersHaveAnEnd(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	content := Text("the last one")
	content.ID, content.Seq = NewMessageID(), maxSeq
	conv, dev := pairConv(bob.account()), make([]byte, 32)
	err := alice.step(t.Context(), func(s *step) error {
		if err := s.inOrder(conv, dev, bob.account(), content); err != nil {
			return err
		}
		_, err := s.Exec(`UPDATE held SET at = 0`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.step(t.Context(), (*step).releaseOverdue); err != nil {
		t.Errorf("release: %v", err)
	}
	alice.until("it", heard("the last one"))
	for _, beyond := range []uint64{maxSeq + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		content.Seq = beyond
		b, err := contentEncoding.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseContent(b); !errors.Is(err, ErrContent) {
			t.Errorf("number %d: %v, want ErrContent", beyond, err)
		}
	}
}

// Accounts cost nothing to make: so many new ones are admitted at a time, and
// whom this client has written to is not among them.
func TestStrangersAreBounded(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	random := func() identity.Account {
		wallet, err := identity.GenerateWallet()
		if err != nil {
			t.Fatal(err)
		}
		return identity.KeyAccount(wallet.Address())
	}
	admit := func(a identity.Account) error {
		return alice.step(t.Context(), func(s *step) error { return s.admit(a) })
	}
	for range strangersBurst {
		if err := admit(random()); err != nil {
			t.Fatal(err)
		}
	}
	if err := admit(random()); !errors.Is(err, errCrowded) {
		t.Errorf("one more stranger: %v, want errCrowded", err)
	}
	friend := random()
	alice.say(friend.Address.String(), "write to me")
	if err := admit(friend); err != nil {
		t.Errorf("who was written to: %v", err)
	}
	alice.mu.Lock()
	alice.strangersSince = alice.strangersSince.Add(-strangersEvery)
	alice.mu.Unlock()
	if err := admit(random()); err != nil {
		t.Errorf("later: %v", err)
	}
}

// A peer that does not answer does not hold up what others have answered.
func TestSilentPeerDelaysNobody(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	key, err := secp.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	asked, gaveUp := make(chan bool, 8), make(chan bool, 8)
	silent, err := transport.Open(t.Context(), transport.Options{
		HostKey: key.Bytes(), Network: "test", Bootstrap: w.bootstrap, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
		StreamTimeout: time.Minute,
		Handlers: transport.Handlers{GetRecord: func(ctx context.Context, _ peer.ID, _ [32]byte) ([]byte, bool) {
			asked <- true
			<-ctx.Done()
			gaveUp <- true
			return nil, false
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	if err := alice.Connect(t.Context(), silent.Addrs()...); err != nil {
		t.Fatal(err)
	}
	for len(asked) == 0 { // on a slow machine the others may have answered before it is
		if _, err := alice.fetch(t.Context(), bob.account()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-gaveUp:
		t.Error("the silent peer was waited for")
	default:
	}
}
