package groups

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/suite"
)

var testNow = time.Unix(1_800_000_000, 0)

// person is a member in a test: keys, rows, and the head.
type person struct {
	tb     testing.TB
	name   string
	cred   Credential
	signer suite.SigningKey
	rows   MemoryRows
	group  *Group
	past   []*Past
	plain  bool // in groups without roles

	kp      *KeyPackage
	private *KeyPackagePrivate
}

func acctOf(n int) (acct [AcctSize]byte) {
	copy(acct[:], fmt.Sprintf("account-%012d", n))
	return acct
}

func newPerson(tb testing.TB, n int) *person {
	tb.Helper()
	return newPersonIn(tb, suite.Secp256k1ChaCha20Poly1305, n)
}

func newPersonIn(tb testing.TB, id suite.ID, n int) *person {
	tb.Helper()
	s, err := suite.ByID(id)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := s.GenerateSigningKey()
	if err != nil {
		tb.Fatal(err)
	}
	p := &person{
		tb: tb, name: fmt.Sprint("person ", n), signer: signer, rows: MemoryRows{},
		cred: EthereumCredential(acctOf(n), [32]byte{byte(n), byte(n >> 8), 1}),
	}
	p.kp, p.private, err = NewKeyPackage(KeyPackageOptions{
		Suite: id, Credential: p.cred, Signer: signer, NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(24 * time.Hour),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func (p *person) create(roles *Roles) {
	p.tb.Helper()
	g, err := Create(p.rows, CreateOptions{Suite: p.kp.Suite, Credential: p.cred, Signer: p.signer, Roles: roles, Now: testNow})
	if err != nil {
		p.tb.Fatal(err)
	}
	p.group = g
}

func (p *person) prepare(o CommitOptions) *Staged {
	p.tb.Helper()
	o.Now = testNow
	st, err := p.group.Prepare(p.rows, o)
	if err != nil {
		p.tb.Fatalf("%s: prepare: %v", p.name, err)
	}
	return st
}

func (p *person) merge(st *Staged) {
	p.tb.Helper()
	next, past, err := st.Merge(p.rows)
	if err != nil {
		p.tb.Fatalf("%s: merge: %v", p.name, err)
	}
	p.group, p.past = next, append(p.past, past)
}

func (p *person) process(msg []byte) *Received {
	p.tb.Helper()
	r, err := p.group.Process(p.rows, msg, ProcessOptions{Now: testNow})
	if err != nil {
		p.tb.Fatalf("%s: process: %v", p.name, err)
	}
	return r
}

func (p *person) join(welcome []byte) {
	p.tb.Helper()
	j, err := Join(p.rows, welcome, JoinOptions{KeyPackage: p.kp, Private: p.private, Signer: p.signer, Plain: p.plain})
	if err != nil {
		p.tb.Fatalf("%s: join: %v", p.name, err)
	}
	p.group = j.Group
}

// commit has the first of the people commit, and the others follow.
func commitAll(committer *person, others []*person, o CommitOptions, joiners ...*person) *Staged {
	committer.tb.Helper()
	for _, j := range joiners {
		o.Add = append(o.Add, j.kp)
	}
	st := committer.prepare(o)
	for _, p := range others {
		r := p.process(st.Commit)
		if r.Commit.Changes.SelfRemoved {
			continue
		}
		p.merge(r.Commit)
	}
	committer.merge(st)
	for _, j := range joiners {
		j.join(st.Welcome)
	}
	return st
}

// groupOf makes a group of n people in one commit; the first created it.
func groupOf(tb testing.TB, n int, roles *Roles) []*person {
	tb.Helper()
	return groupIn(tb, suite.Secp256k1ChaCha20Poly1305, n, roles)
}

func groupIn(tb testing.TB, id suite.ID, n int, roles *Roles) []*person {
	tb.Helper()
	people := make([]*person, n)
	for i := range people {
		people[i] = newPersonIn(tb, id, i)
	}
	people[0].create(roles)
	if n > 1 {
		commitAll(people[0], nil, CommitOptions{}, people[1:]...)
	}
	return people
}

// agree checks that all are in one epoch and can talk to each other.
func agree(tb testing.TB, people ...*person) {
	tb.Helper()
	first := people[0].group
	for _, p := range people[1:] {
		if p.group.CID() != first.CID() || p.group.Epoch() != first.Epoch() ||
			string(p.group.EpochAuthenticator()) != string(first.EpochAuthenticator()) {
			tb.Fatalf("%s is in another epoch than %s", p.name, people[0].name)
		}
	}
	for _, from := range people {
		text := "from " + from.name
		msg, header, err := from.group.Protect(from.rows, []byte(text))
		if err != nil {
			tb.Fatal(err)
		}
		for _, to := range people {
			if to == from {
				continue
			}
			app, err := to.group.Unprotect(to.rows, msg)
			if err != nil {
				tb.Fatalf("%s cannot read %s: %v", to.name, from.name, err)
			}
			if string(app.Plaintext) != text || app.Sender.Leaf != from.group.Self() || app.Header != header {
				tb.Fatalf("%s reads %q of leaf %d", to.name, app.Plaintext, app.Sender.Leaf)
			}
		}
	}
}
