// Package treekem is the ratchet tree of MLS (RFC 9420, Sections 4 and 7, and
// Appendices B and C): tree math, leaf and parent nodes, tree and parent
// hashes, membership changes, and the update paths by which one member gives
// all others a fresh secret.
//
// The public half is a [Tree], which every member holds identically; the
// private half is a [Private], which each member has of its own. A Tree is
// changed in place, and cheaply copied by [Tree.Clone]: clones share every node
// that neither has touched since, with its hash. So a commit is staged on a
// clone, and thrown away if anything is wrong with it.
//
// The sender of a commit calls [CreatePath], computes the provisional group
// context with the new [Tree.Hash], and calls [Path.Encrypt] with it. A
// receiver calls [Tree.Merge], computes the same context, and calls
// [Private.Open]. A joiner calls [Parse], [Tree.Validate] and [Join].
//
// The package has no policy and knows nothing of Ethereum: credentials are
// opaque bytes, and who may do what is for the caller to say. It reads no clock
// and touches no network.
package treekem
