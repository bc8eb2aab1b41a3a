// Package groups is MLS (RFC 9420): groups whose members share the secrets of
// an epoch, and move from epoch to epoch by commits.
//
// A device publishes a [KeyPackage]. [Create] begins a group of one. A member
// changes it in two steps: [Group.Prepare] gives a [Staged] commit, with the
// bytes to send and the Welcome for those it adds, and [Staged.Merge] gives the
// group of the next epoch. Others hand what arrives to [Group.Process], look at
// the staged commit's [Changes], and merge it too. Those added call [Join].
// Members who may not commit send proposals: [Group.ProposeRemove] of their own
// leaf to leave, [Group.ProposeUpdate] to renew their keys. Those outside see a
// group by its [GroupInfo], with which they propose things or come in by a commit
// of their own, and [Group.Reinitialize] and [Group.Branch] lead to other groups. [Group.Protect] and
// [Group.Unprotect] are for what people say; [Group.Seal] and [Group.Open] hide
// any message in an envelope that shows neither group nor epoch.
//
// A [Group] is one epoch and does not change. It is stored, by [Group.Marshal],
// when a commit is merged. What moves within an epoch lives in [Rows], a map
// that the caller keeps in its database: one message rewrites a few short rows,
// however large the group. An epoch that was left becomes a [Past], which opens
// late messages and nothing else. Epochs are named by their [CID].
//
// The package is pure: no goroutine outlives a call, time is an argument, and
// nothing is read or written but the Rows. It does not know Ethereum: it knows
// the layout of the ethereum credential, and takes the judgement of credentials
// from a [CredentialVerifier]. The verdict on a commit never depends on that, nor
// on a clock: members who know different things must not part ways.
package groups
