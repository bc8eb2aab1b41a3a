package groups

import (
	"testing"

	"github.com/parley-im/parley/internal/suite"
)

func TestLife(t *testing.T) {
	for _, s := range suite.All() {
		t.Run(s.String(), func(t *testing.T) {
			people := groupIn(t, s.ID(), 3, nil)
			alice, bob, carol := people[0], people[1], people[2]
			agree(t, people...)
			// An update by the committer.
			commitAll(alice, people[1:], CommitOptions{})
			agree(t, people...)
			// An update by a member, through a proposal.
			proposal, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			alice.process(proposal)
			carol.process(proposal)
			st := commitAll(alice, people[1:], CommitOptions{})
			if len(st.Changes.Updated) != 1 || st.Changes.Updated[0].Leaf != bob.group.Self() {
				t.Fatalf("updated: %+v", st.Changes.Updated)
			}
			agree(t, people...)
			// Another joins.
			dave := newPersonIn(t, s.ID(), 4)
			commitAll(alice, people[1:], CommitOptions{}, dave)
			people = append(people, dave)
			agree(t, people...)
			// Bob leaves.
			proposal, err = bob.group.ProposeRemove(bob.rows, bob.group.Self())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []*person{alice, carol, dave} {
				p.process(proposal)
			}
			st = commitAll(alice, []*person{bob, carol, dave}, CommitOptions{})
			if len(st.Changes.Removed) != 1 {
				t.Fatalf("removed: %+v", st.Changes.Removed)
			}
			agree(t, alice, carol, dave)
			// Carol is removed.
			commitAll(alice, []*person{carol, dave}, CommitOptions{Remove: []LeafIndex{carol.group.Self()}})
			agree(t, alice, dave)
			if alice.group.Size() != 2 {
				t.Fatal(alice.group.Size())
			}
		})
	}
}
