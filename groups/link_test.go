package groups

import (
	"errors"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

func keyPackages(people []*person) []*KeyPackage {
	out := make([]*KeyPackage, len(people))
	for i, p := range people {
		out[i] = p.kp
	}
	return out
}

// follow has people join a linked group that the first of them made.
func follow(t *testing.T, st *Staged, people []*person) {
	t.Helper()
	for _, p := range people[1:] {
		j, err := Join(p.rows, st.Welcome, JoinOptions{KeyPackage: p.kp, Private: p.private, Signer: p.signer, Parent: p.group, Plain: true})
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		p.group = j.Group
	}
	g, past, err := st.Merge(people[0].rows)
	if err != nil || past != nil {
		t.Fatal(err)
	}
	people[0].group = g
	agree(t, people...)
}

// RFC 9420, Section 11.2: a group goes on in another suite, made by a member who
// did not commit its end.
func TestReInit(t *testing.T) {
	people := plainOf(t, suite.X25519AES128GCMEd25519, 4)
	alice, bob := people[0], people[1]
	to := &ReInit{GroupID: []byte("successor"), Version: 1, Suite: suite.P384AES256GCM, Extensions: Extensions{{Type: extensionRequired, Data: (&required{}).marshal()}}}
	if _, err := alice.group.Reinitialize(LinkOptions{}); !errors.Is(err, ErrLink) {
		t.Fatal(err)
	}
	msg, err := bob.group.Propose(bob.rows, &Proposal{Type: ProposalReInit, ReInit: to}, Framing{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	spread(people, bob, msg)
	st := commitAll(alice, people[1:], CommitOptions{NoPath: true})
	if st.Changes.ReInit == nil || string(st.Changes.ReInit.GroupID) != "successor" {
		t.Fatalf("%+v", st.Changes)
	}
	for _, p := range people {
		p.restart() // it stays closed
		if p.group.ReInit() == nil {
			t.Fatal("open")
		}
		if _, _, err := p.group.Protect(p.rows, nil); !errors.Is(err, ErrReInit) {
			t.Fatal(err)
		}
		if _, err := p.group.Prepare(p.rows, CommitOptions{}); !errors.Is(err, ErrReInit) {
			t.Fatal(err)
		}
		if _, err := p.group.ProposeRemove(p.rows, 0); !errors.Is(err, ErrReInit) {
			t.Fatal(err)
		}
		if _, err := p.group.GroupInfo(GroupInfoOptions{}); !errors.Is(err, ErrReInit) {
			t.Fatal(err)
		}
	}
	// What a rebel sends all the same.
	rebel := *alice.group
	rebel.reInit = nil
	forged, err := rebel.Prepare(MemoryRows{}, CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bob.refuses(forged.Commit, ErrReInit)
	proposal, err := rebel.ProposeRemove(MemoryRows{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	bob.refuses(proposal, ErrReInit)

	for _, p := range people {
		p.newKeyPackage(suite.P384AES256GCM)
	}
	people[0], people[2] = people[2], people[0] // carol makes the successor
	o := LinkOptions{Members: keyPackages(people[1:]), Credential: people[0].cred, Signer: people[0].signer, Capabilities: customCaps, Now: testNow}
	few := o
	few.Members = o.Members[1:]
	if _, err := people[0].group.Reinitialize(few); !errors.Is(err, ErrLink) {
		t.Fatal(err)
	}
	next, err := people[0].group.Reinitialize(o)
	if err != nil {
		t.Fatal(err)
	}
	follow(t, next, people)
	if g := people[1].group; string(g.GroupID()) != "successor" || g.Suite() != suite.P384AES256GCM || g.Epoch() != 1 {
		t.Fatal("not as it was to be")
	}
	commitAll(people[1], append(people[2:4:4], people[0]), CommitOptions{})
	agree(t, people...)
}

// RFC 9420, Section 11.3.
func TestBranch(t *testing.T) {
	people := plainOf(t, suite.P256AES128GCM, 4)
	for _, p := range people {
		p.newKeyPackage(suite.P256AES128GCM)
	}
	alice, bob, carol := people[0], people[1], people[2]
	o := LinkOptions{Members: keyPackages(people[1:3]), Credential: alice.cred, Signer: alice.signer, Capabilities: customCaps, Now: testNow, NoPath: true}
	st, err := alice.group.Branch(nil, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newPlainPerson(t, suite.P256AES128GCM, 9)
	with := o
	with.Members = append(with.Members[:2:2], stranger.kp)
	if _, err := alice.group.Branch(nil, nil, with); !errors.Is(err, ErrLink) {
		t.Fatal(err)
	}
	try := func(p *person, o JoinOptions, welcome []byte, want error) {
		t.Helper()
		o.KeyPackage, o.Private, o.Signer, o.Plain = p.kp, p.private, p.signer, true
		rows := MemoryRows{}
		if _, err := Join(rows, welcome, o); !errors.Is(err, want) || len(rows) > 0 {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	// Whom it is linked to must be said, and be right.
	try(bob, JoinOptions{}, st.Welcome, ErrLink)
	other := plainOf(t, suite.P256AES128GCM, 1)[0]
	try(bob, JoinOptions{Parent: other.group, PSK: func(id PreSharedKeyID) (secret.Key, bool) {
		return alice.group.ResumptionPSK(), true
	}}, st.Welcome, ErrLink)
	free := other.prepare(CommitOptions{Add: []*KeyPackage{bob.kp}})
	try(bob, JoinOptions{Parent: bob.group}, free.Welcome, ErrLink)
	follow(t, st, []*person{alice, bob, carol})
}

// A Welcome can be what its maker should not have made it.
func TestForgedLinks(t *testing.T) {
	people := plainOf(t, suite.X25519AES128GCMEd25519, 2)
	alice, bob := people[0], people[1]
	to := &ReInit{GroupID: []byte("next"), Version: 1, Suite: suite.X25519AES128GCMEd25519}
	commitAll(alice, people[1:], CommitOptions{Proposals: []*Proposal{{Type: ProposalReInit, ReInit: to}}, NoPath: true})
	bob.newKeyPackage(suite.X25519AES128GCMEd25519)
	o := LinkOptions{Members: []*KeyPackage{bob.kp}, Credential: alice.cred, Signer: alice.signer, Capabilities: customCaps, Now: testNow}
	join := func(st *Staged) error {
		t.Helper()
		_, err := Join(MemoryRows{}, st.Welcome, JoinOptions{KeyPackage: bob.kp, Private: bob.private, Signer: bob.signer, Parent: bob.group, Plain: true})
		return err
	}
	for name, c := range map[string]struct {
		usage ResumptionUsage
		suite suite.ID
		id    string
		e     Extensions
	}{
		"another id":          {ResumptionReInit, to.Suite, "other", nil},
		"another extension":   {ResumptionReInit, to.Suite, "next", Extensions{{Type: extensionRequired, Data: (&required{}).marshal()}}},
		"a stranger's branch": {ResumptionBranch, to.Suite, "next", nil},
	} {
		with := o
		if c.usage == ResumptionBranch {
			with.Members = append(with.Members[:1:1], newPlainPerson(t, to.Suite, 9).kp)
		}
		st, err := alice.group.link(c.usage, c.suite, []byte(c.id), c.e, &with)
		if err != nil {
			t.Fatal(err)
		}
		if err := join(st); !errors.Is(err, ErrLink) {
			t.Errorf("%s: %v", name, err)
		}
	}
	st, err := alice.group.link(ResumptionReInit, to.Suite, to.GroupID, nil, &o)
	if err != nil {
		t.Fatal(err)
	}
	// Epoch 2 of the successor is not where one joins it.
	later := &person{tb: t, rows: MemoryRows{}, signer: alice.signer}
	if later.group, _, err = st.Merge(later.rows); err != nil {
		t.Fatal(err)
	}
	gc := later.group.gc
	gc.epoch = 2
	if err := bob.group.linked(ResumptionReInit, &gc, later.group.Members()); !errors.Is(err, ErrLink) {
		t.Fatal(err)
	}
	if _, err := checkLink([]PreSharedKeyID{{Type: PSKResumption, Usage: ResumptionBranch}, {Type: PSKResumption, Usage: ResumptionReInit}}, nil); !errors.Is(err, ErrProposal) {
		t.Fatal(err)
	}
	if err := join(st); err != nil {
		t.Fatal(err)
	}
}

// In a group with roles any member may found the successor, whatever the roles
// let it do, but not bring anybody along.
func TestReInitAndRoles(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	to := &ReInit{GroupID: []byte("next"), Version: 1, Suite: alice.kp.Suite, Extensions: alice.group.Extensions()}
	commitAll(alice, people[1:], CommitOptions{Proposals: []*Proposal{{Type: ProposalReInit, ReInit: to}}})
	for _, p := range people {
		p.newKeyPackage(p.kp.Suite)
	}
	o := LinkOptions{Members: []*KeyPackage{alice.kp, carol.kp}, Credential: bob.cred, Signer: bob.signer, Now: testNow}
	with := o
	with.Members = append(with.Members[:2:2], newPerson(t, 9).kp)
	if _, err := bob.group.Reinitialize(with); !errors.Is(err, ErrLink) {
		t.Fatalf("with a stranger: %v", err)
	}
	st, err := bob.group.link(ResumptionReInit, to.Suite, to.GroupID, to.Extensions, &with) // what a rebel can do
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a successor with a stranger", func(t *testing.T) {
		carol.tries(t, st.Welcome, JoinOptions{Parent: carol.group}, ErrLink)
	})
	t.Run("an admin's account with another key", func(t *testing.T) {
		forged := o
		thief := newPerson(t, 0)
		forged.Members = []*KeyPackage{thief.kp, carol.kp}
		if _, err := bob.group.Reinitialize(forged); !errors.Is(err, ErrLink) {
			t.Fatalf("got %v, want %v", err, ErrLink)
		}
		st, err := bob.group.link(ResumptionReInit, to.Suite, to.GroupID, to.Extensions, &forged)
		if err != nil {
			t.Fatal(err)
		}
		carol.tries(t, st.Welcome, JoinOptions{Parent: carol.group}, ErrLink)
	})
	if st, err = bob.group.Reinitialize(o); err != nil {
		t.Fatal(err)
	}
	if m := st.Changes.Added; len(m) != 2 || !m[0].Admin || m[1].Admin {
		t.Fatalf("%+v", m)
	}
	follow(t, st, []*person{bob, alice, carol})
	if _, err := bob.group.Prepare(bob.rows, CommitOptions{Now: testNow}); !errors.Is(err, ErrNotAdmin) {
		t.Fatalf("the roles have not begun: %v", err)
	}
	commitAll(alice, []*person{bob, carol}, CommitOptions{})
	agree(t, people...)
	// A branch in which nobody could commit is none.
	bob.newKeyPackage(bob.kp.Suite)
	carol.newKeyPackage(bob.kp.Suite)
	o.Members = []*KeyPackage{carol.kp}
	if _, err := bob.group.Branch(nil, nil, o); !errors.Is(err, ErrLastMember) {
		t.Fatalf("a branch without an admin: %v", err)
	}
}

// In a suite with other signatures an admin's key is another.
func TestReInitAndRolesInAnotherSuite(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	to := &ReInit{GroupID: []byte("next"), Version: 1, Suite: suite.X25519AES128GCMEd25519, Extensions: alice.group.Extensions()}
	commitAll(alice, people[1:], CommitOptions{Proposals: []*Proposal{{Type: ProposalReInit, ReInit: to}}})
	for _, p := range people {
		p.newKeyPackage(to.Suite)
	}
	o := LinkOptions{Members: []*KeyPackage{alice.kp}, Credential: bob.cred, Signer: bob.signer, Now: testNow}
	st, err := bob.group.Reinitialize(o)
	if err != nil {
		t.Fatal(err)
	}
	follow(t, st, []*person{bob, alice})
}
