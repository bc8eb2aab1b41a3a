package groups

import (
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

const fast = suite.X25519AES128GCMEd25519

// RFC 9420, Sections 11.2 and 11.3: a Welcome that is linked to a group is so to
// the right one, and to the right epoch of it, whatever else the joiner knows.
func TestLinkRules(t *testing.T) {
	people := plainOf(t, fast, 3)
	alice, bob := people[0], people[1]
	before := alice.group
	commitAll(alice, people[1:], CommitOptions{})
	to := &ReInit{GroupID: []byte("next"), Version: treekem.MLS10, Suite: fast}
	knows := func(groups ...*Group) PSKSource {
		return func(id PreSharedKeyID) (secret.Key, bool) {
			for _, g := range groups {
				if string(id.GroupID) == string(g.groupID) && id.Epoch == g.number {
					return g.resumption, true
				}
			}
			return secret.Key{}, false
		}
	}
	elsewhere := plainOf(t, fast, 1)[0]
	elsewhere.group.tree = alice.group.tree // another group of the same people
	for _, p := range people {
		p.newKeyPackage(fast)
	}
	link := func(from *Group, usage ResumptionUsage, id suite.ID, members ...*KeyPackage) []byte {
		t.Helper()
		s, err := suite.ByID(id)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := s.GenerateSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		st, err := from.link(usage, id, to.GroupID, to.Extensions, &LinkOptions{
			Members: members, Credential: alice.cred, Signer: signer, Capabilities: customCaps, Now: testNow,
		})
		if err != nil {
			t.Fatal(err)
		}
		return st.Welcome
	}
	here, both := alice.group, keyPackages(people[1:])
	t.Run("a branch", func(t *testing.T) {
		bob.tries(t, link(here, ResumptionBranch, fast, both...), JoinOptions{Parent: bob.group}, nil)
	})
	t.Run("a branch of another group", func(t *testing.T) {
		bob.tries(t, link(elsewhere.group, ResumptionBranch, fast, both...),
			JoinOptions{Parent: bob.group, PSK: knows(elsewhere.group)}, ErrLink)
	})
	t.Run("a branch of another epoch", func(t *testing.T) {
		bob.tries(t, link(before, ResumptionBranch, fast, both...), JoinOptions{Parent: bob.group, PSK: knows(before)}, ErrLink)
	})
	t.Run("a successor of a group that was not closed", func(t *testing.T) {
		bob.tries(t, link(here, ResumptionReInit, fast, both...), JoinOptions{Parent: bob.group}, ErrLink)
	})
	commitAll(alice, people[1:], CommitOptions{Proposals: []*Proposal{{Type: ProposalReInit, ReInit: to}}, NoPath: true})
	here = alice.group
	t.Run("a successor", func(t *testing.T) {
		bob.tries(t, link(here, ResumptionReInit, fast, both...), JoinOptions{Parent: bob.group}, nil)
	})
	t.Run("a successor of another group", func(t *testing.T) {
		bob.tries(t, link(elsewhere.group, ResumptionReInit, fast, both...),
			JoinOptions{Parent: bob.group, PSK: knows(elsewhere.group)}, ErrLink)
	})
	t.Run("a successor without a member", func(t *testing.T) {
		bob.tries(t, link(here, ResumptionReInit, fast, both[0]), JoinOptions{Parent: bob.group}, ErrLink)
	})
	t.Run("no link", func(t *testing.T) {
		bob.tries(t, link(here, ResumptionReInit, fast, both...), JoinOptions{PSK: knows(here)}, ErrLink)
	})
	for _, p := range people {
		p.newKeyPackage(suite.X25519ChaCha20Ed25519)
	}
	both = keyPackages(people[1:])
	t.Run("a successor of another suite", func(t *testing.T) {
		bob.tries(t, link(here, ResumptionReInit, bob.kp.Suite, both...), JoinOptions{Parent: bob.group}, ErrLink)
	})
	t.Run("a branch of another suite", func(t *testing.T) {
		bob.tries(t, link(here, ResumptionBranch, bob.kp.Suite, both...), JoinOptions{Parent: bob.group}, ErrLink)
	})
}
