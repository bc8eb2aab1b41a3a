package groups

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/parley-im/parley/treekem"
)

// Faults that were found in other implementations, by the name they have there.
// Those of trees and paths are in package treekem, those of tags in TestTagRules,
// of lengths in TestDecodingRules.

// OpenMLS GHSA-rrmv-c79f-cf5r: bytes of a stranger, not yet authenticated, made a
// decoder read beyond its input. Whatever is cut, overwritten or blown up, every
// decoder returns an error of its kind, or a value.
func TestPeersDecoder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range samples() {
		decode := wireTypes[s.of]
		for range 400 {
			in := bytes.Clone(s.encoded)
			for range 1 + r.IntN(3) {
				at := r.IntN(len(in))
				switch r.IntN(4) {
				case 0:
					in[at] = byte(r.Uint32())
				case 1:
					in = in[:at+1]
				case 2:
					in = append(in[:at:at], append([]byte{0xbf, 0xff, 0xff, 0xff}, in[at:]...)...)
				default:
					in[at] = 0xff
				}
			}
			if out, err := decode(in); err == nil && !bytes.Equal(in, out) {
				t.Fatalf("%s: %x re-encodes as %x", s.of, in, out)
			}
		}
	}
}

// OpenMLS 2134: a known extension was read as far as it went, and what came
// behind it in the extension's data was dropped.
func TestPeersTrailingBytes(t *testing.T) {
	q := required{}
	for name, e := range map[string]Extension{
		"required_capabilities": {Type: extensionRequired, Data: q.marshal()},
		"external_senders":      ExternalSendersExtension([]ExternalSender{{SignatureKey: []byte("k"), Credential: treekem.Basic(nil)}}),
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkExtensions(Extensions{e}); err != nil {
				t.Fatal(err)
			}
			e.Data = append(e.Data, 0)
			wantErr(t, name, checkExtensions(Extensions{e}), ErrMalformed)
		})
	}
	alice, _, bob, w := inviting(t, false)
	t.Run("ratchet_tree", func(t *testing.T) {
		bob.tries(t, w.sign(alice.signer).seal(nil, nil), JoinOptions{PSK: sharedKey}, nil)
		w.info.extensions[0].Data = append(w.info.extensions[0].Data, 0)
		bob.tries(t, w.sign(alice.signer).seal(nil, nil), JoinOptions{PSK: sharedKey}, ErrMalformed)
	})
	t.Run("application_id", func(t *testing.T) {
		for data, want := range map[string]error{"\x01x": nil, "\x01xy": ErrKeyPackage, "": ErrKeyPackage} {
			kp, p := *bob.kp, bob
			kp.Leaf = kp.Leaf.Clone()
			kp.Leaf.Extensions = Extensions{{Type: 1, Data: []byte(data)}}
			if err := kp.Leaf.Sign(w.s, p.signer, nil, 0); err != nil {
				t.Fatal(err)
			}
			resign(t, &kp, p.signer)
			if err := kp.Validate(testNow); !errors.Is(err, want) {
				t.Errorf("%q: got %v, want %v", data, err, want)
			}
		}
	})
	// external_pub: TestDecodingRules. last_resort: TestKeyPackageRules. Roles:
	// TestRolesExtensionRules.
}

// OpenMLS 2147: a length of 0x3fff was written in too many bytes, so that what
// one member signed was not what another read. Here by a message whose
// authenticated data has each such length.
func TestPeersLengths(t *testing.T) {
	people := plainOf(t, fast, 2)
	alice, bob := people[0], people[1]
	for _, n := range []int{0x3f, 0x40, 0x3ffe, 0x3fff, 0x4000} {
		e := Extension{Type: 0x000A, Data: make([]byte, n)}
		msg, err := alice.group.Propose(snapshot(alice.rows), &Proposal{Type: ProposalGroupContextExtensions, Extensions: Extensions{e}},
			Framing{AuthenticatedData: make([]byte, n)})
		if err != nil {
			t.Fatal(err)
		}
		bob.accepts(msg)
		m, err := parseMessage(msg)
		if err != nil || !bytes.Equal(m.marshal(), msg) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// OpenMLS 1928: a commit that names one pre-shared key twice was accepted. By
// value, by reference, and mixed.
func TestPeersDuplicatePSKs(t *testing.T) {
	people := plainOf(t, fast, 3)
	alice, bob, carol := people[0], people[1], people[2]
	p := &Proposal{Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 32)}}
	one := proposalOrRef{ref: bob.process(carol.utter(p, Framing{})).Proposal.Ref}
	other := proposalOrRef{ref: bob.process(alice.utter(p, Framing{})).Proposal.Ref}
	value := proposalOrRef{proposal: p}
	for name, list := range map[string][]proposalOrRef{
		"by value": {value, value}, "by reference": {one, other}, "mixed": {one, value},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			bob.refuses(alice.forge(list, nil), ErrDuplicate)
		})
	}
	bob.tb = t
	bob.accepts(alice.rebel(false, p))
	// The committer leaves out what was proposed twice, and a Welcome that names
	// it twice is refused too: TestWelcomeRules.
	for _, msg := range [][]byte{carol.utter(p, Framing{}), bob.utter(p, Framing{})} {
		alice.process(msg)
	}
	st, err := alice.group.Prepare(alice.rows, CommitOptions{Now: testNow, PSK: sharedKey})
	if err != nil || len(st.Changes.PSKs) != 1 || len(st.Changes.Dropped) != 1 || !errors.Is(st.Changes.Dropped[0], ErrDuplicate) {
		t.Fatalf("%v %+v", err, st)
	}
}

// OpenMLS 1943: members that a commit removes were asked for capabilities that
// only those who stay need (RFC 9420, Sections 12.1.7 and 12.2).
func TestPeersRemovedMembers(t *testing.T) {
	people := plainOf(t, fast, 2)
	alice, bob := people[0], people[1]
	dave := newPlainPerson(t, fast, 9)
	var err error
	dave.kp, dave.private, err = NewKeyPackage(KeyPackageOptions{
		Suite: fast, Credential: dave.cred, Signer: dave.signer, NotBefore: testNow, NotAfter: testNow.Add(MaxLifetime),
	})
	if err != nil {
		t.Fatal(err)
	}
	commitAll(alice, []*person{bob}, CommitOptions{}, dave)
	q := required{proposals: []ProposalType{customProposal}}
	for name, p := range map[string]*Proposal{
		"a proposal type":      {Type: customProposal},
		"a required proposal":  {Type: ProposalGroupContextExtensions, Extensions: Extensions{{Type: extensionRequired, Data: q.marshal()}}},
		"a required extension": {Type: ProposalGroupContextExtensions, Extensions: Extensions{requiring()}},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb, alice.tb = t, t
			bob.refuses(alice.rebel(true, p), ErrCapabilities)
			if _, err := alice.group.Prepare(alice.rows, CommitOptions{Proposals: []*Proposal{p}, Now: testNow}); !errors.Is(err, ErrCapabilities) {
				t.Error(err)
			}
			st := alice.prepare(CommitOptions{Proposals: []*Proposal{p}, Remove: []LeafIndex{2}})
			bob.accepts(st.Commit)
			dave.accepts(st.Commit) // who need not understand it
		})
	}
}

// OpenMLS 2143: a commit that changed the committer's signature key signed the
// GroupInfo for those it added with the old one, and nobody could join. The same
// for a GroupInfo afterwards, and for who renewed the key by an Update.
func TestPeersSignerRotation(t *testing.T) {
	people := plainOf(t, fast, 2)
	alice, bob := people[0], people[1]
	carol, dave := newPlainPerson(t, fast, 2), newPlainPerson(t, fast, 3)
	next, err := alice.group.suite.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	st := alice.prepare(CommitOptions{Signer: next, Add: []*KeyPackage{carol.kp}})
	carol.join(st.Welcome)
	old := *alice.group
	bob.merge(bob.process(st.Commit).Commit)
	alice.merge(st)
	alice.signer = next
	agree(t, alice, bob, carol)
	if m, _ := bob.group.Member(0); !bytes.Equal(m.SignatureKey, next.Public()) {
		t.Fatal("the old key is still there")
	}
	dave.enter(alice.info(GroupInfoOptions{External: true}, nil), []*person{alice, bob, carol}, ExternalJoinOptions{})
	agree(t, alice, bob, carol, dave)
	// With the old key there is nothing to be done any more.
	rebel := *alice
	g := *alice.group
	g.signer = old.signer
	rebel.group, rebel.rows = &g, snapshot(alice.rows)
	bob.refuses(rebel.utter(&Proposal{Type: ProposalRemove, Remove: 1}, Framing{}), ErrSignature)
	bob.refuses(rebel.rebel(false, &Proposal{Type: ProposalAdd, Add: newPlainPerson(t, fast, 5).kp}), ErrSignature)

	// By an Update, committed by another, who adds someone in the same commit.
	key, err := bob.group.suite.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	update, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	erin := newPlainPerson(t, fast, 4)
	spread([]*person{alice, carol, dave}, bob, update)
	commitAll(alice, []*person{bob, carol, dave}, CommitOptions{}, erin)
	bob.signer = key
	agree(t, alice, bob, carol, dave, erin)
	commitAll(bob, []*person{alice, carol, dave, erin}, CommitOptions{})
	agree(t, alice, bob, carol, dave, erin)
}

// ts-mls 647: an Update of the member at leaf 0 was taken for one of no member.
func TestPeersUpdateFromLeafZero(t *testing.T) {
	for name, f := range map[string]Framing{"public": {}, "private": {Private: true}} {
		t.Run(name, func(t *testing.T) {
			people := plainOf(t, fast, 3)
			alice, bob, carol := people[0], people[1], people[2]
			if alice.group.Self() != 0 {
				t.Fatal("not at leaf 0")
			}
			before, _ := alice.group.tree.Leaf(0)
			msg, err := alice.group.ProposeUpdate(alice.rows, UpdateOptions{Framing: f})
			if err != nil {
				t.Fatal(err)
			}
			spread(people, alice, msg)
			st := commitAll(bob, []*person{alice, carol}, CommitOptions{})
			if len(st.Changes.Updated) != 1 || st.Changes.Updated[0].Leaf != 0 {
				t.Fatalf("%+v", st.Changes)
			}
			after, _ := carol.group.tree.Leaf(0)
			if bytes.Equal(before.EncryptionKey, after.EncryptionKey) {
				t.Fatal("the key is the old one")
			}
			agree(t, people...)
		})
	}
	// Its removal, its leaving and its being a committer are no less.
	people := plainOf(t, fast, 3)
	alice, bob, carol := people[0], people[1], people[2]
	bob.accepts(alice.prepare(CommitOptions{}).Commit)
	leave, err := alice.group.Propose(alice.rows, &Proposal{Type: ProposalSelfRemove}, Framing{})
	if err != nil {
		t.Fatal(err)
	}
	spread(people, alice, leave)
	st := commitAll(bob, []*person{alice, carol}, CommitOptions{})
	if len(st.Changes.Removed) != 1 || st.Changes.Removed[0].Leaf != 0 {
		t.Fatalf("%+v", st.Changes)
	}
	agree(t, bob, carol)
}
