package treekem

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

func secretOf(b []byte) secret.Key { return secret.Copy(b) }

func mustSuite(t fataler, id suite.ID) *suite.Suite {
	t.Helper()
	s, err := suite.ByID(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fataler is what testing.TB and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

var testGroup = []byte("a group")

// person is someone with a leaf that is not yet in a tree.
type person struct {
	leaf   *LeafNode
	key    suite.HPKEKey
	signer suite.SigningKey
}

func newPerson(t fataler, s *suite.Suite) person {
	t.Helper()
	key, err := s.GenerateHPKEKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := s.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	p := person{&LeafNode{
		EncryptionKey: key.Public(),
		Credential:    Basic([]byte("someone")),
		Capabilities: Capabilities{
			Versions:    []ProtocolVersion{MLS10},
			Suites:      []suite.ID{s.ID()},
			Extensions:  []ExtensionType{0xF0E1},
			Credentials: []CredentialType{CredentialBasic, 0xF0E1},
		},
		Source:   SourceKeyPackage,
		Lifetime: Lifetime{0, 1 << 40},
	}, key, signer}
	if err := p.leaf.Sign(s, signer, nil, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// world is a group's tree with the private halves of all its members.
type world struct {
	s        *suite.Suite
	tree     *Tree
	signers  map[LeafIndex]suite.SigningKey
	privates map[LeafIndex]*Private
	// pathSecrets are those of the paths made so far, the latest of each node.
	pathSecrets map[NodeIndex]secret.Key
}

// newWorld returns a group of n, in which nobody has committed yet.
func newWorld(t fataler, s *suite.Suite, n int) *world {
	t.Helper()
	w := &world{s: s, signers: map[LeafIndex]suite.SigningKey{}, privates: map[LeafIndex]*Private{}, pathSecrets: map[NodeIndex]secret.Key{}}
	for range n {
		w.join(t)
	}
	return w
}

// join adds a member who knows nothing but its own leaf key.
func (w *world) join(t fataler) LeafIndex {
	t.Helper()
	p := newPerson(t, w.s)
	var i LeafIndex
	if w.tree == nil {
		w.tree = New(w.s, p.leaf)
	} else {
		var err error
		if i, err = w.tree.Add(p.leaf); err != nil {
			t.Fatal(err)
		}
	}
	w.signers[i], w.privates[i] = p.signer, NewPrivate(w.s, i, p.key)
	return i
}

func (w *world) members() []LeafIndex {
	var out []LeafIndex
	for i := range w.tree.Leaves() {
		out = append(out, i)
	}
	return out
}

// commit has a member make a path that all others receive. The added are in the
// tree already, and join by the path secret that is theirs.
func (w *world) commit(t fataler, sender LeafIndex, added ...LeafIndex) {
	t.Helper()
	known := map[LeafIndex]*Private{}
	for i, p := range w.privates {
		if !slices.Contains(added, i) {
			known[i] = p
		}
	}
	tree, path, next := sendAndReceive(t, w.tree, testGroup, sender, w.signers[sender], known, added...)
	for _, n := range path.nodes {
		w.pathSecrets[n.x] = n.secret
	}
	for _, i := range added {
		pathSecret, ok := path.JoinerSecret(i)
		if !ok {
			t.Fatalf("no path secret for joiner %d", i)
		}
		key, err := w.privates[i].leaf.use(w.s)
		if err != nil {
			t.Fatal(err)
		}
		if next[i], err = Join(tree, i, key, sender, pathSecret); err != nil {
			t.Fatal(err)
		}
	}
	w.tree, w.privates = tree, next
}

// full commits from every other leaf, so that most parents are set.
func (w *world) full(t fataler) *world {
	t.Helper()
	for k, i := range w.members() {
		if k%2 == 0 {
			w.commit(t, i)
		}
	}
	return w
}

// sendAndReceive makes a path in a clone of tree, lets every other member
// receive it in a clone of its own, and checks that all arrive at one state,
// which it returns.
func sendAndReceive(t fataler, tree *Tree, groupID []byte, sender LeafIndex, signer suite.SigningKey, privates map[LeafIndex]*Private, added ...LeafIndex) (*Tree, *Path, map[LeafIndex]*Private) {
	t.Helper()
	sent := tree.Clone()
	path, err := CreatePath(sent, PathParams{Sender: sender, GroupID: groupID, Signer: signer, Added: added})
	if err != nil {
		t.Fatal(err)
	}
	context := append([]byte("context"), sent.Hash()...)
	update, err := path.Encrypt(context)
	if err != nil {
		t.Fatal(err)
	}
	received := tree.Clone()
	if err := received.Merge(groupID, sender, update, added); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(received.Hash(), sent.Hash()) || !bytes.Equal(received.Append(nil), sent.Append(nil)) {
		t.Fatal("sender and receivers have different trees")
	}
	next := map[LeafIndex]*Private{sender: path.Private()}
	for own, p := range privates {
		if own == sender {
			continue
		}
		secrets, q, err := p.Open(received, sender, update, added, context)
		if err != nil {
			t.Fatalf("member %d: %v", own, err)
		}
		if !secrets.Commit.Equal(path.Secrets().Commit) || !secrets.Top.Equal(path.Secrets().Top) {
			t.Fatalf("member %d: another commit secret", own)
		}
		next[own] = q
	}
	return received, path, next
}

// check compares everything the tree keeps incrementally with the same made
// from scratch, and every private state with the tree.
func (w *world) check(t fataler) {
	t.Helper()
	encoded := w.tree.Append(nil)
	fresh, err := Parse(w.s, encoded)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh.Hash(), w.tree.Hash()) || fresh.Width() != w.tree.Width() ||
		fresh.Members() != w.tree.Members() || fresh.top.used != w.tree.top.used {
		t.Fatal("the tree differs from one parsed anew")
	}
	if !fresh.top.all.equal(w.tree.top.all) {
		t.Fatal("the members' summary differs from one made anew")
	}
	if err := w.tree.Validate(testGroup); err != nil {
		t.Fatal(err)
	}
	occurs := map[string]int{}
	w.tree.walk(w.tree.top, root(w.tree.Width()), func(x NodeIndex, n *node) bool {
		if !n.blank() {
			occurs[string(n.key())]++
			if !w.tree.keys.has(encryptionKey, n.key()) {
				t.Fatalf("key of node %d is not in the set", x)
			}
		}
		if n.leaf != nil && !w.tree.keys.has(signatureKey, n.leaf.SignatureKey) {
			t.Fatalf("signature key of node %d is not in the set", x)
		}
		return true
	})
	if got, want := w.tree.keys.size(), len(occurs)+w.tree.Members(); got != want {
		t.Fatalf("the set has %d keys, the tree %d", got, want)
	}
	for i, p := range w.privates {
		for x := range p.nodes {
			if !p.holds(w.tree, x) {
				t.Fatalf("member %d keeps a key of node %d that is not the tree's", i, x)
			}
		}
	}
}

// hashes is what hashes nodes of t.
func hashes(t *Tree) *hasher { return &hasher{suite: t.suite, summaries: map[string]*summary{}} }

func (s *keySet) size() int { return s.root.size() }

func (n *keyNode) size() int {
	if n == nil {
		return 0
	}
	size := 0
	for _, k := range n.keys {
		size += int(k.count)
	}
	if n.branch != nil {
		for _, k := range n.branch.kids {
			size += k.size()
		}
	}
	return size
}

// Groups that live through random commits: adds, removes and updates, with and
// without a path, alone and together.
func TestRandomCommits(t *testing.T) {
	s := mustSuite(t, suite.X25519ChaCha20Ed25519)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, s, rapid.IntRange(1, 9).Draw(t, "members"))
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			before, hash := w.tree.Clone(), w.tree.Hash()
			encoded := before.Append(nil)
			committer := rapid.SampledFrom(w.members()).Draw(t, "committer")
			var added []LeafIndex
			for _, op := range rapid.SliceOfN(rapid.SampledFrom([]string{"update", "remove", "add"}), 0, 4).Draw(t, "ops") {
				switch op {
				case "update":
					i := rapid.SampledFrom(w.members()).Draw(t, "updated")
					if i == committer || slices.Contains(added, i) {
						continue
					}
					p := newPerson(t, s)
					p.leaf.Source = SourceUpdate
					if err := errors.Join(p.leaf.Sign(s, w.signers[i], testGroup, i), w.tree.Update(i, p.leaf)); err != nil {
						t.Fatal(err)
					}
					w.privates[i] = w.privates[i].WithLeafKey(p.key)
				case "remove":
					i := rapid.SampledFrom(w.members()).Draw(t, "removed")
					if i == committer || slices.Contains(added, i) {
						continue
					}
					if err := w.tree.Remove(i); err != nil {
						t.Fatal(err)
					}
					delete(w.signers, i)
					delete(w.privates, i)
				case "add":
					added = append(added, w.join(t))
				}
			}
			if rapid.Bool().Draw(t, "path") {
				w.commit(t, committer, added...)
			} else {
				for i, p := range w.privates {
					q, err := p.Follow(w.tree)
					if err != nil {
						t.Fatal(err)
					}
					w.privates[i] = q
				}
			}
			w.check(t)
			if !bytes.Equal(before.Hash(), hash) || !bytes.Equal(before.Append(nil), encoded) {
				t.Fatal("the tree of the epoch before has changed")
			}
		}
	})
}

// Adding many at once, removing them, and adding again, in every suite.
func TestGrowAndShrink(t *testing.T) {
	for _, s := range suite.All() {
		t.Run(fmt.Sprintf("%04x", uint16(s.ID())), func(t *testing.T) {
			w := newWorld(t, s, 1)
			var added []LeafIndex
			for range 8 {
				added = append(added, w.join(t))
			}
			w.commit(t, 0, added...)
			w.check(t)
			if w.tree.Width() != 16 || w.tree.Members() != 9 {
				t.Fatalf("%d leaves, %d members", w.tree.Width(), w.tree.Members())
			}
			w.commit(t, 8)
			w.commit(t, 3)
			for _, i := range []LeafIndex{8, 7, 6, 5, 1} {
				if err := w.tree.Remove(i); err != nil {
					t.Fatal(err)
				}
				delete(w.privates, i)
			}
			if w.tree.Width() != 8 || w.tree.Members() != 4 {
				t.Fatalf("%d leaves, %d members", w.tree.Width(), w.tree.Members())
			}
			w.commit(t, 4)
			w.check(t)
			if i := w.join(t); i != 1 {
				t.Fatalf("added at %d, not at the leftmost blank", i)
			}
			w.commit(t, 3, 1)
			w.check(t)
		})
	}
}

// A group of one can commit: nobody else has to follow.
func TestCommitAlone(t *testing.T) {
	w := newWorld(t, mustSuite(t, suite.Secp256k1ChaCha20Poly1305), 1)
	_, path, _ := sendAndReceive(t, w.tree, testGroup, 0, w.signers[0], nil)
	if path.Secrets().Commit.Len() != 32 || path.Secrets().Top.Len() != 32 {
		t.Fatal("no commit secret")
	}
	path.Erase()
	if p := path.Secrets(); !p.Commit.IsZero() || !p.Top.IsZero() {
		t.Fatal("Erase left a secret")
	}
}

// A removed member cannot open what follows, even knowing every key it had.
func TestRemovedCannotOpen(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := newWorld(t, s, 6).full(t)
	gone := w.privates[3]
	if err := w.tree.Remove(3); err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Follow(w.tree); !errors.Is(err, ErrPrivate) {
		t.Errorf("Follow: %v", err)
	}
	sent := w.tree.Clone()
	path, err := CreatePath(sent, PathParams{Sender: 0, GroupID: testGroup, Signer: w.signers[0]})
	if err != nil {
		t.Fatal(err)
	}
	update, err := path.Encrypt(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := gone.Open(sent, 0, update, nil, nil); !errors.Is(err, ErrPrivate) {
		t.Errorf("Open: %v", err)
	}
	keys := []suite.HPKEKey{gone.leaf.key}
	for _, e := range gone.nodes {
		keys = append(keys, e.key)
	}
	tried := 0
	for _, n := range update.Nodes {
		for _, c := range n.Secrets {
			for _, k := range keys {
				tried++
				if _, err := s.DecryptWithLabel(k, labelPathNode, nil, c.KEMOutput, c.Ciphertext); err == nil {
					t.Error("a removed member's key opens a path secret")
				}
			}
		}
	}
	if tried < 6 {
		t.Fatalf("only %d attempts", tried)
	}
}

// A stranger who has the public tree joins by a path of its own, and then is a
// member like any other (RFC 9420, Section 12.4.3.2).
func TestExternalCommit(t *testing.T) {
	s := mustSuite(t, suite.Secp256k1ChaCha20Poly1305)
	w := newWorld(t, s, 5).full(t)
	stranger := newPerson(t, s)
	sent := mustParse(t, s, w.tree.Append(nil))
	at, err := sent.Add(stranger.leaf)
	if err != nil {
		t.Fatal(err)
	}
	path, err := CreatePath(sent, PathParams{Sender: at, GroupID: testGroup, Signer: stranger.signer})
	if err != nil {
		t.Fatal(err)
	}
	update, err := path.Encrypt(nil)
	if err != nil {
		t.Fatal(err)
	}
	receive := func(leaf *LeafNode) (*Tree, error) {
		received := w.tree.Clone()
		u := &UpdatePath{leaf, update.Nodes}
		if i, err := received.Add(leaf); err != nil || i != at {
			t.Fatalf("added at %d, %v", i, err)
		}
		return received, received.Merge(testGroup, at, u, nil)
	}
	taken := update.Leaf.Clone()
	if err := taken.Sign(s, w.signers[1], testGroup, at); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(taken); !errors.Is(err, ErrDuplicateKey) {
		t.Errorf("a member's signature key: %v", err)
	}
	received, err := receive(update.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(received.Hash(), sent.Hash()) {
		t.Fatal("the trees differ")
	}
	next := map[LeafIndex]*Private{at: path.Private()}
	for i, p := range w.privates {
		secrets, q, err := p.Open(received, at, update, nil, nil)
		if err != nil || !secrets.Commit.Equal(path.Secrets().Commit) {
			t.Fatalf("member %d: %v", i, err)
		}
		next[i] = q
	}
	w.tree, w.privates, w.signers[at] = received, next, stranger.signer
	w.check(t)
	w.commit(t, at)
	w.commit(t, 0)
	w.check(t)
}

// A change on a clone copies the nodes above the leaf and no others, and hashes
// only those.
func TestCloneShares(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	p := newPerson(t, s)
	tree := New(s, p.leaf)
	for range 1000 {
		if _, err := tree.Add(p.leaf); err != nil {
			t.Fatal(err)
		}
	}
	clone := tree.Clone()
	if clone.top != tree.top {
		t.Fatal("Clone copied nodes")
	}
	if err := clone.Update(300, p.leaf); err != nil {
		t.Fatal(err)
	}
	stale := 0
	var differ func(a, b *node) int
	differ = func(a, b *node) int {
		if a == b {
			return 0
		}
		if b.hash == nil {
			stale++
		}
		if a.left == nil {
			return 1
		}
		return 1 + differ(a.left, b.left) + differ(a.right, b.right)
	}
	if n := differ(tree.top, clone.top); n != 11 || stale != 11 {
		t.Errorf("%d nodes were copied and %d are stale, not 11", n, stale)
	}
	before := clone.top
	if err := clone.Update(300, p.leaf); err != nil {
		t.Fatal(err)
	}
	if clone.top != before {
		t.Error("a second change copied again")
	}
}

// Adding many members costs each no more than the depth of the tree, also where
// every parent is set and lists them as unmerged.
func TestAddManyIsLinear(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	p := newPerson(t, s)
	allocations := func(n int) float64 {
		half := newWorld(t, s, 1).tree
		for range n - 1 {
			if _, err := half.Add(p.leaf); err != nil {
				t.Fatal(err)
			}
		}
		parents := 0
		for i := range LeafIndex(n) {
			half.edit(i, func(_ NodeIndex, n *node) {
				if n.left != nil && n.parent == nil {
					parents++
					half.setParent(n, &ParentNode{EncryptionKey: fmt.Append(nil, parents)})
				}
			})
		}
		for i := range LeafIndex(n / 2) { // make room to the left of nobody's path
			half.edit(i, func(_ NodeIndex, n *node) {
				if n.left == nil {
					half.setLeaf(n, nil)
				}
			})
		}
		return testing.AllocsPerRun(1, func() {
			tree := half.Clone()
			for range n / 2 {
				if _, err := tree.Add(p.leaf); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(tree.top.unmerged()); got != n/2 {
				t.Fatalf("%d unmerged leaves at the root, not %d", got, n/2)
			}
			tree.Hash()
		})
	}
	if small, large := allocations(256), allocations(2048); large > 8*small*1.5 {
		t.Errorf("%v allocations for 128 members, %v for 1024", small, large)
	}
}

// A node's private key is all that a member keeps of a path: no path secret,
// from which the keys above would follow, is in what it stores, nor is a key
// that was replaced.
func TestPathSecretsAreNotKept(t *testing.T) {
	for _, s := range suite.All() {
		w := newWorld(t, s, 5).full(t)
		var old [][]byte
		for k := range 4 {
			for _, p := range w.privates {
				if e, ok := p.nodes[root(w.tree.Width())]; ok { // which every path replaces
					old = append(old, e.bytes().Bytes())
				}
			}
			w.commit(t, w.members()[k], w.join(t))
			for i, p := range w.privates {
				stored := p.Marshal().Bytes()
				for x, e := range p.nodes {
					if !bytes.Contains(stored, e.bytes().Bytes()) {
						t.Fatalf("member %d does not store the key of node %d", i, x)
					}
				}
				for x, pathSecret := range w.pathSecrets {
					if bytes.Contains(stored, pathSecret.Bytes()) {
						t.Fatalf("member %d stores the path secret of node %d", i, x)
					}
				}
				for _, key := range old {
					if bytes.Contains(stored, key) {
						t.Fatalf("member %d stores a replaced key", i)
					}
				}
			}
		}
		if len(w.pathSecrets) == 0 || len(old) == 0 {
			t.Fatal("no path was made")
		}
	}
}
