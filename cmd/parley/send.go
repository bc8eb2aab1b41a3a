package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/parley-im/parley"
)

// sent is what a send prints.
type sent struct {
	ID    parley.MessageID `json:"id"`
	To    string           `json:"to"`
	State parley.State     `json:"state"`
}

func (s sent) text() string {
	to := printable(s.To)
	switch s.State {
	case parley.Queued:
		return fmt.Sprintf("queued for %s: nobody has taken it yet, it goes out when parley is up and somebody can be reached (%s)\n", to, s.ID)
	case parley.Sent:
		return fmt.Sprintf("sent to %s (%s)\n", to, s.ID)
	}
	return fmt.Sprintf("%s to %s (%s)\n", s.State, to, s.ID)
}

func (a *app) sendCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "send TO TEXT|-",
		Short: "Write to a name or an address",
		Long: `Send writes to a peer: an ENS name, or an address. The message is safe on disk
at once; then send waits until the peer's device has acknowledged it, or --wait is
over, and says how far the message has come: queued (nobody has it yet), sent (the
network has it) or delivered. It ends with 0 in each case.

With - the text comes from standard input.`,
		Example: `  parley send bob.eth "hello"
  date | parley send 0x52b7d2dcc80cd2e4000000c6c5b5e4b5a3d3a1b1 - --wait 30s`,
		Args: cobra.ExactArgs(2),
	}
	wait := cmd.Flags().Duration("wait", defaultWait, "how long to wait for delivery")
	cmd.Flags().StringVar(&key, "key", "", "idempotency key: a second send with the same one is the first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := a.text(args[1])
		if err != nil {
			return err
		}
		return a.deliver(cmd.Context(), args[0], parley.Delivered, *wait, 0, func(b backend) (parley.Receipt, error) {
			return b.Send(cmd.Context(), args[0], parley.Text(text), parley.SendOptions{IdempotencyKey: key})
		})
	}
	return cmd
}

// deliver sends and waits for a state. stay is how long it lingers then.
func (a *app) deliver(ctx context.Context, to string, state parley.State, wait, stay time.Duration, send func(backend) (parley.Receipt, error)) error {
	b, err := a.open(ctx, online)
	if err != nil {
		return err
	}
	defer b.Close()
	r, err := send(b)
	if err != nil {
		return err
	}
	s := sent{r.ID, to, r.State}
	if wait > 0 {
		waitCtx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		done := a.progress(fmt.Sprintf("Waiting for %s, %v at most", short(to), wait))
		m, err := b.Wait(waitCtx, r.ID, state)
		done()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			return err
		}
		if m.State != "" {
			s.State = m.State
		}
	}
	if err := a.print(s, s.text()); err != nil {
		return err
	}
	if s.State != parley.Queued {
		a.lingers(ctx, b, stay)
	}
	return nil
}

// short is a peer or a group on a line with more, which is not to be broken.
func short(to string) string {
	const most = 42 // an address fits
	if runes := []rune(printable(to)); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return printable(to)
}

// text returns a command's text, or standard input's for "-".
func (a *app) text(arg string) (string, error) {
	b := []byte(arg)
	var err error
	if arg == "-" {
		b, err = io.ReadAll(io.LimitReader(a.in, parley.MaxContent+1))
	}
	switch {
	case err != nil:
	case len(b) > parley.MaxContent:
		err = parley.ErrTooLarge
	case !utf8.Valid(b): // on its way to the daemon JSON would change it silently
		err = usagef("the text is not UTF-8")
	}
	return string(b), err
}
