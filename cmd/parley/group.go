package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-im/parley"
)

// How long a command without a daemon stays on the network after it has changed
// a group, so that the others hear of it, and after it has sent to one: nobody
// acknowledges that, and what is sent is on its way still.
const (
	lingerChange = 5 * time.Second
	lingerSend   = time.Second
)

// lingers stays for a while, unless the daemon does.
func (a *app) lingers(ctx context.Context, b backend, stay time.Duration) {
	if _, embedded := b.(*parley.Client); !embedded || stay <= 0 {
		return
	}
	defer a.progress(fmt.Sprintf("Staying on the network for %v, so that the others hear of it", stay))()
	select {
	case <-ctx.Done():
	case <-time.After(stay):
	}
}

func (a *app) groupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Make groups, change them, write to them",
		Example: `  parley group new ops bob.eth carol.eth
  parley group send ops "hello, all"
  parley group show ops`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.changeCommand("new NAME MEMBER...", "Make a group of which you are the creator", "parley group new ops bob.eth carol.eth", 2,
			func(ctx context.Context, b backend, group string, members []string) (parley.Group, error) {
				return b.CreateGroup(ctx, group, members, parley.GroupOptions{})
			}),
		a.changeCommand("add GROUP MEMBER...", "Add members to a group of yours", "parley group add ops dave.eth", 2,
			func(ctx context.Context, b backend, group string, members []string) (parley.Group, error) {
				return b.AddMembers(ctx, group, members)
			}),
		a.changeCommand("remove GROUP MEMBER...", "Remove members from a group of yours", "parley group remove ops carol.eth", 2,
			func(ctx context.Context, b backend, group string, members []string) (parley.Group, error) {
				return b.RemoveMembers(ctx, group, members)
			}),
		a.changeCommand("leave GROUP", "Leave a group", "parley group leave ops", 1,
			func(ctx context.Context, b backend, group string, _ []string) (parley.Group, error) {
				if err := b.LeaveGroup(ctx, group); err != nil {
					return parley.Group{}, err
				}
				return b.Group(ctx, group)
			}),
		a.changeCommand("update GROUP", "Replace your keys in a group", "parley group update ops", 1,
			func(ctx context.Context, b backend, group string, _ []string) (parley.Group, error) {
				if err := b.UpdateKeys(ctx, group); err != nil {
					return parley.Group{}, err
				}
				return b.Group(ctx, group)
			}),
		a.groupListCommand(), a.groupShowCommand(), a.groupSendCommand())
	return cmd
}

// changeCommand is a command that changes a group and prints what has become of
// it. Its arguments are the group and its members; without members, exactly the
// group.
func (a *app) changeCommand(use, short, example string, min int, change func(ctx context.Context, b backend, group string, members []string) (parley.Group, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: "  " + example, Args: cobra.MinimumNArgs(min)}
	if min == 1 {
		cmd.Args = cobra.ExactArgs(1)
	}
	stay := cmd.Flags().Duration("linger", lingerChange, "without a daemon: how long to stay on the network, so that the others hear of it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		b, err := a.open(ctx, online)
		if err != nil {
			return err
		}
		defer b.Close()
		g, err := change(ctx, b, args[0], args[1:])
		if err != nil {
			return err
		}
		if err := a.print(g, groupText(g)); err != nil {
			return err
		}
		a.lingers(ctx, b, *stay)
		return nil
	}
	return cmd
}

func (a *app) groupListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the groups you are or were in",
		Example: "  parley group list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := a.open(cmd.Context(), local)
			if err != nil {
				return err
			}
			defer b.Close()
			all, err := b.Groups(cmd.Context())
			if err != nil {
				return err
			}
			for _, g := range all {
				line := fmt.Sprintf("%-20s %d members, epoch %d", printable(g.Name), len(g.Members), g.Epoch)
				if g.Status != "active" {
					line = fmt.Sprintf("%-20s %s", printable(g.Name), g.Status)
				}
				if err := a.print(g, line+"\n"); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) groupShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show GROUP",
		Short:   "Show a group's members and epoch",
		Example: "  parley group show ops",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.open(cmd.Context(), local)
			if err != nil {
				return err
			}
			defer b.Close()
			g, err := b.Group(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(g, groupText(g))
		},
	}
}

func (a *app) groupSendCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:     "send GROUP TEXT|-",
		Short:   "Write to a group",
		Example: `  parley group send ops "hello, all"`,
		Args:    cobra.ExactArgs(2),
	}
	wait := cmd.Flags().Duration("wait", defaultWait, "how long to wait until the network has it")
	stay := cmd.Flags().Duration("linger", lingerSend, "without a daemon: how long to stay on the network after that")
	cmd.Flags().StringVar(&key, "key", "", "idempotency key: a second send with the same one is the first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := a.text(args[1])
		if err != nil {
			return err
		}
		return a.deliver(cmd.Context(), args[0], parley.Sent, *wait, *stay, func(b backend) (parley.Receipt, error) {
			return b.SendGroup(cmd.Context(), args[0], parley.Text(text), parley.SendOptions{IdempotencyKey: key})
		})
	}
	return cmd
}

func groupText(g parley.Group) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s  epoch %d, %s\n", groupMark, printable(g.Name), g.Epoch, printable(g.Status))
	for _, m := range g.Members {
		var notes []string
		if m.Self {
			notes = append(notes, ownMessage)
		}
		if m.Admin {
			notes = append(notes, "creator")
		}
		if !m.Verified {
			notes = append(notes, "device not verified yet")
		}
		line := "  " + printable(m.String())
		if m.Name != "" {
			line += "  " + m.Address
		}
		if len(notes) > 0 {
			line += "  (" + strings.Join(notes, ", ") + ")"
		}
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "  id %s\n", g.ID)
	return b.String()
}
