package groups

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

// leafRule breaks one rule of RFC 9420, Section 7.3, and says what that earns
// where leaves come from: an Add and a path in a commit, an Update, and the tree
// of a Welcome. No error means that the rule does not apply there, or that
// package treekem tests it.
type leafRule struct {
	change func(l *LeafNode, alice *person) // before it is signed
	signer func(alice *person) suite.SigningKey
	spoil  func(l *LeafNode) // after

	add, update, path, tree error
}

// everywhere is for what is wrong with the leaf by itself.
func everywhere(change func(l *LeafNode)) leafRule {
	return leafRule{
		change: func(l *LeafNode, _ *person) { change(l) },
		add:    ErrKeyPackage, update: ErrProposal, path: ErrTree, tree: ErrTree,
	}
}

func spoiled(spoil func(l *LeafNode), want error) leafRule {
	r := leafRule{spoil: spoil, add: want, update: want, path: want, tree: want}
	if want == nil {
		r.add, r.update, r.path, r.tree = ErrKeyPackage, ErrProposal, ErrTree, ErrTree
	}
	return r
}

var leafRules = map[string]leafRule{
	"signature":              spoiled(func(l *LeafNode) { l.Signature = bytes.Clone(l.Signature); l.Signature[5] ^= 1 }, ErrSignature),
	"empty signature":        spoiled(func(l *LeafNode) { l.Signature = nil }, ErrSignature),
	"unusable signature key": spoiled(func(l *LeafNode) { l.SignatureKey = l.SignatureKey[:31] }, nil),
	"unusable key":           everywhere(func(l *LeafNode) { l.EncryptionKey = l.EncryptionKey[:31] }),
	"key of low order":       everywhere(func(l *LeafNode) { l.EncryptionKey = make([]byte, 32) }),
	"no MLS 1.0":             everywhere(func(l *LeafNode) { l.Capabilities.Versions = []treekem.ProtocolVersion{2} }),
	"own credential unlisted": everywhere(func(l *LeafNode) {
		l.Capabilities.Credentials = []treekem.CredentialType{customCredential}
	}),
	"own extension unlisted":   everywhere(func(l *LeafNode) { l.Extensions = Extensions{{Type: 0xBEEF}} }),
	"extension twice":          everywhere(func(l *LeafNode) { l.Extensions = Extensions{{Type: ExtensionRoles}, {Type: ExtensionRoles}} }),
	"malformed application id": everywhere(func(l *LeafNode) { l.Extensions = Extensions{{Type: 1, Data: []byte{1, 2, 3}}} }),
	"required proposal unlisted": {
		change: func(l *LeafNode, _ *person) { l.Capabilities.Proposals = []ProposalType{ProposalSelfRemove} },
		add:    ErrCapabilities, update: ErrCapabilities, path: ErrCapabilities, tree: ErrCapabilities,
	},
	"required extension unlisted": {
		change: func(l *LeafNode, _ *person) {
			l.Capabilities.Extensions = []treekem.ExtensionType{extensionLastResort}
		},
		add: ErrCapabilities, update: ErrCapabilities, path: ErrCapabilities, tree: ErrCapabilities,
	},
	"required credential unlisted": {
		change: func(l *LeafNode, _ *person) {
			l.Capabilities.Credentials = []treekem.CredentialType{treekem.CredentialBasic}
		},
		add: ErrCapabilities, update: ErrCapabilities, path: ErrCapabilities, tree: ErrCapabilities,
	},
	"credential others do not support": {
		change: func(l *LeafNode, _ *person) {
			l.Credential.Type = 0xBEEF
			l.Capabilities.Credentials = append(l.Capabilities.Credentials[:2:2], 0xBEEF, customCredential)
		},
		add: ErrTree, path: ErrTree, tree: ErrTree,
	},
	"credential of GREASE": {
		change: func(l *LeafNode, _ *person) {
			l.Credential.Type = 0x1A1A
			l.Capabilities.Credentials = append(l.Capabilities.Credentials[:2:2], 0x1A1A, customCredential)
		},
		add: ErrTree, path: ErrTree, tree: ErrTree,
	},
	"others' credential unsupported": {
		change: func(l *LeafNode, _ *person) {
			l.Credential.Type = customCredential
			l.Capabilities.Credentials = []treekem.CredentialType{customCredential}
		},
		add: ErrTree, path: ErrTree, tree: ErrTree,
	},
	"malformed account": {
		change: func(l *LeafNode, _ *person) {
			l.Credential = Credential{Type: CredentialEthereum, Body: []byte("short")}
			l.Capabilities.Credentials = append(l.Capabilities.Credentials[:2:2], CredentialEthereum, customCredential)
		},
		add: ErrCredential, update: ErrCredential, path: ErrCredential, tree: ErrCredential,
	},
	"of an update": {
		change: func(l *LeafNode, _ *person) { l.Source = treekem.SourceUpdate },
		add:    ErrKeyPackage, path: ErrTree,
	},
	"of a commit": {
		change: func(l *LeafNode, _ *person) { l.Source, l.ParentHash = treekem.SourceCommit, make([]byte, 32) },
		add:    ErrKeyPackage, update: ErrProposal,
	},
	"of a key package": {
		change: func(l *LeafNode, _ *person) { l.Source = treekem.SourceKeyPackage },
		update: ErrProposal, path: ErrTree,
	},
	"a member's signature key": {
		signer: func(alice *person) suite.SigningKey { return alice.signer },
		add:    ErrDuplicate, tree: ErrDuplicate,
	},
	"a member's encryption key": {
		change: func(l *LeafNode, alice *person) {
			own, _ := alice.group.tree.Leaf(0)
			l.EncryptionKey = own.EncryptionKey
		},
		add: ErrDuplicate, path: ErrDuplicate, tree: ErrDuplicate, // of the path it is the own old one
	},
	"nothing": {add: ErrConfirmationTag, update: ErrConfirmationTag, path: ErrConfirmationTag},
}

func (r *leafRule) apply(t *testing.T, l *LeafNode, alice *person, signer suite.SigningKey, group []byte, at LeafIndex) *LeafNode {
	t.Helper()
	l = l.Clone()
	if r.change != nil {
		r.change(l, alice)
	}
	if r.signer != nil {
		signer = r.signer(alice)
	}
	if err := l.Sign(alice.group.suite, signer, group, at); err != nil {
		t.Fatal(err)
	}
	if r.spoil != nil {
		r.spoil(l)
	}
	return l
}

// requiring is what the groups of these tests demand of a leaf.
func requiring() Extension {
	q := required{
		extensions:  []treekem.ExtensionType{ExtensionRoles},
		proposals:   []ProposalType{customProposal},
		credentials: []treekem.CredentialType{customCredential},
	}
	return Extension{Type: extensionRequired, Data: q.marshal()}
}

func TestLeafRules(t *testing.T) {
	people := plainOf(t, fast, 3, requiring())
	alice, bob, carol := people[0], people[1], people[2]
	dave := newPlainPerson(t, fast, 3)
	st := alice.prepare(CommitOptions{})
	m, err := parseMessage(st.Commit)
	if err != nil {
		t.Fatal(err)
	}
	path := m.public.content.commit.path
	old, _ := carol.group.tree.Leaf(2)
	fresh := old.Clone()
	fresh.Source, fresh.Lifetime, fresh.EncryptionKey = treekem.SourceUpdate, treekem.Lifetime{}, dave.kp.Leaf.EncryptionKey
	for name, r := range leafRules {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			if r.add != nil {
				t.Run("add", func(t *testing.T) {
					kp := *dave.kp
					signer := dave.signer
					if r.signer != nil {
						signer = r.signer(alice)
					}
					kp.Leaf = r.apply(t, kp.Leaf, alice, dave.signer, alice.group.groupID, 0)
					resign(t, &kp, signer)
					bob.refuses(alice.forge(byValue(&Proposal{Type: ProposalAdd, Add: &kp}), nil), r.add)
				})
			}
			if r.update != nil {
				t.Run("update", func(t *testing.T) {
					l := r.apply(t, fresh, alice, carol.signer, alice.group.groupID, 2)
					msg := carol.utter(&Proposal{Type: ProposalUpdate, Update: l}, Framing{})
					rows := snapshot(bob.rows)
					got, err := bob.group.Process(bob.rows, msg, ProcessOptions{})
					if err == nil { // it is wrong in the group, not by itself
						_, err = bob.group.Process(bob.rows, alice.commitRef(got.Proposal.Ref, 2, l), ProcessOptions{})
					} else if !same(rows, bob.rows) {
						t.Error("rows changed")
					}
					bob.rows = rows
					if !errors.Is(err, r.update) {
						t.Errorf("got %v, want %v", err, r.update)
					}
				})
			}
			if r.path != nil {
				t.Run("path", func(t *testing.T) {
					l := r.apply(t, path.Leaf, alice, alice.signer, alice.group.groupID, 0)
					bob.refuses(alice.forge(nil, &treekem.UpdatePath{Leaf: l, Nodes: path.Nodes}), r.path)
				})
			}
			t.Run("tree", func(t *testing.T) {
				if r.tree == nil && name != "nothing" {
					t.Skip("not of trees")
				}
				// A group of alice alone, to which she adds two.
				anna := newPlainPerson(t, fast, 0)
				anna.create0(t, requiring())
				carl, bert := newPlainPerson(t, fast, 1), newPlainPerson(t, fast, 2)
				w := bert.unwrap(anna.prepare(CommitOptions{Add: []*KeyPackage{carl.kp, bert.kp}, NoPath: true}).Welcome)
				w.setTree(relieve(t, w.info.extensions[0].Data, 1, func(l *LeafNode) {
					*l = *r.apply(t, l, anna, carl.signer, nil, 0)
				}))
				bert.tries(t, w.sign(anna.signer).seal(nil, nil), JoinOptions{}, r.tree)
			})
		})
	}
	// A leaf that belongs to a group is signed for it and for its place.
	for name, c := range map[string]struct {
		group []byte
		by    LeafIndex
	}{"signed for another place": {alice.group.groupID, 1}, "signed for another group": {[]byte("other"), 0}} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			var none leafRule
			l := none.apply(t, path.Leaf, alice, alice.signer, c.group, c.by)
			bob.refuses(alice.forge(nil, &treekem.UpdatePath{Leaf: l, Nodes: path.Nodes}), ErrSignature)
			l = none.apply(t, fresh, alice, carol.signer, c.group, 2+c.by)
			bob.refuses(carol.utter(&Proposal{Type: ProposalUpdate, Update: l}, Framing{}), ErrSignature)
		})
	}
	t.Run("an update that keeps its key", func(t *testing.T) {
		bob.tb = t
		r := leafRule{change: func(l *LeafNode, _ *person) { l.EncryptionKey = old.EncryptionKey }}
		l := r.apply(t, fresh, alice, carol.signer, alice.group.groupID, 2)
		bob.refuses(carol.utter(&Proposal{Type: ProposalUpdate, Update: l}, Framing{}), ErrProposal)
	})
	bob.tb = t
	bob.accepts(st.Commit)
}

// create0 makes a plain group of one.
func (p *person) create0(tb testing.TB, e ...Extension) {
	tb.Helper()
	var err error
	p.group, err = Create(p.rows, CreateOptions{
		Suite: p.kp.Suite, Credential: p.cred, Signer: p.signer, Now: testNow, Plain: true, Extensions: e, Capabilities: customCaps,
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// commitRef commits an Update by reference, with a path whose shape and parent
// hashes fit a tree with its leaf.
func (p *person) commitRef(ref []byte, at LeafIndex, l *LeafNode) []byte {
	p.tb.Helper()
	tree := p.group.tree.Clone()
	if err := tree.Update(at, l); err != nil {
		p.tb.Fatal(err)
	}
	path, err := treekem.CreatePath(tree, treekem.PathParams{Sender: p.group.self, GroupID: p.group.groupID, Signer: p.signer})
	if err != nil {
		p.tb.Fatal(err)
	}
	gc := p.group.gc
	gc.epoch, gc.treeHash = gc.epoch+1, tree.Hash()
	update, err := path.Encrypt(gc.append(nil))
	if err != nil {
		p.tb.Fatal(err)
	}
	return p.forge([]proposalOrRef{{ref: ref}}, update)
}

// resign makes the signature of a key package fit what was changed outside of
// its leaf.
func resign(tb testing.TB, kp *KeyPackage, signer suite.SigningKey) {
	tb.Helper()
	s, err := suite.ByID(kp.Suite)
	if err != nil {
		tb.Fatal(err)
	}
	if kp.Signature, err = s.SignWithLabel(signer, labelKeyPackageTBS, kp.unsigned(nil)); err != nil {
		tb.Fatal(err)
	}
}

// RFC 9420, Sections 10 and 10.1: by who adds and by who receives the Add.
func TestKeyPackageRules(t *testing.T) {
	people := plainOf(t, fast, 2)
	alice, bob := people[0], people[1]
	for name, c := range map[string]struct {
		change func(kp *KeyPackage)
		spoil  func(kp *KeyPackage)
		want   error
	}{
		"nothing":              {nil, nil, nil},
		"an unknown extension": {func(kp *KeyPackage) { kp.Extensions = Extensions{{Type: 0xBEEF, Data: []byte("x")}} }, nil, nil},
		"a last resort":        {func(kp *KeyPackage) { kp.Extensions = Extensions{{Type: extensionLastResort}} }, nil, nil},
		"another suite":        {func(kp *KeyPackage) { kp.Suite = suite.X25519ChaCha20Ed25519 }, nil, ErrKeyPackage},
		"an unknown suite":     {nil, func(kp *KeyPackage) { kp.Suite = 0xFFFF }, ErrUnsupported},
		"an unusable init key": {func(kp *KeyPackage) { kp.InitKey = kp.InitKey[1:] }, nil, ErrKeyPackage},
		"an init key of low order": {func(kp *KeyPackage) {
			kp.InitKey = make([]byte, 32)
		}, nil, ErrKeyPackage},
		"the encryption key as init key": {func(kp *KeyPackage) { kp.InitKey = kp.Leaf.EncryptionKey }, nil, ErrKeyPackage},
		"an extension twice": {func(kp *KeyPackage) {
			kp.Extensions = Extensions{{Type: 0xBEEF}, {Type: 0xBEEF}}
		}, nil, ErrKeyPackage},
		"a last resort with data": {func(kp *KeyPackage) {
			kp.Extensions = Extensions{{Type: extensionLastResort, Data: []byte{0}}}
		}, nil, ErrKeyPackage},
		"a signature": {nil, func(kp *KeyPackage) { kp.Signature = bytes.Clone(kp.Signature); kp.Signature[3] ^= 1 }, ErrSignature},
		"another's signature": {nil, func(kp *KeyPackage) {
			other := *kp
			resign(t, &other, bob.signer)
			kp.Signature = other.Signature
		}, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb = t
			dave := newPlainPerson(t, fast, 7)
			kp := *dave.kp
			if c.change != nil {
				c.change(&kp)
			}
			resign(t, &kp, dave.signer)
			if c.spoil != nil {
				c.spoil(&kp)
			}
			add := &Proposal{Type: ProposalAdd, Add: &kp}
			if c.want == nil {
				bob.accepts(alice.rebel(false, add))
				bob.accepts(alice.utter(add, Framing{}))
				return
			}
			bob.refuses(alice.rebel(false, add), c.want)
			bob.refuses(alice.utter(add, Framing{}), c.want)
			if _, err := alice.group.Prepare(alice.rows, CommitOptions{Add: []*KeyPackage{&kp}, Now: testNow}); !errors.Is(err, c.want) {
				t.Errorf("prepare: got %v, want %v", err, c.want)
			}
		})
	}
	dave := newPlainPerson(t, fast, 7)
	encoded := dave.kp.Marshal()
	t.Run("another version", func(t *testing.T) {
		for _, at := range []int{1, 5} { // of the message, of the key package
			other := bytes.Clone(encoded)
			other[at] = 2
			if _, err := ParseKeyPackage(other); !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
		}
	})
	t.Run("truncated", func(t *testing.T) {
		for i := range encoded {
			if _, err := ParseKeyPackage(encoded[:i]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%d bytes: %v", i, err)
			}
		}
	})
	// Section 7.2 and 7.3: who sends it minds the lifetime; who receives it is told.
	for name, c := range map[string]struct {
		lifetime treekem.Lifetime
		now      time.Time
	}{
		"not yet valid":    {lifetime(testNow.Add(time.Hour), testNow.Add(2*time.Hour)), testNow},
		"no longer valid":  {lifetime(testNow.Add(-2*time.Hour), testNow.Add(-time.Hour)), testNow},
		"valid for ever":   {treekem.Lifetime{NotAfter: 1<<64 - 1}, testNow},
		"valid never":      {lifetime(testNow.Add(time.Hour), testNow.Add(-time.Hour)), testNow},
		"valid a bit long": {lifetime(testNow, testNow.Add(MaxLifetime+time.Second)), testNow},
	} {
		t.Run(name, func(t *testing.T) {
			kp := *dave.kp
			kp.Leaf = kp.Leaf.Clone()
			kp.Leaf.Lifetime = c.lifetime
			if err := kp.Leaf.Sign(alice.group.suite, dave.signer, nil, 0); err != nil {
				t.Fatal(err)
			}
			resign(t, &kp, dave.signer)
			if _, err := alice.group.Prepare(alice.rows, CommitOptions{Add: []*KeyPackage{&kp}, Now: c.now}); !errors.Is(err, ErrLifetime) {
				t.Errorf("prepare: %v", err)
			}
			if _, err := alice.group.ProposeAdd(alice.rows, &kp, c.now); !errors.Is(err, ErrLifetime) {
				t.Errorf("propose: %v", err)
			}
			r, err := bob.group.Process(snapshot(bob.rows), alice.rebel(false, &Proposal{Type: ProposalAdd, Add: &kp}), ProcessOptions{Now: c.now})
			if err != nil {
				t.Fatal(err)
			}
			if u := r.Commit.Changes.Untrusted; len(u) != 1 || !errors.Is(u[0].Err, ErrLifetime) {
				t.Errorf("reported: %v", u)
			}
		})
	}
}
