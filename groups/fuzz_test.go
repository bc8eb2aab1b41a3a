package groups

import (
	"bytes"
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// typed fails for an error that is not one of the refusals.
func typed(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		refused(tb, err)
	}
}

// target is a group, and a message of every kind that bob, who is in it, takes.
type target struct {
	alice, bob, newcomer *person
	rows                 MemoryRows // bob's
	botKey               suite.SigningKey
	valid                map[string][]byte
}

func (g *target) source(PreSharedKeyID) (secret.Key, bool) { return secret.Copy([]byte("key")), true }

func newTarget(tb testing.TB) *target {
	tb.Helper()
	id := suite.X25519AES128GCMEd25519
	s, err := suite.ByID(id)
	if err != nil {
		tb.Fatal(err)
	}
	g := &target{valid: map[string][]byte{}}
	if g.botKey, err = s.GenerateSigningKey(); err != nil {
		tb.Fatal(err)
	}
	senders := ExternalSendersExtension([]ExternalSender{{g.botKey.Public(), treekem.Basic([]byte("bot"))}})
	people := plainOf(tb, id, 5, senders)
	g.alice, g.bob, g.newcomer = people[0], people[1], newPlainPerson(tb, id, 9)
	commitAll(people[2], []*person{g.alice, g.bob, people[3], people[4]}, CommitOptions{Remove: []LeafIndex{3}}) // a blank
	keep := func(name string, msg []byte, err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		g.valid[name] = msg
	}
	// Alice makes everything from the same state, as if nothing else was sent.
	rows := func() MemoryRows { return snapshot(g.alice.rows) }
	a, nonce := g.alice.group, make([]byte, s.HashSize())
	reInit := &ReInit{GroupID: []byte("next"), Version: treekem.MLS10, Suite: id}
	for name, f := range map[string]Framing{"public ": {AuthenticatedData: []byte("data")}, "private ": {Private: true, Padding: 9}} {
		for what, p := range map[string]*Proposal{
			"add": {Type: ProposalAdd, Add: g.newcomer.kp}, "remove": {Type: ProposalRemove, Remove: 2},
			"psk":     {Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKExternal, ID: []byte("id"), Nonce: nonce}},
			"re-init": {Type: ProposalReInit, ReInit: reInit}, "context": {Type: ProposalGroupContextExtensions, Extensions: Extensions{senders}},
			"custom": {Type: customProposal, Custom: []byte("custom")}, "self-remove": {Type: ProposalSelfRemove},
		} {
			if p.Type == ProposalSelfRemove && f.Private {
				continue
			}
			msg, err := a.Propose(rows(), p, f)
			keep(name+what, msg, err)
		}
		msg, err := a.ProposeUpdate(rows(), UpdateOptions{Framing: f})
		keep(name+"update", msg, err)
		for what, o := range map[string]CommitOptions{
			"commit": {}, "commit of many": {Add: []*KeyPackage{g.newcomer.kp}, Remove: []LeafIndex{2}, PSKs: []PreSharedKeyID{{Type: PSKExternal, ID: []byte("id")}}},
			"commit without a path": {Add: []*KeyPackage{g.newcomer.kp}, NoPath: true}, "commit of a re-init": {Proposals: []*Proposal{{Type: ProposalReInit, ReInit: reInit}}},
		} {
			o.Framing, o.PSK, o.Now = f, g.source, testNow
			st, err := a.Prepare(rows(), o)
			if err != nil {
				tb.Fatal(err)
			}
			keep(name+what, st.Commit, nil)
			if what == "commit of many" {
				keep("welcome", st.Welcome, nil)
			}
		}
	}
	msg, _, err := a.Protect(rows(), []byte("hello"))
	keep("application", msg, err)
	i := g.alice.info(GroupInfoOptions{External: true}, nil)
	msg, err = i.Propose(0, g.botKey, &Proposal{Type: ProposalRemove, Remove: 2})
	keep("external sender's remove", msg, err)
	msg, err = i.ProposeJoin(g.newcomer.kp, g.newcomer.signer)
	keep("newcomer's add", msg, err)
	st, err := i.Join(ExternalJoinOptions{Credential: g.newcomer.cred, Signer: g.newcomer.signer, Capabilities: customCaps})
	if err != nil {
		tb.Fatal(err)
	}
	keep("external commit", st.Commit, nil)
	msg, err = a.GroupInfo(GroupInfoOptions{External: true})
	keep("group info", msg, err)
	keep("key package", g.newcomer.kp.Marshal(), nil)
	g.rows = snapshot(g.bob.rows)
	return g
}

// try hands bob a message from a peer, who may hold all keys of a member.
func (g *target) try(tb testing.TB, msg []byte) (*Received, error) {
	tb.Helper()
	rows := snapshot(g.rows)
	var r *Received
	var err error
	bounded(tb, "message", len(msg), memoryFactor, func() {
		r, err = g.bob.group.Process(rows, msg, ProcessOptions{Now: testNow, PSK: g.source})
	})
	typed(tb, err)
	if err != nil && (r != nil || !same(rows, g.rows)) {
		tb.Fatalf("a message is refused (%v) and changes rows", err)
	}
	return r, err
}

// enter hands newcomers a Welcome and a GroupInfo.
func (g *target) enter(tb testing.TB, msg []byte) error {
	tb.Helper()
	rows := MemoryRows{}
	var err error
	bounded(tb, "welcome", len(msg), treeFactor, func() {
		_, err = Join(rows, msg, JoinOptions{
			KeyPackage: g.newcomer.kp, Private: g.newcomer.private, Signer: g.newcomer.signer, PSK: g.source, Plain: true,
		})
	})
	typed(tb, err)
	if err != nil && len(rows) > 0 {
		tb.Fatalf("a welcome is refused (%v) and leaves rows", err)
	}
	return err
}

func (g *target) look(tb testing.TB, msg, tree []byte) (*GroupInfo, error) {
	tb.Helper()
	var i *GroupInfo
	var err error
	bounded(tb, "group info", len(msg)+len(tree), treeFactor, func() { i, err = ParseGroupInfo(msg, tree) })
	typed(tb, err)
	return i, err
}

// kinds are the names of the valid messages in order: a fuzzer's input names a
// message by its place here, since every process has keys of its own.
func (g *target) kinds() []string { return slices.Sorted(maps.Keys(g.valid)) }

// kind returns the message at a place.
func (g *target) kind(n uint8) []byte {
	all := g.kinds()
	return g.valid[all[int(n)%len(all)]]
}

// mutate changes a message as a script says: operations, each with a place and a
// number of bytes.
func mutate(in, script []byte) []byte {
	out := bytes.Clone(in)
	for len(script) >= 4 && len(out) > 0 && len(out) <= 2*len(in)+1024 {
		op, n := script[0], int(script[3])
		at := (int(script[1])<<8 | int(script[2])) % len(out)
		script = script[4:]
		end := min(len(out), at+n%64)
		switch op % 7 {
		case 0:
			out[at] ^= byte(n)
		case 1: // a length is another
			out[at] = []byte{0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff}[n%9]
		case 2:
			out = slices.Delete(out, at, end)
		case 3:
			out = slices.Insert(out, at, bytes.Clone(out[at:end])...)
		case 4:
			k := min(n%16, len(script))
			out, script = slices.Insert(out, at, script[:k]...), script[k:]
		case 5:
			k := min(n%16, len(script))
			script = script[copy(out[at:], script[:k]):]
		default:
			if n == 0 {
				out = out[:at]
			} else {
				out = append(out, byte(n))
			}
		}
	}
	return out
}

// scripts are some to begin with.
var scripts = [][]byte{nil, {0, 0, 40, 1}, {2, 0, 9, 3, 1, 0, 60, 5}, {3, 0, 30, 33}, {4, 0, 20, 2, 9, 9}, {6, 1, 0, 0}, {6, 0, 0, 7}}

var mutations = flag.Int("mutations", 60, "how many mutations of each message TestMutatedMessages tries")

// No mutation of a valid message of any kind is accepted, nor does it earn a
// panic, an error without a type or much memory.
func TestMutatedMessages(t *testing.T) {
	g := newTarget(t)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, msg := range g.valid {
		accepts := func(msg []byte) error {
			switch name {
			case "welcome":
				return g.enter(t, msg)
			case "group info":
				_, err := g.look(t, msg, nil)
				return err
			case "key package":
				kp, err := ParseKeyPackage(msg)
				if err != nil {
					typed(t, err)
					return err
				}
				err = kp.Validate(testNow)
				typed(t, err)
				return err
			}
			_, err := g.try(t, msg)
			return err
		}
		if err := accepts(msg); err != nil {
			t.Fatalf("%s is refused: %v", name, err)
		}
		for range *mutations {
			script := make([]byte, 4*(1+rng.IntN(3))+rng.IntN(4))
			for i := range script {
				script[i] = byte(rng.IntN(256))
			}
			bad := mutate(msg, script)
			if err := accepts(bad); err == nil && !bytes.Equal(bad, msg) {
				t.Fatalf("seed %d: %s, mutated, is accepted: %x", seed, name, bad)
			}
		}
	}
	if len(g.valid) < 25 {
		t.Errorf("only %d kinds of messages", len(g.valid))
	}
}

// seal makes a message as one can who holds alice's keys, or is outside, and
// whose software is hostile: from any bytes, or any content that decodes.
func (g *target) seal(tb testing.TB, in []byte, how uint8) ([]byte, bool) {
	tb.Helper()
	a := g.alice.group
	typ := ContentType(how/4%3 + 1)
	body := &framedContent{groupID: a.groupID, epoch: a.number, sender: member(a.self), contentType: typ}
	encrypt := func(plain []byte) []byte {
		var out changes
		k, err := a.secretTree(g.alice.rows).next(ratchetFor(typ), uint32(a.self), &out)
		if err != nil {
			tb.Fatal(err)
		}
		m := &privateMessage{groupID: a.groupID, epoch: a.number, contentType: typ}
		m.ciphertext = a.suite.AEAD().Seal(nil, k.key, k.nonce, plain, m.appendAAD(nil))
		key, nonce := senderDataCipher(a.suite, a.senderData, m.ciphertext)
		data := wire.AppendUint32(wire.AppendUint32(nil, uint32(a.self)), k.generation)
		m.encryptedSenderData = a.suite.AEAD().Seal(nil, key, nonce, append(data, 0, 0, 0, 0), m.appendSenderAAD(nil))
		return (&message{wireFormat: WirePrivateMessage, private: m}).marshal()
	}
	if how%4 == 1 {
		return encrypt(in), true
	}
	r := wire.NewReader(in)
	body.readBody(r)
	if r.Done() != nil {
		return nil, false
	}
	c := &authContent{wireFormat: WirePublicMessage, content: body}
	signer := a.signer
	switch how / 12 % 4 {
	case 1:
		body.sender, signer = Sender{Type: SenderExternal}, g.botKey
	case 2:
		body.sender, signer = Sender{Type: SenderNewMemberProposal}, g.newcomer.signer
	case 3:
		body.sender, signer = Sender{Type: SenderNewMemberCommit}, g.newcomer.signer
	}
	if how%4 == 2 {
		if body.sender.Type != SenderMember {
			return nil, false
		}
		c.wireFormat = WirePrivateMessage
	}
	if err := c.sign(a.suite, signer, a.context); err != nil {
		tb.Fatal(err)
	}
	c.auth.confirmationTag = make([]byte, a.suite.HashSize())
	if c.wireFormat == WirePrivateMessage {
		return encrypt(c.auth.append(body.appendBody(nil), typ)), true
	}
	return protectPublic(a.suite, a.membership, c, a.context).marshal(), true
}

// FuzzProcess hands a member whatever comes: mutations of a message of every
// kind, and what a hostile member or outsider can sign and encrypt. Nothing may
// be accepted that nobody sent, but what such a sender proposes or says; nothing
// may change on a refusal, and memory is bounded.
func FuzzProcess(f *testing.F) {
	g := newTarget(f)
	for kind := range g.kinds() {
		for _, script := range scripts {
			f.Add(uint8(kind), script, uint8(0))
		}
		m, err := parseMessage(g.kind(uint8(kind)))
		if err != nil || m.wireFormat != WirePublicMessage {
			continue
		}
		for how := uint8(1); how < 4; how++ {
			c := m.public.content
			f.Add(uint8(kind), scripts[kind%len(scripts)], how+4*(uint8(c.contentType)-1)+12*(uint8(c.sender.Type)-1))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, script []byte, how uint8) {
		valid := g.kind(kind)
		if how%4 == 0 {
			in := mutate(valid, script)
			if _, err := g.try(t, in); err == nil && !bytes.Equal(in, valid) {
				t.Fatal("a message nobody sent is accepted")
			}
			return
		}
		// What is inside of a public message, changed and signed again.
		m, err := parseMessage(valid)
		if err != nil || m.wireFormat != WirePublicMessage {
			return
		}
		msg, ok := g.seal(t, mutate(m.public.content.appendBody(nil), script), how)
		if !ok {
			return
		}
		r, err := g.try(t, msg)
		if err == nil && r.Commit != nil && !r.Commit.Changes.SelfRemoved { // whom it removes cannot check the tag
			t.Fatal("a worthless confirmation tag is accepted")
		}
	})
}

// FuzzJoin opens what claims to be a Welcome: any bytes, and any GroupInfo or
// group secrets that a hostile inviter can make.
func FuzzJoin(f *testing.F) {
	g := newTarget(f)
	s := g.alice.group.suite
	valid := g.valid["welcome"]
	m, err := parseMessage(valid)
	if err != nil {
		f.Fatal(err)
	}
	gs, err := m.welcome.open(s, g.newcomer.kp, g.newcomer.private)
	if err != nil {
		f.Fatal(err)
	}
	ids, err := lookupJoinerPSKs(gs.psks, g.source)
	if err != nil {
		f.Fatal(err)
	}
	info, err := m.welcome.openGroupInfo(s, gs.joiner, pskSecret(s, ids))
	if err != nil {
		f.Fatal(err)
	}
	key, nonce := welcomeKeyNonce(s, welcomeSecret(s, gs.joiner, pskSecret(s, ids)))
	bases := [][]byte{valid, info.append(nil), info.append(nil), gs.append(nil)}
	for how := range uint8(4) {
		for _, script := range scripts {
			f.Add(script, how)
		}
	}
	f.Fuzz(func(t *testing.T, script []byte, how uint8) {
		in := mutate(bases[how%4], script)
		if how%4 == 0 {
			if g.enter(t, in) == nil && !bytes.Equal(in, valid) {
				t.Fatal("a welcome nobody sent is accepted")
			}
			return
		}
		w := &welcome{suite: s.ID(), encryptedGroupInfo: m.welcome.encryptedGroupInfo}
		secrets := gs.append(nil)
		switch how % 4 {
		case 1:
			w.encryptedGroupInfo = s.AEAD().Seal(nil, key, nonce, in, nil)
		case 2: // signed again
			r := wire.NewReader(in)
			i := readGroupInfo(r)
			if r.Done() != nil {
				return
			}
			if err := i.sign(s, g.alice.signer); err != nil {
				t.Fatal(err)
			}
			w.encryptedGroupInfo = s.AEAD().Seal(nil, key, nonce, i.append(nil), nil)
		default:
			secrets = in
		}
		enc, ciphertext, err := s.EncryptWithLabel(g.newcomer.kp.InitKey, labelWelcome, w.encryptedGroupInfo, secrets)
		if err != nil {
			t.Fatal(err)
		}
		w.secrets = []encryptedGroupSecrets{{newMember: g.newcomer.kp.Ref(), kemOutput: enc, ciphertext: ciphertext}}
		_ = g.enter(t, (&message{wireFormat: WireWelcome, welcome: w}).marshal())
	})
}

// FuzzGroupInfo looks at what claims to be a GroupInfo, and comes in by one that
// a hostile member has signed.
func FuzzGroupInfo(f *testing.F) {
	g := newTarget(f)
	tree := g.alice.group.RatchetTree()
	bare, err := g.alice.group.GroupInfo(GroupInfoOptions{External: true, OmitTree: true})
	if err != nil {
		f.Fatal(err)
	}
	for _, script := range scripts {
		for how := range uint8(4) {
			f.Add(script, script, how)
		}
	}
	f.Fuzz(func(t *testing.T, script, treeScript []byte, how uint8) {
		base, outside := g.valid["group info"], []byte(nil)
		if how&1 != 0 {
			base, outside = bare, mutate(tree, treeScript)
		}
		if signed := how&2 != 0; !signed {
			in := mutate(base, script)
			_, err := g.look(t, in, outside)
			if err == nil && (!bytes.Equal(in, base) || (outside != nil && !bytes.Equal(outside, tree))) {
				t.Fatal("a group info nobody made is accepted")
			}
			return
		}
		in := mutate(base[4:], script)
		r := wire.NewReader(in)
		info := readGroupInfo(r)
		if r.Done() != nil || info.sign(g.alice.group.suite, g.alice.signer) != nil {
			return
		}
		msg := (&message{wireFormat: WireGroupInfo, groupInfo: info}).marshal()
		i, err := g.look(t, msg, outside)
		if err != nil {
			return
		}
		bounded(t, "external commit", len(msg)+len(outside), treeFactor, func() {
			_, err = i.Join(ExternalJoinOptions{Credential: g.newcomer.cred, Signer: g.newcomer.signer, Capabilities: customCaps})
		})
		typed(t, err)
	})
}

// FuzzEnvelope opens envelopes that were changed on the way.
func FuzzEnvelope(f *testing.F) {
	people := groupOf(f, 2, nil)
	alice, bob := people[0], people[1]
	sealed, err := alice.group.Seal(ClassApplication, 0, []byte("message"), nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, script := range scripts {
		f.Add(script, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, script, tagScript []byte) {
		body, at := mutate(sealed.Body, script), sealed.Tag
		copy(at[:], mutate(at[:], tagScript))
		var msg []byte
		var err error
		bounded(t, "envelope", len(body), memoryFactor, func() { msg, err = bob.group.Open(at, body) })
		typed(t, err)
		if err == nil && (at != sealed.Tag || !bytes.Equal(body, sealed.Body)) {
			t.Fatalf("an envelope nobody sealed opens: %q", msg)
		}
	})
}

// FuzzStored reads stored state that was damaged.
func FuzzStored(f *testing.F) {
	people := groupOf(f, 3, nil)
	alice := people[0]
	alice.merge(alice.prepare(CommitOptions{}))
	f.Add(alice.group.Marshal().Bytes())
	f.Add(alice.past[0].Marshal().Bytes())
	f.Add(alice.private.Marshal().Bytes())
	branches := agreeing(f, alice.kp.Suite, 2)
	st := branches[0].prepare(CommitOptions{})
	f.Add(branches[0].group.Marshal().Bytes())
	branches[0].goes(st)
	f.Add(st.Parent().Marshal().Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		if g, err := Unmarshal(secret.Copy(in), alice.signer); err == nil {
			g.Members()
		}
		if p, err := UnmarshalPast(secret.Copy(in)); err == nil {
			p.Member(0)
		}
		for _, p := range []*person{alice, branches[0].person} {
			if s, err := UnmarshalSuperseded(secret.Copy(in), p.signer); err == nil && s.Branches() == 0 {
				t.Error("a superseded epoch that led nowhere")
			}
			_, _ = Unmarshal(secret.Copy(in), p.signer)
		}
		_, _ = ParseKeyPackagePrivate(suite.Secp256k1ChaCha20Poly1305, secret.Copy(in))
	})
}

// FuzzRows goes on from a row that was damaged.
func FuzzRows(f *testing.F) {
	people := groupOf(f, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	update, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	spread(people, bob, update)
	first, second := carol.say("first"), carol.say("second")
	bob.process(second)
	bob.say("something")
	commit := alice.prepare(CommitOptions{}).Commit
	rows := snapshot(bob.rows)
	keys := slices.Sorted(maps.Keys(rows[bob.group.cid]))
	for i := range keys {
		for _, script := range scripts {
			f.Add(uint8(i), script)
		}
	}
	f.Fuzz(func(t *testing.T, at uint8, script []byte) {
		bob.rows = snapshot(rows)
		key := keys[int(at)%len(keys)]
		bob.rows[bob.group.cid][key] = mutate(rows[bob.group.cid][key], script)
		_, _ = bob.group.Unprotect(bob.rows, first)
		_, _ = bob.group.Pending(bob.rows)
		_, _, _ = bob.group.Protect(bob.rows, []byte("x"))
		_, _ = bob.group.NextHandshake(bob.rows)
		if r, err := bob.group.Process(bob.rows, commit, ProcessOptions{}); err == nil {
			_, _, _ = r.Commit.Merge(bob.rows)
		}
	})
}
