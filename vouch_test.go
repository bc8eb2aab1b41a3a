package parley

import (
	"bytes"
	"errors"
	"testing"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
)

// docs/spec.md, "In groups": who is brought into a group learns the logs of its
// members with the Welcome, and needs nobody's record to write to them.
func TestWelcomeVouchesForMembers(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	invited, err := alice.invite(t.Context(), []string{"bob.eth", "carol.eth"})
	if err != nil {
		t.Fatal(err)
	}
	w.meet(alice, bob)
	w.meet(alice, carol)
	for _, p := range []*person{alice, bob, carol} {
		p.offline() // nobody can be asked for a record
	}
	g, err := alice.CreateGroup(t.Context(), "ops", nil, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := alice.groupID(t.Context(), g.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.step(t.Context(), func(s *step) error {
		return s.commit(alice.groups[string(id)], groups.CommitOptions{Add: invited})
	}); err != nil {
		t.Fatal(err)
	}
	for _, e := range alice.encryptAll() {
		bob.takes(e)
		carol.takes(e)
	}
	for _, p := range []*person{bob, carol} {
		g, err := p.Group(t.Context(), "ops")
		if err != nil || len(g.Members) != 3 {
			t.Fatalf("%s: %+v, %v", p.name, g, err)
		}
		for _, m := range g.Members {
			if !m.Verified {
				t.Errorf("%s does not know %s", p.name, m.Address)
			}
		}
	}
}

// Members who were in a group before learn the logs of new ones in the group:
// that nobody has a new member's record silences none.
func TestGroupGoesOnWithoutRecords(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth", "carol.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	if err := alice.add("ops", []made{w.make()}, 0); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{alice, bob, carol} {
		p.until("the new member", changed("added"))
		p.sayAll("ops", "hello from "+p.name)
	}
	bob.until("carol", func(es []Event) bool { return len(texts(es)) == 2 })
	carol.until("bob", func(es []Event) bool { return len(texts(es)) == 2 })
}

// A log that is not a member's, not in order, or not signed changes nothing.
func TestLogsOfMembersAreVerified(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	alice.offline()
	if _, err := alice.CreateGroup(t.Context(), "ops", nil, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	member, stranger := w.make(), w.make()
	log := func(m made) memberLog { return memberLog{m.log.Account(), m.log.Marshal()} }
	encode := func(all ...memberLog) []byte {
		b, rest := appendMemberLogs(nil, all, MaxContent)
		if len(rest) > 0 {
			t.Fatal("they do not fit")
		}
		return b
	}
	members := []groups.Member{{Credential: member.keyPackage.Leaf.Credential, SignatureKey: member.keyPackage.Leaf.SignatureKey}}
	known := func(a identity.Account) bool {
		return alice.count(`SELECT COUNT(*) FROM accounts WHERE acct = ?`, a.Bytes()) == 1
	}
	learn := func(b []byte) { alice.after(0, func(s *step) error { return s.learnLogs(members, b) }) }
	forged := log(member)
	forged.log = bytes.Clone(forged.log)
	forged.log[len(forged.log)-5] ^= 1
	for name, b := range map[string][]byte{
		"signature":   encode(forged),
		"twice":       encode(log(member), log(member)),
		"cut":         encode(log(member))[:20],
		"a stranger":  encode(log(stranger)),
		"not in form": []byte("logs"),
	} {
		learn(b)
		if known(member.log.Account()) || known(stranger.log.Account()) {
			t.Fatalf("%s: a log is taken", name)
		}
	}
	learn(encode(log(member)))
	if !known(member.log.Account()) {
		t.Error("the member's log is not taken")
	}
}

func FuzzParseMemberLogs(f *testing.F) {
	account := identity.KeyAccount(identity.Address{1})
	log := append([]byte{1}, account.Bytes()...)
	seed, _ := appendMemberLogs(nil, []memberLog{{account, log}}, MaxContent)
	if all, err := parseMemberLogs(seed); err != nil || len(all) != 1 || all[0].account != account {
		f.Fatalf("%v, %v", all, err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseMemberLogs(b)
		if err != nil {
			if !errors.Is(err, ErrContent) {
				t.Fatal(err)
			}
			return
		}
		if again, rest := appendMemberLogs(nil, all, len(b)); len(rest) > 0 || !bytes.Equal(again, b) {
			t.Fatalf("%x parses and encodes as %x", b, again)
		}
	})
}
