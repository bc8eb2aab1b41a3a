package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
)

func (a *app) initCommand() *cobra.Command {
	var (
		keystore, keystorePassphrase, key, out, name, device string
		fresh, replace                                       bool
	)
	cmd := &cobra.Command{
		Use:   "init [--keystore F | --key F | --new [--out F]]",
		Short: "Make a profile: this device, authorised by an Ethereum account",
		Long: `Init makes the profile's folder, with keys for this device and an encrypted
database, and has the account's key sign, once, that the device may speak for it.
The account's own key is not kept.

An account that had a profile before, on another device or on one that is lost,
goes on with what its contacts know: say with --bootstrap who can be asked about
it. --replace revokes the devices it had; their messages go to the new one.

The account is that of a keystore file (version 3, of geth, clef, ethers and
others), of a private key in hex, or a new one, whose keystore file is written to
the profile's folder or to --out. Its passphrase is asked for at the terminal, or
read from --keystore-passphrase-file; a new keystore gets the profile's
passphrase if it has one and no other is given.`,
		Example: `  parley init --new --name alice.eth
  parley init --keystore ~/.ethereum/keystore/UTC--2026-01-01T00-00-00Z--52b7…
  parley init --key account.hex --key-file profile.key
  parley init --key account.hex --replace --bootstrap /ip4/…/udp/…/quic-v1/p2p/…`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&keystore, "keystore", "", "keystore file of the account")
	flags.StringVar(&keystorePassphrase, "keystore-passphrase-file", "", "file with the keystore's passphrase")
	flags.StringVar(&key, "key", "", "file with the account's private key in hex, - for standard input")
	flags.BoolVar(&fresh, "new", false, "make a new account (the default)")
	flags.StringVar(&out, "out", "", "where a new account's keystore file goes")
	flags.StringVar(&name, "name", "", "the account's ENS name")
	flags.BoolVar(&replace, "replace", false, "revoke the account's earlier devices, which are lost")
	flags.StringVar(&device, "device-name", "", "what to call this device (default its host name)")

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if keystore != "" && key != "" || (keystore != "" || key != "") && (fresh || out != "") {
			return usagef("say one of --keystore, --key and --new (to which --out belongs)")
		}
		bootstrap := a.list(a.bootstrap, "PARLEY_BOOTSTRAP")
		if keystore == "" && key == "" {
			bootstrap = nil // a new account has no earlier devices
		}
		if replace && bootstrap == nil {
			return usagef("--replace needs the --keystore or --key of an account, and --bootstrap to ask about its devices")
		}
		dir, err := a.dir()
		if err != nil {
			return err
		}
		if profileExists(dir) {
			return profileError(dir, store.ErrExists)
		}
		if name != "" { // before anybody types a passphrase
			if _, err := identity.NormalizeName(name); err != nil {
				return err
			}
		}
		if device == "" {
			device = hostName()
		}
		var wallet *identity.KeyWallet
		switch {
		case keystore != "":
			wallet, err = a.keystoreWallet(cmd.Context(), keystore, keystorePassphrase)
		case key != "":
			wallet, err = a.keyWallet(key)
		}
		if err != nil {
			return err
		}
		unlock, passphrase, err := a.unlockNew(cmd.Context())
		if err != nil {
			return err
		}
		made := ""
		if wallet == nil {
			if keystorePassphrase != "" {
				passphrase, err = secretFile(keystorePassphrase)
			} else if passphrase == "" {
				passphrase, err = a.ask(cmd.Context(), "New passphrase for the account's keystore: ", "--keystore-passphrase-file", true)
			}
			if err == nil && passphrase == "" {
				err = usagef("the keystore's passphrase is empty")
			}
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(dir, "account.json")
			}
			done := a.progress("Making the account's keystore")
			wallet, err = newKeystore(out, passphrase)
			done()
			if err != nil {
				return fmt.Errorf("keystore of the new account: %w", err)
			}
			made = out
		}
		done := a.progress("Making the profile")
		info, err := parley.Init(cmd.Context(), parley.InitOptions{
			Dir: dir, Unlock: unlock, Wallet: wallet, Name: name, DeviceName: device, FastKDF: fastKDF,
			Network: a.or(a.network, "PARLEY_NETWORK"), Bootstrap: bootstrap, Replace: replace,
		})
		done()
		if err != nil {
			if made != "" {
				err = errors.Join(err, os.Remove(made)) // an account nobody has heard of
			}
			return profileError(dir, err)
		}
		return a.print(struct {
			parley.Info
			Profile  string `json:"profile"`
			Keystore string `json:"keystore,omitempty"`
		}{withLists(info), dir, made}, initText(info, dir, made))
	}
	return cmd
}

func initText(info parley.Info, dir, made string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "You are %s\n", printable(parley.Peer{Address: info.Address, Name: info.Name}.String()))
	fmt.Fprintf(&b, "  address  %s\n  device   %s\n  profile  %s\n", info.Address, printable(info.Device), dir)
	if made != "" {
		fmt.Fprintf(&b, "  keystore %s (the new account's key: keep it safe, it adds and revokes devices)\n", made)
	}
	return b.String()
}

// hostName is this machine's name as far as a device's name allows.
func hostName() string {
	name, _ := os.Hostname()
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, name)
	return name[:min(len(name), identity.MaxDeviceName)]
}
