package groups

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// JoinOptions say what a Welcome is opened with.
type JoinOptions struct {
	KeyPackage *KeyPackage
	Private    *KeyPackagePrivate
	Signer     suite.SigningKey // of the key package's leaf
	PSK        PSKSource
	// Parent is the group that the Welcome's group must be the successor or a
	// branch of, in the epoch that it is linked to; nil for a group that stands
	// by itself.
	Parent *Group
	// Verifier is asked about every member and external sender; its verdicts are
	// what Joined reports.
	Verifier CredentialVerifier
	// Plain admits groups without roles, which are RFC 9420 alone.
	Plain bool
	// RatchetTree is the ratchet_tree extension's content, for a Welcome that
	// comes without it.
	RatchetTree []byte
}

// Joined is a group that was entered.
type Joined struct {
	Group *Group
	// Inviter is who made the Welcome.
	Inviter Member
	// Untrusted lists the members and external senders whose credential the
	// verifier did not accept.
	Untrusted []Untrusted
}

// labelJoined is for the CID of a group whose Welcome does not tell it.
const labelJoined = "parley/1 group joined"

// Join enters a group by a Welcome, which is an MLSMessage (RFC 9420, Section
// 12.4.3.1), and writes the first rows. It returns [ErrWelcomeNotForUs] if the
// Welcome is for other key packages, and [ErrLink] if it is linked to another
// group than Parent, or not linked as it should be. Delete the private half of the key package
// in the same transaction, unless it is a last resort.
//
// Group id and CID are the inviter's word. A caller that has the group, or any
// epoch of that CID, must roll back: a Welcome never replaces what is alive.
func Join(rows Rows, msg []byte, o JoinOptions) (*Joined, error) {
	m, err := parseMessage(bytes.Clone(msg))
	if err != nil {
		return nil, err
	}
	if m.wireFormat != WireWelcome {
		return nil, fmt.Errorf("%w: not a welcome", ErrMalformed)
	}
	w := m.welcome
	s, err := suite.ByID(w.suite)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	gs, err := w.open(s, o.KeyPackage, o.Private)
	if err != nil {
		return nil, err
	}
	defer gs.pathSecret.Erase()
	if err := checkJoinerPSKs(s, gs.psks); err != nil {
		return nil, err
	}
	usage, err := checkLink(gs.psks, o.Parent)
	if err != nil {
		return nil, err
	}
	source := o.PSK
	if o.Parent != nil {
		source = o.Parent.resumptionSource(o.PSK)
	}
	ids, err := lookupJoinerPSKs(gs.psks, source)
	if err != nil {
		return nil, err
	}
	pskKey := pskSecret(s, ids)
	info, err := w.openGroupInfo(s, gs.joiner, pskKey)
	if err != nil {
		return nil, err
	}
	tree, signer, err := info.checkTree(s, o.RatchetTree)
	if err != nil {
		return nil, err
	}
	cid, err := info.checkExtensions(s, o.Plain)
	if err != nil {
		return nil, err
	}
	own, ok := tree.Find(o.KeyPackage.Leaf)
	if !ok {
		return nil, fmt.Errorf("%w: own leaf is not in the tree", ErrTree)
	}
	if !bytes.Equal(o.Signer.Public(), o.KeyPackage.Leaf.SignatureKey) {
		return nil, fmt.Errorf("%w: signer is not the key package's", ErrKeyPackage)
	}
	private, err := treekem.Join(tree, own, o.Private.Encryption, info.signer, gs.pathSecret)
	if err != nil {
		return nil, treeError(err)
	}
	agreement, err := agreementOf(info.context.extensions)
	if err != nil {
		return nil, err
	}
	sec := scheduleFromJoiner(s, gs.joiner, pskKey, info.context.append(nil), agreement != nil)
	defer sec.eraseTransient()
	if !s.VerifyMAC(sec.confirmation, info.context.confirmedTranscriptHash, info.confirmationTag) {
		return nil, ErrConfirmationTag
	}
	g := &Group{tree: tree, private: private, signer: o.Signer}
	if err := g.begin(info.context, cid, own, sec); err != nil {
		return nil, err
	}
	if err := checkMembers(tree, info.context.extensions, g.roles); err != nil {
		return nil, err
	}
	if o.Parent != nil {
		if err := o.Parent.linked(usage, &g.gc, g.Members()); err != nil {
			return nil, err
		}
	}
	if err := g.startRows(rows, sec.encryption); err != nil {
		return nil, err
	}
	return &Joined{
		Group:     g,
		Inviter:   asMember(info.signer, signer, g.roles),
		Untrusted: untrusted(g, o.Verifier),
	}, nil
}

// untrusted asks the verifier, if there is one, about every member and external
// sender.
func untrusted(g *Group, v CredentialVerifier) []Untrusted {
	if v == nil {
		return nil
	}
	var out []Untrusted
	for _, m := range g.Members() {
		if err := v.VerifyCredential(m.Credential, m.SignatureKey); err != nil {
			out = append(out, Untrusted{m, fmt.Errorf("%w: %w", ErrCredential, err)})
		}
	}
	return append(out, distrustSenders(nil, g.gc.extensions, v)...)
}

// open finds and decrypts the secrets for a key package.
func (w *welcome) open(s *suite.Suite, kp *KeyPackage, private *KeyPackagePrivate) (*groupSecrets, error) {
	if kp.Suite != w.suite {
		return nil, fmt.Errorf("%w: another cipher suite", ErrWelcomeNotForUs)
	}
	ref := kp.Ref()
	i := slices.IndexFunc(w.secrets, func(e encryptedGroupSecrets) bool { return bytes.Equal(e.newMember, ref) })
	if i < 0 {
		return nil, ErrWelcomeNotForUs
	}
	plain, err := s.DecryptWithLabel(private.Init, labelWelcome, w.encryptedGroupInfo, w.secrets[i].kemOutput, w.secrets[i].ciphertext)
	if err != nil {
		return nil, ErrDecrypt
	}
	defer plain.Erase()
	r := wire.NewReader(plain.Bytes())
	gs := readGroupSecrets(r)
	if err := r.Done(); err != nil {
		return nil, malformed(err)
	}
	return gs.clone(), nil
}

// clone copies what refers into the decrypted bytes.
func (g *groupSecrets) clone() *groupSecrets {
	for i := range g.psks {
		p := &g.psks[i]
		p.ID, p.GroupID, p.Nonce = bytes.Clone(p.ID), bytes.Clone(p.GroupID), bytes.Clone(p.Nonce)
	}
	return g
}

// checkJoinerPSKs holds the pre-shared keys of a Welcome to what was demanded of
// the proposals they come from (RFC 9420, Sections 8.4 and 12.2).
func checkJoinerPSKs(s *suite.Suite, ids []PreSharedKeyID) error {
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if len(id.Nonce) != s.HashSize() {
			return fmt.Errorf("%w: nonce of a pre-shared key", ErrProposal)
		}
		encoded := string(id.append(nil))
		if seen[encoded] {
			return fmt.Errorf("%w: pre-shared key", ErrDuplicate)
		}
		seen[encoded] = true
	}
	return nil
}

func lookupJoinerPSKs(ids []PreSharedKeyID, source PSKSource) ([]psk, error) {
	out := make([]psk, len(ids))
	for i, id := range ids {
		key, ok := secret.Key{}, false
		if source != nil {
			key, ok = source(id)
		}
		if !ok {
			return nil, ErrUnknownPSK
		}
		out[i] = psk{id, key}
	}
	return out, nil
}

func (w *welcome) openGroupInfo(s *suite.Suite, joiner, pskKey secret.Key) (*groupInfo, error) {
	ws := welcomeSecret(s, joiner, pskKey)
	defer ws.Erase()
	key, nonce := welcomeKeyNonce(s, ws)
	defer key.Erase()
	plain, err := s.AEAD().Open(nil, key, nonce, w.encryptedGroupInfo, nil)
	if err != nil {
		return nil, ErrDecrypt
	}
	r := wire.NewReader(plain)
	info := readGroupInfo(r)
	if err := r.Done(); err != nil {
		return nil, malformed(err)
	}
	return info, nil
}

// checkTree verifies the ratchet tree and, with its signer's leaf, the
// GroupInfo.
func (g *groupInfo) checkTree(s *suite.Suite, outside []byte) (*treekem.Tree, *LeafNode, error) {
	if g.context.suite != s.ID() {
		return nil, nil, fmt.Errorf("%w: group info of another cipher suite", ErrMalformed)
	}
	data, ok := g.extensions.Find(extensionRatchetTree)
	if !ok {
		data = outside
	}
	if data == nil {
		return nil, nil, fmt.Errorf("%w: welcome without a ratchet tree", ErrTree)
	}
	tree, err := treekem.Parse(s, data)
	if err != nil {
		return nil, nil, treeError(err)
	}
	signer, ok := tree.Leaf(g.signer)
	if !ok {
		return nil, nil, fmt.Errorf("%w: signer of the group info", ErrNotMember)
	}
	if err := g.verify(s, signer.SignatureKey); err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(tree.Hash(), g.context.treeHash) {
		return nil, nil, fmt.Errorf("%w: tree hash differs from the context's", ErrTree)
	}
	if err := tree.Validate(g.context.groupID); err != nil {
		return nil, nil, treeError(err)
	}
	for i, l := range tree.Leaves() {
		if err := checkSubject(l.Credential); err != nil {
			return nil, nil, fmt.Errorf("leaf %d: %w", i, err)
		}
	}
	return tree, signer, nil
}

// checkExtensions checks the extensions of the GroupInfo and of its context,
// and returns the epoch's CID.
func (g *groupInfo) checkExtensions(s *suite.Suite, plain bool) (CID, error) {
	if !g.extensions.Unique() {
		return CID{}, fmt.Errorf("%w: an extension of the group info occurs twice", ErrMalformed)
	}
	if err := checkExtensions(g.context.extensions); err != nil {
		return CID{}, err
	}
	_, hasRoles := g.context.extensions.Find(ExtensionRoles)
	if !hasRoles && !plain {
		return CID{}, fmt.Errorf("%w: group without roles", ErrRoles)
	}
	data, ok := g.extensions.Find(ExtensionCID)
	switch {
	case ok && len(data) == len(CID{}):
		return CID(data), nil
	case ok || hasRoles:
		return CID{}, fmt.Errorf("%w: group info without the epoch's CID", ErrMalformed)
	}
	in := wire.AppendLP(nil, []byte(labelJoined))
	in = wire.AppendLP(in, g.context.groupID)
	return CommitCID(append(in, g.context.confirmedTranscriptHash...)), nil
}

// describe makes a GroupInfo of the epoch, signed by this member.
func (g *Group) describe(tree, external bool, more Extensions) (*groupInfo, error) {
	info := &groupInfo{
		context:         g.gc,
		confirmationTag: g.confirmationTag,
		signer:          g.self,
	}
	if tree {
		info.extensions = append(info.extensions, Extension{Type: extensionRatchetTree, Data: g.RatchetTree()})
	}
	info.extensions = append(info.extensions, Extension{Type: ExtensionCID, Data: bytes.Clone(g.cid[:])})
	if external {
		key, err := g.externalKey()
		if err != nil {
			return nil, err
		}
		info.extensions = append(info.extensions, Extension{Type: extensionExternalPub, Data: wire.AppendVec(nil, key.Public())})
	}
	info.extensions = append(info.extensions, more...)
	if !info.extensions.Unique() {
		return nil, fmt.Errorf("%w: an extension of the group info occurs twice", ErrMalformed)
	}
	return info, info.sign(g.suite, g.signer)
}

// welcome makes the Welcome for those a commit adds; g is the group after it.
func (g *Group) welcome(a *applied, path *treekem.Path, sec *epochSecrets, tree bool) ([]byte, error) {
	info, err := g.describe(tree, false, nil)
	if err != nil {
		return nil, err
	}
	key, nonce := welcomeKeyNonce(g.suite, sec.welcome)
	defer key.Erase()
	w := &welcome{
		suite:              g.suite.ID(),
		encryptedGroupInfo: g.suite.AEAD().Seal(nil, key, nonce, info.append(nil), nil),
		secrets:            make([]encryptedGroupSecrets, len(a.added)),
	}
	encrypter := g.suite.NewEncrypter(labelWelcome, w.encryptedGroupInfo)
	err = parallel(len(a.added), func(i int) error {
		gs := groupSecrets{joiner: sec.joiner, psks: a.psks}
		if path != nil {
			gs.pathSecret, _ = path.JoinerSecret(a.added[i])
		}
		plain := secret.New(gs.append(nil))
		defer plain.Erase()
		kp := a.joiners[i]
		enc, ciphertext, err := encrypter.Encrypt(kp.InitKey, plain.Bytes())
		w.secrets[i] = encryptedGroupSecrets{newMember: kp.Ref(), kemOutput: enc, ciphertext: ciphertext}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: init key of a key package: %w", ErrKeyPackage, err)
	}
	msg := (&message{wireFormat: WireWelcome, welcome: w}).marshal()
	if _, err := parseMessage(msg); err != nil { // those added could not come in
		return nil, fmt.Errorf("welcome of %d bytes: %w", len(msg), err)
	}
	return msg, nil
}
