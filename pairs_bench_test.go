package parley

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// benchClient makes a profile and opens it without a network.
func benchClient(b *testing.B, name string) *Client {
	b.Helper()
	return benchOpen(b, benchProfile(b, name))
}

func benchProfile(b *testing.B, name string) Options {
	b.Helper()
	wallet, err := identity.GenerateWallet()
	if err != nil {
		b.Fatal(err)
	}
	o := Options{Dir: filepath.Join(b.TempDir(), name), Unlock: Passphrase([]byte("correct horse")), Offline: true}
	if _, err := Init(b.Context(), InitOptions{Dir: o.Dir, Unlock: o.Unlock, Wallet: wallet, FastKDF: true}); err != nil {
		b.Fatal(err)
	}
	return o
}

func benchOpen(b *testing.B, o Options) *Client {
	b.Helper()
	c, err := Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// benchRecord is a client's record, with a one-time prekey.
func benchRecord(b *testing.B, c *Client) *identity.Record {
	b.Helper()
	var raw []byte
	err := c.step(b.Context(), func(s *step) (err error) {
		raw, err = s.ownRecord("somebody")
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	r, err := identity.VerifyRecord(raw, c.me.account, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// benchPair is two clients with a session, each with the other's record.
func benchPair(b *testing.B) (alice, bob *Client) {
	b.Helper()
	alice, bob = benchClient(b, "alice"), benchClient(b, "bob")
	b.Cleanup(func() { alice.Close(); bob.Close() })
	for _, p := range [][2]*Client{{alice, bob}, {bob, alice}} {
		r := benchRecord(b, p[1])
		if err := p[0].step(b.Context(), func(s *step) error { return s.learn(r) }); err != nil {
			b.Fatal(err)
		}
		p[0].mu.Lock()
		p[0].wantRecord(r.Log.Account()).take(r, time.Now())
		p[0].mu.Unlock()
	}
	for _, p := range [][2]*Client{{alice, bob}, {bob, alice}} {
		benchSay(b, p[0], p[1], 1)
		benchTake(b, p[1], benchEncrypt(b, p[0]))
	}
	return alice, bob
}

func benchSay(b *testing.B, from, to *Client, n int) {
	b.Helper()
	for range n {
		if _, err := from.Send(b.Context(), to.me.account.Address.String(), Text(fmt.Sprintf("%01024d", n)), SendOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// benchEncrypt encrypts what waits, takes it out of the outbox, and returns it.
func benchEncrypt(b *testing.B, c *Client) (all []transport.Envelope) {
	b.Helper()
	if err := c.fill(b.Context()); err != nil {
		b.Fatal(err)
	}
	err := c.step(b.Context(), func(s *step) error {
		rows, err := s.Query(`SELECT tag, body FROM outbox WHERE tag IS NOT NULL ORDER BY id`)
		if err != nil {
			return err
		}
		for rows.Next() {
			var tag transport.Tag
			var body []byte
			if err := rows.Scan(&tag, &body); err != nil {
				return err
			}
			e, err := transport.NewEnvelope(tag, body)
			if err != nil {
				return err
			}
			all = append(all, e)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		_, err = s.Exec(`DELETE FROM outbox`)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return all
}

func benchTake(b *testing.B, c *Client, all []transport.Envelope) {
	b.Helper()
	for i, e := range all {
		if !c.receive(b.Context(), transport.Parked{Envelope: e, At: time.Now()}) {
			b.Fatalf("envelope %d of %d is not read: %+v", i, len(all), c.Dropped())
		}
	}
}

// Messages of 1 KiB into the store of their author, encrypted and ready to go: one
// at a time, each with its commits, or many that wait and are encrypted together.
func BenchmarkDurableSend(b *testing.B) {
	for _, batch := range []int{1, 128} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			alice, bob := benchPair(b)
			n := 0
			for b.Loop() {
				benchSay(b, alice, bob, batch)
				if err := alice.fill(b.Context()); err != nil {
					b.Fatal(err)
				}
				n += batch
				b.StopTimer()
				if got := len(benchEncrypt(b, alice)); got < batch {
					b.Fatalf("%d of %d are encrypted", got, batch)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// The same messages into the store of their reader, plaintext, event and the step
// of the session in one commit, or many together.
func BenchmarkDurableReceive(b *testing.B) {
	for _, together := range []int{1, maxTogether} {
		b.Run(fmt.Sprintf("batch=%d", together), func(b *testing.B) {
			alice, bob := benchPair(b)
			const window = 128
			n := 0
			for b.Loop() {
				b.StopTimer()
				benchSay(b, alice, bob, window)
				var all []transport.Parked
				for _, e := range benchEncrypt(b, alice) {
					all = append(all, transport.Parked{Envelope: e, At: time.Now()})
				}
				b.StartTimer()
				for part := range slices.Chunk(all, together) {
					bob.receiveAll(b.Context(), part)
				}
				b.StopTimer()
				n += window
				if d := bob.Dropped(); d != (Dropped{}) {
					b.Fatalf("dropped %+v", d)
				}
				benchEncrypt(b, bob)
				b.StartTimer()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// Opening a profile with so many contacts, and what it keeps in memory for them.
func BenchmarkOpenContacts(b *testing.B) {
	for _, contacts := range []int{0, 1000, 10_000} {
		b.Run(fmt.Sprintf("contacts=%d", contacts), func(b *testing.B) {
			o := benchProfile(b, "alice")
			c := benchOpen(b, o)
			befriend(b, c, contacts)
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
			c = nil
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				c := benchOpen(b, o)
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "heap-B")
		})
	}
}

// befriend gives a client sessions with so many accounts.
func befriend(b *testing.B, c *Client, n int) {
	b.Helper()
	peer := benchClient(b, "peer")
	defer peer.Close()
	bundle, err := prekeyBundle(benchRecord(b, peer))
	if err != nil {
		b.Fatal(err)
	}
	key, err := secp.GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	bundle.Identity.IK = key.PublicKey()
	const each = 100
	for i := 0; i < n; i += each {
		err := c.step(b.Context(), func(s *step) error {
			for k := range min(each, n-i) {
				bundle.Identity.Acct[0], bundle.Identity.Acct[1], bundle.Identity.Acct[2] = byte(k), byte(i>>8), byte(i)
				session, err := ratchet.Initiate(c.ratchetSelf(), c.me.device.DH, bundle, []byte("hello"), s.now)
				if err != nil {
					return err
				}
				if err := s.saveSession(nil, session); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			err = c.step(b.Context(), func(s *step) error { return s.rest(maxResident) })
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
