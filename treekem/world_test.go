package treekem

import (
	"bytes"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

func secretOf(b []byte) secret.Key { return secret.Copy(b) }

func mustSuite(t testing.TB, id suite.ID) *suite.Suite {
	t.Helper()
	s, err := suite.ByID(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sendAndReceive makes a path in a clone of tree, lets every other member
// receive it in a clone of its own, and checks that all arrive at one state,
// which it returns.
func sendAndReceive(t testing.TB, tree *Tree, groupID []byte, sender LeafIndex, signer suite.SigningKey, privates map[LeafIndex]*Private, added ...LeafIndex) (*Tree, *Path, map[LeafIndex]*Private) {
	t.Helper()
	sent := tree.Clone()
	path, err := CreatePath(sent, PathParams{Sender: sender, GroupID: groupID, Signer: signer, Added: added})
	if err != nil {
		t.Fatal(err)
	}
	context := append([]byte("context"), sent.Hash()...)
	update, err := path.Encrypt(context)
	if err != nil {
		t.Fatal(err)
	}
	received := tree.Clone()
	if err := received.Merge(groupID, sender, update, added); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(received.Hash(), sent.Hash()) || !bytes.Equal(received.Append(nil), sent.Append(nil)) {
		t.Fatal("sender and receivers have different trees")
	}
	next := map[LeafIndex]*Private{sender: path.Private()}
	for own, p := range privates {
		if own == sender {
			continue
		}
		secrets, q, err := p.Open(received, sender, update, added, context)
		if err != nil {
			t.Fatalf("member %d: %v", own, err)
		}
		if !secrets.Commit.Equal(path.Secrets().Commit) || !secrets.Top.Equal(path.Secrets().Top) {
			t.Fatalf("member %d: another commit secret", own)
		}
		next[own] = q
	}
	for _, j := range added {
		if _, ok := privates[j]; ok {
			t.Fatalf("leaf %d is added and has a private state", j)
		}
	}
	return received, path, next
}
