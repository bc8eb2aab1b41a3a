package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/parley-im/parley/internal/devchain"
)

// accounts of the private keys 1 and 2, and one nobody here has.
var accounts = map[string]string{
	"alice.eth": "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf",
	"bob.eth":   "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF",
	"mover.eth": "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF",
}

func TestScripts(t *testing.T) {
	chain, err := devchain.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chain.Close() })
	for name, address := range accounts {
		if err := chain.RegisterName(t.Context(), name, common.HexToAddress(address)); err != nil {
			t.Fatal(err)
		}
	}
	owners := []common.Address{common.HexToAddress(accounts["alice.eth"]), common.HexToAddress(accounts["bob.eth"])}
	safe, err := chain.DeploySafe(t.Context(), owners, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []common.Address{safe, owners[0]} {
		if err := chain.Fund(t.Context(), to, big.NewInt(5e18)); err != nil {
			t.Fatal(err)
		}
	}
	if err := chain.Mint(t.Context(), safe, big.NewInt(1000e6)); err != nil {
		t.Fatal(err)
	}
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { used.Close() })
	_, port, _ := net.SplitHostPort(used.Addr().String())

	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PARLEY_PROFILE", "alice")
			e.Setenv("PARLEY_PASSPHRASE", "correct horse")
			e.Setenv("PARLEY_LISTEN", "/ip4/127.0.0.1/udp/0/quic-v1")
			e.Setenv("RPC", chain.URL())
			e.Setenv("SAFE", safe.Hex())
			e.Setenv("TOKEN", devchain.Token.Hex())
			e.Setenv("USED_PORT", "/ip4/127.0.0.1/tcp/"+port)
			e.Values[daemonsKey{}] = map[string]*exec.Cmd{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status":   status,
			"daemon":   startDaemon,
			"down":     func(ts *testscript.TestScript, _ bool, _ []string) { endDaemon(ts, syscall.SIGTERM) },
			"sigkill":  func(ts *testscript.TestScript, _ bool, _ []string) { endDaemon(ts, syscall.SIGKILL) },
			"truncate": truncateFile,
			"flip":     flipByte,
			"move": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(chain.SetAddr(t.Context(), args[0], common.HexToAddress(args[1])))
			},
		},
	})
}

// status CODE PROGRAM ARG... runs a program that must end with an exit code.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

type daemonsKey struct{}

// daemon ARG... runs "parley up" until it is up, and sets ADDR to its address.
func startDaemon(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command("parley", append([]string{"up", "--json"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	// The environment of the script, for the variables that matter here.
	cmd.Env = os.Environ()
	for _, name := range []string{"PARLEY_PROFILE", "PARLEY_PASSPHRASE", "PARLEY_LISTEN", "PARLEY_RPC", "PARLEY_BOOTSTRAP"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	defer time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() }).Stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	ts.Check(err)
	var up upLine
	ts.Check(json.Unmarshal(line, &up))
	if !up.Up || len(up.Addrs) == 0 {
		ts.Fatalf("up says %s", line)
	}
	ts.Setenv("ADDR", up.Addrs[0])
	ts.Value(daemonsKey{}).(map[string]*exec.Cmd)[ts.Getenv("PARLEY_PROFILE")] = cmd
}

// endDaemon ends the daemon of PARLEY_PROFILE by a signal. SIGTERM must make it
// end with code 0.
func endDaemon(ts *testscript.TestScript, sig syscall.Signal) {
	cmd := ts.Value(daemonsKey{}).(map[string]*exec.Cmd)[ts.Getenv("PARLEY_PROFILE")]
	ts.Check(cmd.Process.Signal(sig))
	err := cmd.Wait()
	if sig == syscall.SIGTERM {
		ts.Check(err)
	}
}

// truncate FILE SIZE
func truncateFile(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// flip FILE OFFSET changes one bit.
func flipByte(ts *testscript.TestScript, _ bool, args []string) {
	b := []byte(ts.ReadFile(args[0]))
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	b[offset] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// TestCommandsAreDocumented: every command says what it does and shows an
// example.
func TestCommandsAreDocumented(t *testing.T) {
	root := (&app{}).command()
	for _, cmd := range root.Commands() {
		for _, cmd := range append(cmd.Commands(), cmd) {
			if cmd.Runnable() && (cmd.Short == "" || !strings.Contains(cmd.Example, "parley "+strings.Fields(cmd.Use)[0]) && cmd.Parent() == root) {
				t.Errorf("%s lacks a description or an example", cmd.CommandPath())
			}
			if cmd.Runnable() && !strings.Contains(cmd.Example, cmd.CommandPath()) {
				t.Errorf("%s: its example does not show it", cmd.CommandPath())
			}
		}
	}
}
