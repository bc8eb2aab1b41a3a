// Package peers measures github.com/status-im/doubleratchet: X25519, AES-CTR with HMAC, headers in the clear, nothing post-quantum, states
// that change in place.
package peers

import (
	"syscall"
	"testing"
	"time"

	"github.com/status-im/doubleratchet"
)

func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pair returns two ends that have both sent and read.
func pair() (a, b doubleratchet.Session) {
	key := doubleratchet.Key(make([]byte, 32))
	own := must(doubleratchet.DefaultCrypto{}.GenerateDH())
	b = must(doubleratchet.New([]byte("b"), key, own, nil))
	a = must(doubleratchet.NewWithRemoteKey([]byte("a"), key, own.PublicKey(), nil))
	for range 3 {
		must(b.RatchetDecrypt(must(a.RatchetEncrypt([]byte("x"), nil)), nil))
		must(a.RatchetDecrypt(must(b.RatchetEncrypt([]byte("y"), nil)), nil))
	}
	return a, b
}

func BenchmarkEncrypt(b *testing.B) {
	from, _ := pair()
	text := make([]byte, 1024)
	start := spent()
	for b.Loop() {
		must(from.RatchetEncrypt(text, nil))
	}
	b.ReportMetric(float64(spent()-start)/float64(b.N), "cpu-ns/op")
}

func BenchmarkDecrypt(b *testing.B) {
	const batch = 500
	text := make([]byte, 1024)
	var sum time.Duration
	for b.Loop() {
		from, to := pair()
		var all []doubleratchet.Message
		for range batch {
			all = append(all, must(from.RatchetEncrypt(text, nil)))
		}
		start := spent()
		for _, m := range all {
			must(to.RatchetDecrypt(m, nil))
			if err := to.DeleteMk(m.Header.DH, m.Header.N); err != nil { // it keeps what it has used until it is told
				b.Fatal(err)
			}
		}
		sum += spent() - start
	}
	b.ReportMetric(float64(sum)/float64(batch*b.N), "cpu-ns/op")
}

func BenchmarkTurn(b *testing.B) {
	from, to := pair()
	text := make([]byte, 1024)
	start := spent()
	for b.Loop() {
		must(to.RatchetDecrypt(must(from.RatchetEncrypt(text, nil)), nil))
		from, to = to, from
	}
	b.ReportMetric(float64(spent()-start)/float64(b.N), "cpu-ns/op")
}

func BenchmarkReversed1000(b *testing.B) {
	var sum time.Duration
	for b.Loop() {
		from, to := pair()
		var all []doubleratchet.Message
		for range 1000 {
			all = append(all, must(from.RatchetEncrypt([]byte("x"), nil)))
		}
		must(to.RatchetDecrypt(all[999], nil))
		start := spent()
		for i := 998; i >= 0; i-- {
			must(to.RatchetDecrypt(all[i], nil))
		}
		sum += spent() - start
	}
	b.ReportMetric(float64(sum)/float64(999*b.N), "cpu-ns/op")
}
