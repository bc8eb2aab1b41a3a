package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/holiman/uint256"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley/apps/safe"
)

func (a *app) safeListCommand(f *safeFlags) *cobra.Command {
	var everything bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is proposed, and how far it has come",
		Example: `  parley safe list
  parley safe list --all --json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&everything, "all", false, "also what is settled")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := a.enter(cmd.Context(), f)
		if err != nil {
			return err
		}
		defer s.Close()
		return a.printAll(s, everything)
	}
	return cmd
}

// printAll prints a line for each transaction and message.
func (a *app) printAll(s *seat, everything bool) error {
	shown := 0
	for _, e := range s.Transactions() {
		if !everything && (e.Status == safe.Executed || e.Status == safe.Failed || e.Status == safe.Superseded) {
			continue
		}
		shown++
		if err := a.print(e, entryLine(e)); err != nil {
			return err
		}
	}
	for _, m := range s.Messages() {
		if !everything && m.Status == safe.Ready {
			continue
		}
		shown++
		if err := a.print(m, messageEntryLine(m)); err != nil {
			return err
		}
	}
	for _, fault := range s.Faults() {
		if err := a.print(fault, fmt.Sprintf("! %s: %s\n", s.who(fault.From), printable(fault.Text))); err != nil {
			return err
		}
	}
	if shown == 0 && !a.json {
		return a.print(nil, "nothing waits\n")
	}
	return nil
}

func entryLine(e *safe.Entry) string {
	mark := ""
	for _, w := range e.Warnings {
		if w.Level == safe.Danger {
			mark = "  ! " + w.Code
			break
		}
	}
	return fmt.Sprintf("#%s  %s  %-10s %d of %d  %s%s\n", e.Transaction.Nonce.Dec(), e.Hash.Hex()[:10], e.Status,
		int(e.Threshold)-e.Missing, e.Threshold, summary(e), mark)
}

// summary says in a line what a transaction does.
func summary(e *safe.Entry) string {
	t := &e.Transaction
	verb := "calls"
	if t.Operation == safe.DelegateCall {
		verb = "DELEGATES to"
	}
	switch {
	case len(t.Data) == 0 && t.Operation == safe.Call:
		return fmt.Sprintf("%s to %s%s", etherText(&t.Value), t.To, quoted(e.Note))
	case t.Value.IsZero():
		return fmt.Sprintf("%s %s: %s%s", verb, t.To, printable(e.Decoded.String()), quoted(e.Note))
	}
	return fmt.Sprintf("%s %s with %s: %s%s", verb, t.To, etherText(&t.Value), printable(e.Decoded.String()), quoted(e.Note))
}

func quoted(note string) string {
	if note == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", printable(note))
}

func messageEntryLine(m *safe.MessageEntry) string {
	return fmt.Sprintf("message  %s  %-10s %d missing  %s\n", m.Hash.Hex()[:10], m.Status, m.Missing, messageText(&m.Message))
}

func messageText(m *safe.Message) string {
	if text, ok := m.Text(); ok {
		return printable(text)
	}
	return "typed data " + printable(string(m.TypedJSON()))
}

// etherText writes wei as ether, all digits.
func etherText(wei *uint256.Int) string { return decimal(wei, 18) + " ether" }

// decimal writes an amount in units of 10^places.
func decimal(amount *uint256.Int, places int) string {
	digits := amount.Dec()
	if len(digits) <= places {
		digits = strings.Repeat("0", places+1-len(digits)) + digits
	}
	whole, rest := digits[:len(digits)-places], strings.TrimRight(digits[len(digits)-places:], "0")
	if rest == "" {
		return whole
	}
	return whole + "." + rest
}

func (a *app) safeShowCommand(f *safeFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show HASH",
		Short: "Show all of a transaction or message, and simulate it",
		Long: `Show prints every field, the hashes that a hardware wallet shows, the calldata as
far as it is understood, what running it at the latest block would do, who has
signed, and what to beware of. A hash may be cut to its first digits.`,
		Example: "  parley safe show 0x41f0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, hash, err := a.enterAt(cmd.Context(), f, args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			return a.show(cmd.Context(), s, hash)
		},
	}
}

// shown is a transaction as show prints it.
type shown struct {
	*safe.Entry
	DomainHash common.Hash      `json:"domainHash"`
	Simulation *safe.Simulation `json:"simulation,omitempty"`
}

func (a *app) show(ctx context.Context, s *seat, hash common.Hash) error {
	v, text, err := a.look(ctx, s, hash)
	if err != nil {
		return err
	}
	return a.print(v, text)
}

// look returns what show prints.
func (a *app) look(ctx context.Context, s *seat, hash common.Hash) (v any, text string, err error) {
	if m, err := s.Message(hash); err == nil {
		return m, messageDetails(s, s.Account(), m), nil
	}
	e, err := s.Transaction(hash)
	if err != nil {
		return nil, "", err
	}
	out := &shown{e, s.Account().DomainHash(), nil}
	if e.Outcome == nil {
		done := a.progress("Simulating")
		out.Simulation, err = s.chain.Simulate(ctx, s.Snapshot(), &e.Transaction)
		done()
		if err != nil {
			return nil, "", err
		}
	}
	return out, details(s, s.Account(), out), nil
}

// details prints a transaction in full. s is nil for an offline machine.
func details(s *seat, account safe.Account, out *shown) string {
	var b strings.Builder
	e := out.Entry
	t := &e.Transaction
	warnings(&b, e.Warnings)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-15s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "Transaction #%s of %s: %s\n", t.Nonce.Dec(), account, e.Status)
	line("to", "%s", s.who(t.To))
	line("value", "%s (%s wei)", etherText(&t.Value), t.Value.Dec())
	line("operation", "%s", operationText(t.Operation))
	line("data", "%s", printable(e.Decoded.String()))
	decodedLines(&b, e.Decoded, "                  ")
	if len(t.Data) > 0 {
		line("", "%s", cut(hexutil.Encode(t.Data), 130))
	}
	if !t.GasPrice.IsZero() || !t.SafeTxGas.IsZero() || !t.BaseGas.IsZero() {
		line("refund", "safeTxGas %s, baseGas %s, gasPrice %s, gasToken %s, to %s",
			t.SafeTxGas.Dec(), t.BaseGas.Dec(), t.GasPrice.Dec(), t.GasToken, t.RefundReceiver)
	}
	if e.Note != "" {
		line("note", "%s", printable(e.Note))
	}
	for _, p := range e.Proposers {
		line("proposed by", "%s", s.who(p))
	}
	if m := out.Simulation; m != nil {
		switch {
		case m.Success && m.NoCode:
			line("simulation", "succeeds at block %d, but CALLS NOTHING: there is no code at %s", m.Block, t.To)
		case m.Success:
			line("simulation", "succeeds at block %d", m.Block)
		default:
			line("simulation", "FAILS at block %d%s", m.Block, because(m.Reason))
		}
	}
	if o := e.Outcome; o != nil {
		line(string(e.Status), "in block %d by %s, %s", o.Block, s.who(o.Executor), o.Transaction)
	}
	signers(&b, s, e.Confirmations, e.Rejections, e.Threshold, e.Missing)
	hashLines(&b, out.DomainHash, e.MessageHash, e.Hash, "safeTxHash")
	return b.String()
}

func because(reason string) string {
	if reason == "" {
		return ", without a reason"
	}
	return ": " + printable(reason)
}

func hashLines(b *strings.Builder, domain, message, hash common.Hash, name string) {
	fmt.Fprintf(b, "  compare with your device:\n    domain hash   %s\n    message hash  %s\n    %-13s %s\n", domain, message, name, hash)
}

func warnings(b *strings.Builder, all []safe.Warning) {
	for _, w := range all {
		if w.Level == safe.Danger {
			fmt.Fprintf(b, "!! DANGER: %s\n", printable(w.Text))
		}
	}
	for _, w := range all {
		if w.Level != safe.Danger {
			fmt.Fprintf(b, "!  %s\n", printable(w.Text))
		}
	}
}

func decodedLines(b *strings.Builder, d *safe.Decoded, indent string) {
	for _, c := range d.Calls {
		to := c.To.Hex()
		if c.Self {
			to = "the Safe itself"
		}
		fmt.Fprintf(b, "%s%s %s with %s wei: %s\n", indent, operationText(c.Operation), to, c.Value.Dec(), printable(c.Decoded.String()))
		decodedLines(b, c.Decoded, indent+"  ")
	}
}

func operationText(o safe.Operation) string {
	if o == safe.DelegateCall {
		return "DELEGATECALL"
	}
	return "call"
}

func signers(b *strings.Builder, s *seat, confirmations, rejections []safe.Confirmation, threshold uint64, missing int) {
	if threshold > 0 {
		fmt.Fprintf(b, "  %d of %d signatures\n", int(threshold)-missing, threshold)
	}
	for _, c := range confirmations {
		why := ""
		if !c.Counts {
			why = " (does not count: " + printable(c.Why) + ")"
		}
		fmt.Fprintf(b, "    signed by     %s, %s%s\n", s.who(c.Signature.Owner), c.Signature.Kind, why)
	}
	for _, c := range rejections {
		fmt.Fprintf(b, "    rejected by   %s\n", s.who(c.Signature.Owner))
	}
}

func messageDetails(s *seat, account safe.Account, m *safe.MessageEntry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Message of %s: %s\n", account, m.Status)
	if text, ok := m.Message.Text(); ok {
		fmt.Fprintf(&b, "  text            %s\n", paragraph(text, "                  "))
	} else {
		fmt.Fprintf(&b, "  typed data      %s\n", printable(string(m.Message.TypedJSON())))
	}
	for _, p := range m.Proposers {
		fmt.Fprintf(&b, "  proposed by     %s\n", s.who(p))
	}
	signers(&b, s, m.Confirmations, m.Rejections, m.Threshold, m.Missing)
	if len(m.Signature) > 0 {
		fmt.Fprintf(&b, "  signature (ERC-1271) %s\n", m.Signature)
	}
	hashLines(&b, account.DomainHash(), m.Message.StructHash(), m.Hash, "SafeMessage")
	return b.String()
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func (a *app) safeWatchCommand(f *safeFlags) *cobra.Command {
	every := 12 * time.Second
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print what changes, and have the group follow the owners",
		Long: `Watch prints a line whenever something is proposed, signed, rejected or executed,
until it is interrupted. While it runs, who is no owner any more is removed from a
group that you made, and new owners are invited.`,
		Example: "  parley safe watch --json",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().DurationVar(&every, "every", every, "how often to look at the chain")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < time.Second {
			return usagef("--every is at least 1s")
		}
		ctx := cmd.Context()
		s, err := a.enter(ctx, f)
		if err != nil {
			return err
		}
		defer s.Close()
		seen := map[common.Hash]string{}
		var failed error
		err = s.Watch(ctx, every, func() {
			for _, e := range s.Transactions() {
				if l := entryLine(e); seen[e.Hash] != l && failed == nil {
					seen[e.Hash] = l
					failed = a.print(e, l)
				}
			}
			for _, m := range s.Messages() {
				if l := messageEntryLine(m); seen[m.Hash] != l && failed == nil {
					seen[m.Hash] = l
					failed = a.print(m, l)
				}
			}
		}, func(err error) { fmt.Fprintf(a.err, "parley: %s\n", message(err)) })
		if failed != nil {
			return failed
		}
		if ctx.Err() != nil {
			return nil // interrupted, as it is meant to be
		}
		return err
	}
	return cmd
}
