package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// fastKDF makes new profiles and keystores cheap to unlock. Tests set it.
var fastKDF = false

// defaultWait is how long a command waits for others before it says how far it
// has come.
const defaultWait = 10 * time.Second

// app is one run of the program: where it reads and writes, and its flags.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	terminal bool // err is one: progress is shown

	json           bool
	profile        string
	passphraseFile string
	keyFile        string
	verbose        bool

	// How to join the network, for "up" and for a command that runs without it.
	rpc       string
	network   string
	listen    []string
	bootstrap []string
	mdns      bool

	started bool // a command runs: errors are not of the command line any more
}

// run runs one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	cmd := a.command()
	cmd.SetArgs(args)
	cmd.SetIn(a.in)
	cmd.SetOut(a.out)
	cmd.SetErr(a.err)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !a.started {
		err = usagef("%v", err)
		a.json = a.json || slices.Contains(args, "--json")
	}
	if a.json {
		fmt.Fprintf(a.err, "%s\n", errorLine(err))
	} else {
		fmt.Fprintf(a.err, "parley: %s\n", message(err))
		if !a.started {
			fmt.Fprintln(a.err, `Try "parley help".`)
		}
	}
	return faultOf(err).exit()
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "parley",
		Short: "End-to-end encrypted messages between Ethereum identities",
		Long: `Parley carries end-to-end encrypted messages between Ethereum identities, by
address or ENS name, in pairs and groups, over a peer-to-peer network.

"parley init" makes a profile, "parley up" keeps it on the network. The other
commands talk to "parley up" over its socket in the profile's folder; when it is
not running they join the network by themselves, for as long as they take.`,
		Example: `  parley init --new --name alice.eth
  parley up --rpc https://rpc.example --bootstrap /dns4/node.example/udp/4001/quic-v1/p2p/16Uiu2…
  parley send bob.eth "hello"
  parley listen`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRun:  func(*cobra.Command, []string) { a.started = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "write one JSON object a line")
	flags.StringVar(&a.profile, "profile", "", "folder of the profile (PARLEY_PROFILE; default "+defaultProfile()+")")
	flags.StringVar(&a.passphraseFile, "passphrase-file", "", "file with the profile's passphrase (or PARLEY_PASSPHRASE)")
	flags.StringVar(&a.keyFile, "key-file", "", "file that unlocks the profile in place of a passphrase (PARLEY_KEY_FILE)")
	flags.StringVar(&a.rpc, "rpc", "", "URL of an Ethereum RPC endpoint, for ENS names (PARLEY_RPC)")
	flags.StringVar(&a.network, "network", "", "name of the network (PARLEY_NETWORK; default main)")
	flags.StringArrayVar(&a.listen, "listen", nil, "multiaddr to listen on, repeatable (PARLEY_LISTEN; default every interface, free ports)")
	flags.StringArrayVar(&a.bootstrap, "bootstrap", nil, "multiaddr of a peer to dial, repeatable (PARLEY_BOOTSTRAP, separated by commas)")
	flags.BoolVar(&a.mdns, "mdns", false, "find peers on the local network")
	flags.BoolVar(&a.verbose, "verbose", false, "log to stderr")

	root.AddCommand(a.initCommand(), a.idCommand(), a.upCommand(), a.sendCommand(), a.listenCommand(),
		a.messagesCommand(), a.groupCommand(), a.acceptCommand(), a.safeCommand(),
		&cobra.Command{Use: "exit-codes", Short: "The exit codes of every command", Long: exitCodes})
	root.SetHelpCommand(helpCommand(root))
	root.Version = version()
	return root
}

// helpCommand is cobra's, but fails for what there is no help for.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Help about a command",
		Example: "  parley help send",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no help for %q", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// version is that of the module as it was built: a release, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

func defaultProfile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "parley")
}

// dir returns the absolute path of the profile's folder.
func (a *app) dir() (string, error) {
	dir := a.or(a.profile, "PARLEY_PROFILE")
	if dir == "" {
		dir = defaultProfile()
	}
	if dir == "" {
		return "", usagef("no home directory: say --profile DIR")
	}
	return filepath.Abs(dir)
}

// or returns a flag's value, or that of an environment variable.
func (a *app) or(flag, name string) string {
	if flag != "" {
		return flag
	}
	return a.env(name)
}

// list is or, for a flag that can be repeated.
func (a *app) list(flag []string, name string) []string {
	if len(flag) > 0 {
		return flag
	}
	var all []string
	for s := range strings.SplitSeq(a.env(name), ",") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}

func (a *app) logger() *slog.Logger {
	if !a.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// print writes v as JSON, or else the human line.
func (a *app) print(v any, human string) error {
	if a.json {
		return printJSON(a.out, v)
	}
	_, err := io.WriteString(a.out, human)
	return err
}
