package groups

import (
	"math"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// inviting is a plain group of alice and carol that bob is welcomed to, with a
// pre-shared key. Without a path the tree has no parents.
func inviting(t *testing.T, path bool) (alice, carol, bob *person, w *welcomed) {
	t.Helper()
	alice = plainOf(t, fast, 1)[0]
	carol, bob = newPlainPerson(t, fast, 1), newPlainPerson(t, fast, 2)
	id := PreSharedKeyID{Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 32)}
	st := alice.prepare(CommitOptions{
		Add: []*KeyPackage{carol.kp, bob.kp}, NoPath: !path, PSKs: []PreSharedKeyID{id}, PSK: sharedKey,
	})
	key, _ := sharedKey(id)
	return alice, carol, bob, bob.unwrap(st.Welcome, psk{id, key})
}

// RFC 9420, Section 12.4.3.1: what a joiner verifies. Everything else of each
// Welcome fits: signature, confirmation tag and encryption are made anew.
func TestWelcomeRules(t *testing.T) {
	stranger := newPlainPerson(t, fast, 9)
	name := func(w *welcomed, ids ...PreSharedKeyID) {
		w.gs.psks, w.psks = ids, nil
		for _, id := range ids {
			key, _ := sharedKey(id)
			w.psks = append(w.psks, psk{id, key})
		}
	}
	for what, c := range map[string]struct {
		path   bool
		change func(w *welcomed)
		want   error
	}{
		"nothing":             {false, func(*welcomed) {}, nil},
		"nothing with a path": {true, func(*welcomed) {}, nil},
		"an unknown extension of the group info": {false, func(w *welcomed) {
			w.info.extensions = append(w.info.extensions, Extension{Type: 0xBEEF, Data: []byte("x")}, Extension{Type: 0x1A1A})
		}, nil},
		"a short nonce of a pre-shared key": {false, func(w *welcomed) {
			name(w, PreSharedKeyID{Type: PSKExternal, ID: []byte("x"), Nonce: make([]byte, 31)})
		}, ErrProposal},
		"a pre-shared key twice": {false, func(w *welcomed) { name(w, w.gs.psks[0], w.gs.psks[0]) }, ErrDuplicate},
		"a pre-shared key that is not known": {false, func(w *welcomed) {
			name(w, PreSharedKeyID{Type: PSKExternal, ID: []byte("unknown"), Nonce: make([]byte, 32)})
		}, ErrUnknownPSK},
		"two links": {false, func(w *welcomed) {
			id := PreSharedKeyID{Type: PSKResumption, Usage: ResumptionBranch, GroupID: []byte("a"), Nonce: make([]byte, 32)}
			other := id
			other.Usage = ResumptionReInit
			name(w, id, other)
		}, ErrProposal},
		"a path secret that is not the tree's": {true, func(w *welcomed) { w.gs.pathSecret = secret.Random(32) }, ErrTree},
		"no path secret, and a path":           {true, func(w *welcomed) { w.gs.pathSecret = secret.Key{} }, ErrTree},
		"a path secret of the wrong size":      {true, func(w *welcomed) { w.gs.pathSecret = secret.Random(31) }, ErrTree},
		"a tree without the joiner's leaf": {false, func(w *welcomed) {
			w.setTree(relieve(t, w.info.extensions[0].Data, 2, func(l *LeafNode) { *l = *stranger.kp.Leaf }))
		}, ErrTree},
		"another tree hash":        {false, func(w *welcomed) { w.info.context.treeHash = make([]byte, 32) }, ErrTree},
		"a blank signer":           {false, func(w *welcomed) { w.info.signer = 3 }, ErrNotMember},
		"a signer beyond the tree": {false, func(w *welcomed) { w.info.signer = math.MaxUint32 }, ErrNotMember},
		"a signer of half that":    {false, func(w *welcomed) { w.info.signer = 1 << 31 }, ErrNotMember},
		"another's signature":      {false, func(w *welcomed) { w.info.signer = 1 }, ErrSignature},
		"another suite":            {false, func(w *welcomed) { w.info.context.suite = suite.X25519ChaCha20Ed25519 }, ErrMalformed},
		"an extension of it twice": {false, func(w *welcomed) {
			w.info.extensions = append(w.info.extensions, Extension{Type: 0xBEEF}, Extension{Type: 0xBEEF})
		}, ErrMalformed},
		"a context extension twice": {false, func(w *welcomed) { w.info.context.extensions = Extensions{{Type: 0x000A}, {Type: 0x000A}} }, ErrProposal},
		"an unsupported context":    {false, func(w *welcomed) { w.info.context.extensions = Extensions{{Type: 0xBEEF}} }, ErrCapabilities},
		"required and not supported": {false, func(w *welcomed) {
			q := required{proposals: []ProposalType{0xBEEF}}
			w.info.context.extensions = Extensions{{Type: extensionRequired, Data: q.marshal()}}
		}, ErrCapabilities},
		"a tree with a byte behind it": {false, func(w *welcomed) { w.info.extensions[0].Data = append(w.info.extensions[0].Data, 0) }, ErrMalformed},
		"a tree that ends in a blank": {false, func(w *welcomed) {
			nodes := wire.NewReader(w.info.extensions[0].Data).Vec()
			w.info.extensions[0].Data = wire.AppendVec(nil, append(nodes, 0, 0))
		}, ErrMalformed},
		"no tree": {false, func(w *welcomed) { w.info.extensions = w.info.extensions[1:] }, ErrTree},
		"required with a byte behind it": {false, func(w *welcomed) {
			w.info.context.extensions = Extensions{{Type: extensionRequired, Data: []byte{0, 0, 0, 0}}}
		}, ErrMalformed},
	} {
		t.Run(what, func(t *testing.T) {
			alice, _, bob, w := inviting(t, c.path)
			c.change(w)
			bob.tries(t, w.sign(alice.signer).seal(nil, nil), JoinOptions{PSK: sharedKey}, c.want)
		})
	}
	alice, _, bob, w := inviting(t, false)
	for what, c := range map[string]struct{ secrets, info []byte }{
		"a byte behind the group secrets": {[]byte{0}, nil}, "a byte behind the group info": {nil, []byte{0}},
	} {
		t.Run(what, func(t *testing.T) {
			bob.tries(t, w.sign(alice.signer).seal(c.secrets, c.info), JoinOptions{PSK: sharedKey}, ErrMalformed)
			bob.tries(t, w.seal(nil, nil), JoinOptions{PSK: sharedKey}, nil)
		})
	}
	t.Run("a welcome of another suite", func(t *testing.T) { // than the key package that it names
		m, err := parseMessage(w.sign(alice.signer).seal(nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		m.welcome.suite = suite.X25519ChaCha20Ed25519
		bob.tries(t, m.marshal(), JoinOptions{PSK: sharedKey}, ErrWelcomeNotForUs)
		m.welcome.suite = 0xFFFF
		bob.tries(t, m.marshal(), JoinOptions{PSK: sharedKey}, ErrUnsupported)
	})
	t.Run("another's key package", func(t *testing.T) {
		bob.tries(t, w.sign(alice.signer).seal(nil, nil), JoinOptions{KeyPackage: stranger.kp, PSK: sharedKey}, ErrWelcomeNotForUs)
	})
}

// A member whose account nobody could read is refused by joiners too, though
// only a hostile inviter could show them one.
func TestWelcomeWithAMalformedAccount(t *testing.T) {
	for what, c := range map[string]struct {
		size int
		want error
	}{"whole": {AcctSize + LinkDigestSize, nil}, "short": {AcctSize + LinkDigestSize - 1, ErrCredential}} {
		t.Run(what, func(t *testing.T) {
			alice, carol, bob := newPerson(t, 0), newPerson(t, 1), newPerson(t, 2)
			alice.create(nil)
			w := bob.unwrap(alice.prepare(CommitOptions{Add: []*KeyPackage{carol.kp, bob.kp}, NoPath: true}).Welcome)
			w.setTree(relieve(t, w.info.extensions[0].Data, 1, func(l *LeafNode) {
				l.Credential.Body = l.Credential.Body[:c.size]
				if err := l.Sign(w.s, carol.signer, nil, 0); err != nil {
					t.Fatal(err)
				}
			}))
			bob.tries(t, w.sign(alice.signer).seal(nil, nil), JoinOptions{}, c.want)
		})
	}
}
