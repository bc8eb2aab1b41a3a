package parley

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parley-im/parley/identity"
)

// patience is how long a test waits for what must come, on a machine that may
// have much else to do. Nothing waits as long where all is well.
const patience = 2 * time.Minute

// names is a Resolver of fixed names.
type names map[string]identity.Address

func (n names) Resolve(_ context.Context, name string) (identity.Address, error) {
	if a, ok := n[name]; ok {
		return a, nil
	}
	return identity.Address{}, identity.ErrNameNotFound
}

// world is a network of clients on loopback, who know each other by name.
type world struct {
	t         testing.TB
	names     names
	bootstrap []string
}

// person is a profile that can be opened and closed.
type person struct {
	*Client
	w       *world
	name    string
	wallet  *identity.KeyWallet
	options Options
}

func newWorld(t testing.TB) *world { return &world{t: t, names: names{}} }

// join makes a profile and opens it; the first one is the others' bootstrap.
func (w *world) join(name string) *person {
	w.t.Helper()
	wallet, err := identity.GenerateWallet()
	if err != nil {
		w.t.Fatal(err)
	}
	p := &person{w: w, name: name, wallet: wallet, options: Options{
		Dir: filepath.Join(w.t.TempDir(), name), Unlock: Passphrase([]byte("correct horse")),
		Network: "test", Resolver: w.names, Bootstrap: w.bootstrap,
		Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
	}}
	if os.Getenv("PARLEY_TEST_LOG") != "" {
		p.options.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("me", name)
	}
	if _, err := Init(w.t.Context(), InitOptions{Dir: p.options.Dir, Unlock: p.options.Unlock, Wallet: wallet, Name: name + ".eth", FastKDF: true}); err != nil {
		w.t.Fatal(err)
	}
	w.names[name+".eth"] = wallet.Address()
	p.open()
	if w.bootstrap == nil {
		w.bootstrap = p.node.Addrs()
	}
	w.t.Cleanup(func() { p.Close() })
	return p
}

func (p *person) open() {
	p.w.t.Helper()
	c, err := Open(p.w.t.Context(), p.options)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.Client = c
}

// connected waits until every person can be heard by another.
func (w *world) connected(all ...*person) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for _, p := range all {
		for shard := range p.node.Shards() {
			if err := p.node.WaitPeers(ctx, shard, 1); err != nil {
				w.t.Fatalf("%s: %v", p.name, err)
			}
		}
	}
}

// events reads a client's stream until want holds of all it has seen.
func (p *person) until(what string, want func([]Event) bool) []Event {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(p.w.t.Context(), patience)
	defer cancel()
	var seen []Event
	for e, err := range p.Subscribe(ctx, 0) {
		if err != nil {
			p.w.t.Fatalf("%s waits for %s: %v; saw %d events: %v, dropped %+v, %+v", p.name, what, err, len(seen), texts(seen), p.Dropped(), p.node.Stats())
		}
		seen = append(seen, e)
		if want(seen) {
			return seen
		}
	}
	return seen
}

// texts lists what others have written, in the order it was shown.
func texts(events []Event) []string {
	var all []string
	for _, e := range events {
		if e.Kind == EventMessage && !e.Message.Own {
			all = append(all, e.Message.Content.Text)
		}
	}
	return all
}

func heard(text string) func([]Event) bool {
	return func(events []Event) bool {
		all := texts(events)
		return len(all) > 0 && all[len(all)-1] == text
	}
}

func changed(change string) func([]Event) bool {
	return func(events []Event) bool { return events[len(events)-1].Change == change }
}

func (p *person) say(to, text string) Receipt {
	p.w.t.Helper()
	r, err := p.Send(p.w.t.Context(), to, Text(text), SendOptions{})
	if err != nil {
		p.w.t.Fatalf("%s to %s: %v", p.name, to, err)
	}
	return r
}

func (p *person) sayAll(group, text string) Receipt {
	p.w.t.Helper()
	r, err := p.SendGroup(p.w.t.Context(), group, Text(text), SendOptions{})
	if err != nil {
		p.w.t.Fatalf("%s to %s: %v", p.name, group, err)
	}
	return r
}

func (p *person) wait(r Receipt, state State) {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(p.w.t.Context(), patience)
	defer cancel()
	if m, err := p.Wait(ctx, r.ID, state); err != nil {
		p.w.t.Fatalf("%s: message is %s: %v", p.name, m.State, err)
	}
}

func TestPairTalks(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	r := alice.say("bob.eth", "hello")
	if r.State != Queued {
		t.Errorf("receipt says %q, want queued", r.State)
	}
	bob.until("hello", heard("hello"))
	alice.wait(r, Delivered)
	bob.wait(bob.say(w.names["alice.eth"].String(), "hello yourself"), Delivered)
	alice.until("the answer", heard("hello yourself"))
	for i := range 20 {
		alice.say("bob.eth", fmt.Sprint("a", i))
		bob.say("alice.eth", fmt.Sprint("b", i))
	}
	got := texts(bob.until("a19", heard("a19")))[1:]
	for i, text := range got {
		if text != fmt.Sprint("a", i) {
			t.Fatalf("bob reads %v", got)
		}
	}
	alice.until("b19", heard("b19"))
}

func TestQueuedUntilReachable(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	bob.Close()
	r := alice.say("bob.eth", "are you there?")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if m, err := alice.Wait(ctx, r.ID, Delivered); !errors.Is(err, context.DeadlineExceeded) || m.State.rank() >= Delivered.rank() {
		t.Fatalf("state %q, %v, with nobody there", m.State, err)
	}
	alice.Close()
	alice.open() // the outbox is durable
	bob.options.Bootstrap = alice.node.Addrs()
	bob.open()
	bob.until("the question", heard("are you there?"))
	alice.wait(r, Delivered)
}

func TestGroupLife(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	g, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth", "carol.eth"}, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Members) != 3 || !g.Creator {
		t.Fatalf("group is %+v", g)
	}
	bob.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	alice.sayAll("ops", "welcome")
	bob.until("welcome", heard("welcome"))
	carol.until("welcome", heard("welcome"))
	bob.sayAll("ops", "from bob")
	carol.until("bob", heard("from bob"))
	carol.sayAll("ops", "from carol")
	alice.until("carol", heard("from carol"))
	bob.until("carol", heard("from carol"))

	if _, err := bob.RemoveMembers(t.Context(), "ops", []string{"carol.eth"}); !errors.Is(err, ErrNotAdmin) {
		t.Fatalf("bob removes: %v, want ErrNotAdmin", err)
	}
	if _, err := alice.RemoveMembers(t.Context(), "ops", []string{"carol.eth"}); err != nil {
		t.Fatal(err)
	}
	carol.until("her removal", changed("gone"))
	bob.until("the removal", changed("removed"))
	if _, err := carol.SendGroup(t.Context(), "ops", Text("still here?"), SendOptions{}); !errors.Is(err, ErrNotInGroup) {
		t.Fatalf("carol writes: %v, want ErrNotInGroup", err)
	}
	alice.sayAll("ops", "just us")
	bob.until("secret", heard("just us"))
	before, _ := bob.Group(t.Context(), "ops")
	if err := bob.UpdateKeys(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	bob.until("his update", changed("updated"))
	alice.until("bob's update", changed("updated"))
	if after, _ := bob.Group(t.Context(), "ops"); after.Epoch != before.Epoch+1 {
		t.Errorf("epoch is %d after the update, was %d", after.Epoch, before.Epoch)
	}
	bob.sayAll("ops", "fresh keys")
	alice.until("bob", heard("fresh keys"))
	if err := bob.LeaveGroup(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	bob.until("his leave", changed("left"))
	alice.until("bob's leave", changed("removed"))
	for _, text := range texts(carol.until("what she has read", func([]Event) bool { return true })) {
		if text == "just us" {
			t.Error("carol reads after her removal")
		}
	}
}

func TestClosed(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	if _, err := alice.CreateGroup(t.Context(), "ops", nil, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, done := t.Context(), make(chan error)
	go func() {
		for _, err := range alice.Subscribe(ctx, 0) {
			if err != nil {
				done <- err
			}
		}
	}()
	addr := alice.node.Addrs()[0]
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("the subscription ends with %v", err)
	}
	for name, call := range map[string]func() error{
		"Send": func() error {
			_, err := alice.Send(ctx, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", Text("x"), SendOptions{})
			return err
		},
		"SendGroup":   func() error { _, err := alice.SendGroup(ctx, "ops", Text("x"), SendOptions{}); return err },
		"CreateGroup": func() error { _, err := alice.CreateGroup(ctx, "more", nil, GroupOptions{}); return err },
		"Groups":      func() error { _, err := alice.Groups(ctx); return err },
		"Group":       func() error { _, err := alice.Group(ctx, "ops"); return err },
		"Messages":    func() error { _, err := alice.Messages(ctx, "ops", 1); return err },
		"Message":     func() error { _, err := alice.Message(ctx, MessageID{}); return err },
		"Wait":        func() error { _, err := alice.Wait(ctx, MessageID{}, Sent); return err },
		"Connect":     func() error { return alice.Connect(ctx, addr) },
		"LeaveGroup":  func() error { return alice.LeaveGroup(ctx, "ops") },
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	if err := alice.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}
