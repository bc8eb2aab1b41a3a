package ratchet

import (
	"testing"
)

// SessionSetup is a whole handshake: both sides, and the first message.
func BenchmarkSessionSetup(b *testing.B) {
	alice, bob := newDevice(b, "alice"), newDevice(b, "bob")
	bundle := bob.bundle()
	hello := make([]byte, 600)
	b.ReportAllocs()
	for b.Loop() {
		s := must(Initiate(alice.id, alice.ik, bundle, hello, testTime))
		_, m, err := s.Encrypt([]byte("hello"), nil, testTime)
		if err != nil {
			b.Fatal(err)
		}
		f := must(PeekFirst(bob.id, bob.ik, bob.inboxKey, m, testTime))
		must(f.Accept(bob.id, bob.ik, bob, nil, testTime))
	}
}

var benchPositions = []struct {
	name string
	n    uint64
}{{"at=1", 1}, {"at=100000", 100_000}}

func BenchmarkEncryptInChain1KiB(b *testing.B) {
	for _, p := range benchPositions {
		b.Run(p.name, func(b *testing.B) {
			s, _ := chains(b, p.n)
			text := make([]byte, 1024)
			b.SetBytes(1024)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.Encrypt(text, nil, testTime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecryptInChain1KiB(b *testing.B) {
	for _, p := range benchPositions {
		b.Run(p.name, func(b *testing.B) {
			sender, receiver := chains(b, p.n)
			_, m, err := sender.Encrypt(make([]byte, 1024), nil, testTime)
			if err != nil {
				b.Fatal(err)
			}
			in := Incoming{Tag: m.Tag, Body: m.Body}
			b.SetBytes(1024)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := receiver.Decrypt(in, testTime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// PingPong is one turn each way: two messages, every one with a new ratchet key.
func BenchmarkPingPong(b *testing.B) {
	da, db, id := pair(b)
	db.expect(da.send(id, "x"), "x")
	ends := [2]*Session{da.load(id), db.load(id)}
	from := 1 // bob has read last
	b.ReportAllocs()
	for b.Loop() {
		for range 2 {
			next, m, err := ends[from].Encrypt([]byte("ping"), nil, testTime)
			if err != nil {
				b.Fatal(err)
			}
			ends[from] = next
			ends[1-from] = must(ends[1-from].Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime)).Session
			from = 1 - from
		}
	}
}

// Reversed1000 reads 1000 messages of a chain, last first.
func BenchmarkReversed1000(b *testing.B) {
	sender, start := chains(b, 0)
	messages := make([]Message, 1000)
	for i := range messages {
		var err error
		if sender, messages[i], err = sender.Encrypt([]byte("x"), nil, testTime); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s := start
		skipped := map[Tag]*SkippedKey{}
		for i := len(messages) - 1; i >= 0; i-- {
			m := messages[i]
			o, err := s.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, Skipped: skipped[m.Tag], Stored: len(skipped)}, testTime)
			if err != nil {
				b.Fatal(err)
			}
			for j := range o.Delta.New {
				k := &o.Delta.New[j]
				skipped[k.Tag] = k
			}
			if o.Delta.Used != nil {
				delete(skipped, *o.Delta.Used)
			}
			s = o.Session
		}
	}
}

// Load is what a caller pays to take a session from its store.
func BenchmarkLoad(b *testing.B) {
	da, _, id := pair(b)
	state := da.sessions[id].state
	b.ReportAllocs()
	for b.Loop() {
		must(ParseSession(state))
	}
}
