package groups

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// forge makes a commit as a member can whose software checks nothing: well
// signed and tagged for membership, with any proposals and any path. Its
// confirmation tag is worthless, so what it is refused for must come before.
func (p *person) forge(proposals []proposalOrRef, path *treekem.UpdatePath) []byte {
	p.tb.Helper()
	g := p.group
	a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID: g.groupID, epoch: g.number, sender: member(g.self),
		contentType: ContentCommit, commit: &commit{proposals: proposals, path: path},
	}}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		p.tb.Fatal(err)
	}
	a.auth.confirmationTag = make([]byte, g.suite.HashSize())
	return protectPublic(g.suite, g.membership, a, g.context).marshal()
}

func byValue(list ...*Proposal) []proposalOrRef {
	out := make([]proposalOrRef, len(list))
	for i, p := range list {
		out[i].proposal = p
	}
	return out
}

// A hostile admin's commits are refused by what they are, before its
// confirmation tag is looked at.
func TestHostileCommits(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	dave := newPerson(t, 9)
	g := alice.group
	update := func(p *person, change func(l *LeafNode)) *Proposal {
		t.Helper()
		old, ok := p.group.tree.Leaf(p.group.self)
		if !ok {
			t.Fatal("no leaf")
		}
		l := old.Clone()
		l.Source, l.Lifetime, l.ParentHash = treekem.SourceUpdate, treekem.Lifetime{}, nil
		l.EncryptionKey = dave.private.Encryption.Public()
		change(l)
		if err := l.Sign(g.suite, p.signer, g.groupID, p.group.self); err != nil {
			t.Fatal(err)
		}
		return &Proposal{Type: ProposalUpdate, Update: l}
	}
	nothing := func(*LeafNode) {}
	remove := func(leaf LeafIndex) *Proposal { return &Proposal{Type: ProposalRemove, Remove: leaf} }
	add := &Proposal{Type: ProposalAdd, Add: dave.kp}
	psk := &Proposal{Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 32)}}
	short := &Proposal{Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 31)}}
	context := &Proposal{Type: ProposalGroupContextExtensions, Extensions: g.Extensions()}
	linking := func(u ResumptionUsage) *Proposal {
		return &Proposal{Type: ProposalPSK, PSK: PreSharedKeyID{
			Type: PSKResumption, Usage: u, GroupID: g.GroupID(), Epoch: g.Epoch(), Nonce: make([]byte, 32),
		}}
	}
	m, err := parseMessage(alice.prepare(CommitOptions{}).Commit)
	if err != nil {
		t.Fatal(err)
	}
	path := m.public.content.commit.path

	for name, c := range map[string]struct {
		proposals []*Proposal
		path      *treekem.UpdatePath
		want      error
	}{
		"nothing and no path":      {nil, nil, ErrProposal},
		"a removal without a path": {[]*Proposal{remove(2)}, nil, ErrProposal},
		"own removal":              {[]*Proposal{remove(0)}, path, ErrProposal},
		"own update":               {[]*Proposal{update(alice, nothing)}, path, ErrProposal},
		"removal twice":            {[]*Proposal{remove(2), remove(2)}, path, ErrDuplicate},
		"add twice":                {[]*Proposal{add, add}, path, ErrDuplicate},
		"add of a member":          {[]*Proposal{{Type: ProposalAdd, Add: carol.kp}}, nil, ErrDuplicate},
		"psk twice":                {[]*Proposal{psk, psk}, path, ErrDuplicate},
		"psk nobody has":           {[]*Proposal{psk}, path, ErrUnknownPSK},
		"psk with a short nonce":   {[]*Proposal{short}, path, ErrProposal},
		"context twice":            {[]*Proposal{context, context}, path, ErrDuplicate},
		"no roles":                 {[]*Proposal{{Type: ProposalGroupContextExtensions}}, path, ErrRoles},
		"re-init of no version":    {[]*Proposal{{Type: ProposalReInit, ReInit: &ReInit{GroupID: []byte("g"), Suite: 1}}}, nil, ErrProposal},
		"re-init and more":         {[]*Proposal{remove(2), {Type: ProposalReInit, ReInit: &ReInit{GroupID: []byte("g"), Version: 1, Suite: 1}}}, path, ErrProposal},
		"more and re-init":         {[]*Proposal{{Type: ProposalReInit, ReInit: &ReInit{GroupID: []byte("g"), Version: 1, Suite: 1}}, remove(2)}, path, ErrProposal},
		"self-remove by value":     {[]*Proposal{{Type: ProposalSelfRemove}}, path, ErrProposal},
		"a type nobody knows":      {[]*Proposal{{Type: 0xF123, Custom: []byte("x")}}, path, ErrCapabilities},
		"psk of a re-init":         {[]*Proposal{linking(ResumptionReInit)}, path, ErrProposal},
		"psk of a branch":          {[]*Proposal{linking(ResumptionBranch)}, path, ErrProposal},
		"external init":            {[]*Proposal{{Type: ProposalExternalInit, KEMOutput: []byte("x")}}, path, ErrProposal},
		"a path too long":          {nil, &treekem.UpdatePath{Leaf: path.Leaf, Nodes: append(path.Nodes, path.Nodes...)}, ErrTree},
		"a path too short":         {nil, &treekem.UpdatePath{Leaf: path.Leaf}, ErrTree},
		"another's path":           {[]*Proposal{remove(2)}, path, ErrTree},
		"a good path":              {nil, path, ErrConfirmationTag},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			bob.refuses(alice.forge(byValue(c.proposals...), c.path), c.want)
		})
	}
	bob.tb = t
	bob.refuses(alice.forge([]proposalOrRef{{ref: []byte("unheard of")}}, path), ErrUnknownProposal)
	good := update(carol, nothing)
	msg, err := carol.group.propose(MemoryRows{}, good, nil, Framing{})
	if err != nil {
		t.Fatal(err)
	}
	ref := bob.process(msg).Proposal.Ref
	bob.refuses(alice.forge([]proposalOrRef{{ref: ref}, {ref: ref}}, path), ErrDuplicate)
	bob.refuses(alice.forge([]proposalOrRef{{ref: ref}, {proposal: remove(2)}}, path), ErrDuplicate)

	// The successor of a leaf is the same account's.
	key := path.Leaf.EncryptionKey
	thief := path.Leaf.Clone()
	thief.Credential = carol.cred
	if err := thief.Sign(g.suite, alice.signer, g.groupID, 0); err != nil {
		t.Fatal(err)
	}
	bob.refuses(alice.forge(nil, &treekem.UpdatePath{Leaf: thief, Nodes: path.Nodes}), ErrCredential)

	// Updates that a hostile member proposes.
	for name, c := range map[string]struct {
		change func(l *LeafNode)
		want   error
	}{
		"another account":     {func(l *LeafNode) { l.Credential = bob.cred }, ErrCredential},
		"malformed account":   {func(l *LeafNode) { l.Credential.Body = l.Credential.Body[:3] }, ErrCredential},
		"of a key package":    {func(l *LeafNode) { l.Source = treekem.SourceKeyPackage }, ErrProposal},
		"without a new key":   {func(l *LeafNode) { l.EncryptionKey = carol.kp.Leaf.EncryptionKey }, ErrProposal},
		"with an unusable":    {func(l *LeafNode) { l.EncryptionKey = key[:5] }, ErrProposal},
		"without what we use": {func(l *LeafNode) { l.Capabilities.Extensions = nil }, ErrCapabilities},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := carol.group.propose(MemoryRows{}, update(carol, c.change), nil, Framing{}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	unsigned := update(carol, nothing)
	unsigned.Update.Signature = bytes.Clone(unsigned.Update.Signature)
	unsigned.Update.Signature[5] ^= 1
	if _, err := carol.group.propose(MemoryRows{}, unsigned, nil, Framing{}); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
}

// FuzzHostileCommit signs any commit that parses, as a hostile admin can.
func FuzzHostileCommit(f *testing.F) {
	people := groupOf(f, 4, nil)
	alice, bob := people[0], people[1]
	for _, o := range []CommitOptions{
		{},
		{Remove: []LeafIndex{2}},
		{Add: []*KeyPackage{newPerson(f, 9).kp}, Remove: []LeafIndex{1, 2}},
		{Roles: &Roles{Admins: [][]byte{Subject(alice.cred), Subject(bob.cred)}}},
	} {
		m, err := parseMessage(alice.prepare(o).Commit)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.public.content.commit.append(nil))
	}
	rows := snapshot(bob.rows)
	f.Fuzz(func(t *testing.T, in []byte) {
		r := wire.NewReader(in)
		c := readCommit(r)
		if r.Done() != nil {
			return
		}
		alice.tb = t
		got, err := bob.group.Process(bob.rows, alice.forge(c.proposals, c.path), ProcessOptions{Now: testNow})
		if err == nil && !got.Commit.Changes.SelfRemoved { // whom it removes cannot check the tag
			t.Fatal("a worthless confirmation tag is accepted")
		}
		if err != nil {
			refused(t, err)
		}
		if !same(rows, bob.rows) {
			t.Fatal("rows changed")
		}
	})
}

// A proposal that is good alone must not spoil the commits of others: it is
// left out.
func TestSpoilersAreLeftOut(t *testing.T) {
	anyone := Roles{Add: Members, Commit: Members}
	people := groupOf(t, 3, &anyone)
	alice, bob, carol := people[0], people[1], people[2]
	dave := newPerson(t, 9)
	again, err := bob.group.ProposeAdd(bob.rows, carol.kp, testNow) // is in already
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := bob.group.ProposeAdd(bob.rows, dave.kp, testNow)
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range [][]byte{again, fresh} {
		alice.process(msg)
		carol.process(msg)
	}
	st := commitAll(alice, people[1:], CommitOptions{})
	if len(st.Changes.Added) != 1 || len(st.Changes.Dropped) != 1 || !errors.Is(st.Changes.Dropped[0], ErrDuplicate) {
		t.Fatalf("%+v", st.Changes)
	}
	dave.join(st.Welcome)
	agree(t, alice, bob, carol, dave)
}

// rewelcome makes the Welcome for p anew, with another GroupInfo.
func (p *person) rewelcome(welcomed []byte, signer suite.SigningKey, change func(info *groupInfo)) []byte {
	p.tb.Helper()
	s, err := suite.ByID(p.kp.Suite)
	if err != nil {
		p.tb.Fatal(err)
	}
	m, err := parseMessage(welcomed)
	if err != nil {
		p.tb.Fatal(err)
	}
	gs, err := m.welcome.open(s, p.kp, p.private)
	if err != nil {
		p.tb.Fatal(err)
	}
	info, err := m.welcome.openGroupInfo(s, gs.joiner, pskSecret(s, nil))
	if err != nil {
		p.tb.Fatal(err)
	}
	change(info)
	if signer != nil {
		if err := info.sign(s, signer); err != nil {
			p.tb.Fatal(err)
		}
	}
	w := &welcome{suite: s.ID()}
	key, nonce := welcomeKeyNonce(s, welcomeSecret(s, gs.joiner, pskSecret(s, nil)))
	w.encryptedGroupInfo = s.AEAD().Seal(nil, key, nonce, info.append(nil), nil)
	enc, ciphertext, err := s.EncryptWithLabel(p.kp.InitKey, labelWelcome, w.encryptedGroupInfo, gs.append(nil))
	if err != nil {
		p.tb.Fatal(err)
	}
	w.secrets = []encryptedGroupSecrets{{newMember: p.kp.Ref(), kemOutput: enc, ciphertext: ciphertext}}
	return (&message{wireFormat: WireWelcome, welcome: w}).marshal()
}

func TestHostileWelcomes(t *testing.T) {
	alice, bob := newPerson(t, 0), newPerson(t, 1)
	alice.create(nil)
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{bob.kp}})
	other := groupOf(t, 2, nil)[0].group
	for name, c := range map[string]struct {
		signer suite.SigningKey
		change func(info *groupInfo)
		want   error
	}{
		"not signed again":   {nil, func(i *groupInfo) { i.context.epoch++ }, ErrSignature},
		"signed by another":  {bob.signer, func(i *groupInfo) {}, ErrSignature},
		"signer not a leaf":  {alice.signer, func(i *groupInfo) { i.signer = 7 }, ErrNotMember},
		"another epoch":      {alice.signer, func(i *groupInfo) { i.context.epoch++ }, ErrConfirmationTag},
		"another group":      {alice.signer, func(i *groupInfo) { i.context.groupID = []byte("x") }, ErrSignature},
		"another tag":        {alice.signer, func(i *groupInfo) { i.confirmationTag = make([]byte, 32) }, ErrConfirmationTag},
		"another tree hash":  {alice.signer, func(i *groupInfo) { i.context.treeHash = make([]byte, 32) }, ErrTree},
		"another tree":       {alice.signer, func(i *groupInfo) { i.extensions[0].Data = other.tree.Append(nil) }, ErrSignature},
		"a garbled tree":     {alice.signer, func(i *groupInfo) { i.extensions[0].Data = []byte{1, 2, 3} }, ErrMalformed},
		"no tree":            {alice.signer, func(i *groupInfo) { i.extensions = i.extensions[1:] }, ErrTree},
		"no CID":             {alice.signer, func(i *groupInfo) { i.extensions = i.extensions[:1] }, ErrMalformed},
		"a short CID":        {alice.signer, func(i *groupInfo) { i.extensions[1].Data = []byte{1} }, ErrMalformed},
		"an extension twice": {alice.signer, func(i *groupInfo) { i.extensions = append(i.extensions, i.extensions[1]) }, ErrMalformed},
		"no roles":           {alice.signer, func(i *groupInfo) { i.context.extensions = nil }, ErrRoles},
		"agreement": {alice.signer, func(i *groupInfo) {
			i.context.extensions = append(i.context.extensions, Extension{Type: ExtensionAgreement})
		}, ErrAgreement},
		"another suite": {alice.signer, func(i *groupInfo) { i.context.suite = 1 }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tries(t, bob.rewelcome(st.Welcome, c.signer, c.change), JoinOptions{}, c.want)
		})
	}
	alice.merge(st)
	bob.join(bob.rewelcome(st.Welcome, alice.signer, func(*groupInfo) {}))
	agree(t, alice, bob)
	if !alice.group.Export("app", []byte("context"), 40).Equal(bob.group.Export("app", []byte("context"), 40)) ||
		alice.group.Export("app", nil, 40).Equal(bob.group.Export("app2", nil, 40)) {
		t.Fatal("exported secrets")
	}
}

func TestLastResort(t *testing.T) {
	bob := newPerson(t, 1)
	if bob.kp.LastResort() {
		t.Fatal("not asked for")
	}
	var err error
	bob.kp, bob.private, err = NewKeyPackage(KeyPackageOptions{
		Credential: bob.cred, Signer: bob.signer, NotBefore: testNow, NotAfter: testNow.Add(MaxLifetime), LastResort: true,
	})
	if err != nil || !bob.kp.LastResort() {
		t.Fatal(err)
	}
	again, err := ParseKeyPackage(bob.kp.Marshal())
	if err != nil || !again.LastResort() || !bytes.Equal(again.Ref(), bob.kp.Ref()) {
		t.Fatal(err)
	}
	for i := range 2 { // two groups may use it
		alice := newPerson(t, 10+i)
		alice.create(nil)
		commitAll(alice, nil, CommitOptions{}, bob)
		agree(t, alice, bob)
	}
	for _, o := range []KeyPackageOptions{
		{NotBefore: testNow, NotAfter: testNow},
		{NotBefore: testNow, NotAfter: testNow.Add(MaxLifetime + 1)},
	} {
		o.Credential, o.Signer = bob.cred, bob.signer
		if _, _, err := NewKeyPackage(o); !errors.Is(err, ErrLifetime) {
			t.Fatal(err)
		}
	}
	if _, _, err := NewKeyPackage(KeyPackageOptions{Suite: 0xffff}); !errors.Is(err, ErrUnsupported) {
		t.Fatal(err)
	}
	if _, err := ParseKeyPackage([]byte{0, 1, 0, 5}); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
}

// An inviter can make an epoch of its own, in which everything fits but what
// the members can do.
func TestWelcomeBeyondCapabilities(t *testing.T) {
	alice, bob := newPerson(t, 0), newPerson(t, 1)
	alice.create(nil)
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{bob.kp}})
	s := alice.group.suite
	m, err := parseMessage(st.Welcome)
	if err != nil {
		t.Fatal(err)
	}
	gs, err := m.welcome.open(s, bob.kp, bob.private)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		extension treekem.ExtensionType
		want      error
	}{"supported": {extensionLastResort, nil}, "unheard of": {0xBEEF, ErrCapabilities}} {
		welcomed := bob.rewelcome(st.Welcome, alice.signer, func(i *groupInfo) {
			i.context.extensions = append(i.context.extensions, Extension{Type: c.extension})
			sec := scheduleFromJoiner(s, gs.joiner.Clone(), pskSecret(s, nil), i.context.append(nil), false)
			i.confirmationTag = s.MAC(sec.confirmation, i.context.confirmedTranscriptHash)
		})
		t.Run(name, func(t *testing.T) { bob.tries(t, welcomed, JoinOptions{}, c.want) })
	}
}

// The padding of a PrivateMessage is zeros (RFC 9420, Section 6.3.1).
func TestPaddingOfAPrivateMessage(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	g := alice.group
	for _, c := range []struct {
		padding []byte
		want    error
	}{{[]byte{0, 0, 1}, ErrMalformed}, {[]byte{1, 0}, ErrMalformed}, {[]byte{0, 0, 0}, nil}} {
		var out changes
		k, err := g.secretTree(alice.rows).next(ratchetApplication, uint32(g.self), &out)
		if err != nil {
			t.Fatal(err)
		}
		h := AppHeader{}
		a := &authContent{wireFormat: WirePrivateMessage, content: &framedContent{
			groupID: g.groupID, epoch: g.number, sender: member(g.self), authenticatedData: h.marshal(),
			contentType: ContentApplication, application: []byte("x"),
		}}
		if err := a.sign(g.suite, g.signer, g.context); err != nil {
			t.Fatal(err)
		}
		m := protectPrivate(g.suite, g.senderData, k, a, 0)
		sd := senderData{leaf: uint32(g.self), generation: k.generation}
		plain := append(a.auth.append(a.content.appendBody(nil), ContentApplication), c.padding...)
		m.private.ciphertext = g.suite.AEAD().Seal(nil, k.key, guarded(k.nonce, sd.reuseGuard), plain, m.private.appendAAD(nil))
		key, nonce := senderDataCipher(g.suite, g.senderData, m.private.ciphertext)
		data := wire.AppendUint32(wire.AppendUint32(nil, sd.leaf), sd.generation)
		m.private.encryptedSenderData = g.suite.AEAD().Seal(nil, key, nonce, append(data, sd.reuseGuard[:]...), m.private.appendSenderAAD(nil))
		if _, err := bob.group.Unprotect(bob.rows, m.marshal()); !errors.Is(err, c.want) {
			t.Errorf("padding %x: got %v, want %v", c.padding, err, c.want)
		}
	}
}

// Each of these is refused by one check alone.
func TestRefusedByOneCheck(t *testing.T) {
	people := groupOf(t, 2, &Roles{Admins: [][]byte{EthereumSubject(acctOf(0))}, Add: Members, Promote: Members})
	alice, bob := people[0], people[1]
	g := bob.group
	promote := bob.group.Roles()
	promote.Admins = append(promote.Admins, Subject(bob.cred))
	other := newPersonIn(t, suite.X25519ChaCha20Ed25519, 9)
	for name, c := range map[string]struct {
		p    *Proposal
		want error
	}{
		"a promotion": {&Proposal{Type: ProposalGroupContextExtensions, Extensions: withRoles(g.Extensions(), promote)}, nil},
		"a promotion with another extension": {&Proposal{
			Type:       ProposalGroupContextExtensions,
			Extensions: append(withRoles(g.Extensions(), promote), Extension{Type: extensionLastResort}),
		}, ErrNotAdmin},
		"a key package of another suite": {&Proposal{Type: ProposalAdd, Add: other.kp}, ErrKeyPackage},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := g.propose(MemoryRows{}, c.p, nil, Framing{}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}

	// An application message in the clear.
	a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID: g.groupID, epoch: g.number, sender: member(g.self),
		authenticatedData: (&AppHeader{}).marshal(), contentType: ContentApplication, application: []byte("x"),
	}}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		t.Fatal(err)
	}
	alice.refuses(protectPublic(g.suite, g.membership, a, g.context).marshal(), ErrMalformed)

	// An envelope with something behind its message.
	aead, err := chacha20poly1305.NewX(g.envelopeKey.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var tag [TagSize]byte
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	for padding, want := range map[string]error{"\x00\x00": nil, "\x00\x01": ErrMalformed} {
		plain := append(wire.AppendLP(nil, []byte("message")), padding...)
		if _, err := alice.group.Open(tag, aead.Seal(nonce, nonce, plain, envelopeAAD(tag))); !errors.Is(err, want) {
			t.Errorf("padding %x: got %v, want %v", padding, err, want)
		}
	}
}
