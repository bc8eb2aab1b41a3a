package treekem

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/vectors"
)

var update = flag.Bool("update", false, "write testdata/treekem-f0e1.json anew")

// ownVectors holds cases of the private suites, of which there are none
// elsewhere: what a second implementation can be tried on. A change to the wire
// or the key schedule of the tree fails here.
const ownVectors = "testdata/treekem-f0e1.json"

func TestOwnTreeKEMVectors(t *testing.T) {
	if *update {
		writeOwnVectors(t)
	}
	data, err := os.ReadFile(ownVectors)
	if err != nil {
		t.Fatal(err)
	}
	var cases []treeKEMCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	runTreeKEM(t, cases)
}

// writeOwnVectors makes a group with all parents set, one with a blank and an
// unmerged leaf, and one in which nobody has committed.
func writeOwnVectors(t *testing.T) {
	t.Helper()
	s := mustSuite(t, suite.Secp256k1ChaCha20Poly1305)
	set := newWorld(t, s, 4).full(t)
	mixed := newWorld(t, s, 7).full(t)
	for _, i := range []LeafIndex{1, 4} {
		if err := mixed.tree.Remove(i); err != nil {
			t.Fatal(err)
		}
		delete(mixed.privates, i)
	}
	mixed.commit(t, 3)
	if i := mixed.join(t); i != 1 {
		t.Fatalf("joined at %d", i)
	}
	var cases []treeKEMCase
	for _, w := range []*world{set, mixed, newWorld(t, s, 3)} {
		cases = append(cases, w.export(t))
	}
	data, err := json.MarshalIndent(cases, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ownVectors, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// export writes the world as a case, with a path from every member.
func (w *world) export(t *testing.T) treeKEMCase {
	t.Helper()
	c := treeKEMCase{
		Suite:      w.s.ID(),
		GroupID:    testGroup,
		Epoch:      7,
		Transcript: bytes.Repeat([]byte{0xAB}, w.s.HashSize()),
		Tree:       w.tree.Append(nil),
	}
	for _, i := range w.members() {
		p := w.privates[i]
		leaf := treeKEMLeaf{
			Index:         i,
			EncryptionKey: p.leaf.bytes().Bytes(),
			SignatureKey:  w.signers[i].Bytes().Bytes(),
			PathSecrets:   []treeKEMPathSecret{},
		}
		for x := range NodeIndex(2*w.tree.Width() - 1) {
			if _, ok := p.nodes[x]; ok {
				leaf.PathSecrets = append(leaf.PathSecrets, treeKEMPathSecret{x, w.pathSecrets[x].Bytes()})
			}
		}
		c.Leaves = append(c.Leaves, leaf)
		c.Paths = append(c.Paths, w.exportPath(t, &c, i))
	}
	return c
}

func (w *world) exportPath(t *testing.T, c *treeKEMCase, sender LeafIndex) treeKEMPath {
	t.Helper()
	after := w.tree.Clone()
	path, err := CreatePath(after, PathParams{Sender: sender, GroupID: testGroup, Signer: w.signers[sender]})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := path.Encrypt(c.context(after.Hash()))
	if err != nil {
		t.Fatal(err)
	}
	out := treeKEMPath{
		Sender:       sender,
		Path:         sent.Append(nil),
		PathSecrets:  make([]*vectors.Hex, w.tree.Width()),
		CommitSecret: path.Secrets().Commit.Bytes(),
		HashAfter:    after.Hash(),
	}
	for _, i := range w.members() {
		if pathSecret, ok := path.JoinerSecret(i); ok && i != sender {
			out.PathSecrets[i] = (*vectors.Hex)(new([]byte))
			*out.PathSecrets[i] = pathSecret.Bytes()
		}
	}
	return out
}
