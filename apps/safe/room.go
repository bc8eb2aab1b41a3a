package safe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/parley-im/parley"
)

var (
	// ErrNoRoom is returned where no group is bound to the Safe yet.
	ErrNoRoom = errors.New("safe: no group is bound to this Safe yet")
	// ErrNotOwner is returned when an account is not an owner of the Safe.
	ErrNotOwner = errors.New("safe: not an owner of the Safe")
	// ErrUnknownTransaction is returned for a hash that nobody has proposed.
	ErrUnknownTransaction = errors.New("safe: no such transaction")
)

// ErrStrangers is what a *[StrangersError] is.
var ErrStrangers = errors.New("safe: the group has members who are not owners")

// StrangersError is returned for writing while all groups of the Safe have
// members who are not its owners, or not any more.
type StrangersError struct {
	Group   parley.GroupRef
	Members []common.Address
}

func (e *StrangersError) Error() string {
	names := make([]string, len(e.Members))
	for i, m := range e.Members {
		names[i] = m.Hex()
	}
	return fmt.Sprintf("safe: group %q has members who are not owners: %s", e.Group.Name, strings.Join(names, ", "))
}

// Is reports whether target is [ErrStrangers].
func (e *StrangersError) Is(target error) bool { return target == ErrStrangers }

// OpenOptions are the optional parts of opening a room; the zero value works.
type OpenOptions struct {
	Name string // of the group, if one is made
}

// Room is a Safe's ledger, kept up to date from the group of its owners and from
// the chain. Its methods may be called from any goroutine.
type Room struct {
	m       Messenger
	chain   *Chain
	account Account
	self    common.Address

	reading  sync.Mutex             // held by one Refresh at a time; guards what follows
	searched map[common.Hash]uint64 // the first block in which an outcome was not looked for

	mu       sync.Mutex // guards what follows
	ledger   *Ledger
	snapshot *Snapshot
	groups   []parley.Group // bound to the Safe, also those that were left
	cursors  map[string]parley.Cursor
	verdicts map[string]error // of signatures that only the chain can verify
	outcomes map[common.Hash]*Outcome
	absent   map[common.Address]error // owners who could not be brought in, and why
	noticed  map[string]bool          // of what owners which group was told
}

// purpose is that of the groups that are bound to a Safe.
func purpose(a Account) string { return typePrefix + a.String() }

// AccountOfPurpose returns the Safe that a group is bound to by its purpose.
func AccountOfPurpose(p string) (a Account, ok bool) {
	var address string
	n, err := fmt.Sscanf(p, typePrefix+"eip155:%d:%s", &a.ChainID, &address)
	a.Address = common.HexToAddress(address)
	return a, err == nil && n == 2 && purpose(a) == p
}

// Open enters the room of a Safe: it finds the group that is bound to it, or
// makes one and brings the other owners in, those who can be reached. It returns
// [ErrNotOwner] for who is not an owner, and the errors of reading the chain.
func Open(ctx context.Context, m Messenger, chain *Chain, address common.Address, o OpenOptions) (*Room, error) {
	r, err := newRoom(ctx, m, chain, address)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(r.snapshot.Owners, r.self) {
		return nil, fmt.Errorf("%w: %s", ErrNotOwner, r.self)
	}
	if err := r.pull(ctx); err != nil {
		return nil, err
	}
	if !r.mendable() {
		if err := r.found(ctx, o.Name); err != nil {
			return nil, err
		}
	}
	if err := r.follow(ctx, true); err != nil {
		return nil, err
	}
	return r, r.Refresh(ctx)
}

// Find enters the room of a Safe whose group is there. It returns [ErrNoRoom]
// if it is not.
func Find(ctx context.Context, m Messenger, chain *Chain, address common.Address) (*Room, error) {
	r, err := newRoom(ctx, m, chain, address)
	if err != nil {
		return nil, err
	}
	if len(r.groups) == 0 {
		return nil, ErrNoRoom
	}
	return r, r.Refresh(ctx)
}

func newRoom(ctx context.Context, m Messenger, chain *Chain, address common.Address) (*Room, error) {
	snapshot, err := chain.Read(ctx, address)
	if err != nil {
		return nil, err
	}
	info, err := m.Info(ctx)
	if err != nil {
		return nil, err
	}
	r := &Room{
		m: m, chain: chain, account: snapshot.Account, self: common.HexToAddress(info.Address),
		ledger: NewLedger(snapshot.Account), snapshot: snapshot, cursors: map[string]parley.Cursor{},
		verdicts: map[string]error{}, outcomes: map[common.Hash]*Outcome{}, absent: map[common.Address]error{}, noticed: map[string]bool{}, searched: map[common.Hash]uint64{},
	}
	r.groups, err = r.bound(ctx)
	return r, err
}

func short(a common.Address) string {
	s := a.Hex()
	return s[:6] + "…" + s[len(s)-4:]
}

// Account returns the Safe.
func (r *Room) Account() Account { return r.account }

// Self returns the account of this client.
func (r *Room) Self() common.Address { return r.self }

// Chain returns the chain that the room reads.
func (r *Room) Chain() *Chain { return r.chain }

// Snapshot returns the Safe as last read. Do not change it.
func (r *Room) Snapshot() *Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot
}

// Refresh reads what is new in the group and on the chain, and has the group
// follow the owners.
func (r *Room) Refresh(ctx context.Context) error { return r.refresh(ctx, false) }

func (r *Room) refresh(ctx context.Context, invite bool) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	snapshot, err := r.chain.Read(ctx, r.account.Address)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.snapshot = snapshot
	r.mu.Unlock()
	if err := r.pull(ctx); err != nil {
		return err
	}
	if err := r.follow(ctx, invite); err != nil {
		return err
	}
	return r.verify(ctx)
}

// Watch keeps the room up to date until ctx ends, and tells when it may have
// changed: it looks when somebody writes, and at the chain every so often. The
// group follows the owners meanwhile, and those who could not be brought in are
// tried again. An RPC endpoint that does not answer is asked again; failed, if
// not nil, is told.
func (r *Room) Watch(ctx context.Context, every time.Duration, changed func(), failed func(error)) error {
	wake := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- r.listen(ctx, wake) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for invited := (time.Time{}); ; {
		invite := time.Since(invited) > inviteEvery
		if invite {
			invited = time.Now()
		}
		switch err := r.refresh(ctx, invite); {
		case err == nil:
			changed()
		case ctx.Err() == nil && failed != nil:
			failed(err)
		}
		select {
		case err := <-ended:
			return err
		case <-wake:
		case <-tick.C:
		}
	}
}

// inviteEvery is how often owners who could not be brought in are tried again.
const inviteEvery = 10 * time.Minute

// listen wakes the watch when a message or a change of the group arrives.
func (r *Room) listen(ctx context.Context, wake chan<- struct{}) error {
	var after parley.Cursor
	r.mu.Lock()
	for _, c := range r.cursors {
		after = max(after, c)
	}
	r.mu.Unlock()
	for e, err := range r.m.Subscribe(ctx, after) {
		if err != nil {
			return err
		}
		if e.Kind != parley.EventGroup && (e.Kind != parley.EventMessage || !strings.HasPrefix(e.Message.Content.Type, typePrefix)) {
			continue
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return ctx.Err()
}

// pull takes in what members have written since the last time.
func (r *Room) pull(ctx context.Context) error {
	groups, err := r.bound(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.groups = groups
	r.mu.Unlock()
	for _, g := range groups {
		for {
			r.mu.Lock()
			after := r.cursors[g.ID]
			r.mu.Unlock()
			const page = 256
			all, err := r.m.ApplicationMessages(ctx, g.ID, typePrefix, after, page)
			if err != nil {
				return err
			}
			r.mu.Lock()
			for _, m := range all {
				r.take(m)
				r.cursors[g.ID] = m.Cursor
			}
			r.mu.Unlock()
			if len(all) < page {
				break
			}
		}
	}
	return nil
}

// take adds a message to the ledger. Held: r.mu.
func (r *Room) take(m parley.Message) {
	from := common.HexToAddress(m.From.Address)
	item, err := parseItem(m.Content.Type, m.Content.Data)
	switch {
	case errors.Is(err, ErrItemType): // of a newer version
	case err != nil:
		r.ledger.fault(from, m.Time, err)
	default:
		_ = r.ledger.Add(item, from, m.Time) // what is wrong with it is among the faults
	}
}

// verify asks the chain what only it can say: about signatures of contracts and
// approvals, and about what became of transactions.
func (r *Room) verify(ctx context.Context) error {
	r.mu.Lock()
	snapshot := r.snapshot
	asks := r.ledger.claims(snapshot)
	var over []common.Hash
	for hash, o := range r.outcomes {
		if o.Block+reorganised > snapshot.Block { // the chain may yet think otherwise
			delete(r.outcomes, hash)
		}
	}
	for hash, rec := range r.ledger.records {
		if rec.transaction != nil && rec.transaction.Nonce.LtUint64(snapshot.Nonce) && r.outcomes[hash] == nil {
			over = append(over, hash)
		}
	}
	r.mu.Unlock()
	verdicts := map[string]error{}
	var approvals []*Item
	for _, a := range asks {
		err := r.chain.VerifySignature(ctx, snapshot, a.structHash, a.signature)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && a.unheard {
			approvals = append(approvals, &Item{Account: r.account, Signature: &SignatureItem{a.hash, a.signature}})
		}
		verdicts[a.key()] = err
	}
	slices.SortFunc(over, common.Hash.Cmp)
	outcomes, err := r.settled(ctx, snapshot, over)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdicts = verdicts
	for _, i := range approvals {
		_ = r.ledger.Add(i, i.Signature.Signature.Owner, time.Now()) // it is well formed
	}
	for hash, o := range outcomes {
		r.outcomes[hash] = o
	}
	return nil
}

// reorganised is how many of the latest blocks are looked at again: the chain may
// put others in their place.
const reorganised = 64

// settled asks the chain what became of transactions whose nonce was used. A
// block is searched once for each: what another took the nonce of is nowhere.
func (r *Room) settled(ctx context.Context, s *Snapshot, hashes []common.Hash) (map[common.Hash]*Outcome, error) {
	all := map[common.Hash]*Outcome{}
	from := map[uint64][]common.Hash{}
	for _, hash := range hashes {
		from[r.searched[hash]] = append(from[r.searched[hash]], hash)
	}
	for block, some := range from {
		found, err := r.chain.Outcomes(ctx, s, some, block, s.Block)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, found)
		for _, hash := range some {
			r.searched[hash] = s.Block - min(s.Block, reorganised)
		}
	}
	return all, nil
}

// view is the ledger's. Held: r.mu.
func (r *Room) view() ChainView {
	verdicts := r.verdicts
	return ChainView{Snapshot: r.snapshot, Outcomes: r.outcomes, Claim: func(hash common.Hash, s *Signature) error {
		err, known := verdicts[claimKey(hash, s)]
		if !known {
			return errUnverified
		}
		return err
	}}
}

var errUnverified = errors.New("not verified on the chain yet")

func claimKey(hash common.Hash, s *Signature) string {
	return string(hash[:]) + string(s.Owner[:]) + string(rune(s.Kind)) + string(s.Data)
}

// Transactions returns all transactions, the highest nonce first.
func (r *Room) Transactions() []*Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ledger.Transactions(r.view())
}

// Warnings says what a signer should know of a transaction, proposed or not.
func (r *Room) Warnings(t *Transaction) []Warning {
	r.mu.Lock()
	defer r.mu.Unlock()
	var others []*Transaction
	for _, e := range r.ledger.Transactions(r.view()) {
		if e.open() && !e.Transaction.Equal(t) {
			others = append(others, &e.Transaction)
		}
	}
	return Warnings(r.account, r.snapshot, t, others)
}

// Transaction returns one, by its safeTxHash, or [ErrUnknownTransaction].
func (r *Room) Transaction(hash common.Hash) (*Entry, error) {
	for _, e := range r.Transactions() {
		if e.Hash == hash {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknownTransaction, hash)
}

// Messages returns all off-chain messages, the latest first.
func (r *Room) Messages() []*MessageEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ledger.Messages(r.view())
}

// Message returns one, by the hash of its SafeMessage, or
// [ErrUnknownTransaction].
func (r *Room) Message(hash common.Hash) (*MessageEntry, error) {
	for _, e := range r.Messages() {
		if e.Hash == hash {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknownTransaction, hash)
}

// Faults lists what members have done that honest clients do not do.
func (r *Room) Faults() []Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ledger.Faults()
}

// ProposeOptions are what is said about a proposal; the zero value works.
type ProposeOptions struct {
	Note   string // for the other signers
	Origin string // which program proposes
	// Claimed, if not zero, must be the hash, else a *[LieError].
	Claimed common.Hash
	// Signatures are sent with it.
	Signatures []Signature
}

// Propose sends a transaction to the other owners. Proposing it again changes
// nothing. It returns [ErrItem] for what exceeds a limit, the errors of Confirm,
// and those of writing: [ErrNoRoom], a *[StrangersError], [ErrNotOwner].
func (r *Room) Propose(ctx context.Context, t *Transaction, o ProposeOptions) (*Entry, error) {
	hash := t.Hash(r.account)
	if o.Claimed != (common.Hash{}) && o.Claimed != hash {
		return nil, &LieError{r.self, o.Claimed, hash}
	}
	items := []*Item{{Account: r.account, Proposal: &Proposal{Transaction: *t, Claimed: hash, Note: o.Note, Origin: o.Origin}}}
	signed, err := r.signatures(ctx, hash, t.MessageHash(), o.Signatures)
	if err != nil {
		return nil, err
	}
	if err := r.post(ctx, append(items, signed...)); err != nil {
		return nil, err
	}
	return r.Transaction(hash)
}

// ProposeMessage sends an off-chain message to the other owners, as Propose
// does a transaction.
func (r *Room) ProposeMessage(ctx context.Context, m *Message, o ProposeOptions) (*MessageEntry, error) {
	hash := m.Hash(r.account)
	if o.Claimed != (common.Hash{}) && o.Claimed != hash {
		return nil, &LieError{r.self, o.Claimed, hash}
	}
	items := []*Item{{Account: r.account, Message: &MessageProposal{Message: *m, Claimed: hash, Note: o.Note, Origin: o.Origin}}}
	signed, err := r.signatures(ctx, hash, m.StructHash(), o.Signatures)
	if err != nil {
		return nil, err
	}
	if err := r.post(ctx, append(items, signed...)); err != nil {
		return nil, err
	}
	return r.Message(hash)
}

// Confirm sends owners' signatures over a transaction or a message that was
// proposed, after it has verified them. It returns [ErrUnknownTransaction],
// [ErrSignature], [ErrNotOwner] for a signature by who is none, and the errors
// of writing.
func (r *Room) Confirm(ctx context.Context, hash common.Hash, signatures ...Signature) error {
	structHash, err := r.structHash(hash)
	if err != nil {
		return err
	}
	items, err := r.signatures(ctx, hash, structHash, signatures)
	if err != nil {
		return err
	}
	return r.post(ctx, items)
}

// Reject sends an owner's signature over [RejectionHash]. Errors are those of
// Confirm.
func (r *Room) Reject(ctx context.Context, hash common.Hash, s Signature) error {
	if _, err := r.structHash(hash); err != nil {
		return err
	}
	if !slices.Contains(r.Snapshot().Owners, s.Owner) {
		return fmt.Errorf("%w: %s", ErrNotOwner, s.Owner)
	}
	if err := s.Check(RejectionHash(r.account, hash)); err != nil {
		return err
	}
	return r.post(ctx, []*Item{{Account: r.account, Rejection: &Rejection{hash, s}}})
}

// structHash returns what of a proposed hash is before the domain.
func (r *Room) structHash(hash common.Hash) (common.Hash, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec := r.ledger.records[hash]; rec != nil {
		if h, ok := rec.structHash(); ok {
			return h, nil
		}
	}
	return common.Hash{}, fmt.Errorf("%w: %s", ErrUnknownTransaction, hash)
}

// signatures verifies signatures and makes items of them.
func (r *Room) signatures(ctx context.Context, hash, structHash common.Hash, all []Signature) ([]*Item, error) {
	snapshot := r.Snapshot()
	var items []*Item
	for _, s := range all {
		if !slices.Contains(snapshot.Owners, s.Owner) {
			return nil, fmt.Errorf("%w: %s", ErrNotOwner, s.Owner)
		}
		if err := r.chain.VerifySignature(ctx, snapshot, structHash, s); err != nil {
			return nil, err
		}
		items = append(items, &Item{Account: r.account, Signature: &SignatureItem{hash, s}})
	}
	return items, nil
}

// Export returns the items of hashes, or of all, for [Export].
func (r *Room) Export(hashes ...common.Hash) []*Item {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ledger.Items(hashes...)
}

// Import sends items of an export to the group, those that it does not have,
// and returns how many these were. The whole export is checked before anything
// is sent: it returns [ErrOtherSafe], a *[LieError] or [ErrSignature].
func (r *Room) Import(ctx context.Context, items []*Item) (int, error) {
	trial := NewLedger(r.account)
	for _, i := range items {
		if err := trial.Add(i, r.self, time.Now()); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	var fresh []*Item
	for _, i := range trial.Items() {
		if !r.ledger.has(i) {
			fresh = append(fresh, i)
		}
	}
	r.mu.Unlock()
	return len(fresh), r.post(ctx, fresh)
}

// post writes items to the group, and takes them in.
func (r *Room) post(ctx context.Context, items []*Item) error {
	g, err := r.writable()
	if err != nil {
		return err
	}
	if err := r.send(ctx, g, items, ""); err != nil {
		return err
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	if err := r.pull(ctx); err != nil {
		return err
	}
	return r.verify(ctx)
}

// send writes items to a group: each once, for one occasion.
func (r *Room) send(ctx context.Context, g *parley.Group, items []*Item, occasion string) error {
	for _, i := range items {
		typ, body, err := i.marshal()
		if err != nil {
			return err
		}
		key := sha256.Sum256([]byte(g.ID + occasion + typ + string(body)))
		if _, err := r.m.SendGroup(ctx, g.ID, parley.Application(typ, body), parley.SendOptions{IdempotencyKey: hex.EncodeToString(key[:])}); err != nil {
			return err
		}
	}
	return nil
}
