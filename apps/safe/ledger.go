package safe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// ErrOtherSafe is returned for an item that is about another Safe than the
// ledger, or another chain.
var ErrOtherSafe = errors.New("safe: item is about another Safe")

// ErrLie is what a *[LieError] is.
var ErrLie = errors.New("safe: the claimed hash is another's")

// LieError is returned for a proposal whose sender claims another hash than its
// fields have: who signed the hash would sign something else than was shown.
type LieError struct {
	From              common.Address
	Claimed, Computed common.Hash
}

func (e *LieError) Error() string {
	return fmt.Sprintf("safe: %s claims the hash %s for what has the hash %s", e.From, e.Claimed, e.Computed)
}

// Is reports whether target is [ErrLie].
func (e *LieError) Is(target error) bool { return target == ErrLie }

// Ledger is what the members have said about one Safe. It is a set: items may
// come in any order and any number of times, over the group or from a file, and
// whoever has the same items has the same ledger. It is not safe for concurrent
// use.
type Ledger struct {
	account Account
	records map[common.Hash]*record
	faults  map[common.Address][]Fault
	owners  time.Time // when the last notice of other owners came
}

// record is all that was said about one hash.
type record struct {
	transaction *Transaction // nil until it is proposed
	message     *Message     // likewise; a hash is of one or the other
	said        map[sayer]said
	// signed has at most one verified signature of each owner: merging takes the
	// least, so that order does not matter. What only the chain can verify is
	// kept by who brought it, since one member's false claim must not hide
	// another's true one.
	signed   map[common.Address]mark
	claims   map[claim]mark
	rejected map[common.Address]mark
}

// sayer is a member in one of two roles: it proposes, or it passes on.
type sayer struct {
	from    common.Address
	relayed bool
}

type said struct {
	note, origin string
	at           time.Time
}

type claim struct {
	owner, from common.Address
	kind        SignatureKind
}

type mark struct {
	signature Signature
	from      common.Address
	at        time.Time
}

// NewLedger returns an empty ledger of a Safe.
func NewLedger(a Account) *Ledger {
	return &Ledger{account: a, records: map[common.Hash]*record{}, faults: map[common.Address][]Fault{}}
}

// Account returns the Safe that the ledger is about.
func (l *Ledger) Account() Account { return l.account }

// Add takes an item in that a member sent, or brought, at a time. It keeps the
// item's slices. An item that does not hold changes nothing but the member's
// [Ledger.Faults]: it returns [ErrOtherSafe], a *[LieError], [ErrItem] or
// [ErrSignature].
func (l *Ledger) Add(item *Item, from common.Address, at time.Time) error {
	err := l.add(item, from, at)
	if err != nil && !errors.Is(err, ErrOtherSafe) {
		l.fault(from, at, err)
	}
	return err
}

func (l *Ledger) fault(from common.Address, at time.Time, err error) {
	f := Fault{From: from, Time: at, Err: err, Text: err.Error()}
	known := slices.ContainsFunc(l.faults[from], func(o Fault) bool { return o.Text == f.Text })
	if !known && len(l.faults[from]) < maxFaults {
		l.faults[from] = append(l.faults[from], f)
	}
}

func (l *Ledger) add(item *Item, from common.Address, at time.Time) error {
	if err := item.check(); err != nil {
		return err
	}
	if item.Account != l.account {
		return fmt.Errorf("%w: %s", ErrOtherSafe, item.Account)
	}
	switch {
	case item.Proposal != nil:
		p := item.Proposal
		hash := p.Transaction.Hash(l.account)
		if hash != p.Claimed {
			return &LieError{from, p.Claimed, hash}
		}
		r := l.record(hash)
		r.transaction = &p.Transaction
		r.say(sayer{from, p.Relayed}, said{p.Note, p.Origin, at})
	case item.Message != nil:
		m := item.Message
		hash := m.Message.Hash(l.account)
		if hash != m.Claimed {
			return &LieError{from, m.Claimed, hash}
		}
		r := l.record(hash)
		r.message = &m.Message
		r.say(sayer{from, m.Relayed}, said{m.Note, m.Origin, at})
	case item.Signature != nil:
		s := item.Signature
		if s.Signature.OnChain() {
			put(l.record(s.Hash).claims, claim{s.Signature.Owner, from, s.Signature.Kind}, mark{s.Signature, from, at})
			return nil
		}
		if err := s.Signature.Check(s.Hash); err != nil {
			return err
		}
		put(l.record(s.Hash).signed, s.Signature.Owner, mark{s.Signature, from, at})
	case item.Rejection != nil:
		j := item.Rejection
		if err := j.Signature.Check(RejectionHash(l.account, j.Hash)); err != nil {
			return err
		}
		put(l.record(j.Hash).rejected, j.Signature.Owner, mark{j.Signature, from, at})
	case item.Owners != nil:
		if at.After(l.owners) {
			l.owners = at
		}
	}
	return nil
}

func (l *Ledger) record(hash common.Hash) *record {
	r := l.records[hash]
	if r == nil {
		r = &record{
			said: map[sayer]said{}, signed: map[common.Address]mark{},
			claims: map[claim]mark{}, rejected: map[common.Address]mark{},
		}
		l.records[hash] = r
	}
	return r
}

// say keeps the least of what one member says in one role, and the time of the
// first.
func (r *record) say(by sayer, s said) {
	old, ok := r.said[by]
	if ok {
		if old.at.Before(s.at) {
			s.at = old.at
		}
		if cmp.Or(cmp.Compare(old.note, s.note), cmp.Compare(old.origin, s.origin)) < 0 {
			s.note, s.origin = old.note, old.origin
		}
	}
	r.said[by] = s
}

// put keeps the least signature under a key, and of the same one the first.
func put[K comparable](m map[K]mark, key K, s mark) {
	old, ok := m[key]
	if ok {
		if cmp.Or(cmp.Compare(old.signature.Kind, s.signature.Kind), bytes.Compare(old.signature.Data, s.signature.Data),
			old.at.Compare(s.at), old.from.Cmp(s.from)) <= 0 {
			return
		}
	}
	m[key] = s
}

// Faults lists what members have done that honest clients do not do, by member.
// How many are kept of each is limited.
func (l *Ledger) Faults() []Fault {
	var all []Fault
	for _, from := range sortedAddresses(l.faults) {
		all = append(all, l.faults[from]...)
	}
	return all
}

// Items returns the ledger's items for who has none of them: proposals as
// passed on, each signature once. With hashes it returns those about them alone.
func (l *Ledger) Items(hashes ...common.Hash) []*Item {
	if len(hashes) == 0 {
		hashes = slices.SortedFunc(maps.Keys(l.records), common.Hash.Cmp)
	}
	var all []*Item
	for _, hash := range hashes {
		r := l.records[hash]
		if r == nil {
			continue
		}
		note, origin := r.words()
		switch {
		case r.transaction != nil:
			all = append(all, &Item{Account: l.account, Proposal: &Proposal{*r.transaction, hash, note, origin, true}})
		case r.message != nil:
			all = append(all, &Item{Account: l.account, Message: &MessageProposal{*r.message, hash, note, origin, true}})
		}
		for _, m := range r.marks() {
			all = append(all, &Item{Account: l.account, Signature: &SignatureItem{hash, m.signature}})
		}
		for _, owner := range sortedAddresses(r.rejected) {
			all = append(all, &Item{Account: l.account, Rejection: &Rejection{hash, r.rejected[owner].signature}})
		}
	}
	return all
}

// structHash returns what of the record's hash is before the domain, once
// somebody has said what the hash is of.
func (r *record) structHash() (common.Hash, bool) {
	switch {
	case r.transaction != nil:
		return r.transaction.MessageHash(), true
	case r.message != nil:
		return r.message.StructHash(), true
	}
	return common.Hash{}, false
}

// ask is a signature that only the chain can verify.
type ask struct {
	hash, structHash common.Hash
	signature        Signature
	// unheard says that nobody claims it: whether an owner has approved the hash
	// on the chain can be asked without having been told.
	unheard bool
}

func (a *ask) key() string { return claimKey(a.hash, &a.signature) }

// claims lists what the chain is to be asked about what is not settled, up to a
// limit: the claims of owners, and whether owners have approved what is proposed
// without telling anybody.
func (l *Ledger) claims(s *Snapshot) []ask {
	var all, unheard []ask
	for _, hash := range slices.SortedFunc(maps.Keys(l.records), common.Hash.Cmp) {
		r := l.records[hash]
		structHash, ok := r.structHash()
		if !ok || r.transaction != nil && r.transaction.Nonce.LtUint64(s.Nonce) {
			continue
		}
		for _, m := range r.marks() {
			if m.signature.OnChain() && slices.Contains(s.Owners, m.signature.Owner) {
				all = append(all, ask{hash, structHash, m.signature, false})
			}
		}
		for _, owner := range s.Owners {
			approval := Signature{Owner: owner, Kind: Approved}
			if r.transaction != nil && !slices.ContainsFunc(r.marks(), func(m mark) bool { return m.signature.Owner == owner }) {
				unheard = append(unheard, ask{hash, structHash, approval, true})
			}
		}
	}
	all = append(all, unheard...)
	return all[:min(len(all), maxClaims)]
}

// has reports whether an item would change nothing but who says it.
func (l *Ledger) has(i *Item) bool {
	hash := i.hash()
	r := l.records[hash]
	if r == nil {
		return false
	}
	switch {
	case i.Proposal != nil:
		return r.transaction != nil
	case i.Message != nil:
		return r.message != nil
	case i.Signature != nil:
		s := &i.Signature.Signature
		if !s.OnChain() {
			_, ok := r.signed[s.Owner]
			return ok
		}
		return slices.ContainsFunc(r.marks(), func(m mark) bool { return m.signature.equal(s) })
	case i.Rejection != nil:
		_, ok := r.rejected[i.Rejection.Signature.Owner]
		return ok
	}
	return true
}

// hash returns what an item is about.
func (i *Item) hash() common.Hash {
	switch {
	case i.Proposal != nil:
		return i.Proposal.Claimed
	case i.Message != nil:
		return i.Message.Claimed
	case i.Signature != nil:
		return i.Signature.Hash
	case i.Rejection != nil:
		return i.Rejection.Hash
	}
	return common.Hash{}
}

// words returns the note and origin of the first who proposed, else of the first
// who passed it on. Where times are equal the address decides.
func (r *record) words() (note, origin string) {
	var best *sayer
	for by, s := range r.said {
		if best != nil {
			o := r.said[*best]
			if cmp.Or(compareBool(best.relayed, by.relayed), o.at.Compare(s.at), best.from.Cmp(by.from)) <= 0 {
				continue
			}
		}
		best, note, origin = &by, s.note, s.origin
	}
	return note, origin
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// marks returns the signatures of a record, in the order of their owners: those
// that are verified, then claims, each of which is listed once.
func (r *record) marks() []mark {
	var all []mark
	for _, owner := range sortedAddresses(r.signed) {
		all = append(all, r.signed[owner])
	}
	claims := slices.SortedFunc(maps.Keys(r.claims), func(a, b claim) int {
		return cmp.Or(a.owner.Cmp(b.owner), cmp.Compare(a.kind, b.kind), a.from.Cmp(b.from))
	})
	for _, c := range claims {
		m := r.claims[c]
		if !slices.ContainsFunc(all, func(o mark) bool { return o.signature.equal(&m.signature) }) {
			all = append(all, m)
		}
	}
	return all
}

func (s *Signature) equal(o *Signature) bool {
	return s.Owner == o.Owner && s.Kind == o.Kind && bytes.Equal(s.Data, o.Data)
}

func sortedAddresses[V any](m map[common.Address]V) []common.Address {
	return slices.SortedFunc(maps.Keys(m), common.Address.Cmp)
}
