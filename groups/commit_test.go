package groups

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

// A committer may take some of what is pending and leave the rest.
func TestChoosePending(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	for _, p := range people[1:] {
		msg, err := p.group.ProposeUpdate(p.rows, UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range people {
			if q != p {
				q.process(msg)
			}
		}
	}
	pending, err := alice.group.Pending(alice.rows)
	if err != nil || len(pending) != 2 {
		t.Fatal(err, pending)
	}
	st := alice.prepare(CommitOptions{Choose: func(p PendingProposal) bool { return p.Sender.Index == 2 }})
	if ch := st.Changes; len(ch.Updated) != 1 || ch.Updated[0].Leaf != carol.group.Self() || len(ch.Dropped) != 0 {
		t.Fatalf("%+v", ch)
	}
	for _, p := range []*person{bob, carol} {
		p.merge(p.process(st.Commit).Commit)
	}
	alice.merge(st)
	agree(t, people...)
}

// A key package for ever is refused, unless the committer says that it does not
// mind; one that is not valid now is refused all the same.
func TestAnyLifetime(t *testing.T) {
	alice, bob := newPerson(t, 0), newPerson(t, 1)
	alice.create(nil)
	s := alice.group.suite
	leaf := bob.kp.Leaf.Clone()
	leaf.Lifetime.NotAfter = math.MaxUint64
	if err := leaf.Sign(s, bob.signer, nil, 0); err != nil {
		t.Fatal(err)
	}
	bob.kp.Leaf = leaf
	var err error
	if bob.kp.Signature, err = s.SignWithLabel(bob.signer, labelKeyPackageTBS, bob.kp.unsigned(nil)); err != nil {
		t.Fatal(err)
	}
	o := CommitOptions{Add: []*KeyPackage{bob.kp}, Now: testNow}
	if _, err := alice.group.Prepare(alice.rows, o); !errors.Is(err, ErrLifetime) {
		t.Fatal(err)
	}
	o.AnyLifetime, o.Now = true, testNow.Add(-48*time.Hour)
	if _, err := alice.group.Prepare(alice.rows, o); !errors.Is(err, ErrLifetime) {
		t.Fatal(err)
	}
	commitAll(alice, nil, CommitOptions{AnyLifetime: true}, bob)
	agree(t, alice, bob)
}

// What exceeds a limit of those who read it is not sent.
func TestNothingUnreadableIsSent(t *testing.T) {
	people := plainOf(t, fast, 2)
	alice, bob := people[0], people[1]
	proposals := func(n int) []*Proposal {
		return slices.Repeat([]*Proposal{{Type: customProposal}}, n)
	}
	long := &Proposal{Type: customProposal, Custom: make([]byte, MaxCustomProposal+1)}
	elsewhere := &Proposal{Type: ProposalReInit, ReInit: &ReInit{GroupID: make([]byte, MaxGroupID+1), Version: 1, Suite: fast}}
	for name, c := range map[string]struct {
		o    CommitOptions
		want error
	}{
		"too many proposals":    {CommitOptions{Proposals: proposals(MaxProposals + 1)}, ErrProposal},
		"a proposal too long":   {CommitOptions{Proposals: []*Proposal{long}}, ErrMalformed},
		"the id of a successor": {CommitOptions{Proposals: []*Proposal{elsewhere}}, ErrMalformed},
		"the name of a key": {CommitOptions{
			PSKs: []PreSharedKeyID{{Type: PSKExternal, ID: make([]byte, MaxPSKID+1)}}, PSK: sharedKey,
		}, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Now = testNow
			if _, err := alice.group.Prepare(alice.rows, c.o); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
	for _, p := range []*Proposal{long, elsewhere} {
		if _, err := alice.group.Propose(alice.rows, p, Framing{}); !errors.Is(err, ErrMalformed) {
			t.Fatalf("got %v, want %v", err, ErrMalformed)
		}
	}
	// What others have proposed waits if there is no room for it.
	msg, err := bob.group.Propose(bob.rows, &Proposal{Type: customProposal}, Framing{})
	if err != nil {
		t.Fatal(err)
	}
	alice.process(msg)
	st := commitAll(alice, people[1:], CommitOptions{Proposals: proposals(MaxProposals)})
	if len(st.Changes.Custom) != MaxProposals || len(st.Changes.Dropped) != 1 || !errors.Is(st.Changes.Dropped[0], ErrProposal) {
		t.Fatalf("%d, dropped %v", len(st.Changes.Custom), st.Changes.Dropped)
	}
	agree(t, people...)
}

// A commit whose Welcome nobody could read is not made, though members could
// read the commit.
func TestWelcomeTooLong(t *testing.T) {
	alice := plainOf(t, fast, 8)[0]
	o := CommitOptions{Add: []*KeyPackage{newPlainPerson(t, fast, 9).kp}}
	fill := func(n int) { o.Extensions = Extensions{{Type: extensionLastResort, Data: make([]byte, n)}} }
	fill(MaxMessageSize / 2)
	fill(MaxMessageSize/2 + MaxMessageSize - 8 - len(alice.prepare(o).Commit))
	if _, err := alice.group.Prepare(alice.rows, CommitOptions{Add: o.Add, Extensions: o.Extensions, Now: testNow}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("got %v, want %v", err, ErrMalformed)
	}
	o.Add = nil
	alice.prepare(o)
}
