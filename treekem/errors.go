package treekem

import "errors"

var (
	// ErrMalformed is returned for bytes that are not the structure they should
	// be, or that exceed a limit of this package.
	ErrMalformed = errors.New("treekem: malformed")
	// ErrLeaf is returned for a leaf that breaks a rule of RFC 9420, Section
	// 7.3, other than its signature.
	ErrLeaf = errors.New("treekem: invalid leaf node")
	// ErrSignature is returned for a leaf whose signature does not verify.
	ErrSignature = errors.New("treekem: invalid leaf signature")
	// ErrExpired is returned for a key package's leaf outside its lifetime.
	ErrExpired = errors.New("treekem: leaf is outside its lifetime")
	// ErrDuplicateKey is returned when two nodes of a tree have one encryption
	// key, or two leaves one signature key.
	ErrDuplicateKey = errors.New("treekem: key occurs twice in the tree")
	// ErrNotMember is returned for a leaf index beyond the tree, or blank.
	ErrNotMember = errors.New("treekem: no member at that leaf")
	// ErrFull is returned when a tree would grow beyond [MaxLeaves].
	ErrFull = errors.New("treekem: tree is full")
	// ErrTree is returned for a tree that breaks a rule of RFC 9420, Section
	// 12.4.3.1: a parent hash that is not chained, a bad list of unmerged leaves.
	ErrTree = errors.New("treekem: invalid ratchet tree")
	// ErrPath is returned for an update path that does not fit its tree: of the
	// wrong length, with a wrong parent hash, or with keys that do not follow
	// from its secrets.
	ErrPath = errors.New("treekem: invalid update path")
	// ErrOpen is returned when an update path holds nothing that this member's
	// keys open, whatever the reason.
	ErrOpen = errors.New("treekem: update path does not open")
	// ErrPrivate is returned for a private state that is not of the tree it is
	// used with.
	ErrPrivate = errors.New("treekem: private state does not match the tree")
)
