package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/parley-im/parley"
)

// TestListenFromNowOn: without --since, what is old is not printed.
func TestListenFromNowOn(t *testing.T) {
	s, r := newDaemon(t)
	send := func(text string) {
		t.Helper()
		if _, err := r.Send(t.Context(), somebody, parley.Text(text), parley.SendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	send("old")
	time.Sleep(2 * time.Millisecond) // times of events are in milliseconds

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	var stderr bytes.Buffer
	a := &app{in: new(bytes.Buffer), out: in, err: &stderr, env: func(string) string { return "" }}
	ended := make(chan int, 1)
	go func() {
		ended <- a.run(ctx, []string{"listen", "--json", "--profile", s.dir})
		in.Close()
	}()
	lines := make(chan parley.Event)
	go func() {
		for scan := bufio.NewScanner(out); scan.Scan(); {
			var e parley.Event
			if json.Unmarshal(scan.Bytes(), &e) == nil {
				lines <- e
			}
		}
		close(lines)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var first parley.Event
	for first.Message == nil {
		select {
		case e, ok := <-lines:
			if !ok {
				t.Fatalf("listen has ended: %s", stderr.String())
			}
			first = e
		case <-tick.C:
			send("new") // again and again: it may not listen yet
		}
	}
	if got := first.Message.Content.Text; got != "new" {
		t.Errorf("the first message printed is %q", got)
	}
	cancel()
	go func() {
		for range lines {
		}
	}()
	if code := <-ended; code != exitOK {
		t.Errorf("an interrupt ends it with %d: %s", code, stderr.String())
	}
}
