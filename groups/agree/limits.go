package agree

// Limits on what members can make this package keep or compute.
const (
	// MaxTree bounds the epochs of a tree. An epoch that nobody states counts for
	// nothing, so it can be dropped and fetched again.
	MaxTree = 1 << 14
	// MaxDepth bounds how far a branch reaches below the root.
	MaxDepth = 1024
	// MaxAccount bounds the bytes of an [Account].
	MaxAccount = 256
)
