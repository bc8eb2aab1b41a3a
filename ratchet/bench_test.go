package ratchet

import (
	"syscall"
	"testing"
	"time"
)

// cpu reports the processor time that a benchmark takes, garbage collection
// included: on a machine that others use as well, it says more than the clock.
// It is called before the loop, and what it returns after it, with how many
// things one iteration does.
func cpu(b *testing.B) func(each int) {
	b.ReportAllocs()
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := spent()
	return func(each int) {
		b.ReportMetric(float64(spent()-start)/float64(b.N*each), "cpu-ns/op")
	}
}

// SessionSetup is a whole handshake: both sides, and the first message.
func BenchmarkSessionSetup(b *testing.B) {
	alice, bob := newDevice(b, "alice"), newDevice(b, "bob")
	bundle := bob.bundle()
	hello := make([]byte, 600)
	done := cpu(b)
	for b.Loop() {
		s := must(Initiate(alice.id, alice.ik, bundle, hello, testTime))
		_, m, err := s.Encrypt([]byte("hello"), nil, testTime)
		if err != nil {
			b.Fatal(err)
		}
		f := must(PeekFirst(bob.id, bob.ik, bob.inboxKey, m, testTime))
		must(f.Accept(bob.id, bob.ik, bob, nil, testTime))
	}
	done(1)
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
			done := cpu(b)
			for b.Loop() {
				if _, _, err := s.Encrypt(text, nil, testTime); err != nil {
					b.Fatal(err)
				}
			}
			done(1)
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
			done := cpu(b)
			for b.Loop() {
				if _, err := receiver.Decrypt(in, testTime); err != nil {
					b.Fatal(err)
				}
			}
			done(1)
		})
	}
}

// Turn is one message that changes the direction, encrypted and decrypted: every
// one has a new ratchet key. Offers, and answers, are left out.
func BenchmarkTurn(b *testing.B) {
	da, db, id := pair(b)
	ends := [2]*Session{da.load(id), db.load(id)}
	from := 1 // bob has read last
	text := make([]byte, 1024)
	done := cpu(b)
	for b.Loop() {
		next, m, err := ends[from].Encrypt(text, nil, testTime)
		if err != nil {
			b.Fatal(err)
		}
		next.pq.sent = 0
		ends[from] = next
		ends[1-from] = must(ends[1-from].Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime)).Session
		from = 1 - from
	}
	done(1)
}

// PostQuantumTurn is the same with an offer and an answer in every message.
func BenchmarkPostQuantumTurn(b *testing.B) {
	da, db, id := pair(b)
	ends := [2]*Session{da.load(id), db.load(id)}
	from := 1
	text := make([]byte, 1024)
	done := cpu(b)
	for b.Loop() {
		ends[from].pq.sent = OfferMessages
		next, m, err := ends[from].Encrypt(text, nil, testTime)
		if err != nil {
			b.Fatal(err)
		}
		ends[from] = next
		ends[1-from] = must(ends[1-from].Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime)).Session
		from = 1 - from
	}
	done(1)
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
		sender.pq.sent = 0 // without offers, which a chain as long as this one has
	}
	last := incoming(messages[len(messages)-1])
	last.AppAD = nil
	b.Run("first", func(b *testing.B) { // makes the keys of all others
		done := cpu(b)
		for b.Loop() {
			must(start.Decrypt(last, testTime))
		}
		done(1)
	})
	o := must(start.Decrypt(last, testTime))
	skipped := map[Tag]*SkippedKey{}
	for i := range o.Delta.New {
		skipped[o.Delta.New[i].Tag] = &o.Delta.New[i]
	}
	b.Run("others", func(b *testing.B) {
		done := cpu(b)
		s, i := o.Session, 0
		for b.Loop() {
			i = (i + 998) % 999
			m := messages[i]
			s = must(s.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, Skipped: skipped[m.Tag], Stored: len(skipped)}, testTime)).Session
		}
		done(1)
	})
}

// Load is what a caller pays to take a session from its store.
func BenchmarkLoad(b *testing.B) {
	da, _, id := pair(b)
	state := da.sessions[id].state
	done := cpu(b)
	for b.Loop() {
		must(ParseSession(state))
	}
	done(1)
}
