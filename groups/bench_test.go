package groups

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/parley-im/parley/internal/suite"
)

// Sizes of groups. Those of a few members show what does not depend on them.
var (
	allSizes   = []int{2, 128, 1024, 8192}
	largeSizes = []int{1024, 8192}
)

// BenchmarkCommitEveryParentPopulated is a commit with a path, where every member
// has committed before: as few nodes as can be are encrypted to.
func BenchmarkCommitEveryParentPopulated(b *testing.B) {
	sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) { benchCommit(b, groupOfMany(b, id, n, true)) })
}

// BenchmarkProcessEveryParentPopulated is what the deepest receiver does with it.
func BenchmarkProcessEveryParentPopulated(b *testing.B) {
	sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) { benchProcess(b, groupOfMany(b, id, n, true)) })
}

// BenchmarkCommitBlankParents is the first commit of a group after all were
// added: everyone is encrypted to.
func BenchmarkCommitBlankParents(b *testing.B) {
	sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) { benchCommit(b, groupOfMany(b, id, n, false)) })
}

func BenchmarkProcessBlankParents(b *testing.B) {
	sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) { benchProcess(b, groupOfMany(b, id, n, false)) })
}

func benchCommit(b *testing.B, g *benchGroup) {
	var st *Staged
	measure(b, func() { st = g.alice.prepare(CommitOptions{}) })
	b.ReportMetric(float64(len(st.Commit)), "commit-bytes")
}

func benchProcess(b *testing.B, g *benchGroup) {
	commit := g.alice.prepare(CommitOptions{}).Commit
	measure(b, func() { g.bob.process(commit) })
}

// BenchmarkAddAllInOneCommit makes a group and adds all others in one commit
// with its Welcome, their key packages validated, and merges it.
func BenchmarkAddAllInOneCommit(b *testing.B) {
	sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) {
		all := people(b, id, n)
		alice := *all[0]
		add := make([]*KeyPackage, n-1)
		for i, p := range all[1:] {
			add[i] = p.kp
		}
		var st *Staged
		measure(b, func() {
			alice.rows, alice.past = MemoryRows{}, nil
			alice.create(nil)
			st = alice.prepare(CommitOptions{Add: add})
			alice.merge(st)
		})
		b.ReportMetric(float64(len(st.Commit)), "commit-bytes")
		b.ReportMetric(float64(len(st.Welcome)), "welcome-bytes")
	})
}

// BenchmarkProcessAddAll is what a member does with a commit that adds a group's
// worth of others.
func BenchmarkProcessAddAll(b *testing.B) {
	sizes(b, largeSizes, func(b *testing.B, id suite.ID, n int) {
		all := people(b, id, n)
		add := make([]*KeyPackage, n-2)
		for i, p := range all[2:] {
			add[i] = p.kp
		}
		alice, bob := *all[0], *all[1]
		alice.rows, bob.rows = MemoryRows{}, MemoryRows{}
		alice.create(nil)
		commitAll(&alice, nil, CommitOptions{}, &bob)
		commit := alice.prepare(CommitOptions{Add: add}).Commit
		measure(b, func() { bob.process(commit) })
	})
}

// BenchmarkAddOne prepares a commit that replaces one member by another, with the
// Welcome.
func BenchmarkAddOne(b *testing.B) {
	sizes(b, largeSizes, func(b *testing.B, id suite.ID, n int) {
		g := groupOfMany(b, id, n, true)
		o := CommitOptions{Add: []*KeyPackage{newPersonIn(b, id, n).kp}, Remove: []LeafIndex{LeafIndex(n - 1)}}
		var st *Staged
		measure(b, func() { st = g.alice.prepare(o) })
		b.ReportMetric(float64(len(st.Commit)), "commit-bytes")
		b.ReportMetric(float64(len(st.Welcome)), "welcome-bytes")
	})
}

// BenchmarkJoin enters by a Welcome: every leaf's signature is verified, and
// every parent's key and hash.
func BenchmarkJoin(b *testing.B) {
	for _, populated := range []bool{false, true} {
		name := "blank parents"
		if populated {
			name = "every parent populated"
		}
		b.Run(name, func(b *testing.B) {
			sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) {
				g, carol := groupOfMany(b, id, n, populated), newPersonIn(b, id, n)
				st := g.alice.prepare(CommitOptions{Add: []*KeyPackage{carol.kp}, Remove: []LeafIndex{LeafIndex(n - 1)}})
				measure(b, func() {
					_, err := Join(MemoryRows{}, st.Welcome, JoinOptions{KeyPackage: carol.kp, Private: carol.private, Signer: carol.signer})
					must1(b, err)
				})
			})
		})
	}
}

// BenchmarkMerge merges a processed commit: first rows, and the old epoch as a
// past one with its roster.
func BenchmarkMerge(b *testing.B) {
	sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) {
		g := groupOfMany(b, id, n, true)
		st := g.bob.process(g.alice.prepare(CommitOptions{}).Commit).Commit
		var past *Past
		measure(b, func() {
			var err error
			_, past, err = st.Merge(overlay{MemoryRows{}, g.bob.rows}) // a merge uses up what the old epoch sends with
			must1(b, err)
		})
		b.ReportMetric(float64(past.Marshal().Len()), "past-bytes")
	})
}

// overlay keeps what is written apart from the rows it is read through to.
type overlay struct {
	MemoryRows
	below MemoryRows
}

func (o overlay) Get(epoch CID, key RowKey) ([]byte, error) {
	if row, _ := o.MemoryRows.Get(epoch, key); row != nil {
		return row, nil
	}
	return o.below.Get(epoch, key)
}

// messageCases runs f for groups of two and of many, early and late in an epoch.
func messageCases(b *testing.B, f func(b *testing.B, g *benchGroup)) {
	sizes(b, []int{2, 8192}, func(b *testing.B, id suite.ID, n int) {
		for _, generation := range []uint64{1, 100_000} {
			b.Run(fmt.Sprintf("generation=%d", generation), func(b *testing.B) {
				g := groupOfMany(b, id, n, false)
				alice, bob := *g.alice, *g.bob
				alice.rows, bob.rows = lateRows(alice.group, generation), lateRows(bob.group, generation)
				b.ReportAllocs()
				f(b, &benchGroup{&alice, &bob})
			})
		}
	})
}

// BenchmarkProtect1KiB and BenchmarkUnprotect1KiB are one application message,
// without its envelope, and what is written for it.
func BenchmarkProtect1KiB(b *testing.B) {
	text := make([]byte, 1024)
	messageCases(b, func(b *testing.B, g *benchGroup) {
		rows := &counting{MemoryRows: g.alice.rows}
		measure(b, func() {
			_, _, err := g.alice.group.Protect(rows, text)
			must1(b, err)
		})
		b.ReportMetric(float64(rows.bytes)/float64(b.N), "state-bytes/op")
	})
}

func BenchmarkUnprotect1KiB(b *testing.B) {
	messageCases(b, func(b *testing.B, g *benchGroup) {
		msg, _, err := g.alice.group.Protect(g.alice.rows, make([]byte, 1024))
		must1(b, err)
		rows, before := &counting{MemoryRows: g.bob.rows}, snapshot(g.bob.rows)
		measure(b, func() {
			_, err := g.bob.group.Unprotect(rows, msg)
			must1(b, err)
			for cid, all := range before { // as if it came for the first time
				for key, row := range all {
					rows.MemoryRows[cid][key] = row
				}
			}
		})
		b.ReportMetric(float64(rows.bytes)/float64(b.N), "state-bytes/op")
	})
}

// BenchmarkLoadAndSend is what it takes to write to a group after a start: the
// head is loaded from its stored form, and one message protected and sealed.
func BenchmarkLoadAndSend(b *testing.B) {
	text := make([]byte, 1024)
	sizes(b, allSizes, func(b *testing.B, id suite.ID, n int) {
		g := groupOfMany(b, id, n, true)
		stored := g.alice.group.Marshal()
		measure(b, func() {
			head, err := Unmarshal(stored, g.alice.signer)
			must1(b, err)
			rows := overlay{MemoryRows{}, g.alice.rows}
			msg, header, err := head.Protect(rows, text)
			must1(b, err)
			_, err = head.Seal(ClassApplication, header.N, msg, nil)
			must1(b, err)
		})
		b.ReportMetric(float64(stored.Len()), "stored-bytes")
	})
}

// BenchmarkMarshal stores the head, which a commit does.
func BenchmarkMarshal(b *testing.B) {
	sizes(b, largeSizes, func(b *testing.B, id suite.ID, n int) {
		g := groupOfMany(b, id, n, true)
		measure(b, func() { g.alice.group.Marshal() })
	})
}

// BenchmarkSealOpen1KiB is the envelope of one message.
func BenchmarkSealOpen1KiB(b *testing.B) {
	g := groupOfMany(b, suite.Secp256k1ChaCha20Poly1305, 2, false)
	msg := make([]byte, 1024)
	b.ReportAllocs()
	measure(b, func() {
		s, err := g.alice.group.Seal(ClassApplication, 0, msg, nil)
		must1(b, err)
		_, err = g.bob.group.Open(s.Tag, s.Body)
		must1(b, err)
	})
}

// BenchmarkMemory reports what a group holds in memory after it was loaded, after
// a commit was processed beside it, and the size of its encoded tree.
func BenchmarkMemory(b *testing.B) {
	sizes(b, largeSizes, func(b *testing.B, id suite.ID, n int) {
		g := groupOfMany(b, id, n, true)
		commit := g.alice.prepare(CommitOptions{}).Commit
		stored := g.bob.group.Marshal()
		tree := float64(len(g.bob.group.RatchetTree()))
		var loaded, staged float64
		measure(b, func() {
			before := liveBytes()
			head, err := Unmarshal(stored, g.bob.signer)
			must1(b, err)
			loaded = liveBytes() - before
			r, err := head.Process(g.bob.rows, commit, ProcessOptions{})
			must1(b, err)
			staged = liveBytes() - before
			runtime.KeepAlive(head)
			runtime.KeepAlive(r)
		})
		b.ReportMetric(tree, "tree-bytes")
		b.ReportMetric(loaded, "loaded-bytes")
		b.ReportMetric(staged, "with-commit-bytes")
		b.ReportMetric(loaded/tree, "loaded/tree")
	})
}

// liveBytes is what is reachable on the heap.
func liveBytes() float64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
