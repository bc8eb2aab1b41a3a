package groups

import (
	"fmt"
	"sync"
	"testing"

	"github.com/parley-im/parley/internal/secret"
)

var benchSizes = []int{2, 16, 128, 1024}

// benchGroup is a group of n members, of which three take part: the creator,
// who is the admin, and two others. It is made once for every size.
type benchGroup struct {
	alice, bob, carol *person
	welcome           []byte
}

var (
	benchMu     sync.Mutex
	benchGroups = map[int]*benchGroup{}
)

func groupForBench(b *testing.B, n int) *benchGroup {
	b.Helper()
	benchMu.Lock()
	defer benchMu.Unlock()
	if g := benchGroups[n]; g != nil {
		return g
	}
	g := &benchGroup{alice: newPerson(b, 0), bob: newPerson(b, 1)}
	g.carol = g.bob
	add := []*KeyPackage{g.bob.kp}
	for i := 2; i < n; i++ {
		p := newPerson(b, i)
		if i == n-1 {
			g.carol = p
		}
		add = append(add, p.kp)
	}
	g.alice.create(nil)
	st := g.alice.prepare(CommitOptions{Add: add})
	g.alice.merge(st)
	g.welcome = st.Welcome
	g.bob.join(st.Welcome)
	if g.carol != g.bob {
		g.carol.join(st.Welcome)
	}
	benchGroups[n] = g
	return g
}

func forSizes(b *testing.B, f func(b *testing.B, g *benchGroup, n int)) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			g := groupForBench(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			f(b, g, n)
		})
	}
}

func must1(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// BenchmarkCreateAndAddAll makes a group and adds all others in one commit,
// Welcome included.
func BenchmarkCreateAndAddAll(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			alice := newPerson(b, 0)
			var add []*KeyPackage
			for i := 1; i < n; i++ {
				add = append(add, newPerson(b, i).kp)
			}
			b.ReportAllocs()
			for b.Loop() {
				alice.rows = MemoryRows{}
				alice.create(nil)
				alice.merge(alice.prepare(CommitOptions{Add: add}))
			}
		})
	}
}

// BenchmarkAddOne prepares a commit that adds one more, Welcome included.
func BenchmarkAddOne(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		kp := newPerson(b, 1<<20).kp
		var st *Staged
		for b.Loop() {
			st = g.alice.prepare(CommitOptions{Add: []*KeyPackage{kp}, IgnorePending: true})
		}
		b.ReportMetric(float64(len(st.Commit)), "commit-bytes")
		b.ReportMetric(float64(len(st.Welcome)), "welcome-bytes")
	})
}

// BenchmarkCommitUpdate prepares the creator's key update, in a group whose
// tree is blank but for its own path.
func BenchmarkCommitUpdate(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		var st *Staged
		for b.Loop() {
			st = g.alice.prepare(CommitOptions{})
		}
		b.ReportMetric(float64(len(st.Commit)), "commit-bytes")
	})
}

// BenchmarkProcessUpdate checks another's key update, and BenchmarkMerge
// finishes it.
func BenchmarkProcessUpdate(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		st := g.alice.prepare(CommitOptions{})
		b.ResetTimer()
		for b.Loop() {
			g.carol.process(st.Commit)
		}
	})
}

// BenchmarkUpdateFullTree is a key update, made and processed, where every other
// member has committed before, so that no node of the tree is blank.
func BenchmarkUpdateFullTree(b *testing.B) {
	for _, n := range []int{16, 128} {
		everyone := Roles{Add: Members, Commit: Members}
		var committers []*person
		setUp := sync.OnceFunc(func() {
			alice := newPerson(b, 0)
			committers = []*person{alice}
			var add []*KeyPackage
			for i := 1; i < n; i++ {
				p := newPerson(b, i)
				add = append(add, p.kp)
				if i%2 == 0 {
					committers = append(committers, p)
				}
			}
			alice.create(&everyone)
			st := alice.prepare(CommitOptions{Add: add})
			alice.merge(st)
			for _, p := range committers[1:] {
				p.join(st.Welcome)
			}
			for i, p := range committers {
				commitAll(p, append(append([]*person(nil), committers[:i]...), committers[i+1:]...), CommitOptions{})
			}
		})
		b.Run(fmt.Sprintf("prepare/members=%d", n), func(b *testing.B) {
			setUp()
			b.ReportAllocs()
			b.ResetTimer()
			var st *Staged
			for b.Loop() {
				st = committers[0].prepare(CommitOptions{})
			}
			b.ReportMetric(float64(len(st.Commit)), "commit-bytes")
		})
		b.Run(fmt.Sprintf("process/members=%d", n), func(b *testing.B) {
			setUp()
			st := committers[0].prepare(CommitOptions{})
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				committers[len(committers)-1].process(st.Commit)
			}
		})
	}
}

// BenchmarkMerge merges a processed commit: first rows, and the old epoch as a
// past one with its roster.
func BenchmarkMerge(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		st := g.carol.process(g.alice.prepare(CommitOptions{}).Commit).Commit
		var past *Past
		for b.Loop() {
			b.StopTimer()
			rows := snapshot(g.carol.rows) // a merge uses up what the old epoch sends with
			b.StartTimer()
			var err error
			_, past, err = st.Merge(rows)
			must1(b, err)
		}
		b.ReportMetric(float64(past.Marshal().Len()), "past-bytes")
	})
}

// BenchmarkJoin enters by a Welcome: the tree is parsed and every leaf's
// signature checked.
func BenchmarkJoin(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		for b.Loop() {
			_, err := Join(MemoryRows{}, g.welcome, JoinOptions{KeyPackage: g.bob.kp, Private: g.bob.private, Signer: g.bob.signer})
			must1(b, err)
		}
	})
}

// BenchmarkMarshal and BenchmarkUnmarshal store and load the head.
func BenchmarkMarshal(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		var size int
		for b.Loop() {
			size = g.alice.group.Marshal().Len()
		}
		b.ReportMetric(float64(size), "state-bytes")
	})
}

func BenchmarkUnmarshal(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		stored := g.alice.group.Marshal()
		b.ResetTimer()
		for b.Loop() {
			_, err := Unmarshal(stored, g.alice.signer)
			must1(b, err)
		}
	})
}

// BenchmarkProtect1KiB and BenchmarkUnprotect1KiB are one application message,
// without its envelope.
func BenchmarkProtect1KiB(b *testing.B) {
	text := make([]byte, 1024)
	forSizes(b, func(b *testing.B, g *benchGroup, n int) {
		rows := snapshot(g.alice.rows)
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			_, _, err := g.alice.group.Protect(rows, text)
			must1(b, err)
		}
	})
}

func BenchmarkUnprotect1KiB(b *testing.B) {
	forSizes(b, func(b *testing.B, g *benchGroup, n int) { benchUnprotect(b, g, 1) })
}

// BenchmarkUnprotect1KiBAtGeneration shows that a message costs the same early
// and late in an epoch.
func BenchmarkUnprotect1KiBAtGeneration(b *testing.B) {
	for _, at := range []uint64{1, 100_000} {
		b.Run(fmt.Sprintf("generation=%d/members=16", at), func(b *testing.B) {
			benchUnprotect(b, groupForBench(b, 16), at)
		})
	}
}

// benchUnprotect opens one message again and again, each time with the rows as
// they were before it.
func benchUnprotect(b *testing.B, g *benchGroup, generation uint64) {
	sender, receiver := snapshot(g.alice.rows), snapshot(g.bob.rows)
	key := rowKey(rowRatchet, uint32(ratchetApplication), 0)
	state := &ratchetState{next: generation, oldest: generation, secret: secret.Random(32)}
	cid := g.alice.group.cid
	sender[cid][key], receiver[cid][key] = state.marshal(), state.marshal()
	msg, _, err := g.alice.group.Protect(sender, make([]byte, 1024))
	must1(b, err)
	before := receiver[cid][key]
	b.ReportAllocs()
	b.SetBytes(1024)
	b.ResetTimer()
	for b.Loop() {
		receiver[cid][key] = before
		_, err := g.bob.group.Unprotect(receiver, msg)
		must1(b, err)
	}
}

// BenchmarkSealOpen1KiB is the envelope of one message.
func BenchmarkSealOpen1KiB(b *testing.B) {
	g := groupForBench(b, 2)
	msg := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		s, err := g.alice.group.Seal(ClassApplication, 0, msg, nil)
		must1(b, err)
		_, err = g.bob.group.Open(s.Tag, s.Body)
		must1(b, err)
	}
}
