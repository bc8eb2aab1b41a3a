package groups

import (
	"bytes"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/vectors"
	"github.com/parley-im/parley/treekem"
)

func TestOwnVectors(t *testing.T) {
	var own []uint16
	for _, s := range suite.All() {
		if s.ID() >= 0xF000 {
			own = append(own, uint16(s.ID()))
		}
	}
	makers := map[string]vectors.Maker{}
	for name, f := range map[string]func(t *testing.T, s *suite.Suite) []any{
		"key-schedule.json":                    makeKeySchedule,
		"psk_secret.json":                      makePSKSecret,
		"transcript-hashes.json":               makeTranscriptHashes,
		"secret-tree.json":                     makeSecretTree,
		"message-protection.json":              makeMessageProtection,
		"welcome.json":                         makeWelcome,
		"messages.json":                        makeMessages,
		"passive-client-welcome.json":          makePassiveWelcome,
		"passive-client-handling-commit.json":  makePassiveCommits,
		"passive-client-external-commits.json": makePassiveExternal,
	} {
		makers[name] = func(t *testing.T, id uint16) []any {
			s, err := suite.ByID(suite.ID(id))
			if err != nil {
				t.Fatal(err)
			}
			return f(t, s)
		}
	}
	vectors.Own(t, own, loaders, makers)
}

func randomBytes(n int) []byte { return secret.Random(n).Bytes() }

func makeKeySchedule(_ *testing.T, s *suite.Suite) []any {
	n := s.HashSize()
	v := keyScheduleCase{suiteCase: suiteCase{s.ID()}, GroupID: randomBytes(16), InitialInitSecret: randomBytes(n)}
	initSecret := secret.Copy(v.InitialInitSecret)
	for i := range uint64(3) {
		e := epochCase{CommitSecret: randomBytes(n), PSKSecret: randomBytes(n), TreeHash: randomBytes(n), ConfirmedTranscriptHash: randomBytes(n)}
		if i == 0 {
			e.PSKSecret = make([]byte, n)
		}
		gc := groupContext{suite: s.ID(), groupID: v.GroupID, epoch: i, treeHash: e.TreeHash, confirmedTranscriptHash: e.ConfirmedTranscriptHash}
		e.GroupContext = gc.append(nil)
		joiner := joinerSecret(s, initSecret, secret.Copy(e.CommitSecret), e.GroupContext)
		sec := scheduleFromJoiner(s, joiner, secret.Copy(e.PSKSecret), e.GroupContext, false)
		e.JoinerSecret, e.WelcomeSecret, e.InitSecret = joiner.Bytes(), sec.welcome.Bytes(), sec.init.Bytes()
		e.SenderDataSecret, e.EncryptionSecret, e.ExporterSecret = sec.senderData.Bytes(), sec.encryption.Bytes(), sec.exporter.Bytes()
		e.EpochAuthenticator, e.ExternalSecret = sec.authenticator.Bytes(), sec.external.Bytes()
		e.ConfirmationKey, e.MembershipKey, e.ResumptionPSK = sec.confirmation.Bytes(), sec.membership.Bytes(), sec.resumption.Bytes()
		if key, err := s.DeriveHPKEKey(sec.external); err == nil {
			e.ExternalPub = key.Public()
		}
		e.Exporter.Label, e.Exporter.Context, e.Exporter.Length = "label", randomBytes(8), 32
		e.Exporter.Secret = mlsExport(s, sec.exporter, e.Exporter.Label, e.Exporter.Context, e.Exporter.Length).Bytes()
		v.Epochs = append(v.Epochs, e)
		initSecret = sec.init
	}
	return []any{v}
}

func makePSKSecret(_ *testing.T, s *suite.Suite) []any {
	var out []any
	for _, n := range []int{0, 1, 3} {
		v := pskSecretCase{suiteCase: suiteCase{s.ID()}, PSKs: []pskCase{}}
		var psks []psk
		for range n {
			p := pskCase{ID: randomBytes(12), PSK: randomBytes(32), Nonce: randomBytes(s.HashSize())}
			v.PSKs = append(v.PSKs, p)
			psks = append(psks, psk{PreSharedKeyID{Type: PSKExternal, ID: p.ID, Nonce: p.Nonce}, secret.Copy(p.PSK)})
		}
		v.PSKSecret = pskSecret(s, psks).Bytes()
		out = append(out, v)
	}
	return out
}

func makeTranscriptHashes(t *testing.T, s *suite.Suite) []any {
	signer, err := s.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID: []byte("group"), epoch: 3, sender: member(1), authenticatedData: []byte("data"), contentType: ContentCommit,
		commit: &commit{proposals: []proposalOrRef{{ref: randomBytes(s.HashSize())}}},
	}}
	gc := groupContext{suite: s.ID(), groupID: a.content.groupID, epoch: 3, treeHash: randomBytes(s.HashSize()), confirmedTranscriptHash: randomBytes(s.HashSize())}
	if err := a.sign(s, signer, gc.append(nil)); err != nil {
		t.Fatal(err)
	}
	v := transcriptCase{suiteCase: suiteCase{s.ID()}, ConfirmationKey: randomBytes(s.HashSize()), InterimBefore: randomBytes(s.HashSize())}
	v.ConfirmedAfter = confirmedTranscriptHash(s, v.InterimBefore, a)
	a.auth.confirmationTag = s.MAC(secret.Copy(v.ConfirmationKey), v.ConfirmedAfter)
	v.InterimAfter = interimTranscriptHash(s, v.ConfirmedAfter, a.auth.confirmationTag)
	v.AuthenticatedContent = a.marshal()
	return []any{v}
}

func makeSecretTree(t *testing.T, s *suite.Suite) []any {
	var out []any
	for _, leaves := range []uint32{1, 4} {
		v := secretTreeCase{suiteCase: suiteCase{s.ID()}, EncryptionSecret: randomBytes(s.HashSize())}
		v.SenderData.Secret, v.SenderData.Ciphertext = randomBytes(s.HashSize()), randomBytes(77)
		key, nonce := senderDataCipher(s, secret.Copy(v.SenderData.Secret), v.SenderData.Ciphertext)
		v.SenderData.Key, v.SenderData.Nonce = key.Bytes(), nonce
		tree := newSecretTree(t, s, leaves, v.EncryptionSecret)
		for leaf := range leaves {
			var list []generationCase
			for _, g := range []uint32{0, 1, 15} {
				hs, app := tree.take(t, ratchetHandshake, leaf, g), tree.take(t, ratchetApplication, leaf, g)
				list = append(list, generationCase{g, app.key.Bytes(), app.nonce, hs.key.Bytes(), hs.nonce})
			}
			v.Leaves = append(v.Leaves, list)
		}
		out = append(out, v)
	}
	return out
}

func makeMessageProtection(t *testing.T, s *suite.Suite) []any {
	const sender = 1
	n := s.HashSize()
	signer, err := s.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	v := protectionCase{
		suiteCase: suiteCase{s.ID()}, GroupID: randomBytes(16), Epoch: 9, TreeHash: randomBytes(n), ConfirmedTranscriptHash: randomBytes(n),
		SignaturePriv: signer.Bytes().Bytes(), SignaturePub: signer.Public(),
		EncryptionSecret: randomBytes(n), SenderDataSecret: randomBytes(n), MembershipKey: randomBytes(n),
	}
	gc := groupContext{suite: s.ID(), groupID: v.GroupID, epoch: v.Epoch, treeHash: v.TreeHash, confirmedTranscriptHash: v.ConfirmedTranscriptHash}
	for _, c := range []struct {
		content        framedContent
		body, pub, prv *vectors.Hex
	}{
		{framedContent{contentType: ContentProposal, proposal: &Proposal{Type: ProposalRemove, Remove: 0}}, &v.Proposal, &v.ProposalPub, &v.ProposalPriv},
		{framedContent{contentType: ContentCommit, commit: &commit{proposals: []proposalOrRef{{ref: randomBytes(n)}}}}, &v.Commit, &v.CommitPub, &v.CommitPriv},
		{framedContent{contentType: ContentApplication, application: []byte("application")}, &v.Application, nil, &v.ApplicationPriv},
	} {
		content := &c.content
		content.groupID, content.epoch, content.sender, content.authenticatedData = v.GroupID, v.Epoch, member(sender), []byte("data")
		*c.body = content.application
		if content.contentType != ContentApplication {
			*c.body = content.appendBody(nil)
		}
		frame := func(f WireFormat) *authContent {
			a := &authContent{wireFormat: f, content: content}
			if err := a.sign(s, signer, gc.append(nil)); err != nil {
				t.Fatal(err)
			}
			if content.contentType == ContentCommit {
				a.auth.confirmationTag = randomBytes(n)
			}
			return a
		}
		k := newSecretTree(t, s, 2, v.EncryptionSecret).take(t, ratchetFor(content.contentType), sender, 0)
		*c.prv = protectPrivate(s, secret.Copy(v.SenderDataSecret), k, frame(WirePrivateMessage), 5).marshal()
		if c.pub != nil {
			*c.pub = protectPublic(s, secret.Copy(v.MembershipKey), frame(WirePublicMessage), gc.append(nil)).marshal()
		}
	}
	return []any{v}
}

func makeWelcome(t *testing.T, s *suite.Suite) []any {
	alice, bob := plainOf(t, s.ID(), 1)[0], newPlainPerson(t, s.ID(), 1)
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{bob.kp}})
	return []any{welcomeCase{
		suiteCase: suiteCase{s.ID()}, InitPriv: bob.private.Init.Bytes().Bytes(), KeyPackage: bob.kp.Marshal(),
		SignerPub: alice.signer.Public(), Welcome: st.Welcome,
	}}
}

func makeMessages(t *testing.T, s *suite.Suite) []any {
	people := plainOf(t, s.ID(), 2)
	alice, dave := people[0], newPlainPerson(t, s.ID(), 9)
	body := func(p *Proposal) vectors.Hex { return p.append(nil)[2:] } // without its type
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{dave.kp}})
	info, err := alice.group.GroupInfo(GroupInfoOptions{External: true})
	if err != nil {
		t.Fatal(err)
	}
	update, err := people[1].group.ProposeUpdate(people[1].rows, UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMessage(update)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := parseMessage(st.Commit)
	if err != nil {
		t.Fatal(err)
	}
	// An application message in the clear, which may be written but not sent.
	clear := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID: alice.group.groupID, epoch: alice.group.number, sender: member(0), contentType: ContentApplication, application: []byte("hello"),
	}}
	if err := clear.sign(s, alice.signer, alice.group.context); err != nil {
		t.Fatal(err)
	}
	private, err := alice.group.ProtectPlain(alice.rows, []byte("hello"), Framing{Padding: 8})
	if err != nil {
		t.Fatal(err)
	}
	psks := PreSharedKeyID{Type: PSKResumption, Usage: ResumptionApplication, GroupID: []byte("g"), Epoch: 4, Nonce: randomBytes(s.HashSize())}
	return []any{map[string]vectors.Hex{
		"mls_welcome":                       st.Welcome,
		"mls_group_info":                    info,
		"mls_key_package":                   dave.kp.Marshal(),
		"ratchet_tree":                      alice.group.RatchetTree(),
		"group_secrets":                     (&groupSecrets{joiner: secret.Random(s.HashSize()), pathSecret: secret.Random(s.HashSize()), psks: []PreSharedKeyID{psks}}).append(nil),
		"add_proposal":                      body(&Proposal{Type: ProposalAdd, Add: dave.kp}),
		"update_proposal":                   body(m.public.content.proposal),
		"remove_proposal":                   body(&Proposal{Type: ProposalRemove, Remove: 1}),
		"pre_shared_key_proposal":           body(&Proposal{Type: ProposalPSK, PSK: psks}),
		"re_init_proposal":                  body(&Proposal{Type: ProposalReInit, ReInit: &ReInit{GroupID: []byte("next"), Version: treekem.MLS10, Suite: s.ID()}}),
		"external_init_proposal":            body(&Proposal{Type: ProposalExternalInit, KEMOutput: randomBytes(65)}),
		"group_context_extensions_proposal": body(&Proposal{Type: ProposalGroupContextExtensions, Extensions: Extensions{{Type: extensionRequired, Data: (&required{}).marshal()}}}),
		"commit":                            committed.public.content.commit.append(nil),
		"public_message_application":        protectPublic(s, alice.group.membership, clear, alice.group.context).marshal(),
		"public_message_proposal":           update,
		"public_message_commit":             st.Commit,
		"private_message":                   private,
	}}
}

// watched is a group in which someone only follows, and what it is sent.
type watched struct {
	people     []*person
	record     *passiveClient
	psks       []pskCase
	resumption map[uint64]secret.Key // of the epochs so far
}

// watch makes a group of three and a joiner, who comes in as the options say.
func watch(t *testing.T, s *suite.Suite, o CommitOptions, withTree bool) *watched {
	t.Helper()
	w := &watched{people: plainOf(t, s.ID(), 3), psks: []pskCase{{ID: []byte("first"), PSK: randomBytes(32)}, {ID: []byte("second"), PSK: randomBytes(32)}}, resumption: map[uint64]secret.Key{}}
	joiner := newPlainPerson(t, s.ID(), 3)
	o.Add, o.OmitTree, o.PSK, o.Now = append(o.Add, joiner.kp), !withTree, w.source, testNow
	alice := w.people[0]
	st, err := alice.group.Prepare(alice.rows, o)
	if err != nil {
		t.Fatal(err)
	}
	w.deliver(t, alice, st.Commit)
	alice.merge(st)
	w.resumption[alice.group.Epoch()] = alice.group.ResumptionPSK()
	w.record = &passiveClient{
		suiteCase: suiteCase{s.ID()}, ExternalPSKs: w.psks,
		KeyPackage: joiner.kp.Marshal(), SignaturePriv: joiner.signer.Bytes().Bytes(),
		EncryptionPriv: joiner.private.Encryption.Bytes().Bytes(), InitPriv: joiner.private.Init.Bytes().Bytes(),
		Welcome: st.Welcome, InitialEpochAuthenticator: alice.group.EpochAuthenticator(), Epochs: []passiveEpoch{},
	}
	if !withTree {
		tree := vectors.Hex(alice.group.RatchetTree())
		w.record.RatchetTree = &tree
	}
	return w
}

func (w *watched) source(id PreSharedKeyID) (secret.Key, bool) {
	if id.Type == PSKResumption {
		k, ok := w.resumption[id.Epoch]
		return k, ok
	}
	for _, p := range w.psks {
		if bytes.Equal(p.ID, id.ID) {
			return secret.Copy(p.PSK), true
		}
	}
	return secret.Key{}, false
}

// deliver has all but the sender process a message, and those removed leave.
func (w *watched) deliver(t *testing.T, from *person, msg []byte) {
	t.Helper()
	var stay []*person
	for _, p := range w.people {
		if p == from {
			stay = append(stay, p)
			continue
		}
		r, err := p.group.Process(p.rows, msg, ProcessOptions{PSK: w.source})
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		if r.Commit != nil && r.Commit.Changes.SelfRemoved {
			continue
		}
		if r.Commit != nil {
			p.merge(r.Commit)
		}
		stay = append(stay, p)
	}
	w.people = stay
}

// epoch records what a commit and the proposals before it do. propose returns
// the proposals, each with its sender.
func (w *watched) epoch(t *testing.T, committer int, o CommitOptions, proposals ...func() (from *person, msg []byte, err error)) {
	t.Helper()
	e := passiveEpoch{Proposals: []vectors.Hex{}}
	for _, propose := range proposals {
		from, msg, err := propose()
		if err != nil {
			t.Fatal(err)
		}
		w.deliver(t, from, msg)
		e.Proposals = append(e.Proposals, msg)
	}
	o.PSK, o.Now = w.source, testNow
	c := w.people[committer]
	st, err := c.group.Prepare(c.rows, o)
	if err != nil {
		t.Fatal(err)
	}
	w.deliver(t, c, st.Commit)
	c.merge(st)
	w.committed(c, e, st)
}

func (w *watched) committed(c *person, e passiveEpoch, st *Staged) {
	w.resumption[c.group.Epoch()] = c.group.ResumptionPSK()
	e.Commit, e.EpochAuthenticator = st.Commit, c.group.EpochAuthenticator()
	w.record.Epochs = append(w.record.Epochs, e)
}

func makePassiveWelcome(t *testing.T, s *suite.Suite) []any {
	first := PreSharedKeyID{Type: PSKExternal, ID: []byte("first")}
	return []any{
		watch(t, s, CommitOptions{PSKs: []PreSharedKeyID{first}}, true).record,
		watch(t, s, CommitOptions{NoPath: true}, false).record,
	}
}

// makePassiveCommits makes commits of every kind that members make. Those added
// are not heard of again.
func makePassiveCommits(t *testing.T, s *suite.Suite) []any {
	w := watch(t, s, CommitOptions{}, true)
	alice, bob, carol := w.people[0], w.people[1], w.people[2]
	type proposal = func() (*person, []byte, error)
	update := func(p *person, f Framing) proposal {
		return func() (*person, []byte, error) {
			msg, err := p.group.ProposeUpdate(p.rows, UpdateOptions{Framing: f})
			return p, msg, err
		}
	}
	propose := func(p *person, what *Proposal, f Framing) proposal {
		return func() (*person, []byte, error) {
			msg, err := p.group.Propose(p.rows, what, f)
			return p, msg, err
		}
	}
	private := Framing{Private: true, Padding: 16, AuthenticatedData: []byte("data")}
	external := PreSharedKeyID{Type: PSKExternal, ID: []byte("second")}
	resumption := PreSharedKeyID{Type: PSKResumption, Usage: ResumptionApplication, GroupID: alice.group.GroupID(), Epoch: 2}

	w.epoch(t, 0, CommitOptions{})
	w.epoch(t, 1, CommitOptions{Add: []*KeyPackage{newPlainPerson(t, s.ID(), 4).kp}, NoPath: true, Framing: private})
	w.epoch(t, 2, CommitOptions{}, update(bob, Framing{}), propose(alice, &Proposal{Type: ProposalRemove, Remove: 4}, private))
	w.epoch(t, 1, CommitOptions{PSKs: []PreSharedKeyID{external, resumption}, NoPath: true})
	w.epoch(t, 0, CommitOptions{Framing: private},
		propose(carol, &Proposal{Type: ProposalAdd, Add: newPlainPerson(t, s.ID(), 5).kp}, private),
		propose(bob, &Proposal{Type: ProposalPSK, PSK: external}, Framing{}),
		propose(carol, &Proposal{Type: ProposalGroupContextExtensions, Extensions: Extensions{{Type: extensionRequired, Data: (&required{}).marshal()}}}, Framing{}))
	w.epoch(t, 0, CommitOptions{Proposals: []*Proposal{{Type: customProposal, Custom: []byte("custom")}}}, propose(carol, &Proposal{Type: ProposalSelfRemove}, Framing{}))
	return []any{w.record}
}

// makePassiveExternal makes external commits, one of which comes back in the
// place of itself, and the proposal of someone outside.
func makePassiveExternal(t *testing.T, s *suite.Suite) []any {
	w := watch(t, s, CommitOptions{}, true)
	enter := func(p *person, o ExternalJoinOptions) {
		o.PSK = w.source
		info := w.people[0].info(GroupInfoOptions{External: true}, nil)
		st := p.enter(info, w.people, o)
		w.people = append(w.people, p)
		w.committed(p, passiveEpoch{Proposals: []vectors.Hex{}}, st)
	}
	dave := newPlainPerson(t, s.ID(), 8)
	enter(dave, ExternalJoinOptions{PSKs: []PreSharedKeyID{{Type: PSKExternal, ID: []byte("first")}}})
	bob := w.people[1]
	again := newPlainPerson(t, s.ID(), 1)
	again.signer = bob.signer
	w.people = append(w.people[:1:1], w.people[2:]...)
	enter(again, ExternalJoinOptions{Replace: ptr(bob.group.Self())})
	erin := newPlainPerson(t, s.ID(), 9)
	w.epoch(t, 0, CommitOptions{}, func() (*person, []byte, error) {
		msg, err := w.people[1].info(GroupInfoOptions{}, nil).ProposeJoin(erin.kp, erin.signer)
		return nil, msg, err
	})
	return []any{w.record}
}
