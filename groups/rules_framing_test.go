package groups

import (
	"bytes"
	"math"
	"runtime"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

func (p *person) sayPlain(t *testing.T) []byte {
	t.Helper()
	msg, err := p.group.ProtectPlain(p.rows, []byte("hello"), Framing{})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// frame signs content as whoever its sender claims to be, and frames it with a
// membership tag if that is a member.
func (p *person) frame(signer suite.SigningKey, c *framedContent) []byte {
	p.tb.Helper()
	g := p.group
	c.groupID, c.epoch = g.groupID, g.number
	a := &authContent{wireFormat: WirePublicMessage, content: c}
	if err := a.sign(g.suite, signer, g.context); err != nil {
		p.tb.Fatal(err)
	}
	if c.contentType == ContentCommit {
		a.auth.confirmationTag = make([]byte, g.suite.HashSize())
	}
	return protectPublic(g.suite, g.membership, a, g.context).marshal()
}

// RFC 9420, Section 6.1: who may send what, and by which key.
func TestSenderRules(t *testing.T) {
	bot := newPlainPerson(t, fast, 8)
	e := ExternalSendersExtension([]ExternalSender{{bot.signer.Public(), bot.cred}})
	people := plainOf(t, fast, 3, e)
	alice, bob := people[0], people[1]
	dave := newPlainPerson(t, fast, 9)
	st, err := alice.info(GroupInfoOptions{External: true}, nil).Join(ExternalJoinOptions{Credential: dave.cred, Signer: dave.signer, Capabilities: customCaps})
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMessage(st.Commit)
	if err != nil {
		t.Fatal(err)
	}
	external := m.public.content.commit
	remove := &Proposal{Type: ProposalRemove, Remove: 2}
	add := &Proposal{Type: ProposalAdd, Add: dave.kp}
	outside, newcomer, enters := Sender{Type: SenderExternal}, Sender{Type: SenderNewMemberProposal}, Sender{Type: SenderNewMemberCommit}
	proposal := func(from Sender, p *Proposal) *framedContent {
		return &framedContent{sender: from, contentType: ContentProposal, proposal: p}
	}
	commits := func(from Sender, c *commit) *framedContent {
		return &framedContent{sender: from, contentType: ContentCommit, commit: c}
	}
	for name, c := range map[string]struct {
		by      *person
		content *framedContent
		want    error
	}{
		"a member's proposal":            {alice, proposal(member(0), remove), nil},
		"an external sender's":           {bot, proposal(outside, remove), nil},
		"a newcomer's":                   {dave, proposal(newcomer, add), nil},
		"a newcomer's commit":            {dave, commits(enters, external), ErrConfirmationTag},
		"by another's key":               {bot, proposal(member(0), remove), ErrSignature},
		"for a blank leaf":               {alice, proposal(member(3), remove), ErrNotMember},
		"for a leaf beyond the tree":     {alice, proposal(member(4), remove), ErrNotMember},
		"for leaf 2^31":                  {alice, proposal(member(1<<31), remove), ErrNotMember},
		"for leaf 2^32-1":                {alice, proposal(member(math.MaxUint32), remove), ErrNotMember},
		"for an external sender unheard": {bot, proposal(Sender{Type: SenderExternal, Index: 1}, remove), ErrNotMember},
		"for external sender 2^32-1":     {bot, proposal(Sender{Type: SenderExternal, Index: math.MaxUint32}, remove), ErrNotMember},
		"external by another's key":      {dave, proposal(outside, remove), ErrSignature},
		"an external sender's commit":    {bot, commits(outside, external), ErrMalformed},
		"an external sender's update":    {bot, proposal(outside, &Proposal{Type: ProposalUpdate, Update: dave.kp.Leaf}), ErrMalformed},
		"an external sender's leaving":   {bot, proposal(outside, &Proposal{Type: ProposalSelfRemove}), ErrMalformed},
		"a newcomer's removal":           {dave, proposal(newcomer, remove), ErrMalformed},
		"a newcomer by another's key":    {bot, proposal(newcomer, add), ErrSignature},
		"a newcomer's proposal enters":   {dave, proposal(enters, add), ErrMalformed},
		"a newcomer proposes a commit":   {dave, commits(newcomer, external), ErrMalformed},
		"a commit by another's key":      {bot, commits(enters, external), ErrSignature},
		"a newcomer without a path":      {dave, commits(enters, &commit{proposals: external.proposals}), ErrMalformed},
		"a sender of no type":            {alice, proposal(Sender{Type: 0}, remove), ErrMalformed},
		"a sender of type 5":             {alice, proposal(Sender{Type: 5}, remove), ErrMalformed},
		"an application in the clear":    {alice, &framedContent{sender: member(0), contentType: ContentApplication, application: []byte("x")}, ErrMalformed},
		"an outsider's application":      {bot, &framedContent{sender: outside, contentType: ContentApplication, application: []byte("x")}, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb, alice.tb = t, t
			msg := alice.frame(c.by.signer, c.content)
			if c.want == nil {
				bob.accepts(msg)
			} else {
				bob.refuses(msg, c.want)
			}
		})
	}
}

// RFC 9420, Sections 6.2, 8.1 and 12.4.2: a tag is the whole of it, and nothing
// else. Where it is compared only as far as it goes, an empty one will do
// (GHSA-8x3w-qj7j-gqhf).
func TestTagRules(t *testing.T) {
	people := plainOf(t, fast, 3)
	alice, bob := people[0], people[1]
	commitMsg := alice.prepare(CommitOptions{}).Commit
	proposal := alice.utter(&Proposal{Type: ProposalRemove, Remove: 2}, Framing{})
	private, err := alice.group.Prepare(alice.rows, CommitOptions{Framing: Framing{Private: true}, Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(tag []byte) []byte{
		"empty":             func([]byte) []byte { return nil },
		"one byte":          func(tag []byte) []byte { return tag[:1] },
		"half":              func(tag []byte) []byte { return tag[:16] },
		"a byte short":      func(tag []byte) []byte { return tag[:31] },
		"a byte long":       func(tag []byte) []byte { return append(bytes.Clone(tag), 0) },
		"twice":             func(tag []byte) []byte { return append(bytes.Clone(tag), tag...) },
		"zeros":             func([]byte) []byte { return make([]byte, 32) },
		"last bit":          func(tag []byte) []byte { tag = bytes.Clone(tag); tag[31] ^= 1; return tag },
		"without its start": func(tag []byte) []byte { return tag[1:] },
	}
	public := func(msg []byte, change func(m *publicMessage)) []byte {
		m, err := parseMessage(bytes.Clone(msg))
		if err != nil {
			t.Fatal(err)
		}
		change(m.public)
		return m.marshal()
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			bob.tb, alice.tb = t, t
			for _, msg := range [][]byte{commitMsg, proposal} {
				bob.refuses(public(msg, func(m *publicMessage) { m.membershipTag = change(m.membershipTag) }), ErrMembershipTag)
			}
			bob.refuses(alice.reframe(commitMsg, func(m *publicMessage) {
				m.auth.confirmationTag = change(m.auth.confirmationTag)
			}), ErrConfirmationTag)
			bob.refuses(alice.reseal(bob, private.Commit, func(a *authContent) {
				a.auth.confirmationTag = change(a.auth.confirmationTag)
			}), ErrConfirmationTag)
			alis, _, bert, w := inviting(t, false)
			w.sign(alis.signer)
			w.info.confirmationTag = change(w.info.confirmationTag)
			if err := w.info.sign(w.s, alis.signer); err != nil {
				t.Fatal(err)
			}
			bert.tries(t, w.seal(nil, nil), JoinOptions{PSK: sharedKey}, ErrConfirmationTag)
		})
	}
	t.Run("a membership tag of another epoch", func(t *testing.T) {
		bob.tb = t
		bob.refuses(public(proposal, func(m *publicMessage) {
			m.membershipTag = membershipTag(alice.group.suite, secret.Random(32), m.authenticated(), alice.group.context)
		}), ErrMembershipTag)
	})
	bob.tb, alice.tb = t, t
	bob.accepts(commitMsg)
	bob.accepts(proposal)
	bob.accepts(private.Commit)
	bob.accepts(alice.reseal(bob, private.Commit, func(*authContent) {}))
}

// reseal opens an own commit, changes it and encrypts it again with the own next
// key, as a member can whose software checks nothing. The signature is not made
// anew.
func (p *person) reseal(other *person, msg []byte, change func(a *authContent)) []byte {
	p.tb.Helper()
	g := p.group
	a := p.reveal(other, msg)
	change(a)
	rows := snapshot(p.rows)
	var out changes
	k, err := g.secretTree(rows).next(ratchetHandshake, uint32(g.self), &out)
	if err != nil {
		p.tb.Fatal(err)
	}
	return protectPrivate(g.suite, g.senderData, k, a, 0).marshal()
}

// reveal opens an own PrivateMessage, whose key only others still have.
func (p *person) reveal(other *person, msg []byte) *authContent {
	p.tb.Helper()
	m, err := parseMessage(bytes.Clone(msg))
	if err != nil {
		p.tb.Fatal(err)
	}
	g := p.group
	sd, err := openSenderData(g.suite, g.senderData, m.private)
	if err != nil {
		p.tb.Fatal(err)
	}
	var out changes
	k, err := g.secretTree(other.rows).at(ratchetFor(m.private.contentType), sd.leaf, sd.generation, &out)
	if err != nil {
		p.tb.Fatal(err)
	}
	a, err := openPrivate(g.suite, k, sd, m.private)
	if err != nil {
		p.tb.Fatal(err)
	}
	return a
}

// RFC 9420, Section 6.3: what of a PrivateMessage must be right before its
// content is looked at.
func TestPrivateMessageRules(t *testing.T) {
	people := plainOf(t, fast, 3)
	alice, bob := people[0], people[1]
	g := alice.group
	// build encrypts a message by the own next key, with any sender data.
	type parts struct {
		sender  []byte // encoded SenderData
		content []byte // encoded PrivateMessageContent
		typ     ContentType
	}
	build := func(t *testing.T, change func(p *parts)) []byte {
		t.Helper()
		rows := snapshot(alice.rows)
		var out changes
		k, err := g.secretTree(rows).next(ratchetApplication, 0, &out)
		if err != nil {
			t.Fatal(err)
		}
		a := &authContent{wireFormat: WirePrivateMessage, content: &framedContent{
			groupID: g.groupID, epoch: g.number, sender: member(0), contentType: ContentApplication, application: []byte("x"),
		}}
		if err := a.sign(g.suite, g.signer, g.context); err != nil {
			t.Fatal(err)
		}
		p := parts{typ: ContentApplication}
		p.sender = wire.AppendUint32(wire.AppendUint32(nil, 0), k.generation)
		p.sender = append(p.sender, 0, 0, 0, 0)
		p.content = a.auth.append(a.content.appendBody(nil), ContentApplication)
		change(&p)
		m := &privateMessage{groupID: g.groupID, epoch: g.number, contentType: p.typ}
		m.ciphertext = g.suite.AEAD().Seal(nil, k.key, k.nonce, p.content, m.appendAAD(nil))
		key, nonce := senderDataCipher(g.suite, g.senderData, m.ciphertext)
		m.encryptedSenderData = g.suite.AEAD().Seal(nil, key, nonce, p.sender, m.appendSenderAAD(nil))
		return (&message{wireFormat: WirePrivateMessage, private: m}).marshal()
	}
	leaf := func(i uint32) func(p *parts) {
		return func(p *parts) { copy(p.sender, wire.AppendUint32(nil, i)) }
	}
	for name, c := range map[string]struct {
		change func(p *parts)
		want   error
	}{
		"nothing":                      {func(*parts) {}, nil},
		"padding":                      {func(p *parts) { p.content = append(p.content, 0, 0, 0) }, nil},
		"padding that is not zero":     {func(p *parts) { p.content = append(p.content, 0, 0, 1) }, ErrMalformed},
		"a blank sender":               {leaf(3), ErrNotMember},
		"a sender beyond the tree":     {leaf(4), ErrNotMember},
		"sender 2^31":                  {leaf(1 << 31), ErrNotMember},
		"sender 2^32-1":                {leaf(math.MaxUint32), ErrNotMember},
		"another sender":               {leaf(2), ErrDecrypt},
		"the receiver as sender":       {leaf(1), ErrOwnMessage},
		"generation 2^32-1":            {func(p *parts) { copy(p.sender[4:], "\xff\xff\xff\xff") }, ErrTooFarAhead},
		"another generation":           {func(p *parts) { p.sender[7]++ }, ErrDecrypt},
		"another reuse guard":          {func(p *parts) { p.sender[11]++ }, ErrDecrypt},
		"sender data cut short":        {func(p *parts) { p.sender = p.sender[:11] }, ErrMalformed},
		"a byte behind sender data":    {func(p *parts) { p.sender = append(p.sender, 0) }, ErrMalformed},
		"content cut short":            {func(p *parts) { p.content = p.content[:len(p.content)-1] }, ErrMalformed},
		"no content":                   {func(p *parts) { p.content = nil }, ErrMalformed},
		"a commit's type":              {func(p *parts) { p.typ = ContentCommit }, ErrDecrypt}, // another ratchet
		"content of no type":           {func(p *parts) { p.typ = 0 }, ErrMalformed},
		"content of type 4":            {func(p *parts) { p.typ = 4 }, ErrMalformed},
		"a signature":                  {func(p *parts) { p.content[8] ^= 1 }, ErrSignature},
		"a length that is not minimal": {func(p *parts) { p.content = append([]byte{0x40, 1}, p.content[1:]...) }, ErrMalformed},
		"data of 1 GiB":                {func(p *parts) { p.content = []byte{0xbf, 0xff, 0xff, 0xff} }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			msg := build(t, c.change)
			if c.want == nil {
				bob.accepts(msg)
			} else {
				bob.refuses(msg, c.want)
			}
		})
	}
}

// Sections 2.1.2, 6 and 12.4.3.3: what bytes say of themselves is not believed.
func TestDecodingRules(t *testing.T) {
	people := plainOf(t, fast, 3)
	alice, bob := people[0], people[1]
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{newPlainPerson(t, fast, 7).kp}})
	info, err := alice.group.GroupInfo(GroupInfoOptions{External: true})
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string][]byte{
		"a public message": st.Commit, "a private message": alice.sayPlain(t), "a welcome": st.Welcome,
		"a group info": info, "a key package": newPlainPerson(t, fast, 7).kp.Marshal(),
	}
	read := func(msg []byte) error {
		if _, err := Peek(msg); err != nil {
			return err
		}
		if _, err := ParseKeyPackage(msg); err == nil {
			return nil
		}
		if _, err := WelcomeRefs(msg); err == nil {
			return nil
		}
		if _, err := ParseGroupInfo(msg, nil); err == nil {
			return nil
		}
		_, err := bob.group.Process(snapshot(bob.rows), msg, ProcessOptions{})
		return err
	}
	for name, msg := range messages {
		t.Run(name, func(t *testing.T) {
			if err := read(msg); err != nil {
				t.Fatal(err)
			}
			malformed := func(what string, msg []byte) {
				t.Helper()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				wantErr(t, what, read(msg), ErrMalformed)
				runtime.ReadMemStats(&after)
				if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
					t.Errorf("%s: %d bytes allocated for %d", what, got, len(msg))
				}
			}
			malformed("a byte behind it", append(bytes.Clone(msg), 0))
			malformed("nothing", nil)
			for i := range msg {
				malformed("cut short", msg[:i])
			}
			for _, at := range []int{0, 1, 2, 3} { // version and wire format
				other := bytes.Clone(msg)
				other[at] = 0x77
				malformed("another head", other)
			}
			// Four bytes, anywhere, that ask for 1 GiB.
			for i := 4; i < min(len(msg), 400); i++ {
				huge := append(bytes.Clone(msg[:i]), 0xbf, 0xff, 0xff, 0xff)
				if _, err := parseMessage(huge); err == nil {
					continue // they are the last of something opaque
				}
				malformed("huge", huge)
				malformed("huge and more", append(huge, msg[i:]...))
			}
		})
	}
	t.Run("a length that is not minimal", func(t *testing.T) {
		private := bytes.Clone(messages["a private message"])
		n := private[4] // of the group id, in one byte
		long := append([]byte{}, private[:4]...)
		long = append(append(long, 0x40, n), private[5:]...)
		wantErr(t, "", read(long), ErrMalformed)
	})
	t.Run("an external key with a byte behind it", func(t *testing.T) {
		i := alice.info(GroupInfoOptions{External: true}, nil)
		dave := newPlainPerson(t, fast, 9)
		o := ExternalJoinOptions{Credential: dave.cred, Signer: dave.signer, Capabilities: customCaps}
		if _, err := i.Join(o); err != nil {
			t.Fatal(err)
		}
		for k := range i.info.extensions {
			if x := &i.info.extensions[k]; x.Type == extensionExternalPub {
				good := x.Data
				x.Data = append(bytes.Clone(good), 0)
				_, err := i.Join(o)
				wantErr(t, "behind", err, ErrMalformed)
				x.Data = good[:len(good)-1]
				_, err = i.Join(o)
				wantErr(t, "short", err, ErrMalformed)
				x.Data = wire.AppendVec(nil, make([]byte, 32)) // a point of low order
				_, err = i.Join(o)
				wantErr(t, "unusable", err, ErrMalformed)
			}
		}
	})
	t.Run("extension data of every size of length", func(t *testing.T) {
		for _, n := range []int{0, 1, 0x3f, 0x40, 0x3ffe, 0x3fff, 0x4000, 0x10000} {
			e := Extensions{{Type: 0xBEEF, Data: make([]byte, n)}, {Type: 7}}
			r := wire.NewReader(e.Append(nil))
			again := treekem.ReadExtensions(r)
			if r.Done() != nil || len(again) != 2 || len(again[0].Data) != n {
				t.Errorf("%d bytes: %v", n, r.Err())
			}
		}
	})
}
