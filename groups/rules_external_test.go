package groups

import (
	"bytes"
	"testing"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

// RFC 9420, Sections 12.2 and 12.4.3.2: the leaf that a newcomer brings. What
// its commit may hold beside that is in TestExternalCommitsRefused.
func TestExternalCommitRules(t *testing.T) {
	people := plainOf(t, fast, 3, requiring())
	alice, bob, carol := people[0], people[1], people[2]
	again, dave := newPlainPerson(t, fast, 2), newPlainPerson(t, fast, 9)
	old, _ := carol.group.tree.Leaf(2)
	for name, c := range map[string]struct {
		who    *person
		resync bool
		change func(l *LeafNode)
		signer suite.SigningKey // of the leaf and the commit, if another
		place  LeafIndex        // that the leaf is signed for, beyond its own
		want   error
	}{
		"a newcomer":             {who: dave, want: ErrConfirmationTag},
		"an old member":          {who: again, resync: true, want: ErrConfirmationTag},
		"another in its place":   {who: dave, resync: true, want: ErrCredential},
		"with the old key":       {who: again, resync: true, change: func(l *LeafNode) { l.EncryptionKey = old.EncryptionKey }, want: ErrProposal},
		"a member's key":         {who: dave, change: func(l *LeafNode) { l.EncryptionKey = old.EncryptionKey }, want: ErrDuplicate},
		"a member's signature":   {who: dave, signer: alice.signer, want: ErrDuplicate},
		"of a key package":       {who: dave, change: func(l *LeafNode) { l.Source = treekem.SourceKeyPackage }, want: ErrTree},
		"of an update":           {who: dave, change: func(l *LeafNode) { l.Source = treekem.SourceUpdate }, want: ErrTree},
		"for another place":      {who: dave, place: 1, want: ErrSignature},
		"with a parent hash":     {who: dave, change: func(l *LeafNode) { l.ParentHash = make([]byte, 32) }, want: ErrTree},
		"without what is needed": {who: dave, change: func(l *LeafNode) { l.Capabilities.Proposals = nil }, want: ErrCapabilities},
		"with an unusable key":   {who: dave, change: func(l *LeafNode) { l.EncryptionKey = make([]byte, 32) }, want: ErrTree},
	} {
		t.Run(name, func(t *testing.T) {
			bob.tb, alice.tb = t, t
			o := ExternalJoinOptions{Credential: c.who.cred, Signer: c.who.signer, Capabilities: customCaps}
			at := LeafIndex(3)
			if c.resync {
				o.Replace, at = ptr(LeafIndex(2)), 2
				o.Credential = again.cred
			}
			st, err := alice.info(GroupInfoOptions{External: true}, nil).Join(o)
			if err != nil {
				t.Fatal(err)
			}
			bob.accepts(st.Commit)
			m, err := parseMessage(bytes.Clone(st.Commit))
			if err != nil {
				t.Fatal(err)
			}
			l := m.public.content.commit.path.Leaf
			l.Credential = c.who.cred
			signer := c.who.signer
			if c.signer != nil {
				signer = c.signer
			}
			if c.change != nil {
				c.change(l)
			}
			if err := l.Sign(alice.group.suite, signer, alice.group.groupID, at+c.place); err != nil {
				t.Fatal(err)
			}
			bob.refuses(alice.frame(signer, m.public.content), c.want)
		})
	}
}
