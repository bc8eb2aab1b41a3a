package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/internal/wire"
)

// records is a store of records that refuses those whose first byte is not 'r'.
type records struct {
	mu   sync.Mutex
	rows map[[32]byte][]byte // guarded by mu
	from []peer.ID           // guarded by mu: who put
}

var errNotARecord = errors.New("not a record")

func (r *records) handlers() Handlers {
	return Handlers{
		GetRecord: func(_ context.Context, _ peer.ID, key [32]byte) ([]byte, bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			b, ok := r.rows[key]
			return b, ok
		},
		PutRecord: func(_ context.Context, from peer.ID, key [32]byte, record []byte) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(record) == 0 || record[0] != 'r' {
				return errNotARecord
			}
			r.rows[key] = record
			r.from = append(r.from, from)
			return nil
		},
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	store := &records{rows: make(map[[32]byte][]byte)}
	server := openNode(t, func(o *Options) { o.Handlers = store.handlers(); o.Listen = []string{loopTCP} })
	client := openNode(t, nil)
	if err := client.Connect(ctx, server.Addrs()...); err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string][]byte{
		"small":   []byte("record"),
		"largest": append([]byte{'r'}, make([]byte, MaxRecord-1)...),
	} {
		key := [32]byte{1}
		copy(key[1:], name)
		if _, err := client.FetchRecord(ctx, server.ID(), key); !errors.Is(err, ErrNotFound) {
			t.Fatalf("%s: before it is stored: %v", name, err)
		}
		if err := client.StoreRecord(ctx, server.ID(), key, record); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := client.FetchRecord(ctx, server.ID(), key)
		if err != nil || !bytes.Equal(got, record) {
			t.Fatalf("%s: %d bytes came back: %v", name, len(got), err)
		}
	}
	store.mu.Lock()
	from := slices.Clone(store.from)
	store.mu.Unlock()
	if len(from) != 2 || from[0] != client.ID() {
		t.Fatalf("stored by %v", from)
	}
	if err := client.StoreRecord(ctx, server.ID(), [32]byte{2}, []byte("forged")); !errors.Is(err, ErrRefused) {
		t.Fatalf("a record the owner refuses: %v", err)
	}
	if _, err := client.FetchRecord(ctx, server.ID(), [32]byte{2}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("the refused record: %v", err)
	}
	if err := client.StoreRecord(ctx, server.ID(), [32]byte{3}, make([]byte, MaxRecord+1)); !errors.Is(err, ErrRequest) {
		t.Fatalf("a record that is too long: %v", err)
	}
	// The client has no handlers: it has nothing and takes nothing.
	if _, err := server.FetchRecord(ctx, client.ID(), [32]byte{1}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("without a handler: %v", err)
	}
	if err := server.StoreRecord(ctx, client.ID(), [32]byte{1}, []byte("r")); !errors.Is(err, ErrRefused) {
		t.Fatalf("without a handler: %v", err)
	}
	// A peer that is not there.
	gone := openNode(t, nil)
	gone.Close()
	if _, err := client.FetchRecord(ctx, gone.ID(), [32]byte{}); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("a peer that is not there: %v", err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	stored := make(map[Tag][]Envelope)
	var order []Tag
	for n, size := range map[int]int{250: 256, 40: 60 << 10, 1: 1024} {
		for i := range n {
			tag := tagOf(n*1000 + i/2) // two envelopes a tag
			e := randomEnvelope(t, size)
			e.Tag = tag
			if stored[tag] == nil {
				order = append(order, tag)
			}
			stored[tag] = append(stored[tag], e)
		}
	}
	server := openNode(t, func(o *Options) {
		o.Handlers.History = func(_ context.Context, _ peer.ID, tags []Tag) ([]Envelope, error) {
			if tags[0] == tagOf(1) {
				return nil, errors.New("not for you")
			}
			if tags[0] == tagOf(2) {
				return []Envelope{randomEnvelope(t, 256)}, nil
			}
			found := []Envelope{{Body: []byte("no envelope")}}
			for _, tag := range tags {
				found = append(found, stored[tag]...)
			}
			return found, nil
		}
	})
	client := openNode(t, nil)
	if err := client.Connect(ctx, server.Addrs()...); err != nil {
		t.Fatal(err)
	}
	tags := append(order, tagOf(77))
	got, err := client.FetchHistory(ctx, server.ID(), tags)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, tag := range order {
		for _, e := range stored[tag] {
			if i >= len(got) || !equalEnvelope(got[i], e) {
				t.Fatalf("envelope %d is missing or another", i)
			}
			i++
		}
	}
	if i != 291 || len(got) != i {
		t.Fatalf("%d envelopes, want %d", len(got), i)
	}
	// The last is counted after it is answered.
	eventually(t, func() bool { return server.Stats().Requests >= 5 })
	for name, c := range map[string]struct {
		tags []Tag
		want error
	}{
		"refused":       {[]Tag{tagOf(1)}, ErrRefused},
		"not asked for": {[]Tag{tagOf(2)}, ErrAnswer},
		"too many":      {make([]Tag, MaxHistoryTags+1), ErrRequest},
		"none":          {nil, nil},
		"unknown":       {[]Tag{tagOf(78)}, nil},
	} {
		got, err := client.FetchHistory(ctx, server.ID(), c.tags)
		if !errors.Is(err, c.want) || len(got) != 0 {
			t.Errorf("%s: %d envelopes, %v", name, len(got), err)
		}
	}
	if got, err := server.FetchHistory(ctx, client.ID(), tags); err != nil || len(got) != 0 {
		t.Errorf("without a handler: %d envelopes, %v", len(got), err)
	}
}

// An envelope that is kept does not keep the page it came in.
func TestHistoryAnswerIsCopied(t *testing.T) {
	e := randomEnvelope(t, 256)
	b := historyAnswer{envelopes: []Envelope{e}}.marshal()
	a, err := parseHistoryAnswer(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if len(a.envelopes) != 1 || !equalEnvelope(a.envelopes[0], e) {
		t.Fatal("the envelope is a view of the answer")
	}
}

func TestHistoryPage(t *testing.T) {
	var all []Envelope
	for range 17 {
		all = append(all, randomEnvelope(t, MaxBody))
	}
	first := historyPage(all, 0)
	if len(first.envelopes) != 17 || first.more {
		t.Fatalf("%d envelopes, more %v", len(first.envelopes), first.more)
	}
	all = append(all, randomEnvelope(t, MaxBody))
	first = historyPage(all, 0)
	if len(first.envelopes) != 17 || !first.more || len(first.marshal()) > maxHistoryAnswer {
		t.Fatalf("%d envelopes, more %v", len(first.envelopes), first.more)
	}
	last := historyPage(all, 17)
	if len(last.envelopes) != 1 || last.more {
		t.Fatalf("%d envelopes, more %v", len(last.envelopes), last.more)
	}
	if beyond := historyPage(all, 1<<32-1); len(beyond.envelopes) != 0 || beyond.more {
		t.Fatal("something beyond the end")
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	release := make(chan struct{})
	entered := make(chan struct{}, 64)
	server := openNode(t, func(o *Options) {
		o.Handlers.GetRecord = func(ctx context.Context, _ peer.ID, key [32]byte) ([]byte, bool) {
			if key[0] == 0 {
				return nil, false
			}
			entered <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return []byte("r"), true
		}
		o.StreamBurst = 2 * maxStreamsPerPeer
		o.StreamRate = 0.001
	})
	client, other := openNode(t, nil), openNode(t, nil)
	for _, c := range []*Node{client, other} {
		if err := c.Connect(ctx, server.Addrs()...); err != nil {
			t.Fatal(err)
		}
	}
	// One peer takes all its places; the next stream is refused, and another
	// peer is served all the same.
	var wg sync.WaitGroup
	for range maxStreamsPerPeer {
		wg.Go(func() {
			if _, err := client.FetchRecord(ctx, server.ID(), [32]byte{1}); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxStreamsPerPeer {
		<-entered
	}
	if _, err := client.FetchRecord(ctx, server.ID(), [32]byte{}); !errors.Is(err, ErrBusy) {
		t.Errorf("one stream too many: %v", err)
	}
	if _, err := other.FetchRecord(ctx, server.ID(), [32]byte{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another peer: %v", err)
	}
	close(release)
	wg.Wait()
	eventually(t, func() bool { return taken(server) == 0 })
	// The rest of its tokens, then none.
	for range maxStreamsPerPeer {
		if _, err := client.FetchRecord(ctx, server.ID(), [32]byte{}); !errors.Is(err, ErrNotFound) {
			t.Fatalf("with tokens left: %v", err)
		}
	}
	if _, err := client.FetchRecord(ctx, server.ID(), [32]byte{}); !errors.Is(err, ErrBusy) {
		t.Fatalf("without tokens: %v", err)
	}
	if got := server.Stats().RequestsRefused; got != 2 {
		t.Fatalf("refused %d", got)
	}
}

// A server that answers anything gets the client an error, in time.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	hostile := newHostile(t)
	client := openNode(t, nil)
	if err := client.Connect(ctx, hostile.addr()); err != nil {
		t.Fatal(err)
	}
	frame := func(b ...byte) []byte { return append(wire.AppendUint32(nil, uint32(len(b))), b...) }
	for name, c := range map[string]struct {
		answer []byte
		want   error
	}{
		"nothing":       {nil, ErrUnreachable},
		"cut":           {[]byte{0, 0}, ErrUnreachable},
		"cut frame":     {[]byte{0, 0, 0, 9, 0}, ErrUnreachable},
		"huge length":   {[]byte{0xff, 0xff, 0xff, 0xff, 0}, ErrAnswer},
		"empty frame":   {frame(), ErrAnswer},
		"status":        {frame(9), ErrAnswer},
		"trailing":      {frame(1, 0), ErrAnswer},
		"record length": {frame(0, 0xff, 0xff, 0xff, 0xff), ErrAnswer},
		"noise":         {frame(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), ErrAnswer},
	} {
		hostile.serve(func(s network.Stream) {
			s.Write(c.answer)
			s.Close()
		})
		if _, err := client.FetchRecord(ctx, hostile.ID(), [32]byte{}); !errors.Is(err, c.want) {
			t.Errorf("record: %s: %v", name, err)
		}
		if _, err := client.FetchHistory(ctx, hostile.ID(), make([]Tag, 1)); !errors.Is(err, c.want) {
			t.Errorf("history: %s: %v", name, err)
		}
	}
	done := make(chan struct{})
	defer close(done)
	hostile.serve(func(s network.Stream) { <-done })
	impatient := openNode(t, func(o *Options) { o.StreamTimeout = 100 * time.Millisecond })
	if err := impatient.Connect(ctx, hostile.addr()); err != nil {
		t.Fatal(err)
	}
	if _, err := impatient.FetchRecord(ctx, hostile.ID(), [32]byte{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
}

// A peer that asks anything, at any pace, gets its streams reset; they are
// counted, and others are served.
func TestHostileClient(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := openNode(t, func(o *Options) {
		o.StreamTimeout = 300 * time.Millisecond
		o.Handlers.GetRecord = func(context.Context, peer.ID, [32]byte) ([]byte, bool) { return []byte("r"), true }
	})
	hostile := newHostile(t)
	hostile.connect(ctx, server)
	huge := wire.AppendUint32(nil, 0xffffffff)
	noise := bytes.Repeat([]byte{0xa5}, 100_000)
	requests := map[string][]byte{
		"noise":              noise,
		"huge length":        append(huge, noise...),
		"length, then a cut": {0, 0, 0, 33},
		"slow":               {0, 0, 0}, // and nothing more
		"empty frame":        {0, 0, 0, 0},
		"unknown op":         append([]byte{0, 0, 0, 33, 7}, make([]byte, 32)...),
		"too many tags":      append([]byte{0, 0, 0, 6, 0, 0, 0, 0}, 0xff, 0xff),
		"trailing":           append([]byte{0, 0, 0, 34, opGet}, make([]byte, 33)...),
		"record length":      append(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 37, opPut}, 0), 0xff, 0xff, 0xff, 0xff),
	}
	bad := uint64(0)
	for _, proto := range []string{string(RecordProtocol), string(HistoryProtocol)} {
		for name, request := range requests {
			if answer := hostile.ask(ctx, server, proto, request, name != "slow"); len(answer) != 0 {
				t.Errorf("%s: %s: answered %x", proto, name, answer)
			}
			bad++
		}
	}
	eventually(t, func() bool { return server.Stats().RequestsBad == bad })
	checkAnswers(t, server)
}

// Streams that are opened and left alone are closed by the deadline, and take no
// more than one peer's places.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := openNode(t, func(o *Options) {
		o.StreamTimeout = time.Second
		o.Handlers.GetRecord = func(context.Context, peer.ID, [32]byte) ([]byte, bool) { return []byte("r"), true }
	})
	hostile := newHostile(t)
	hostile.connect(ctx, server)
	// However long it takes to open them: until one is refused.
	opened := uint64(0)
	for server.Stats().RequestsRefused == 0 {
		s, err := hostile.NewStream(ctx, server.ID(), RecordProtocol)
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte{0})
		opened++
		eventually(t, func() bool {
			s := server.Stats()
			return uint64(taken(server))+s.RequestsBad+s.RequestsRefused >= opened
		})
		if got := taken(server); got > maxStreamsPerPeer {
			t.Fatalf("%d places taken", got)
		}
	}
	// While they hang, an honest peer is served.
	checkAnswers(t, server)
	eventually(t, func() bool {
		s := server.Stats()
		return taken(server) == 0 && s.RequestsBad+s.RequestsRefused >= opened && s.RequestsBad >= maxStreamsPerPeer
	})
	server.slots.mu.Lock()
	defer server.slots.mu.Unlock()
	if len(server.slots.peers) != 0 {
		t.Fatalf("%d peers are still counted", len(server.slots.peers))
	}
}

// taken is how many requests are being served.
func taken(n *Node) int {
	n.slots.mu.Lock()
	defer n.slots.mu.Unlock()
	return n.slots.used
}

// checkAnswers proves that an honest peer gets its record. A machine under load
// can be slower than the short deadline of the tests that call this, so the peer
// may ask again.
func checkAnswers(t *testing.T, server *Node) {
	t.Helper()
	honest := openNode(t, nil)
	if err := honest.Connect(testContext(t), server.Addrs()...); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		record, err := honest.FetchRecord(testContext(t), server.ID(), [32]byte{})
		return err == nil && string(record) == "r"
	})
}

func TestBuckets(t *testing.T) {
	b := newBuckets(2, 10)
	at := epoch
	for i := range 5 {
		if !b.take("p", 2, at) {
			t.Fatalf("take %d", i)
		}
	}
	if b.take("p", 1, at) {
		t.Fatal("took from an empty bucket")
	}
	if !b.take("q", 10, at) || b.take("q", 1, at) {
		t.Fatal("another peer's bucket")
	}
	at = at.Add(time.Second)
	if b.take("p", 3, at) || !b.take("p", 2, at) {
		t.Fatal("does not fill by two a second")
	}
	// A clock that goes back gives nothing.
	if b.take("p", 1, at.Add(-time.Hour)) {
		t.Fatal("the clock went back")
	}
	if b.take("r", 11, at) {
		t.Fatal("took more than a bucket holds")
	}
	for i := range 2 * maxBuckets {
		id := peer.ID(binary.BigEndian.AppendUint32(nil, uint32(i)))
		if b.take(id, 1, at); len(b.peers) > maxBuckets {
			t.Fatalf("%d buckets", len(b.peers))
		}
	}
	if b.take("s", 1, at) {
		t.Fatal("the shared bucket is not empty")
	}
	if !b.take("s", 1, at.Add(time.Minute)) || len(b.peers) != 1 {
		t.Fatalf("%d buckets after all were full again", len(b.peers))
	}
}

func FuzzRecordRequest(f *testing.F) {
	f.Add(recordRequest{op: opGet, key: [32]byte{1}}.marshal())
	f.Add(recordRequest{op: opPut, key: [32]byte{1}, record: []byte("r")}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseRecordRequest(b); err == nil && !bytes.Equal(q.marshal(), b) {
			t.Fatal("another encoding")
		}
	})
}

func FuzzRecordAnswer(f *testing.F) {
	f.Add(recordAnswer{status: statusOK, record: []byte("r")}.marshal())
	f.Add(recordAnswer{status: statusBusy}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := parseRecordAnswer(b); err == nil && !bytes.Equal(a.marshal(), b) {
			t.Fatal("another encoding")
		}
	})
}

func FuzzHistoryRequest(f *testing.F) {
	f.Add(historyRequest{offset: 7, tags: []Tag{{1}, {2}}}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseHistoryRequest(b); err == nil && !bytes.Equal(q.marshal(), b) {
			t.Fatal("another encoding")
		}
	})
}

func FuzzHistoryAnswer(f *testing.F) {
	f.Add(historyAnswer{more: true, envelopes: []Envelope{randomEnvelope(f, 256)}}.marshal())
	f.Add(historyAnswer{status: statusRefused}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := parseHistoryAnswer(b); err == nil && !bytes.Equal(a.marshal(), b) {
			t.Fatal("another encoding")
		}
	})
}

// Every strict prefix of every message of both protocols is refused.
func TestPrefixes(t *testing.T) {
	for name, c := range map[string]struct {
		msg   []byte
		parse func([]byte) error
	}{
		"get":     {recordRequest{op: opGet, key: [32]byte{1}}.marshal(), func(b []byte) error { _, err := parseRecordRequest(b); return err }},
		"put":     {recordRequest{op: opPut, record: []byte("r")}.marshal(), func(b []byte) error { _, err := parseRecordRequest(b); return err }},
		"record":  {recordAnswer{record: []byte("r")}.marshal(), func(b []byte) error { _, err := parseRecordAnswer(b); return err }},
		"busy":    {recordAnswer{status: statusBusy}.marshal(), func(b []byte) error { _, err := parseRecordAnswer(b); return err }},
		"query":   {historyRequest{tags: []Tag{{1}, {2}}}.marshal(), func(b []byte) error { _, err := parseHistoryRequest(b); return err }},
		"history": {historyAnswer{envelopes: []Envelope{randomEnvelope(t, 256), randomEnvelope(t, 1024)}}.marshal(), func(b []byte) error { _, err := parseHistoryAnswer(b); return err }},
	} {
		if err := c.parse(c.msg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range c.msg {
			if c.parse(c.msg[:i]) == nil {
				t.Errorf("%s: a prefix of %d bytes is accepted", name, i)
			}
		}
		if c.parse(append(bytes.Clone(c.msg), 0)) == nil {
			t.Errorf("%s: a trailing byte is accepted", name)
		}
	}
}
