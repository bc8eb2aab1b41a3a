package groups

import (
	"fmt"
	"testing"

	"github.com/parley-im/parley/internal/suite"
)

// A commit on the head, and another on the epoch that was left for the first.
func BenchmarkProcessSibling(b *testing.B) {
	for _, n := range []int{16, 128} {
		all := agreeing(b, suite.Secp256k1ChaCha20Poly1305, n)
		for _, p := range all[1:] { // so that paths are short
			st := p.prepare(CommitOptions{})
			for _, q := range all {
				if q != p {
					q.takes(p.group.CID(), st)
				}
			}
			p.goes(st)
		}
		alice, bob, carol := all[0], all[1], all[2]
		parent := carol.group.CID()
		first, second := alice.prepare(CommitOptions{}), bob.prepare(CommitOptions{})
		for _, c := range []struct {
			name string
			st   *Staged
		}{{"ordinary", first}, {"sibling", second}} {
			b.Run(fmt.Sprintf("members=%d/%s", n, c.name), func(b *testing.B) {
				process := func() error {
					_, err := carol.tries(parent, c.st.Commit)
					return err
				}
				if c.st == second {
					left := carol.left(parent)
					b.ReportMetric(float64(left.Marshal().Len()), "state-B")
					process = func() error {
						_, err := left.Process(carol.rows, c.st.Commit, ProcessOptions{Now: testNow})
						return err
					}
				}
				for b.Loop() {
					if err := process(); err != nil {
						b.Fatal(err)
					}
				}
			})
			if c.st == first {
				carol.takes(parent, first)
			}
		}
	}
}
