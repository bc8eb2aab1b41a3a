package groups

import (
	"errors"
	"math"
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
