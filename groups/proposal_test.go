package groups

import (
	"errors"
	"testing"
)

// spread has all but the sender process a message.
func spread(people []*person, from *person, msg []byte) {
	for _, p := range people {
		if p != from {
			p.process(msg)
		}
	}
}

func TestPrivateProposal(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	msg, err := bob.group.Propose(bob.rows, &Proposal{Type: ProposalRemove, Remove: bob.group.Self()}, Framing{Private: true, Padding: 100})
	if err != nil {
		t.Fatal(err)
	}
	alice.process(msg)
	alice.refuses(msg, ErrReplay)
	carol.process(msg)
	st := alice.prepare(CommitOptions{})
	if len(st.Changes.Removed) != 1 {
		t.Fatal("not committed")
	}
	if r := bob.process(st.Commit); !r.Commit.Changes.SelfRemoved {
		t.Fatal("not removed")
	}
	carol.merge(carol.process(st.Commit).Commit)
	alice.merge(st)
	agree(t, alice, carol)
	var e *EpochError
	if _, err := alice.group.Process(alice.rows, msg, ProcessOptions{}); !errors.As(err, &e) {
		t.Fatal(err)
	}
}
