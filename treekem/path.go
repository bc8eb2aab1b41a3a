package treekem

import (
	"errors"

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
func (p *UpdatePath) Append(b []byte) []byte { return b }

// ReadUpdatePath reads a path, copying what it keeps. Errors stick to r.
func ReadUpdatePath(r *wire.Reader) *UpdatePath { r.Fail(errors.ErrUnsupported); return nil }

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
type Path struct{ _ int }

// CreatePath makes fresh secrets for the sender's filtered direct path and puts
// the new leaf and parent nodes into t, to which the commit's proposals have
// been applied. The sender's leaf must be in t; for an external commit the
// caller adds it first. On an error t is as it was.
func CreatePath(t *Tree, p PathParams) (*Path, error) { return nil, errors.ErrUnsupported }

// Encrypt encrypts the path secrets under the provisional group context, as
// encoded, and returns the finished path.
func (p *Path) Encrypt(groupContext []byte) (*UpdatePath, error) { return nil, errors.ErrUnsupported }

// Leaf returns the sender's new leaf.
func (p *Path) Leaf() *LeafNode { return nil }

// Secrets returns what the new epoch takes from the path. It is a view, which
// ends with [Path.Erase].
func (p *Path) Secrets() PathSecrets { return PathSecrets{} }

// JoinerSecret returns the path secret that the Welcome of an added leaf
// carries: that of the lowest node above both it and the sender. It returns
// false if there is none.
func (p *Path) JoinerSecret(joiner LeafIndex) (secret.Key, bool) { return secret.Key{}, false }

// Private returns the sender's private state in the new epoch.
func (p *Path) Private() *Private { return nil }

// Erase overwrites the secrets.
func (p *Path) Erase() {}

// PathSecrets is what a new epoch takes from an update path.
type PathSecrets struct {
	// Commit is commit_secret (RFC 9420, Section 7.4).
	Commit secret.Key
	// Top is the path secret of the highest node of the filtered direct path,
	// from which Commit derives.
	Top secret.Key
}

// Merge puts the public half of a received path into t, to which the commit's
// proposals have been applied (for an external commit, the sender's leaf
// added). It checks the leaf (of source commit, signed for that group and
// index, with a new encryption key), the length of the path, the number of its
// ciphertexts, that no key of it is in the tree, and the parent hashes. added
// are the leaves that the commit adds. It returns an error that is [ErrPath],
// [ErrLeaf], [ErrSignature] or [ErrNotMember], and then t is as it was.
func (t *Tree) Merge(groupID []byte, sender LeafIndex, path *UpdatePath, added []LeafIndex) error {
	return errors.ErrUnsupported
}
