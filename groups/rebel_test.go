package groups

import (
	"errors"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// sharedKey is what everyone knows under every name but "unknown".
func sharedKey(id PreSharedKeyID) (secret.Key, bool) {
	return secret.Copy([]byte("known to all")), string(id.ID) != "unknown"
}

// accepts checks that a message is accepted, without letting it change anything.
func (p *person) accepts(msg []byte) {
	p.tb.Helper()
	if _, err := p.group.Process(snapshot(p.rows), msg, ProcessOptions{Now: testNow, PSK: sharedKey}); err != nil {
		p.tb.Fatalf("%s: refused: %v", p.name, err)
	}
}

// utter signs and frames a proposal as a member can whose software checks
// nothing.
func (p *person) utter(q *Proposal, f Framing) []byte {
	p.tb.Helper()
	g := p.group
	format, err := f.format()
	if err != nil {
		p.tb.Fatal(err)
	}
	a := &authContent{wireFormat: format, content: &framedContent{
		groupID: g.groupID, epoch: g.number, sender: member(g.self), contentType: ContentProposal, proposal: q,
	}}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		p.tb.Fatal(err)
	}
	var out changes
	msg, err := g.protect(p.rows, a, 0, &out)
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := out.write(p.rows, g.cid); err != nil {
		p.tb.Fatal(err)
	}
	return msg
}

// rebel makes a commit by value that nothing is wrong with but its proposals:
// they are applied unchecked, and the path and the confirmation tag follow from
// that.
func (p *person) rebel(path bool, proposals ...*Proposal) []byte {
	p.tb.Helper()
	g := p.group
	l := g.newProposalList(member(g.self))
	a := &applied{tree: g.tree.Clone(), extensions: g.gc.extensions, roles: g.roles}
	var keys []psk
	for _, q := range proposals {
		l.items = append(l.items, listed{proposal: q, sender: member(g.self)})
		switch q.Type {
		case ProposalGroupContextExtensions:
			a.extensions = q.Extensions
			if roles, err := rolesOf(q.Extensions); err == nil {
				a.roles = roles
			}
		case ProposalRemove:
			if err := a.tree.Remove(q.Remove); err != nil {
				p.tb.Fatal(err)
			}
		case ProposalAdd:
			leaf, err := a.tree.Add(q.Add.Leaf)
			if err != nil {
				p.tb.Fatal(err)
			}
			a.added, a.joiners = append(a.added, leaf), append(a.joiners, q.Add)
		case ProposalPSK:
			more, err := g.lookup([]PreSharedKeyID{q.PSK}, sharedKey)
			if err != nil {
				p.tb.Fatal(err)
			}
			keys = append(keys, more...)
		}
	}
	n, err := g.renew(a, &CommitOptions{NoPath: !path}, path)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer n.erase()
	n.format, n.from = WirePublicMessage, member(g.self)
	gc := g.provisional(a)
	c := &commit{proposals: byValue(proposals...)}
	if n.path != nil {
		if c.path, err = n.path.Encrypt(gc.append(nil)); err != nil {
			p.tb.Fatal(err)
		}
	}
	return p.frameCommit(c, n.secrets(), keys, gc)
}

// frameCommit signs and tags a commit that leads to the epoch of a context.
func (p *person) frameCommit(c *commit, path treekem.PathSecrets, psks []psk, gc groupContext) []byte {
	p.tb.Helper()
	g := p.group
	a := &authContent{wireFormat: WirePublicMessage, content: &framedContent{
		groupID: g.groupID, epoch: g.number, sender: member(g.self), contentType: ContentCommit, commit: c,
	}}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		p.tb.Fatal(err)
	}
	gc.confirmedTranscriptHash = confirmedTranscriptHash(g.suite, g.interim, a)
	sec, _, err := g.schedule(g.init, path, psks, gc)
	if err != nil {
		p.tb.Fatal(err)
	}
	a.auth.confirmationTag = g.suite.MAC(sec.confirmation, gc.confirmedTranscriptHash)
	return protectPublic(g.suite, g.membership, a, g.context).marshal()
}

// welcomed is what a Welcome for one person holds, to be changed and sealed
// again by whoever made it.
type welcomed struct {
	p    *person
	s    *suite.Suite
	gs   *groupSecrets
	info *groupInfo
	psks []psk
}

func (p *person) unwrap(msg []byte, psks ...psk) *welcomed {
	p.tb.Helper()
	m, err := parseMessage(msg)
	if err != nil {
		p.tb.Fatal(err)
	}
	s, err := suite.ByID(m.welcome.suite)
	if err != nil {
		p.tb.Fatal(err)
	}
	w := &welcomed{p: p, s: s, psks: psks}
	if w.gs, err = m.welcome.open(s, p.kp, p.private); err != nil {
		p.tb.Fatal(err)
	}
	if w.info, err = m.welcome.openGroupInfo(s, w.gs.joiner, pskSecret(s, psks)); err != nil {
		p.tb.Fatal(err)
	}
	return w
}

// sign makes the confirmation tag and the signature fit what was changed.
func (w *welcomed) sign(signer suite.SigningKey) *welcomed {
	w.p.tb.Helper()
	sec := scheduleFromJoiner(w.s, w.gs.joiner.Clone(), pskSecret(w.s, w.psks), w.info.context.append(nil), false)
	w.info.confirmationTag = w.s.MAC(sec.confirmation, w.info.context.confirmedTranscriptHash)
	if err := w.info.sign(w.s, signer); err != nil {
		w.p.tb.Fatal(err)
	}
	return w
}

// setTree puts another tree into the GroupInfo, with the hash that fits it.
func (w *welcomed) setTree(tree []byte) {
	w.p.tb.Helper()
	t, err := treekem.Parse(w.s, tree)
	if err != nil {
		w.p.tb.Fatal(err)
	}
	w.info.context.treeHash = t.Hash()
	for i := range w.info.extensions {
		if w.info.extensions[i].Type == extensionRatchetTree {
			w.info.extensions[i].Data = tree
		}
	}
}

// seal encrypts it all. The two tails are appended to what is encrypted.
func (w *welcomed) seal(secretsTail, infoTail []byte) []byte {
	w.p.tb.Helper()
	key, nonce := welcomeKeyNonce(w.s, welcomeSecret(w.s, w.gs.joiner, pskSecret(w.s, w.psks)))
	out := &welcome{suite: w.s.ID()}
	out.encryptedGroupInfo = w.s.AEAD().Seal(nil, key, nonce, append(w.info.append(nil), infoTail...), nil)
	enc, ciphertext, err := w.s.EncryptWithLabel(w.p.kp.InitKey, labelWelcome, out.encryptedGroupInfo, append(w.gs.append(nil), secretsTail...))
	if err != nil {
		w.p.tb.Fatal(err)
	}
	out.secrets = []encryptedGroupSecrets{{newMember: w.p.kp.Ref(), kemOutput: enc, ciphertext: ciphertext}}
	return (&message{wireFormat: WireWelcome, welcome: out}).marshal()
}

// tries joins by a Welcome and checks the outcome; a refusal leaves no rows.
func (p *person) tries(t *testing.T, msg []byte, o JoinOptions, want error) {
	t.Helper()
	if o.KeyPackage == nil {
		o.KeyPackage = p.kp
	}
	o.Private, o.Signer, o.Plain = p.private, p.signer, p.plain
	rows := MemoryRows{}
	_, err := Join(rows, msg, o)
	if !errors.Is(err, want) || (want == nil && err != nil) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if err != nil && len(rows) > 0 {
		t.Fatal("a refused welcome left rows")
	}
}

// relieve changes one leaf of an encoded tree.
func relieve(tb testing.TB, tree []byte, at LeafIndex, change func(l *LeafNode)) []byte {
	tb.Helper()
	r := wire.NewReader(tree).Sub()
	return wire.AppendVecFunc(nil, func(b []byte) []byte {
		for i := 0; r.More(); i++ {
			if !r.Optional() {
				b = append(b, 0)
				continue
			}
			if kind := r.Uint8(); kind == 1 {
				l := treekem.ReadLeafNode(r)
				if treekem.NodeIndex(i) == at.Node() {
					change(l)
				}
				b = l.Append(append(b, 1, 1))
			} else {
				b = treekem.ReadParentNode(r).Append(append(b, 1, 2))
			}
		}
		if r.Err() != nil {
			tb.Fatal(r.Err())
		}
		return b
	})
}

// wantErr checks an error that must be there.
func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if err == nil || !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// refusals are all errors that a message can earn. TestRefusalsAreListed holds
// the list to errors.go.
var refusals = map[string]error{
	"ErrMalformed": ErrMalformed, "ErrUnsupported": ErrUnsupported, "ErrWrongGroup": ErrWrongGroup, "ErrNotMember": ErrNotMember,
	"ErrRemoved": ErrRemoved, "ErrNotAdmin": ErrNotAdmin, "ErrConfirmationTag": ErrConfirmationTag,
	"ErrMembershipTag": ErrMembershipTag, "ErrSignature": ErrSignature, "ErrReplay": ErrReplay, "ErrTooFarAhead": ErrTooFarAhead,
	"ErrExhausted": ErrExhausted, "ErrDecrypt": ErrDecrypt, "ErrOwnMessage": ErrOwnMessage,
	"ErrWelcomeNotForUs": ErrWelcomeNotForUs, "ErrLifetime": ErrLifetime, "ErrDuplicate": ErrDuplicate,
	"ErrProposal": ErrProposal, "ErrUnknownProposal": ErrUnknownProposal, "ErrUnknownPSK": ErrUnknownPSK,
	"ErrKeyPackage": ErrKeyPackage, "ErrCapabilities": ErrCapabilities, "ErrCredential": ErrCredential, "ErrTree": ErrTree,
	"ErrRoles": ErrRoles, "ErrReInit": ErrReInit, "ErrLink": ErrLink, "ErrState": ErrState, "ErrLastMember": ErrLastMember,
}

// refused checks that an error is one that a caller can act on.
func refused(tb testing.TB, err error) {
	tb.Helper()
	var epoch *EpochError
	if errors.As(err, &epoch) {
		return
	}
	for _, e := range refusals {
		if errors.Is(err, e) {
			return
		}
	}
	tb.Fatalf("not an error of errors.go: %v", err)
}
