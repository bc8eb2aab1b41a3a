package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/transport"
)

// tap is the eavesdropper: a node of the network like any other, on every
// shard, without an account, a session or a group. It keeps all it hears.
type tap struct {
	node *transport.Node
	work sync.WaitGroup

	mu       sync.Mutex
	captured []capture
	offered  map[[32]byte]bool // lookup keys of the records that peers asked it to keep
}

// capture is an envelope as the network carried it.
type capture struct {
	shard int
	from  peer.ID // who handed it on
	env   transport.Envelope
	raw   []byte // the whole message
}

// listen opens the eavesdropper's node.
func listen(ctx context.Context, bootstrap []string) (*tap, error) {
	t := &tap{offered: map[[32]byte]bool{}}
	var err error
	if t.node, err = bareNode(ctx, transport.Options{
		Listen: loopback, Bootstrap: bootstrap, Handlers: transport.Handlers{PutRecord: t.putRecord},
	}); err != nil {
		return nil, err
	}
	t.work.Go(func() {
		for r := range t.node.Envelopes() {
			t.mu.Lock()
			t.captured = append(t.captured, capture{shard: r.Shard, from: r.From, env: r.Envelope, raw: r.Envelope.Marshal()})
			t.mu.Unlock()
		}
	})
	return t, nil
}

// putRecord notes what it is offered: a record tells an account's address and
// keys, and whose node it is of.
func (t *tap) putRecord(_ context.Context, _ peer.ID, key [32]byte, _ []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offered[key] = true
	return transport.ErrRefused
}

// offeredRecords returns how many accounts' records peers asked it to keep.
func (t *tap) offeredRecords() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.offered)
}

func (t *tap) close() error {
	err := t.node.Close()
	t.work.Wait()
	return err
}

// since returns what was captured from a position on, which the caller only
// reads. Positions are what mark returns.
func (t *tap) since(mark int) []capture {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.captured[mark:len(t.captured):len(t.captured)]
}

func (t *tap) mark() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.captured)
}

// weight is how much went over the wire.
type weight struct {
	Envelopes int         `json:"envelopes"`
	Bytes     int         `json:"bytes"`
	Sizes     map[int]int `json:"sizes"` // how many bodies have this length
}

func weigh(captured []capture) weight {
	w := weight{Envelopes: len(captured), Sizes: map[int]int{}}
	for _, c := range captured {
		w.Bytes += len(c.raw)
		w.Sizes[len(c.env.Body)]++
	}
	return w
}

// String says how many envelopes there are of each size.
func (w weight) String() string {
	var sizes []string
	for _, size := range transport.Sizes() {
		if n := w.Sizes[size]; n > 0 {
			unit := fmt.Sprintf("%d KiB", size>>10)
			if size < 1<<10 {
				unit = fmt.Sprintf("%d B", size)
			}
			sizes = append(sizes, fmt.Sprintf("%d of %s", n, unit))
		}
	}
	if w.Envelopes == 1 {
		return "1 envelope, " + strings.TrimPrefix(list(sizes), "1 ")
	}
	return fmt.Sprintf("%d envelopes, %s", w.Envelopes, list(sizes))
}
