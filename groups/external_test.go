package groups

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

// plainOf makes a group of RFC 9420 alone of n people with basic credentials.
func plainOf(tb testing.TB, id suite.ID, n int, e ...Extension) []*person {
	tb.Helper()
	people := make([]*person, n)
	for i := range people {
		people[i] = newPlainPerson(tb, id, i)
	}
	alice := people[0]
	g, err := Create(alice.rows, CreateOptions{
		Suite: id, Credential: alice.cred, Signer: alice.signer, Now: testNow, Plain: true, Extensions: e, Capabilities: customCaps,
	})
	if err != nil {
		tb.Fatal(err)
	}
	alice.group = g
	if n > 1 {
		commitAll(alice, nil, CommitOptions{}, people[1:]...)
	}
	return people
}

const customProposal ProposalType = 0xF123

// customCredential is of a type that all plain people know and nobody has.
const customCredential treekem.CredentialType = 0xF00D

var customCaps = Capabilities{
	Proposals:   []treekem.ProposalType{customProposal},
	Credentials: []treekem.CredentialType{treekem.CredentialBasic, customCredential, CredentialEthereum},
}

func newPlainPerson(tb testing.TB, id suite.ID, n int) *person {
	tb.Helper()
	p := newPersonIn(tb, id, n)
	p.plain = true
	p.cred = treekem.Basic([]byte(p.name))
	p.newKeyPackage(id)
	return p
}

// newKeyPackage replaces the person's key package, and its signer if the suite
// is another one.
func (p *person) newKeyPackage(id suite.ID) {
	p.tb.Helper()
	if p.kp.Suite != id {
		s, err := suite.ByID(id)
		if err != nil {
			p.tb.Fatal(err)
		}
		if s.CheckSignatureKey(p.signer.Public()) != nil { // an admin of a successor keeps a key that serves there
			if p.signer, err = s.GenerateSigningKey(); err != nil {
				p.tb.Fatal(err)
			}
		}
	}
	var err error
	p.kp, p.private, err = NewKeyPackage(KeyPackageOptions{
		Suite: id, Credential: p.cred, Signer: p.signer, Capabilities: customCaps,
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(24 * time.Hour),
	})
	if err != nil {
		p.tb.Fatal(err)
	}
}

// info returns what a person outside learns of the epoch.
func (p *person) info(o GroupInfoOptions, tree []byte) *GroupInfo {
	p.tb.Helper()
	msg, err := p.group.GroupInfo(o)
	if err != nil {
		p.tb.Fatal(err)
	}
	i, err := ParseGroupInfo(msg, tree)
	if err != nil {
		p.tb.Fatal(err)
	}
	return i
}

// enter has a person come in by an external commit, which the others follow.
func (p *person) enter(i *GroupInfo, others []*person, o ExternalJoinOptions) *Staged {
	p.tb.Helper()
	o.Credential, o.Signer, o.Capabilities = p.cred, p.signer, customCaps
	st, err := i.Join(o)
	if err != nil {
		p.tb.Fatalf("%s: external commit: %v", p.name, err)
	}
	for _, other := range others {
		r, err := other.group.Process(other.rows, st.Commit, ProcessOptions{PSK: o.PSK})
		if err != nil {
			p.tb.Fatalf("%s: external commit of %s: %v", other.name, p.name, err)
		}
		if !r.Commit.Changes.External || !bytes.Equal(r.Commit.Changes.Committer.Subject, Subject(p.cred)) {
			p.tb.Fatalf("committer %+v", r.Commit.Changes.Committer)
		}
		if !r.Commit.Changes.SelfRemoved {
			other.merge(r.Commit)
		}
	}
	g, past, err := st.Merge(p.rows)
	if err != nil || past != nil {
		p.tb.Fatal(past, err)
	}
	p.group = g
	return st
}

// RFC 9420, Section 12.4.3.2, in every suite.
func TestExternalCommit(t *testing.T) {
	for _, s := range suite.All() {
		t.Run(s.String(), func(t *testing.T) {
			people := plainOf(t, s.ID(), 3)
			dave := newPlainPerson(t, s.ID(), 3)
			// The tree beside the GroupInfo, and a pre-shared key.
			shared := func(id PreSharedKeyID) (secret.Key, bool) { return secret.Copy(id.ID), id.Type == PSKExternal }
			i := people[1].info(GroupInfoOptions{External: true, OmitTree: true}, people[0].group.RatchetTree())
			st := dave.enter(i, people, ExternalJoinOptions{PSKs: []PreSharedKeyID{{Type: PSKExternal, ID: []byte("x")}}, PSK: shared})
			if len(st.Changes.PSKs) != 1 {
				t.Fatal("no pre-shared key")
			}
			people = append(people, dave)
			agree(t, people...)

			// Resync: carol lost her state and comes back in the place of herself.
			carol, old := people[2], people[2].group.Self()
			again := newPlainPerson(t, s.ID(), 2)
			again.signer = carol.signer
			again.enter(dave.info(GroupInfoOptions{External: true}, nil), people, ExternalJoinOptions{Replace: &old})
			people[2] = again
			agree(t, people...)
			if n := people[0].group.Size(); n != 4 {
				t.Fatalf("%d members", n)
			}
			for _, p := range people {
				p.restart()
			}
			commitAll(dave, people[:3], CommitOptions{})
			agree(t, people...)
		})
	}
}

// draft-ietf-mls-extensions: who comes in commits the departure of those who
// leave, and so does a member.
func TestSelfRemove(t *testing.T) {
	people := plainOf(t, suite.X25519AES128GCMEd25519, 4)
	alice, bob, carol, dave := people[0], people[1], people[2], people[3]
	leave := func(p *person, others ...*person) []byte {
		t.Helper()
		msg, err := p.group.Propose(p.rows, &Proposal{Type: ProposalSelfRemove}, Framing{})
		if err != nil {
			t.Fatal(err)
		}
		spread(others, p, msg)
		return msg
	}
	if _, err := carol.group.Propose(carol.rows, &Proposal{Type: ProposalSelfRemove}, Framing{Private: true}); !errors.Is(err, ErrProposal) {
		t.Fatal(err)
	}
	left := leave(carol, alice, bob, dave)
	erin := newPlainPerson(t, suite.X25519AES128GCMEd25519, 9)
	i := alice.info(GroupInfoOptions{External: true}, nil)
	flipped := bytes.Clone(left)
	flipped[len(flipped)-60] ^= 1
	if _, err := i.Join(ExternalJoinOptions{Credential: erin.cred, Signer: erin.signer, SelfRemoves: [][]byte{flipped}}); err == nil {
		t.Fatal("a garbled proposal is committed")
	}
	st := erin.enter(i, people, ExternalJoinOptions{SelfRemoves: [][]byte{left}})
	if len(st.Changes.Removed) != 1 || st.Changes.Removed[0].Leaf != carol.group.Self() {
		t.Fatalf("removed %v", st.Changes.Removed)
	}
	agree(t, alice, bob, dave, erin)

	leave(dave, alice, bob, erin)
	// A Remove of the same leaf gives way.
	msg, err := bob.group.ProposeRemove(bob.rows, dave.group.Self())
	if err != nil {
		t.Fatal(err)
	}
	spread([]*person{alice, dave, erin}, bob, msg)
	st = commitAll(alice, []*person{bob, dave, erin}, CommitOptions{})
	if len(st.Changes.Removed) != 1 || len(st.Changes.Dropped) != 1 || !errors.Is(st.Changes.Dropped[0], ErrDuplicate) {
		t.Fatalf("%+v", st.Changes)
	}
	agree(t, alice, bob, erin)
}

// In a group with roles nobody comes in by itself, and only who might commit
// comes back.
func TestExternalCommitAndRoles(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	i := carol.info(GroupInfoOptions{External: true}, nil)
	dave := newPerson(t, 9)
	for name, c := range map[string]struct {
		who     *person
		replace *LeafIndex
	}{
		"a stranger":              {dave, nil},
		"a second device":         {alice, nil},
		"a member without rights": {bob, ptr(bob.group.Self())},
	} {
		o := ExternalJoinOptions{Credential: c.who.cred, Signer: c.who.signer, Replace: c.replace}
		if _, err := i.Join(o); !errors.Is(err, ErrNotAdmin) {
			t.Errorf("%s: %v", name, err)
		}
		// The same of someone whose software does not mind.
		rebel := *i
		outside := *i.outside
		outside.roles = nil
		rebel.outside = &outside
		st, err := rebel.Join(o)
		if name == "a second device" {
			if !errors.Is(err, ErrDuplicate) { // one signature key twice
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		carol.refuses(st.Commit, ErrNotAdmin)
	}
	if _, err := i.Join(ExternalJoinOptions{Credential: dave.cred, Signer: dave.signer, Replace: ptr(alice.group.Self())}); !errors.Is(err, ErrCredential) {
		t.Fatal(err)
	}
	again := newPerson(t, 0)
	t.Run("an admin's account and another key", func(t *testing.T) {
		o := ExternalJoinOptions{Credential: again.cred, Signer: again.signer, Replace: ptr(alice.group.Self())}
		if _, err := i.Join(o); !errors.Is(err, ErrCredential) {
			t.Fatalf("got %v, want %v", err, ErrCredential)
		}
		rebel, outside := *i, *i.outside
		outside.roles = nil
		rebel.outside = &outside
		st, err := rebel.Join(o)
		if err != nil {
			t.Fatal(err)
		}
		carol.refuses(st.Commit, ErrCredential)
	})
	again.signer = alice.signer
	again.enter(i, people, ExternalJoinOptions{Replace: ptr(alice.group.Self())})
	agree(t, again, bob, carol)
}

// Who may commit but not configure cannot propose a pre-shared key, by which
// others could be shut out. Neither can it by coming back.
func TestExternalCommitWithAKeyAndRoles(t *testing.T) {
	people := groupOf(t, 3, &Roles{Admins: [][]byte{EthereumSubject(acctOf(0))}, Commit: Members})
	key := PreSharedKeyID{Type: PSKExternal, ID: []byte("x")}
	for name, c := range map[string]struct {
		who  int
		want error
	}{"a member": {1, ErrNotAdmin}, "an admin": {0, nil}} {
		t.Run(name, func(t *testing.T) {
			who, other := people[c.who], people[2]
			i := other.info(GroupInfoOptions{External: true}, nil)
			o := ExternalJoinOptions{
				Credential: who.cred, Signer: who.signer, Replace: ptr(who.group.Self()), PSKs: []PreSharedKeyID{key}, PSK: sharedKey,
			}
			if _, err := i.Join(o); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			// The same of someone whose software does not mind.
			rebel, outside := *i, *i.outside
			outside.roles = nil
			rebel.outside = &outside
			st, err := rebel.Join(o)
			if err != nil {
				t.Fatal(err)
			}
			if c.want != nil {
				other.refuses(st.Commit, c.want)
				return
			}
			other.accepts(st.Commit)
		})
	}
}

// Who comes back can prove that it was there by the resumption secret of the
// present epoch, which it has to bring along.
func TestExternalCommitWithResumption(t *testing.T) {
	people := plainOf(t, suite.X25519AES128GCMEd25519, 2)
	alice, bob := people[0], people[1]
	kept := bob.group.ResumptionPSK()
	id := PreSharedKeyID{Type: PSKResumption, Usage: ResumptionApplication, GroupID: bob.group.GroupID(), Epoch: bob.group.Epoch()}
	again := newPlainPerson(t, suite.X25519AES128GCMEd25519, 1)
	again.signer = bob.signer
	o := ExternalJoinOptions{Replace: ptr(bob.group.Self()), PSKs: []PreSharedKeyID{id}, Credential: again.cred, Signer: again.signer}
	i := alice.info(GroupInfoOptions{External: true}, nil)
	if _, err := i.Join(o); !errors.Is(err, ErrUnknownPSK) {
		t.Fatalf("got %v, want %v", err, ErrUnknownPSK)
	}
	o.PSK = func(PreSharedKeyID) (secret.Key, bool) { return kept, true }
	again.enter(i, []*person{alice}, o)
	agree(t, alice, again)
}

func ptr[T any](v T) *T { return &v }

func TestExternalCommitsRefused(t *testing.T) {
	people := plainOf(t, suite.X25519AES128GCMEd25519, 3)
	alice := people[0]
	dave := newPlainPerson(t, suite.X25519AES128GCMEd25519, 9)
	i := alice.info(GroupInfoOptions{External: true}, nil)
	o := ExternalJoinOptions{Credential: dave.cred, Signer: dave.signer}
	st, err := i.Join(o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMessage(st.Commit)
	if err != nil {
		t.Fatal(err)
	}
	init := m.public.content.commit.proposals[0].proposal
	path := m.public.content.commit.path
	remove := func(leaf LeafIndex) *Proposal { return &Proposal{Type: ProposalRemove, Remove: leaf} }
	forge := func(c *commit) []byte {
		t.Helper()
		a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
			groupID: i.GroupID(), epoch: i.Epoch(), sender: Sender{Type: SenderNewMemberCommit}, contentType: ContentCommit, commit: c,
		}}
		if err := a.sign(i.outside.suite, dave.signer, i.outside.context); err != nil {
			t.Fatal(err)
		}
		a.auth.confirmationTag = make([]byte, 32)
		return protectPublic(i.outside.suite, secret.Key{}, a, nil).marshal()
	}
	for name, c := range map[string]struct {
		c    *commit
		want error
	}{
		"no path":              {&commit{proposals: byValue(init)}, ErrMalformed},
		"no external init":     {&commit{path: path}, ErrProposal},
		"two external inits":   {&commit{proposals: byValue(init, init), path: path}, ErrDuplicate},
		"two removals":         {&commit{proposals: byValue(init, remove(1), remove(2)), path: path}, ErrProposal},
		"another's removal":    {&commit{proposals: byValue(init, remove(1)), path: path}, ErrCredential},
		"a blank's removal":    {&commit{proposals: byValue(init, remove(3)), path: path}, ErrNotMember},
		"an add":               {&commit{proposals: byValue(init, &Proposal{Type: ProposalAdd, Add: dave.kp}), path: path}, ErrProposal},
		"an update":            {&commit{proposals: byValue(init, &Proposal{Type: ProposalUpdate, Update: path.Leaf}), path: path}, ErrProposal},
		"extensions":           {&commit{proposals: byValue(init, &Proposal{Type: ProposalGroupContextExtensions}), path: path}, ErrProposal},
		"re-init":              {&commit{proposals: byValue(init, &Proposal{Type: ProposalReInit, ReInit: &ReInit{Version: 1, Suite: 1}}), path: path}, ErrProposal},
		"custom":               {&commit{proposals: byValue(init, &Proposal{Type: customProposal}), path: path}, ErrProposal},
		"a reference":          {&commit{proposals: []proposalOrRef{{proposal: init}, {ref: []byte("x")}}, path: path}, ErrUnknownProposal},
		"a short path":         {&commit{proposals: byValue(init), path: &treekem.UpdatePath{Leaf: path.Leaf}}, ErrTree},
		"a garbled init":       {&commit{proposals: byValue(&Proposal{Type: ProposalExternalInit, KEMOutput: []byte("x")}), path: path}, ErrDecrypt},
		"only the tag is made": {&commit{proposals: byValue(init), path: path}, ErrConfirmationTag},
	} {
		t.Run(name, func(t *testing.T) { people[1].refuses(forge(c.c), c.want) })
	}
	// A proposal that a member sent, by reference.
	msg, err := alice.group.ProposeRemove(alice.rows, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref := people[1].process(msg).Proposal.Ref
	people[1].refuses(forge(&commit{proposals: []proposalOrRef{{proposal: init}, {ref: ref}}, path: path}), ErrProposal)

	noKey := alice.info(GroupInfoOptions{}, nil)
	if _, err := noKey.Join(o); !errors.Is(err, ErrUnsupported) {
		t.Fatal(err)
	}
	for k := range len(st.Commit) {
		flipped := bytes.Clone(st.Commit)
		flipped[k] ^= 1
		r, err := people[1].group.Process(people[1].rows, flipped, ProcessOptions{})
		if err == nil {
			t.Fatalf("byte %d changed, and accepted: %+v", k, r)
		}
		refused(t, err)
	}
	for _, p := range people {
		p.merge(p.process(st.Commit).Commit)
	}
	if dave.group, _, err = st.Merge(dave.rows); err != nil {
		t.Fatal(err)
	}
	agree(t, append(people, dave)...)
}

func TestGroupInfoRefused(t *testing.T) {
	people := plainOf(t, suite.P256AES128GCM, 2)
	msg, err := people[0].group.GroupInfo(GroupInfoOptions{OmitTree: true})
	if err != nil {
		t.Fatal(err)
	}
	tree := people[0].group.RatchetTree()
	if _, err := ParseGroupInfo(msg, nil); !errors.Is(err, ErrTree) {
		t.Fatal(err)
	}
	if _, err := ParseGroupInfo(tree, tree); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	for k := range msg {
		flipped := bytes.Clone(msg)
		flipped[k] ^= 1
		_, err := ParseGroupInfo(flipped, tree)
		if err == nil {
			t.Fatalf("byte %d changed, and accepted", k)
		}
		refused(t, err)
		if _, err := ParseGroupInfo(msg[:k], tree); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d bytes: %v", k, err)
		}
	}
	if _, err := people[0].group.GroupInfo(GroupInfoOptions{Extensions: Extensions{{Type: ExtensionCID}}}); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	i, err := ParseGroupInfo(msg, tree)
	if err != nil || i.Epoch() != 1 || len(i.Members()) != 2 || i.Signer.Leaf != 0 || i.Suite() != suite.P256AES128GCM {
		t.Fatal(i, err)
	}
}

// RFC 9420, Section 12.1.8: each type that an external sender may propose, and
// those that it may not.
func TestExternalSenders(t *testing.T) {
	id := suite.X25519ChaCha20Ed25519
	s, err := suite.ByID(id)
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	e := ExternalSendersExtension([]ExternalSender{{SignatureKey: []byte("other"), Credential: treekem.Basic(nil)}, {key.Public(), treekem.Basic([]byte("bot"))}})
	people := plainOf(t, id, 3, e)
	alice, bob, carol := people[0], people[1], people[2]
	dave := newPlainPerson(t, id, 9)
	shared := func(id PreSharedKeyID) (secret.Key, bool) { return secret.Copy([]byte("k")), true }
	for _, p := range []*Proposal{
		{Type: ProposalAdd, Add: dave.kp},
		{Type: ProposalRemove, Remove: 2},
		{Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKExternal, ID: []byte("x")}},
		{Type: ProposalGroupContextExtensions, Extensions: Extensions{e, {Type: extensionRequired, Data: (&required{}).marshal()}}},
	} {
		msg, err := alice.info(GroupInfoOptions{}, nil).Propose(1, key, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, who := range people {
			r := who.process(msg)
			if r.From != (Sender{Type: SenderExternal, Index: 1}) || r.Proposal == nil || r.Proposal.Sender != r.From {
				t.Fatalf("%+v", r)
			}
			who.refuses(msg, ErrDuplicate)
		}
		st, err := bob.group.Prepare(bob.rows, CommitOptions{Now: testNow, PSK: shared})
		if err != nil || len(st.Changes.Dropped) > 0 {
			t.Fatal(err, st.Changes.Dropped)
		}
		for _, who := range people {
			if who == bob {
				who.merge(st)
				continue
			}
			r, err := who.group.Process(who.rows, st.Commit, ProcessOptions{PSK: shared})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Commit.Changes.SelfRemoved {
				who.merge(r.Commit)
			}
		}
		switch p.Type {
		case ProposalAdd:
			dave.join(st.Welcome)
			people = append(people, dave)
		case ProposalRemove:
			people = slices.DeleteFunc(people, func(p *person) bool { return p == carol })
		}
		agree(t, people...)
	}

	i := alice.info(GroupInfoOptions{}, nil)
	if _, err := i.Propose(0, key, &Proposal{Type: ProposalRemove, Remove: 1}); !errors.Is(err, ErrNotMember) {
		t.Fatal(err)
	}
	if _, err := i.Propose(2, key, &Proposal{Type: ProposalRemove, Remove: 1}); !errors.Is(err, ErrNotMember) {
		t.Fatal(err)
	}
	forge := func(from Sender, k suite.SigningKey, p *Proposal) []byte {
		t.Helper()
		a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
			groupID: i.GroupID(), epoch: i.Epoch(), sender: from, contentType: ContentProposal, proposal: p,
		}}
		if err := a.sign(s, k, nil); err != nil {
			t.Fatal(err)
		}
		return protectPublic(s, secret.Key{}, a, nil).marshal()
	}
	bot := Sender{Type: SenderExternal, Index: 1}
	newcomer := Sender{Type: SenderNewMemberProposal}
	for _, p := range []*Proposal{
		{Type: ProposalUpdate, Update: dave.kp.Leaf},
		{Type: ProposalExternalInit, KEMOutput: []byte("x")},
		{Type: ProposalSelfRemove},
		{Type: customProposal},
	} {
		if _, err := i.Propose(1, key, p); !errors.Is(err, ErrMalformed) {
			t.Errorf("type %d: %v", p.Type, err)
		}
		alice.refuses(forge(bot, key, p), ErrMalformed)
		alice.refuses(forge(newcomer, key, p), ErrMalformed)
	}
	remove := &Proposal{Type: ProposalRemove, Remove: 1}
	alice.refuses(forge(newcomer, key, remove), ErrMalformed)
	alice.refuses(forge(Sender{Type: SenderExternal, Index: 2}, key, remove), ErrNotMember)
	alice.refuses(forge(bot, dave.signer, remove), ErrSignature)
	alice.refuses(forge(bot, key, &Proposal{Type: ProposalRemove, Remove: 7}), ErrNotMember)
	fresh := newPlainPerson(t, id, 12)
	alice.refuses(forge(newcomer, key, &Proposal{Type: ProposalAdd, Add: fresh.kp}), ErrSignature)

	// Someone asks to be let in.
	msg, err := i.ProposeJoin(fresh.kp, fresh.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.ProposeJoin(fresh.kp, key); !errors.Is(err, ErrKeyPackage) {
		t.Fatal(err)
	}
	for _, who := range people {
		who.process(msg)
	}
	st := commitAll(dave, []*person{alice, bob}, CommitOptions{})
	fresh.join(st.Welcome)
	agree(t, alice, bob, dave, fresh)
}

// Where there are roles, who commits a proposal from outside answers for it.
func TestOutsideProposalsAndRoles(t *testing.T) {
	roles := &Roles{Admins: [][]byte{Subject(newPerson(t, 0).cred)}, Commit: Members}
	people := groupOf(t, 2, roles)
	alice, bob := people[0], people[1]
	dave := newPerson(t, 9)
	msg, err := alice.info(GroupInfoOptions{}, nil).ProposeJoin(dave.kp, dave.signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		p.process(msg)
	}
	st := bob.prepare(CommitOptions{})
	if len(st.Changes.Added) != 0 || len(st.Changes.Dropped) != 1 || !errors.Is(st.Changes.Dropped[0], ErrNotAdmin) {
		t.Fatalf("%+v", st.Changes)
	}
	pending, err := bob.group.Pending(bob.rows)
	if err != nil || len(pending) != 1 {
		t.Fatal(pending, err)
	}
	alice.refuses(bob.forge([]proposalOrRef{{ref: pending[0].Ref}}, nil), ErrNotAdmin)
	st = commitAll(alice, []*person{bob}, CommitOptions{})
	dave.join(st.Welcome)
	agree(t, alice, bob, dave)
}

// Nobody outside can fill the room for proposals of members.
func TestOutsidersAreBounded(t *testing.T) {
	alice := plainOf(t, suite.X25519AES128GCMEd25519, 1)[0]
	i := alice.info(GroupInfoOptions{}, nil)
	rows := len(alice.rows[alice.group.cid])
	for n := range MaxPendingOutside + 1 {
		p := newPlainPerson(t, suite.X25519AES128GCMEd25519, 10+n)
		msg, err := i.ProposeJoin(p.kp, p.signer)
		if err != nil {
			t.Fatal(err)
		}
		alice.process(msg)
		if got := len(alice.rows[alice.group.cid]) - rows; got != min(n+1, MaxPendingOutside)+1 { // and the list of them
			t.Fatalf("%d rows with %d proposals", got, n+1)
		}
	}
}

// A type that only the caller understands, by value and by reference.
func TestCustomProposals(t *testing.T) {
	people := plainOf(t, suite.X25519AES128GCMEd25519, 3)
	alice, bob, carol := people[0], people[1], people[2]
	msg, err := bob.group.Propose(bob.rows, &Proposal{Type: customProposal, Custom: []byte("by reference")}, Framing{})
	if err != nil {
		t.Fatal(err)
	}
	spread(people, bob, msg)
	st := alice.prepare(CommitOptions{Proposals: []*Proposal{{Type: customProposal, Custom: []byte("by value")}}})
	r := carol.process(st.Commit)
	got := r.Commit.Changes.Custom
	if len(got) != 2 || string(got[0].Body) != "by value" || got[0].Sender != member(0) ||
		string(got[1].Body) != "by reference" || got[1].Sender != member(1) || got[1].Type != customProposal {
		t.Fatalf("%+v", got)
	}
	carol.merge(r.Commit)
	bob.merge(bob.process(st.Commit).Commit)
	alice.merge(st)
	agree(t, people...)

	// Someone who does not know it may come in beside it, and then it is over;
	// who does not know it and goes is no obstacle (RFC 9420, Section 12.2).
	dave := newPlainPerson(t, suite.X25519AES128GCMEd25519, 9)
	dave.kp, dave.private, err = NewKeyPackage(KeyPackageOptions{
		Suite: dave.kp.Suite, Credential: dave.cred, Signer: dave.signer, NotBefore: testNow, NotAfter: testNow.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	custom := []*Proposal{{Type: customProposal}}
	commitAll(alice, []*person{bob, carol}, CommitOptions{Proposals: custom}, dave)
	if _, err := alice.group.Prepare(alice.rows, CommitOptions{Proposals: custom, Now: testNow}); !errors.Is(err, ErrCapabilities) {
		t.Fatal(err)
	}
	if _, err := alice.group.Propose(alice.rows, custom[0], Framing{}); !errors.Is(err, ErrCapabilities) {
		t.Fatal(err)
	}
	commitAll(alice, []*person{bob, carol, dave}, CommitOptions{Proposals: custom, Remove: []LeafIndex{dave.group.Self()}})
	agree(t, people...)
}
