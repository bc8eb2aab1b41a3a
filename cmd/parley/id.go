package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
)

func (a *app) idCommand() *cobra.Command {
	var qr bool
	var check string
	cmd := &cobra.Command{
		Use:   "id [PEER]",
		Short: "Show who you are, and the safety number with a peer",
		Long: `Id shows the account's address and name, its devices and the peer id of this
one. With a peer it also shows the safety number: 60 digits that both of you see,
to be compared by voice or face to face. --qr shows the same as a code for the peer
to scan, and --check takes what the peer's code says. The number changes when one of
you adds or revokes a device; an alert tells of it.`,
		Example: `  parley id
  parley id bob.eth
  parley id --qr
  parley id bob.eth --check parley-safety:01f3…`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&qr, "qr", false, "show the address, or with a peer the safety code, as a QR code")
	cmd.Flags().StringVar(&check, "check", "", "compare what the QR code on the peer's screen says")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		need := local
		if len(args) > 0 {
			need = online
		}
		theirs, err := parseSafetyCode(check)
		switch {
		case err != nil:
			return err
		case theirs != nil && len(args) == 0:
			return usagef("say whose code it is: parley id PEER --check CODE")
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
			SafetyCode   string `json:"safetyCode,omitempty"` // for the peer to scan
			Verified     bool   `json:"verified,omitempty"`   // with --check
		}{Info: withLists(info)}
		scan := info.Address
		if len(args) > 0 {
			out.Peer = args[0]
			if out.SafetyNumber, err = b.SafetyNumber(cmd.Context(), args[0]); err != nil {
				return err
			}
			code, err := b.SafetyCode(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out.SafetyCode = safetyScheme + hex.EncodeToString(code)
			scan = out.SafetyCode
		}
		if theirs != nil {
			if err := b.CheckSafetyCode(cmd.Context(), args[0], theirs); err != nil {
				return err
			}
			out.Verified = true
		}
		text := idText(info, out.Peer, out.SafetyNumber)
		if out.Verified {
			text += "    the same at both ends\n"
		}
		if err := a.print(out, text); err != nil {
			return err
		}
		if qr && !a.json {
			qrterminal.GenerateHalfBlock(scan, qrterminal.M, a.out)
		}
		return nil
	}
	return cmd
}

// safetyScheme begins what a QR code of a safety code says; hex digits follow.
const safetyScheme = "parley-safety:"

// parseSafetyCode reads what a QR code says; nil for nothing.
func parseSafetyCode(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	digits, ok := strings.CutPrefix(s, safetyScheme)
	code, err := hex.DecodeString(digits)
	if !ok || err != nil || len(code) != identity.SafetyCodeSize {
		return nil, usagef("--check takes what the code on the peer's screen says: %s and %d hex digits", safetyScheme, 2*identity.SafetyCodeSize)
	}
	return code, nil
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
