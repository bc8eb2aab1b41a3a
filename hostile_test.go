package parley

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/transport"
)

// tap joins the network without keys and hands on what it hears.
func (w *world) tap() *transport.Node {
	w.t.Helper()
	key, err := secp.GenerateKey()
	if err != nil {
		w.t.Fatal(err)
	}
	node, err := transport.Open(w.t.Context(), transport.Options{
		HostKey: key.Bytes(), Network: "test", Bootstrap: w.bootstrap, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { node.Close() })
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for shard := range node.Shards() {
		if err := node.WaitPeers(ctx, shard, 1); err != nil {
			w.t.Fatal(err)
		}
	}
	return node
}

// heard returns the next envelope that the node hears.
func (w *world) heard(node *transport.Node) transport.Envelope {
	w.t.Helper()
	select {
	case r := <-node.Envelopes():
		return r.Envelope
	case <-time.After(patience):
		w.t.Fatal("nothing is heard")
		return transport.Envelope{}
	}
}

// news returns the one envelope that a client makes for its groups in a call.
func (p *person) news(call func()) transport.Envelope {
	p.w.t.Helper()
	const ownLast = `SELECT substr(envelope, 10, 16), substr(envelope, 34) FROM history ORDER BY stored`
	old := map[transport.Tag]bool{}
	for _, e := range p.envelopes(ownLast) {
		old[e.Tag] = true
	}
	call()
	var all []transport.Envelope
	p.w.eventually("there is not one new envelope", func() bool {
		all = slices.DeleteFunc(p.envelopes(ownLast), func(e transport.Envelope) bool { return old[e.Tag] })
		return len(all) == 1
	})
	return all[0]
}

func (p *person) reopenOffline() {
	p.w.t.Helper()
	o := p.options
	o.Offline = true
	c, err := Open(p.w.t.Context(), o)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.Client = c
}

func (p *person) takes(e transport.Envelope) bool {
	return p.receive(p.w.t.Context(), transport.Parked{Envelope: e, At: time.Now()})
}

// dump is everything a client has on disk that a message could change.
func (p *person) dump() map[string]int {
	p.w.t.Helper()
	counts := map[string]int{}
	err := p.db.View(p.w.t.Context(), func(tx *store.Tx) error {
		for _, table := range []string{"sessions", "skipped", "firsts", "prekeys", "epochs", "epoch_rows", "reads", "reads_ahead", "handshake_parts", "history", "seen", "held", "messages", "events"} {
			var n int
			if err := tx.QueryRow(`SELECT COUNT(*) FROM ` + table).Scan(&n); err != nil {
				return err
			}
			counts[table] = n
		}
		return nil
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	return counts
}

// A flipped bit anywhere in a ciphertext, random bytes under a tag that is
// expected, and a repetition are dropped and counted; the genuine message is
// read afterwards all the same.
func TestForgeriesChangeNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	w.tap() // who hears alice while bob is away
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	alice.wait(alice.say("bob.eth", "first"), Delivered)
	bob.wait(bob.say("alice.eth", "answer"), Delivered)
	const unanswered = `SELECT tag, body FROM outbox WHERE tag IS NOT NULL AND acked = 1`
	w.eventually("bob does not answer", func() bool { return len(alice.envelopes(unanswered)) == 0 })
	bob.Close()
	alice.say("bob.eth", "in the pair")
	w.eventually("nothing is sent", func() bool { return len(alice.envelopes(unanswered)) == 1 })
	pair := alice.envelopes(unanswered)[0]
	message := alice.news(func() { alice.sayAll("ops", "in the group") })
	commit := alice.news(func() {
		if err := alice.UpdateKeys(t.Context(), "ops"); err != nil {
			t.Fatal(err)
		}
	})

	bob.reopenOffline()
	before := bob.dump()
	for name, e := range map[string]transport.Envelope{"pair": pair, "message": message, "commit": commit} {
		if _, known := bob.index.Lookup(e.Tag); !known {
			t.Fatalf("%s: bob does not expect the tag", name)
		}
		flipped := e
		for i := 0; i < len(e.Body); i += 1 + len(e.Body)/64 {
			flipped.Body = bytes.Clone(e.Body)
			flipped.Body[i] ^= 1 << (i % 8)
			if bob.takes(flipped) {
				t.Fatalf("%s: takes a flipped bit at %d", name, i)
			}
		}
		rand.Read(flipped.Body)
		if bob.takes(flipped) {
			t.Fatalf("%s: takes random bytes", name)
		}
	}
	for table, n := range bob.dump() {
		if n != before[table] {
			t.Errorf("forgeries changed %s: %d rows, before %d", table, n, before[table])
		}
	}
	if bob.Dropped().Undecryptable == 0 {
		t.Error("nothing was counted")
	}
	for name, e := range map[string]transport.Envelope{"pair": pair, "message": message} {
		if !bob.takes(e) {
			t.Errorf("%s: genuine message is refused after forgeries", name)
		}
		if bob.takes(e.Reseal()) {
			t.Errorf("%s: takes a repetition", name)
		}
	}
	if !bob.takes(commit) {
		t.Error("genuine commit is refused after forgeries")
	}
	if bob.takes(commit.Reseal()) {
		t.Error("takes a commit twice")
	}
	got := texts(bob.until("all", func(es []Event) bool { return len(texts(es)) == 3 }))
	if got[0] != "first" || len(got) != 3 {
		t.Errorf("bob reads %v", got)
	}
}

// A first message is read once, however often it comes, and by nobody else.
func TestFirstMessageReplay(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	eve := w.tap()
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	first := w.heard(eve)
	if _, err := bob.Send(t.Context(), "alice.eth", Text("x"), SendOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.Close()
	bob.reopenOffline()
	// Without its ciphertext's hash, as if that had been forgotten, the session
	// itself refuses the replay.
	if err := bob.step(t.Context(), func(s *step) error { _, err := s.Exec(`DELETE FROM seen`); return err }); err != nil {
		t.Fatal(err)
	}
	before := bob.dump()
	if bob.takes(first) {
		t.Error("takes a first message again")
	}
	if err := bob.step(t.Context(), func(s *step) error {
		for id := range bob.sessions {
			if err := s.dropSession(id); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if bob.takes(first) {
		t.Error("takes a first message again after its session is gone")
	}
	if after := bob.dump(); after["messages"] != before["messages"] || after["sessions"] != 0 {
		t.Errorf("the replay changed %v to %v", before, after)
	}
}

func TestRecordsAreVerifiedBeforeTheyAreKept(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	var record []byte
	if err := alice.step(t.Context(), func(s *step) (err error) {
		record, err = s.ownRecord("")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	key := alice.me.account.LookupKey()
	put := func(b []byte) error { return bob.keepRecord(t.Context(), "", key, b) }
	for i := 0; i < len(record); i += 97 {
		bad := bytes.Clone(record)
		bad[i] ^= 4
		if put(bad) == nil {
			t.Fatalf("keeps a record with byte %d changed", i)
		}
		if put(record[:i]) == nil {
			t.Fatalf("keeps %d bytes of a record", i)
		}
	}
	if err := bob.keepRecord(t.Context(), "", [32]byte{1}, record); !errors.Is(err, errNotKept) {
		t.Errorf("under another's key: %v", err)
	}
	if err := put(record); err != nil {
		t.Errorf("the genuine record: %v", err)
	}
	if err := put(record); !errors.Is(err, errNotKept) {
		t.Errorf("the same again: %v", err)
	}
	oneTime, ok := alice.serveRecord(t.Context(), bob.node.ID(), key)
	if !ok {
		t.Fatal("alice does not serve her record")
	}
	if err := put(oneTime); !errors.Is(err, errNotKept) {
		t.Errorf("with a one-time prekey: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	if _, err := Open(t.Context(), alice.options); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second client: %v, want ErrLocked", err)
	}
	alice.Close()
	wrong := alice.options
	wrong.Unlock = Passphrase([]byte("battery staple"))
	if _, err := Open(t.Context(), wrong); !errors.Is(err, store.ErrPassphrase) {
		t.Errorf("a wrong passphrase: %v, want ErrPassphrase", err)
	}
	nowhere := alice.options
	nowhere.Dir = filepath.Join(t.TempDir(), "none")
	if _, err := Open(t.Context(), nowhere); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no profile: %v, want ErrNotFound", err)
	}
	used := alice.options
	bob := w.join("bob")
	used.Listen = []string{bob.node.Addrs()[0][:len(bob.node.Addrs()[0])-len("/p2p/")-len(bob.node.ID().String())]}
	if c, err := Open(t.Context(), used); !errors.Is(err, transport.ErrListen) {
		t.Errorf("a used port: %v, want ErrListen", err)
		if err == nil {
			c.Close()
		}
	}
	alice.open()
	for to, want := range map[string]error{
		"nobody.eth":     identity.ErrNameNotFound,
		"bob":            identity.ErrNameInvalid,
		"alice.eth":      ErrSelf,
		"b\u043eb.eth":   identity.ErrNameInvalid, // a Cyrillic o
		"0x5aAeb6":       identity.ErrAddress,
		"eip155:1:0x5aA": identity.ErrAddress,
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed": identity.ErrAddressChecksum,
	} {
		if _, err := alice.Send(t.Context(), to, Text("x"), SendOptions{}); !errors.Is(err, want) {
			t.Errorf("to %q: %v, want %v", to, err, want)
		}
	}
	alice.Close()
	alice.options.Resolver = nil
	alice.open()
	if _, err := alice.Send(t.Context(), "bob.eth", Text("x"), SendOptions{}); !errors.Is(err, ErrNoResolver) {
		t.Errorf("a name without a resolver: %v", err)
	}
}

func TestPinChangeIsAnAlert(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	real := w.names["bob.eth"]
	w.names["bob.eth"] = w.names["carol.eth"]
	var changed *PinChangedError
	if _, err := alice.Send(t.Context(), "bob.eth", Text("secret"), SendOptions{}); !errors.As(err, &changed) {
		t.Fatalf("a name that moved: %v, want *PinChangedError", err)
	}
	if changed.Old.Address != real || changed.New != w.names["carol.eth"] {
		t.Errorf("the error says %+v", changed)
	}
	alice.until("the alert", func(es []Event) bool { return es[len(es)-1].Kind == EventAlert })
	if err := alice.AcceptPin(t.Context(), "bob.eth"); err != nil {
		t.Fatal(err)
	}
	alice.wait(alice.say("bob.eth", "to carol then"), Delivered)
	carol.until("the message", heard("to carol then"))
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	key := SendOptions{IdempotencyKey: "order 66"}
	first, err := alice.Send(t.Context(), "bob.eth", Text("once"), key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := alice.Send(t.Context(), "bob.eth", Text("once"), key)
	if err != nil || again.ID != first.ID {
		t.Errorf("the same again: %v, %v", again, err)
	}
	if _, err := alice.Send(t.Context(), "bob.eth", Text("twice"), key); !errors.Is(err, ErrIdempotency) {
		t.Errorf("other content: %v, want ErrIdempotency", err)
	}
	alice.wait(first, Delivered)
	alice.wait(alice.say("bob.eth", "end"), Delivered)
	if got := texts(bob.until("end", heard("end"))); len(got) != 2 {
		t.Errorf("bob reads %v", got)
	}
}

// Content that exceeds an envelope travels in parts, and arrives whole.
func TestLargeContent(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	data := make([]byte, 200<<10)
	rand.Read(data)
	r, err := alice.Send(t.Context(), "bob.eth", Attachment("big.bin", "application/octet-stream", data), SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	alice.wait(r, Delivered)
	events := bob.until("the file", heard("big.bin"))
	if got := events[len(events)-1].Message.Content.Data; !bytes.Equal(got, data) {
		t.Errorf("%d bytes arrive, %d were sent", len(got), len(data))
	}
	if _, err := alice.Send(t.Context(), "bob.eth", Attachment("huge", "a/b", make([]byte, MaxContent)), SendOptions{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("beyond MaxContent: %v, want ErrTooLarge", err)
	}
}

func TestReceiptOfReadingAndDeletion(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	r := alice.say("bob.eth", "read me")
	bob.until("the message", heard("read me"))
	if _, err := bob.Send(t.Context(), "alice.eth", Content{Kind: KindReceipt, Refs: []MessageID{r.ID}, Read: true}, SendOptions{}); err != nil {
		t.Fatal(err)
	}
	alice.wait(r, Read)
	if _, err := alice.Send(t.Context(), "bob.eth", Delete(r.ID), SendOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the deletion", func(es []Event) bool {
		last := es[len(es)-1].Message
		return last != nil && last.Content.Kind == KindDelete
	})
	messages, err := bob.Messages(t.Context(), "alice.eth", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.Content.Text == "read me" {
			t.Error("the message is still there")
		}
	}
	safety, err := alice.SafetyNumber(t.Context(), "bob.eth")
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := bob.SafetyNumber(t.Context(), "alice.eth"); err != nil || theirs != safety {
		t.Errorf("safety numbers %q and %q, %v", safety, theirs, err)
	}
	code, err := alice.SafetyCode(t.Context(), "bob.eth")
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.CheckSafetyCode(t.Context(), "alice.eth", code); err != nil {
		t.Error(err)
	}
	code[7] ^= 1
	if err := bob.CheckSafetyCode(t.Context(), "alice.eth", code); !errors.Is(err, identity.ErrSafetyMismatch) {
		t.Errorf("another code: %v", err)
	}
}

var _ groups.Rows = epochRows{}

// After a restore nothing is sent to the groups of that time: their keys may
// have served already.
func TestRestoredProfileKeepsSilentInGroups(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	alice.Close()
	file := filepath.Join(alice.options.Dir, "parley.db")
	backup, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	alice.open()
	alice.sayAll("ops", "before the restore")
	bob.until("the message", heard("before the restore"))
	alice.Close()
	if err := os.WriteFile(file, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it stays so
		alice.open()
		if _, err := alice.SendGroup(t.Context(), "ops", Text("x"), SendOptions{}); !errors.Is(err, ErrRestored) {
			t.Errorf("after the restore: %v, want ErrRestored", err)
		}
		if err := alice.UpdateKeys(t.Context(), "ops"); !errors.Is(err, ErrRestored) {
			t.Errorf("update after the restore: %v, want ErrRestored", err)
		}
		alice.until("the alert", func(es []Event) bool { return es[len(es)-1].Kind == EventAlert })
		alice.Close()
	}
	alice.open()
	if _, err := alice.CreateGroup(t.Context(), "ops anew", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	alice.sayAll("ops anew", "after the restore")
	bob.until("the message", heard("after the restore"))
}

// The network learns no wallet's address: a record goes to bootstrap peers and
// contacts, and is offered to nobody else (docs/spec.md, "Records").
func TestRecordIsLeftWithTheEntrustedOnly(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	offered := make(chan [32]byte, 16)
	key, err := secp.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := transport.Open(t.Context(), transport.Options{
		HostKey: key.Bytes(), Network: "test", Bootstrap: w.bootstrap, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
		Handlers: transport.Handlers{PutRecord: func(_ context.Context, _ peer.ID, key [32]byte, _ []byte) error {
			offered <- key
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stranger.Close() })
	bob := w.join("bob") // alice is his bootstrap peer
	if err := bob.Connect(t.Context(), stranger.Addrs()...); err != nil {
		t.Fatal(err)
	}
	w.connected(alice, bob)
	alice.wait(alice.say("bob.eth", "hello"), Delivered)
	w.eventually("alice does not keep bob's record", func() bool {
		return alice.count(`SELECT COUNT(*) FROM records WHERE lookup = ?`, bob.me.account.LookupKey()) == 1
	})
	select {
	case key := <-offered:
		t.Errorf("a stranger is offered the record %x", key)
	case <-time.After(500 * time.Millisecond):
	}
}
