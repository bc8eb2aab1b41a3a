package groups_test

import (
	"fmt"
	"log"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/suite"
)

// device is what an application keeps for one installation: its keys, and the
// rows and groups in its database.
type device struct {
	credential groups.Credential
	signer     suite.SigningKey
	rows       groups.MemoryRows // a table of the database
	keyPackage *groups.KeyPackage
	private    *groups.KeyPackagePrivate
	group      *groups.Group
	past       *groups.Past
}

func newDevice(name string, now time.Time) *device {
	key := must(secp.GenerateKey())
	d := &device{signer: suite.Secp256k1SigningKey(key), rows: groups.MemoryRows{}}
	var acct [groups.AcctSize]byte // address(20) || uint256 accountChainId
	copy(acct[:], name)
	d.credential = groups.EthereumCredential(acct, [groups.LinkDigestSize]byte{})
	var err error
	d.keyPackage, d.private, err = groups.NewKeyPackage(groups.KeyPackageOptions{
		Credential: d.credential, Signer: d.signer, NotBefore: now, NotAfter: now.Add(30 * 24 * time.Hour),
	})
	if err != nil {
		log.Fatal(err)
	}
	return d
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// merge moves a device on. In a real application rows, group and past epoch are
// written in one transaction.
func (d *device) merge(s *groups.Staged) {
	var err error
	if d.group, d.past, err = s.Merge(d.rows); err != nil {
		log.Fatal(err)
	}
}

// receive processes a commit and merges it after a look.
func (d *device) receive(commit []byte, now time.Time) {
	r := must(d.group.Process(d.rows, commit, groups.ProcessOptions{Now: now}))
	if len(r.Commit.Changes.Untrusted) > 0 {
		log.Print("someone here is not trusted") // and withhold own messages
	}
	d.merge(r.Commit)
}

// The whole life of a group: create, add two, talk, update, leave.
func Example() {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	alice, bob, carol := newDevice("alice", now), newDevice("bob", now), newDevice("carol", now)

	// Alice creates a group and adds the others in one commit. Key packages
	// travel by other ways: here, they are at hand.
	alice.group = must(groups.Create(alice.rows, groups.CreateOptions{
		Credential: alice.credential, Signer: alice.signer, Now: now,
	}))
	staged := must(alice.group.Prepare(alice.rows, groups.CommitOptions{
		Add: []*groups.KeyPackage{bob.keyPackage, carol.keyPackage}, Now: now,
	}))
	alice.merge(staged)
	for _, d := range []*device{bob, carol} { // the Welcome comes in a pairwise session
		joined := must(groups.Join(d.rows, staged.Welcome, groups.JoinOptions{
			KeyPackage: d.keyPackage, Private: d.private, Signer: d.signer,
		}))
		d.group = joined.Group
	}
	fmt.Println("members:", len(bob.group.Members()))

	// Bob says something. Only the sealed form is seen on the network.
	message, header, err := bob.group.Protect(bob.rows, []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	sealed := must(bob.group.Seal(groups.ClassApplication, header.N, message, nil))

	// Carol knows the tag in advance, and so which group and epoch it is.
	expected := carol.group.Tag(groups.ClassApplication, bob.group.Self(), 0)
	fmt.Println("tag expected:", expected == sealed.Tag)
	opened := must(carol.group.Open(sealed.Tag, sealed.Body))
	said := must(carol.group.Unprotect(carol.rows, opened))
	fmt.Printf("message %d of leaf %d: %s\n", said.Header.N, said.Sender.Leaf, said.Plaintext)

	// Bob may not commit, so he proposes an update of his keys, and Carol
	// proposes to leave. Alice commits both.
	update := must(bob.group.ProposeUpdate(bob.rows, groups.UpdateOptions{}))
	leave := must(carol.group.ProposeRemove(carol.rows, carol.group.Self()))
	must(alice.group.Process(alice.rows, update, groups.ProcessOptions{}))
	must(alice.group.Process(alice.rows, leave, groups.ProcessOptions{}))
	must(bob.group.Process(bob.rows, leave, groups.ProcessOptions{}))
	staged = must(alice.group.Prepare(alice.rows, groups.CommitOptions{Now: now}))
	fmt.Println("updated:", len(staged.Changes.Updated), "removed:", len(staged.Changes.Removed))
	alice.merge(staged)
	bob.receive(staged.Commit, now)

	// A restart: what was stored is all it takes.
	bob.group = must(groups.Unmarshal(bob.group.Marshal(), bob.signer))
	fmt.Println("epoch:", bob.group.Epoch(), "same as alice's:", bob.group.CID() == alice.group.CID())

	// Output:
	// members: 3
	// tag expected: true
	// message 0 of leaf 1: hello
	// updated: 1 removed: 1
	// epoch: 2 same as alice's: true
}
