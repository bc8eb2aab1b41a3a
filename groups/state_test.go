package groups

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

// restart has a person come back with what was stored.
func (p *person) restart() {
	p.tb.Helper()
	stored := p.group.Marshal()
	g, err := Unmarshal(stored, p.signer)
	if err != nil {
		p.tb.Fatal(err)
	}
	stored.Erase() // what was decoded must not refer to it
	p.group = g
	for i := range p.past {
		stored = p.past[i].Marshal()
		if p.past[i], err = UnmarshalPast(stored); err != nil {
			p.tb.Fatal(err)
		}
		stored.Erase()
	}
}

func TestRestartAnywhere(t *testing.T) {
	people := groupOf(t, 4, nil)
	again := func() {
		for _, p := range people {
			p.restart()
		}
	}
	again()
	agree(t, people...)
	update, err := people[2].group.ProposeUpdate(people[2].rows, UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again()
	for _, p := range []*person{people[0], people[1], people[3]} {
		p.process(update)
	}
	again()
	commitAll(people[0], people[1:], CommitOptions{})
	again()
	agree(t, people...)
	commitAll(people[0], people[1:], CommitOptions{Remove: []LeafIndex{people[3].group.Self()}})
	people = people[:3]
	again()
	agree(t, people...)
	if n := len(people[1].past); n != 2 {
		t.Fatalf("%d past epochs", n)
	}
}

func TestStateRefused(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob := people[0], people[1]
	alice.merge(alice.prepare(CommitOptions{}))
	group, past := alice.group.Marshal(), alice.past[0].Marshal()
	for i := range group.Len() {
		if _, err := Unmarshal(secret.Copy(group.Bytes()[:i]), alice.signer); !errors.Is(err, ErrState) {
			t.Fatalf("%d of %d bytes: %v", i, group.Len(), err)
		}
	}
	for i := range past.Len() {
		if _, err := UnmarshalPast(secret.Copy(past.Bytes()[:i])); !errors.Is(err, ErrState) {
			t.Fatalf("%d of %d bytes: %v", i, past.Len(), err)
		}
	}
	if _, err := Unmarshal(group, bob.signer); !errors.Is(err, ErrState) {
		t.Fatal("another's key is accepted:", err)
	}
	g, err := Unmarshal(group, alice.signer)
	if err != nil || !g.Marshal().Equal(group) {
		t.Fatal("does not round-trip", err)
	}
	p, err := UnmarshalPast(past)
	if err != nil || !p.Marshal().Equal(past) {
		t.Fatal("does not round-trip", err)
	}
	kept, err := ParseKeyPackagePrivate(0, bob.private.Marshal())
	if err != nil || !bytes.Equal(kept.Init.Public(), bob.kp.InitKey) || !bytes.Equal(kept.Encryption.Public(), bob.kp.Leaf.EncryptionKey) {
		t.Fatal(err)
	}
	for i := range bob.private.Marshal().Len() {
		if _, err := ParseKeyPackagePrivate(0, secret.Copy(bob.private.Marshal().Bytes()[:i])); !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
	}
}

// A ratchet's row that was damaged is refused, and asks for no work.
func TestDamagedRatchet(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	bob.process(alice.say("first"))
	msg := alice.say("second")
	key := rowKey(rowRatchet, uint32(ratchetApplication), 0)
	good := bob.rows[bob.group.cid][key]
	for name, change := range map[string]func(row []byte) []byte{
		"short":               func(row []byte) []byte { return row[:len(row)-1] },
		"long":                func(row []byte) []byte { return append(row, 0) },
		"next far ahead":      func(row []byte) []byte { row[1] = 1; return row },
		"next above 2^32":     func(row []byte) []byte { row[3], row[11] = 2, 2; return row },
		"oldest above next":   func(row []byte) []byte { row[15] = 9; return row },
		"too much to be kept": func(row []byte) []byte { row[6], row[15] = 9, 0; return row },
	} {
		bob.rows[bob.group.cid][key] = change(bytes.Clone(good))
		rows := snapshot(bob.rows)
		if _, err := bob.group.Unprotect(bob.rows, msg); !errors.Is(err, ErrState) || !same(rows, bob.rows) {
			t.Errorf("%s: got %v, want %v", name, err, ErrState)
		}
	}
	bob.rows[bob.group.cid][key] = good
	bob.process(msg)
}

func TestPastEpoch(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	first, second, late := bob.say("one"), bob.say("two"), carol.say("late")
	own := alice.say("mine")
	envelope, err := bob.group.Seal(ClassApplication, 1, second, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := alice.process(first).Application
	commitAll(alice, people[1:], CommitOptions{Remove: []LeafIndex{carol.group.Self()}})
	alice.restart()
	past := alice.past[len(alice.past)-1]

	opened, err := past.Open(envelope.Tag, envelope.Body)
	if err != nil || past.Tag(ClassApplication, bob.group.Self(), 1) != envelope.Tag {
		t.Fatal(err)
	}
	app, err := past.Unprotect(alice.rows, opened)
	if err != nil || string(app.Plaintext) != "two" || app.Header.N != 1 || app.Header.Prev != before.Hash {
		t.Fatal(err, app)
	}
	if app, err = past.Unprotect(alice.rows, late); err != nil || string(app.Plaintext) != "late" || !app.Sender.Credential.Equal(carol.cred) {
		t.Fatal("a removed member's last words are lost:", err)
	}
	for msg, want := range map[string]error{
		string(first): ErrReplay, string(second): ErrReplay, string(late): ErrReplay, string(own): ErrOwnMessage,
		string(bob.say("new")): &EpochError{Have: 1, Got: 2},
	} {
		before := snapshot(alice.rows)
		if _, err := past.Unprotect(alice.rows, []byte(msg)); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if !same(before, alice.rows) {
			t.Error("rows changed")
		}
	}
	// Nothing is left to send with.
	for _, key := range []RowKey{
		rowKey(rowSender), rowKey(rowHandshakes), rowKey(rowPending),
		rowKey(rowRatchet, uint32(ratchetApplication), 0), rowKey(rowRatchet, uint32(ratchetHandshake), 0),
	} {
		if alice.rows[past.CID()][key] != nil {
			t.Errorf("row %x is still there", key)
		}
	}
}

func TestRemovedCannotRead(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	st := commitAll(alice, []*person{bob}, CommitOptions{Remove: []LeafIndex{carol.group.Self()}})
	r := carol.process(st.Commit)
	if !r.Commit.Changes.SelfRemoved || r.Commit.Next() != nil {
		t.Fatal("not told of its removal")
	}
	if _, _, err := r.Commit.Merge(carol.rows); !errors.Is(err, ErrRemoved) {
		t.Fatal(err)
	}
	msg := alice.say("without carol")
	carol.refuses(msg, &EpochError{Have: 1, Got: 2})
	sealed, err := alice.group.Seal(ClassApplication, 0, msg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := carol.group.Open(sealed.Tag, sealed.Body); !errors.Is(err, ErrDecrypt) {
		t.Fatal(err)
	}
	past, err := carol.group.Retire(carol.rows)
	if err != nil || past.CID() != carol.group.CID() {
		t.Fatal(err)
	}
	bob.process(msg)
}

func TestEnvelope(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	msg := alice.say("hello")
	for _, size := range []func(int) int{nil, func(int) int { return 1024 }} {
		sealed, err := alice.group.Seal(ClassApplication, 0, msg, size)
		if err != nil {
			t.Fatal(err)
		}
		want := EnvelopeOverhead + len(msg)
		if size != nil {
			want = 1024
		}
		if len(sealed.Body) != want {
			t.Fatalf("body of %d bytes, want %d", len(sealed.Body), want)
		}
		if bytes.Contains(sealed.Body, alice.group.GroupID()) {
			t.Fatal("group id is visible")
		}
		if sealed.Tag != bob.group.Tag(ClassApplication, 0, 0) || sealed.Tag == bob.group.Tag(ClassHandshake, 0, 0) ||
			sealed.Tag == bob.group.Tag(ClassApplication, 1, 0) || sealed.Tag == bob.group.Tag(ClassApplication, 0, 1) {
			t.Fatal("tags")
		}
		for i := range len(sealed.Body) {
			flipped := bytes.Clone(sealed.Body)
			flipped[i] ^= 1 << (i % 8)
			if _, err := bob.group.Open(sealed.Tag, flipped); !errors.Is(err, ErrDecrypt) {
				t.Fatal(err)
			}
			if _, err := bob.group.Open(sealed.Tag, sealed.Body[:i]); !errors.Is(err, ErrDecrypt) {
				t.Fatal(err)
			}
		}
		other := sealed.Tag
		other[3] ^= 1
		if _, err := bob.group.Open(other, sealed.Body); !errors.Is(err, ErrDecrypt) {
			t.Fatal(err)
		}
		opened, err := bob.group.Open(sealed.Tag, sealed.Body)
		if err != nil || !bytes.Equal(opened, msg) {
			t.Fatal(err)
		}
	}
	if _, err := alice.group.Seal(ClassApplication, 0, msg, func(n int) int { return n - 1 }); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	for want := range uint64(3) {
		if n, err := alice.group.NextHandshake(alice.rows); err != nil || n != want {
			t.Fatal(n, err)
		}
	}
}

func TestHashChain(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	var prev [32]byte
	for i := range uint64(5) {
		alice.restart()
		msg := alice.say("x")
		app, err := bob.group.Unprotect(bob.rows, msg)
		if err != nil || app.Header != (AppHeader{N: i, Prev: prev}) {
			t.Fatal(err, app)
		}
		prev = app.Hash
	}
	if n, last, err := alice.group.Sent(alice.rows); err != nil || n != 5 || last != prev {
		t.Fatal(n, err)
	}
}

func TestRoles(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	if !alice.group.MayCommit(0) || alice.group.MayCommit(1) || alice.group.MayCommit(77) || !alice.group.Members()[0].Admin || alice.group.Members()[1].Admin {
		t.Fatal("the creator alone is admin")
	}
	// Bob becomes an admin; now he may demote Alice, who then may not commit.
	roles := alice.group.Roles()
	roles.Admins = append(roles.Admins, Subject(bob.cred))
	st := commitAll(alice, people[1:], CommitOptions{Roles: &roles})
	if st.Changes.Roles == nil || !st.Changes.Roles.IsAdmin(Subject(bob.cred)) {
		t.Fatal(st.Changes.Roles)
	}
	only := Roles{Admins: [][]byte{Subject(bob.cred)}, Add: Members, Commit: Members}
	commitAll(bob, []*person{alice, carol}, CommitOptions{Roles: &only})
	if m, _ := carol.group.FindMember(alice.cred); m.Admin {
		t.Fatal("alice is still an admin")
	}
	// Now anyone adds and commits, but removing is for admins.
	dave := newPerson(t, 9)
	if _, err := carol.group.Prepare(carol.rows, CommitOptions{Remove: []LeafIndex{0}, Now: testNow}); !errors.Is(err, ErrNotAdmin) {
		t.Fatal(err)
	}
	commitAll(carol, []*person{alice, bob}, CommitOptions{}, dave)
	agree(t, alice, bob, carol, dave)
	// Promote and configure are different rights.
	promoters := Roles{Admins: only.Admins, Promote: Members, Commit: Members}
	commitAll(bob, []*person{alice, carol, dave}, CommitOptions{Roles: &promoters})
	more := dave.group.Roles()
	more.Admins = append(more.Admins, Subject(dave.cred))
	other := more
	other.Add = Members
	if _, err := dave.group.Prepare(dave.rows, CommitOptions{Roles: &other, Now: testNow}); !errors.Is(err, ErrNotAdmin) {
		t.Fatal(err)
	}
	commitAll(dave, []*person{alice, bob, carol}, CommitOptions{Roles: &more})
	agree(t, alice, bob, carol, dave)
}

func TestRolesCodec(t *testing.T) {
	encoded := Roles{Admins: [][]byte{{2}, {1}, {2}}, Add: Members}.Marshal()
	r, err := ParseRoles(encoded)
	if err != nil || len(r.Admins) != 2 || r.Add != Members || r.Remove != Admins || !bytes.Equal(r.Marshal(), encoded) {
		t.Fatal(r, err)
	}
	for i := range encoded {
		if _, err := ParseRoles(encoded[:i]); !errors.Is(err, ErrRoles) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	for i, v := range map[int]byte{1: 2, 2: 0, 3: 3, len(encoded) - 1: 1} {
		bad := bytes.Clone(encoded)
		bad[i] = v
		if _, err := ParseRoles(bad); !errors.Is(err, ErrRoles) {
			t.Fatalf("byte %d = %d: %v", i, v, err)
		}
	}
}

func TestNewSignatureKey(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	s, err := suite.ByID(suite.Secp256k1ChaCha20Poly1305)
	if err != nil {
		t.Fatal(err)
	}
	renew := func(p *person) (suite.SigningKey, Credential) {
		k, err := s.GenerateSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		acct, _, err := ParseEthereum(p.cred)
		if err != nil {
			t.Fatal(err)
		}
		return k, EthereumCredential(acct, [32]byte{0xff, byte(p.group.Self())})
	}
	// The committer by its path, another by a proposal.
	key, cred := renew(bob)
	update, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{Credential: &cred, Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	alice.process(update)
	carol.process(update)
	own, ownCred := renew(alice)
	st := alice.prepare(CommitOptions{Signer: own, Credential: &ownCred})
	r, err := carol.group.Process(carol.rows, st.Commit, ProcessOptions{Verifier: verdict{errors.New("unknown")}})
	if err != nil || len(r.Commit.Changes.Untrusted) != 2 {
		t.Fatal("both new leaves are to be asked about:", err)
	}
	carol.merge(r.Commit)
	bob.merge(bob.process(st.Commit).Commit)
	alice.merge(st)
	alice.signer, bob.signer = own, key
	for _, p := range people {
		p.restart()
	}
	agree(t, people...)
}

func TestPreSharedKey(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	source := func(k string) PSKSource {
		return func(id PreSharedKeyID) (secret.Key, bool) { return secret.Copy([]byte(k)), string(id.ID) == "shared" }
	}
	st := alice.prepare(CommitOptions{
		PSKs: []PreSharedKeyID{{Type: PSKExternal, ID: []byte("shared")}, {
			Type: PSKResumption, Usage: ResumptionApplication, GroupID: alice.group.GroupID(), Epoch: 1,
		}},
		PSK: source("right"),
	})
	for k, want := range map[string]error{"wrong": ErrConfirmationTag, "": ErrUnknownPSK} {
		o := ProcessOptions{PSK: source(k)}
		if k == "" {
			o.PSK = nil
		}
		if _, err := bob.group.Process(bob.rows, st.Commit, o); !errors.Is(err, want) {
			t.Fatal(err)
		}
	}
	r, err := bob.group.Process(bob.rows, st.Commit, ProcessOptions{PSK: source("right")})
	if err != nil {
		t.Fatal(err)
	}
	bob.merge(r.Commit)
	alice.merge(st)
	agree(t, alice, bob)
}

// counting counts what is written.
type counting struct {
	MemoryRows
	bytes, calls int
	fail         error
}

func (c *counting) Put(e CID, k RowKey, v []byte) error {
	if c.fail != nil {
		return c.fail
	}
	c.bytes += len(k) + len(v)
	c.calls++
	return c.MemoryRows.Put(e, k, v)
}

func (c *counting) Delete(e CID, k RowKey) error {
	c.calls++
	return c.MemoryRows.Delete(e, k)
}

// One message rewrites a few short rows, however many members and messages
// there are.
func TestMessageWritesAreConstant(t *testing.T) {
	cost := map[int][]int{}
	for _, n := range []int{2, 40} {
		people := groupOf(t, n, nil)
		alice, bob := people[0], people[1]
		send, receive := &counting{MemoryRows: alice.rows}, &counting{MemoryRows: bob.rows}
		for range 50 {
			*send, *receive = counting{MemoryRows: alice.rows}, counting{MemoryRows: bob.rows}
			msg, _, err := alice.group.Protect(send, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bob.group.Unprotect(receive, msg); err != nil {
				t.Fatal(err)
			}
		}
		cost[n] = []int{send.bytes, send.calls, receive.bytes, receive.calls}
	}
	// A ratchet, and the sender's header, each with its key.
	const ratchet, header = 9 + 48, 1 + appHeaderSize
	if want := []int{ratchet + header, 2, ratchet, 1}; !slices.Equal(cost[2], want) || !slices.Equal(cost[40], want) {
		t.Fatalf("bytes and rows written to send and to receive: %v, not %v", cost, want)
	}
}

func TestFailingStore(t *testing.T) {
	people := groupOf(t, 2, nil)
	alice, bob := people[0], people[1]
	full := errors.New("disk full")
	failing := &counting{MemoryRows: snapshot(alice.rows), fail: full} // what a rollback leaves is the original
	if _, _, err := alice.group.Protect(failing, nil); !errors.Is(err, full) {
		t.Fatal(err)
	}
	msg := alice.say("x")
	failing = &counting{MemoryRows: snapshot(bob.rows), fail: full}
	if _, err := bob.group.Unprotect(failing, msg); !errors.Is(err, full) {
		t.Fatal(err)
	}
	bob.process(msg)
	st := alice.prepare(CommitOptions{})
	if _, _, err := st.Merge(&counting{MemoryRows: snapshot(alice.rows), fail: full}); !errors.Is(err, full) {
		t.Fatal(err)
	}
	bob.merge(bob.process(st.Commit).Commit)
	alice.merge(st) // a second try
	agree(t, alice, bob)
}

func TestPendingAreBounded(t *testing.T) {
	people := groupOf(t, 2, nil)
	bob := people[1]
	for range MaxPendingPerSender {
		if _, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{}); !errors.Is(err, ErrProposal) {
		t.Fatal(err)
	}
	if p, err := bob.group.Pending(bob.rows); err != nil || len(p) != MaxPendingPerSender {
		t.Fatal(err)
	}
}

// Members can have seen a sender's proposals in different orders, and not all of
// them. Whatever others commit of them can still come in.
func TestPendingMakeRoom(t *testing.T) {
	people := groupOf(t, 3, nil)
	alice, bob, carol := people[0], people[1], people[2]
	elsewhere := snapshot(bob.rows) // bob sends carol what alice never sees
	var first []byte
	for range MaxPendingPerSender {
		msg, err := bob.group.ProposeUpdate(elsewhere, UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = msg
		}
		carol.process(msg)
	}
	leaving, err := carol.group.ProposeRemove(carol.rows, carol.group.Self())
	if err != nil {
		t.Fatal(err)
	}
	needed, err := bob.group.ProposeUpdate(bob.rows, UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	alice.process(needed)
	st := alice.prepare(CommitOptions{})
	carol.refuses(st.Commit, ErrUnknownProposal)
	carol.process(needed)
	if p, err := carol.group.Pending(carol.rows); err != nil || len(p) != MaxPendingPerSender+1 {
		t.Fatalf("%d wait, %v", len(p), err)
	}
	carol.process(first) // it gave way, and nobody remembers it
	carol.refuses(needed, ErrDuplicate)
	bob.process(leaving)
	for _, p := range people[1:] {
		p.merge(p.process(st.Commit).Commit)
	}
	alice.merge(st)
	agree(t, people...)
}
