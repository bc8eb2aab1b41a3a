package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	parley "github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/transport"
)

// stepNames are what programs that read the output rely on.
var stepNames = []string{
	"chain", "names", "pair", "group", "talk", "remove", "removed-cannot-read", "update", "goes-on",
	"safe", "invoice", "delegatecall", "transcript", "eavesdropper",
}

// lines decodes the output of --json.
func lines(t *testing.T, out string) ([]result, verdict) {
	t.Helper()
	all := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	var steps []result
	for _, line := range all[:len(all)-1] {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		steps = append(steps, r)
	}
	var v verdict
	if err := json.Unmarshal([]byte(all[len(all)-1]), &v); err != nil {
		t.Fatalf("%v in %q", err, all[len(all)-1])
	}
	return steps, v
}

func TestStoryAsJSON(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--json"}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, &stdout, &stderr)
	}
	steps, v := lines(t, stdout.String())
	if !v.OK || !slices.Equal(v.Steps, stepNames) || v.Failed != "" || v.World != nil {
		t.Errorf("verdict is %+v", v)
	}
	var names []string
	for _, r := range steps {
		names = append(names, r.Step)
		if !r.OK || r.Error != "" || len(r.Details) == 0 {
			t.Errorf("step is %+v", r)
		}
	}
	if !slices.Equal(names, stepNames) {
		t.Errorf("steps are %q", names)
	}
	if stderr.Len() > 0 {
		t.Errorf("standard error has %q", &stderr)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStoryAsTranscript(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "world")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--dir", dir}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, &stdout, &stderr)
	}
	out := stdout.String()
	for _, want := range []string{
		"alice → bob.eth   “Bob, the lighthouse keeper asks for you. Can we talk?”",
		"7 removed-cannot-read", "carol's keys open none", "delegatecall: the code at", "All 14 steps verified",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || stderr.Len() > 0 {
		t.Errorf("a pipe gets escape sequences, or standard error %q", &stderr)
	}
	// A folder that was asked for stays, with a keystore and a profile each.
	for _, name := range []string{"alice", "bob", "carol"} {
		found, err := filepath.Glob(filepath.Join(dir, name, "keystore", "UTC--*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("keystores of %s: %v, %v", name, found, err)
		}
		file, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		a, err := identity.KeystoreAddress(file)
		if err != nil || !strings.Contains(out, a.String()) || !strings.HasSuffix(strings.ToLower(a.String()), found[0][len(found[0])-40:]) {
			t.Errorf("%s is of %s, %v", found[0], a, err)
		}
		if _, err := os.Stat(filepath.Join(dir, name, "profile", "parley.db")); err != nil {
			t.Error(err)
		}
	}
	if code := run(t.Context(), []string{"--dir", dir}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "is not empty") {
		t.Errorf("exit %d for a folder in use, %q", code, &stderr)
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--help"}, 0, "Example", ""},
		{[]string{"--jsno"}, 2, "", "flag provided but not defined"},
		{[]string{"now"}, 2, "", `unexpected argument "now"`},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), c.args, &stdout, &stderr); code != c.code {
			t.Errorf("%q: exit %d", c.args, code)
		}
		if !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) ||
			(c.stdout == "") != (stdout.Len() == 0) || (c.stderr == "") != (stderr.Len() == 0) {
			t.Errorf("%q: %q, and on standard error %q", c.args, &stdout, &stderr)
		}
	}
}

// A story that is broken off says where, and is no success.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"--json", "--keep"}, &stdout, &stderr); code != 1 {
		t.Errorf("exit %d", code)
	}
	steps, v := lines(t, stdout.String())
	if v.OK || v.Failed != "chain" || v.Error == "" || v.Steps == nil || len(v.Steps) != 0 || v.World != nil || len(steps) != 1 || steps[0].OK {
		t.Errorf("steps %+v, verdict %+v", steps, v)
	}
	stderr.Reset()
	if code := run(ctx, nil, &stdout, &stderr); code != 1 || !strings.HasPrefix(stderr.String(), "devnet: step chain failed: ") {
		t.Errorf("exit %d, %q", code, &stderr)
	}
}

// newPlay brings up a world and plays the first n steps of its story.
func newPlay(t *testing.T, n int) *story {
	t.Helper()
	w, err := newWorld(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	s := &story{w: w, out: newPrinter(io.Discard, false)}
	for _, c := range chapters[:n] {
		if err := s.step(t.Context(), c); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	return s
}

// Had carol been left in the group, the step that shows that she cannot read
// fails.
func TestCarolLeftIn(t *testing.T) {
	s := newPlay(t, slices.Index(stepNames, "remove"))
	w := s.w
	s.removed, s.saidBefore = w.tap.mark(), len(s.spoken)
	_, err := s.removedCannotRead(t.Context())
	if err == nil || !strings.Contains(err.Error(), "carol, who was removed: opens one of the group's envelopes") {
		t.Errorf("error is %v", err)
	}
	// Each means of the step by itself.
	group, _, err := s.overheard(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := opensNone(t.Context(), s.hoard, group); err == nil {
		t.Error("the copy of her profile opens nothing, before her removal")
	}
	if err := s.checkStream(); err == nil {
		t.Error("her client's events pass, and it was not removed")
	}
	if err := s.takeStock(); err == nil {
		t.Error("carol has read what was not for her, and the stock is in order")
	}
	stranger, err := transport.NewEnvelope(transport.Tag{1}, make([]byte, transport.Sizes()[1]))
	if err != nil {
		t.Fatal(err)
	}
	if err := opensAll(t.Context(), w.bob, append(group, stranger)); !errors.Is(err, parley.ErrNoKey) {
		t.Errorf("bob opens an envelope of zeros: %v", err)
	}
	if err := s.agree(t.Context(), w.alice, w.bob); err == nil {
		t.Error("the group passes for one of two")
	}
}
