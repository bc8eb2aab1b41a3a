package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-im/parley"
)

var (
	killRuns = flag.Int("kill.runs", 8, "how often TestKilledAtAnyInstant kills a process")
	killSeed = flag.Uint64("kill.seed", 0, "seed of TestKilledAtAnyInstant, 0 for a fresh one")
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

// TestKilledAtAnyInstant: two talk without a pause, and one or the other is killed
// again and again, at random. What a daemon has taken to send is read once, in
// order, and known to be delivered at the end.
func TestKilledAtAnyInstant(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-kill.runs=%d -kill.seed=%d", *killRuns, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	alice := w.join("alice.eth")
	alice.start()
	bob := w.join("bob.eth", alice.up.Addrs...)
	bob.start()
	people := []*person{alice, bob}
	for _, p := range people { // who comes back is where it was
		p.listen, _, _ = strings.Cut(p.up.Addrs[0], "/p2p/")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(*killRuns)*10*time.Second)
	defer cancel()
	enough := make(chan struct{})
	said, readers := make([][]parley.Receipt, 2), []*reader{{}, {}}
	var work errgroup.Group
	for i, from := range people {
		to, rd := people[1-i], readers[1-i]
		work.Go(func() (err error) {
			said[i], err = talk(ctx, from, to.name, enough)
			return err
		})
		work.Go(func() error {
			return rd.read(ctx, to, func(events []parley.Event) bool {
				last := events[len(events)-1]
				return fromOthers(last) && last.Message.Content.Text == lastWord
			})
		})
	}
	for range *killRuns {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		p := people[random.IntN(2)]
		p.kill()
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		p.start()
	}
	close(enough)
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}

	for i, from := range people {
		to := people[1-i]
		var want []string
		for n := range said[i][1:] {
			want = append(want, nthWord(from, n))
		}
		want = append(want, lastWord)
		t.Logf("%s has said %d", from.name, len(want))
		checkStreams(t, to.name, readers[1-i].events, map[string][]string{from.address.String() + " to you": want})
		r, err := from.dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for n, receipt := range said[i] {
			if m, err := r.Wait(ctx, receipt.ID, parley.Delivered); err != nil {
				t.Fatalf("%q of %s is %s: %v", want[n], from.name, m.State, err)
			}
		}
		r.Close()
	}
}

const lastWord = "and that is all"

func nthWord(from *person, n int) string { return fmt.Sprintf("%s %d", from.name, n) }

// talk says one thing after the other until enough is closed, and then a last
// one. It returns a receipt for each: what a daemon that was killed has not
// answered is sent again under the same idempotency key.
func talk(ctx context.Context, from *person, to string, enough <-chan struct{}) (receipts []parley.Receipt, err error) {
	r, err := from.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r != nil {
			r.Close()
		}
	}()
	for text := ""; text != lastWord; {
		text = nthWord(from, len(receipts))
		select {
		case <-enough:
			text = lastWord
		case <-time.After(5 * time.Millisecond):
		}
		receipt, err := r.Send(ctx, to, parley.Text(text), parley.SendOptions{IdempotencyKey: text})
		for errors.Is(err, errDaemonGone) {
			r.Close()
			if r, err = from.dial(ctx); err == nil {
				receipt, err = r.Send(ctx, to, parley.Text(text), parley.SendOptions{IdempotencyKey: text})
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", from.name, text, err)
		}
		receipts = append(receipts, receipt)
	}
	return receipts, nil
}
