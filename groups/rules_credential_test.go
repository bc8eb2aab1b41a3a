package groups

import (
	"errors"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

// refusing is a verifier that refuses one credential, and notes who it was asked
// about.
type refusing struct {
	body  string
	asked []string
}

var errRevoked = errors.New("revoked")

func (r *refusing) VerifyCredential(c Credential, key []byte) error {
	r.asked = append(r.asked, string(c.Body))
	if string(c.Body) == r.body {
		return errRevoked
	}
	return nil
}

// RFC 9420, Section 5.3.1: whenever a new credential comes into a group, the
// application judges it. Who commits it is refused, who receives it is told.
func TestCredentialRules(t *testing.T) {
	people := plainOf(t, fast, 3)
	alice, bob, carol := people[0], people[1], people[2]
	dave := newPlainPerson(t, fast, 3)
	bot := func(name string) ExternalSender {
		return ExternalSender{SignatureKey: dave.signer.Public(), Credential: treekem.Basic([]byte(name))}
	}
	told := func(t *testing.T, u []Untrusted, who string, member bool) {
		t.Helper()
		if len(u) != 1 || !errors.Is(u[0].Err, ErrCredential) || !errors.Is(u[0].Err, errRevoked) || string(u[0].Member.Credential.Body) != who {
			t.Fatalf("%+v", u)
		}
		if _, ok := bob.group.Member(u[0].Member.Leaf); ok && !member {
			t.Fatal("an external sender is taken for a member")
		}
	}
	receive := func(t *testing.T, st *Staged, v CredentialVerifier) []Untrusted {
		t.Helper()
		r, err := bob.group.Process(snapshot(bob.rows), st.Commit, ProcessOptions{Verifier: v, Now: testNow})
		if err != nil {
			t.Fatal(err)
		}
		return r.Commit.Changes.Untrusted
	}
	t.Run("an add", func(t *testing.T) {
		v := &refusing{body: string(dave.cred.Body)}
		o := CommitOptions{Add: []*KeyPackage{dave.kp}, Now: testNow, Verifier: v}
		if _, err := alice.group.Prepare(alice.rows, o); !errors.Is(err, ErrCredential) {
			t.Fatal(err)
		}
		o.Verifier = &refusing{}
		told(t, receive(t, alice.prepare(o), v), v.body, true)
	})
	t.Run("an update", func(t *testing.T) {
		cred := treekem.Basic([]byte("carol, renewed"))
		rows := snapshot(carol.rows)
		msg, err := carol.group.ProposeUpdate(carol.rows, UpdateOptions{Credential: &cred})
		if err != nil {
			t.Fatal(err)
		}
		v := &refusing{body: string(cred.Body)}
		aliceRows, bobRows := snapshot(alice.rows), snapshot(bob.rows)
		alice.process(msg)
		bob.process(msg)
		st := alice.prepare(CommitOptions{Verifier: v})
		if len(st.Changes.Updated) != 0 || len(st.Changes.Dropped) != 1 || !errors.Is(st.Changes.Dropped[0], ErrCredential) {
			t.Fatalf("%+v", st.Changes)
		}
		told(t, receive(t, alice.prepare(CommitOptions{}), v), v.body, true)
		alice.rows, bob.rows, carol.rows = aliceRows, bobRows, rows
	})
	t.Run("a committer's new one", func(t *testing.T) {
		cred := treekem.Basic([]byte("alice, renewed"))
		v := &refusing{body: string(cred.Body)}
		told(t, receive(t, alice.prepare(CommitOptions{Credential: &cred}), v), v.body, true)
	})
	t.Run("an external sender", func(t *testing.T) {
		e := Extensions{ExternalSendersExtension([]ExternalSender{bot("bot"), bot("other")})}
		v := &refusing{body: "bot"}
		if _, err := alice.group.Prepare(alice.rows, CommitOptions{Extensions: e, Now: testNow, Verifier: v}); !errors.Is(err, ErrCredential) {
			t.Fatal(err)
		}
		st := alice.prepare(CommitOptions{Extensions: e, Add: []*KeyPackage{dave.kp}})
		told(t, receive(t, st, v), "bot", false)
		j, err := Join(MemoryRows{}, st.Welcome, JoinOptions{KeyPackage: dave.kp, Private: dave.private, Signer: dave.signer, Plain: true, Verifier: v})
		if err != nil {
			t.Fatal(err)
		}
		told(t, j.Untrusted, "bot", false)
	})
	t.Run("a changed external sender", func(t *testing.T) {
		old := Extensions{ExternalSendersExtension([]ExternalSender{bot("bot")})}
		other := bot("bot")
		other.SignatureKey = carol.signer.Public()
		v := &refusing{body: "bot"}
		if u := distrustSenders(old, old, v); len(u) != 0 || len(v.asked) != 0 {
			t.Fatalf("asked again: %v", u)
		}
		told(t, distrustSenders(old, Extensions{ExternalSendersExtension([]ExternalSender{other})}, v), "bot", false)
	})
	t.Run("who comes in by itself", func(t *testing.T) {
		v := &refusing{body: string(dave.cred.Body)}
		i := alice.info(GroupInfoOptions{External: true}, nil)
		st, err := i.Join(ExternalJoinOptions{Credential: dave.cred, Signer: dave.signer, Capabilities: customCaps, Verifier: &refusing{body: string(bob.cred.Body)}})
		if err != nil {
			t.Fatal(err)
		}
		told(t, st.Changes.Untrusted, string(bob.cred.Body), true)
		told(t, receive(t, st, v), v.body, true)
	})
}

// A new signature key or credential needs a path to be known by (RFC 9420,
// Section 12.4.1), so that there is one, whatever else was asked for.
func TestRenewalHasAPath(t *testing.T) {
	people := plainOf(t, fast, 2)
	alice, bob := people[0], people[1]
	signer, err := alice.group.suite.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	carol, cred := newPlainPerson(t, fast, 2), treekem.Basic([]byte("renewed"))
	st := commitAll(alice, []*person{bob}, CommitOptions{NoPath: true, Signer: signer, Credential: &cred}, carol)
	if m, _ := carol.group.Member(0); !m.Credential.Equal(cred) || !slices.Equal(m.SignatureKey, signer.Public()) {
		t.Fatalf("%+v", m)
	}
	if st.Changes.Committer.Credential.Equal(cred) {
		t.Fatal("the committer is shown as it was before")
	}
	agree(t, alice, bob, carol)
}

// RFC 9420, Section 7.2: default types must not be listed, whatever the caller
// says that it supports. Others' lists that have them are taken all the same.
func TestDefaultTypesAreNotListed(t *testing.T) {
	p := newPlainPerson(t, fast, 0)
	s, err := suite.ByID(fast)
	if err != nil {
		t.Fatal(err)
	}
	kp, _, err := NewKeyPackage(KeyPackageOptions{
		Suite: fast, Credential: p.cred, Signer: p.signer, NotBefore: testNow, NotAfter: testNow.Add(MaxLifetime),
		Capabilities: Capabilities{
			Extensions: []treekem.ExtensionType{1, 2, 3, 4, 5, 6}, Proposals: []ProposalType{1, 2, 3, 4, 5, 6, 7, 8},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &kp.Leaf.Capabilities
	for _, x := range c.Extensions {
		if x < 6 {
			t.Errorf("extension %d is listed", x)
		}
	}
	for _, x := range c.Proposals {
		if x < 8 {
			t.Errorf("proposal %d is listed", x)
		}
	}
	if !slices.Contains(c.Extensions, 6) || !slices.Contains(c.Proposals, 8) {
		t.Error("others are lost")
	}
	kp.Leaf.Capabilities.Extensions = append(c.Extensions, 1)
	if err := kp.Leaf.Sign(s, p.signer, nil, 0); err != nil {
		t.Fatal(err)
	}
	resign(t, kp, p.signer)
	if err := kp.Validate(testNow); err != nil {
		t.Error(err)
	}
}

// The number of pre-shared keys is limited.
func TestTooManyPSKs(t *testing.T) {
	alice := plainOf(t, fast, 1)[0]
	o := CommitOptions{Now: testNow, PSK: func(PreSharedKeyID) (secret.Key, bool) { return secret.Random(32), true }}
	for range MaxPSKs {
		o.PSKs = append(o.PSKs, PreSharedKeyID{Type: PSKExternal, ID: []byte("x")})
	}
	if _, err := alice.group.Prepare(alice.rows, o); err != nil {
		t.Fatal(err)
	}
	o.PSKs = append(o.PSKs, PreSharedKeyID{Type: PSKExternal, ID: []byte("x")})
	if _, err := alice.group.Prepare(alice.rows, o); !errors.Is(err, ErrProposal) {
		t.Fatal(err)
	}
}
