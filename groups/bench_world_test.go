package groups

import (
	"flag"
	"fmt"
	"testing"

	"github.com/parley-im/parley/internal/cputime"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

var benchLarge = flag.Int("large", 0, "members of a group that benchmarks also measure, such as 50000")

// benchSuites are what is measured: the one that other implementations have,
// and ours.
var benchSuites = []suite.ID{suite.X25519AES128GCMEd25519, suite.Secp256k1ChaCha20Poly1305}

// benchGroup is a group of n members, of which two take part: alice at leaf 0,
// and bob at leaf 1, to whom a path of alice's is encrypted at its lowest node:
// nobody derives more of it.
type benchGroup struct {
	alice, bob *person
}

// benchPeople keeps the members of groups: they take long to make.
var benchPeople = map[suite.ID][]*person{}

// people returns n people, the same at every call.
func people(b testing.TB, id suite.ID, n int) []*person {
	b.Helper()
	for i := len(benchPeople[id]); i < n; i++ {
		benchPeople[id] = append(benchPeople[id], newPersonIn(b, id, i))
	}
	return benchPeople[id][:n]
}

type benchKey struct {
	id        suite.ID
	n         int
	populated bool
}

var benchGroups = map[benchKey]*benchGroup{}

// groupOfMany makes a group without the commits that would have led to it, once
// for every key: either no parent of its tree is set, as if all had just been
// added, or every one is, as if all had committed since.
func groupOfMany(b testing.TB, id suite.ID, n int, populated bool) *benchGroup {
	b.Helper()
	if g := benchGroups[benchKey{id, n, populated}]; g != nil {
		return g
	}
	all := people(b, id, n)
	alice, bob := *all[0], *all[1]
	s, err := suite.ByID(id)
	must1(b, err)
	tree := treekem.New(s, alice.kp.Leaf)
	for _, p := range all[1:] {
		_, err := tree.Add(p.kp.Leaf)
		must1(b, err)
	}
	groupID := []byte("a group of many")
	alices := treekem.NewPrivate(s, 0, alice.private.Encryption)
	bobs := treekem.NewPrivate(s, 1, bob.private.Encryption)
	for i := (n - 1) &^ 1; populated && i >= 0; i -= 2 { // alice last
		path, err := treekem.CreatePath(tree, treekem.PathParams{Sender: LeafIndex(i), GroupID: groupID, Signer: all[i].signer})
		must1(b, err)
		if i == 0 {
			alices = path.Private()
			lowest, _ := path.JoinerSecret(1)
			bobs, err = treekem.Join(tree, 1, bob.private.Encryption, 0, lowest)
			must1(b, err)
		}
		path.Erase()
	}
	extensions, err := composeExtensions(Roles{Admins: [][]byte{Subject(alice.cred)}}, required{
		extensions:  []treekem.ExtensionType{ExtensionRoles},
		credentials: []treekem.CredentialType{alice.cred.Type},
	}, nil)
	must1(b, err)
	gc := groupContext{
		suite: id, groupID: groupID, epoch: 1, treeHash: tree.Hash(),
		confirmedTranscriptHash: s.Hash([]byte("earlier commits")), extensions: extensions,
	}
	epochSecret := secret.Random(s.HashSize())
	enter := func(p *person, self LeafIndex, private *treekem.Private) {
		p.rows = MemoryRows{}
		p.group = &Group{tree: tree.Clone(), private: private, signer: p.signer}
		sec := secretsFromEpoch(s, epochSecret, false)
		must1(b, p.group.begin(gc, CreationCID(groupID), self, sec))
		must1(b, p.group.startRows(p.rows, sec.encryption))
	}
	enter(&alice, 0, alices)
	enter(&bob, 1, bobs)
	g := &benchGroup{&alice, &bob}
	benchGroups[benchKey{id, n, populated}] = g
	return g
}

// sizes runs f for every suite and size, and for the size of the -large flag.
func sizes(b *testing.B, ns []int, f func(b *testing.B, id suite.ID, n int)) {
	if *benchLarge > 0 {
		ns = append(ns[:len(ns):len(ns)], *benchLarge)
	}
	for _, id := range benchSuites {
		for _, n := range ns {
			b.Run(fmt.Sprintf("suite=%04x/members=%d", uint16(id), n), func(b *testing.B) {
				b.ReportAllocs()
				f(b, id, n)
			})
		}
	}
}

// measure is the loop of a benchmark. What came before it is not measured.
func measure(b *testing.B, f func()) {
	b.Helper()
	done := cputime.Report(b)
	for b.Loop() {
		f()
	}
	done()
}

func must1(b testing.TB, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// The groups of benchmarks are groups like any other: their members follow each
// other, hear each other, and a newcomer comes in.
func TestGroupOfMany(t *testing.T) {
	for _, id := range benchSuites {
		for _, n := range []int{2, 7, 16} {
			for _, populated := range []bool{false, true} {
				g := groupOfMany(t, id, n, populated)
				alice, bob, carol := *g.alice, *g.bob, newPersonIn(t, id, n)
				alice.tb, bob.tb = t, t
				alice.rows, bob.rows = snapshot(alice.rows), snapshot(bob.rows)
				commitAll(&alice, []*person{&bob}, CommitOptions{}, carol)
				agree(t, &alice, &bob, carol)
			}
		}
	}
}
