package groups

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// reencode decodes with read, which must consume all, and encodes again.
func reencode[T any](b []byte, read func(*wire.Reader) T, encode func(T) []byte) ([]byte, error) {
	r := wire.NewReader(b)
	v := read(r)
	if err := r.Done(); err != nil {
		return nil, err
	}
	return encode(v), nil
}

// wireTypes are all decoders of this package, each with its encoder.
var wireTypes = map[string]func([]byte) ([]byte, error){
	"message": func(b []byte) ([]byte, error) {
		m, err := parseMessage(b)
		if err != nil {
			return nil, err
		}
		return m.marshal(), nil
	},
	"authenticated content": func(b []byte) ([]byte, error) {
		return reencode(b, readAuthContent, (*authContent).marshal)
	},
	"proposal": func(b []byte) ([]byte, error) {
		return reencode(b, readProposal, func(p *Proposal) []byte { return p.append(nil) })
	},
	"commit": func(b []byte) ([]byte, error) {
		return reencode(b, readCommit, func(c *commit) []byte { return c.append(nil) })
	},
	"group secrets": func(b []byte) ([]byte, error) {
		return reencode(b, readGroupSecrets, func(g *groupSecrets) []byte { return g.append(nil) })
	},
	"group context": func(b []byte) ([]byte, error) {
		return reencode(b, readGroupContext, func(g groupContext) []byte { return g.append(nil) })
	},
	"roles": func(b []byte) ([]byte, error) {
		r, err := ParseRoles(b)
		if err != nil {
			return nil, err
		}
		return r.Marshal(), nil
	},
	"required capabilities": func(b []byte) ([]byte, error) {
		q, err := parseRequired(b)
		if err != nil {
			return nil, err
		}
		return q.marshal(), nil
	},
	"external senders": func(b []byte) ([]byte, error) {
		senders, err := ExternalSenders(Extensions{{Type: extensionExternalSenders, Data: b}})
		if err != nil {
			return nil, err
		}
		return ExternalSendersExtension(senders).Data, nil
	},
	"application header": func(b []byte) ([]byte, error) {
		h, err := parseAppHeader(b)
		if err != nil {
			return nil, err
		}
		return h.marshal(), nil
	},
}

// sample is one encoded value and the name of its decoder.
type sample struct {
	of      string
	encoded []byte
}

// samples makes one value or more of every wire type.
var samples = sync.OnceValue(func() []sample {
	tb := new(testing.T)
	people := groupOf(tb, 3, nil)
	alice, bob, dave := people[0], people[1], newPerson(tb, 9)
	nonce := make([]byte, 32)
	proposals := []*Proposal{
		{Type: ProposalAdd, Add: dave.kp},
		{Type: ProposalRemove, Remove: 1},
		{Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKExternal, ID: []byte("id"), Nonce: nonce}},
		{Type: ProposalPSK, PSK: PreSharedKeyID{Type: PSKResumption, Usage: ResumptionBranch, GroupID: []byte("g"), Epoch: 7, Nonce: nonce}},
		{Type: ProposalReInit, ReInit: &ReInit{GroupID: []byte("g"), Version: treekem.MLS10, Suite: 1, Extensions: Extensions{{Type: 9, Data: []byte("x")}}}},
		{Type: ProposalExternalInit, KEMOutput: []byte("kem")},
		{Type: ProposalGroupContextExtensions, Extensions: alice.group.Extensions()},
	}
	var out []sample
	add := func(of string, encoded []byte) { out = append(out, sample{of, encoded}) }
	frame := func(from Sender, p *Proposal) *authContent {
		return &authContent{
			wireFormat: WirePublicMessage,
			content:    &framedContent{groupID: []byte("g"), epoch: 3, sender: from, authenticatedData: []byte("aad"), contentType: ContentProposal, proposal: p},
			auth:       framedAuth{signature: []byte("signature")},
		}
	}
	for _, p := range proposals {
		add("proposal", p.append(nil))
		for _, from := range []Sender{member(1), {Type: SenderExternal, Index: 2}, {Type: SenderNewMemberProposal}, {Type: SenderNewMemberCommit}} {
			a := frame(from, p)
			add("authenticated content", a.marshal())
			add("message", protectPublic(alice.group.suite, secret.Random(32), a, nil).marshal())
		}
	}
	update, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{})
	if err != nil {
		panic(err)
	}
	st := alice.prepare(CommitOptions{Add: []*KeyPackage{dave.kp}, Remove: []LeafIndex{1}})
	m, err := parseMessage(st.Commit)
	if err != nil {
		panic(err)
	}
	info, err := alice.group.describe(true, true, nil)
	if err != nil {
		panic(err)
	}
	add("message", update)
	add("message", st.Commit)
	add("message", st.Welcome)
	add("message", alice.say("hello"))
	add("message", dave.kp.Marshal())
	add("message", (&message{wireFormat: WireGroupInfo, groupInfo: info}).marshal())
	add("authenticated content", m.public.authenticated().marshal())
	add("commit", m.public.content.commit.append(nil))
	add("commit", (&commit{proposals: []proposalOrRef{{ref: nonce}, {proposal: proposals[1]}}}).append(nil))
	add("group secrets", (&groupSecrets{joiner: secret.Random(32), pathSecret: secret.Random(32), psks: []PreSharedKeyID{proposals[2].PSK}}).append(nil))
	add("group secrets", (&groupSecrets{joiner: secret.Random(32)}).append(nil))
	add("group context", alice.group.context)
	add("roles", alice.group.Roles().Marshal())
	required := required{extensions: []treekem.ExtensionType{1, 2}, credentials: []treekem.CredentialType{CredentialEthereum}}
	add("required capabilities", required.marshal())
	add("external senders", ExternalSendersExtension([]ExternalSender{{[]byte("key"), treekem.Basic([]byte("bot"))}, {[]byte("k"), Credential{Type: 9}}}).Data)
	add("application header", (&AppHeader{N: 7, Prev: [32]byte{1}}).marshal())
	return out
})

func TestWireTypes(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range samples() {
		seen[s.of] = true
		decode := wireTypes[s.of]
		again, err := decode(s.encoded)
		if err != nil || !bytes.Equal(again, s.encoded) {
			t.Errorf("%s does not round-trip: %v", s.of, err)
			continue
		}
		for i := range s.encoded {
			if _, err := decode(s.encoded[:i]); err == nil {
				t.Errorf("%s: %d of %d bytes decode", s.of, i, len(s.encoded))
			}
		}
		if _, err := decode(append(bytes.Clone(s.encoded), 0)); err == nil {
			t.Errorf("%s: a trailing byte decodes", s.of)
		}
	}
	for name := range wireTypes {
		if !seen[name] {
			t.Errorf("no sample of %s", name)
		}
	}
}

func TestMessageLimits(t *testing.T) {
	huge := make([]byte, MaxMessageSize+1)
	if _, err := parseMessage(huge); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	many := wire.AppendVecFunc(nil, func(b []byte) []byte {
		for range MaxProposals + 1 {
			b = append(b, 2, 0) // an empty reference
		}
		return b
	})
	if _, err := wireTypes["commit"](append(many, 0)); !errors.Is(err, wire.ErrLength) {
		t.Fatal(err)
	}
	alice := groupOf(t, 1, nil)[0]
	if _, _, err := alice.group.Protect(alice.rows, make([]byte, MaxApplicationData+1)); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if _, err := Create(MemoryRows{}, CreateOptions{Credential: alice.cred, Signer: alice.signer, Now: testNow, GroupID: make([]byte, MaxGroupID+1)}); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if info, err := Peek(alice.say("x")); err != nil || info.Content != ContentApplication || info.Epoch != 0 || !bytes.Equal(info.GroupID, alice.group.GroupID()) {
		t.Fatal(info, err)
	}
}

// fuzzWire checks that what decodes encodes to the same bytes.
func fuzzWire(f *testing.F, name string) {
	for _, s := range samples() {
		if s.of == name {
			f.Add(s.encoded)
		}
	}
	decode := wireTypes[name]
	f.Fuzz(func(t *testing.T, in []byte) {
		var out []byte
		var err error
		bounded(t, name, len(in), memoryFactor, func() { out, err = decode(in) })
		if err == nil && !bytes.Equal(in, out) {
			t.Fatalf("%x re-encodes as %x", in, out)
		}
	})
}

func FuzzMessage(f *testing.F)              { fuzzWire(f, "message") }
func FuzzAuthenticatedContent(f *testing.F) { fuzzWire(f, "authenticated content") }
func FuzzProposal(f *testing.F)             { fuzzWire(f, "proposal") }
func FuzzCommit(f *testing.F)               { fuzzWire(f, "commit") }
func FuzzGroupSecrets(f *testing.F)         { fuzzWire(f, "group secrets") }
func FuzzGroupContext(f *testing.F)         { fuzzWire(f, "group context") }
func FuzzRoles(f *testing.F)                { fuzzWire(f, "roles") }
func FuzzRequiredCapabilities(f *testing.F) { fuzzWire(f, "required capabilities") }
func FuzzAppHeader(f *testing.F)            { fuzzWire(f, "application header") }
func FuzzExternalSenders(f *testing.F)      { fuzzWire(f, "external senders") }
