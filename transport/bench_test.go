package transport

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// One envelope of 1 KiB from Publish to Envelopes of a connected peer, one after
// the other.
func BenchmarkPublishToDeliver(b *testing.B) {
	for name, listen := range map[string]string{"quic": loopQUIC, "tcp": loopTCP} {
		b.Run(name, func(b *testing.B) {
			change := func(o *Options) {
				o.Listen = []string{listen}
				o.GossipRate, o.GossipBurst = 1e9, 1e9
			}
			from, to := openNode(b, change), openNode(b, change)
			join(b, from, to)
			e := randomEnvelope(b, 1024)
			b.SetBytes(int64(len(e.Marshal())))
			for b.Loop() {
				if err := from.Publish(b.Context(), 0, e.Reseal()); err != nil {
					b.Fatal(err)
				}
				<-to.Envelopes()
			}
		})
	}
}

// A record of 4 KiB over a fresh stream, as a contact's keys are fetched.
func BenchmarkFetchRecord(b *testing.B) {
	record := make([]byte, 4<<10)
	server := openNode(b, func(o *Options) {
		o.StreamRate, o.StreamBurst = 1e9, 1e9
		o.Handlers.GetRecord = func(context.Context, peer.ID, [32]byte) ([]byte, bool) { return record, true }
	})
	client := openNode(b, nil)
	if err := client.Connect(testContext(b), server.Addrs()...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := client.FetchRecord(b.Context(), server.ID(), [32]byte{}); err != nil {
			b.Fatal(err)
		}
	}
}

// The work of a network that asks for 16 bits: 65536 hashes on average.
func BenchmarkMint(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	e := randomEnvelope(b, 1024)
	for b.Loop() {
		e = e.Reseal()
		if err := e.Mint(ctx, 16); err != nil {
			b.Fatal(err)
		}
	}
}
