package groups

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/treekem"
)

var (
	histories   = flag.Int("histories", 0, "how many random histories TestHistories runs; 0 means a few")
	historyTime = flag.Duration("historytime", 0, "run random histories for that long instead")
	historySeed = flag.Uint64("historyseed", 0, "replay the history of this seed alone")
)

// Whatever happens to a group, in any order, by anyone and in any framing, all
// members agree after every commit on everything that they can compare, what
// they agree on is valid from scratch, and those removed do not follow.
func TestHistories(t *testing.T) {
	if *historySeed != 0 {
		t.Run(fmt.Sprint(*historySeed), func(t *testing.T) { runHistory(t, *historySeed) })
		return
	}
	var fresh [8]byte
	rand.Read(fresh[:])
	seed := binary.BigEndian.Uint64(fresh[:])>>16 + 1
	limit := *histories
	if limit == 0 && *historyTime == 0 {
		limit = fewHistories
	}
	var sum historyCounts
	begun, n := time.Now(), 0
	for ; limit == 0 || n < limit; n++ {
		if *historyTime != 0 && time.Since(begun) > *historyTime {
			break
		}
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { sum.add(runHistory(t, seed)) })
		if !ok {
			break
		}
		seed++
	}
	t.Logf("%d histories: %+v", n, sum)
	if n == 0 {
		t.Error("no history was run")
	}
	if missing := sum.missing(); n >= 100 && len(missing) > 0 {
		t.Errorf("in %d histories there was no case of %v", n, missing)
	}
}

// historyCounts says what happened.
type historyCounts struct {
	Commits, External, Resyncs, WithoutPath, Private, Added, Removed, Updated, PSKs, Contexts, Dropped int
	Outside, Restarts, Lags, Late, Rivals, ReInits, Largest                                            int
}

func (c *historyCounts) add(o historyCounts) {
	largest := max(c.Largest, o.Largest)
	sum, of := reflect.ValueOf(c).Elem(), reflect.ValueOf(o)
	for i := range sum.NumField() {
		sum.Field(i).SetInt(sum.Field(i).Int() + of.Field(i).Int())
	}
	c.Largest = largest
}

// missing lists what never happened.
func (c *historyCounts) missing() []string {
	var out []string
	for i, v := 0, reflect.ValueOf(*c); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			out = append(out, v.Type().Field(i).Name)
		}
	}
	return out
}

// soul is someone in a history: a person, the signature keys it may have by
// now, and what it has been sent and not yet looked at.
type soul struct {
	*person
	keys  []suite.SigningKey
	queue [][]byte
	lags  bool // it does not look before the next commit
}

// history is a group's life in the making.
type history struct {
	t     *testing.T
	rng   *mathrand.Rand
	seed  uint64
	step  int
	suite suite.ID
	roles *Roles // nil in a plain group
	limit int    // of members

	souls []*soul // the members
	asked []*soul // who was proposed to be added in this epoch
	left  []leaving
	next  int // number of the next person
	bot   suite.SigningKey
	// outside are the proposals of those outside so far.
	outside map[string]bool
	marker  byte // in the group context

	psks       map[string][]byte
	resumption map[string]secret.Key // by group id and epoch
	agreed     map[CID][]fact
	late       []lateMessage
	counts     historyCounts
	log        []string
}

// fact is one thing that all members of an epoch have in common.
type fact struct {
	name string
	hash [32]byte
}

// lateMessage was sent in an epoch and is read in a later one by some.
type lateMessage struct {
	cid  CID
	msg  []byte
	text string
	to   []*soul
}

// leaving is a self-remove of this epoch.
type leaving struct {
	who *soul
	msg []byte
}

func runHistory(t *testing.T, seed uint64) historyCounts {
	cryptotest.SetGlobalRandom(t, seed)
	h := &history{
		t: t, seed: seed, rng: mathrand.New(mathrand.NewPCG(seed, 9)),
		psks: map[string][]byte{}, resumption: map[string]secret.Key{}, agreed: map[CID][]fact{}, outside: map[string]bool{},
	}
	h.begin()
	steps := 8 + h.rng.IntN(20)
	for h.step = 1; h.step <= steps; h.step++ {
		h.live()
	}
	h.catchUp()
	h.talk()
	if h.chance(3) {
		h.reinit()
	}
	return h.counts
}

// fail ends the history and says how to see it again.
func (h *history) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s\nin step %d; replay with: go test ./groups -run '^TestHistories$' -historyseed=%d\n%s",
		fmt.Sprintf(format, args...), h.step, h.seed, strings.Join(h.log, "\n"))
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf("%d: ", h.step)+fmt.Sprintf(format, args...))
}

func (h *history) must(err error, format string, args ...any) {
	h.t.Helper()
	if err != nil {
		h.fail("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// chance is one in n.
func (h *history) chance(n int) bool { return h.rng.IntN(n) == 0 }

// Limits of members, and how often each is drawn. Suites whose curves are slow
// are drawn more seldom, and mostly for small groups.
var (
	historyLimits = []struct{ members, weight int }{{4, 60}, {8, 24}, {16, 6}, {32, 2}, {64, 1}}
	slowSuites    = map[suite.ID]bool{4: true, suite.P521AES256GCM: true, 6: true, suite.P384AES256GCM: true}
)

const slowLimit = 4

// drawSuite draws a suite for that many members.
func (h *history) drawSuite(members int) suite.ID {
	var ids []suite.ID
	for _, s := range suite.All() {
		n := 4
		if slowSuites[s.ID()] {
			n = 1
		}
		ids = append(ids, slices.Repeat([]suite.ID{s.ID()}, n)...)
	}
	id := ids[h.rng.IntN(len(ids))]
	if slowSuites[id] && members > slowLimit && !h.chance(20) {
		return h.drawSuite(members)
	}
	return id
}

func (h *history) begin() {
	sum := 0
	for _, l := range historyLimits {
		sum += l.weight
	}
	at := h.rng.IntN(sum)
	for _, l := range historyLimits {
		if at -= l.weight; at < 0 {
			h.limit = l.members
			break
		}
	}
	h.suite = h.drawSuite(h.limit)
	if h.chance(3) {
		h.roles = &Roles{Add: Members, Remove: Members, Promote: Members, Configure: Members, Commit: Members}
	}
	h.newBot(h.suite)

	first := h.person()
	o := CreateOptions{Suite: h.suite, Credential: first.cred, Signer: first.signer, Now: testNow}
	if h.roles == nil {
		o.Plain, o.Capabilities, o.Extensions = true, customCaps, h.extensions()
	} else {
		o.Roles, o.Extensions = h.roles, Extensions{h.senders()}
	}
	var err error
	first.group, err = Create(first.rows, o)
	h.must(err, "create")
	h.souls = []*soul{first}
	h.note("suite 0x%04x, at most %d members, roles %v", uint16(h.suite), h.limit, h.roles != nil)
	h.settle()

	var co CommitOptions
	for range h.limit/2 - 1 + h.rng.IntN(h.limit/2+1) {
		co.Add = append(co.Add, h.ask().kp)
	}
	h.commit(first, co)
}

// newBot makes the key of the external sender.
func (h *history) newBot(id suite.ID) {
	s, err := suite.ByID(id)
	h.must(err, "suite")
	h.bot, err = s.GenerateSigningKey()
	h.must(err, "key")
}

// person makes someone who may come in.
func (h *history) person() *soul {
	h.next++
	p := newPersonIn(h.t, h.suite, h.next)
	if h.roles == nil {
		p.plain, p.cred = true, treekem.Basic([]byte(p.name))
		p.newKeyPackage(h.suite)
	}
	return &soul{person: p, keys: []suite.SigningKey{p.signer}}
}

// ask makes someone whom a proposal of this epoch may add.
func (h *history) ask() *soul {
	s := h.person()
	h.asked = append(h.asked, s)
	return s
}

func (h *history) senders() Extension {
	return ExternalSendersExtension([]ExternalSender{{SignatureKey: h.bot.Public(), Credential: treekem.Basic([]byte("bot"))}})
}

// extensions returns another list for the GroupContext.
func (h *history) extensions() Extensions {
	h.marker++
	q := required{}
	e := Extensions{h.senders(), {Type: extensionLastResort, Data: []byte{h.marker}}}
	if h.roles != nil {
		q.extensions = []treekem.ExtensionType{ExtensionRoles}
		q.credentials = []treekem.CredentialType{CredentialEthereum}
		roles := *h.roles
		roles.Admins = [][]byte{Subject(h.pick().cred)}
		e = append(e, Extension{Type: ExtensionRoles, Data: roles.Marshal()})
	}
	return append(e, Extension{Type: extensionRequired, Data: q.marshal()})
}

// pick returns a member that is up to date.
func (h *history) pick() *soul {
	for {
		if s := h.souls[h.rng.IntN(len(h.souls))]; !s.lags {
			return s
		}
	}
}

func (h *history) source(id PreSharedKeyID) (secret.Key, bool) {
	if id.Type == PSKResumption {
		k, ok := h.resumption[fmt.Sprintf("%x/%d", id.GroupID, id.Epoch)]
		return k, ok
	}
	k, ok := h.psks[string(id.ID)]
	return secret.Copy(k), ok
}

// psk names a key that all know: one from outside, or of an epoch.
func (h *history) psk() PreSharedKeyID {
	g := h.pick().group
	past := PreSharedKeyID{Type: PSKResumption, Usage: ResumptionApplication, GroupID: g.GroupID(), Epoch: h.rng.Uint64N(g.Epoch() + 1)}
	if _, known := h.source(past); known && h.chance(2) {
		return past
	}
	id := fmt.Sprint("key ", len(h.psks))
	h.psks[id] = randomBytes(1 + h.rng.IntN(40))
	return PreSharedKeyID{Type: PSKExternal, ID: []byte(id)}
}

func (h *history) framing() Framing {
	f := Framing{Private: h.chance(3)}
	if h.chance(3) {
		f.AuthenticatedData = []byte("authenticated data")
	}
	if f.Private && h.chance(2) {
		f.Padding = h.rng.IntN(300)
	}
	return f
}

// live is one step: messages, proposals, a commit, and what is late.
func (h *history) live() {
	for range h.rng.IntN(3) {
		h.say()
	}
	h.left = nil
	for range h.rng.IntN(5) {
		h.propose()
	}
	for _, s := range h.souls {
		if s.lags {
			h.sayFromBehind(s)
		}
	}
	for range h.rng.IntN(3) {
		h.restart(h.souls[h.rng.IntN(len(h.souls))])
	}
	if h.chance(5) {
		h.enter()
	} else {
		h.commit(h.pick(), h.options())
	}
}

// say has a member send a message. Some read it at once and some when the next
// epoch has begun.
func (h *history) say() {
	from := h.pick()
	text := fmt.Sprintf("%s in step %d", from.name, h.step)
	msg, _, err := from.group.Protect(from.rows, []byte(text))
	h.must(err, "%s: protect", from.name)
	m := lateMessage{cid: from.group.CID(), msg: msg, text: text}
	for _, s := range h.souls {
		switch {
		case s == from:
		case h.chance(4) || s.lags:
			m.to = append(m.to, s)
		default:
			app, err := s.group.Unprotect(s.rows, msg)
			h.must(err, "%s: message of %s", s.name, from.name)
			if string(app.Plaintext) != text || app.Sender.Leaf != from.group.Self() {
				h.fail("%s reads %q of leaf %d", s.name, app.Plaintext, app.Sender.Leaf)
			}
		}
	}
	h.late = append(h.late, m)
}

// sayFromBehind has a member that lags write in the epoch it is still in. Who
// was there then reads it, and who came since cannot.
func (h *history) sayFromBehind(from *soul) {
	msg, _, err := from.group.Protect(from.rows, []byte("from behind"))
	h.must(err, "%s: protect", from.name)
	cid := from.group.CID()
	for _, s := range h.souls {
		if s == from {
			continue
		}
		var app *Application
		k := slices.IndexFunc(s.past, func(p *Past) bool { return p.CID() == cid })
		switch {
		case s.group.CID() == cid:
			app, err = s.group.Unprotect(s.rows, msg)
		case k >= 0:
			app, err = s.past[k].Unprotect(s.rows, msg)
		default:
			var e *EpochError
			if _, err := s.group.Unprotect(s.rows, msg); !errors.As(err, &e) {
				h.fail("%s came after epoch %d and reads it: %v", s.name, from.group.Epoch(), err)
			}
			continue
		}
		h.must(err, "%s: message of %s, who lags", s.name, from.name)
		if string(app.Plaintext) != "from behind" || !app.Sender.Credential.Equal(from.cred) {
			h.fail("%s reads %q of %v", s.name, app.Plaintext, app.Sender)
		}
	}
}

// propose has someone propose something.
func (h *history) propose() {
	from, f := h.pick(), h.framing()
	small := len(h.souls) < 4
	what := ""
	var msg []byte
	var err error
	propose := func(p *Proposal) ([]byte, error) { return from.group.Propose(from.rows, p, f) }
	switch k := h.rng.IntN(20); {
	case k < 6:
		what = "update"
		o := UpdateOptions{Framing: f}
		if h.chance(3) {
			what = "update of the signature key"
			o.Signer, err = from.group.suite.GenerateSigningKey()
			h.must(err, "key")
			from.keys = append(from.keys, o.Signer)
		}
		msg, err = from.group.ProposeUpdate(from.rows, o)
	case k < 9:
		if small {
			return
		}
		other := h.souls[h.rng.IntN(len(h.souls))]
		what = "remove of " + other.name
		msg, err = propose(&Proposal{Type: ProposalRemove, Remove: other.group.Self()})
	case k < 12:
		if len(h.souls)+len(h.asked) >= h.limit {
			return
		}
		s := h.ask()
		what = "add of " + s.name
		msg, err = propose(&Proposal{Type: ProposalAdd, Add: s.kp})
	case k == 12:
		if small {
			return
		}
		what, f.Private, f.Padding = "self-remove", false, 0
		msg, err = propose(&Proposal{Type: ProposalSelfRemove})
		if err == nil { // else it is leaving already, by a message that stands
			h.left = slices.DeleteFunc(h.left, func(l leaving) bool { return l.who == from })
			h.left = append(h.left, leaving{from, msg})
		}
	case k < 15:
		what = "psk"
		msg, err = propose(&Proposal{Type: ProposalPSK, PSK: h.psk()})
	case k == 15:
		what = "context"
		msg, err = propose(&Proposal{Type: ProposalGroupContextExtensions, Extensions: h.extensions()})
	case k == 16:
		if h.roles != nil {
			return
		}
		what = "custom"
		msg, err = propose(&Proposal{Type: customProposal, Custom: randomBytes(h.rng.IntN(9))})
	default:
		h.proposeOutside(from)
		return
	}
	if errors.Is(err, ErrDuplicate) { // word for word what it proposed before
		h.note("%s proposes %s again", from.name, what)
		return
	}
	h.must(err, "%s: %s", from.name, what)
	h.note("%s proposes %s, private %v", from.name, what, f.Private)
	h.spread(from, msg)
}

// proposeOutside has the external sender, or someone who wants to come in,
// propose something.
func (h *history) proposeOutside(by *soul) {
	info, err := by.group.GroupInfo(GroupInfoOptions{})
	h.must(err, "group info")
	i, err := ParseGroupInfo(info, nil)
	h.must(err, "group info")
	full := len(h.souls)+len(h.asked) >= h.limit
	var msg []byte
	var p *Proposal
	switch k := h.rng.IntN(5); {
	case k == 0 && !full:
		s := h.ask()
		h.note("%s asks to come in", s.name)
		msg, err = i.ProposeJoin(s.kp, s.signer)
	case k == 1 && !full:
		p = &Proposal{Type: ProposalAdd, Add: h.ask().kp}
	case k == 2 && len(h.souls) > 4:
		p = &Proposal{Type: ProposalRemove, Remove: h.pick().group.Self()}
	case k == 3:
		p = &Proposal{Type: ProposalGroupContextExtensions, Extensions: h.extensions()}
	default:
		p = &Proposal{Type: ProposalPSK, PSK: h.psk()}
	}
	if p != nil {
		h.note("the external sender proposes type %d", p.Type)
		msg, err = i.Propose(0, h.bot, p)
	}
	h.must(err, "proposal from outside")
	if h.outside[string(msg)] { // word for word what came before
		return
	}
	h.outside[string(msg)] = true
	h.counts.Outside++
	h.spread(nil, msg)
}

// options draws what a commit does.
func (h *history) options() CommitOptions {
	o := CommitOptions{NoPath: h.chance(3), OmitTree: h.chance(4), IgnorePending: h.chance(8), Framing: h.framing()}
	for range h.rng.IntN(3) {
		if len(h.souls)+len(h.asked) < h.limit {
			o.Add = append(o.Add, h.ask().kp)
		}
	}
	if h.chance(4) {
		o.PSKs = append(o.PSKs, h.psk())
	}
	if h.chance(8) {
		o.Extensions = h.extensions()
	}
	if h.roles == nil && h.chance(10) {
		o.Proposals = append(o.Proposals, &Proposal{Type: customProposal, Custom: []byte("by value")})
	}
	return o
}

// commit has a member commit, perhaps against a rival whom nobody hears.
func (h *history) commit(by *soul, o CommitOptions) {
	o.Now, o.PSK = testNow, h.source
	for range h.rng.IntN(2 + len(h.souls)/h.limit) {
		if s := h.souls[h.rng.IntN(len(h.souls))]; s != by && len(h.souls)-len(o.Remove) > 3 && !slices.Contains(o.Remove, s.group.Self()) {
			o.Remove = append(o.Remove, s.group.Self())
		}
	}
	if h.chance(6) {
		key, err := by.group.suite.GenerateSigningKey()
		h.must(err, "key")
		o.Signer = key
		by.keys = append(by.keys, key)
	}
	var rival *Staged
	if other := h.pick(); h.chance(8) && other != by {
		h.counts.Rivals++
		var err error
		rival, err = other.group.Prepare(other.rows, CommitOptions{Now: testNow, PSK: h.source, Framing: h.framing()})
		h.must(err, "%s: rival commit", other.name)
		if s := h.pick(); s != other && s != by { // who hears of it drops it again
			_, err := s.group.Process(s.rows, rival.Commit, ProcessOptions{PSK: h.source})
			h.must(err, "%s: rival commit of %s", s.name, other.name)
		}
	}
	st, err := by.group.Prepare(by.rows, o)
	h.must(err, "%s: prepare %+v", by.name, o)
	h.note("%s commits %s, private %v, no path %v, tree omitted %v, signer %v; dropped %v",
		by.name, describeChanges(&st.Changes), o.Framing.Private, o.NoPath, o.OmitTree, o.Signer != nil, st.Changes.Dropped)
	if o.Framing.Private {
		h.counts.Private++
	}
	h.counts.Dropped += len(st.Changes.Dropped)
	if bytes.Equal(st.Next().private.LeafKey(), by.group.private.LeafKey()) {
		h.counts.WithoutPath++
	}
	h.must(by.merged(st), "%s", by.name)
	tree := by.group.RatchetTree()
	if !o.OmitTree {
		tree = nil
	}
	h.follow(by, st, tree)
	if rival != nil {
		var e *EpochError
		if _, err := by.group.Process(by.rows, rival.Commit, ProcessOptions{}); !errors.As(err, &e) {
			h.fail("rival commit: %v", err)
		}
	}
}

func describeChanges(c *Changes) string {
	var b strings.Builder
	for _, l := range []struct {
		what string
		list []Member
	}{{"adds", c.Added}, {"removes", c.Removed}, {"updates", c.Updated}} {
		for _, m := range l.list {
			fmt.Fprintf(&b, "%s %d ", l.what, m.Leaf)
		}
	}
	fmt.Fprintf(&b, "psks %d context %v", len(c.PSKs), c.Extensions != nil)
	return b.String()
}

// enter has someone come in by an external commit: a newcomer, or a member in
// the place of itself.
func (h *history) enter() {
	through := h.pick()
	var o ExternalJoinOptions
	var s, lost *soul
	// Where there are roles only members come back.
	if h.roles == nil && len(h.souls) < h.limit && h.chance(2) {
		s = h.person()
	} else {
		lost = h.pick()
		again := *lost.person
		again.rows, again.group, again.past = MemoryRows{}, nil, nil
		s = &soul{person: &again, keys: lost.keys}
		s.signer = lost.key()
		o.Replace = ptr(lost.group.Self())
	}
	info, err := through.group.GroupInfo(GroupInfoOptions{External: true, OmitTree: h.chance(2)})
	h.must(err, "group info")
	i, err := ParseGroupInfo(info, through.group.RatchetTree())
	h.must(err, "group info")
	o.Credential, o.Signer, o.PSK = s.cred, s.signer, h.source
	if h.roles == nil {
		o.Capabilities = customCaps
	}
	if h.chance(3) {
		o.PSKs = append(o.PSKs, h.psk())
	}
	if lost == nil {
		for _, l := range h.left {
			o.SelfRemoves = append(o.SelfRemoves, l.msg)
		}
	}
	st, err := i.Join(o)
	h.must(err, "%s: external commit", s.name)
	h.note("%s comes in by itself, again %v: %s", s.name, lost != nil, describeChanges(&st.Changes))
	h.counts.External++
	if lost != nil {
		h.counts.Resyncs++
		lost.queue, lost.lags = nil, false
	}
	g, past, err := st.Merge(s.rows)
	h.must(err, "%s: merge", s.name)
	if past != nil {
		h.fail("who comes in has a past")
	}
	s.group = g
	h.follow(s, st, nil)
}

// follow has the members hear of a commit, and those it adds come in.
func (h *history) follow(by *soul, st *Staged, tree []byte) {
	h.counts.Commits++
	h.counts.Added += len(st.Changes.Added)
	h.counts.Removed += len(st.Changes.Removed)
	h.counts.Updated += len(st.Changes.Updated)
	h.counts.PSKs += len(st.Changes.PSKs)
	if st.Changes.Extensions != nil {
		h.counts.Contexts++
	}
	gone := map[LeafIndex]bool{}
	for _, m := range st.Changes.Removed {
		gone[m.Leaf] = true
	}
	h.spreadLater(by, st.Commit)
	for _, s := range h.souls { // who slept through the commit before catches up now
		s.lags = !s.lags && s != by && h.chance(12)
		if s.lags {
			h.counts.Lags++
		}
	}
	h.drain()
	var stay, removed []*soul
	for _, s := range h.souls {
		switch {
		case !gone[s.group.Self()] || s == by:
			stay = append(stay, s)
		case s.lags: // it learns of it another time, which nobody waits for
		default:
			removed = append(removed, s)
		}
	}
	if st.Changes.External {
		stay = append(stay, by)
	}
	for _, m := range st.Changes.Added {
		k := slices.IndexFunc(h.asked, func(s *soul) bool { return bytes.Equal(s.kp.Leaf.SignatureKey, m.SignatureKey) })
		if k < 0 {
			h.fail("leaf %d was added, and nobody asked for it", m.Leaf)
		}
		s := h.asked[k]
		j, err := Join(s.rows, st.Welcome, JoinOptions{
			KeyPackage: s.kp, Private: s.private, Signer: s.signer, PSK: h.source, Plain: s.plain, RatchetTree: tree,
		})
		h.must(err, "%s: join", s.name)
		s.group = j.Group
		stay = append(stay, s)
	}
	h.souls, h.asked = stay, nil
	h.counts.Largest = max(h.counts.Largest, len(h.souls))
	h.settle()
	h.readLate()
	h.exclude(by, removed)
}

// spread gives a message to all but its sender, who look at it unless they lag.
func (h *history) spread(from *soul, msg []byte) {
	h.spreadLater(from, msg)
	h.drain()
}

func (h *history) spreadLater(from *soul, msg []byte) {
	for _, s := range h.souls {
		if s != from {
			s.queue = append(s.queue, msg)
		}
	}
}

// drain has all who do not lag process what they were sent.
func (h *history) drain() {
	err := parallel(len(h.souls), func(i int) error {
		s := h.souls[i]
		if s.lags {
			return nil
		}
		for _, msg := range s.queue {
			r, err := s.group.Process(s.rows, msg, ProcessOptions{Now: testNow, PSK: h.source})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if r.Commit == nil {
				continue
			}
			if r.Commit.Changes.SelfRemoved {
				past, err := s.group.Retire(s.rows)
				if err != nil {
					return fmt.Errorf("%s: retire: %w", s.name, err)
				}
				s.past = append(s.past, past)
				break
			}
			if err := s.merged(r.Commit); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		s.queue = nil
		return nil
	})
	h.must(err, "process")
}

// merged moves the soul on, and ends its past epochs but the last few.
func (s *soul) merged(st *Staged) error {
	next, past, err := st.Merge(s.rows)
	if err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	s.group, s.past = next, append(s.past, past)
	for ; len(s.past) > 3; s.past = s.past[1:] {
		delete(s.rows, s.past[0].CID())
	}
	return nil
}

// settle compares all members that are up to date with each other, and those of
// older epochs with what was agreed then.
func (h *history) settle() {
	facts := make([][]fact, len(h.souls))
	_ = parallel(len(h.souls), func(i int) error {
		facts[i] = factsOf(h.souls[i].group)
		return nil
	})
	current := h.pick().group
	for i, s := range h.souls {
		g := s.group
		want, ok := h.agreed[g.CID()]
		if !ok {
			h.agreed[g.CID()], want = facts[i], facts[i]
			h.must(fromScratch(g), "%s: tree from scratch", s.name)
			h.resumption[fmt.Sprintf("%x/%d", g.GroupID(), g.Epoch())] = g.ResumptionPSK()
		}
		for k := range want {
			if facts[i][k] != want[k] {
				h.fail("%s has another %s than the others", s.name, want[k].name)
			}
		}
		if s.lags {
			continue
		}
		if g.CID() != current.CID() {
			h.fail("%s is in epoch %d, and others in %d", s.name, g.Epoch(), current.Epoch())
		}
		if m, ok := g.Member(g.Self()); !ok || !m.Credential.Equal(s.cred) || s.key() == nil {
			h.fail("%s is not itself in its group", s.name)
		}
	}
	if current.Size() != len(h.souls) {
		h.fail("%d members where there should be %d", current.Size(), len(h.souls))
	}
}

// key returns the signature key of the soul's leaf; nil if it is none of its
// keys.
func (s *soul) key() suite.SigningKey {
	m, _ := s.group.Member(s.group.Self())
	for _, k := range s.keys {
		if bytes.Equal(k.Public(), m.SignatureKey) {
			return k
		}
	}
	return nil
}

// factsOf lists what all members have in common.
func factsOf(g *Group) []fact {
	var members []byte
	for _, m := range g.Members() {
		members = fmt.Appendf(members, "%d %x %x %v\n", m.Leaf, m.Credential.Append(nil), m.SignatureKey, m.Admin)
	}
	var out []fact
	for _, f := range []struct {
		name  string
		value []byte
	}{
		{"epoch", binary.BigEndian.AppendUint64(nil, g.Epoch())},
		{"epoch authenticator", g.EpochAuthenticator()},
		{"tree hash", g.tree.Hash()},
		{"tree", g.RatchetTree()},
		{"exporter", g.Export("history", []byte("context"), 48).Bytes()},
		{"roster", members},
		{"group context", g.context},
		{"resumption secret", g.ResumptionPSK().Bytes()},
		{"external secret", g.external.Bytes()},
		{"init secret", g.init.Bytes()},
		{"membership key", g.membership.Bytes()},
		{"sender data secret", g.senderData.Bytes()},
		{"interim transcript hash", g.interim},
		{"re-init", fmt.Append(nil, g.reInit != nil)},
	} {
		out = append(out, fact{f.name, sha256.Sum256(f.value)})
	}
	return out
}

// fromScratch decodes the tree and validates everything in it (RFC 9420, Section
// 12.4.3.1): hashes, parent hashes, signatures.
func fromScratch(g *Group) error {
	encoded := g.RatchetTree()
	tree, err := treekem.Parse(g.suite, encoded)
	if err != nil {
		return err
	}
	if !bytes.Equal(tree.Append(nil), encoded) {
		return errors.New("re-encodes differently")
	}
	if !bytes.Equal(tree.Hash(), g.gc.treeHash) || !bytes.Equal(tree.Hash(), g.tree.Hash()) {
		return errors.New("tree hash differs")
	}
	return tree.Validate(g.groupID)
}

// readLate has those who missed a message of an earlier epoch read it.
func (h *history) readLate() {
	for _, m := range h.late {
		for _, s := range m.to {
			if s.group.CID() == m.cid && !slices.ContainsFunc(s.past, func(p *Past) bool { return p.CID() == m.cid }) {
				if s.lags { // it is still there
					app, err := s.group.Unprotect(s.rows, m.msg)
					h.must(err, "%s: message while it lags", s.name)
					if string(app.Plaintext) != m.text {
						h.fail("%s reads %q", s.name, app.Plaintext)
					}
				}
				continue
			}
			k := slices.IndexFunc(s.past, func(p *Past) bool { return p.CID() == m.cid })
			if k < 0 { // it came back, or never was there
				continue
			}
			app, err := s.past[k].Unprotect(s.rows, m.msg)
			h.must(err, "%s: late message", s.name)
			if string(app.Plaintext) != m.text {
				h.fail("%s reads %q late", s.name, app.Plaintext)
			}
			if _, err := s.past[k].Unprotect(s.rows, m.msg); !errors.Is(err, ErrReplay) {
				h.fail("%s reads a late message twice: %v", s.name, err)
			}
			h.counts.Late++
		}
	}
	h.late = nil
}

// exclude checks that nobody who was removed reads on, and that who lags is told
// so.
func (h *history) exclude(by *soul, removed []*soul) {
	msg, _, err := by.group.Protect(by.rows, []byte("after"))
	h.must(err, "protect")
	m := lateMessage{cid: by.group.CID(), msg: msg, text: "after"}
	for _, s := range append(slices.Clone(h.souls), removed...) {
		switch {
		case s == by:
		case s.lags || slices.Contains(removed, s):
			rows := snapshot(s.rows)
			var e *EpochError
			if _, err := s.group.Unprotect(s.rows, msg); !errors.As(err, &e) || !same(rows, s.rows) {
				h.fail("%s, removed or behind, reads the next epoch: %v", s.name, err)
			}
			if s.lags {
				m.to = append(m.to, s)
			}
		default:
			app, err := s.group.Unprotect(s.rows, msg)
			h.must(err, "%s: message after the commit", s.name)
			if string(app.Plaintext) != "after" {
				h.fail("%s reads %q", s.name, app.Plaintext)
			}
		}
	}
	h.late = append(h.late, m)
}

// restart has someone come back with what was stored.
func (h *history) restart(s *soul) {
	h.counts.Restarts++
	key := s.key()
	if key == nil {
		h.fail("%s has no key", s.name)
	}
	s.signer = key
	s.person.restart()
}

// catchUp has all who lag process what waits.
func (h *history) catchUp() {
	for _, s := range h.souls {
		s.lags = false
	}
	h.drain()
	h.settle()
	h.readLate()
}

// talk has some members write to all.
func (h *history) talk() {
	for range min(5, len(h.souls)) {
		h.say()
	}
}

// reinit closes the group for another of any suite, in which it goes on.
func (h *history) reinit() {
	h.counts.ReInits++
	by := h.pick()
	to := &ReInit{GroupID: randomBytes(8), Version: treekem.MLS10, Suite: h.drawSuite(len(h.souls))}
	h.newBot(to.Suite)
	to.Extensions = h.extensions()
	h.note("re-init with suite 0x%04x", uint16(to.Suite))
	st, err := by.group.Prepare(by.rows, CommitOptions{
		IgnorePending: true, NoPath: h.chance(2), Framing: h.framing(), Now: testNow,
		Proposals: []*Proposal{{Type: ProposalReInit, ReInit: to}},
	})
	h.must(err, "%s: prepare a re-init", by.name)
	next, _, err := st.Merge(by.rows)
	h.must(err, "%s: merge", by.name)
	by.group = next
	h.spread(by, st.Commit)
	h.settle()

	h.suite, h.late, h.asked = to.Suite, nil, nil
	for _, s := range h.souls {
		s.signer = s.key()
		s.newKeyPackage(to.Suite)
		s.keys, s.past = []suite.SigningKey{s.signer}, nil
	}
	maker := h.pick()
	o := LinkOptions{Credential: maker.cred, Signer: maker.signer, Capabilities: customCaps, NoPath: h.chance(2), Now: testNow}
	for _, s := range h.souls {
		if s != maker {
			o.Members = append(o.Members, s.kp)
		}
	}
	made, err := maker.group.Reinitialize(o)
	h.must(err, "%s: successor", maker.name)
	for _, s := range h.souls {
		if s == maker {
			s.group, _, err = made.Merge(s.rows)
			h.must(err, "%s: merge", s.name)
			continue
		}
		j, err := Join(s.rows, made.Welcome, JoinOptions{KeyPackage: s.kp, Private: s.private, Signer: s.signer, Parent: s.group, Plain: s.plain})
		h.must(err, "%s: successor", s.name)
		s.group = j.Group
	}
	h.settle()
	for range 1 + h.rng.IntN(4) {
		h.step++
		h.live()
	}
	h.catchUp()
	h.talk()
}
