package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-im/parley"
)

// Messages of TestThreeProcesses.
const (
	pairMessages  = 200 // each way
	groupMessages = 70  // of each member
	killedAfter   = 100 // messages that bob has read
)

// script is what somebody has to say, in order, in one conversation.
type script struct {
	from, to string // a name, or a group's
	group    bool
	n        int
}

func (s script) text(i int) string { return fmt.Sprintf("%s to %s %d", s.from, s.to, i) }

// say says it all, the second half of it not before halfway is closed. A daemon
// that goes away is waited for, and what it has not answered is sent again under
// the same idempotency key.
func (s script) say(ctx context.Context, p *person, halfway <-chan struct{}) error {
	var r *remote
	defer func() {
		if r != nil {
			r.Close()
		}
	}()
	for i := 0; i < s.n; {
		if i == s.n/2 {
			select {
			case <-halfway:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var err error
		if r == nil {
			if r, err = p.dial(ctx); err != nil {
				return err
			}
		}
		text, o := parley.Text(s.text(i)), parley.SendOptions{IdempotencyKey: s.text(i)}
		if s.group {
			_, err = r.SendGroup(ctx, s.to, text, o)
		} else {
			_, err = r.Send(ctx, s.to, text, o)
		}
		switch {
		case err == nil:
			i++
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errDaemonGone):
			r.Close()
			r = nil
		default:
			return fmt.Errorf("%s: %w", s.text(i), err)
		}
	}
	return nil
}

// reader is one who reads a person's events by cursor, whatever becomes of the
// daemon.
type reader struct{ events []parley.Event }

func (rd *reader) read(ctx context.Context, p *person, done func([]parley.Event) bool) error {
	var cursor parley.Cursor
	for {
		r, err := p.dial(ctx)
		if err != nil {
			return fmt.Errorf("%s read %d events, and then: %w", p.name, len(rd.events), err)
		}
		for e, err := range r.Subscribe(ctx, cursor) {
			if err != nil && !errors.Is(err, errDaemonGone) {
				return fmt.Errorf("%s read %d events, and then: %w", p.name, len(rd.events), err)
			}
			if err != nil {
				break
			}
			if e.Cursor <= cursor {
				return fmt.Errorf("%s: cursor %d after %d", p.name, e.Cursor, cursor)
			}
			cursor = e.Cursor
			rd.events = append(rd.events, e)
			if done(rd.events) {
				r.Close()
				return nil
			}
		}
		r.Close()
	}
}

// fromOthers reports whether an event is a message somebody else wrote.
func fromOthers(e parley.Event) bool { return e.Kind == parley.EventMessage && !e.Message.Own }

// received lists the texts of others, in the order of the stream, by author and
// conversation: "0x… to ops".
func received(events []parley.Event) map[string][]string {
	all := map[string][]string{}
	for _, e := range events {
		if !fromOthers(e) {
			continue
		}
		to := "you"
		if e.Message.Group != nil {
			to = e.Message.Group.Name
		}
		stream := e.Message.From.Address + " to " + to
		all[stream] = append(all[stream], e.Message.Content.Text)
	}
	return all
}

// TestThreeProcesses: three daemons, a pair and a group of three, and one of
// them is killed in the middle. Everything arrives once, in order.
func TestThreeProcesses(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice.eth")
	alice.start()
	bob, carol := w.join("bob.eth", alice.up.Addrs...), w.join("carol.eth", alice.up.Addrs...)
	bob.start()
	carol.start()
	alice.run("group", "new", "ops", "bob.eth", "carol.eth", "--json")

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // a tenth of it is usual
	defer cancel()
	people := []*person{alice, bob, carol}
	scripts := []script{
		{"alice.eth", "bob.eth", false, pairMessages},
		{"bob.eth", "alice.eth", false, pairMessages},
		{"alice.eth", "ops", true, groupMessages},
		{"bob.eth", "ops", true, groupMessages},
		{"carol.eth", "ops", true, groupMessages},
	}
	address := map[string]string{}
	for _, p := range people {
		address[p.name] = p.address.String()
	}
	want := map[string]map[string][]string{} // who reads what, by stream
	expected := map[string]int{}             // how many that is
	for _, p := range people {
		want[p.name] = map[string][]string{}
		for _, s := range scripts {
			if s.from != p.name && (s.group || s.to == p.name) {
				stream := address[s.from] + " to you"
				if s.group {
					stream = address[s.from] + " to " + s.to
				}
				for i := range s.n {
					want[p.name][stream] = append(want[p.name][stream], s.text(i))
				}
				expected[p.name] += s.n
			}
		}
	}

	// Bob joins the group before anybody writes in it: a member who is not there
	// yet may not read.
	started := time.Now()
	for _, p := range people[1:] {
		var rd reader
		if err := rd.read(ctx, p, func(events []parley.Event) bool { return events[len(events)-1].Change == "joined" }); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("all are in the group after %v", time.Since(started))

	var work errgroup.Group
	readers := map[string]*reader{}
	kill, killed := make(chan struct{}), make(chan struct{})
	for _, p := range people {
		rd := new(reader)
		readers[p.name] = rd
		work.Go(func() error {
			n := 0
			err := rd.read(ctx, p, func(events []parley.Event) bool {
				if !fromOthers(events[len(events)-1]) {
					return false
				}
				if n++; p == bob && n == killedAfter {
					close(kill)
				}
				return n >= expected[p.name]
			})
			t.Logf("%s has read %d of %d after %v", p.name, n, expected[p.name], time.Since(started))
			return err
		})
	}
	for _, s := range scripts {
		for _, p := range people {
			if p.name == s.from {
				work.Go(func() error {
					err := s.say(ctx, p, killed)
					t.Logf("%s has said all to %s after %v", s.from, s.to, time.Since(started))
					return err
				})
			}
		}
	}
	select {
	case <-kill:
	case <-ctx.Done():
		t.Fatalf("bob has not read %d messages", killedAfter)
	}
	bob.kill()
	close(killed)
	t.Logf("bob is killed after %v", time.Since(started))
	bob.start()
	t.Logf("bob is up again after %v", time.Since(started))
	if err := work.Wait(); err != nil {
		t.Error(err)
	}

	for _, p := range people {
		checkStreams(t, p.name, readers[p.name].events, want[p.name])
		if t.Failed() {
			continue
		}
		// The program reads the same from its beginning.
		out := p.run("listen", "--json", "--since", "0", "--count", fmt.Sprint(expected[p.name]))
		var again []parley.Event
		for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
			var e parley.Event
			if err := dec.Decode(&e); err != nil {
				t.Fatal(err)
			}
			again = append(again, e)
		}
		checkStreams(t, p.name+", again", again, want[p.name])
	}
}

// checkStreams compares what somebody has read with what was written: once, in
// each author's order.
func checkStreams(t *testing.T, who string, events []parley.Event, want map[string][]string) {
	t.Helper()
	got := received(events)
	for stream, texts := range want {
		if len(got[stream]) != len(texts) {
			t.Errorf("%s read %d of %d of %q", who, len(got[stream]), len(texts), stream)
		}
		for i, text := range got[stream] {
			if i >= len(texts) || text != texts[i] {
				t.Errorf("%s read %q in place %d of %q", who, text, i, stream)
				break
			}
		}
		delete(got, stream)
	}
	for stream, texts := range got {
		t.Errorf("%s read %d messages of %q, which nobody wrote", who, len(texts), stream)
	}
}
