// Package parley is an end-to-end encrypted messaging layer for Ethereum
// identities, with no server to trust. A peer is an Ethereum address, or an
// ENS name that resolves to one. Pairs talk through a secp256k1 double
// ratchet, groups through TreeKEM (MLS, RFC 9420), and what travels is opaque
// ciphertext on gossipsub topics of a libp2p network.
//
// Call Init once to make a profile in a folder: it creates the device's keys
// and has the account's wallet authorise them. Then Open a Client on the
// folder, Send to names, addresses and groups, and range over Subscribe.
//
// A Client keeps everything it knows in the profile's encrypted database. What
// Send has accepted survives a crash at any instant; what Subscribe has
// yielded can be asked for again from its cursor. The package reads no file
// but the profile's, and is silent unless it is handed a logger.
package parley
