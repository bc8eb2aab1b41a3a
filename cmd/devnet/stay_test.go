package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	parley "github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
)

// A newcomer joins the world that --keep leaves up, writes to alice by name, and
// gets an answer; and another in a group.
func TestKeep(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	out, in := io.Pipe()
	var stderr bytes.Buffer
	exit := make(chan int, 1)
	go func() {
		exit <- run(ctx, []string{"--keep", "--json"}, in, &stderr)
		in.Close()
	}()
	var v verdict
	scanner := bufio.NewScanner(out)
	for v.World == nil && scanner.Scan() {
		v = verdict{}
		if err := json.Unmarshal(scanner.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
	}
	if !v.OK || v.World == nil {
		t.Fatalf("verdict is %+v", v)
	}
	go io.Copy(io.Discard, out)

	dir := filepath.Join(t.TempDir(), "you")
	wallet, err := identity.GenerateWallet()
	if err != nil {
		t.Fatal(err)
	}
	unlock := parley.Passphrase([]byte("devnet"))
	if _, err := parley.Init(t.Context(), parley.InitOptions{Dir: dir, Unlock: unlock, Wallet: wallet, FastKDF: true}); err != nil {
		t.Fatal(err)
	}
	guest := &person{name: "guest"}
	guest.stream.changed = make(chan struct{})
	guest.Client, err = parley.Open(t.Context(), parley.Options{
		Dir: dir, Unlock: unlock, RPC: v.World.RPC, Network: v.World.Network, Bootstrap: v.World.Bootstrap[:1], Listen: loopback,
	})
	if err != nil {
		t.Fatal(err)
	}
	guest.listen()
	defer guest.close()
	if _, err := guest.Send(t.Context(), "alice.eth", parley.Text("hello"), parley.SendOptions{}); err != nil {
		t.Fatal(err)
	}
	answer := func(from, group string) func(parley.Event) bool {
		return func(e parley.Event) bool {
			return e.Kind == parley.EventMessage && e.Message.From.Name == from && (e.Message.Group == nil) == (group == "") &&
				strings.HasPrefix(e.Message.Content.Text, from+" here.")
		}
	}
	if _, err := guest.await(t.Context(), "alice's answer", answer("alice.eth", "")); err != nil {
		t.Fatal(err)
	}
	g, err := guest.CreateGroup(t.Context(), "visitors", []string{"alice.eth", "bob.eth"}, parley.GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guest.SendGroup(t.Context(), "visitors", parley.Text("hello, both"), parley.SendOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"alice.eth", "bob.eth"} {
		if _, err := guest.await(t.Context(), from+"'s answer", answer(from, g.ID)); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	if code := <-exit; code != 0 || stderr.Len() > 0 {
		t.Errorf("exit %d, %q", code, &stderr)
	}
}

func TestGuide(t *testing.T) {
	var b bytes.Buffer
	d := &door{RPC: "http://127.0.0.1:1", Network: "devnet", Bootstrap: []string{"/ip4/127.0.0.1/udp/2/quic-v1/p2p/x"}, Dir: "/tmp/a world"}
	d.guide(newPrinter(&b, false))
	for _, want := range []string{
		"parley init --new\n", "PARLEY_RPC=http://127.0.0.1:1 PARLEY_NETWORK=devnet PARLEY_BOOTSTRAP=/ip4/127.0.0.1/udp/2/quic-v1/p2p/x\n",
		"PARLEY_PROFILE='/tmp/a world/you' ", "parley send alice.eth \"hello\"\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	b.Reset()
	d.guide(newPrinter(&b, true))
	if b.Len() > 0 {
		t.Errorf("with --json: %q", &b)
	}
}

func TestStrangersText(t *testing.T) {
	if got := printable("a\x1b[2J\nb ü"); got != "a\ufffd[2J\ufffdb ü" {
		t.Errorf("text is shown as %q", got)
	}
	if got := printable(strings.Repeat("ü", 500)); got != strings.Repeat("ü", 200)+"…" {
		t.Errorf("a long text is shown as %q", got)
	}
	a := parley.Peer{Address: "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"}
	if got := short(a); got != "0x2c75…5c23" {
		t.Errorf("address is shown as %q", got)
	}
	a.Name = "dave.eth"
	if got := short(a); got != "dave.eth" {
		t.Errorf("name is shown as %q", got)
	}
}
