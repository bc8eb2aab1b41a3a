package treekem

// Limits on what is accepted from a peer.
const (
	// MaxLeaves is the number of leaves, blank ones included, that a tree can
	// have. With it a hostile tree costs at most some 15 MiB of memory if it is
	// blank (128 KiB on the wire), and 70 MiB if it is full of the smallest nodes
	// there are (2 MiB).
	MaxLeaves = 1 << 16
	// MaxLeafNode is the encoded size of a leaf node in bytes.
	MaxLeafNode = 1 << 16
	// MaxExtensions is the number of extensions in any list. A leaf's capabilities
	// are searched for each of its extensions.
	MaxExtensions = 256
	// MaxKey is the size of any public key, signature or hash in a node, and of
	// a ciphertext's encapsulated key, in bytes.
	MaxKey = 4096
	// maxPathCiphertext is the size of one encrypted path secret in bytes: the
	// longest hash and a tag, with room.
	maxPathCiphertext = 256
	// maxDepth is the length of the longest direct path.
	maxDepth = 16 // log2(MaxLeaves)
)
