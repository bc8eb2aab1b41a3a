package main

import (
	"fmt"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley"
)

func (a *app) idCommand() *cobra.Command {
	var qr bool
	cmd := &cobra.Command{
		Use:   "id [PEER]",
		Short: "Show who you are, and the safety number with a peer",
		Long: `Id shows the account's address and name, its devices and the peer id of this
one. With a peer it also shows the safety number: 60 digits that both of you see,
to be compared by voice or face to face.`,
		Example: `  parley id
  parley id bob.eth
  parley id --qr`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&qr, "qr", false, "show the address as a QR code")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		need := local
		if len(args) > 0 {
			need = online
		}
		b, err := a.open(cmd.Context(), need)
		if err != nil {
			return err
		}
		defer b.Close()
		info, err := b.Info(cmd.Context())
		if err != nil {
			return err
		}
		out := struct {
			parley.Info
			Peer         string `json:"peer,omitempty"`
			SafetyNumber string `json:"safetyNumber,omitempty"`
		}{Info: withLists(info)}
		if len(args) > 0 {
			out.Peer = args[0]
			if out.SafetyNumber, err = b.SafetyNumber(cmd.Context(), args[0]); err != nil {
				return err
			}
		}
		if err := a.print(out, idText(info, out.Peer, out.SafetyNumber)); err != nil {
			return err
		}
		if qr && !a.json {
			qrterminal.GenerateHalfBlock(info.Address, qrterminal.M, a.out)
		}
		return nil
	}
	return cmd
}

// withLists makes lists that are empty be so in JSON, and not null.
func withLists(info parley.Info) parley.Info {
	info.Addrs, info.Devices = append([]string{}, info.Addrs...), append([]string{}, info.Devices...)
	return info
}

func idText(info parley.Info, peer, number string) string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-8s %s\n", name, printable(value))
		}
	}
	row("name", info.Name)
	row("address", info.Address)
	row("device", info.Device)
	row("devices", strings.Join(info.Devices, ", "))
	row("peer id", info.PeerID)
	for i, addr := range info.Addrs {
		row([]string{"at", ""}[min(i, 1)], addr)
	}
	if number != "" {
		fmt.Fprintf(&b, "\nSafety number with %s:\n", printable(peer))
		digits := strings.Fields(number)
		for i := 0; i < len(digits); i += 4 {
			fmt.Fprintf(&b, "    %s\n", strings.Join(digits[i:min(i+4, len(digits))], " "))
		}
	}
	return b.String()
}
