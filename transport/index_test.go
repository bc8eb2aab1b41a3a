package transport

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

var epoch = time.Unix(1_700_000_000, 0)

func tagOf(n int) Tag {
	var t Tag
	binary.BigEndian.PutUint64(t[8:], uint64(n)*0x9E3779B97F4A7C15)
	return t
}

// parkedUnder is a small envelope that differs from all others by n.
func parkedUnder(tag Tag, n int, from peer.ID) Parked {
	body := make([]byte, 256)
	binary.BigEndian.PutUint64(body, uint64(n))
	return Parked{Envelope: Envelope{Tag: tag, Body: body}, From: from}
}

// number is n of parkedUnder.
func number(p Parked) int { return int(binary.BigEndian.Uint64(p.Envelope.Body)) }

func TestIndexLookup(t *testing.T) {
	x := NewIndex[string](IndexOptions{})
	x.Add("a", epoch, tagOf(1), tagOf(2))
	x.Add("b", epoch, tagOf(3))
	for n, want := range map[int]string{1: "a", 2: "a", 3: "b"} {
		if got, ok := x.Lookup(tagOf(n)); !ok || got != want {
			t.Errorf("tag %d: %q, %v", n, got, ok)
		}
	}
	if _, ok := x.Lookup(tagOf(4)); ok {
		t.Error("tag 4 was never added")
	}
	x.Remove(tagOf(1), tagOf(9))
	if _, ok := x.Lookup(tagOf(1)); ok {
		t.Error("tag 1 was removed")
	}
	if x.Len() != 2 {
		t.Errorf("%d tags", x.Len())
	}
	x.Add("c", epoch, tagOf(2))
	if got, _ := x.Lookup(tagOf(2)); got != "c" {
		t.Errorf("tag 2: %q", got)
	}
}

// A client with ten thousand conversations, each with a window of tags, does as
// many map look-ups for an envelope as one with ten.
func TestIndexLookupCost(t *testing.T) {
	cost := func(conversations int) uint64 {
		const window = 16
		x := NewIndex[int](IndexOptions{})
		for c := range conversations {
			tags := make([]Tag, window)
			for i := range tags {
				tags[i] = tagOf(c*window + i + 1)
			}
			x.Add(c, epoch, tags...)
		}
		if x.Len() != conversations*window {
			t.Fatalf("%d tags", x.Len())
		}
		before := x.lookups
		for _, n := range []int{1, conversations * window} {
			if c, ok := x.Lookup(tagOf(n)); !ok || c != (n-1)/window {
				t.Fatalf("tag %d belongs to %d", n, c)
			}
		}
		if _, ok := x.Lookup(tagOf(conversations*window + 1)); ok {
			t.Fatal("found what was not added")
		}
		return x.lookups - before
	}
	few, many := cost(10), cost(10_000)
	if few != 3 || many != few {
		t.Fatalf("three envelopes cost %d look-ups with ten conversations, %d with ten thousand", few, many)
	}
}

func TestIndexParked(t *testing.T) {
	x := NewIndex[string](IndexOptions{})
	for n := range 6 {
		if parked, found := x.Park(parkedUnder(tagOf(n%2), n, "p"), epoch); !parked || found {
			t.Fatalf("%d: %v %v", n, parked, found)
		}
	}
	// The same ciphertext, under another nonce and from another peer.
	again := parkedUnder(tagOf(0), 0, "q")
	again.Envelope.Nonce[0]++
	if parked, found := x.Park(again, epoch); parked || found {
		t.Fatal("parked twice")
	}
	if got := x.Add("b", epoch, tagOf(7)); len(got) != 0 {
		t.Fatalf("%d envelopes under a tag nobody used", len(got))
	}
	got := x.Add("a", epoch, tagOf(1))
	if len(got) != 3 || number(got[0]) != 1 || number(got[1]) != 3 || number(got[2]) != 5 {
		t.Fatalf("handed back %d", len(got))
	}
	if got[0].From != "p" || !got[0].At.Equal(epoch) {
		t.Fatalf("from %q at %v", got[0].From, got[0].At)
	}
	if parked, found := x.Park(parkedUnder(tagOf(1), 9, "p"), epoch); parked || !found {
		t.Fatal("parked although its tag is known")
	}
	count, bytes, dropped := x.Parked()
	if count != 3 || bytes != 3*(HeaderSize+256) || dropped != 0 {
		t.Fatalf("%d envelopes of %d bytes, %d dropped", count, bytes, dropped)
	}
	if got := x.Add("a", epoch, tagOf(0), tagOf(0)); len(got) != 3 {
		t.Fatalf("handed back %d", len(got))
	}
	checkEmpty(t, x)
}

func TestIndexParkedLimits(t *testing.T) {
	const size = HeaderSize + 256
	t.Run("count", func(t *testing.T) {
		x := NewIndex[int](IndexOptions{Count: 3})
		for n := range 10 {
			x.Park(parkedUnder(tagOf(1), n, ""), epoch)
		}
		checkParked(t, x, 3, 7)
		if got := x.Add(1, epoch, tagOf(1)); len(got) != 3 || number(got[0]) != 7 {
			t.Fatalf("kept %d", len(got))
		}
		checkEmpty(t, x)
	})
	t.Run("bytes", func(t *testing.T) {
		x := NewIndex[int](IndexOptions{Bytes: 3*size + 1})
		for n := range 10 {
			x.Park(parkedUnder(tagOf(n), n, ""), epoch)
		}
		checkParked(t, x, 3, 7)
		large := parkedUnder(tagOf(20), 20, "")
		large.Envelope.Body = make([]byte, 1024)
		if parked, _ := x.Park(large, epoch); parked {
			t.Fatal("parked what is larger than the buffer")
		}
		checkParked(t, x, 3, 8)
	})
	t.Run("peer", func(t *testing.T) {
		x := NewIndex[int](IndexOptions{PerPeer: 2})
		for n := range 10 {
			x.Park(parkedUnder(tagOf(n), n, "loud"), epoch)
		}
		checkParked(t, x, 2, 8)
		if parked, _ := x.Park(parkedUnder(tagOf(10), 10, "quiet"), epoch); !parked {
			t.Fatal("one peer used up the share of another")
		}
		// What is handed back frees the peer's share.
		x.Add(1, epoch, tagOf(0))
		if parked, _ := x.Park(parkedUnder(tagOf(11), 11, "loud"), epoch); !parked {
			t.Fatal("refused with room to spare")
		}
	})
	t.Run("age", func(t *testing.T) {
		x := NewIndex[int](IndexOptions{Age: time.Minute})
		x.Park(parkedUnder(tagOf(1), 1, "p"), epoch)
		x.Park(parkedUnder(tagOf(1), 2, "p"), epoch.Add(30*time.Second))
		x.Expire(epoch.Add(time.Minute))
		checkParked(t, x, 2, 0)
		if got := x.Add(1, epoch.Add(61*time.Second), tagOf(1)); len(got) != 1 || number(got[0]) != 2 {
			t.Fatalf("handed back %d", len(got))
		}
		x.Expire(epoch.Add(time.Hour))
		checkEmpty(t, x)
	})
}

func checkParked[V any](t *testing.T, x *Index[V], wantCount int, wantDropped uint64) {
	t.Helper()
	count, bytes, dropped := x.Parked()
	if count != wantCount || bytes != wantCount*(HeaderSize+256) || dropped != wantDropped {
		t.Fatalf("%d envelopes of %d bytes, %d dropped", count, bytes, dropped)
	}
}

// checkEmpty looks at everything that could leak.
func checkEmpty[V any](t *testing.T, x *Index[V]) {
	t.Helper()
	if x.count != 0 || x.bytes != 0 || len(x.parked) != 0 || len(x.hashes) != 0 || len(x.perPeer) != 0 ||
		x.oldest != nil || x.newest != nil {
		t.Fatalf("not empty: %d envelopes, %d bytes, %d tags, %d hashes, %d peers",
			x.count, x.bytes, len(x.parked), len(x.hashes), len(x.perPeer))
	}
}

func BenchmarkIndexLookup(b *testing.B) {
	for _, conversations := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("conversations=%d", conversations), func(b *testing.B) {
			const window = 16
			x := NewIndex[int](IndexOptions{})
			for n := range conversations * window {
				x.Add(n/window, epoch, tagOf(n))
			}
			n := 0
			for b.Loop() {
				if _, ok := x.Lookup(tagOf(n % (conversations * window))); !ok {
					b.Fatal("lost a tag")
				}
				n += 7919
			}
		})
	}
}
