package treekem

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/vectors"
	"github.com/parley-im/parley/internal/wire"
)

var loaders = map[string]vectors.Loader{
	"tree-math.json":       loadTreeMath,
	"tree-validation.json": loadTreeValidation,
	"tree-operations.json": loadTreeOperations,
	"treekem.json":         loadTreeKEM,
}

func TestVectors(t *testing.T) { vectors.MLS(t, "treekem", loaders) }

// decodeCases decodes a file that is a list of cases.
func decodeCases[T any](t *testing.T, data []byte) []T {
	t.Helper()
	var cases []T
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func mustParse(t testing.TB, s *suite.Suite, b []byte) *Tree {
	t.Helper()
	tree, err := Parse(s, b)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// treeValidationCase is a case of tree-validation.json.
type treeValidationCase struct {
	Suite       suite.ID      `json:"cipher_suite"`
	Tree        vectors.Hex   `json:"tree"`
	GroupID     vectors.Hex   `json:"group_id"`
	TreeHashes  []vectors.Hex `json:"tree_hashes"`
	Resolutions [][]NodeIndex `json:"resolutions"`
}

func loadTreeValidation(t *testing.T, data []byte) {
	count := vectors.Cases{Stride: stride}
	for i, c := range decodeCases[treeValidationCase](t, data) {
		s, err := suite.ByID(c.Suite)
		if !count.Take(t, uint16(c.Suite), err) {
			continue
		}
		tree := mustParse(t, s, c.Tree)
		if err := tree.Validate(c.GroupID); err != nil {
			t.Errorf("case %d: %v", i, err)
		}
		if got := tree.Append(nil); !bytes.Equal(got, c.Tree) {
			t.Errorf("case %d: the tree re-encodes differently", i)
		}
		if n := len(c.TreeHashes); n != int(2*tree.Width()-1) || n != len(c.Resolutions) {
			t.Fatalf("case %d: %d tree hashes, %d resolutions, %d leaves", i, n, len(c.Resolutions), tree.Width())
		}
		tree.refresh()
		for x, want := range c.TreeHashes {
			n := tree.node(NodeIndex(x))
			if !bytes.Equal(n.hash, want) {
				t.Errorf("case %d: tree hash of node %d is %x, want %x", i, x, n.hash, want)
			}
			got := []NodeIndex{}
			tree.resolve(n, NodeIndex(x), func(x NodeIndex, _ *node) bool {
				got = append(got, x)
				return true
			})
			if !slices.Equal(got, c.Resolutions[x]) {
				t.Errorf("case %d: resolution of node %d is %v, want %v", i, x, got, c.Resolutions[x])
			}
		}
		if err := tree.Validate(append(c.GroupID, 0)); err == nil && hasBoundLeaf(tree) {
			t.Errorf("case %d: valid for another group", i)
		}
	}
	count.Done(t)
}

// hasBoundLeaf reports whether a leaf's signature covers the group.
func hasBoundLeaf(t *Tree) bool {
	for _, l := range t.Leaves() {
		if l.Source != SourceKeyPackage {
			return true
		}
	}
	return false
}

// treeOperationCase is a case of tree-operations.json.
type treeOperationCase struct {
	Suite      suite.ID    `json:"cipher_suite"`
	Before     vectors.Hex `json:"tree_before"`
	Proposal   vectors.Hex `json:"proposal"`
	Sender     LeafIndex   `json:"proposal_sender"`
	After      vectors.Hex `json:"tree_after"`
	HashBefore vectors.Hex `json:"tree_hash_before"`
	HashAfter  vectors.Hex `json:"tree_hash_after"`
}

func loadTreeOperations(t *testing.T, data []byte) {
	var count vectors.Cases
	for i, c := range decodeCases[treeOperationCase](t, data) {
		s, err := suite.ByID(c.Suite)
		if !count.Take(t, uint16(c.Suite), err) {
			continue
		}
		before := mustParse(t, s, c.Before)
		if !bytes.Equal(before.Hash(), c.HashBefore) {
			t.Errorf("case %d: tree hash before differs", i)
		}
		after := before.Clone()
		r := wire.NewReader(c.Proposal)
		switch kind := r.Uint16(); kind {
		case 1: // Add: the leaf is the fourth field of the key package
			r.Uint16()
			r.Uint16()
			r.Vec()
			if _, err := after.Add(ReadLeafNode(r)); err != nil {
				t.Error(err)
			}
		case 2: // Update
			if err := after.Update(c.Sender, ReadLeafNode(r)); err != nil {
				t.Error(err)
			}
		case 3: // Remove
			if err := after.Remove(LeafIndex(r.Uint32())); err != nil {
				t.Error(err)
			}
		default:
			t.Fatalf("case %d: proposal of type %d", i, kind)
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		if !bytes.Equal(after.Append(nil), c.After) {
			t.Errorf("case %d: the tree after differs", i)
		}
		if !bytes.Equal(after.Hash(), c.HashAfter) {
			t.Errorf("case %d: tree hash after differs", i)
		}
		if !bytes.Equal(before.Append(nil), c.Before) || !bytes.Equal(before.Hash(), c.HashBefore) {
			t.Errorf("case %d: changing a clone changed the tree", i)
		}
	}
	count.Done(t)
}

// treeKEMCase is a case of treekem.json, in the format of the MLS
// implementations' common test vectors.
type treeKEMCase struct {
	Suite      suite.ID      `json:"cipher_suite"`
	GroupID    vectors.Hex   `json:"group_id"`
	Epoch      uint64        `json:"epoch"`
	Transcript vectors.Hex   `json:"confirmed_transcript_hash"`
	Tree       vectors.Hex   `json:"ratchet_tree"`
	Leaves     []treeKEMLeaf `json:"leaves_private"`
	Paths      []treeKEMPath `json:"update_paths"`
}

type treeKEMLeaf struct {
	Index         LeafIndex           `json:"index"`
	EncryptionKey vectors.Hex         `json:"encryption_priv"`
	SignatureKey  vectors.Hex         `json:"signature_priv"`
	PathSecrets   []treeKEMPathSecret `json:"path_secrets"`
}

type treeKEMPathSecret struct {
	Node   NodeIndex   `json:"node"`
	Secret vectors.Hex `json:"path_secret"`
}

type treeKEMPath struct {
	Sender       LeafIndex      `json:"sender"`
	Path         vectors.Hex    `json:"update_path"`
	PathSecrets  []*vectors.Hex `json:"path_secrets"` // by receiver; null for the sender and blanks
	CommitSecret vectors.Hex    `json:"commit_secret"`
	HashAfter    vectors.Hex    `json:"tree_hash_after"`
}

// context returns the GroupContext of the case with that tree hash, without
// extensions.
func (c *treeKEMCase) context(treeHash []byte) []byte {
	b := wire.AppendUint16(nil, uint16(MLS10))
	b = wire.AppendUint16(b, uint16(c.Suite))
	b = wire.AppendVec(b, c.GroupID)
	b = wire.AppendUint64(b, c.Epoch)
	b = wire.AppendVec(b, treeHash)
	b = wire.AppendVec(b, c.Transcript)
	return wire.AppendVec(b, nil)
}

func loadTreeKEM(t *testing.T, data []byte) {
	count := vectors.Cases{Stride: stride}
	for i, c := range decodeCases[treeKEMCase](t, data) {
		s, err := suite.ByID(c.Suite)
		if !count.Take(t, uint16(c.Suite), err) {
			continue
		}
		tree := mustParse(t, s, c.Tree)
		if err := tree.Validate(c.GroupID); err != nil {
			t.Fatalf("case %d: %v", i, err)
		}
		privates := map[LeafIndex]*Private{}
		signers := map[LeafIndex]suite.SigningKey{}
		for _, l := range c.Leaves {
			key, err := s.NewHPKEKey(l.EncryptionKey)
			if err != nil {
				t.Fatal(err)
			}
			p := NewPrivate(s, l.Index, key)
			if err := p.matches(tree); err != nil {
				t.Fatal(err)
			}
			for _, ps := range l.PathSecrets {
				k, err := nodeKey(s, secretOf(ps.Secret))
				if err != nil {
					t.Fatal(err)
				}
				p.nodes[ps.Node] = newKeyEntry(k)
				if !p.holds(tree, ps.Node) {
					t.Errorf("case %d: path secret of node %d does not give its key", i, ps.Node)
				}
			}
			privates[l.Index] = p
			if signers[l.Index], err = s.NewSigningKey(l.SignatureKey); err != nil {
				t.Fatal(err)
			}
		}
		for j, u := range c.Paths {
			r := wire.NewReader(u.Path)
			path := ReadUpdatePath(r)
			if err := r.Done(); err != nil {
				t.Fatalf("case %d: %v", i, err)
			}
			if !bytes.Equal(path.Append(nil), u.Path) {
				t.Errorf("case %d: the path re-encodes differently", i)
			}
			after := tree.Clone()
			if err := after.Merge(c.GroupID, u.Sender, path, nil); err != nil {
				t.Fatalf("case %d, sender %d: %v", i, u.Sender, err)
			}
			if !bytes.Equal(after.Hash(), u.HashAfter) {
				t.Errorf("case %d, sender %d: tree hash after differs", i, u.Sender)
			}
			for own, p := range privates {
				if own == u.Sender {
					continue
				}
				secrets, next, err := p.Open(after, u.Sender, path, nil, c.context(after.Hash()))
				if err != nil {
					t.Fatalf("case %d, sender %d, receiver %d: %v", i, u.Sender, own, err)
				}
				if !bytes.Equal(secrets.Commit.Bytes(), u.CommitSecret) {
					t.Errorf("case %d, sender %d, receiver %d: commit secret differs", i, u.Sender, own)
				}
				x := commonAncestor(own, u.Sender)
				k, err := nodeKey(s, secretOf(*u.PathSecrets[own]))
				if err != nil || !bytes.Equal(k.Public(), next.nodes[x].public) {
					t.Errorf("case %d, sender %d, receiver %d: path secret differs", i, u.Sender, own)
				}
			}
			// A path of our own in the same tree.
			if j == 0 {
				sendAndReceive(t, tree, c.GroupID, u.Sender, signers[u.Sender], privates)
			}
		}
	}
	count.Done(t)
}
