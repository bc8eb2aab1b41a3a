package groups

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// branching is a person in a group that agrees without a server: every epoch that
// it has entered, by its name, as it is stored.
type branching struct {
	*person
	heads      map[CID]*Group
	superseded map[CID]secret.Key
}

var testAgreement = &Agreement{Retention: 24 * time.Hour}

// agreeing makes such a group, in which everybody may commit.
func agreeing(tb testing.TB, id suite.ID, n int) []*branching {
	tb.Helper()
	var all []*branching
	for i := range n {
		all = append(all, &branching{newPersonIn(tb, id, i), map[CID]*Group{}, map[CID]secret.Key{}})
	}
	creator := all[0]
	g, err := Create(creator.rows, CreateOptions{
		Suite: id, Credential: creator.cred, Signer: creator.signer, Now: testNow, Agreement: testAgreement,
		Roles: &Roles{Admins: [][]byte{Subject(creator.cred)}, Remove: Members, Commit: Members},
	})
	if err != nil {
		tb.Fatal(err)
	}
	creator.enter(g)
	if n > 1 {
		o := CommitOptions{}
		for _, p := range all[1:] {
			o.Add = append(o.Add, p.kp)
		}
		st := creator.prepare(o)
		creator.goes(st)
		for _, p := range all[1:] {
			p.join(st.Welcome)
			p.enter(p.group)
		}
	}
	return all
}

// enter moves a head to an epoch, which is stored and read back.
func (b *branching) enter(g *Group) {
	b.tb.Helper()
	stored := g.Marshal()
	defer stored.Erase()
	again, err := Unmarshal(stored, b.signer)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.group, b.heads[g.CID()] = again, again
}

// goes merges a commit and keeps what is left of the epoch it was made in.
func (b *branching) goes(st *Staged) {
	b.tb.Helper()
	parent := st.Parent()
	next, _, err := st.Merge(b.rows)
	if err != nil {
		b.tb.Fatalf("%s: merge: %v", b.name, err)
	}
	delete(b.heads, parent.CID())
	b.superseded[parent.CID()] = parent.Marshal()
	b.enter(next)
}

func (b *branching) left(cid CID) *Superseded {
	b.tb.Helper()
	s, err := UnmarshalSuperseded(b.superseded[cid], b.signer)
	if err != nil {
		b.tb.Fatal(err)
	}
	return s
}

// tries processes a commit in whatever epoch it was made.
func (b *branching) tries(parent CID, msg []byte) (*Staged, error) {
	if g := b.heads[parent]; g != nil {
		r, err := g.Process(b.rows, msg, ProcessOptions{Now: testNow})
		if err != nil {
			return nil, err
		}
		return r.Commit, nil
	}
	return b.left(parent).Process(b.rows, msg, ProcessOptions{Now: testNow})
}

func (b *branching) takes(parent CID, st *Staged) {
	b.tb.Helper()
	got, err := b.tries(parent, st.Commit)
	if err != nil {
		b.tb.Fatalf("%s: %v", b.name, err)
	}
	b.goes(got)
}

// Commits on one epoch, in whatever order they come, lead all members to the same
// epochs; each can be processed once.
func TestBranches(t *testing.T) {
	for _, id := range []suite.ID{suite.Secp256k1ChaCha20Poly1305, suite.X25519AES128GCMEd25519, 5} {
		all := agreeing(t, id, 4)
		alice, bob, carol, dave := all[0], all[1], all[2], all[3]
		parent := alice.group.CID()
		// Alice removes dave, bob and carol renew their keys; none knows of the others.
		sts := []*Staged{alice.prepare(CommitOptions{Remove: []LeafIndex{dave.group.Self()}}), bob.prepare(CommitOptions{}), carol.prepare(CommitOptions{})}
		for i, p := range all[:3] {
			p.goes(sts[i])
		}
		alice.takes(parent, sts[1])
		alice.takes(parent, sts[2])
		bob.takes(parent, sts[2])
		bob.takes(parent, sts[0])
		carol.takes(parent, sts[0])
		carol.takes(parent, sts[1])
		beacons := map[string]int{}
		for i, st := range sts {
			cid := st.Next().CID()
			for _, p := range all[:3] {
				p.group = p.heads[cid]
			}
			agree(t, alice.person, bob.person, carol.person)
			beacons[must(alice.group.Beacon()).PublicKey().String()]++
			if a, b := must(alice.group.Beacon()), must(bob.group.Beacon()); !a.PublicKey().Equal(b.PublicKey()) {
				t.Errorf("suite %d: two members of an epoch have two beacons", id)
			}
			for k, p := range all[:3] {
				if _, err := p.tries(parent, st.Commit); i != k && !errors.Is(err, ErrSpent) || i == k && !errors.Is(err, ErrOwnMessage) {
					t.Errorf("suite %d: commit %d again at %s: %v", id, i, p.name, err)
				}
			}
		}
		if len(beacons) != len(sts) {
			t.Errorf("suite %d: two epochs have one beacon", id)
		}
		if n := alice.left(parent).Branches(); n != 3 {
			t.Errorf("suite %d: %d branches", id, n)
		}
		// A branch goes on, and who was elsewhere follows.
		for _, p := range all[:3] {
			p.group = p.heads[sts[1].Next().CID()]
		}
		on := bob.group.CID()
		next := bob.prepare(CommitOptions{Remove: []LeafIndex{dave.group.Self()}})
		bob.goes(next)
		alice.takes(on, next)
		carol.takes(on, next)
		agree(t, alice.person, bob.person, carol.person)
	}
}

// docs/spec.md, "Agreement": who has what is stored after a commit was processed
// cannot derive its epoch again, whatever it does with it; what was stored before
// can, which shows that the attack would work.
func TestPuncturedEpochIsGone(t *testing.T) {
	all := agreeing(t, suite.Secp256k1ChaCha20Poly1305, 3)
	alice, bob, carol := all[0], all[1], all[2]
	parent := alice.group.CID()
	before := carol.group.Marshal()
	rows := MemoryRows{}
	for k, v := range carol.rows[parent] {
		if err := rows.Put(parent, k, bytes.Clone(v)); err != nil {
			t.Fatal(err)
		}
	}
	first, second := alice.prepare(CommitOptions{}), bob.prepare(CommitOptions{})
	carol.takes(parent, first)

	old, err := Unmarshal(before, carol.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Process(rows, first.Commit, ProcessOptions{Now: testNow}); err != nil {
		t.Fatalf("the attack does not work on what was stored before: %v", err)
	}
	dump := carol.left(parent)
	if _, err := dump.Process(carol.rows, first.Commit, ProcessOptions{Now: testNow}); !errors.Is(err, ErrSpent) {
		t.Errorf("the epoch is derived again: %v", err)
	}
	// Not by its seeds either: the value at the commit's point is none of what the
	// stored function derives at any point near it, nor in the bytes.
	a, err := parseMessage(bytes.Clone(first.Commit))
	if err != nil {
		t.Fatal(err)
	}
	content, _, err := old.openPublic(a.public)
	if err != nil {
		t.Fatal(err)
	}
	init := childInitOf(t, old, rows, content)
	for what, stored := range map[string]secret.Key{"the superseded epoch": dump.Marshal(), "the head": carol.group.Marshal()} {
		if bytes.Contains(stored.Bytes(), init) {
			t.Errorf("%s holds the init secret", what)
		}
	}
	if !bytes.Contains(before.Bytes(), old.children.Marshal().Bytes()) || bytes.Contains(dump.Marshal().Bytes(), old.children.Marshal().Bytes()[1:]) {
		t.Error("the function's root is where it must not be, or not where it was")
	}
	// The other commit can still be processed.
	carol.takes(parent, second)
}

// childInitOf derives the init secret of a commit by the text of docs/spec.md and
// nothing but HMAC and SHA-256, in suite 0xF0E1.
func childInitOf(t *testing.T, g *Group, rows Rows, a *authContent) []byte {
	t.Helper()
	list, err := g.resolve(rows, a.content.commit, a.content.sender)
	if err != nil {
		t.Fatal(err)
	}
	ap, err := list.apply()
	if err != nil {
		t.Fatal(err)
	}
	committer := LeafIndex(a.content.sender.Index)
	if err := g.mergePath(ap, a.content.commit.path, committer); err != nil {
		t.Fatal(err)
	}
	gc := g.provisional(ap)
	path, _, _, err := g.openPath(rows, ap, a.content.commit.path, committer, gc)
	if err != nil {
		t.Fatal(err)
	}
	gc.confirmedTranscriptHash = confirmedTranscriptHash(g.suite, g.interim, a)
	expand := func(key []byte, label string, context []byte, n int) []byte {
		in := wire.AppendUint16(nil, uint16(n))
		in = wire.AppendVec(in, []byte("MLS 1.0 "+label))
		in = wire.AppendVec(in, context)
		h := hmac.New(sha256.New, key)
		h.Write(append(in, 1))
		return h.Sum(nil)[:n]
	}
	conf := expand(path.Top.Bytes(), "parley conf", nil, 32)
	x := expand(conf, "parley child_init", gc.append(nil), 16)
	stored := g.children.Marshal().Bytes() // one seed
	if len(stored) != 33 {
		t.Fatalf("the function was punctured already: %d bytes", len(stored))
	}
	seed := stored[1:]
	for i := range 128 {
		sum := sha256.Sum256(append(bytes.Clone(seed), x[i/8]>>(7-i%8)&1))
		seed = sum[:]
	}
	got, _, err := g.childInit(path.Top, gc)
	if err != nil || !bytes.Equal(got.Bytes(), seed) {
		t.Fatalf("the init secret is not as the text has it: %v", err)
	}
	return seed
}

// A commit that does not hold punctures nothing.
func TestBadCommitPuncturesNothing(t *testing.T) {
	all := agreeing(t, suite.Secp256k1ChaCha20Poly1305, 3)
	alice, bob, carol := all[0], all[1], all[2]
	parent := alice.group.CID()
	carol.takes(parent, bob.prepare(CommitOptions{}))
	st := alice.prepare(CommitOptions{})
	for at := range st.Commit {
		if at%7 > 0 && at < len(st.Commit)-100 {
			continue
		}
		bad := bytes.Clone(st.Commit)
		bad[at] ^= 1
		before := carol.left(parent)
		if _, err := before.Process(carol.rows, bad, ProcessOptions{Now: testNow}); err == nil {
			t.Fatalf("byte %d of a commit may be any", at)
		}
		if n := before.Branches(); n != 1 {
			t.Fatalf("a commit with byte %d flipped made %d branches", at, n)
		}
	}
	carol.takes(parent, st)
}

// No more commits on one epoch than MaxBranches are processed.
func TestBranchesAreBounded(t *testing.T) {
	all := agreeing(t, suite.Secp256k1ChaCha20Poly1305, 2)
	alice, bob := all[0], all[1]
	parent := alice.group.CID()
	for range MaxBranches {
		bob.takes(parent, alice.prepare(CommitOptions{}))
	}
	size := bob.superseded[parent].Len()
	if _, err := bob.tries(parent, alice.prepare(CommitOptions{}).Commit); !errors.Is(err, ErrBranches) {
		t.Errorf("one more: %v", err)
	}
	if n := bob.left(parent).Branches(); n != MaxBranches || size > 70<<10 {
		t.Errorf("%d branches in %d bytes", n, size)
	}
}

// What only other groups have is refused by who makes it and by who gets it.
func TestAgreementRules(t *testing.T) {
	all := agreeing(t, suite.Secp256k1ChaCha20Poly1305, 3)
	alice, bob := all[0], all[1]
	g := alice.group
	if got := g.Agreement(); got == nil || *got != *testAgreement {
		t.Fatalf("policy is %+v", got)
	}
	without := slices.DeleteFunc(slices.Clone(g.Extensions()), func(e Extension) bool { return e.Type == ExtensionAgreement })
	other := append(slices.Clone(without), Agreement{time.Hour}.Extension())
	data := wire.AppendLP(wire.AppendLP(nil, make([]byte, 32)), make([]byte, 32))
	for what, o := range map[string]CommitOptions{
		"no path":            {NoPath: true},
		"a PrivateMessage":   {Framing: Framing{Private: true}},
		"another parent":     {Framing: Framing{AuthenticatedData: data}},
		"other data":         {Framing: Framing{AuthenticatedData: []byte("hello")}},
		"the end of it":      {Extensions: without},
		"another policy":     {Extensions: other},
		"a pre-shared key":   {PSKs: []PreSharedKeyID{{Type: PSKExternal, ID: []byte("x")}}, PSK: sharedKey},
		"a ReInit":           {Proposals: []*Proposal{{Type: ProposalReInit, ReInit: &ReInit{GroupID: []byte("x"), Version: 1, Suite: g.Suite(), Extensions: g.Extensions()}}}},
		"a type of a caller": {Proposals: []*Proposal{{Type: 0xF123, Custom: []byte("x")}}},
	} {
		o.Now = testNow
		if _, err := g.Prepare(alice.rows, o); !errors.Is(err, ErrAgreement) && (what != "a type of a caller" || err == nil) {
			t.Errorf("a commit with %s: %v", what, err)
		}
	}
	if _, err := g.ProposeUpdate(alice.rows, UpdateOptions{}); !errors.Is(err, ErrAgreement) {
		t.Errorf("a proposal: %v", err)
	}
	if _, err := g.GroupInfo(GroupInfoOptions{External: true}); !errors.Is(err, ErrAgreement) {
		t.Errorf("external commits: %v", err)
	}
	if _, err := g.Branch(nil, nil, LinkOptions{Credential: alice.cred, Signer: alice.signer, Now: testNow}); !errors.Is(err, ErrAgreement) {
		t.Errorf("a linked group: %v", err)
	}
	if _, err := Create(MemoryRows{}, CreateOptions{Credential: alice.cred, Signer: alice.signer, Now: testNow, Plain: true, Extensions: Extensions{testAgreement.Extension()}}); !errors.Is(err, ErrAgreement) {
		t.Errorf("without roles: %v", err)
	}
	for what, e := range map[string]Extension{
		"no body": {Type: ExtensionAgreement}, "another version": {Type: ExtensionAgreement, Data: []byte{0, 2, 0, 1, 0, 0}},
		"a byte more": {Type: ExtensionAgreement, Data: append(testAgreement.Extension().Data, 0)},
		"too long":    Agreement{8 * 24 * time.Hour}.Extension(), "too short": Agreement{time.Minute}.Extension(),
	} {
		if _, err := agreementOf(Extensions{e}); !errors.Is(err, ErrAgreement) {
			t.Errorf("%s: %v", what, err)
		}
	}

	// A member whose client does not keep the rules.
	rebel := *g
	rebel.agreement = nil
	for what, c := range map[string]struct {
		o    CommitOptions
		want error
	}{
		"no path":          {CommitOptions{NoPath: true, Remove: nil, Add: []*KeyPackage{newPerson(t, 9).kp}}, ErrAgreement},
		"a PrivateMessage": {CommitOptions{Framing: Framing{Private: true, AuthenticatedData: must(g.commitData(nil))}}, ErrAgreement},
		"another parent":   {CommitOptions{Framing: Framing{AuthenticatedData: data}}, ErrAgreement},
		"no data":          {CommitOptions{}, ErrAgreement},
		// All as it should be, but for the init secret.
		"another init secret": {CommitOptions{Framing: Framing{AuthenticatedData: must(g.commitData(nil))}}, ErrConfirmationTag},
	} {
		rows := MemoryRows{}
		for k, v := range alice.rows[g.CID()] {
			if err := rows.Put(g.CID(), k, bytes.Clone(v)); err != nil {
				t.Fatal(err)
			}
		}
		rebel.init = secret.Random(32)
		c.o.Now = testNow
		st, err := rebel.Prepare(rows, c.o)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := bob.tries(g.CID(), st.Commit); !errors.Is(err, c.want) {
			t.Errorf("a commit with %s is processed: %v", what, err)
		}
	}
	proposal, err := rebel.ProposeRemove(alice.rows, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.group.Process(bob.rows, proposal, ProcessOptions{}); !errors.Is(err, ErrAgreement) {
		t.Errorf("a proposal is taken: %v", err)
	}
	// Groups without a server are not to be made of others.
	plain := groupOf(t, 2, nil)
	more := append(slices.Clone(plain[0].group.Extensions()), testAgreement.Extension())
	if _, err := plain[0].group.Prepare(plain[0].rows, CommitOptions{Extensions: more, Now: testNow}); !errors.Is(err, ErrAgreement) {
		t.Errorf("another group becomes one: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Stored state of one kind is not taken for the other.
func TestSupersededState(t *testing.T) {
	all := agreeing(t, suite.Secp256k1ChaCha20Poly1305, 2)
	alice, bob := all[0], all[1]
	parent := alice.group.CID()
	bob.takes(parent, alice.prepare(CommitOptions{}))
	state := bob.superseded[parent]
	for n := range state.Len() {
		if _, err := UnmarshalSuperseded(secret.New(state.Bytes()[:n]), bob.signer); !errors.Is(err, ErrState) {
			t.Fatalf("%d bytes of it: %v", n, err)
		}
	}
	if _, err := UnmarshalSuperseded(state, alice.signer); !errors.Is(err, ErrState) {
		t.Errorf("with another's key: %v", err)
	}
	if _, err := Unmarshal(state, bob.signer); !errors.Is(err, ErrState) {
		t.Errorf("as a head: %v", err)
	}
	if _, err := UnmarshalSuperseded(bob.group.Marshal(), bob.signer); !errors.Is(err, ErrState) {
		t.Errorf("a head as superseded: %v", err)
	}
	plain := groupOf(t, 1, nil)[0]
	if st := plain.prepare(CommitOptions{}); st.Parent() != nil {
		t.Error("another group's epoch is superseded")
	}
}
