package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// world is a chain, on which people have names, and a network of processes.
type world struct {
	t     *testing.T
	chain *devchain.Chain
}

func newWorld(t *testing.T) *world {
	t.Helper()
	chain, err := devchain.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chain.Close() })
	return &world{t, chain}
}

// person is a profile, and the "parley up" that runs on it.
type person struct {
	w         *world
	name      string
	dir       string
	address   identity.Address
	bootstrap []string
	listen    string

	mu  sync.Mutex
	cmd *exec.Cmd // the daemon, nil while it is down
	log bytes.Buffer
	up  upLine
}

// upLine is what "parley up --json" prints.
type upLine struct {
	Up     bool     `json:"up"`
	Addrs  []string `json:"addrs"`
	Socket string   `json:"socket"`
}

// env is the environment of a person's processes.
func (p *person) env() []string {
	return append(os.Environ(), "PARLEY_PASSPHRASE=correct horse", "PARLEY_PROFILE="+p.dir,
		"PARLEY_RPC="+p.w.chain.URL(), "PARLEY_NETWORK=test", "PARLEY_LISTEN="+p.listen,
		"PARLEY_BOOTSTRAP="+strings.Join(p.bootstrap, ","))
}

// join makes a profile whose account has a name on the chain.
func (w *world) join(name string, bootstrap ...string) *person {
	w.t.Helper()
	p := &person{w: w, name: name, dir: filepath.Join(w.t.TempDir(), "p"), bootstrap: bootstrap, listen: "/ip4/127.0.0.1/udp/0/quic-v1"}
	var made parley.Info
	if err := json.Unmarshal(p.run("init", "--new", "--name", name, "--json"), &made); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if p.address, err = identity.ParseAddress(made.Address); err != nil {
		w.t.Fatal(err)
	}
	if err := w.chain.RegisterName(w.t.Context(), name, [20]byte(p.address)); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.kill)
	return p
}

// run runs one command to its end and returns what it printed.
func (p *person) run(args ...string) []byte {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(p.w.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "parley", args...)
	cmd.Env = p.env()
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if e, ok := err.(*exec.ExitError); ok {
			stderr = e.Stderr
		}
		p.w.t.Fatalf("%s: parley %s: %v\n%s%s", p.name, strings.Join(args, " "), err, out, stderr)
	}
	return out
}

// start runs "parley up" and returns when it is up.
func (p *person) start() {
	p.w.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	args := []string{"up", "--json"}
	if os.Getenv("PARLEY_TEST_LOG") != "" {
		args = append(args, "--verbose")
	}
	cmd := exec.Command("parley", args...)
	cmd.Env = p.env()
	cmd.Stderr = &p.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.w.t.Fatal(err)
	}
	p.cmd = cmd
	stuck := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &p.up) != nil || !p.up.Up {
		cmd.Process.Kill()
		cmd.Wait()
		p.cmd = nil
		p.w.t.Fatalf("%s is not up: %v\n%s%s", p.name, err, line, p.log.String())
	}
}

// kill ends the daemon with SIGKILL.
func (p *person) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
		if dir := os.Getenv("PARLEY_TEST_LOG"); dir != "" {
			os.WriteFile(filepath.Join(dir, p.name+".log"), p.log.Bytes(), 0o600)
		}
	}
}

// dial connects to the daemon, waiting until it is up if need be.
func (p *person) dial(ctx context.Context) (*remote, error) {
	for {
		r, err := dialDaemon(ctx, p.dir)
		if err == nil {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
