package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

var (
	modelRuns = flag.Int("model.runs", 100, "how many random runs TestModel makes")
	modelTime = flag.Duration("model.time", 0, "run TestModel for so long instead")
	modelSeed = flag.Uint64("model.seed", 0, "replay the run of this seed alone")
)

// The model: two devices as a caller of the package would keep them, a network
// that does what it likes, and machines that stop between any two writes. An
// oracle that knows numbers and times alone, and no key, says of every message
// that comes whether it must be read. docs/spec.md, "Receiving", is its source.

// modelFault breaks one rule of the model, to show that the run would notice.
type modelFault string

const (
	faultNone         modelFault = ""
	faultTornWrites   modelFault = "what was written of a step before a crash stays"
	faultSendsFirst   modelFault = "messages leave before the state is stored"
	faultKeepsUsed    modelFault = "skipped keys stay when they were used"
	faultKeepsExpired modelFault = "skipped keys stay when they have expired"
	faultForgetsFirst modelFault = "accepted first messages are not remembered, and one-time prekeys not deleted"
	faultOldState     modelFault = "an earlier state is restored after a crash"
	faultSameNonces   modelFault = "the random source repeats itself"
	faultSecretsLeak  modelFault = "the thief learns post-quantum secrets"
)

// disk is what a device has stored: rows by name. Writes go into a log and count
// when a commit follows them.
type disk struct {
	rows  map[string][]byte
	log   []diskWrite // since the last commit
	fuse  int         // how many more writes until the machine stops; none if negative
	fault modelFault
}

type diskWrite struct {
	name string
	row  []byte // nil to delete
}

// crash is what a machine that stops panics with.
type crash struct{}

func (d *disk) put(name string, row []byte) {
	if d.fuse == 0 {
		panic(crash{})
	}
	d.fuse--
	d.log = append(d.log, diskWrite{name, row})
}

func (d *disk) delete(name string) { d.put(name, nil) }

func (d *disk) commit() {
	if d.fuse == 0 {
		panic(crash{})
	}
	d.fuse--
	for _, w := range d.log {
		if w.row == nil {
			delete(d.rows, w.name)
		} else {
			d.rows[w.name] = w.row
		}
	}
	d.log = nil
}

// recover is what the database does when it is opened again.
func (d *disk) recover() {
	if d.fault == faultTornWrites {
		d.fuse = -1
		d.commit()
	}
	d.log, d.fuse = nil, -1
}

// names returns the rows whose name begins with prefix, in order.
func (d *disk) names(prefix string) (list []string) {
	for name := range d.rows {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// modelPeer is one of the two: its keys, its disk, and the sessions that it has
// in memory, which are those on the disk.
type modelPeer struct {
	*device
	disk     *disk
	memory   map[ID]*Session
	usable   []ID // sessions to send on
	expected map[ID]*expectation
	gone     map[ID]bool // sessions it has lost
	order    int         // of skipped rows
}

// expectation is the oracle: what a side may still read of a session.
type expectation struct {
	chain  int // number of the receiving chain, from 0; -1 before it
	nr     int
	stored []storedKey // oldest first
}

type storedKey struct {
	chain, n int
	at       time.Time
}

// chainOf is a sending chain, as what was committed of it says.
type chainOf struct {
	dh    [secp.PublicKeySize]byte
	first bool // before the sender had an answer
	pn    int
}

// parcel is a message on its way, with what the oracle may know.
type parcel struct {
	m        Message
	id       ID
	from     int
	chain, n int
	pn       int
	text     string
	week     uint32 // it was sealed in, for those with a preamble
	preamble bool
	sent     time.Time
}

// rootStep is a send step, as the instrumented session tells it.
type rootStep struct {
	by                   int
	before, dh, ss, next []byte // root keys, Diffie-Hellman, post-quantum secret
	ck                   []byte
	number               uint32 // of the offer answered
	ct                   []byte
}

// theft is a copy of a state and its skipped keys.
type theft struct {
	id      ID
	from    int
	state   []byte
	skipped [][]byte
	at      int // parcels sent before
}

type model struct {
	t       *testing.T
	rng     *rand.Rand
	fault   modelFault
	now     time.Time
	peers   [2]*modelPeer
	net     [2][]parcel // under way to a device
	parcels []parcel    // all that was committed
	chains  map[ID]*[2][]chainOf
	steps   map[[secp.PublicKeySize]byte]*rootStep // by ratchet key; those of crashed steps too
	seals   map[[32]byte]bool
	thefts  []theft
	read    map[string]int
	must    map[string]bool // texts that the network delivered within the limits
	stats   map[string]int
}

// errModel is a broken invariant.
type errModel struct{ text string }

func (e errModel) Error() string { return e.text }

func (w *model) fail(format string, args ...any) {
	panic(errModel{fmt.Sprintf(format, args...)})
}

func newModel(t *testing.T, seed uint64, fault modelFault) *model {
	w := &model{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), fault: fault, now: testTime,
		chains: map[ID]*[2][]chainOf{}, steps: map[[secp.PublicKeySize]byte]*rootStep{},
		seals: map[[32]byte]bool{}, read: map[string]int{}, must: map[string]bool{}, stats: map[string]int{},
	}
	for i, name := range []string{"alice", "bob"} {
		p := &modelPeer{
			device: newDevice(t, name), disk: &disk{rows: map[string][]byte{}, fuse: -1, fault: fault},
			memory: map[ID]*Session{}, expected: map[ID]*expectation{}, gone: map[ID]bool{},
		}
		for id, k := range p.opk {
			p.disk.rows[fmt.Sprintf("opk/%d", id)] = k.Bytes().Bytes()
		}
		w.peers[i] = p
	}
	return w
}

// watch is the instrument of a device's sessions.
func (w *model) watch(who int) *meter {
	return &meter{
		sealed: func(key, nonce []byte) {
			use := sha256.Sum256(append(append([]byte{byte(len(nonce))}, key...), nonce...))
			if w.seals[use] {
				w.fail("a key and nonce repeat")
			}
			w.seals[use] = true
		},
		stepped: func(s *Session, rk, dh, ss []byte) {
			r := &rootStep{by: who, before: bytes.Clone(rk), dh: bytes.Clone(dh), ss: bytes.Clone(ss), next: bytes.Clone(s.rk.Bytes()), ck: bytes.Clone(s.cks.Bytes())}
			if s.pq.kind == heldAnswer {
				r.number, r.ct = s.pq.taken, bytes.Clone(s.pq.held)
			}
			w.steps[s.dhsPub] = r
		},
	}
}

// OneTimePrekey looks on the disk: a crash must not bring a used one back.
func (p *modelPeer) OneTimePrekey(id uint32) (*secp.PrivateKey, error) {
	row, ok := p.disk.rows[fmt.Sprintf("opk/%d", id)]
	if !ok {
		return nil, errNoKey
	}
	return secp.NewPrivateKey(row)
}

// step runs something that writes, on a machine that may stop in the middle. It
// reports whether it was done.
func (w *model) step(who int, do func(p *modelPeer)) (done bool) {
	p := w.peers[who]
	if w.rng.IntN(12) == 0 {
		p.disk.fuse = w.rng.IntN(8)
	}
	var earlier map[string][]byte
	if w.fault == faultOldState {
		earlier = maps.Clone(p.disk.rows)
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			w.stats["crashes"]++
			p.disk.recover()
			if w.fault == faultOldState {
				p.disk.rows = earlier
			}
			w.boot(who)
			done = false
		}
	}()
	do(p)
	p.disk.fuse = -1
	return true
}

// boot loads what is on the disk, and sends what had been stored to be sent.
func (w *model) boot(who int) {
	p := w.peers[who]
	p.memory = map[ID]*Session{}
	for _, name := range p.disk.names("session/") {
		s, err := ParseSession(p.disk.rows[name])
		if err != nil {
			w.fail("a stored session: %v", err)
		}
		s.meter = w.watch(who)
		p.memory[s.ID()] = s
	}
	for _, name := range p.disk.names("out/") {
		w.post(name)
		p.disk.delete(name)
	}
	p.disk.commit()
}

// post gives a stored message to the network. A message that was posted before a
// crash is posted again.
func (w *model) post(name string) {
	var at int
	if _, err := fmt.Sscanf(name, "out/%d", &at); err != nil {
		w.fail("%s: %v", name, err)
	}
	l := w.parcels[at]
	w.net[1-l.from] = append(w.net[1-l.from], l)
}

func sessionRow(id ID) string { return fmt.Sprintf("session/%x", id[:]) }
func skippedRow(id ID, order int, tag Tag) string {
	return fmt.Sprintf("skipped/%x/%08d/%x", id[:8], order, tag[:])
}

// keep puts a committed state into memory.
func (p *modelPeer) keep(s *Session) {
	if old := p.memory[s.ID()]; old != nil && old != s {
		old.Erase()
	}
	p.memory[s.ID()] = s
}

// store writes a session's state; its size says nothing.
func (w *model) store(p *modelPeer, s *Session) {
	state := bytes.Clone(s.Marshal().Bytes())
	if s.pre == nil && len(state) != StateSize || len(state) > MaxSessionSize {
		w.fail("a state of %d bytes", len(state))
	}
	p.disk.put(sessionRow(s.ID()), state)
}

func (w *model) start(who int) {
	w.step(who, func(p *modelPeer) {
		peer := w.peers[1-who]
		bundle := peer.device.bundle()
		if w.rng.IntN(2) == 0 {
			bundle.OPK = nil
		}
		s, err := Initiate(p.id, p.ik, bundle, []byte("hello"), w.now)
		if err != nil {
			w.fail("starting: %v", err)
		}
		s.meter = w.watch(who)
		// The first step was made before there was a meter.
		w.steps[s.dhsPub] = &rootStep{by: who, next: bytes.Clone(s.rk.Bytes()), ck: bytes.Clone(s.cks.Bytes())}
		w.store(p, s)
		p.disk.commit()
		w.stats["starts"]++
		p.keep(s)
		p.usable = append(p.usable, s.ID())
		p.expected[s.ID()] = &expectation{chain: -1}
		w.chains[s.ID()] = &[2][]chainOf{}
	})
}

func (w *model) send(who int, id ID) {
	w.step(who, func(p *modelPeer) {
		s := p.memory[id]
		if s == nil {
			return
		}
		at := len(w.parcels)
		text := fmt.Sprintf("%d from %d", at, who)
		if w.rng.IntN(30) == 0 {
			text += strings.Repeat(".", w.rng.IntN(5000))
		}
		if w.fault == faultSameNonces {
			cryptotest.SetGlobalRandom(w.t, 1)
		}
		next, m, err := s.Encrypt([]byte(text), []byte("ad"), w.now)
		if err != nil {
			w.fail("encrypting: %v", err)
		}
		l := parcel{m: m, id: id, from: who, n: int(next.ns) - 1, pn: int(next.pn), text: text, preamble: s.pre != nil, week: weekOf(w.now), sent: w.now}
		chains := &w.chains[id][who]
		known := len(*chains) > 0 && (*chains)[len(*chains)-1].dh == next.dhsPub
		l.chain = len(*chains)
		if known {
			l.chain--
		}
		if w.fault == faultSendsFirst {
			w.net[1-who] = append(w.net[1-who], l)
		}
		w.store(p, next)
		p.disk.put(fmt.Sprintf("out/%d", at), []byte(text))
		p.disk.commit()
		if !known {
			*chains = append(*chains, chainOf{dh: next.dhsPub, first: l.preamble, pn: l.pn})
		}
		w.parcels = append(w.parcels, l)
		w.stats["sent"]++
		p.keep(next)
		w.post(fmt.Sprintf("out/%d", at))
		p.disk.delete(fmt.Sprintf("out/%d", at))
		p.disk.commit()
	})
}

// judge says what must come of a parcel: whether it is read, and if not, whether
// its error says that it was a replay or too far ahead.
func (w *model) judge(who int, l parcel) (read bool) {
	p := w.peers[who]
	if l.from == who || p.gone[l.id] {
		return false
	}
	if l.preamble {
		if late := int(weekOf(w.now)) - int(l.week); late > LateWeeks || late < -1 {
			return false
		}
	}
	e := p.expected[l.id]
	if e == nil {
		if !l.preamble || l.chain != 0 || l.n > MaxSkip {
			return false
		}
		return true // the prekeys of this world do not expire before the tag does
	}
	if l.chain < e.chain || l.chain == e.chain && l.n < e.nr {
		return slices.ContainsFunc(e.stored, func(k storedKey) bool {
			return k.chain == l.chain && k.n == l.n && w.now.Sub(k.at) <= SkippedLifetime
		})
	}
	if l.chain == e.chain {
		return l.n-e.nr <= MaxSkip
	}
	return l.chain == e.chain+1 && (e.chain < 0 || l.pn-e.nr <= MaxSkip) && l.n <= MaxSkip
}

// happened moves the oracle on after a parcel was read.
func (w *model) happened(who int, l parcel) {
	p := w.peers[who]
	e := p.expected[l.id]
	if e == nil {
		e = &expectation{chain: -1}
		p.expected[l.id] = e
	}
	at := w.now.Truncate(time.Second)
	if i := slices.IndexFunc(e.stored, func(k storedKey) bool { return k.chain == l.chain && k.n == l.n }); i >= 0 {
		e.stored = slices.Delete(e.stored, i, i+1)
		return
	}
	var added []storedKey
	if l.chain > e.chain {
		for n := e.nr; e.chain >= 0 && n < l.pn; n++ {
			added = append(added, storedKey{e.chain, n, at})
		}
		e.chain, e.nr = l.chain, 0
	}
	for n := e.nr; n < l.n; n++ {
		added = append(added, storedKey{e.chain, n, at})
	}
	e.nr = l.n + 1
	if over := len(e.stored) + len(added) - MaxStored; over > 0 {
		w.stats["evictions"]++
		e.stored = e.stored[min(over, len(e.stored)):]
	}
	e.stored = append(e.stored, added...)
}

// deliver gives a parcel to a device, which does what a caller does with it.
func (w *model) deliver(who int, l parcel) {
	want := w.judge(who, l)
	var outcome error
	done := w.step(who, func(p *modelPeer) { outcome = w.receive(who, p, l) })
	if !done {
		// What the network has tried to deliver it delivers again.
		w.net[who] = append(w.net[who], l)
		return
	}
	if want {
		w.must[l.text] = true
	}
	switch {
	case want && outcome != nil:
		w.fail("%q, message %d of chain %d, was not read: %v", l.text, l.n, l.chain, outcome)
	case !want && outcome == nil:
		w.fail("%q, message %d of chain %d, was read, and should not have been", l.text, l.n, l.chain)
	case !want:
		w.stats["refused"]++
		if !errors.Is(outcome, ErrDecrypt) && !errors.Is(outcome, ErrReplay) && !errors.Is(outcome, ErrTooFarAhead) && !errors.Is(outcome, ErrPrekey) {
			w.fail("%q was refused with %v", l.text, outcome)
		}
	}
}

func (w *model) receive(who int, p *modelPeer, l parcel) error {
	m := l.m
	tags := FirstTags(p.inboxKey, w.now)
	if !slices.Contains(tags[:], m.Tag) {
		for _, id := range slices.SortedFunc(maps.Keys(p.memory), func(a, b ID) int { return bytes.Compare(a[:], b[:]) }) {
			err := w.decrypt(who, p, id, m)
			if err == nil || !errors.Is(err, ErrDecrypt) {
				return err
			}
		}
		return ErrDecrypt
	}
	f, err := PeekFirst(p.id, p.ik, p.inboxKey, m, w.now)
	if err != nil {
		return err
	}
	if p.memory[f.ID] != nil {
		return w.decrypt(who, p, f.ID, f.Message)
	}
	seen := fmt.Sprintf("seen/%x", f.ID[:])
	if p.disk.rows[seen] != nil {
		return ErrReplay
	}
	o, err := f.Accept(p.id, p.ik, p, []byte("ad"), w.now)
	if err != nil {
		return err
	}
	o.Session.meter = w.watch(who)
	if w.fault != faultForgetsFirst {
		p.disk.put(seen, []byte{1})
		if f.OPKID != nil {
			p.disk.delete(fmt.Sprintf("opk/%d", *f.OPKID))
		}
	}
	w.finish(who, p, o, l)
	p.usable = append(p.usable, f.ID)
	return nil
}

func (w *model) decrypt(who int, p *modelPeer, id ID, m Message) error {
	s := p.memory[id]
	in := Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}
	var used string
	for _, name := range p.disk.names(fmt.Sprintf("skipped/%x/", id[:8])) {
		in.Stored++
		if strings.HasSuffix(name, fmt.Sprintf("%x", m.Tag[:])) {
			used = name
			in.Skipped = must(ParseSkippedKey(p.disk.rows[name]))
		}
	}
	before := s.Marshal().Bytes()
	o, err := s.Decrypt(in, w.now)
	if !bytes.Equal(before, s.Marshal().Bytes()) {
		w.fail("a state changed in reading")
	}
	if err != nil {
		return err
	}
	if (o.Delta.Used != nil) != (used != "") {
		w.fail("a skipped key and its use do not agree")
	}
	if used != "" && w.fault != faultKeepsUsed {
		p.disk.delete(used)
	}
	w.finish(who, p, o, parcel{m: m, id: id})
	return nil
}

// finish writes what reading gave: the state, the skipped keys, the words.
func (w *model) finish(who int, p *modelPeer, o *Opened, l parcel) {
	id := o.Session.ID()
	text := string(o.Plaintext)
	w.store(p, o.Session)
	for _, name := range p.disk.names(fmt.Sprintf("skipped/%x/", id[:8]))[:o.Delta.Evict] {
		p.disk.delete(name)
	}
	for i := range o.Delta.New {
		p.order++
		p.disk.put(skippedRow(id, p.order, o.Delta.New[i].Tag), bytes.Clone(o.Delta.New[i].Marshal().Bytes()))
	}
	if p.disk.rows["in/"+text] != nil {
		w.fail("%q was read twice", text)
	}
	p.disk.put("in/"+text, []byte{1})
	p.disk.commit()
	p.keep(o.Session)
	var at, from int
	if _, err := fmt.Sscanf(text, "%d from %d", &at, &from); err != nil || at >= len(w.parcels) || w.parcels[at].text != text ||
		from == who || w.parcels[at].id != id || !o.Session.Peer().Equal(w.peers[from].id) {
		w.fail("%q was read by %d in another session", text, who)
	}
	w.read[text]++
	w.stats["read"]++
	if w.parcels[at].n < int(o.Session.nr)-1 || len(o.Delta.New) > 0 {
		w.stats["out of order"]++
	}
	w.happened(who, w.parcels[at])
}

// lose is a deleted profile, as far as sessions go: the keys of the device and
// the ids of first messages it has seen are still there.
func (w *model) lose(who int) {
	w.step(who, func(p *modelPeer) {
		for _, name := range append(p.disk.names("session/"), p.disk.names("skipped/")...) {
			p.disk.delete(name)
		}
		p.disk.commit()
		w.stats["resets"]++
		for id := range p.memory {
			p.gone[id] = true
		}
		p.memory, p.usable = map[ID]*Session{}, nil
		clear(p.expected)
	})
}

// purge deletes skipped keys that have had their time.
func (w *model) purge(who int) (done bool) {
	if w.fault == faultKeepsExpired {
		return true
	}
	return w.step(who, func(p *modelPeer) {
		for _, name := range p.disk.names("skipped/") {
			if k := must(ParseSkippedKey(p.disk.rows[name])); k.Expired(w.now) {
				p.disk.delete(name)
			}
		}
		p.disk.commit()
		for _, e := range p.expected {
			e.stored = slices.DeleteFunc(e.stored, func(k storedKey) bool { return w.now.Sub(k.at) > SkippedLifetime })
		}
	})
}

// checkSkipped compares the stored keys with those the oracle counts.
func (w *model) checkSkipped() {
	for who, p := range w.peers {
		for id, s := range p.memory {
			e := p.expected[id]
			rows := p.disk.names(fmt.Sprintf("skipped/%x/", id[:8]))
			if len(rows) != len(e.stored) {
				w.fail("device %d stores %d skipped keys, and should %d", who, len(rows), len(e.stored))
			}
			for i, name := range rows {
				k := must(ParseSkippedKey(p.disk.rows[name]))
				if int(k.N) != e.stored[i].n || !k.Created.Equal(e.stored[i].at) {
					w.fail("a skipped key of device %d is another than expected", who)
				}
				if w.now.Sub(k.Created) > SkippedLifetime {
					w.fail("a skipped key of device %d has outlived its time", who)
				}
			}
			if int(s.recvChain) != e.chain+1 || e.chain >= 0 && int(s.nr) != e.nr {
				w.fail("device %d is at message %d of chain %d, and should be at %d of %d", who, s.nr, int(s.recvChain)-1, e.nr, e.chain)
			}
		}
		for _, name := range p.disk.names("skipped/") {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(p.memory)), func(id ID) bool { return strings.HasPrefix(name, fmt.Sprintf("skipped/%x/", id[:8])) }) {
				w.fail("a skipped key has no session")
			}
		}
	}
}

// steal copies what a device has of a session.
func (w *model) steal(who int, id ID) {
	p := w.peers[who]
	state := p.disk.rows[sessionRow(id)]
	if state == nil {
		return
	}
	th := theft{id: id, from: who, state: bytes.Clone(state), at: len(w.parcels)}
	for _, name := range p.disk.names(fmt.Sprintf("skipped/%x/", id[:8])) {
		th.skipped = append(th.skipped, bytes.Clone(p.disk.rows[name]))
	}
	w.thefts = append(w.thefts, th)
}

// sequence is the chains of a session in the order of their root steps.
func (w *model) sequence(id ID) (list []chainOf) {
	by := w.chains[id]
	// The initiator's first chain comes first, and they alternate.
	first := 0
	if len(by[0]) == 0 || !by[0][0].first {
		first = 1
	}
	for i := range by[first] {
		list = append(list, by[first][i])
		if i < len(by[1-first]) {
			list = append(list, by[1-first][i])
		}
	}
	return list
}

// checkTheft lets two thieves try what they have. The first has the state alone;
// the second also knows every Diffie-Hellman of the session that comes after.
func (w *model) checkTheft(th theft) {
	s, err := ParseSession(th.state)
	if err != nil {
		w.fail("a stolen state: %v", err)
	}
	seq := w.sequence(th.id)
	// Where the thief stands: at the step whose root key he has.
	at := -1
	for i, c := range seq {
		if r := w.steps[c.dh]; r != nil && bytes.Equal(r.next, s.rk.Bytes()) {
			at = i
		}
	}
	if at < 0 { // no chain has been committed yet: the state of before the first message
		return
	}
	w.checkClassicalThief(th, s, seq, at)
	w.checkQuantumThief(s, seq, at)
}

// checkQuantumThief walks the root chain with all Diffie-Hellmans given.
func (w *model) checkQuantumThief(s *Session, seq []chainOf, at int) {
	rk := bytes.Clone(s.rk.Bytes())
	for _, c := range seq[at+1:] {
		r := w.steps[c.dh]
		candidates := [][]byte{nil}
		locked := false
		if r.ct != nil {
			locked = true
			if !s.pq.seed.IsZero() {
				dk := must(mlkem.NewDecapsulationKey768(s.pq.seed.Bytes()))
				ss := must(dk.Decapsulate(r.ct))
				candidates = append(candidates, ss)
				// An answer to the very offer whose seed was stolen.
				if bytes.Equal(ss, r.ss) {
					locked = r.by == w.ownerOf(s) || r.number != s.pq.offered
				}
			}
			if w.fault == faultSecretsLeak {
				candidates = append(candidates, r.ss)
			}
		}
		var found []byte
		for _, ss := range candidates {
			next, ck, _ := kdfRK(secret.Copy(rk), secret.Copy(r.dh), ss)
			if bytes.Equal(ck.Bytes(), r.ck) {
				found = bytes.Clone(next.Bytes())
			}
		}
		switch {
		case locked && found != nil:
			w.fail("a thief who knows every Diffie-Hellman has followed a post-quantum step")
		case locked:
			w.stats["locked out"]++
			return
		case found == nil:
			w.fail("the thief who knows every Diffie-Hellman is weaker than he should be")
		}
		rk = found
		w.stats["followed"]++
	}
}

// ownerOf says whose state s is.
func (w *model) ownerOf(s *Session) int {
	if s.Peer().Equal(w.peers[1].id) {
		return 0
	}
	return 1
}

// checkClassicalThief reads with the stolen state what it reads, and requires
// that it is nothing from after an update: a chain that begins with a key that
// was drawn, by the victim, after the theft, or that answers such a one.
func (w *model) checkClassicalThief(th theft, s *Session, seq []chainOf, at int) {
	limit := at // the last chain that the thief may read in
	if !s.dhs.IsZero() {
		limit = at + 1 // he has the secret that the peer's next chain rests on
	}
	allowed := map[[secp.PublicKeySize]byte]bool{}
	for _, c := range seq[:min(len(seq), limit+1)] {
		allowed[c.dh] = true
	}
	skipped := map[Tag]*SkippedKey{}
	for _, row := range th.skipped {
		k := must(ParseSkippedKey(row))
		skipped[k.Tag] = k
	}
	follower := s
	for _, l := range w.parcels[th.at:] {
		if l.id != th.id || l.from == th.from {
			continue
		}
		m := l.m
		if l.preamble { // he cannot unseal it, but let him
			p := w.peers[1-l.from]
			f, err := PeekFirst(p.id, p.ik, p.inboxKey, m, l.sent)
			if err != nil {
				w.fail("unsealing for the thief: %v", err)
			}
			m = f.Message
		}
		o, err := follower.Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad"), Skipped: skipped[m.Tag]}, l.sent)
		if err != nil {
			continue
		}
		follower = o.Session
		for i := range o.Delta.New {
			skipped[o.Delta.New[i].Tag] = &o.Delta.New[i]
		}
		w.stats["stolen words"]++
		if !allowed[w.chains[th.id][l.from][l.chain].dh] {
			w.fail("a stolen state reads %q, of after an update", l.text)
		}
	}
	// The victim's own words: the sending chain, walked on by hand. Headers of
	// the next chain open, as its header key is known before it begins.
	if s.cks.IsZero() {
		return
	}
	for _, l := range w.parcels[th.at:] {
		if l.id != th.id || l.from != th.from || l.preamble || l.n > int(s.ns)+300 {
			continue
		}
		h, err := s.openHeader(s.hks, tagKey(s.hks), l.m.Body)
		if err != nil {
			h, err = s.openHeader(s.nhks, tagKey(s.nhks), l.m.Body)
		}
		if err != nil {
			continue
		}
		ck := s.cks.Clone()
		for n := s.ns; n < uint64(h.n); n++ {
			_, next := kdfCK(ck)
			ck = secret.New(next[:])
		}
		mk, _ := kdfCK(ck)
		_, err = h.openContent(mk[:], s.id, []byte("ad"))
		if h.dh != s.dhsPub && err == nil {
			w.fail("a stolen state reads %q, of a chain begun later", l.text)
		}
		if h.dh == s.dhsPub && err != nil {
			w.fail("the thief is weaker than he should be: %q", l.text)
		}
	}
}

// run plays one history, and returns the broken invariant, nil if there is none.
func (w *model) run() (failed error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(errModel)
			if !ok {
				panic(r)
			}
			failed = e
		}
	}()
	w.start(0)
	if w.rng.IntN(2) == 0 {
		w.start(1)
	}
	chatty := w.rng.IntN(8) == 0 // long enough for the post-quantum ratchet
	steps := 20 + w.rng.IntN(60)
	if chatty {
		steps = 300 + w.rng.IntN(200)
	}
	for range steps {
		w.act(chatty)
	}
	// In the end everything arrives, in any order, and once more.
	for round := range 2 {
		for who := range 2 {
			w.rng.Shuffle(len(w.net[who]), func(i, j int) { w.net[who][i], w.net[who][j] = w.net[who][j], w.net[who][i] })
			for len(w.net[who]) > 0 {
				l := w.net[who][0]
				w.net[who] = w.net[who][1:]
				w.deliver(who, l)
			}
		}
		if round == 0 {
			for _, l := range w.sample(40) {
				w.net[1-l.from] = append(w.net[1-l.from], l)
			}
		}
	}
	for who := range 2 {
		for !w.purge(who) {
		}
	}
	w.checkSkipped()
	for text := range w.must {
		if w.read[text] != 1 {
			w.fail("%q was delivered within the limits and read %d times", text, w.read[text])
		}
	}
	for text, n := range w.read {
		if n > 1 {
			w.fail("%q was read %d times", text, n)
		}
	}
	for _, th := range w.thefts {
		w.checkTheft(th)
	}
	return nil
}

// sample returns some of all parcels.
func (w *model) sample(n int) (list []parcel) {
	for range n {
		if len(w.parcels) > 0 {
			list = append(list, w.parcels[w.rng.IntN(len(w.parcels))])
		}
	}
	return list
}

func (w *model) act(chatty bool) {
	who := w.rng.IntN(2)
	p := w.peers[who]
	switch a := w.rng.IntN(100); {
	case a < 40:
		if len(p.usable) > 0 {
			id := p.usable[w.rng.IntN(len(p.usable))]
			if chatty { // one conversation, not several
				id = p.usable[0]
			}
			w.send(who, id)
		}
	case a < 80: // something arrives, mostly what is oldest
		if n := len(w.net[who]); n > 0 {
			i := 0
			if w.rng.IntN(3) == 0 {
				i = w.rng.IntN(n)
			}
			l := w.net[who][i]
			w.net[who] = slices.Delete(w.net[who], i, i+1)
			w.deliver(who, l)
			if w.rng.IntN(10) == 0 {
				w.net[who] = append(w.net[who], l) // and once more, later
			}
		}
	case a < 84: // something is lost
		if n := len(w.net[who]); n > 0 {
			i := w.rng.IntN(n)
			w.net[who] = slices.Delete(w.net[who], i, i+1)
		}
	case a < 88: // something old is replayed, to either
		for _, l := range w.sample(1) {
			w.deliver(who, l)
		}
	case a < 90: // something is altered
		for _, l := range w.sample(1) {
			l.m = l.m.flip(w.rng.IntN(8 * len(l.m.Body)))
			if err := w.receive(who, p, l); err == nil {
				w.fail("an altered message was read")
			}
		}
	case a < 92:
		if len(w.chains) < 6 && !chatty {
			w.start(who)
		}
	case a < 93:
		if !chatty && w.rng.IntN(4) == 0 {
			w.lose(who)
			w.start(who)
		}
	case a < 96:
		gap := []time.Duration{time.Minute, time.Hour, 25 * time.Hour, 8 * 24 * time.Hour, 15 * 24 * time.Hour}[w.rng.IntN(5)]
		w.now = w.now.Add(gap)
		for who := range 2 {
			w.purge(who)
		}
	case a < 98:
		if len(p.usable) > 0 && len(w.thefts) < 4 {
			w.steal(who, p.usable[w.rng.IntN(len(p.usable))])
		}
	case a < 99: // a flood in one chain, up to and beyond what may be skipped
		if len(p.usable) > 0 && w.rng.IntN(100) == 0 {
			id := p.usable[w.rng.IntN(len(p.usable))]
			for range MaxSkip - 50 + w.rng.IntN(100) {
				w.send(who, id)
			}
			w.stats["floods"]++
			if n := len(w.net[1-who]); n > 0 { // the last first
				l := w.net[1-who][n-1]
				w.net[1-who] = w.net[1-who][:n-1]
				w.deliver(1-who, l)
			}
		}
	default:
		w.boot(who)
	}
}

// TestModel plays random histories. -model.runs=10000 is the long form.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	runs := *modelRuns
	if *modelSeed != 0 {
		seed, runs = *modelSeed, 1
	} else if testing.Short() {
		runs = min(runs, 20)
	}
	total := map[string]int{}
	start, done := time.Now(), 0
	more := func() bool {
		if *modelTime > 0 {
			return time.Since(start) < *modelTime
		}
		return done < runs
	}
	for ; more(); done++ {
		cryptotest.SetGlobalRandom(t, seed)
		w := newModel(t, seed, faultNone)
		if err := w.run(); err != nil {
			t.Fatalf("%v\nreplay it with -run '^TestModel$' -model.seed=%d", err, seed)
		}
		for k, n := range w.stats {
			total[k] += n
		}
		seed++
	}
	t.Logf("%d runs: %v", done, total)
	if done < 50 {
		return
	}
	for _, k := range []string{"crashes", "starts", "sent", "read", "out of order", "refused", "resets", "locked out", "followed", "stolen words"} {
		if total[k] == 0 {
			t.Errorf("in %d runs there were none of: %s", done, k)
		}
	}
}

// Each invariant can fail: with one rule broken, some run notices.
func TestModelNotices(t *testing.T) {
	for fault, want := range map[modelFault]string{
		faultTornWrites:   "",
		faultSendsFirst:   "",
		faultKeepsUsed:    "",
		faultKeepsExpired: "outlived",
		faultForgetsFirst: "",
		faultOldState:     "",
		faultSameNonces:   "a key and nonce repeat",
		faultSecretsLeak:  "has followed a post-quantum step",
	} {
		noticed := error(nil)
		for seed := range uint64(400) {
			cryptotest.SetGlobalRandom(t, seed)
			if err := newModel(t, seed, fault).run(); err != nil && strings.Contains(err.Error(), want) {
				noticed = err
				break
			}
		}
		if noticed == nil {
			t.Errorf("%s: nothing was noticed", fault)
		} else {
			t.Logf("%s: %v", fault, noticed)
		}
	}
}
