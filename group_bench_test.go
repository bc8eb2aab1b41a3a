package parley

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/cputime"
	"github.com/parley-im/parley/internal/suite"
)

// storeGroup writes a group of n to a profile's database, as its creator keeps
// it. Only the creator is anybody.
func storeGroup(b *testing.B, c *Client, n int) *group {
	b.Helper()
	s, err := suite.ByID(suite.Secp256k1ChaCha20Poly1305)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	add := make([]*groups.KeyPackage, n-1)
	for i := range add {
		signer, err := s.GenerateSigningKey()
		if err != nil {
			b.Fatal(err)
		}
		var acct [groups.AcctSize]byte
		copy(acct[:], fmt.Sprintf("%020d", i))
		add[i], _, err = groups.NewKeyPackage(groups.KeyPackageOptions{
			Credential: groups.EthereumCredential(acct, [32]byte{1}), Signer: signer, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	g := &group{id: []byte("a group of many, of thirty-two b"), name: "many", creator: true, inviter: c.me.account}
	err = c.step(b.Context(), func(s *step) error {
		first, err := groups.Create(epochRows{s}, groups.CreateOptions{GroupID: g.id, Credential: c.credential(), Signer: c.signer(), Now: now})
		if err != nil {
			return err
		}
		st, err := first.Prepare(epochRows{s}, groups.CommitOptions{Add: add, Now: now})
		if err != nil {
			return err
		}
		if g.head, _, err = st.Merge(epochRows{s}); err != nil {
			return err
		}
		return s.saveHead(g)
	})
	if err != nil {
		b.Fatal(err)
	}
	return g
}

// BenchmarkLoadStoredGroupAndSend is one step that reads the head of a group of
// many from the encrypted database, and protects and seals a message on it.
func BenchmarkLoadStoredGroupAndSend(b *testing.B) {
	for _, n := range []int{2, 1024} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			alice := newWorld(b).join("alice")
			g := storeGroup(b, alice.Client, n)
			text := make([]byte, 1024)
			done := cputime.Report(b)
			for b.Loop() {
				err := alice.step(b.Context(), func(s *step) error {
					var cid groups.CID
					var sealed []byte
					if err := s.QueryRow(`SELECT head, sealed FROM groups WHERE id = ?`, g.id).Scan(&cid, &sealed); err != nil {
						return err
					}
					stored, err := s.UnsealKey(headScope(cid), headPlace(g.id), sealed)
					if err != nil {
						return err
					}
					head, err := groups.Unmarshal(stored, alice.signer())
					if err != nil {
						return err
					}
					msg, header, err := head.Protect(epochRows{s}, text)
					if err != nil {
						return err
					}
					_, err = head.Seal(groups.ClassApplication, header.N, msg, bodySize)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			done()
		})
	}
}
