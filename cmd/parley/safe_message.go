package main

import (
	"github.com/spf13/cobra"

	"github.com/parley-im/parley/apps/safe"
)

func (a *app) safeMessageCommand(f *safeFlags) *cobra.Command {
	var text, typed, note string
	cmd := &cobra.Command{
		Use:   "message",
		Short: "Propose an off-chain message for the Safe to sign",
		Long: `Message proposes a text, or typed data (EIP-712), that the owners sign for the Safe.
When the threshold is reached "safe show" prints the signature that the Safe's
isValidSignature (ERC-1271) accepts.`,
		Example: `  parley safe message --text "I agree to the terms of 2026"
  parley safe message --typed order.json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&text, "text", "", "the text, - for standard input")
	cmd.Flags().StringVar(&typed, "typed", "", "file with typed data in JSON, - for standard input")
	cmd.Flags().StringVar(&note, "note", "", "what the other owners are told about it")
	stay := cmd.Flags().Duration("linger", lingerSend, "without a daemon: how long to stay on the network")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if (text == "") == (typed == "") {
			return usagef("say one of --text and --typed")
		}
		var m safe.Message
		if typed != "" {
			b, err := a.fileOrInput(typed)
			if err != nil {
				return err
			}
			if m, err = safe.ParseTypedMessage(b); err != nil {
				return err
			}
		} else {
			t, err := a.text(text)
			if err != nil {
				return err
			}
			if m, err = safe.TextMessage(t); err != nil {
				return err
			}
		}
		s, err := a.enter(ctx, f)
		if err != nil {
			return err
		}
		defer s.Close()
		e, err := s.ProposeMessage(ctx, &m, safe.ProposeOptions{Note: note, Origin: "parley"})
		if err != nil {
			return err
		}
		if err := a.show(ctx, s, e.Hash); err != nil {
			return err
		}
		a.lingers(ctx, s.backend, *stay)
		return nil
	}
	return cmd
}
