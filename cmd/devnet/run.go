package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
)

const usage = `devnet brings up a world on this machine and plays a story in it: a development
Ethereum chain with ENS, alice.eth, bob.eth and carol.eth with a wallet, an
encrypted database and a network node each, and an eavesdropper. Every step of
the story is verified, and the exit status is 0 only if all of them held.

Usage:
  go run ./cmd/devnet [--json] [--keep] [--dir DIR]

Flags:
  --json     print one JSON object a line: a step each, then the verdict
  --keep     leave the world up after the story, until Ctrl-C, and print the
             lines that join it from a second terminal
  --dir DIR  put the profiles into DIR, which must be empty or not exist, and
             leave them there; without it they are removed at the end
  --log      write what the parts log to standard error
  --help     print this

Example, in two terminals:
  go run ./cmd/devnet --keep
  parley send alice.eth "hello"      after the lines that devnet prints
`

// settings are what the command line says.
type settings struct {
	json, keep, log bool
	dir             string
}

// run is the program. It returns the exit status: 0 for a story that was
// verified to its end, 1 for one that was not, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var set settings
	flags := flag.NewFlagSet("devnet", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&set.json, "json", false, "")
	flags.BoolVar(&set.keep, "keep", false, "")
	flags.BoolVar(&set.log, "log", false, "")
	flags.StringVar(&set.dir, "dir", "", "")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "devnet: %v\n\n%s", err, usage)
		return 2
	}

	logger := slog.New(slog.DiscardHandler)
	if set.log {
		logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w, err := newWorld(set.dir, logger)
	if err != nil {
		fmt.Fprintf(stderr, "devnet: %v\n", err)
		return 1
	}
	out := newPrinter(stdout, set.json)
	s := &story{w: w, out: out, keep: set.keep}
	failed := s.play(ctx)
	if failed == nil && set.keep {
		w.stayUp(ctx, out)
	}
	if err := w.close(); err != nil {
		fmt.Fprintf(stderr, "devnet: close: %v\n", err)
	}
	if failed == nil {
		return 0
	}
	if !set.json { // there the last line has it
		fmt.Fprintf(stderr, "devnet: %v\n", failed)
	}
	return 1
}
