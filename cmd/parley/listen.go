package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-im/parley"
)

func (a *app) listenCommand() *cobra.Command {
	var count int
	var since uint64
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Print messages and what happens in groups, as it comes",
		Long: `Listen prints messages and changes of groups, those that come from now on, or
with --since all after a cursor. Every JSON object has a cursor: whoever keeps the
last one it has dealt with, and passes it to --since, misses nothing and sees
nothing twice. --since 0 begins with the first event there is.

With --json it prints every event, the states of own messages (queued, sent,
delivered) included.`,
		Example: `  parley listen
  parley listen --json --since 1042
  parley listen --count 1`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().Uint64Var(&since, "since", 0, "print what is after this cursor")
	cmd.Flags().IntVar(&count, "count", 0, "end after so many messages from others")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("count") && count < 1 {
			return usagef("--count is at least 1")
		}
		var from time.Time
		if !cmd.Flags().Changed("since") {
			from = time.Now().Truncate(time.Millisecond)
		}
		b, err := a.open(cmd.Context(), online)
		if err != nil {
			return err
		}
		defer b.Close()
		for e, err := range b.Subscribe(cmd.Context(), parley.Cursor(since)) {
			if errors.Is(err, context.Canceled) {
				return nil // a person or a program has had enough
			}
			if err != nil {
				return err
			}
			if e.Time.Before(from) {
				continue
			}
			if err := a.printEvent(&e); err != nil {
				return err
			}
			if e.Kind == parley.EventMessage && e.Message != nil && !e.Message.Own {
				if count--; count == 0 {
					return nil
				}
			}
		}
		return nil
	}
	return cmd
}

func (a *app) printEvent(e *parley.Event) error {
	if a.json {
		return printJSON(a.out, e)
	}
	line := eventLine(e)
	if line == "" {
		return nil
	}
	_, err := io.WriteString(a.out, line+"\n")
	return err
}

func (a *app) messagesCommand() *cobra.Command {
	limit := 20
	cmd := &cobra.Command{
		Use:   "messages PEER|GROUP",
		Short: "Print the last messages of a conversation",
		Example: `  parley messages bob.eth
  parley messages ops --limit 100 --json`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many messages")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 1 {
			return usagef("--limit is at least 1")
		}
		b, err := a.open(cmd.Context(), local)
		if err != nil {
			return err
		}
		defer b.Close()
		all, err := b.Messages(cmd.Context(), args[0], limit)
		if err != nil {
			return err
		}
		for i := range all {
			if err := a.print(&all[i], messageLine(&all[i])+"\n"); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func (a *app) acceptCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "accept NAME",
		Short: "Accept that a name leads to another address than before",
		Long: `A name is pinned to the address it first led to. When it leads elsewhere, nothing
is sent to it, until you have made sure that this is right and say so here.`,
		Example: `  parley accept bob.eth`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.open(cmd.Context(), local)
			if err != nil {
				return err
			}
			defer b.Close()
			if err := b.AcceptPin(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.print(map[string]any{"accepted": args[0]}, printable(args[0])+" stands for the address it leads to now\n")
		},
	}
}
