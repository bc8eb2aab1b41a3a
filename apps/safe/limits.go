package safe

// Limits on what a member can have others keep or do.
const (
	// MaxData bounds a transaction's calldata, in bytes: a proposal fits a group
	// message with room to spare.
	MaxData = 40 << 10
	// MaxMessage bounds an off-chain message: its text, or its typed data in JSON.
	MaxMessage = 32 << 10
	// MaxNote and MaxOrigin bound what a proposer says about a proposal.
	MaxNote   = 1 << 10
	MaxOrigin = 256
	// MaxContractSignature bounds the part of a contract's signature that only
	// the contract understands.
	MaxContractSignature = 16 << 10
	// maxSignatures bounds the signatures of one transaction together, in bytes.
	maxSignatures = 128 << 10
	// maxHashFile bounds the file of a transaction, and maxBuilder that of a batch.
	maxHashFile = 1 << 20
	maxBuilder  = 1 << 20
	// maxItems bounds the items of one export, and maxExport its bytes.
	maxItems  = 4096
	maxExport = 16 << 20
	// maxClaims is how many signatures the chain is asked about at a time.
	maxClaims = 256
	// maxFaults is how many lies and malformed items of one member are shown.
	maxFaults = 16
)
