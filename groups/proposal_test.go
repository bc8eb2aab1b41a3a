package groups

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// A random walk through the life of a group: whatever is added, removed and
// updated, by whichever admin, all members agree after every commit, and those
// removed do not follow.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(walks) {
		rng := rand.New(rand.NewPCG(seed, 1))
		all := Roles{Add: Members, Remove: Members, Commit: Members}
		people := groupOf(t, 1, &all)
		next := 1
		pick := func() *person { return people[rng.IntN(len(people))] }
		for step := range 25 {
			committer := pick()
			var o CommitOptions
			var joiners []*person
			for range rng.IntN(3) {
				joiners = append(joiners, newPerson(t, next))
				next++
			}
			gone := map[LeafIndex]bool{}
			for range rng.IntN(4) {
				p := pick()
				switch leaf := p.group.Self(); {
				case p == committer || gone[leaf]:
				case rng.IntN(3) == 0:
					msg, err := p.group.ProposeRemove(p.rows, leaf)
					if err != nil {
						t.Fatal(err)
					}
					spread(people, p, msg)
					gone[leaf] = true
				case rng.IntN(2) == 0:
					o.Remove = append(o.Remove, leaf)
					gone[leaf] = true
				default:
					msg, err := p.group.ProposeUpdate(p.rows, UpdateOptions{})
					if err != nil {
						t.Fatal(err)
					}
					spread(people, p, msg)
				}
			}
			others := slices.DeleteFunc(slices.Clone(people), func(p *person) bool { return p == committer })
			before := committer.group.CID()
			commitAll(committer, others, o, joiners...)
			var stay []*person
			for _, p := range people {
				if !gone[p.group.Self()] {
					stay = append(stay, p)
				} else if p.group.CID() != before {
					t.Fatalf("seed %d, step %d: %s was removed and followed", seed, step, p.name)
				}
			}
			people = append(stay, joiners...)
			if rng.IntN(3) == 0 {
				pick().restart()
			}
			if committer.group.Size() != len(people) {
				t.Fatalf("seed %d, step %d: %d members, want %d", seed, step, committer.group.Size(), len(people))
			}
			first := people[0].group
			for _, p := range people {
				if p.group.CID() != first.CID() || string(p.group.EpochAuthenticator()) != string(first.EpochAuthenticator()) {
					t.Fatalf("seed %d, step %d: %s disagrees", seed, step, p.name)
				}
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
		agree(t, people...)
	}
}

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
