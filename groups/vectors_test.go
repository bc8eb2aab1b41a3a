package groups

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/vectors"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

var loaders = map[string]vectors.Loader{
	"deserialization.json":    loadDeserialization,
	"key-schedule.json":       loadKeySchedule,
	"psk_secret.json":         loadPSKSecret,
	"transcript-hashes.json":  loadTranscriptHashes,
	"secret-tree.json":        loadSecretTree,
	"message-protection.json": loadMessageProtection,
	"welcome.json":            loadWelcome,
	"messages.json":           loadMessages,
	"passive-client.json":     loadPassiveClient,
}

func TestVectors(t *testing.T) { vectors.MLS(t, "groups", loaders) }

// suiteCase is what all vectors that depend on a suite begin with.
type suiteCase struct {
	CipherSuite suite.ID `json:"cipher_suite"`
}

func (c suiteCase) suiteID() suite.ID { return c.CipherSuite }

func decodeCases[T any](t *testing.T, data []byte) []T {
	t.Helper()
	var cases []T
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// eachCase runs f for every stride-th case of a file.
func eachCase[T interface{ suiteID() suite.ID }](t *testing.T, data []byte, stride int, f func(t *testing.T, s *suite.Suite, c T)) {
	t.Helper()
	count := vectors.Cases{Stride: stride}
	for i, c := range decodeCases[T](t, data) {
		s, err := suite.ByID(c.suiteID())
		if count.Take(t, uint16(c.suiteID()), err) {
			t.Run(fmt.Sprintf("%d/suite%d", i, s.ID()), func(t *testing.T) { f(t, s, c) })
		}
	}
	count.Done(t)
}

// padded gives a P-521 private key the leading zeros that the files leave out.
func padded(s *suite.Suite, key []byte) []byte {
	if s.ID() == suite.P521AES256GCM {
		return append(make([]byte, 66-len(key)), key...)
	}
	return key
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, want %x", what, got, want)
	}
}

type epochCase struct {
	CommitSecret            vectors.Hex `json:"commit_secret"`
	PSKSecret               vectors.Hex `json:"psk_secret"`
	TreeHash                vectors.Hex `json:"tree_hash"`
	ConfirmedTranscriptHash vectors.Hex `json:"confirmed_transcript_hash"`
	GroupContext            vectors.Hex `json:"group_context"`
	JoinerSecret            vectors.Hex `json:"joiner_secret"`
	WelcomeSecret           vectors.Hex `json:"welcome_secret"`
	InitSecret              vectors.Hex `json:"init_secret"`
	SenderDataSecret        vectors.Hex `json:"sender_data_secret"`
	EncryptionSecret        vectors.Hex `json:"encryption_secret"`
	ExporterSecret          vectors.Hex `json:"exporter_secret"`
	EpochAuthenticator      vectors.Hex `json:"epoch_authenticator"`
	ExternalSecret          vectors.Hex `json:"external_secret"`
	ConfirmationKey         vectors.Hex `json:"confirmation_key"`
	MembershipKey           vectors.Hex `json:"membership_key"`
	ResumptionPSK           vectors.Hex `json:"resumption_psk"`
	ExternalPub             vectors.Hex `json:"external_pub"`
	Exporter                struct {
		Label   string      `json:"label"`
		Context vectors.Hex `json:"context"`
		Length  int         `json:"length"`
		Secret  vectors.Hex `json:"secret"`
	} `json:"exporter"`
}
type keyScheduleCase struct {
	suiteCase
	GroupID           vectors.Hex `json:"group_id"`
	InitialInitSecret vectors.Hex `json:"initial_init_secret"`
	Epochs            []epochCase `json:"epochs"`
}

func loadKeySchedule(t *testing.T, data []byte) {
	eachCase(t, data, 1, func(t *testing.T, s *suite.Suite, v *keyScheduleCase) {
		initSecret := secret.Copy(v.InitialInitSecret)
		for i, e := range v.Epochs {
			gc := groupContext{
				suite: s.ID(), groupID: v.GroupID, epoch: uint64(i),
				treeHash: e.TreeHash, confirmedTranscriptHash: e.ConfirmedTranscriptHash,
			}
			context := gc.append(nil)
			equal(t, "group context", context, e.GroupContext)
			joiner := joinerSecret(s, initSecret, secret.Copy(e.CommitSecret), context)
			equal(t, "joiner", joiner.Bytes(), e.JoinerSecret)
			sec := scheduleFromJoiner(s, joiner, secret.Copy(e.PSKSecret), context, false)
			for _, c := range []struct {
				name string
				got  secret.Key
				want []byte
			}{
				{"welcome", sec.welcome, e.WelcomeSecret},
				{"welcome for joiners", welcomeSecret(s, joiner, secret.Copy(e.PSKSecret)), e.WelcomeSecret},
				{"init", sec.init, e.InitSecret},
				{"sender data", sec.senderData, e.SenderDataSecret},
				{"encryption", sec.encryption, e.EncryptionSecret},
				{"exporter", sec.exporter, e.ExporterSecret},
				{"authenticator", sec.authenticator, e.EpochAuthenticator},
				{"external", sec.external, e.ExternalSecret},
				{"confirmation", sec.confirmation, e.ConfirmationKey},
				{"membership", sec.membership, e.MembershipKey},
				{"resumption", sec.resumption, e.ResumptionPSK},
				{"exported", mlsExport(s, sec.exporter, e.Exporter.Label, e.Exporter.Context, e.Exporter.Length), e.Exporter.Secret},
			} {
				equal(t, c.name, c.got.Bytes(), c.want)
			}
			external, err := s.DeriveHPKEKey(sec.external)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "external public key", external.Public(), e.ExternalPub)
			initSecret = sec.init
		}
	})
}

type pskCase struct {
	ID    vectors.Hex `json:"psk_id"`
	PSK   vectors.Hex `json:"psk"`
	Nonce vectors.Hex `json:"psk_nonce,omitempty"` // not in passive clients' files
}

type pskSecretCase struct {
	suiteCase
	PSKs      []pskCase   `json:"psks"`
	PSKSecret vectors.Hex `json:"psk_secret"`
}

func loadPSKSecret(t *testing.T, data []byte) {
	eachCase(t, data, 1, func(t *testing.T, s *suite.Suite, v *pskSecretCase) {
		var psks []psk
		for _, p := range v.PSKs {
			psks = append(psks, psk{PreSharedKeyID{Type: PSKExternal, ID: p.ID, Nonce: p.Nonce}, secret.Copy(p.PSK)})
		}
		equal(t, "psk secret", pskSecret(s, psks).Bytes(), v.PSKSecret)
	})
}

type transcriptCase struct {
	suiteCase
	ConfirmationKey      vectors.Hex `json:"confirmation_key"`
	AuthenticatedContent vectors.Hex `json:"authenticated_content"`
	InterimBefore        vectors.Hex `json:"interim_transcript_hash_before"`
	ConfirmedAfter       vectors.Hex `json:"confirmed_transcript_hash_after"`
	InterimAfter         vectors.Hex `json:"interim_transcript_hash_after"`
}

func loadTranscriptHashes(t *testing.T, data []byte) {
	eachCase(t, data, 1, func(t *testing.T, s *suite.Suite, v *transcriptCase) {
		r := wire.NewReader(v.AuthenticatedContent)
		a := readAuthContent(r)
		if err := r.Done(); err != nil {
			t.Fatal(err)
		}
		equal(t, "encoding", a.marshal(), v.AuthenticatedContent)
		confirmed := confirmedTranscriptHash(s, v.InterimBefore, a)
		equal(t, "confirmed", confirmed, v.ConfirmedAfter)
		equal(t, "interim", interimTranscriptHash(s, confirmed, a.auth.confirmationTag), v.InterimAfter)
		if !s.VerifyMAC(secret.Copy(v.ConfirmationKey), confirmed, a.auth.confirmationTag) {
			t.Error("confirmation tag does not verify")
		}
	})
}

type secretTreeCase struct {
	suiteCase
	EncryptionSecret vectors.Hex `json:"encryption_secret"`
	SenderData       struct {
		Secret     vectors.Hex `json:"sender_data_secret"`
		Ciphertext vectors.Hex `json:"ciphertext"`
		Key        vectors.Hex `json:"key"`
		Nonce      vectors.Hex `json:"nonce"`
	} `json:"sender_data"`
	Leaves [][]generationCase `json:"leaves"`
}

type generationCase struct {
	Generation       uint32      `json:"generation"`
	ApplicationKey   vectors.Hex `json:"application_key"`
	ApplicationNonce vectors.Hex `json:"application_nonce"`
	HandshakeKey     vectors.Hex `json:"handshake_key"`
	HandshakeNonce   vectors.Hex `json:"handshake_nonce"`
}

// newSecretTree returns a secret tree with rows of its own.
func newSecretTree(t *testing.T, s *suite.Suite, leaves uint32, encryption []byte) *secretTree {
	t.Helper()
	tree := &secretTree{suite: s, leaves: leaves, rows: MemoryRows{}}
	var first changes
	tree.start(secret.Copy(encryption), &first)
	if err := first.write(tree.rows, CID{}); err != nil {
		t.Fatal(err)
	}
	return tree
}

// take consumes the key of a generation.
func (t *secretTree) take(tb testing.TB, typ ratchetType, leaf, generation uint32) messageKey {
	tb.Helper()
	var out changes
	k, err := t.at(typ, leaf, generation, &out)
	if err != nil {
		tb.Fatalf("leaf %d, generation %d: %v", leaf, generation, err)
	}
	if err := out.write(t.rows, CID{}); err != nil {
		tb.Fatal(err)
	}
	return k
}

func loadSecretTree(t *testing.T, data []byte) {
	eachCase(t, data, 1, func(t *testing.T, s *suite.Suite, v *secretTreeCase) {
		key, nonce := senderDataCipher(s, secret.Copy(v.SenderData.Secret), v.SenderData.Ciphertext)
		equal(t, "sender data key", key.Bytes(), v.SenderData.Key)
		equal(t, "sender data nonce", nonce, v.SenderData.Nonce)

		width := uint32(1)
		for int(width) < len(v.Leaves) {
			width *= 2
		}
		tree := newSecretTree(t, s, width, v.EncryptionSecret)
		for leaf, generations := range v.Leaves {
			for _, g := range generations {
				k := tree.take(t, ratchetApplication, uint32(leaf), g.Generation)
				equal(t, "application key", k.key.Bytes(), g.ApplicationKey)
				equal(t, "application nonce", k.nonce, g.ApplicationNonce)
				k = tree.take(t, ratchetHandshake, uint32(leaf), g.Generation)
				equal(t, "handshake key", k.key.Bytes(), g.HandshakeKey)
				equal(t, "handshake nonce", k.nonce, g.HandshakeNonce)
			}
		}
	})
}

type protectionCase struct {
	suiteCase
	GroupID                 vectors.Hex `json:"group_id"`
	Epoch                   uint64      `json:"epoch"`
	TreeHash                vectors.Hex `json:"tree_hash"`
	ConfirmedTranscriptHash vectors.Hex `json:"confirmed_transcript_hash"`
	SignaturePriv           vectors.Hex `json:"signature_priv"`
	SignaturePub            vectors.Hex `json:"signature_pub"`
	EncryptionSecret        vectors.Hex `json:"encryption_secret"`
	SenderDataSecret        vectors.Hex `json:"sender_data_secret"`
	MembershipKey           vectors.Hex `json:"membership_key"`
	Proposal                vectors.Hex `json:"proposal"`
	ProposalPriv            vectors.Hex `json:"proposal_priv"`
	ProposalPub             vectors.Hex `json:"proposal_pub"`
	Commit                  vectors.Hex `json:"commit"`
	CommitPriv              vectors.Hex `json:"commit_priv"`
	CommitPub               vectors.Hex `json:"commit_pub"`
	Application             vectors.Hex `json:"application"`
	ApplicationPriv         vectors.Hex `json:"application_priv"`
}

const sender = 1

func loadMessageProtection(t *testing.T, data []byte) {
	eachCase(t, data, 1, func(t *testing.T, s *suite.Suite, v *protectionCase) {
		gc := groupContext{suite: s.ID(), groupID: v.GroupID, epoch: v.Epoch, treeHash: v.TreeHash, confirmedTranscriptHash: v.ConfirmedTranscriptHash}
		context := gc.append(nil)
		signer, err := s.NewSigningKey(padded(s, v.SignaturePriv))
		if err != nil {
			t.Fatal(err)
		}
		newTree := func() *secretTree { return newSecretTree(t, s, 2, v.EncryptionSecret) }
		openPriv := func(encoded []byte) *authContent {
			t.Helper()
			m, err := parseMessage(encoded)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "encoding", m.marshal(), encoded)
			sd, err := openSenderData(s, secret.Copy(v.SenderDataSecret), m.private)
			if err != nil || sd.leaf != sender {
				t.Fatalf("sender %d, %v", sd.leaf, err)
			}
			var out changes
			k, err := newTree().at(ratchetFor(m.private.contentType), sd.leaf, sd.generation, &out)
			if err != nil {
				t.Fatal(err)
			}
			a, err := openPrivate(s, k, sd, m.private)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.verify(s, v.SignaturePub, context); err != nil {
				t.Fatal(err)
			}
			return a
		}
		openPub := func(encoded []byte) *authContent {
			t.Helper()
			m, err := parseMessage(encoded)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "encoding", m.marshal(), encoded)
			if err := checkMembershipTag(s, secret.Copy(v.MembershipKey), m.public, context); err != nil {
				t.Fatal(err)
			}
			a := m.public.authenticated()
			if err := a.verify(s, v.SignaturePub, context); err != nil {
				t.Fatal(err)
			}
			return a
		}
		for _, c := range []struct {
			typ            ContentType
			want, pub, prv vectors.Hex
		}{
			{ContentProposal, v.Proposal, v.ProposalPub, v.ProposalPriv},
			{ContentCommit, v.Commit, v.CommitPub, v.CommitPriv},
			{ContentApplication, v.Application, nil, v.ApplicationPriv},
		} {
			body := func(a *authContent) []byte {
				if a.content.contentType != c.typ {
					t.Fatalf("content type %d, want %d", a.content.contentType, c.typ)
				}
				if c.typ == ContentApplication {
					return a.content.application
				}
				return a.content.appendBody(nil)
			}
			opened := openPriv(c.prv)
			equal(t, "private content", body(opened), c.want)
			// And what we protect, we open.
			again := &authContent{wireFormat: WirePrivateMessage, content: opened.content, auth: framedAuth{confirmationTag: make([]byte, s.HashSize())}}
			if err := again.sign(s, signer, context); err != nil {
				t.Fatal(err)
			}
			var out changes
			k, err := newTree().next(ratchetFor(c.typ), sender, &out)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "own private", body(openPriv(protectPrivate(s, secret.Copy(v.SenderDataSecret), k, again, 0).marshal())), c.want)
			if c.pub == nil {
				continue
			}
			opened = openPub(c.pub)
			equal(t, "public content", body(opened), c.want)
			again = &authContent{wireFormat: WirePublicMessage, content: opened.content, auth: framedAuth{confirmationTag: make([]byte, s.HashSize())}}
			if err := again.sign(s, signer, context); err != nil {
				t.Fatal(err)
			}
			equal(t, "own public", body(openPub(protectPublic(s, secret.Copy(v.MembershipKey), again, context).marshal())), c.want)
		}
	})
}

type welcomeCase struct {
	suiteCase
	InitPriv   vectors.Hex `json:"init_priv"`
	KeyPackage vectors.Hex `json:"key_package"`
	SignerPub  vectors.Hex `json:"signer_pub"`
	Welcome    vectors.Hex `json:"welcome"`
}

func loadWelcome(t *testing.T, data []byte) {
	eachCase(t, data, 1, func(t *testing.T, s *suite.Suite, v *welcomeCase) {
		kp, err := ParseKeyPackage(v.KeyPackage)
		if err != nil {
			t.Fatal(err)
		}
		initKey, err := s.NewHPKEKey(padded(s, v.InitPriv))
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseMessage(v.Welcome)
		if err != nil {
			t.Fatal(err)
		}
		gs, err := m.welcome.open(s, kp, &KeyPackagePrivate{Init: initKey})
		if err != nil {
			t.Fatal(err)
		}
		pskKey := pskSecret(s, nil)
		info, err := m.welcome.openGroupInfo(s, gs.joiner, pskKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := info.verify(s, v.SignerPub); err != nil {
			t.Fatal(err)
		}
		sec := scheduleFromJoiner(s, gs.joiner, pskKey, info.context.append(nil), false)
		if !s.VerifyMAC(sec.confirmation, info.context.confirmedTranscriptHash, info.confirmationTag) {
			t.Fatal("confirmation tag does not verify")
		}
	})
}

func loadMessages(t *testing.T, data []byte) {
	var count vectors.Cases
	proposal := func(typ ProposalType) func([]byte) ([]byte, error) {
		return func(b []byte) ([]byte, error) {
			r := wire.NewReader(append(wire.AppendUint16(nil, uint16(typ)), b...))
			p := readProposal(r)
			if err := r.Done(); err != nil {
				return nil, err
			}
			return p.append(nil)[2:], nil
		}
	}
	whole := func(b []byte) ([]byte, error) {
		m, err := parseMessage(b)
		if err != nil {
			return nil, err
		}
		return m.marshal(), nil
	}
	decoders := map[string]func([]byte) ([]byte, error){
		"mls_welcome": whole, "mls_group_info": whole, "mls_key_package": whole,
		"public_message_application": whole, "public_message_proposal": whole,
		"public_message_commit": whole, "private_message": whole,
		"add_proposal":                      proposal(ProposalAdd),
		"update_proposal":                   proposal(ProposalUpdate),
		"remove_proposal":                   proposal(ProposalRemove),
		"pre_shared_key_proposal":           proposal(ProposalPSK),
		"re_init_proposal":                  proposal(ProposalReInit),
		"external_init_proposal":            proposal(ProposalExternalInit),
		"group_context_extensions_proposal": proposal(ProposalGroupContextExtensions),
		"commit": func(b []byte) ([]byte, error) {
			r := wire.NewReader(b)
			c := readCommit(r)
			if err := r.Done(); err != nil {
				return nil, err
			}
			return c.append(nil), nil
		},
		"group_secrets": func(b []byte) ([]byte, error) {
			r := wire.NewReader(b)
			g := readGroupSecrets(r)
			if err := r.Done(); err != nil {
				return nil, err
			}
			return g.append(nil), nil
		},
		"ratchet_tree": func(b []byte) ([]byte, error) {
			s, err := suite.ByID(suite.X25519AES128GCMEd25519)
			if err != nil {
				return nil, err
			}
			tree, err := treekem.Parse(s, b)
			if err != nil {
				return nil, err
			}
			return tree.Append(nil), nil
		},
	}
	for i, c := range decodeCases[map[string]vectors.Hex](t, data) {
		count.Take(t, 0, nil)
		for name, encoded := range c {
			decode, ok := decoders[name]
			if !ok {
				t.Fatalf("no decoder for %s", name)
			}
			again, err := decode(encoded)
			if err != nil {
				t.Fatalf("case %d, %s: %v", i, name, err)
			}
			equal(t, name, again, encoded)
			for _, cut := range []int{0, 1, len(encoded) / 2, len(encoded) - 1} {
				if cut >= len(encoded) {
					continue
				}
				if _, err := decode(encoded[:cut]); err == nil {
					t.Errorf("case %d, %s: %d of %d bytes decode", i, name, cut, len(encoded))
				}
			}
		}
	}
	count.Done(t)
}

func loadDeserialization(t *testing.T, data []byte) {
	type headerCase struct {
		Header vectors.Hex `json:"vlbytes_header"`
		Length int         `json:"length"`
	}
	var count vectors.Cases
	for _, c := range decodeCases[headerCase](t, data) {
		count.Take(t, 0, nil)
		r := wire.NewReader(c.Header)
		if n := r.Varint(); r.Done() != nil || n != c.Length {
			t.Errorf("%x: %d, %v; want %d", c.Header, n, r.Err(), c.Length)
		}
	}
	count.Done(t)
}

// passiveClient follows a group as someone else's implementation made it.
type passiveClient struct {
	suiteCase
	ExternalPSKs              []pskCase      `json:"external_psks"`
	KeyPackage                vectors.Hex    `json:"key_package"`
	SignaturePriv             vectors.Hex    `json:"signature_priv"`
	EncryptionPriv            vectors.Hex    `json:"encryption_priv"`
	InitPriv                  vectors.Hex    `json:"init_priv"`
	Welcome                   vectors.Hex    `json:"welcome"`
	RatchetTree               *vectors.Hex   `json:"ratchet_tree"`
	InitialEpochAuthenticator vectors.Hex    `json:"initial_epoch_authenticator"`
	Epochs                    []passiveEpoch `json:"epochs"`
}

type passiveEpoch struct {
	Proposals          []vectors.Hex `json:"proposals"`
	Commit             vectors.Hex   `json:"commit"`
	EpochAuthenticator vectors.Hex   `json:"epoch_authenticator"`
}

func (v *passiveClient) run(t *testing.T, s *suite.Suite) {
	source := func(id PreSharedKeyID) (secret.Key, bool) {
		for _, p := range v.ExternalPSKs {
			if id.Type == PSKExternal && bytes.Equal(p.ID, id.ID) {
				return secret.Copy(p.PSK), true
			}
		}
		return secret.Key{}, false
	}
	resumption := map[uint64]secret.Key{}
	kp, err := ParseKeyPackage(v.KeyPackage)
	if err != nil {
		t.Fatal(err)
	}
	if err := kp.check(); err != nil {
		t.Fatal(err)
	}
	private := new(KeyPackagePrivate)
	if private.Init, err = s.NewHPKEKey(padded(s, v.InitPriv)); err != nil {
		t.Fatal(err)
	}
	if private.Encryption, err = s.NewHPKEKey(padded(s, v.EncryptionPriv)); err != nil {
		t.Fatal(err)
	}
	signer, err := s.NewSigningKey(padded(s, v.SignaturePriv))
	if err != nil {
		t.Fatal(err)
	}
	o := JoinOptions{KeyPackage: kp, Private: private, Signer: signer, PSK: source, Plain: true}
	if v.RatchetTree != nil {
		o.RatchetTree = *v.RatchetTree
	}
	rows := MemoryRows{}
	j, err := Join(rows, v.Welcome, o)
	if err != nil {
		t.Fatal(err)
	}
	g := j.Group
	equal(t, "initial epoch authenticator", g.EpochAuthenticator(), v.InitialEpochAuthenticator)
	for i, e := range v.Epochs {
		resumption[g.Epoch()] = g.ResumptionPSK()
		po := ProcessOptions{PSK: func(id PreSharedKeyID) (secret.Key, bool) {
			if id.Type == PSKResumption {
				k, ok := resumption[id.Epoch]
				return k, ok
			}
			return source(id)
		}}
		for _, p := range e.Proposals {
			if _, err := g.Process(rows, p, po); err != nil {
				t.Fatalf("epoch %d: proposal: %v", i, err)
			}
		}
		r, err := g.Process(rows, e.Commit, po)
		if err != nil {
			t.Fatalf("epoch %d: commit: %v", i, err)
		}
		// Every epoch survives a restart.
		next, past, err := r.Commit.Merge(rows)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := UnmarshalPast(past.Marshal()); err != nil {
			t.Fatal(err)
		}
		if g, err = Unmarshal(next.Marshal(), signer); err != nil {
			t.Fatal(err)
		}
		equal(t, "epoch authenticator", g.EpochAuthenticator(), e.EpochAuthenticator)
	}
}

func loadPassiveClient(t *testing.T, data []byte) {
	eachCase(t, data, passiveStride, func(t *testing.T, s *suite.Suite, v *passiveClient) { v.run(t, s) })
}
