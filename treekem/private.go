package treekem

import (
	"errors"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

// Private is one member's private half of a tree: its leaf's private key and
// those of the nodes above it that it knows. It is immutable; every change
// makes a new one, so an epoch can keep its own.
type Private struct{ _ int }

// NewPrivate returns the private state of a member that knows its own leaf key
// only, such as the creator of a group.
func NewPrivate(s *suite.Suite, own LeafIndex, leafKey suite.HPKEKey) *Private { return nil }

// Join returns the private state of a member that joins by a Welcome: own is
// its leaf, sender the committer's, and pathSecret the one of its group
// secrets, or empty if the commit had no path. It returns [ErrPrivate] if
// leafKey is not the leaf's, and [ErrPath] if a key derived from pathSecret is
// not the tree's.
func Join(t *Tree, own LeafIndex, leafKey suite.HPKEKey, sender LeafIndex, pathSecret secret.Key) (*Private, error) {
	return nil, errors.ErrUnsupported
}

// Index returns the member's own leaf.
func (p *Private) Index() LeafIndex { return 0 }

// WithLeafKey returns the private state after the member's own Update proposal
// was committed by another: a new leaf key, and no node above.
func (p *Private) WithLeafKey(leafKey suite.HPKEKey) *Private { return nil }

// Follow returns the private state without the keys that are no longer those of
// t, after a commit without a path. It returns [ErrPrivate] if the leaf itself
// is not.
func (p *Private) Follow(t *Tree) (*Private, error) { return nil, errors.ErrUnsupported }

// Open decrypts a path that [Tree.Merge] has put into t, under the provisional
// group context, as encoded, and with the same added leaves. It returns the
// path's secrets, which the caller owns, and the private state of the new
// epoch. It returns [ErrOpen] if nothing opens, and [ErrPath] if the secrets do
// not give the path's public keys.
func (p *Private) Open(t *Tree, sender LeafIndex, path *UpdatePath, added []LeafIndex, groupContext []byte) (PathSecrets, *Private, error) {
	return PathSecrets{}, nil, errors.ErrUnsupported
}

// Marshal returns the state as it is stored; it is secret.
func (p *Private) Marshal() secret.Key { return secret.Key{} }

// ParsePrivate reads what [Private.Marshal] wrote, or returns [ErrMalformed].
func ParsePrivate(b []byte) (*Private, error) { return nil, errors.ErrUnsupported }
