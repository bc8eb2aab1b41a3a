package groups

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// messageKeyID names the key and nonce of one generation.
type messageKeyID struct {
	typ              ratchetType
	leaf, generation uint32
}

// hygieneGenerations is how many generations of each ratchet are followed.
const hygieneGenerations = 12

// treeOracle derives whatever follows from secrets of a secret tree, by the
// formulas of RFC 9420, Section 9, alone.
type treeOracle struct {
	s     *suite.Suite
	width uint32
	keys  map[messageKeyID]string // key || nonce
	above []string                // node and ratchet secrets on the way
}

func newTreeOracle(s *suite.Suite, width uint32) *treeOracle {
	return &treeOracle{s: s, width: width, keys: map[messageKeyID]string{}}
}

// node derives all below a node of the tree.
func (o *treeOracle) node(x uint32, k secret.Key) {
	o.above = append(o.above, string(k.Bytes()))
	if level(x) == 0 {
		o.ratchet(ratchetHandshake, x/2, 0, o.s.ExpandWithLabel(k, "handshake", nil, o.s.HashSize()))
		o.ratchet(ratchetApplication, x/2, 0, o.s.ExpandWithLabel(k, "application", nil, o.s.HashSize()))
		return
	}
	half := uint32(1) << (level(x) - 1)
	o.node(x-half, o.s.ExpandWithLabel(k, "tree", []byte("left"), o.s.HashSize()))
	o.node(x+half, o.s.ExpandWithLabel(k, "tree", []byte("right"), o.s.HashSize()))
}

// ratchet derives all from a generation on.
func (o *treeOracle) ratchet(typ ratchetType, leaf, generation uint32, k secret.Key) {
	for ; generation < hygieneGenerations; generation++ {
		o.above = append(o.above, string(k.Bytes()))
		key := o.s.DeriveTreeSecret(k, "key", generation, o.s.AEAD().KeySize())
		nonce := o.s.DeriveTreeSecret(k, "nonce", generation, suite.NonceSize)
		o.keys[messageKeyID{typ, leaf, generation}] = string(key.Bytes()) + string(nonce.Bytes())
		k = o.s.DeriveTreeSecret(k, "secret", generation, o.s.HashSize())
	}
}

// rows derives all that follows from what is stored of an epoch.
func (o *treeOracle) rows(t *testing.T, rows map[RowKey][]byte) {
	t.Helper()
	for k, row := range rows {
		r := wire.NewReader([]byte(k[1:]))
		switch k[0] {
		case rowNode:
			o.node(r.Uint32(), secret.Copy(row))
		case rowRatchet:
			typ, leaf := ratchetType(r.Uint32()), r.Uint32()
			next := wire.NewReader(row)
			generation := next.Uint64()
			next.Uint64()
			o.ratchet(typ, leaf, uint32(generation), secret.Copy(next.Rest()))
		case rowSkipped:
			id := messageKeyID{ratchetType(r.Uint32()), r.Uint32(), r.Uint32()}
			if len(row) != o.s.AEAD().KeySize()+suite.NonceSize {
				t.Fatalf("%d bytes are kept of a skipped generation", len(row))
			}
			o.keys[id] = string(row)
		}
	}
}

// kept is a member with the record of what it should have and not have.
type kept struct {
	*person
	all  map[CID]*treeOracle           // everything of an epoch, from its root
	used map[CID]map[messageKeyID]bool // what of it was used up
	// gone are secrets that must be nowhere, and read what used keys opened.
	gone map[string]string // by secret, what it was
	read []sealedMessage
}

type sealedMessage struct {
	cid CID
	msg []byte
}

// begin records an epoch in which nothing has happened.
func (k *kept) begin(t *testing.T) {
	t.Helper()
	g := k.group
	root := k.rows[g.cid][rowKey(rowNode, g.width-1)]
	if root == nil {
		t.Fatalf("%s: an epoch begins without the root of its secret tree", k.name)
	}
	o := newTreeOracle(g.suite, g.width)
	o.node(g.width-1, secret.Copy(root))
	k.all[g.cid], k.used[g.cid] = o, map[messageKeyID]bool{}
}

func (k *kept) use(cid CID, id messageKeyID) { k.used[cid][id] = true }

// state returns all that is stored.
func (k *kept) state() []byte {
	b := bytes.Clone(k.group.Marshal().Bytes())
	for _, p := range k.past {
		b = append(b, p.Marshal().Bytes()...)
	}
	for _, rows := range k.rows {
		for key, row := range rows {
			b = append(append(b, key...), row...)
		}
	}
	return b
}

// check looks at everything that is stored: every message key that was not used
// follows from it, none that was used does, and no secret that is gone is in it,
// nor opens it what was read before.
func (k *kept) check(t *testing.T, after string) {
	t.Helper()
	state := k.state()
	for cid, rows := range k.rows {
		all, have := k.all[cid], newTreeOracle(k.group.suite, k.all[cid].width)
		have.rows(t, rows)
		for id, want := range all.keys {
			got, ok := have.keys[id]
			switch {
			case k.used[cid][id] && ok:
				t.Fatalf("%s, %s: used key %+v follows from what is stored", k.name, after, id)
			case !k.used[cid][id] && got != want:
				t.Fatalf("%s, %s: unused key %+v is lost", k.name, after, id)
			case k.used[cid][id]:
				n := len(want) - suite.NonceSize
				if bytes.Contains(state, []byte(want[:n])) || bytes.Contains(state, []byte(want[n:])) {
					t.Fatalf("%s, %s: used key or nonce %+v is stored", k.name, after, id)
				}
			}
		}
		// Of the secrets on the way only those are there from which no used key
		// follows.
		for _, s := range all.above {
			if bytes.Contains(state, []byte(s)) && !slices.Contains(have.above, s) {
				t.Fatalf("%s, %s: a secret of the tree is stored where nobody looks for it", k.name, after)
			}
		}
	}
	for s, what := range k.gone {
		if bytes.Contains(state, []byte(s)) {
			t.Fatalf("%s, %s: %s is stored", k.name, after, what)
		}
	}
	k.reread(t, after)
}

// reread opens everything again from what is stored, and must fail.
func (k *kept) reread(t *testing.T, after string) {
	t.Helper()
	rows := snapshot(k.rows)
	g, err := Unmarshal(k.group.Marshal(), k.signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range k.read {
		if _, err := g.Process(rows, m.msg, ProcessOptions{}); err == nil {
			t.Fatalf("%s, %s: what is stored opens a message again", k.name, after)
		}
		for _, p := range k.past {
			again, err := UnmarshalPast(p.Marshal())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := again.Unprotect(rows, m.msg); err == nil {
				t.Fatalf("%s, %s: a past epoch opens a message again", k.name, after)
			}
		}
	}
	if !same(rows, k.rows) {
		t.Fatalf("%s, %s: failing to read changed rows", k.name, after)
	}
}

// lose records that a secret must not be stored any more. present says that it
// is there now.
func (k *kept) lose(t *testing.T, what string, s secret.Key, present bool) {
	t.Helper()
	if s.Len() < 16 {
		t.Fatalf("%s: a secret of %d bytes", what, s.Len())
	}
	if got := bytes.Contains(k.state(), s.Bytes()); got != present {
		t.Fatalf("%s: %s is stored: %v", k.name, what, got)
	}
	k.gone[string(s.Bytes())] = what
}

// privateKeys returns the private keys of the tree that are stored.
func privateKeys(g *Group) map[string]bool {
	m := g.private.Marshal()
	r := wire.NewReader(m.Bytes())
	r.Uint16()
	r.Uint16()
	r.Uint32()
	out := map[string]bool{}
	for sub := r.Sub(); sub.More(); {
		sub.Uint32()
		sub.Vec()
		out[string(sub.Vec())] = true
	}
	return out
}

// transient derives what a public commit with a path makes and nobody may keep,
// as one who receives it can.
func (k *kept) transient(t *testing.T, msg []byte, next *Group) map[string]secret.Key {
	t.Helper()
	g := k.group
	m, err := parseMessage(msg)
	if err != nil {
		t.Fatal(err)
	}
	a := m.public.authenticated()
	c := a.content.commit
	list, err := g.resolve(k.rows, c, a.content.sender)
	if err != nil {
		t.Fatal(err)
	}
	ap, err := list.apply()
	if err != nil {
		t.Fatal(err)
	}
	committer := LeafIndex(a.content.sender.Index)
	if err := g.mergePath(ap, c.path, committer); err != nil {
		t.Fatal(err)
	}
	gc := g.provisional(ap)
	private := g.private
	if ap.ownUpdate != nil {
		key, _, err := g.ownUpdate(k.rows, ap.ownUpdate)
		if err != nil {
			t.Fatal(err)
		}
		private = private.WithLeafKey(key)
	}
	path, _, err := private.Open(ap.tree, committer, c.path, ap.added, gc.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	gc.confirmedTranscriptHash = confirmedTranscriptHash(g.suite, g.interim, a)
	joiner := joinerSecret(g.suite, g.init, path.Commit, gc.append(nil))
	member := g.suite.Extract(joiner, zeros(g.suite))
	epoch := g.suite.ExpandWithLabel(member, "epoch", gc.append(nil), g.suite.HashSize())
	sec := secretsFromEpoch(g.suite, epoch, false)
	if !sec.authenticator.Equal(next.authenticator) {
		t.Fatal("the test derives another epoch")
	}
	return map[string]secret.Key{
		"path secret": path.Top, "commit secret": path.Commit, "joiner secret": joiner, "member secret": member,
		"epoch secret": epoch, "welcome secret": g.suite.DeriveSecret(member, "welcome"), "confirmation key": sec.confirmation,
	}
}

// end records what the end of the head takes with it; next follows.
func (k *kept) end(t *testing.T, next *Group) {
	t.Helper()
	g := k.group
	for what, s := range map[string]secret.Key{
		"init secret": g.init, "exporter secret": g.exporter, "external secret": g.external,
		"membership key": g.membership, "resumption secret": g.resumption, "epoch authenticator": g.authenticator,
	} {
		k.lose(t, what, s.Clone(), true)
	}
	for _, generation := range []ratchetType{ratchetHandshake, ratchetApplication} {
		for i := range uint32(hygieneGenerations) {
			k.use(g.cid, messageKeyID{generation, uint32(g.self), i})
		}
	}
	replaced := 0
	now := privateKeys(next)
	for s := range privateKeys(g) {
		if !now[s] {
			replaced++
			k.lose(t, "private key of the tree", secret.Copy([]byte(s)), true)
		}
	}
	if replaced == 0 {
		t.Fatal("a commit with a path replaces no key")
	}
}

// What was used or is over cannot be found in what is stored, nor be derived
// from it, whatever was sent, read, skipped, committed or dropped before.
func TestNothingComesBack(t *testing.T) {
	for _, id := range []suite.ID{suite.X25519AES128GCMEd25519, suite.P384AES256GCM, suite.Secp256k1ChaCha20Poly1305} { // of each size of key and hash
		t.Run(fmt.Sprintf("suite %d", id), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(id), 3))
			h := &hygiene{t: t, rng: rng, sent: map[CID]map[messageKeyID]uint32{}}
			for _, p := range plainOf(t, id, 4) {
				k := &kept{person: p, all: map[CID]*treeOracle{}, used: map[CID]map[messageKeyID]bool{}, gone: map[string]string{}}
				for cid := range p.rows {
					if cid != p.group.cid {
						delete(p.rows, cid) // alice's epoch 0
					}
				}
				p.past = nil
				k.begin(t)
				h.people = append(h.people, k)
			}
			for range hygieneSteps {
				h.step()
			}
			if h.commits < 2 || h.skipped == 0 || h.dropped == 0 || h.late == 0 {
				t.Fatalf("%d commits, %d generations skipped, %d epochs dropped, %d late messages", h.commits, h.skipped, h.dropped, h.late)
			}
		})
	}
}

const hygieneSteps = 60

// hygiene is a group whose members' stores are looked into after every step.
type hygiene struct {
	t      *testing.T
	rng    *rand.Rand
	people []*kept
	wait   []waiting
	sent   map[CID]map[messageKeyID]uint32 // next generation of each sender

	commits, skipped, dropped, late int
}

// waiting is a message on its way to one member.
type waiting struct {
	to  *kept
	msg sealedMessage
	id  messageKeyID
}

func (h *hygiene) checkAll(format string, args ...any) {
	h.t.Helper()
	for _, k := range h.people {
		k.check(h.t, fmt.Sprintf(format, args...))
	}
}

func (h *hygiene) step() {
	t := h.t
	k := h.people[h.rng.IntN(len(h.people))]
	switch n := h.rng.IntN(12); {
	case n < 4:
		h.send(k)
	case n < 9:
		if len(h.wait) > 0 {
			h.deliver(h.rng.IntN(len(h.wait)))
		}
	case n == 9:
		h.proposePrivately(k)
	case n == 10:
		if h.commits == 0 || h.rng.IntN(2) == 0 {
			h.commit(k)
		} else {
			h.commitPrivately(k)
		}
	case len(k.past) > 0: // retention ends
		h.dropped++
		p := k.past[0]
		for what, s := range map[string]secret.Key{
			"sender data secret of a past epoch": p.senderData, "envelope key of a past epoch": p.envelopeKey,
			"tag key of a past epoch": p.tagKey, "handshake tag key of a past epoch": p.handshakeKey,
		} {
			k.lose(t, what, s.Clone(), true)
		}
		for _, s := range k.all[p.cid].above {
			k.gone[s] = "secret of a past epoch's tree"
		}
		for _, s := range k.all[p.cid].keys {
			k.gone[s[:len(s)-suite.NonceSize]] = "message key of a past epoch"
		}
		k.past = k.past[1:]
		delete(k.rows, p.cid)
		for i := 0; i < len(h.wait); i++ {
			if w := h.wait[i]; w.to == k && w.msg.cid == p.cid {
				k.read = append(k.read, w.msg) // it can never be read now
				h.wait = slices.Delete(h.wait, i, i+1)
				i--
			}
		}
		h.checkAll("dropping an epoch")
	}
}

// consume counts the generation of a message that k sends.
func (h *hygiene) consume(k *kept, typ ratchetType) messageKeyID {
	g := k.group
	if h.sent[g.cid] == nil {
		h.sent[g.cid] = map[messageKeyID]uint32{}
	}
	at := messageKeyID{typ: typ, leaf: uint32(g.self)}
	id := at
	id.generation = h.sent[g.cid][at]
	h.sent[g.cid][at]++
	k.use(g.cid, id)
	return id
}

func (h *hygiene) send(k *kept) {
	g := k.group
	if h.sent[g.cid][messageKeyID{typ: ratchetApplication, leaf: uint32(g.self)}] == hygieneGenerations {
		return
	}
	msg := sealedMessage{g.cid, k.say("hello")}
	id := h.consume(k, ratchetApplication)
	for _, to := range h.people {
		if to != k {
			h.wait = append(h.wait, waiting{to, msg, id})
		}
	}
	k.read = append(k.read, msg)
	h.checkAll("sending %+v", id)
}

// deliver has someone read what waits, in its epoch or a past one.
func (h *hygiene) deliver(i int) {
	w := h.wait[i]
	h.wait = slices.Delete(h.wait, i, i+1)
	k := w.to
	before := len(k.rows[w.msg.cid])
	if k.group.cid == w.msg.cid {
		if _, err := k.group.Unprotect(k.rows, w.msg.msg); err != nil {
			h.t.Fatal(err)
		}
	} else {
		p := slices.IndexFunc(k.past, func(p *Past) bool { return p.cid == w.msg.cid })
		if _, err := k.past[p].Unprotect(k.rows, w.msg.msg); err != nil {
			h.t.Fatal(err)
		}
		h.late++
	}
	if len(k.rows[w.msg.cid]) > before {
		h.skipped++
	}
	k.use(w.msg.cid, w.id)
	k.read = append(k.read, w.msg)
	h.checkAll("%s reading %+v", k.name, w.id)
}

// proposePrivately has someone propose its own update, encrypted.
func (h *hygiene) proposePrivately(k *kept) {
	msg, err := k.group.ProposeUpdate(k.rows, UpdateOptions{Framing: Framing{Private: true}})
	if err != nil {
		h.t.Fatal(err)
	}
	id := h.consume(k, ratchetHandshake)
	for _, to := range h.people {
		if to != k {
			to.process(msg)
			to.use(to.group.cid, id)
			to.read = append(to.read, sealedMessage{to.group.cid, msg})
		}
	}
	h.checkAll("proposing an update")
}

// updateKeys returns the private keys of own updates that wait.
func (k *kept) updateKeys() map[string]bool {
	out := map[string]bool{}
	for key, row := range k.rows[k.group.cid] {
		if key[0] == rowUpdate {
			out[string(wire.NewReader(row).Vec())] = true
		}
	}
	return out
}

// commit has someone commit all that waits, with a path, and the others follow.
func (h *hygiene) commit(by *kept) {
	h.commits++
	st := by.prepare(CommitOptions{})
	nobody := map[string]secret.Key{}
	for _, k := range h.people {
		if k == by {
			continue
		}
		next := k.process(st.Commit).Commit
		for what, s := range k.transient(h.t, st.Commit, next.Next()) {
			nobody[what] = s
		}
		h.move(k, next)
	}
	h.move(by, st)
	for what, s := range nobody {
		for _, k := range h.people {
			k.lose(h.t, what, s, false)
		}
	}
	h.checkAll("a commit of %s", by.name)
}

// commitPrivately is the same with an encrypted commit, after which another
// message of the old epoch is read.
func (h *hygiene) commitPrivately(by *kept) {
	h.commits++
	st := by.prepare(CommitOptions{Framing: Framing{Private: true}})
	id := h.consume(by, ratchetHandshake)
	for _, k := range h.people {
		if k == by {
			continue
		}
		next := k.process(st.Commit).Commit
		k.check(h.t, "looking at a private commit")
		k.use(k.group.cid, id)
		k.read = append(k.read, sealedMessage{k.group.cid, st.Commit})
		h.move(k, next)
	}
	h.move(by, st)
	h.checkAll("a private commit of %s", by.name)
}

// move merges a commit.
func (h *hygiene) move(k *kept, st *Staged) {
	h.t.Helper()
	updates := k.updateKeys()
	k.end(h.t, st.Next())
	for s := range updates {
		if !privateKeys(st.Next())[s] {
			k.lose(h.t, "private key of an update that was not committed", secret.Copy([]byte(s)), true)
		}
	}
	k.merge(st)
	k.begin(h.t)
}
