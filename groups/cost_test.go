package groups

import (
	"math/bits"
	"runtime"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

// The first message that is heard of a sender in an epoch takes it out of the
// secret tree: a row for each level, and the sender's other ratchet.
func TestFirstMessageWrites(t *testing.T) {
	const row = 5 + 32
	for _, n := range []int{2, 16, 128} {
		g := groupOfMany(t, suite.Secp256k1ChaCha20Poly1305, n, false)
		sender, receiver := snapshot(g.alice.rows), &counting{MemoryRows: snapshot(g.bob.rows)}
		msg, _, err := g.alice.group.Protect(sender, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.bob.group.Unprotect(receiver, msg); err != nil {
			t.Fatal(err)
		}
		if want := 2*(9+48) + row*bits.Len(uint(n-1)); receiver.bytes != want {
			t.Errorf("%d members: %d bytes written, not %d", n, receiver.bytes, want)
		}
	}
}

// What a message allocates depends on neither the members nor the generation.
func TestMessageAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	for id, most := range map[suite.ID]struct{ protect, unprotect float64 }{
		suite.X25519AES128GCMEd25519:    {105, 100},
		suite.Secp256k1ChaCha20Poly1305: {140, 110},
	} {
		for _, n := range []int{2, 300} {
			for _, generation := range []uint64{1, 100_000} {
				g := groupOfMany(t, id, n, false)
				sender, receiver := lateRows(g.alice.group, generation), lateRows(g.bob.group, generation)
				const runs = 20
				var sent [][]byte
				protect := testing.AllocsPerRun(runs, func() {
					msg, _, err := g.alice.group.Protect(sender, make([]byte, 1024))
					if err != nil {
						t.Fatal(err)
					}
					sent = append(sent, msg)
				})
				unprotect := testing.AllocsPerRun(runs, func() {
					if _, err := g.bob.group.Unprotect(receiver, sent[0]); err != nil {
						t.Fatal(err)
					}
					sent = sent[1:]
				})
				t.Logf("suite %04x, %d members, generation %d: %v and %v allocations", uint16(id), n, generation, protect, unprotect)
				if protect > most.protect || unprotect > most.unprotect {
					t.Errorf("suite %04x, %d members, generation %d: %v and %v allocations, not %v", uint16(id), n, generation, protect, unprotect, most)
				}
			}
		}
	}
}

// lateRows are those of a member who has sent to, or heard, leaf 0 up to a
// generation.
func lateRows(g *Group, generation uint64) MemoryRows {
	state := &ratchetState{next: generation, oldest: generation, secret: secret.New(make([]byte, g.suite.HashSize()))}
	return MemoryRows{g.cid: {rowKey(rowRatchet, uint32(ratchetApplication), 0): state.marshal()}}
}

// Nothing that adds members is quadratic in them: neither what a commit with its
// Welcome allocates, nor what following it and joining by it do.
func TestAddingIsLinear(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	measured := map[int][3]uint64{}
	for _, n := range []int{64, 512} {
		all := people(t, suite.Secp256k1ChaCha20Poly1305, n)
		alice, bob, carol := *all[0], *all[1], *all[2]
		alice.tb, bob.tb, carol.tb = t, t, t
		alice.rows, bob.rows, carol.rows = MemoryRows{}, MemoryRows{}, MemoryRows{}
		alice.create(nil)
		commitAll(&alice, nil, CommitOptions{}, &bob)
		add := make([]*KeyPackage, n-2)
		for i, p := range all[2:] {
			add[i] = p.kp
		}
		var st *Staged
		measured[n] = [3]uint64{
			allocatedBytes(func() { st = alice.prepare(CommitOptions{Add: add}) }),
			allocatedBytes(func() { bob.process(st.Commit) }),
			allocatedBytes(func() { carol.join(st.Welcome) }),
		}
	}
	for i, what := range []string{"committing", "processing", "joining"} {
		if small, large := measured[64][i], measured[512][i]; large > 10*small {
			t.Errorf("%s: %d bytes allocated for 64 members, %d for 512", what, small, large)
		}
	}
}

// A group that was loaded holds less than four times its encoded tree, also with
// a commit that was processed and waits.
func TestMemoryOfGroup(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory too")
	}
	for _, id := range benchSuites {
		g := groupOfMany(t, id, 1024, true)
		commit := g.alice.prepare(CommitOptions{}).Commit
		stored, tree := g.bob.group.Marshal(), len(g.bob.group.RatchetTree())
		before := liveBytes()
		head, err := Unmarshal(stored, g.bob.signer)
		if err != nil {
			t.Fatal(err)
		}
		r, err := head.Process(g.bob.rows, commit, ProcessOptions{})
		if err != nil {
			t.Fatal(err)
		}
		held := liveBytes() - before
		runtime.KeepAlive(head)
		runtime.KeepAlive(r)
		if held > 4*float64(tree) {
			t.Errorf("suite %04x: %v bytes for a tree of %d", uint16(id), held, tree)
		}
	}
}

// allocatedBytes is what f allocates, whether or not it stays.
func allocatedBytes(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
