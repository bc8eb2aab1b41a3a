// Package safe lets the owners of a Safe (the multisig account of
// safe-smart-account 1.3.0, 1.4.1 and 1.5.0) propose, check, sign and execute
// its transactions in private. They are the members of a Parley group that is
// bound to the Safe; what a group carries is typed messages, and every member's
// client works out for itself what they say: hashes, signatures, calldata.
//
// A [Transaction] and its [Account] give the hashes that are signed. [Open]
// finds or makes the Safe's group; the [Room] it returns proposes, signs,
// rejects and executes. Package service offers a room to tools that know the
// Safe Transaction Service.
//
// Nothing here trusts the group: a member who is not an owner, or an owner who
// lies about a hash, is found out by the receiver. The chain, as the RPC
// endpoint tells it, is trusted.
package safe
