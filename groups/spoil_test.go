package groups

import (
	"errors"
	"testing"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// proposeLeaf makes an Update proposal with any keys, which its sender need not
// have the private halves of.
func (p *person) proposeLeaf(signer suite.SigningKey, encryptionKey []byte) []byte {
	p.tb.Helper()
	g := p.group
	old, ok := g.tree.Leaf(g.self)
	if !ok {
		p.tb.Fatal("no leaf")
	}
	l := old.Clone()
	l.Source, l.Lifetime, l.ParentHash = treekem.SourceUpdate, treekem.Lifetime{}, nil
	l.EncryptionKey = encryptionKey
	if err := l.Sign(g.suite, signer, g.groupID, g.self); err != nil {
		p.tb.Fatal(err)
	}
	msg, err := g.propose(MemoryRows{}, &Proposal{Type: ProposalUpdate, Update: l}, nil, Framing{})
	if err != nil {
		p.tb.Fatal(err)
	}
	return msg
}

// parentKey returns the key of the n-th node of the tree, a parent.
func parentKey(t *testing.T, tree *treekem.Tree, n int) []byte {
	t.Helper()
	r := wire.NewReader(tree.Append(nil)).Sub()
	for i := 0; r.More(); i++ {
		if !r.Optional() {
			continue
		}
		if kind := r.Uint8(); kind == 1 {
			treekem.ReadLeafNode(r)
		} else if p := treekem.ReadParentNode(r); i == n {
			return p.EncryptionKey
		}
	}
	t.Fatalf("node %d is blank", n)
	return nil
}

// What is wrong with a proposal shows in these cases only when it is applied
// with the rest. It is left out, and neither the commit nor what others have
// proposed suffers.
func TestSpoilersOfTheWhole(t *testing.T) {
	anyone := &Roles{Add: Members, Remove: Members, Configure: Members, Commit: Members}
	fresh := func(p *person) []byte {
		k, err := p.group.suite.GenerateHPKEKey()
		if err != nil {
			t.Fatal(err)
		}
		return k.Public()
	}
	for name, c := range map[string]struct {
		spoil func(people []*person) []byte // by the third
		want  error
	}{
		"a friend's signature key": {func(p []*person) []byte {
			return p[2].proposeLeaf(p[1].signer, fresh(p[2]))
		}, ErrDuplicate},
		"a parent's key": {func(p []*person) []byte {
			return p[2].proposeLeaf(p[2].signer, parentKey(t, p[2].group.tree, 13))
		}, ErrDuplicate},
		"a key that nobody knows": {func(p []*person) []byte {
			id := PreSharedKeyID{Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 32)}
			msg, err := p[2].group.propose(p[2].rows, &Proposal{Type: ProposalPSK, PSK: id}, nil, Framing{})
			if err != nil {
				t.Fatal(err)
			}
			return msg
		}, ErrUnknownPSK},
	} {
		t.Run(name, func(t *testing.T) {
			people := groupOf(t, 8, anyone)
			commitAll(people[6], append(people[:6:6], people[7]), CommitOptions{}) // sets node 13
			alice := people[0]
			good := make([][]byte, 0, 3)
			for _, p := range people[3:6] {
				msg, err := p.group.ProposeUpdate(p.rows, UpdateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				good = append(good, msg)
			}
			for i, msg := range [][]byte{good[0], c.spoil(people), good[1], good[2]} {
				for k, p := range people {
					if sender := []int{3, 2, 4, 5}[i]; k != sender {
						p.process(msg)
					}
				}
			}
			st := commitAll(alice, people[1:], CommitOptions{})
			if len(st.Changes.Updated) != 3 || len(st.Changes.Dropped) != 1 || !errors.Is(st.Changes.Dropped[0], c.want) {
				t.Fatalf("updated %d, dropped %v", len(st.Changes.Updated), st.Changes.Dropped)
			}
			agree(t, people...)
		})
	}
}

// commitPrivately makes a commit of one Add, without a path, as a
// PrivateMessage.
func (p *person) commitPrivately(joiner *person) []byte {
	p.tb.Helper()
	return p.prepare(CommitOptions{Add: []*KeyPackage{joiner.kp}, NoPath: true, Framing: Framing{Private: true}}).Commit
}

// The key of an encrypted commit is consumed by the merge, which must not bring
// back what was consumed since the commit was checked, nor leave a secret from
// which another was derived.
func TestMergeOfAPrivateCommit(t *testing.T) {
	for name, between := range map[string]bool{"at once": false, "after a message": true} {
		t.Run(name, func(t *testing.T) {
			people := groupOf(t, 2, nil)
			alice, bob := people[0], people[1]
			app, late := alice.say("hello"), alice.say("late")
			cid := bob.group.cid
			staged := bob.process(alice.commitPrivately(newPerson(t, 9))).Commit
			if between {
				bob.process(app)
			}
			bob.merge(staged)
			for key := range bob.rows[cid] {
				if key[0] == rowNode {
					t.Errorf("node %x of the secret tree is left, though both leaves were taken", string(key))
				}
			}
			past := bob.past[0]
			if got, err := past.Unprotect(bob.rows, late); err != nil || string(got.Plaintext) != "late" {
				t.Fatalf("late message: %v", err)
			}
			if _, err := past.Unprotect(bob.rows, app); between != errors.Is(err, ErrReplay) {
				t.Fatalf("first message: %v", err)
			}
			if _, err := past.Unprotect(bob.rows, app); !errors.Is(err, ErrReplay) {
				t.Fatalf("first message again: %v", err)
			}
		})
	}
}

// encryptAnew encrypts the content of a PrivateMessage a second time, as whoever
// can open it can.
func (p *person) encryptAnew(msg []byte) []byte {
	p.tb.Helper()
	m, err := parseMessage(msg)
	if err != nil {
		p.tb.Fatal(err)
	}
	g, rows := p.group, snapshot(p.rows)
	a, _, generation, _, err := g.decrypt(rows, g, m.private)
	if err != nil {
		p.tb.Fatal(err)
	}
	var out changes
	k, err := g.secretTree(rows).at(ratchetFor(m.private.contentType), a.content.sender.Index, generation, &out)
	if err != nil {
		p.tb.Fatal(err)
	}
	return protectPrivate(g.suite, g.senderData, k, a, 7).marshal()
}

// It is the same commit then, and the epoch that it begins has the same name.
func TestPrivateCommitEncryptedAnew(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	st := alice.prepare(CommitOptions{Framing: Framing{Private: true}})
	received := carol.process(bob.encryptAnew(st.Commit)).Commit
	bob.merge(bob.process(st.Commit).Commit)
	carol.merge(received)
	alice.merge(st)
	agree(t, people...)
	if received.Changes.CID != carol.group.CID() || st.Changes.CID != carol.group.CID() {
		t.Fatal("Changes name another epoch")
	}
}

// And it is the same message, which the sender's next one refers to.
func TestApplicationEncryptedAnew(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	first := alice.say("first")
	got := carol.process(bob.encryptAnew(first)).Application
	carol.refuses(first, ErrReplay)
	next := carol.process(alice.say("next")).Application
	if next.Header.Prev != got.Hash {
		t.Fatal("it looks as if another message was put in the place of the first")
	}
}
