package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress: at a terminal, what takes a while is spoken of, and nothing of
// that is left on the line in the end. Elsewhere nothing is written.
func TestProgress(t *testing.T) {
	run := func(a *app, takes time.Duration) string {
		var out bytes.Buffer
		synctest.Test(t, func(*testing.T) {
			a.err = &out
			done := a.progress("Waiting")
			time.Sleep(takes)
			done()
			done() // is harmless
		})
		return out.String()
	}
	const clear = "\r\x1b[K"
	out := run(&app{terminal: true}, 2500*time.Millisecond)
	if !strings.Contains(out, clear+"Waiting… 0 s"+clear+"Waiting… 1 s"+clear+"Waiting… 2 s") || !strings.HasSuffix(out, clear) {
		t.Errorf("a terminal gets %q", out)
	}
	for name, c := range map[string]struct {
		a     app
		takes time.Duration
	}{
		"a short work":    {app{terminal: true}, progressAfter / 2},
		"a pipe":          {app{}, time.Minute},
		"a log's company": {app{terminal: true, verbose: true}, time.Minute},
	} {
		if out := run(&c.a, c.takes); out != "" {
			t.Errorf("%s: %q", name, out)
		}
	}
}
