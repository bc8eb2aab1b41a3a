// Package agree lets the members of a group come to one chain of epochs without
// a server to order their commits: after any split, those who have seen the same
// commits, orders and statements are in the same epoch.
//
// Commits make a [Tree] of epochs, each named by the hash of its commit. Members
// state which epoch they are in ([Statement]); [Tree.Choose] picks the head from
// the commits and statements alone, so arrival, clocks and restarts change
// nothing. Wishes to change who is a member are [Order]s, a set that only grows:
// a removal holds in every branch. Two commits of one device on one epoch are an
// [Equivocation], which everyone can check.
//
// [Machine] puts these together for one member: commits, statements, orders and
// the time go in, what to do comes out as [Action]s. Begin there.
//
// The package is pure: it reads no clock and holds no secret. It does not know
// MLS: what a commit means for the tree comes as a [Node], and signatures are
// judged by a [Verifier] of the caller's.
package agree
