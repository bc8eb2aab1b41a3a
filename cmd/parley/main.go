// Command parley talks to Ethereum identities, end to end encrypted, from a
// terminal or a script. It is made of the package parley; docs/spec.md has its
// JSON-RPC, "parley help" its commands and exit codes.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() { os.Exit(program()) }

// program runs the command line of this process and returns its exit code.
func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	makePrivate()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
	return a.run(ctx, os.Args[1:])
}
