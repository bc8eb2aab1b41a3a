package parley_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// A client is opened on a profile and writes to an ENS name. Here a development
// chain stands for Ethereum, and both ends run in one process.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	chain, err := devchain.Start(ctx)
	check(err)
	defer chain.Close()
	home, err := os.MkdirTemp("", "parley")
	check(err)
	defer os.RemoveAll(home)

	bob := open(ctx, chain, home, "bob.eth")
	defer bob.Close()
	info, err := bob.Info(ctx)
	check(err)
	alice := open(ctx, chain, home, "alice.eth", info.Addrs...)
	defer alice.Close()

	receipt, err := alice.Send(ctx, "bob.eth", parley.Text("hello"), parley.SendOptions{})
	check(err)
	for event, err := range bob.Subscribe(ctx, 0) {
		check(err)
		if m := event.Message; m != nil {
			fmt.Printf("%s: %s\n", m.From, m.Content.Text)
			break
		}
	}
	m, err := alice.Wait(ctx, receipt.ID, parley.Delivered)
	check(err)
	fmt.Println(m.State)
	// Output:
	// alice.eth: hello
	// delivered
}

// open makes a new account with a name and a profile, and opens it.
func open(ctx context.Context, chain *devchain.Chain, home, name string, bootstrap ...string) *parley.Client {
	wallet, err := identity.GenerateWallet()
	check(err)
	check(chain.RegisterName(ctx, name, common.Address(wallet.Address())))
	dir, unlock := filepath.Join(home, name), parley.Passphrase([]byte("correct horse battery staple"))
	_, err = parley.Init(ctx, parley.InitOptions{Dir: dir, Unlock: unlock, Wallet: wallet, Name: name})
	check(err)
	client, err := parley.Open(ctx, parley.Options{
		Dir: dir, Unlock: unlock, RPC: chain.URL(), Bootstrap: bootstrap,
		Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
	})
	check(err)
	return client
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
