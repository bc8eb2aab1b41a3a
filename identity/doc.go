// Package identity binds Ethereum accounts to the devices that speak for them.
//
// An [Account] is an Ethereum address, with a chain id when it is a contract
// wallet. Its [Wallet] signs links of a [Log], the hash-linked list of the
// account's devices; each [Device] signs a [Bundle] of the keys that others
// need to write to it. Log and bundle together are a [Record], which a node
// serves to whoever knows the account's lookup key, and which proves itself:
// [VerifyRecord] is where a reader of bytes from the network starts, and
// [AuthorizeDevice] is where a new account does.
//
// The core is pure: no goroutine, clock or socket, and time is an argument.
// The package does not fetch records and does not store what it has seen; the
// caller keeps the last log of every account and hands it to [MergeLogs], so
// that nobody can make it forget a revocation.
package identity
