package treekem

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// A set of keys is the same whether it was made at once or key by key, whatever
// came and went; and what shares its branches does not see what it changes.
func TestKeySet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]int{}
		pick := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 200).Draw(t, "key")) })
		compare := func(s *keySet, want map[string]int) {
			t.Helper()
			extra := 0
			for i := range 201 {
				key := fmt.Sprint(i)
				if s.has(encryptionKey, []byte(key)) != (want[key] > 0) || s.has(signatureKey, []byte(key)) {
					t.Fatalf("%s, %d times", key, want[key])
				}
				extra += max(0, want[key]-1)
			}
			if s.extra != extra {
				t.Fatalf("%d keys too many, not %d", s.extra, extra)
			}
		}
		var hashes [][sha256.Size]byte
		for range rapid.IntRange(0, 300).Draw(t, "keys") {
			key := pick.Draw(t, "key")
			hashes = append(hashes, keyHash(encryptionKey, []byte(key)))
			want[key]++
		}
		owner := new(token)
		s := keySetOf(owner, hashes)
		compare(&s, want)
		for range rapid.IntRange(0, 300).Draw(t, "changes") {
			key := pick.Draw(t, "key")
			switch {
			case rapid.IntRange(0, 20).Draw(t, "clone") == 0:
				before, was := s, maps.Clone(want)
				owner = new(token)
				defer compare(&before, was)
			case want[key] > 0:
				s.remove(owner, encryptionKey, []byte(key))
				want[key]--
			default:
				for range 2 {
					s.add(owner, encryptionKey, []byte(key))
					want[key]++
				}
			}
		}
		compare(&s, want)
		for key, n := range want {
			for range n {
				s.remove(owner, encryptionKey, []byte(key))
			}
		}
		if s.root != nil || s.extra != 0 {
			t.Fatal("keys are left in an empty set")
		}
	})
}
