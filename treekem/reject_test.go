package treekem

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// mutateTree returns a tree parsed anew from w's, with one node changed.
func (w *world) mutateTree(t *testing.T, x NodeIndex, change func(n *node)) *Tree {
	t.Helper()
	tree := mustParse(t, w.s, w.tree.Append(nil))
	n := tree.node(x)
	if n.leaf != nil {
		n.leaf = n.leaf.Clone()
	}
	if n.parent != nil {
		p := *n.parent
		n.parent = &p
	}
	change(n)
	return mustParse(t, w.s, tree.Append(nil))
}

func TestValidateRejects(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := newWorld(t, s, 8).full(t)
	// Leaf 1 leaves and another takes its place, without a path: it is unmerged
	// above. Then a path from 6, which leaves node 3 with the unmerged leaf.
	if err := w.tree.Remove(2); err != nil {
		t.Fatal(err)
	}
	delete(w.privates, 2)
	w.commit(t, 0)
	if i := w.join(t); i != 2 {
		t.Fatalf("joined at %d", i)
	}
	w.check(t)
	if got := w.tree.node(3).unmerged(); !slices.Equal(got, []LeafIndex{2}) {
		t.Fatalf("unmerged leaves of node 3 are %v", got)
	}
	resign := func(i LeafIndex, n *node) {
		if err := n.leaf.Sign(s, w.signers[i], testGroup, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		x      NodeIndex
		change func(n *node)
		want   error
	}{
		{"nothing", 0, func(*node) {}, nil},
		{"leaf signature", 0, func(n *node) { n.leaf.Signature = flip(n.leaf.Signature) }, ErrSignature},
		{"leaf content", 0, func(n *node) { n.leaf.Credential = Basic([]byte("mallory")) }, ErrSignature},
		{"leaf for another place", 0, func(n *node) {
			if err := n.leaf.Sign(s, w.signers[0], testGroup, 1); err != nil {
				t.Fatal(err)
			}
		}, ErrSignature},
		{"leaf for another group", 0, func(n *node) {
			if err := n.leaf.Sign(s, w.signers[0], []byte("other"), 0); err != nil {
				t.Fatal(err)
			}
		}, ErrSignature},
		{"leaf parent hash", 0, func(n *node) { n.leaf.ParentHash = flip(n.leaf.ParentHash); resign(0, n) }, ErrTree},
		{"leaf key of the wrong size", 0, func(n *node) { n.leaf.EncryptionKey = []byte{1}; resign(0, n) }, ErrLeaf},
		{"leaf with an extension twice", 0, func(n *node) {
			n.leaf.Extensions = Extensions{{Type: 0xF0E1}, {Type: 0xF0E1}}
			resign(0, n)
		}, ErrLeaf},
		{"leaf with an application id", 0, func(n *node) {
			n.leaf.Extensions = Extensions{{Type: 1, Data: []byte{1, 7}}}
			resign(0, n)
		}, nil},
		{"application id with a byte behind it", 0, func(n *node) {
			n.leaf.Extensions = Extensions{{Type: 1, Data: []byte{1, 7, 0}}}
			resign(0, n)
		}, ErrLeaf},
		{"leaf with an extension it does not list", 0, func(n *node) {
			n.leaf.Extensions = Extensions{{Type: 0xBEEF}}
			resign(0, n)
		}, ErrLeaf},
		{"leaf with a credential it does not list", 0, func(n *node) {
			n.leaf.Credential.Type = 0xBEEF
			resign(0, n)
		}, ErrLeaf},
		{"credential others do not support", 0, func(n *node) {
			n.leaf.Credential.Type = 0xBEEF
			n.leaf.Capabilities.Credentials = []CredentialType{CredentialBasic, 0xBEEF}
			resign(0, n)
		}, ErrLeaf},
		{"leaf that does not support others' credential", 0, func(n *node) {
			n.leaf.Credential.Type = 0xF0E1
			n.leaf.Capabilities.Credentials = []CredentialType{0xF0E1}
			resign(0, n)
		}, ErrLeaf},
		{"leaf without MLS 1.0", 0, func(n *node) { n.leaf.Capabilities.Versions = nil; resign(0, n) }, ErrLeaf},
		{"encryption key twice", 0, func(n *node) {
			other, _ := w.tree.Leaf(1)
			n.leaf.EncryptionKey = other.EncryptionKey
			resign(0, n)
		}, ErrDuplicateKey},
		{"encryption key of a parent", 0, func(n *node) {
			n.leaf.EncryptionKey = w.tree.node(7).parent.EncryptionKey
			resign(0, n)
		}, ErrDuplicateKey},
		{"signature key twice", 0, func(n *node) {
			if err := n.leaf.Sign(s, w.signers[1], testGroup, 0); err != nil {
				t.Fatal(err)
			}
		}, ErrDuplicateKey},
		{"parent key", 7, func(n *node) { n.parent.EncryptionKey = flip(n.parent.EncryptionKey) }, ErrTree},
		{"parent key of the wrong size", 7, func(n *node) { n.parent.EncryptionKey = nil }, ErrTree},
		{"parent hash", 3, func(n *node) { n.parent.ParentHash = flip(n.parent.ParentHash) }, ErrTree},
		{"parent blanked", 1, func(n *node) { n.parent = nil }, ErrTree},
		{"unmerged leaf forgotten", 3, func(n *node) { n.parent.UnmergedLeaves = nil }, ErrTree},
		{"unmerged leaf that is blank", 3, func(n *node) { n.parent.UnmergedLeaves = []LeafIndex{2, 3} }, ErrTree},
		{"unmerged leaf elsewhere", 3, func(n *node) { n.parent.UnmergedLeaves = []LeafIndex{2, 4} }, ErrTree},
		{"unmerged leaf beyond the tree", 3, func(n *node) { n.parent.UnmergedLeaves = []LeafIndex{2, 9999} }, ErrTree},
		{"leaf unmerged above but not below", 7, func(n *node) { n.parent.UnmergedLeaves = []LeafIndex{1, 2} }, ErrTree},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := w.mutateTree(t, c.x, c.change)
			if err := tree.Validate(testGroup); !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func flip(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)/2] ^= 1
	return c
}

func TestMergeRejects(t *testing.T) {
	s := mustSuite(t, suite.Secp256k1ChaCha20Poly1305)
	w := newWorld(t, s, 6).full(t)
	added := w.join(t)
	sent := w.tree.Clone()
	created, err := CreatePath(sent, PathParams{Sender: 2, GroupID: testGroup, Signer: w.signers[2], Added: []LeafIndex{added}})
	if err != nil {
		t.Fatal(err)
	}
	context := []byte("context")
	good, err := created.Encrypt(context)
	if err != nil {
		t.Fatal(err)
	}
	other := newPerson(t, s)
	resign := func(p *UpdatePath) {
		if err := p.Leaf.Sign(s, w.signers[2], testGroup, 2); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		sender LeafIndex
		added  []LeafIndex
		change func(p *UpdatePath)
		want   error
	}{
		{"nothing", 2, []LeafIndex{added}, func(*UpdatePath) {}, nil},
		{"another sender", 1, []LeafIndex{added}, func(*UpdatePath) {}, ErrSignature},
		{"blank sender", 7, []LeafIndex{added}, func(*UpdatePath) {}, ErrNotMember},
		{"sender beyond the tree", 1 << 31, []LeafIndex{added}, func(*UpdatePath) {}, ErrNotMember},
		{"added not told", 2, nil, func(*UpdatePath) {}, ErrPath},
		{"leaf of another source", 2, []LeafIndex{added}, func(p *UpdatePath) { p.Leaf.Source = SourceUpdate; resign(p) }, ErrLeaf},
		{"leaf signature", 2, []LeafIndex{added}, func(p *UpdatePath) { p.Leaf.Signature = flip(p.Leaf.Signature) }, ErrSignature},
		{"leaf parent hash", 2, []LeafIndex{added}, func(p *UpdatePath) {
			p.Leaf.ParentHash = flip(p.Leaf.ParentHash)
			resign(p)
		}, ErrPath},
		{"leaf key kept", 2, []LeafIndex{added}, func(p *UpdatePath) {
			old, _ := w.tree.Leaf(2)
			p.Leaf.EncryptionKey = old.EncryptionKey
			resign(p)
		}, ErrDuplicateKey},
		{"leaf key of a new node", 2, []LeafIndex{added}, func(p *UpdatePath) {
			p.Leaf.EncryptionKey = p.Nodes[0].EncryptionKey
			resign(p)
		}, ErrDuplicateKey},
		{"signature key of another", 2, []LeafIndex{added}, func(p *UpdatePath) {
			if err := p.Leaf.Sign(s, w.signers[1], testGroup, 2); err != nil {
				t.Fatal(err)
			}
		}, ErrDuplicateKey},
		{"credential others do not support", 2, []LeafIndex{added}, func(p *UpdatePath) {
			p.Leaf.Credential.Type = 0xBEEF
			p.Leaf.Capabilities.Credentials = []CredentialType{CredentialBasic, 0xBEEF}
			resign(p)
		}, ErrLeaf},
		{"a node less", 2, []LeafIndex{added}, func(p *UpdatePath) { p.Nodes = p.Nodes[:len(p.Nodes)-1] }, ErrPath},
		{"a node more", 2, []LeafIndex{added}, func(p *UpdatePath) {
			p.Nodes = append(p.Nodes, UpdatePathNode{EncryptionKey: other.key.Public()})
		}, ErrPath},
		{"another node key", 2, []LeafIndex{added}, func(p *UpdatePath) { p.Nodes[1].EncryptionKey = other.key.Public() }, ErrPath},
		{"unusable node key", 2, []LeafIndex{added}, func(p *UpdatePath) { p.Nodes[1].EncryptionKey = flip(p.Nodes[1].EncryptionKey) }, ErrPath},
		{"node key in the tree", 2, []LeafIndex{added}, func(p *UpdatePath) {
			p.Nodes[0].EncryptionKey = w.tree.node(7).key()
		}, ErrDuplicateKey},
		{"a ciphertext less", 2, []LeafIndex{added}, func(p *UpdatePath) { p.Nodes[0].Secrets = nil }, ErrPath},
		{"a ciphertext more", 2, []LeafIndex{added}, func(p *UpdatePath) {
			p.Nodes[0].Secrets = append(slices.Clone(p.Nodes[0].Secrets), Ciphertext{})
		}, ErrPath},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := &UpdatePath{good.Leaf.Clone(), slices.Clone(good.Nodes)}
			c.change(path)
			tree := w.tree.Clone()
			before := tree.Hash()
			err := tree.Merge(testGroup, c.sender, path, c.added)
			if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err != nil && !bytes.Equal(tree.Hash(), before) {
				t.Error("a refused path changed the tree")
			}
		})
	}
	if err := w.tree.Clone().Merge([]byte("other"), 2, good, []LeafIndex{added}); !errors.Is(err, ErrSignature) {
		t.Errorf("another group: %v", err)
	}

	t.Run("Open", func(t *testing.T) {
		open := func(own, sender LeafIndex, path *UpdatePath, context []byte) error {
			_, _, err := w.privates[own].Open(sent, sender, path, []LeafIndex{added}, context)
			return err
		}
		if err := open(0, 2, good, context); err != nil {
			t.Fatal(err)
		}
		if err := open(0, 2, good, []byte("other")); !errors.Is(err, ErrOpen) {
			t.Errorf("another context: %v", err)
		}
		if err := open(added, 2, good, context); !errors.Is(err, ErrOpen) {
			t.Errorf("the added member: %v", err)
		}
		if err := open(0, 7, good, context); !errors.Is(err, ErrNotMember) {
			t.Errorf("no sender: %v", err)
		}
		if err := open(2, 2, good, context); err == nil {
			t.Error("the sender opened its own path")
		}
		if err := open(0, 2, &UpdatePath{Leaf: good.Leaf}, context); !errors.Is(err, ErrPath) {
			t.Errorf("another path: %v", err)
		}
		bad := &UpdatePath{good.Leaf, slices.Clone(good.Nodes)}
		for k := range bad.Nodes {
			bad.Nodes[k].Secrets = slices.Clone(bad.Nodes[k].Secrets)
			for i, c := range bad.Nodes[k].Secrets {
				bad.Nodes[k].Secrets[i].Ciphertext = flip(c.Ciphertext)
			}
		}
		if err := open(0, 2, bad, context); !errors.Is(err, ErrOpen) {
			t.Errorf("flipped ciphertexts: %v", err)
		}
		bad.Nodes = slices.Clone(good.Nodes)
		bad.Nodes[len(bad.Nodes)-1].EncryptionKey = other.key.Public()
		if err := open(0, 2, bad, context); !errors.Is(err, ErrPath) {
			t.Errorf("keys that do not follow from the secret: %v", err)
		}
		short := &UpdatePath{good.Leaf, slices.Clone(good.Nodes)}
		for k := range short.Nodes {
			short.Nodes[k].Secrets = slices.Clone(short.Nodes[k].Secrets)
			for i, g := range created.nodes[k].targets {
				enc, ct, err := s.EncryptWithLabel(g.key, labelPathNode, context, []byte("short"))
				if err != nil {
					t.Fatal(err)
				}
				short.Nodes[k].Secrets[i] = Ciphertext{enc, ct}
			}
		}
		if err := open(0, 2, short, context); !errors.Is(err, ErrPath) {
			t.Errorf("a path secret of five bytes: %v", err)
		}
	})

	t.Run("Join", func(t *testing.T) {
		key, err := w.privates[added].leaf.use(s)
		if err != nil {
			t.Fatal(err)
		}
		pathSecret, ok := created.JoinerSecret(added)
		if !ok {
			t.Fatal("no path secret")
		}
		if p, err := Join(sent, added, key, 2, pathSecret); err != nil || len(p.nodes) == 0 {
			t.Errorf("Join: %v", err)
		}
		if p, err := Join(w.tree, added, key, 2, secret.Key{}); err != nil || len(p.nodes) != 0 {
			t.Errorf("without a path: %v", err)
		}
		for _, c := range []struct {
			name        string
			own, sender LeafIndex
			key         suite.HPKEKey
			secret      secret.Key
			want        error
		}{
			{"another's leaf", 0, 2, key, pathSecret, ErrPrivate},
			{"leaf beyond the tree", 1 << 30, 2, key, pathSecret, ErrPrivate},
			{"another key", added, 2, other.key, pathSecret, ErrPrivate},
			{"blank sender", added, 7, key, pathSecret, ErrNotMember},
			{"sender beyond the tree", added, 1 << 30, key, pathSecret, ErrNotMember},
			{"sender oneself", added, added, key, pathSecret, ErrNotMember},
			{"another secret", added, 2, key, secret.Random(32), ErrPath},
			{"a short secret", added, 2, key, secret.Random(31), ErrPath},
			{"no secret of a path", added, 2, key, secret.Key{}, ErrPath},
		} {
			t.Run(c.name, func(t *testing.T) {
				if _, err := Join(sent, c.own, c.key, c.sender, c.secret); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			})
		}
	})
}

func TestCreatePathRejects(t *testing.T) {
	s := mustSuite(t, suite.Secp256k1ChaCha20Poly1305)
	w := newWorld(t, s, 3)
	before := w.tree.Hash()
	unsupported := newPerson(t, s).leaf
	unsupported.Credential.Type = 0xBEEF
	unsupported.Capabilities.Credentials = []CredentialType{CredentialBasic, 0xBEEF}
	for _, c := range []struct {
		name string
		p    PathParams
		want error
	}{
		{"blank sender", PathParams{Sender: 3, Signer: w.signers[0]}, ErrNotMember},
		{"sender beyond the tree", PathParams{Sender: 99, Signer: w.signers[0]}, ErrNotMember},
		{"another's signature key", PathParams{Sender: 0, Signer: w.signers[1]}, ErrDuplicateKey},
		{"credential others do not support", PathParams{Sender: 0, Signer: w.signers[0], Leaf: unsupported}, ErrLeaf},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := CreatePath(w.tree, c.p); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if !bytes.Equal(w.tree.Hash(), before) {
				t.Error("a refused path changed the tree")
			}
		})
	}
	// A new signature key and credential of the sender's own are fine.
	fresh := newPerson(t, s)
	fresh.leaf.Credential = Credential{Type: 0xF0E1, Body: []byte("new")}
	path, err := CreatePath(w.tree, PathParams{Sender: 0, GroupID: testGroup, Signer: fresh.signer, Leaf: fresh.leaf})
	if err != nil {
		t.Fatal(err)
	}
	l, _ := w.tree.Leaf(0)
	if l != path.Leaf() || !l.Credential.Equal(fresh.leaf.Credential) || !bytes.Equal(l.SignatureKey, fresh.signer.Public()) ||
		bytes.Equal(l.EncryptionKey, fresh.key.Public()) {
		t.Error("the new leaf is not made of its template")
	}
}

func TestTreeRejects(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := newWorld(t, s, 3)
	p := newPerson(t, s)
	for _, i := range []LeafIndex{3, 4, 1 << 16, 1 << 31, 1<<32 - 1} {
		if _, ok := w.tree.Leaf(i); ok {
			t.Errorf("leaf %d exists", i)
		}
		if err := w.tree.Update(i, p.leaf); !errors.Is(err, ErrNotMember) {
			t.Errorf("Update(%d): %v", i, err)
		}
		if err := w.tree.Remove(i); !errors.Is(err, ErrNotMember) {
			t.Errorf("Remove(%d): %v", i, err)
		}
	}
	l, _ := w.tree.Leaf(1)
	if i, ok := w.tree.Find(l.Clone()); !ok || i != 1 {
		t.Errorf("Find: %d, %v", i, ok)
	}
	if _, ok := w.tree.Find(p.leaf); ok {
		t.Error("found a stranger")
	}
	full := empty(s)
	full.depth, full.top.filled = 16, MaxLeaves // as if all were in use
	if _, err := full.Add(p.leaf); !errors.Is(err, ErrFull) {
		t.Errorf("Add to a full tree: %v", err)
	}
	if _, err := w.tree.Add(l); err != nil {
		t.Fatal(err)
	}
	if err := w.tree.CheckMembers(); !errors.Is(err, ErrDuplicateKey) {
		t.Errorf("one member twice: %v", err)
	}
	if err := w.tree.Remove(1); err != nil {
		t.Fatal(err)
	}
	if err := w.tree.CheckMembers(); err != nil {
		t.Errorf("one of the two removed: %v", err)
	}
}

func TestCommon(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := newWorld(t, s, 3)
	p := newPerson(t, s)
	p.leaf.Capabilities.Extensions = []ExtensionType{7, 0xF0E1, 6, 7}
	p.leaf.Capabilities.Proposals = []ProposalType{9}
	if _, err := w.tree.Add(p.leaf); err != nil {
		t.Fatal(err)
	}
	c := w.tree.Common()
	if !c.HasExtension(0xF0E1) || c.HasExtension(7) || c.HasProposal(9) || !c.HasExtension(5) || !c.HasProposal(7) ||
		c.HasExtension(0) || c.HasProposal(0) || !c.HasCredential(CredentialBasic) || c.HasCredential(CredentialX509) {
		t.Errorf("%+v", c)
	}
	for _, i := range []LeafIndex{0, 1, 2} {
		if err := w.tree.Remove(i); err != nil {
			t.Fatal(err)
		}
	}
	if c := w.tree.Common(); !slices.Equal(c.Extensions, []ExtensionType{6, 7, 0xF0E1}) || !c.HasProposal(9) {
		t.Errorf("%+v", c)
	}
}

func TestLeafLifetime(t *testing.T) {
	l := LeafNode{Source: SourceKeyPackage, Lifetime: Lifetime{100, 200}}
	for at, want := range map[int64]error{-1: ErrExpired, 99: ErrExpired, 100: nil, 200: nil, 201: ErrExpired} {
		if err := l.CheckLifetime(time.Unix(at, 0)); !errors.Is(err, want) || (err != nil) != (want != nil) {
			t.Errorf("at %d: %v", at, err)
		}
	}
	l.Source = SourceCommit
	if err := l.CheckLifetime(time.Unix(201, 0)); err != nil {
		t.Errorf("a leaf without lifetime: %v", err)
	}
}

func TestCertificates(t *testing.T) {
	c := Credential{CredentialX509, []byte{2, 1, 2, 1, 3}}
	certs, err := c.Certificates()
	if err != nil || len(certs) != 2 || !bytes.Equal(certs[0], []byte{1, 2}) || !bytes.Equal(certs[1], []byte{3}) {
		t.Errorf("%x, %v", certs, err)
	}
	for _, c := range []Credential{{CredentialX509, []byte{2, 1}}, Basic([]byte{2, 1, 2})} {
		if _, err := c.Certificates(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// TestUnmergedLeaf is trees in which all parent hashes are right, because every
// signer helped: leaf 2 is unmerged at the root, but not at node 5 between them,
// or is blank.
func TestUnmergedLeaf(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	none := empty(s) // for its hashes
	for name, c := range map[string]struct {
		below []LeafIndex // unmerged at node 5
		blank bool
		want  error
	}{"good": {[]LeafIndex{2}, false, nil}, "forgotten below": {nil, false, ErrTree}, "blank": {[]LeafIndex{2}, true, ErrTree}} {
		var people [4]person
		for i := range people {
			people[i] = newPerson(t, s)
		}
		keys := map[NodeIndex][]byte{}
		for _, x := range []NodeIndex{1, 3, 5} {
			keys[x] = newPerson(t, s).key.Public()
		}
		commit := func(i LeafIndex, parentHash []byte) *LeafNode {
			l := people[i].leaf
			l.Source, l.Lifetime, l.ParentHash = SourceCommit, Lifetime{}, parentHash
			if err := l.Sign(s, people[i].signer, testGroup, i); err != nil {
				t.Fatal(err)
			}
			return l
		}
		blank := hashes(none).leaf(2, nil)
		beside := blank // leaf 3, when it made node 5
		if c.below == nil {
			beside = hashes(none).leaf(2, people[2].leaf)
		}
		leaf3 := commit(3, none.parentHash(keys[5], nil, beside))
		was := hashes(none).inner(&ParentNode{EncryptionKey: keys[5]}, blank, hashes(none).leaf(3, leaf3))
		left := &ParentNode{EncryptionKey: keys[1], ParentHash: none.parentHash(keys[3], nil, was)}
		leaf0 := commit(0, none.parentHash(keys[1], left.ParentHash, hashes(none).leaf(1, people[1].leaf)))
		encoded := wire.AppendVecFunc(nil, func(b []byte) []byte {
			b = leaf0.Append(append(b, 1, typeLeaf))
			b = left.Append(append(b, 1, typeParent))
			b = people[1].leaf.Append(append(b, 1, typeLeaf))
			b = (&ParentNode{EncryptionKey: keys[3], UnmergedLeaves: []LeafIndex{2}}).Append(append(b, 1, typeParent))
			if c.blank {
				b = append(b, 0)
			} else {
				b = people[2].leaf.Append(append(b, 1, typeLeaf))
			}
			b = (&ParentNode{EncryptionKey: keys[5], UnmergedLeaves: c.below}).Append(append(b, 1, typeParent))
			return leaf3.Append(append(b, 1, typeLeaf))
		})
		t.Run(name, func(t *testing.T) {
			if err := mustParse(t, s, encoded).Validate(testGroup); !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// TestOneBelowAParent is trees whose leaf 0 has the parent hash of the root
// directly. That is right where leaf 1 came later, and is unmerged; otherwise the
// root's key is held by leaf 0 alone, who says that leaf 1 has it too.
func TestOneBelowAParent(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	none := empty(s) // for its hashes
	for name, c := range map[string]struct {
		unmerged []LeafIndex
		want     error
	}{"unmerged": {[]LeafIndex{1}, nil}, "left out": {nil, ErrTree}} {
		t.Run(name, func(t *testing.T) {
			var people [3]person
			for i := range people {
				people[i] = newPerson(t, s)
			}
			key := newPerson(t, s).key.Public()
			l := people[0].leaf
			l.Source, l.Lifetime = SourceCommit, Lifetime{}
			l.ParentHash = none.parentHash(key, nil, hashes(none).inner(nil, hashes(none).leaf(2, people[2].leaf), hashes(none).leaf(3, nil)))
			if err := l.Sign(s, people[0].signer, testGroup, 0); err != nil {
				t.Fatal(err)
			}
			encoded := wire.AppendVecFunc(nil, func(b []byte) []byte {
				b = l.Append(append(b, 1, typeLeaf))
				b = people[1].leaf.Append(append(b, 0, 1, typeLeaf))
				b = (&ParentNode{EncryptionKey: key, UnmergedLeaves: c.unmerged}).Append(append(b, 1, typeParent))
				return people[2].leaf.Append(append(b, 1, typeLeaf))
			})
			if err := mustParse(t, s, encoded).Validate(testGroup); !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}
