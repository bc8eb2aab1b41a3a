package groups

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

// snapshot copies a person's rows, to see whether a call changed them.
func snapshot(m MemoryRows) MemoryRows {
	out := make(MemoryRows)
	for cid, rows := range m {
		out[cid] = make(map[RowKey][]byte)
		for k, v := range rows {
			out[cid][k] = bytes.Clone(v)
		}
	}
	return out
}

func same(a, b MemoryRows) bool {
	return maps.EqualFunc(a, b, func(x, y map[RowKey][]byte) bool { return maps.EqualFunc(x, y, bytes.Equal) })
}

// refuses checks that a message is refused with an error, and that nothing of
// the receiver's state changes.
func (p *person) refuses(msg []byte, want error) {
	p.tb.Helper()
	rows, state := snapshot(p.rows), p.group.Marshal()
	r, err := p.group.Process(p.rows, msg, ProcessOptions{Now: testNow})
	if !errors.Is(err, want) || r != nil {
		p.tb.Fatalf("%s: got %v, want %v", p.name, err, want)
	}
	if !same(rows, p.rows) || !state.Equal(p.group.Marshal()) {
		p.tb.Fatalf("%s: refusing changed its state", p.name)
	}
}

func (p *person) say(text string) []byte {
	p.tb.Helper()
	msg, _, err := p.group.Protect(p.rows, []byte(text))
	if err != nil {
		p.tb.Fatal(err)
	}
	return msg
}

func TestFlippedBits(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob := people[0], people[1]
	proposal, err := bob.group.ProposeRemove(bob.rows, bob.group.Self())
	if err != nil {
		t.Fatal(err)
	}
	commit := alice.prepare(CommitOptions{}).Commit
	for name, msg := range map[string][]byte{"application": alice.say("hello"), "commit": commit} {
		before, state := snapshot(bob.rows), bob.group.Marshal()
		for i := range len(msg) * 8 {
			if name == "commit" && i%23 != 0 {
				continue // long, and each costs a signature check
			}
			flipped := bytes.Clone(msg)
			flipped[i/8] ^= 1 << (i % 8)
			_, err := bob.group.Process(bob.rows, flipped, ProcessOptions{})
			if err == nil {
				t.Fatalf("%s with bit %d flipped is accepted", name, i)
			}
			refused(t, err)
		}
		if !same(before, bob.rows) || !state.Equal(bob.group.Marshal()) {
			t.Fatalf("%s: state changed", name)
		}
		bob.process(msg)
	}
	for i := range len(proposal) * 8 {
		flipped := bytes.Clone(proposal)
		flipped[i/8] ^= 1 << (i % 8)
		_, err := alice.group.Process(alice.rows, flipped, ProcessOptions{})
		if err == nil {
			t.Fatalf("proposal with bit %d flipped is accepted", i)
		}
		refused(t, err)
	}
	alice.process(proposal)
}

func TestReplay(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	first, second, third := alice.say("1"), alice.say("2"), alice.say("3")
	for _, msg := range [][]byte{third, first} {
		bob.process(msg)
		bob.refuses(msg, ErrReplay)
	}
	bob.process(second) // out of order, from a skipped key
	for _, msg := range [][]byte{first, second, third} {
		bob.refuses(msg, ErrReplay)
	}
	alice.refuses(first, ErrOwnMessage)
}

func TestTooFarAhead(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	at := func(generation uint32) []byte {
		h := AppHeader{N: uint64(generation)}
		a := &authContent{wireFormat: WirePrivateMessage, content: &framedContent{
			groupID: alice.group.groupID, epoch: alice.group.number, sender: member(0),
			authenticatedData: h.marshal(), contentType: ContentApplication, application: []byte("x"),
		}}
		if err := a.sign(alice.group.suite, alice.signer, alice.group.context); err != nil {
			t.Fatal(err)
		}
		k := messageKey{generation: generation, key: secret.Random(32), nonce: make([]byte, 12)}
		return protectPrivate(alice.group.suite, alice.group.senderData, k, a, 0).marshal()
	}
	bob.refuses(at(math.MaxUint32), ErrTooFarAhead)
	bob.refuses(at(MaxGenerationsAhead+1), ErrTooFarAhead)
	bob.refuses(at(MaxGenerationsAhead), ErrDecrypt) // within reach, but not its key

	var last []byte
	for range MaxGenerationsAhead + 1 {
		last = alice.say("x")
	}
	beyond := alice.say("y")
	bob.refuses(beyond, ErrTooFarAhead)
	bob.process(last)
	bob.process(beyond)
}

// A member that jumps ahead again and again cannot make others keep keys
// without end.
func TestSkippedKeysAreBounded(t *testing.T) {
	s, err := suite.ByID(suite.Secp256k1ChaCha20Poly1305)
	if err != nil {
		t.Fatal(err)
	}
	rows := MemoryRows{}
	tree := &secretTree{suite: s, leaves: 1, rows: rows}
	var first changes
	tree.start(secret.Random(32), &first)
	if err := first.write(rows, CID{}); err != nil {
		t.Fatal(err)
	}
	for jump := range uint32(8) {
		var out changes
		if _, err := tree.at(ratchetApplication, 0, (jump+1)*MaxGenerationsAhead-1, &out); err != nil {
			t.Fatal(err)
		}
		if err := out.write(rows, CID{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(rows[CID{}]); n > MaxSkippedKeys+4 || n < MaxSkippedKeys-10 {
		t.Fatalf("%d rows", n)
	}
	var out changes
	if _, err := tree.at(ratchetApplication, 0, 5, &out); !errors.Is(err, ErrReplay) {
		t.Fatal(err)
	}
	if _, err := tree.at(ratchetApplication, 0, 7*MaxGenerationsAhead+5, &out); err != nil {
		t.Fatal(err)
	}
}

func TestRatchetEnd(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	alice.say("first")
	key := rowKey(rowRatchet, uint32(ratchetApplication), 0)
	state := &ratchetState{next: math.MaxUint32, oldest: math.MaxUint32, secret: secret.Random(32)}
	alice.rows[alice.group.cid][key] = state.marshal()
	last := alice.say("the last generation there is")
	if _, _, err := alice.group.Protect(alice.rows, nil); !errors.Is(err, ErrExhausted) {
		t.Fatal(err)
	}
	bob.rows[bob.group.cid][key] = state.marshal()
	bob.process(last)
	bob.refuses(last, ErrReplay)
}

func TestWrongEpochAndGroup(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	late := alice.say("late")
	st := alice.prepare(CommitOptions{})
	alice.merge(st)
	early := alice.say("early")
	bob.refuses(early, &EpochError{Have: 1, Got: 2})
	bob.merge(bob.process(st.Commit).Commit)
	for _, msg := range [][]byte{st.Commit, late} {
		_, err := bob.group.Process(bob.rows, msg, ProcessOptions{})
		var e *EpochError
		if !errors.As(err, &e) || e.Have != 2 || e.Got != 1 {
			t.Fatal(err)
		}
	}
	bob.process(early)
	other := groupOf(t, 2, nil)
	bob.refuses(other[0].say("elsewhere"), ErrWrongGroup)
}

// Is makes EpochErrors comparable in these tests.
func (e *EpochError) Is(target error) bool {
	o, ok := target.(*EpochError)
	return ok && *o == *e
}

// reframe changes a public message as a member can who holds the epoch's keys.
func (p *person) reframe(msg []byte, change func(m *publicMessage)) []byte {
	p.tb.Helper()
	m, err := parseMessage(bytes.Clone(msg))
	if err != nil {
		p.tb.Fatal(err)
	}
	change(m.public)
	return protectPublic(p.group.suite, p.group.membership, m.public.authenticated(), p.group.context).marshal()
}

func TestForgedCommits(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	st := alice.prepare(CommitOptions{})

	bob.refuses(alice.reframe(st.Commit, func(m *publicMessage) { m.content.sender.Index = 3 }), ErrNotMember)
	bob.refuses(alice.reframe(st.Commit, func(m *publicMessage) { m.content.sender.Index = math.MaxUint32 }), ErrNotMember)
	bob.refuses(alice.reframe(st.Commit, func(m *publicMessage) { m.content.sender.Index = 2 }), ErrSignature)
	bob.refuses(alice.reframe(st.Commit, func(m *publicMessage) { m.content.sender.Type = SenderExternal }), ErrMalformed)
	bob.refuses(alice.reframe(st.Commit, func(m *publicMessage) { m.auth.confirmationTag[0] ^= 1 }), ErrConfirmationTag)
	bob.refuses(alice.reframe(st.Commit, func(m *publicMessage) { m.auth.signature[9] ^= 1 }), ErrSignature)
	stranger := groupOf(t, 1, nil)[0]
	m, err := parseMessage(st.Commit)
	if err != nil {
		t.Fatal(err)
	}
	bob.refuses(protectPublic(alice.group.suite, stranger.group.membership, m.public.authenticated(), alice.group.context).marshal(), ErrMembershipTag)

	// A member whose software does not mind the roles.
	if _, err := carol.group.Prepare(carol.rows, CommitOptions{Now: testNow}); !errors.Is(err, ErrNotAdmin) {
		t.Fatal(err)
	}
	rebel := *carol.group
	rebel.roles = &Roles{Add: Members, Remove: Members, Promote: Members, Configure: Members, Commit: Members}
	forged, err := rebel.Prepare(carol.rows, CommitOptions{Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	bob.refuses(forged.Commit, ErrNotAdmin)
	alice.refuses(forged.Commit, ErrNotAdmin)
	dave := newPerson(t, 9)
	for _, p := range []*Proposal{
		{Type: ProposalAdd, Add: dave.kp},
		{Type: ProposalRemove, Remove: bob.group.Self()},
		{Type: ProposalGroupContextExtensions, Extensions: withRoles(alice.group.Extensions(), Roles{Admins: [][]byte{Subject(carol.cred)}})},
	} {
		if _, err := carol.group.propose(carol.rows, p, nil, Framing{}); !errors.Is(err, ErrNotAdmin) {
			t.Fatalf("proposal %d: %v", p.Type, err)
		}
		msg, err := rebel.propose(MemoryRows{}, p, nil, Framing{})
		if err != nil {
			t.Fatal(err)
		}
		alice.refuses(msg, ErrNotAdmin)
	}

	// The honest one is still good.
	for _, p := range people[1:] {
		p.merge(p.process(st.Commit).Commit)
	}
	alice.merge(st)
	agree(t, people...)
	alice.refuses(st.Commit, &EpochError{Have: 2, Got: 1})
}

func TestOwnHandshakes(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice := people[0]
	alice.refuses(alice.prepare(CommitOptions{}).Commit, ErrOwnMessage)
}

func TestWelcomeRefused(t *testing.T) {
	alice, bob, carol := newPerson(t, 0), newPerson(t, 1), newPerson(t, 2)
	alice.create(nil)
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{bob.kp}})
	join := func(p *person, welcome []byte, o JoinOptions) error {
		t.Helper()
		rows := MemoryRows{}
		_, err := Join(rows, welcome, o)
		if err != nil && len(rows) > 0 {
			t.Fatal("a refused welcome left rows")
		}
		return err
	}
	if err := join(carol, st.Welcome, JoinOptions{KeyPackage: carol.kp, Private: carol.private, Signer: carol.signer}); !errors.Is(err, ErrWelcomeNotForUs) {
		t.Fatal(err)
	}
	if err := join(carol, st.Welcome, JoinOptions{KeyPackage: bob.kp, Private: carol.private, Signer: bob.signer}); !errors.Is(err, ErrDecrypt) {
		t.Fatal(err)
	}
	if err := join(bob, st.Welcome, JoinOptions{KeyPackage: bob.kp, Private: bob.private, Signer: carol.signer}); !errors.Is(err, ErrKeyPackage) {
		t.Fatal(err)
	}
	if err := join(bob, st.Commit, JoinOptions{KeyPackage: bob.kp, Private: bob.private, Signer: bob.signer}); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	mine := JoinOptions{KeyPackage: bob.kp, Private: bob.private, Signer: bob.signer}
	for i := 0; i < len(st.Welcome)*8; i += 17 {
		flipped := bytes.Clone(st.Welcome)
		flipped[i/8] ^= 1 << (i % 8)
		err := join(bob, flipped, mine)
		if err == nil {
			t.Fatalf("bit %d flipped is accepted", i)
		}
		refused(t, err)
	}
	if err := join(bob, st.Welcome, mine); err != nil {
		t.Fatal(err)
	}
	refs, err := WelcomeRefs(st.Welcome)
	if err != nil || len(refs) != 1 || !bytes.Equal(refs[0], bob.kp.Ref()) {
		t.Fatal(refs, err)
	}
}

func TestKeyPackagesRefused(t *testing.T) {
	alice, bob := newPerson(t, 0), newPerson(t, 1)
	alice.create(nil)
	try := func(change func(kp *KeyPackage), now time.Time, want error) {
		t.Helper()
		kp := *bob.kp
		kp.Leaf = kp.Leaf.Clone()
		change(&kp)
		if err := kp.Validate(now); !errors.Is(err, want) {
			t.Fatalf("validate: got %v, want %v", err, want)
		}
		if _, err := alice.group.Prepare(alice.rows, CommitOptions{Add: []*KeyPackage{&kp}, Now: now}); !errors.Is(err, want) {
			t.Fatalf("prepare: got %v, want %v", err, want)
		}
		if _, err := alice.group.ProposeAdd(alice.rows, &kp, now); !errors.Is(err, want) {
			t.Fatalf("propose: got %v, want %v", err, want)
		}
	}
	resign := func(kp *KeyPackage) {
		s, _ := suite.ByID(kp.Suite)
		if err := kp.Leaf.Sign(s, bob.signer, nil, 0); err != nil {
			t.Fatal(err)
		}
		var err error
		if kp.Signature, err = s.SignWithLabel(bob.signer, labelKeyPackageTBS, kp.unsigned(nil)); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(*KeyPackage) {}
	try(nothing, testNow.Add(48*time.Hour), ErrLifetime)
	try(nothing, testNow.Add(-48*time.Hour), ErrLifetime)
	try(func(kp *KeyPackage) { kp.Leaf.Lifetime.NotAfter = math.MaxUint64; resign(kp) }, testNow, ErrLifetime)
	try(func(kp *KeyPackage) { kp.InitKey = kp.Leaf.EncryptionKey; resign(kp) }, testNow, ErrKeyPackage)
	try(func(kp *KeyPackage) { kp.InitKey = []byte{4}; resign(kp) }, testNow, ErrKeyPackage)
	try(func(kp *KeyPackage) { kp.Leaf.Source = treekem.SourceUpdate; resign(kp) }, testNow, ErrKeyPackage)
	try(func(kp *KeyPackage) { kp.Suite = 0xffff }, testNow, ErrUnsupported)
	try(func(kp *KeyPackage) { kp.Signature = bytes.Clone(kp.Signature); kp.Signature[3] ^= 1 }, testNow, ErrSignature)
	try(func(kp *KeyPackage) { kp.Leaf.Credential = alice.cred }, testNow, ErrSignature)
	try(func(kp *KeyPackage) { kp.Leaf.Credential.Body = kp.Leaf.Credential.Body[:50]; resign(kp) }, testNow, ErrCredential)
	if err := bob.kp.Validate(testNow); err != nil {
		t.Fatal(err)
	}

	// Valid by itself, but not for this group.
	lacking := *bob.kp
	lacking.Leaf = bob.kp.Leaf.Clone()
	lacking.Leaf.Capabilities.Extensions = nil
	resign(&lacking)
	basic := *bob.kp
	basic.Leaf = bob.kp.Leaf.Clone()
	basic.Leaf.Credential = treekem.Basic(Subject(alice.cred))
	basic.Leaf.Capabilities.Credentials = []treekem.CredentialType{treekem.CredentialBasic, CredentialEthereum}
	resign(&basic)
	for _, kp := range []*KeyPackage{&lacking, &basic} {
		if err := kp.Validate(testNow); err != nil {
			t.Fatal(err)
		}
		if _, err := alice.group.Prepare(alice.rows, CommitOptions{Add: []*KeyPackage{kp}, Now: testNow}); !errors.Is(err, ErrCapabilities) {
			t.Fatal(err)
		}
	}
	other := newPersonIn(t, suite.P256AES128GCM, 5)
	if _, err := alice.group.Prepare(alice.rows, CommitOptions{Add: []*KeyPackage{other.kp}, Now: testNow}); !errors.Is(err, ErrKeyPackage) {
		t.Fatal(err)
	}
}

func TestProposalListsRefused(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	dave := newPerson(t, 9)
	nobody := Roles{}
	for name, c := range map[string]struct {
		o    CommitOptions
		want error
	}{
		"remove oneself":      {CommitOptions{Remove: []LeafIndex{0}}, ErrProposal},
		"remove a blank":      {CommitOptions{Remove: []LeafIndex{3}}, ErrNotMember},
		"remove beyond":       {CommitOptions{Remove: []LeafIndex{1 << 30}}, ErrNotMember},
		"remove twice":        {CommitOptions{Remove: []LeafIndex{1, 1}}, ErrDuplicate},
		"add twice":           {CommitOptions{Add: []*KeyPackage{dave.kp, dave.kp}}, ErrDuplicate},
		"add a member":        {CommitOptions{Add: []*KeyPackage{bob.kp}}, ErrDuplicate},
		"no admin":            {CommitOptions{Roles: &nobody}, ErrLastMember},
		"unsupported":         {CommitOptions{Extensions: append(slices.Clone(alice.group.Extensions()), Extension{Type: 0xABCD})}, ErrCapabilities},
		"agreement":           {CommitOptions{Extensions: append(slices.Clone(alice.group.Extensions()), Extension{Type: ExtensionAgreement})}, ErrAgreement},
		"roles dropped":       {CommitOptions{Extensions: alice.group.Extensions()[:1]}, ErrRoles},
		"roles not required":  {CommitOptions{Extensions: alice.group.Extensions()[1:]}, ErrRoles},
		"extension twice":     {CommitOptions{Extensions: append(slices.Clone(alice.group.Extensions()), alice.group.Extensions()[0])}, ErrProposal},
		"unknown psk":         {CommitOptions{PSKs: []PreSharedKeyID{{Type: PSKExternal, ID: []byte("x")}}}, ErrUnknownPSK},
		"psk for another use": {CommitOptions{PSKs: []PreSharedKeyID{{Type: PSKResumption, Usage: ResumptionBranch}}}, ErrProposal},
		"bad verifier":        {CommitOptions{Add: []*KeyPackage{dave.kp}, Verifier: verdict{errors.New("no")}}, ErrCredential},
		"another's account":   {CommitOptions{Credential: &bob.cred}, ErrCredential},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Now = testNow
			before := snapshot(alice.rows)
			if _, err := alice.group.Prepare(alice.rows, c.o); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if !same(before, alice.rows) {
				t.Error("rows changed")
			}
		})
	}
	// Proposals of others that are good alone.
	update, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leave, err := bob.group.ProposeRemove(bob.rows, bob.group.Self())
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range [][]byte{update, leave} {
		alice.process(msg)
		alice.refuses(msg, ErrDuplicate)
	}
	st := alice.prepare(CommitOptions{})
	if len(st.Changes.Removed) != 1 || len(st.Changes.Updated) != 0 || len(st.Changes.Dropped) != 1 {
		t.Fatalf("%+v", st.Changes)
	}
	carol.refuses(st.Commit, ErrUnknownProposal)
	carol.process(leave)
	carol.merge(carol.process(st.Commit).Commit)

	// An update that takes another's account.
	if _, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{Credential: &carol.cred}); !errors.Is(err, ErrCredential) {
		t.Fatal(err)
	}
}

// verdict is a verifier with one answer.
type verdict struct{ err error }

func (v verdict) VerifyCredential(Credential, []byte) error { return v.err }

// What a receiver thinks of a credential or a lifetime does not make a commit
// invalid.
func TestUntrustedIsReported(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	dave := newPerson(t, 9)
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{dave.kp}, Verifier: verdict{}})
	why := errors.New("revoked")
	r, err := bob.group.Process(bob.rows, st.Commit, ProcessOptions{Verifier: verdict{why}, Now: testNow.Add(1000 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ch := r.Commit.Changes
	if len(ch.Untrusted) != 1 || !errors.Is(ch.Untrusted[0].Err, why) || !errors.Is(ch.Untrusted[0].Err, ErrLifetime) ||
		!ch.Untrusted[0].Member.Credential.Equal(dave.cred) {
		t.Fatalf("%+v", ch.Untrusted)
	}
	bob.merge(r.Commit)
	alice.merge(st)
	agree(t, alice, bob)
	j, err := Join(dave.rows, st.Welcome, JoinOptions{KeyPackage: dave.kp, Private: dave.private, Signer: dave.signer, Verifier: verdict{why}})
	if err != nil || len(j.Untrusted) != 3 || j.Inviter.Leaf != 0 {
		t.Fatal(err, j)
	}
}
