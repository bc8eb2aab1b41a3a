package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	parley "github.com/parley-im/parley"
	"github.com/parley-im/parley/apps/safe"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// network is the name of the network that everybody here is on.
const network = "devnet"

// loopback is where every node listens: ports that the system chooses.
var loopback = []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}

// world is everything that is up. What has not been brought up yet is nil.
type world struct {
	dir     string
	ownsDir bool // it was made here, and is removed here
	log     *slog.Logger

	chain             *devchain.Chain
	alice, bob, carol *person
	copies            []*parley.Client // on copies of profiles
	endpoints         []*safe.Chain    // the people's own connections to the chain
	tap               *tap
}

// newWorld makes the folder of a world, a temporary one if dir is empty.
func newWorld(dir string, log *slog.Logger) (*world, error) {
	w := &world{dir: dir, log: log}
	if dir == "" {
		dir, err := os.MkdirTemp("", "parley-devnet-")
		if err != nil {
			return nil, err
		}
		w.dir, w.ownsDir = dir, true
		return w, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	if w.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	return w, nil
}

// people are those who have been brought up, alice first.
func (w *world) people() []*person {
	var all []*person
	for _, p := range []*person{w.alice, w.bob, w.carol} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// close takes the world down. It may be called at any stage.
func (w *world) close() error {
	var closing errgroup.Group
	for _, p := range w.people() {
		closing.Go(p.close)
	}
	for _, c := range w.copies {
		closing.Go(c.Close)
	}
	if w.tap != nil {
		closing.Go(w.tap.close)
	}
	err := closing.Wait()
	for _, c := range w.endpoints {
		c.Close()
	}
	if w.chain != nil {
		err = errors.Join(err, w.chain.Close())
	}
	if w.ownsDir {
		err = errors.Join(err, os.RemoveAll(w.dir))
	}
	return err
}

// person is somebody with a wallet, a name and a client.
type person struct {
	*parley.Client // nil until up

	name       string // alice
	ens        string // alice.eth
	dir        string // holds the keystore and the profile
	passphrase string // of both
	keystore   string // path of the keystore file
	wallet     *identity.KeyWallet
	info       parley.Info

	stream stream
	stop   context.CancelFunc
	work   sync.WaitGroup
}

// newPerson makes a wallet and writes it into a keystore file, from which the
// profile is made later.
func (w *world) newPerson(name string) (*person, error) {
	p := &person{name: name, ens: name + ".eth", dir: filepath.Join(w.dir, name), passphrase: strings.ToLower(rand.Text())}
	p.stream.changed = make(chan struct{})
	wallet, err := identity.GenerateWallet()
	if err != nil {
		return nil, err
	}
	file, err := wallet.Keystore(p.passphrase, identity.LightCost)
	if err != nil {
		return nil, err
	}
	p.wallet = wallet
	folder := filepath.Join(p.dir, "keystore")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	// The name of the file is as geth has it.
	a := wallet.Address()
	p.keystore = filepath.Join(folder, fmt.Sprintf("UTC--%s--%x", time.Now().UTC().Format("2006-01-02T15-04-05.000000000Z"), a[:]))
	return p, os.WriteFile(p.keystore, file, 0o600)
}

func (p *person) address() identity.Address { return p.wallet.Address() }

func (p *person) profile() string { return filepath.Join(p.dir, "profile") }

func (p *person) unlock() parley.Unlock { return parley.Passphrase([]byte(p.passphrase)) }

// init makes the person's profile with the wallet from the keystore file.
func (p *person) init(ctx context.Context) error {
	file, err := os.ReadFile(p.keystore)
	if err != nil {
		return err
	}
	wallet, err := identity.OpenKeystore(file, p.passphrase)
	if err != nil {
		return err
	}
	if wallet.Address() != p.address() {
		return fmt.Errorf("the keystore of %s is another wallet's", p.name)
	}
	// Cheap to unlock: the passphrase is random, and the world short-lived.
	_, err = parley.Init(ctx, parley.InitOptions{
		Dir: p.profile(), Unlock: p.unlock(), Wallet: wallet, Name: p.ens, DeviceName: "laptop", FastKDF: true,
	})
	return err
}

// up opens the person's client and begins to listen to its events.
func (w *world) up(ctx context.Context, p *person, bootstrap []string) error {
	client, err := parley.Open(ctx, parley.Options{
		Dir: p.profile(), Unlock: p.unlock(), RPC: w.chain.URL(), Network: network,
		Listen: loopback, Bootstrap: bootstrap, Logger: w.log.With("who", p.name),
	})
	if err != nil {
		return err
	}
	p.Client = client
	p.listen()
	p.info, err = client.Info(ctx)
	return err
}

// listen begins to collect the client's events, until close.
func (p *person) listen() {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.work.Go(func() {
		for e, err := range p.Subscribe(ctx, 0) {
			p.stream.add(e, err)
		}
	})
}

func (p *person) close() error {
	if p.Client == nil {
		return nil
	}
	p.stop()
	p.work.Wait()
	return p.Client.Close()
}

// stream is what a client has told so far.
type stream struct {
	mu      sync.Mutex
	events  []parley.Event
	err     error         // the stream is over
	changed chan struct{} // closed at the next change
}

func (s *stream) add(e parley.Event, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = err
	} else {
		s.events = append(s.events, e)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// all returns the events so far, which the caller only reads.
func (s *stream) all() []parley.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events[:len(s.events):len(s.events)]
}

// await returns the first event that matches, now or once it comes. what is for
// the error.
func (p *person) await(ctx context.Context, what string, match func(parley.Event) bool) (parley.Event, error) {
	for next := 0; ; {
		p.stream.mu.Lock()
		events, changed, err := p.stream.events, p.stream.changed, p.stream.err
		p.stream.mu.Unlock()
		for ; next < len(events); next++ {
			if match(events[next]) {
				return events[next], nil
			}
		}
		if err != nil {
			return parley.Event{}, fmt.Errorf("%s waits for %s: %w", p.name, what, err)
		}
		select {
		case <-ctx.Done():
			return parley.Event{}, fmt.Errorf("%s waits for %s: %w", p.name, what, ctx.Err())
		case <-changed:
		}
	}
}
