package safe

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// ChainView is what a ledger is read against.
type ChainView struct {
	// Snapshot is the Safe as last read. Nil where there is no chain, as on an
	// offline machine: then nobody is known to be an owner, and nothing is ready.
	Snapshot *Snapshot
	// Claim verifies a signature that only the chain can verify. Nil for none.
	Claim func(hash common.Hash, s *Signature) error
	// Outcomes are what became of hashes whose nonce was used.
	Outcomes map[common.Hash]*Outcome
}

var (
	errNotOwner   = errors.New("not an owner now")
	errNeedsChain = errors.New("only the chain can verify it")
	errOwnersOpen = errors.New("the owners are not known without the chain")
)

func (v *ChainView) owner(a common.Address) bool {
	return v.Snapshot != nil && slices.Contains(v.Snapshot.Owners, a)
}

// judge returns why a signature of a record does not count, or nil.
func (v *ChainView) judge(hash common.Hash, s *Signature) error {
	if s.OnChain() {
		if v.Claim == nil {
			return errNeedsChain
		}
		if err := v.Claim(hash, s); err != nil {
			return err
		}
	}
	switch {
	case v.Snapshot == nil:
		return errOwnersOpen
	case !v.owner(s.Owner):
		return errNotOwner
	}
	return nil
}

// confirmations returns one signature of each owner, in the order of owners:
// one that counts, if there is any.
func (r *record) confirmations(hash common.Hash, v *ChainView) []Confirmation {
	all := []Confirmation{}
	for _, m := range r.marks() {
		c := Confirmation{Signature: m.signature, From: m.from, Time: m.at, Counts: true}
		if err := v.judge(hash, &m.signature); err != nil {
			c.Counts, c.Why = false, err.Error()
		}
		i := slices.IndexFunc(all, func(o Confirmation) bool { return o.Signature.Owner == c.Signature.Owner })
		switch {
		case i < 0:
			all = append(all, c)
		case c.Counts && !all[i].Counts:
			all[i] = c
		}
	}
	slices.SortFunc(all, func(a, b Confirmation) int { return a.Signature.Owner.Cmp(b.Signature.Owner) })
	return all
}

func (r *record) rejections(v *ChainView) []Confirmation {
	all := []Confirmation{}
	for _, owner := range sortedAddresses(r.rejected) {
		m := r.rejected[owner]
		c := Confirmation{Signature: m.signature, From: m.from, Time: m.at, Counts: v.owner(owner)}
		if !c.Counts {
			c.Why = errNotOwner.Error()
			if v.Snapshot == nil {
				c.Why = errOwnersOpen.Error()
			}
		}
		all = append(all, c)
	}
	return all
}

// proposers returns who proposes, the first heard first.
func (r *record) proposers() []common.Address {
	type one struct {
		from common.Address
		at   time.Time
	}
	var all []one
	for by, s := range r.said {
		if !by.relayed {
			all = append(all, one{by.from, s.at})
		}
	}
	slices.SortFunc(all, func(a, b one) int { return cmp.Or(a.at.Compare(b.at), a.from.Cmp(b.from)) })
	out := make([]common.Address, len(all))
	for i, o := range all {
		out[i] = o.from
	}
	return out
}

// times returns when the first proposal and when the last item came.
func (r *record) times() (first, last time.Time) {
	note := func(at time.Time) {
		if at.After(last) {
			last = at
		}
	}
	for _, s := range r.said {
		if first.IsZero() || s.at.Before(first) {
			first = s.at
		}
		note(s.at)
	}
	for _, m := range r.signed {
		note(m.at)
	}
	for _, m := range r.claims {
		note(m.at)
	}
	for _, m := range r.rejected {
		note(m.at)
	}
	return first, last
}

// shown reports whether a record is of those who have a say: an owner sent it, or
// has signed or rejected it. Anybody's is shown where owners are unknown.
func (r *record) shown(confirmations, rejections []Confirmation, v *ChainView) bool {
	if v.Snapshot == nil {
		return true
	}
	for by := range r.said {
		if v.owner(by.from) {
			return true
		}
	}
	return counting(confirmations) > 0 || counting(rejections) > 0
}

func counting(all []Confirmation) int {
	n := 0
	for _, c := range all {
		if c.Counts {
			n++
		}
	}
	return n
}

// status weighs signatures against the threshold.
func (v *ChainView) status(confirmations, rejections []Confirmation) (s Status, missing int) {
	if v.Snapshot == nil {
		return Waiting, 0
	}
	missing = max(0, int(v.Snapshot.Threshold)-counting(confirmations))
	if missing == 0 {
		return Ready, 0
	}
	against := 0
	for _, r := range rejections {
		signed := slices.ContainsFunc(confirmations, func(c Confirmation) bool { return c.Counts && c.Signature.Owner == r.Signature.Owner })
		if r.Counts && !signed { // a signature cannot be taken back
			against++
		}
	}
	if len(v.Snapshot.Owners)-against < int(v.Snapshot.Threshold) {
		return Rejected, missing
	}
	return Waiting, missing
}

// Transactions returns all transactions, the highest nonce first.
func (l *Ledger) Transactions(v ChainView) []*Entry {
	all := []*Entry{}
	for hash, r := range l.records {
		if r.transaction == nil {
			continue
		}
		e := &Entry{
			Hash: hash, MessageHash: r.transaction.MessageHash(), Transaction: *r.transaction, Proposers: r.proposers(),
			Confirmations: r.confirmations(hash, &v), Rejections: r.rejections(&v), Outcome: v.Outcomes[hash],
		}
		if e.Outcome == nil && !r.shown(e.Confirmations, e.Rejections, &v) {
			continue
		}
		e.Note, e.Origin = r.words()
		e.Proposed, e.Modified = r.times()
		e.Status, e.Missing = v.status(e.Confirmations, e.Rejections)
		switch {
		case e.Outcome != nil && e.Outcome.Success:
			e.Status, e.Missing = Executed, 0
		case e.Outcome != nil:
			e.Status, e.Missing = Failed, 0
		case v.Snapshot != nil && e.Transaction.Nonce.LtUint64(v.Snapshot.Nonce):
			e.Status, e.Missing = Superseded, 0
		}
		if v.Snapshot != nil {
			e.Threshold = v.Snapshot.Threshold
		}
		all = append(all, e)
	}
	for _, e := range all {
		e.Decoded, e.Warnings = Decode(e.Transaction.Data), []Warning{}
		if e.open() {
			e.Warnings = append(e.Warnings, Warnings(l.account, v.Snapshot, &e.Transaction, rivals(all, e))...)
		}
	}
	slices.SortFunc(all, func(a, b *Entry) int {
		return cmp.Or(b.Transaction.Nonce.Cmp(&a.Transaction.Nonce), a.Proposed.Compare(b.Proposed), a.Hash.Cmp(b.Hash))
	})
	return all
}

// open reports whether a transaction may still be executed.
func (e *Entry) open() bool { return e.Status == Waiting || e.Status == Ready || e.Status == Rejected }

// rivals returns the other transactions that may still be executed.
func rivals(all []*Entry, e *Entry) []*Transaction {
	var out []*Transaction
	for _, o := range all {
		if o != e && o.open() {
			out = append(out, &o.Transaction)
		}
	}
	return out
}

// Messages returns all off-chain messages, the latest first.
func (l *Ledger) Messages(v ChainView) []*MessageEntry {
	all := []*MessageEntry{}
	for hash, r := range l.records {
		if r.message == nil {
			continue
		}
		e := &MessageEntry{
			Hash: hash, Message: *r.message, Proposers: r.proposers(),
			Confirmations: r.confirmations(hash, &v), Rejections: r.rejections(&v),
		}
		if !r.shown(e.Confirmations, e.Rejections, &v) {
			continue
		}
		e.Note, e.Origin = r.words()
		e.Proposed, e.Modified = r.times()
		if v.Snapshot != nil {
			e.Threshold = v.Snapshot.Threshold
		}
		if e.Status, e.Missing = v.status(e.Confirmations, e.Rejections); e.Status == Ready {
			e.Signature, _ = PackSignatures(sufficient(e.Confirmations, v.Snapshot.Threshold))
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *MessageEntry) int { return cmp.Or(b.Proposed.Compare(a.Proposed), a.Hash.Cmp(b.Hash)) })
	return all
}

// Signatures returns the signatures that count, for [CallData]: no more than the
// threshold asks for.
func (e *Entry) Signatures() []Signature { return sufficient(e.Confirmations, e.Threshold) }

// sufficient returns as many of the signatures that count as the threshold asks
// for: those of keys before those that cost the executor a call.
func sufficient(all []Confirmation, threshold uint64) []Signature {
	var out []Signature
	for _, onChain := range []bool{false, true} {
		for _, c := range all {
			if c.Counts && c.Signature.OnChain() == onChain && uint64(len(out)) < threshold {
				out = append(out, c.Signature)
			}
		}
	}
	return out
}
