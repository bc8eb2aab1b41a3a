package treekem

import (
	"bytes"
	"fmt"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// Ciphertext is HPKECiphertext of RFC 9420, Section 7.6.
type Ciphertext struct {
	KEMOutput  []byte
	Ciphertext []byte
}

// UpdatePathNode is one node of an update path: its new public key, and its
// path secret encrypted to each node of the copath's resolution.
type UpdatePathNode struct {
	EncryptionKey []byte
	Secrets       []Ciphertext
}

// UpdatePath replaces a committer's leaf and the nodes above it (RFC 9420,
// Section 7.6). Nodes are those of the filtered direct path, from the leaf
// upwards.
type UpdatePath struct {
	Leaf  *LeafNode
	Nodes []UpdatePathNode
}

// Append appends the path's encoding.
func (p *UpdatePath) Append(b []byte) []byte {
	b = p.Leaf.Append(b)
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for i := range p.Nodes {
			b = wire.AppendVec(b, p.Nodes[i].EncryptionKey)
			b = wire.AppendVecFunc(b, func(b []byte) []byte {
				for _, c := range p.Nodes[i].Secrets {
					b = wire.AppendVec(b, c.KEMOutput)
					b = wire.AppendVec(b, c.Ciphertext)
				}
				return b
			})
		}
		return b
	})
}

// ReadUpdatePath reads a path, copying what it keeps. Errors stick to r; more
// nodes or ciphertexts than the largest tree has are [ErrMalformed].
func ReadUpdatePath(r *wire.Reader) *UpdatePath {
	p := &UpdatePath{Leaf: ReadLeafNode(r)}
	nodes := r.Sub()
	for nodes.More() {
		n := UpdatePathNode{EncryptionKey: bytes.Clone(nodes.VecMax(MaxKey))}
		secrets := nodes.Sub()
		for secrets.More() {
			n.Secrets = append(n.Secrets, Ciphertext{
				KEMOutput:  bytes.Clone(secrets.VecMax(MaxKey)),
				Ciphertext: bytes.Clone(secrets.VecMax(maxPathCiphertext)),
			})
			if len(n.Secrets) > MaxLeaves {
				secrets.Fail(fmt.Errorf("%w: more than %d encrypted path secrets", ErrMalformed, MaxLeaves))
			}
		}
		nodes.Join(secrets)
		p.Nodes = append(p.Nodes, n)
		if len(p.Nodes) > maxDepth {
			nodes.Fail(fmt.Errorf("%w: update path of more than %d nodes", ErrMalformed, maxDepth))
		}
	}
	r.Join(nodes)
	return p
}

// step is one node of a filtered direct path, with the child on the copath.
type step struct {
	x     NodeIndex
	sideX NodeIndex
	side  *node
}

// filteredPath returns the direct path of leaf i, from the leaf upwards,
// without the nodes whose child on the copath has an empty resolution (RFC
// 9420, Section 4.1.2).
func (t *Tree) filteredPath(i LeafIndex) []step {
	steps := make([]step, 0, t.depth)
	n := t.top
	for x := root(t.Width()); !x.IsLeaf(); {
		s := step{x: x}
		if i.Node() < x {
			s.side, s.sideX = n.right, x.right()
			n, x = n.left, x.left()
		} else {
			s.side, s.sideX = n.left, x.left()
			n, x = n.right, x.right()
		}
		if s.side.used > 0 {
			steps = append(steps, s)
		}
	}
	for a, b := 0, len(steps)-1; a < b; a, b = a+1, b-1 {
		steps[a], steps[b] = steps[b], steps[a]
	}
	return steps
}

// target is a node to which a path secret is encrypted.
type target struct {
	x   NodeIndex
	key []byte
}

// targets returns the resolution of a step's copath node without the leaves
// that the commit adds.
func (t *Tree) targets(s step, added map[LeafIndex]bool) []target {
	var out []target
	t.resolve(s.side, s.sideX, func(x NodeIndex, n *node) bool {
		if !x.IsLeaf() || !added[x.Leaf()] {
			out = append(out, target{x, n.key()})
		}
		return true
	})
	return out
}

func indexSet(list []LeafIndex) map[LeafIndex]bool {
	set := make(map[LeafIndex]bool, len(list))
	for _, i := range list {
		set[i] = true
	}
	return set
}

// parentHashes returns the parent hashes of the nodes of a new path: first the
// leaf's, then that of each step with the given key, the topmost empty. Nodes
// just set have no unmerged leaves, so that the original hash of a sibling is
// its tree hash (RFC 9420, Section 7.9). The tree must be fresh.
func (t *Tree) parentHashes(steps []step, keys [][]byte) [][]byte {
	hashes := make([][]byte, len(steps)+1)
	for k := len(steps) - 1; k >= 0; k-- {
		hashes[k] = t.parentHash(keys[k], hashes[k+1], steps[k].side.hash)
	}
	return hashes
}

// setPath puts a new leaf and the nodes of its filtered direct path into the
// tree, and blanks the rest of the direct path.
func (t *Tree) setPath(i LeafIndex, l *LeafNode, steps []step, keys, hashes [][]byte) {
	k := 0
	t.edit(i, func(x NodeIndex, n *node) {
		switch {
		case n.left == nil:
			t.setLeaf(n, l)
		case k < len(steps) && steps[k].x == x:
			t.setParent(n, &ParentNode{EncryptionKey: keys[k], ParentHash: hashes[k+1]})
			k++
		default:
			t.setParent(n, nil)
		}
	})
}

// Labels of RFC 9420, Sections 7.4 and 7.6.
const (
	labelPath     = "path"
	labelNode     = "node"
	labelPathNode = "UpdatePathNode"
)

// nodeKey derives the key pair of a node from its path secret.
func nodeKey(s *suite.Suite, pathSecret secret.Key) (suite.HPKEKey, error) {
	nodeSecret := s.DeriveSecret(pathSecret, labelNode)
	defer nodeSecret.Erase()
	return s.DeriveHPKEKey(nodeSecret)
}

// PathSecrets is what a new epoch takes from an update path.
type PathSecrets struct {
	// Commit is commit_secret (RFC 9420, Section 7.4).
	Commit secret.Key
	// Top is the path secret of the highest node of the filtered direct path,
	// from which Commit derives; in a group of one, it is fresh.
	Top secret.Key
}

// Erase overwrites both.
func (p *PathSecrets) Erase() {
	p.Commit.Erase()
	p.Top.Erase()
}

// PathParams is what [CreatePath] needs beside the tree.
type PathParams struct {
	Sender  LeafIndex
	GroupID []byte
	// Leaf is the template of the new leaf: credential, capabilities and
	// extensions are taken from it, everything else is made anew. Nil means
	// the sender's leaf in the tree.
	Leaf   *LeafNode
	Signer suite.SigningKey // its public key becomes the leaf's signature key
	// Added are the leaves that this commit adds. They are in the tree already,
	// and get no ciphertext: their Welcome carries a path secret.
	Added []LeafIndex
}

// Path is an update path in the making: its public keys are in the tree, its
// secrets are not yet encrypted. It holds secrets until [Path.Erase].
type Path struct {
	suite   *suite.Suite
	sender  LeafIndex
	leaf    *LeafNode
	nodes   []pathNode
	secrets PathSecrets
	private *Private
}

type pathNode struct {
	x       NodeIndex
	key     []byte
	secret  secret.Key
	targets []target
}

// CreatePath makes fresh secrets for the sender's filtered direct path and puts
// the new leaf and parent nodes into t, to which the commit's proposals have
// been applied. The sender's leaf must be in t; for an external commit the
// caller adds one first, of which only what p.Leaf would take matters. It
// returns [ErrNotMember], or the errors of [LeafNode.Check] and
// [Tree.CheckMembers] for the new leaf; then t is as it was.
func CreatePath(t *Tree, p PathParams) (*Path, error) {
	old, ok := t.Leaf(p.Sender)
	if !ok {
		return nil, fmt.Errorf("%w: %d", ErrNotMember, p.Sender)
	}
	if p.Leaf != nil {
		old = p.Leaf
	}
	leafKey, err := t.suite.GenerateHPKEKey()
	if err != nil {
		return nil, fmt.Errorf("treekem: generating a leaf key: %w", err)
	}
	out := &Path{suite: t.suite, sender: p.Sender, private: NewPrivate(t.suite, p.Sender, leafKey)}

	steps, added := t.filteredPath(p.Sender), indexSet(p.Added)
	keys := make([][]byte, len(steps))
	next := secret.Random(t.suite.HashSize())
	for k, s := range steps {
		key, err := nodeKey(t.suite, next)
		if err != nil {
			return nil, fmt.Errorf("treekem: deriving a node key: %w", err)
		}
		entry := newKeyEntry(key)
		out.private.nodes[s.x] = entry
		keys[k] = entry.public
		out.nodes = append(out.nodes, pathNode{s.x, entry.public, next, t.targets(s, added)})
		if k < len(steps)-1 {
			next = t.suite.DeriveSecret(next, labelPath)
		}
	}
	out.secrets = PathSecrets{Commit: t.suite.DeriveSecret(next, labelPath), Top: next}

	t.refresh()
	hashes := t.parentHashes(steps, keys)
	out.leaf = &LeafNode{
		EncryptionKey: leafKey.Public(),
		Credential:    old.Credential,
		Capabilities:  old.Capabilities,
		Source:        SourceCommit,
		ParentHash:    hashes[0],
		Extensions:    old.Extensions,
	}
	if err := out.leaf.Sign(t.suite, p.Signer, p.GroupID, p.Sender); err != nil {
		return nil, err
	}
	if err := out.leaf.Check(t.suite); err != nil {
		return nil, err
	}
	staged := t.Clone()
	staged.setPath(p.Sender, out.leaf, steps, keys, hashes)
	if err := staged.CheckMembers(); err != nil {
		return nil, err
	}
	*t = *staged
	return out, nil
}

// Encrypt encrypts the path secrets under the provisional group context, as
// encoded, and returns the finished path. It uses the processor's cores. It
// returns [ErrTree] if a key in the tree cannot be encrypted to.
func (p *Path) Encrypt(groupContext []byte) (*UpdatePath, error) {
	out := &UpdatePath{Leaf: p.leaf, Nodes: make([]UpdatePathNode, len(p.nodes))}
	type job struct{ node, target int }
	var jobs []job
	for k, n := range p.nodes {
		out.Nodes[k] = UpdatePathNode{EncryptionKey: n.key, Secrets: make([]Ciphertext, len(n.targets))}
		for i := range n.targets {
			jobs = append(jobs, job{k, i})
		}
	}
	encrypter := p.suite.NewEncrypter(labelPathNode, groupContext)
	err := parallel(len(jobs), func(j int) error {
		n, i := &p.nodes[jobs[j].node], jobs[j].target
		enc, ct, err := encrypter.Encrypt(n.targets[i].key, n.secret.Bytes())
		if err != nil {
			return fmt.Errorf("%w: encrypting to node %d: %w", ErrTree, n.targets[i].x, err)
		}
		out.Nodes[jobs[j].node].Secrets[i] = Ciphertext{enc, ct} // each job has a place of its own
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Leaf returns the sender's new leaf.
func (p *Path) Leaf() *LeafNode { return p.leaf }

// Secrets returns what the new epoch takes from the path. It is a view, which
// ends with [Path.Erase].
func (p *Path) Secrets() PathSecrets { return p.secrets }

// JoinerSecret returns the path secret that the Welcome of an added leaf
// carries: that of the lowest node above both it and the sender. It is a view.
// It returns false if there is none.
func (p *Path) JoinerSecret(joiner LeafIndex) (secret.Key, bool) {
	x := commonAncestor(p.sender, joiner)
	for _, n := range p.nodes {
		if n.x == x {
			return n.secret, true
		}
	}
	return secret.Key{}, false
}

// Private returns the sender's private state in the new epoch. It outlives
// [Path.Erase].
func (p *Path) Private() *Private { return p.private }

// Erase overwrites the path secrets.
func (p *Path) Erase() {
	for k := range p.nodes {
		p.nodes[k].secret.Erase()
	}
	p.secrets.Erase()
}

// Merge puts the public half of a received path into t, to which the commit's
// proposals have been applied. For an external commit the caller adds path.Leaf
// itself first, and sender is where it went. Merge checks the leaf (of source
// commit, signed for that group and index, with a new encryption key), the
// length of the path, the number of its ciphertexts, that no key of it is in the
// tree, the parent hashes, and the members together. added are the leaves that
// the commit adds. It returns an error that is [ErrPath], [ErrLeaf],
// [ErrSignature], [ErrDuplicateKey] or [ErrNotMember], and then t is as it was.
func (t *Tree) Merge(groupID []byte, sender LeafIndex, path *UpdatePath, added []LeafIndex) error {
	old, ok := t.Leaf(sender)
	if !ok {
		return fmt.Errorf("%w: %d", ErrNotMember, sender)
	}
	leaf := path.Leaf
	if leaf.Source != SourceCommit {
		return fmt.Errorf("%w: leaf of source %d in an update path", ErrLeaf, leaf.Source)
	}
	if err := leaf.Check(t.suite); err != nil {
		return err
	}
	if err := leaf.Verify(t.suite, groupID, sender); err != nil {
		return err
	}
	// The leaf of an external commit is in the tree already; that its keys are
	// nobody else's shows when the members are checked.
	if external := old == leaf; !external {
		if t.keys.has(encryptionKey, leaf.EncryptionKey) {
			return fmt.Errorf("%w: encryption key of the update path's leaf", ErrDuplicateKey)
		}
		if !bytes.Equal(leaf.SignatureKey, old.SignatureKey) && t.keys.has(signatureKey, leaf.SignatureKey) {
			return fmt.Errorf("%w: signature key of the update path", ErrDuplicateKey)
		}
	}
	steps := t.filteredPath(sender)
	if len(steps) != len(path.Nodes) {
		return fmt.Errorf("%w: %d nodes where the tree has %d", ErrPath, len(path.Nodes), len(steps))
	}
	if err := t.checkPathNodes(path, steps, indexSet(added)); err != nil {
		return err
	}
	keys := make([][]byte, len(steps))
	for k := range steps {
		keys[k] = path.Nodes[k].EncryptionKey
	}
	t.refresh()
	hashes := t.parentHashes(steps, keys)
	if !bytes.Equal(leaf.ParentHash, hashes[0]) {
		return fmt.Errorf("%w: parent hash of the leaf differs", ErrPath)
	}
	staged := t.Clone()
	staged.setPath(sender, leaf, steps, keys, hashes)
	if err := staged.CheckMembers(); err != nil {
		return err
	}
	*t = *staged
	return nil
}

// checkPathNodes checks keys and ciphertext counts of a received path (RFC
// 9420, Section 12.4.2).
func (t *Tree) checkPathNodes(path *UpdatePath, steps []step, added map[LeafIndex]bool) error {
	for k, n := range path.Nodes {
		if t.suite.CheckHPKEKey(n.EncryptionKey) != nil {
			return fmt.Errorf("%w: unusable key at node %d", ErrPath, steps[k].x)
		}
		if t.keys.has(encryptionKey, n.EncryptionKey) {
			return fmt.Errorf("%w: encryption key of the update path", ErrDuplicateKey)
		}
		if want := len(t.targets(steps[k], added)); len(n.Secrets) != want {
			return fmt.Errorf("%w: %d ciphertexts at node %d, which needs %d", ErrPath, len(n.Secrets), steps[k].x, want)
		}
	}
	return nil
}
