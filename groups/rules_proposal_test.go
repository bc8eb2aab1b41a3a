package groups

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// RFC 9420, Section 12.1: what makes one proposal invalid, as a message of its
// own and by value in a commit of which everything else fits.
func TestProposalRules(t *testing.T) {
	people := plainOf(t, fast, 3)
	alice, bob := people[0], people[1]
	remove := func(leaf LeafIndex) *Proposal { return &Proposal{Type: ProposalRemove, Remove: leaf} }
	key := func(typ PSKType, usage ResumptionUsage, nonce int) *Proposal {
		return &Proposal{Type: ProposalPSK, PSK: PreSharedKeyID{
			Type: typ, Usage: usage, ID: []byte("x"), GroupID: alice.group.groupID, Epoch: alice.group.number, Nonce: make([]byte, nonce),
		}}
	}
	context := func(e ...Extension) *Proposal {
		return &Proposal{Type: ProposalGroupContextExtensions, Extensions: e}
	}
	needs := func(q required) Extension { return Extension{Type: extensionRequired, Data: q.marshal()} }
	senders := ExternalSendersExtension([]ExternalSender{{SignatureKey: []byte("key"), Credential: treekem.Basic(nil)}})
	behind := func(e Extension) Extension { return Extension{Type: e.Type, Data: append(bytes.Clone(e.Data), 0)} }
	short := func(e Extension) Extension { return Extension{Type: e.Type, Data: e.Data[:len(e.Data)-1]} }

	for name, c := range map[string]struct {
		p         *Proposal
		by, value error // as a message, and in a commit
	}{
		"a removal":                       {remove(2), nil, nil},
		"a removal of a blank":            {remove(3), ErrNotMember, ErrNotMember},
		"a removal beyond the tree":       {remove(4), ErrNotMember, ErrNotMember},
		"a removal of leaf 2^31":          {remove(1 << 31), ErrNotMember, ErrNotMember},
		"a removal of leaf 2^32-1":        {remove(math.MaxUint32), ErrNotMember, ErrNotMember},
		"a key":                           {key(PSKExternal, 0, 32), nil, nil},
		"a key with a short nonce":        {key(PSKExternal, 0, 31), ErrProposal, ErrProposal},
		"a key with a long nonce":         {key(PSKExternal, 0, 33), ErrProposal, ErrProposal},
		"a key without a nonce":           {key(PSKExternal, 0, 0), ErrProposal, ErrProposal},
		"a resumption key":                {key(PSKResumption, ResumptionApplication, 32), nil, nil},
		"a key for a re-initialisation":   {key(PSKResumption, ResumptionReInit, 32), ErrProposal, ErrProposal},
		"a key for a branch":              {key(PSKResumption, ResumptionBranch, 32), ErrProposal, ErrProposal},
		"a key of no type":                {key(0, ResumptionApplication, 32), ErrMalformed, ErrMalformed},
		"a key of no usage":               {key(PSKResumption, 4, 32), ErrMalformed, ErrMalformed},
		"a re-initialisation":             {&Proposal{Type: ProposalReInit, ReInit: &ReInit{Version: 1, Suite: 1}}, nil, nil},
		"a re-initialisation to the past": {&Proposal{Type: ProposalReInit, ReInit: &ReInit{Version: 0, Suite: 1}}, ErrProposal, ErrProposal},
		"a re-initialisation with one twice": {&Proposal{Type: ProposalReInit, ReInit: &ReInit{
			Version: 1, Suite: 1, Extensions: Extensions{{Type: 9}, {Type: 9}},
		}}, ErrProposal, ErrProposal},
		"an external init":                   {&Proposal{Type: ProposalExternalInit, KEMOutput: make([]byte, 32)}, ErrProposal, ErrProposal},
		"extensions":                         {context(needs(required{}), senders), nil, nil},
		"an extension twice":                 {context(senders, senders), ErrProposal, ErrProposal},
		"an extension nobody knows":          {context(Extension{Type: 0xBEEF}), nil, ErrCapabilities},
		"an extension of GREASE":             {context(Extension{Type: 0x1A1A}), nil, ErrCapabilities},
		"a required extension nobody knows":  {context(needs(required{extensions: []treekem.ExtensionType{0xBEEF}})), nil, ErrCapabilities},
		"a required proposal nobody knows":   {context(needs(required{proposals: []ProposalType{0xBEEF}})), nil, ErrCapabilities},
		"a required credential nobody knows": {context(needs(required{credentials: []treekem.CredentialType{0xBEEF}})), nil, ErrCapabilities},
		"required with a byte behind":        {context(behind(needs(required{}))), ErrMalformed, ErrMalformed},
		"required cut short":                 {context(short(needs(required{}))), ErrMalformed, ErrMalformed},
		"required of as many as can be":      {context(needs(required{extensions: slices.Repeat([]treekem.ExtensionType{ExtensionRoles}, MaxRequired)})), nil, nil},
		"required of too many":               {context(needs(required{extensions: slices.Repeat([]treekem.ExtensionType{ExtensionRoles}, MaxRequired+1)})), ErrMalformed, ErrMalformed},
		"senders with a byte behind":         {context(behind(senders)), ErrMalformed, ErrMalformed},
		"senders cut short":                  {context(short(senders)), ErrMalformed, ErrMalformed},
		"agreement":                          {context(Extension{Type: ExtensionAgreement}), ErrAgreement, ErrAgreement},
		"a type of ours":                     {&Proposal{Type: customProposal, Custom: []byte("x")}, nil, nil},
		"a type nobody knows":                {&Proposal{Type: 0xF999, Custom: []byte("x")}, nil, ErrCapabilities},
		"a type of GREASE":                   {&Proposal{Type: 0x1A1A, Custom: []byte("x")}, nil, ErrCapabilities},
		"the reserved type":                  {&Proposal{Type: 0, Custom: []byte("x")}, ErrMalformed, ErrMalformed},
		"a body beyond its limit":            {&Proposal{Type: customProposal, Custom: make([]byte, MaxCustomProposal+1)}, ErrMalformed, ErrMalformed},
		"a self-remove by value":             {&Proposal{Type: ProposalSelfRemove}, nil, ErrProposal},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb, alice.tb = t, t
			for _, f := range []Framing{{}, {Private: true}} {
				msg := alice.utter(c.p, f)
				switch {
				case c.p.Type == ProposalSelfRemove && f.Private: // newcomers could not read it
					bob.refuses(msg, ErrMalformed)
				case c.by != nil:
					bob.refuses(msg, c.by)
				default:
					bob.accepts(msg)
				}
			}
			if c.p.Type == ProposalSelfRemove || c.p.Type == ProposalRemove && c.value != nil { // which nobody can apply
				m, err := parseMessage(alice.prepare(CommitOptions{}).Commit)
				if err != nil {
					t.Fatal(err)
				}
				bob.refuses(alice.forge(byValue(c.p), m.public.content.commit.path), c.value)
				return
			}
			path := c.p.Type == ProposalGroupContextExtensions || custom(c.p.Type) || c.p.Type == ProposalRemove || c.p.Type == 0
			msg := alice.rebel(path, c.p)
			if c.value == nil {
				bob.accepts(msg)
			} else {
				bob.refuses(msg, c.value)
			}
		})
	}
}

// RFC 9420, Section 12.2: what makes a list of proposals invalid.
func TestProposalListRules(t *testing.T) {
	people := plainOf(t, fast, 4)
	alice, bob, carol, dave := people[0], people[1], people[2], people[3]
	erin, frank := newPlainPerson(t, fast, 7), newPlainPerson(t, fast, 8)
	fresh := func(p *person) *Proposal {
		k, err := p.group.suite.GenerateHPKEKey()
		if err != nil {
			t.Fatal(err)
		}
		old, _ := p.group.tree.Leaf(p.group.self)
		l := old.Clone()
		l.Source, l.Lifetime, l.ParentHash, l.EncryptionKey = treekem.SourceUpdate, treekem.Lifetime{}, nil, k.Public()
		if err := l.Sign(p.group.suite, p.signer, p.group.groupID, p.group.self); err != nil {
			t.Fatal(err)
		}
		return &Proposal{Type: ProposalUpdate, Update: l}
	}
	add := func(p *person) *Proposal { return &Proposal{Type: ProposalAdd, Add: p.kp} }
	remove := func(leaf LeafIndex) *Proposal { return &Proposal{Type: ProposalRemove, Remove: leaf} }
	value := func(p *Proposal) proposalOrRef { return proposalOrRef{proposal: p} }
	by := func(p *person, q *Proposal) proposalOrRef {
		t.Helper()
		return proposalOrRef{ref: bob.process(p.utter(q, Framing{})).Proposal.Ref}
	}
	again := *erin.kp // another key package of the same client
	var err error
	if again.InitKey, err = anotherKey(alice); err == nil {
		again.Leaf = again.Leaf.Clone()
		again.Leaf.EncryptionKey, err = anotherKey(alice)
	}
	if err == nil {
		err = again.Leaf.Sign(alice.group.suite, erin.signer, nil, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	resign(t, &again, erin.signer)
	shared := *frank.kp // another client with the same encryption key
	shared.Leaf = shared.Leaf.Clone()
	shared.Leaf.EncryptionKey = erin.kp.Leaf.EncryptionKey
	if err := shared.Leaf.Sign(alice.group.suite, frank.signer, nil, 0); err != nil {
		t.Fatal(err)
	}
	resign(t, &shared, frank.signer)

	m, err := parseMessage(alice.prepare(CommitOptions{}).Commit)
	if err != nil {
		t.Fatal(err)
	}
	path := m.public.content.commit.path
	update, leave := by(carol, fresh(carol)), by(dave, &Proposal{Type: ProposalSelfRemove})
	reInit := &Proposal{Type: ProposalReInit, ReInit: &ReInit{Version: 1, Suite: 1}}
	context := &Proposal{Type: ProposalGroupContextExtensions}
	psk := &Proposal{Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 32)}}
	for name, c := range map[string]struct {
		list []proposalOrRef
		want error
	}{
		"an update by the committer":           {[]proposalOrRef{by(alice, fresh(alice))}, ErrProposal},
		"an update by value":                   {[]proposalOrRef{value(fresh(alice))}, ErrProposal},
		"a removal of the committer":           {[]proposalOrRef{value(remove(0))}, ErrProposal},
		"its removal proposed by another":      {[]proposalOrRef{by(carol, remove(0))}, ErrProposal},
		"a self-remove of the committer":       {[]proposalOrRef{by(alice, &Proposal{Type: ProposalSelfRemove})}, ErrProposal},
		"two updates of one leaf":              {[]proposalOrRef{update, by(carol, fresh(carol))}, ErrDuplicate},
		"an update and a removal of one leaf":  {[]proposalOrRef{update, value(remove(2))}, ErrDuplicate},
		"a removal and an update of one leaf":  {[]proposalOrRef{value(remove(2)), update}, ErrDuplicate},
		"two removals of one leaf":             {[]proposalOrRef{value(remove(2)), value(remove(2))}, ErrDuplicate},
		"a self-remove and a removal":          {[]proposalOrRef{leave, value(remove(3))}, ErrDuplicate},
		"one reference twice":                  {[]proposalOrRef{leave, leave}, ErrDuplicate},
		"an unknown reference":                 {[]proposalOrRef{{ref: make([]byte, 32)}}, ErrUnknownProposal},
		"an empty reference":                   {[]proposalOrRef{{ref: []byte{}}}, ErrUnknownProposal},
		"one client twice":                     {[]proposalOrRef{value(add(erin)), value(&Proposal{Type: ProposalAdd, Add: &again})}, ErrDuplicate},
		"two clients with one encryption key":  {[]proposalOrRef{value(add(erin)), value(&Proposal{Type: ProposalAdd, Add: &shared})}, ErrDuplicate},
		"a member added":                       {[]proposalOrRef{value(add(carol))}, ErrDuplicate},
		"one pre-shared key twice":             {[]proposalOrRef{value(psk), value(psk)}, ErrDuplicate},
		"two lists of extensions":              {[]proposalOrRef{value(context), value(context)}, ErrDuplicate},
		"a re-initialisation beside another":   {[]proposalOrRef{value(add(erin)), value(reInit)}, ErrProposal},
		"a re-initialisation before another":   {[]proposalOrRef{value(reInit), value(add(erin))}, ErrProposal},
		"two re-initialisations":               {[]proposalOrRef{value(reInit), value(reInit)}, ErrProposal},
		"an external init in a member's":       {[]proposalOrRef{value(&Proposal{Type: ProposalExternalInit, KEMOutput: make([]byte, 32)})}, ErrProposal},
		"a proposal type nobody else supports": {[]proposalOrRef{by(carol, &Proposal{Type: 0xF999})}, ErrCapabilities},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			if name == "a member added" { // only the whole tree shows it
				bob.refuses(alice.forge(c.list, nil), c.want)
				return
			}
			bob.refuses(alice.forge(c.list, path), c.want)
		})
	}
	bob.tb = t
	t.Run("a member added again", func(t *testing.T) { // whose old leaf goes
		bob.accepts(alice.rebel(true, remove(2), add(carol)))
	})
	t.Run("one key with two nonces", func(t *testing.T) { // which are two PreSharedKeyIDs
		other := *psk
		other.PSK.Nonce = bytes.Repeat([]byte{1}, 32)
		r, err := bob.group.Process(snapshot(bob.rows), alice.rebel(false, psk, &other), ProcessOptions{PSK: sharedKey})
		if err != nil || len(r.Commit.Changes.PSKs) != 2 {
			t.Fatal(err)
		}
	})
	t.Run("a reference of another epoch", func(t *testing.T) {
		st := alice.prepare(CommitOptions{IgnorePending: true})
		bob.merge(bob.process(st.Commit).Commit)
		alice.merge(st)
		bob.refuses(alice.forge([]proposalOrRef{update}, path), ErrUnknownProposal)
	})
}

func anotherKey(p *person) ([]byte, error) {
	k, err := p.group.suite.GenerateHPKEKey()
	if err != nil {
		return nil, err
	}
	return k.Public(), nil
}

// RFC 9420, Section 12.4: which commits need a path, and which may do without.
func TestPathRules(t *testing.T) {
	people := plainOf(t, fast, 4)
	alice, bob, carol, dave := people[0], people[1], people[2], people[3]
	erin := newPlainPerson(t, fast, 7)
	update, err := carol.group.ProposeUpdate(carol.rows, UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	by := func(msg []byte) []proposalOrRef {
		return []proposalOrRef{{ref: bob.process(msg).Proposal.Ref}}
	}
	for name, list := range map[string][]proposalOrRef{
		"nothing":       nil,
		"an update":     by(update),
		"a removal":     byValue(&Proposal{Type: ProposalRemove, Remove: 2}),
		"extensions":    byValue(&Proposal{Type: ProposalGroupContextExtensions}),
		"a self-remove": by(dave.utter(&Proposal{Type: ProposalSelfRemove}, Framing{})),
		"a custom type": byValue(&Proposal{Type: customProposal}),
		"an add beside a removal": byValue(
			&Proposal{Type: ProposalAdd, Add: erin.kp}, &Proposal{Type: ProposalRemove, Remove: 2}),
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			bob.refuses(alice.forge(list, nil), ErrProposal)
		})
	}
	for name, p := range map[string]*Proposal{
		"an add":              {Type: ProposalAdd, Add: erin.kp},
		"a re-initialisation": {Type: ProposalReInit, ReInit: &ReInit{Version: 1, Suite: 1}},
		"a resumption key": {Type: ProposalPSK, PSK: PreSharedKeyID{
			Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 32),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			if _, err := bob.group.Process(snapshot(bob.rows), alice.rebel(false, p), ProcessOptions{PSK: sharedKey}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// RFC 9420, Section 12.3: the extensions of a commit are in force for the other
// proposals of the same commit.
func TestExtensionsApplyFirst(t *testing.T) {
	q := required{proposals: []ProposalType{customProposal}}
	demand := Extension{Type: extensionRequired, Data: q.marshal()}
	erin := newPlainPerson(t, fast, 7) // who does not know the type
	kp, _, err := NewKeyPackage(KeyPackageOptions{
		Suite: fast, Credential: erin.cred, Signer: erin.signer, NotBefore: testNow, NotAfter: testNow.Add(MaxLifetime),
	})
	if err != nil {
		t.Fatal(err)
	}
	add := &Proposal{Type: ProposalAdd, Add: kp}
	context := func(e ...Extension) *Proposal {
		return &Proposal{Type: ProposalGroupContextExtensions, Extensions: e}
	}
	t.Run("a demand", func(t *testing.T) {
		people := plainOf(t, fast, 2)
		alice, bob := people[0], people[1]
		bob.accepts(alice.rebel(true, add))
		bob.accepts(alice.rebel(true, context(demand)))
		bob.refuses(alice.rebel(true, context(demand), add), ErrCapabilities)
		bob.refuses(alice.rebel(true, add, context(demand)), ErrCapabilities)
	})
	t.Run("the end of a demand", func(t *testing.T) {
		people := plainOf(t, fast, 2, demand)
		alice, bob := people[0], people[1]
		bob.refuses(alice.rebel(true, add), ErrCapabilities)
		bob.accepts(alice.rebel(true, add, context()))
	})
}

// What a group with roles demands of its GroupContext beside that.
func TestRolesExtensionRules(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	good := alice.group.Extensions()
	change := func(f func(data []byte) []byte) *Proposal {
		e := bytes.Clone(good[1].Data)
		return &Proposal{Type: ProposalGroupContextExtensions, Extensions: Extensions{good[0], {Type: ExtensionRoles, Data: f(e)}}}
	}
	for name, c := range map[string]struct {
		p    *Proposal
		want error
	}{
		"good":            {change(func(b []byte) []byte { return b }), nil},
		"a byte behind":   {change(func(b []byte) []byte { return append(b, 0) }), ErrRoles},
		"cut short":       {change(func(b []byte) []byte { return b[:len(b)-1] }), ErrRoles},
		"another version": {change(func(b []byte) []byte { b[1] = 2; return b }), ErrRoles},
		"nobody":          {change(func(b []byte) []byte { b[2] = 0; return b }), ErrRoles},
		"an admin twice": {change(func(b []byte) []byte {
			a := wire.AppendVec(nil, Subject(alice.cred))
			return wire.AppendVec(b[:7], append(a, a...))
		}), ErrRoles},
		"roles dropped":      {&Proposal{Type: ProposalGroupContextExtensions, Extensions: good[:1]}, ErrRoles},
		"roles not demanded": {&Proposal{Type: ProposalGroupContextExtensions, Extensions: good[1:]}, ErrRoles},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb, alice.tb = t, t
			if c.want == nil {
				bob.accepts(alice.rebel(true, c.p))
				bob.accepts(alice.utter(c.p, Framing{}))
				return
			}
			m, err := parseMessage(alice.prepare(CommitOptions{}).Commit)
			if err != nil {
				t.Fatal(err)
			}
			bob.refuses(alice.forge(byValue(c.p), m.public.content.commit.path), c.want)
			bob.refuses(alice.utter(c.p, Framing{}), c.want)
		})
	}
}

// Who may add but not promote adds nobody whose credential says that it is an
// admin's, true or not; nor does a newcomer by itself.
func TestAddOfAnAdmin(t *testing.T) {
	people := groupOf(t, 3, &Roles{Admins: [][]byte{EthereumSubject(acctOf(0))}, Add: Members, Commit: Members})
	alice, bob, carol := people[0], people[1], people[2]
	second := newPerson(t, 9)
	second.cred = EthereumCredential(acctOf(0), [32]byte{9})
	second.newKeyPackage(second.kp.Suite)
	add := &Proposal{Type: ProposalAdd, Add: second.kp}
	t.Run("by value", func(t *testing.T) {
		if _, err := bob.group.Prepare(bob.rows, CommitOptions{Add: []*KeyPackage{second.kp}, Now: testNow}); !errors.Is(err, ErrNotAdmin) {
			t.Fatalf("got %v, want %v", err, ErrNotAdmin)
		}
		carol.refuses(bob.rebel(true, add), ErrNotAdmin)
		carol.accepts(alice.rebel(true, add))
	})
	t.Run("promoted by the same commit", func(t *testing.T) {
		roles := alice.group.Roles()
		roles.Admins = append(roles.Admins, Subject(newPerson(t, 8).cred))
		promotion := &Proposal{Type: ProposalGroupContextExtensions, Extensions: withRoles(alice.group.Extensions(), roles)}
		ref := carol.process(alice.utter(promotion, Framing{})).Proposal.Ref
		m, err := parseMessage(bob.prepare(CommitOptions{IgnorePending: true}).Commit)
		if err != nil {
			t.Fatal(err)
		}
		both := append([]proposalOrRef{{ref: ref}}, byValue(&Proposal{Type: ProposalAdd, Add: newPerson(t, 8).kp})...)
		carol.refuses(bob.forge(both, m.public.content.commit.path), ErrNotAdmin)
	})
	t.Run("by reference", func(t *testing.T) {
		if _, err := bob.group.Propose(bob.rows, add, Framing{}); !errors.Is(err, ErrNotAdmin) {
			t.Fatalf("got %v, want %v", err, ErrNotAdmin)
		}
		ref := carol.process(bob.utter(add, Framing{})).Proposal.Ref
		carol.refuses(alice.forge([]proposalOrRef{{ref: ref}}, nil), ErrNotAdmin)
	})
	t.Run("by itself", func(t *testing.T) {
		msg, err := alice.info(GroupInfoOptions{}, nil).ProposeJoin(second.kp, second.signer)
		if err != nil {
			t.Fatal(err)
		}
		ref := carol.process(msg).Proposal.Ref
		carol.refuses(bob.forge([]proposalOrRef{{ref: ref}}, nil), ErrNotAdmin)
		carol.refuses(alice.forge([]proposalOrRef{{ref: ref}}, nil), ErrConfirmationTag)
	})
}
