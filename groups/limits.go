package groups

import "time"

// Limits on what a peer can make this package do or keep. Each is checked
// before memory is asked for or a key derived.
const (
	// MaxGenerationsAhead is how far beyond the next expected generation of a
	// sender's ratchet a message may be. Each skipped generation costs two
	// derivations and one stored row.
	MaxGenerationsAhead = 1000
	// MaxSkippedKeys is how many generations back from a ratchet's next one
	// skipped keys are kept, per sender and content type.
	MaxSkippedKeys = 2000
	// MaxMessageSize bounds an encoded MLSMessage, in bytes. A commit or a
	// Welcome that adds a thousand members stays well below it.
	MaxMessageSize = 16 << 20
	// MaxApplicationData bounds the plaintext of one application message.
	MaxApplicationData = 1 << 20
	// MaxGroupID and MaxAuthenticatedData bound these fields, in bytes.
	MaxGroupID           = 256
	MaxAuthenticatedData = 64 << 10
	// MaxExtensions bounds the extensions of a GroupContext.
	MaxExtensions = 64
	// MaxRequired bounds each of the three lists of the required_capabilities
	// extension. Every member's own lists are searched for each of them.
	MaxRequired = 256
	// MaxProposals bounds the proposals of one commit.
	MaxProposals = 16384
	// MaxPendingProposals bounds the proposals that wait for a commit in one
	// epoch, and MaxPendingPerSender those of one sender. Beyond it the oldest
	// give way.
	MaxPendingProposals = 1024
	MaxPendingPerSender = 16
	// MaxPendingOutside is the same for all newcomers together who propose to
	// be added.
	MaxPendingOutside = 64
	// MaxProposalSize bounds the encoded content of one of them, in bytes.
	MaxProposalSize = 256 << 10
	// MaxCustomProposal bounds the body of a proposal of a type of the caller's.
	MaxCustomProposal = 64 << 10
	// MaxExternalSenders bounds the external_senders extension.
	MaxExternalSenders = 64
	// MaxPadding bounds the padding of a PrivateMessage that is sent, in bytes.
	MaxPadding = 64 << 10
	// MaxPSKs bounds the pre-shared keys of one commit.
	MaxPSKs = 64
	// MaxPSKID bounds the name of an external one, in bytes: a Welcome holds those
	// of all keys for each joiner.
	MaxPSKID = 512
	// MaxAdmins bounds the list of admins in the roles extension.
	MaxAdmins = 1024
	// MaxSubject bounds the subject of a credential, in bytes.
	MaxSubject = 256
	// MaxLifetime is the longest validity of a key package that this package
	// makes or, as a committer, accepts.
	MaxLifetime = 100 * 24 * time.Hour
)
