package service_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/apps/safe"
	"github.com/parley-im/parley/apps/safe/service"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// npm finds a file in the folders of PARLEY_SAFE_NPM, which are named
// node_modules, and returns its path and the folder.
func npm(t *testing.T, file string) (path, folder string) {
	t.Helper()
	for _, folder := range filepath.SplitList(os.Getenv("PARLEY_SAFE_NPM")) {
		if path := filepath.Join(folder, file); exists(path) {
			return path, folder
		}
	}
	t.Fatalf("%s is in no folder of PARLEY_SAFE_NPM", file)
	return "", ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// participant is an owner with a room of its own, served on a port of its own.
type participant struct {
	Address string `json:"address"`
	Key     string `json:"key"`
	Service string `json:"service"`

	wallet *identity.KeyWallet
	client *parley.Client
}

// TestClients has the published clients propose, confirm, execute and sign
// messages, each of three owners at its own room.
func TestClients(t *testing.T) {
	if os.Getenv("PARLEY_SAFE_NPM") == "" {
		t.Skip("PARLEY_SAFE_NPM does not name a folder node_modules with @safe-global/api-kit, @safe-global/protocol-kit and @foundry-rs/cast")
	}
	_, modules := npm(t, "@safe-global/api-kit/package.json")
	cast, _ := npm(t, ".bin/cast")
	dev, err := devchain.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	chain, err := safe.DialChain(t.Context(), dev.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)

	var all []*participant
	var owners []common.Address
	var bootstrap []string
	for range 3 {
		p := join(t, bootstrap)
		if bootstrap == nil {
			info, err := p.client.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			bootstrap = info.Addrs
		}
		all, owners = append(all, p), append(owners, common.Address(p.wallet.Address()))
	}
	address, err := dev.DeploySafe(t.Context(), owners, 2)
	if err != nil {
		t.Fatal(err)
	}
	ether := big.NewInt(1e18)
	for _, to := range append(owners, address) {
		if err := dev.Fund(t.Context(), to, ether); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range all {
		p.serve(t, chain, address, i == 0)
	}

	payee, err := identity.GenerateWallet()
	if err != nil {
		t.Fatal(err)
	}
	world, err := json.Marshal(map[string]any{
		"modules": modules, "cast": cast, "rpc": dev.URL(), "chainId": dev.ChainID(), "safe": address.Hex(), "owners": all,
		"payee": common.Address(payee.Address()).Hex(),
		"contracts": map[string]string{
			"safeSingletonAddress": devchain.SafeSingleton.Hex(), "safeProxyFactoryAddress": devchain.SafeFactory.Hex(),
			"multiSendAddress": devchain.MultiSend.Hex(), "multiSendCallOnlyAddress": devchain.MultiSendCallOnly.Hex(),
			"fallbackHandlerAddress": devchain.SafeHandler.Hex(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", "testdata/clients.mjs")
	node.Env = append(os.Environ(), "WORLD="+string(world))
	out, err := node.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// join makes a client of parley on loopback.
func join(t *testing.T, bootstrap []string) *participant {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	p := &participant{Key: "0x" + hex.EncodeToString(crypto.FromECDSA(key)), Address: crypto.PubkeyToAddress(key.PublicKey).Hex()}
	if p.wallet, err = identity.ParseHexKey(p.Key); err != nil {
		t.Fatal(err)
	}
	dir, unlock := filepath.Join(t.TempDir(), "profile"), parley.Passphrase([]byte("correct horse"))
	if _, err := parley.Init(t.Context(), parley.InitOptions{Dir: dir, Unlock: unlock, Wallet: p.wallet, FastKDF: true}); err != nil {
		t.Fatal(err)
	}
	p.client, err = parley.Open(t.Context(), parley.Options{
		Dir: dir, Unlock: unlock, Network: "test", Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Bootstrap: bootstrap,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.client.Close() })
	return p
}

// serve enters the room of a Safe, or makes it, and serves it.
func (p *participant) serve(t *testing.T, chain *safe.Chain, address common.Address, first bool) {
	t.Helper()
	var room *safe.Room
	for end := time.Now().Add(patience); room == nil; time.Sleep(50 * time.Millisecond) {
		var err error
		if first {
			room, err = safe.Open(t.Context(), p.client, chain, address, safe.OpenOptions{Name: "treasury"})
		} else {
			room, err = safe.Find(t.Context(), p.client, chain, address)
		}
		if err != nil && (!errors.Is(err, safe.ErrNoRoom) || time.Now().After(end)) {
			t.Fatal(err)
		}
	}
	h, err := service.New([]service.Room{room}, service.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Service = "http://" + l.Addr().String() + "/api"
	ended := make(chan error, 2)
	go func() { ended <- service.Serve(t.Context(), l, h) }()
	go func() {
		room.Watch(t.Context(), 200*time.Millisecond, func() {}, func(err error) { t.Logf("watching: %v", err) })
		ended <- nil
	}()
	t.Cleanup(func() { // t.Context has ended by now
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}
