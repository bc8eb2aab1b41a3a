package agree

// Limits on what members can make this package keep or compute.
const (
	// MaxTree bounds the epochs of a tree. An epoch that nobody states counts for
	// nothing, so it can be dropped and fetched again.
	MaxTree = 1 << 14
	// MaxDepth bounds how far a branch reaches below the root.
	MaxDepth = 1024
	// MaxGroupID and MaxAccount bound these names, in bytes, as package groups
	// does.
	MaxGroupID = 256
	MaxAccount = 256
	// MaxSignature bounds a signature, and MaxKey a beacon key, in bytes.
	MaxSignature = 256
	MaxKey       = 256
	// MaxHeads bounds the causal heads of an order.
	MaxHeads = 32
	// MaxPayload bounds what an order carries, in bytes: a key package.
	MaxPayload = 8 << 10
	// MaxDevices bounds the devices whose statements are kept.
	MaxDevices = 1 << 16
	// MaxRemoves bounds the Remove orders of one issuer, and MaxOrdersPerIssuer
	// the others, that no commit executes. Those that one does come with it, and
	// are bounded by it.
	MaxRemoves         = 4096
	MaxOrdersPerIssuer = 64
	// MaxOrders bounds all orders.
	MaxOrders = 1 << 14
)

// Limits on bundles and on what waits for what it refers to.
const (
	// MaxCommit bounds the commit of a bundle, as groups.MaxMessageSize does.
	MaxCommit = 16 << 20
	// MaxBundleOrders bounds the orders that one commit executes.
	MaxBundleOrders = 256
	// MaxWaiting bounds the bundles, and the orders, that wait for others, and
	// MaxWaitingPerDevice those of one device.
	MaxWaiting          = 1024
	MaxWaitingPerDevice = 32
	// MaxWaitingBytes bounds what waiting bundles take, without their commits.
	MaxWaitingBytes = 64 << 20
	// MaxFetch bounds what one [Fetch] asks for.
	MaxFetch = 64
	// MaxEntered bounds how many children of one epoch are ever entered from it,
	// which is how often its init function can be punctured (pprf.MaxPunctures).
	MaxEntered = 16
	// LargeGroup is the number of accounts above which members state settled epochs
	// seldom.
	LargeGroup = 32
)
