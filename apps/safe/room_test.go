package safe

import (
	"context"
	"errors"
	"math/big"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// neighbours are a chain, and people who are parley clients on loopback.
type neighbours struct {
	t         *testing.T
	dev       *devchain.Chain
	chain     *Chain
	bootstrap []string
}

type person struct {
	*parley.Client
	w      *neighbours
	name   string
	wallet *identity.KeyWallet
}

func newNeighbours(t *testing.T) *neighbours {
	t.Helper()
	dev, err := devchain.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	chain, err := DialChain(t.Context(), dev.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	return &neighbours{t: t, dev: dev, chain: chain}
}

// join makes a person with a funded account.
func (w *neighbours) join(name string) *person {
	w.t.Helper()
	wallet, err := identity.GenerateWallet()
	must(0, err)
	unlock := parley.Passphrase([]byte("correct horse"))
	dir := filepath.Join(w.t.TempDir(), name)
	if _, err := parley.Init(w.t.Context(), parley.InitOptions{Dir: dir, Unlock: unlock, Wallet: wallet, FastKDF: true}); err != nil {
		w.t.Fatal(err)
	}
	c, err := parley.Open(w.t.Context(), parley.Options{
		Dir: dir, Unlock: unlock, Network: "test", Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Bootstrap: w.bootstrap,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	if w.bootstrap == nil {
		info, err := c.Info(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		w.bootstrap = info.Addrs
	}
	if err := w.dev.Fund(w.t.Context(), common.Address(wallet.Address()), ether(1)); err != nil {
		w.t.Fatal(err)
	}
	return &person{c, w, name, wallet}
}

func ether(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e18)) }

func (p *person) address() common.Address { return common.Address(p.wallet.Address()) }

// safe deploys a Safe of people, with ten ether.
func (w *neighbours) safe(threshold int, owners ...*person) common.Address {
	w.t.Helper()
	var all []common.Address
	for _, p := range owners {
		all = append(all, p.address())
	}
	safe, err := w.dev.DeploySafe(w.t.Context(), all, threshold)
	if err == nil {
		err = w.dev.Fund(w.t.Context(), safe, ether(10))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return safe
}

func (p *person) open(safe common.Address) *Room {
	p.w.t.Helper()
	r, err := Open(p.w.t.Context(), p, p.w.chain, safe, OpenOptions{Name: "treasury"})
	if err != nil {
		p.w.t.Fatalf("%s opens: %v", p.name, err)
	}
	return r
}

// find waits until a person is in the room of a Safe.
func (p *person) find(safe common.Address) (r *Room) {
	p.w.t.Helper()
	p.w.eventually(p.name+" is not in the room", func() bool {
		var err error
		if r, err = Find(p.w.t.Context(), p, p.w.chain, safe); err != nil && !errors.Is(err, ErrNoRoom) {
			p.w.t.Fatal(err)
		}
		return err == nil
	})
	return r
}

func (w *neighbours) eventually(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			w.t.Fatal(what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// sees waits until a room has a transaction that is as is wanted.
func (p *person) sees(r *Room, hash common.Hash, what string, want func(*Entry) bool) *Entry {
	p.w.t.Helper()
	var e *Entry
	p.w.eventually(p.name+" does not see: "+what, func() bool {
		if err := r.Refresh(p.w.t.Context()); err != nil {
			p.w.t.Fatal(err)
		}
		var err error
		e, err = r.Transaction(hash)
		return err == nil && want(e)
	})
	return e
}

func status(s Status) func(*Entry) bool { return func(e *Entry) bool { return e.Status == s } }

// signs returns a person's EIP-712 signature over a transaction.
func (p *person) signs(a Account, t *Transaction) Signature {
	p.w.t.Helper()
	sig, err := p.wallet.SignTypedData(p.w.t.Context(), t.TypedData(a))
	if err != nil {
		p.w.t.Fatal(err)
	}
	return Signature{Owner: p.address(), Kind: EIP712, Data: sig}
}

// does has people sign and the first of them execute a transaction, without a
// room.
func (w *neighbours) does(safe common.Address, t *Transaction, signers ...*person) {
	w.t.Helper()
	s, err := w.chain.Read(w.t.Context(), safe)
	if err != nil {
		w.t.Fatal(err)
	}
	t.Nonce.SetUint64(s.Nonce)
	var sigs []Signature
	for _, p := range signers {
		sigs = append(sigs, p.signs(s.Account, t))
	}
	data, err := CallData(t, sigs)
	if err == nil {
		_, err = w.chain.Execute(w.t.Context(), safe, data, signers[0].wallet)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Three owners of a 2-of-3 Safe pay an invoice: one proposes and signs, one
// signs, the third sees it without having signed and executes.
func TestRoomPays(t *testing.T) {
	w := newNeighbours(t)
	alice, bob, carol, dave := w.join("alice"), w.join("bob"), w.join("carol"), w.join("dave")
	safe := w.safe(2, alice, bob, carol)
	ctx := t.Context()

	if _, err := Find(ctx, bob, w.chain, safe); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("bob finds a room before there is one: %v", err)
	}
	if _, err := Open(ctx, dave, w.chain, safe, OpenOptions{}); !errors.Is(err, ErrNotOwner) {
		t.Fatalf("dave opens: %v", err)
	}
	ra := alice.open(safe)
	if len(ra.Absent()) != 0 {
		t.Fatalf("absent: %v", ra.Absent())
	}
	if g, err := ra.Group(); err != nil || g.Name != "treasury" || len(g.Members) != 3 {
		t.Fatalf("group is %+v, %v", g, err)
	}
	rb, rc := bob.find(safe), carol.find(safe)

	payee := common.HexToAddress("0x00000000000000000000000000000000000bEEF1")
	pay := &Transaction{To: payee, Value: *uint256.MustFromBig(ether(3))}
	account := ra.Account()
	e, err := ra.Propose(ctx, pay, ProposeOptions{Note: "invoice 7", Origin: "test", Signatures: []Signature{alice.signs(account, pay)}})
	if err != nil {
		t.Fatal(err)
	}
	if e.Status != Waiting || e.Missing != 1 || e.Hash != pay.Hash(account) || len(e.Confirmations) != 1 || e.Note != "invoice 7" {
		t.Fatalf("entry is %+v", e)
	}
	seen := bob.sees(rb, e.Hash, "the proposal and its signature", func(e *Entry) bool { return e.Missing == 1 })
	if !slices.Equal(seen.Proposers, []common.Address{alice.address()}) || !seen.Transaction.Equal(pay) || seen.Note != "invoice 7" {
		t.Fatalf("bob sees %+v", seen)
	}
	for name, s := range map[string]Signature{
		"who is no owner": dave.signs(account, pay),
		"another's":       {Owner: bob.address(), Kind: EIP712, Data: dave.signs(account, pay).Data},
		"unapproved":      {Owner: bob.address(), Kind: Approved},
		"of no contract":  {Owner: bob.address(), Kind: Contract, Data: []byte{1}},
	} {
		if err := rb.Confirm(ctx, e.Hash, s); !errors.Is(err, ErrNotOwner) && !errors.Is(err, ErrSignature) {
			t.Errorf("bob confirms with a signature of %s: %v", name, err)
		}
	}
	if err := rb.Confirm(ctx, common.Hash{1}, bob.signs(account, pay)); !errors.Is(err, ErrUnknownTransaction) {
		t.Errorf("bob confirms what nobody proposed: %v", err)
	}
	if err := rb.Confirm(ctx, e.Hash, bob.signs(account, pay)); err != nil {
		t.Fatal(err)
	}
	if err := rb.Confirm(ctx, e.Hash, bob.signs(account, pay)); err != nil { // again, which changes nothing
		t.Fatal(err)
	}
	ready := carol.sees(rc, e.Hash, "both signatures", status(Ready))
	data, err := CallData(&ready.Transaction, ready.Signatures())
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := w.chain.Execute(ctx, safe, data, carol.wallet)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		*person
		r *Room
	}{{alice, ra}, {bob, rb}, {carol, rc}} {
		done := p.sees(p.r, e.Hash, "the execution", status(Executed))
		if o := done.Outcome; o.Transaction != receipt.TxHash || o.Executor != carol.address() || len(done.Confirmations) != 2 {
			t.Errorf("%s sees the outcome %+v", p.name, o)
		}
	}
	if got, err := w.dev.Client().BalanceAt(ctx, payee, nil); err != nil || got.Cmp(ether(3)) != 0 {
		t.Errorf("the payee has %v, %v", got, err)
	}
	// An approval on the chain counts without a word in the group.
	next := &Transaction{To: payee, Nonce: *uint256.NewInt(1)}
	if e, err = ra.Propose(ctx, next, ProposeOptions{}); err != nil {
		t.Fatal(err)
	}
	approve(t, w, safe, bob, e.Hash)
	if e := alice.sees(ra, e.Hash, "bob's approval", func(e *Entry) bool { return e.Missing == 1 }); e.Confirmations[0].Signature.Kind != Approved {
		t.Errorf("confirmations are %+v", e.Confirmations)
	}
}

// approve has a person approve a hash on the chain.
func approve(t *testing.T, w *neighbours, safe common.Address, p *person, hash common.Hash) {
	t.Helper()
	nonce, err := w.dev.Client().PendingNonceAt(t.Context(), p.address())
	tx := types.NewTx(&types.DynamicFeeTx{
		ChainID: big.NewInt(devchain.ChainID), Nonce: nonce, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(1e10), Gas: 200_000,
		To: &safe, Data: ApproveCallData(hash),
	})
	if err == nil {
		tx, err = p.wallet.SignTransaction(t.Context(), tx, big.NewInt(devchain.ChainID))
	}
	if err == nil {
		err = w.dev.Client().SendTransaction(t.Context(), tx)
	}
	if err == nil {
		_, err = w.chain.wait(t.Context(), tx.Hash())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// raw sends an item as a client would that is not honest.
func (p *person) raw(r *Room, i *Item) {
	p.w.t.Helper()
	typ, body, err := i.marshal()
	if err == nil {
		_, err = p.SendGroup(p.w.t.Context(), r.groups[0].ID, parley.Application(typ, body), parley.SendOptions{})
	}
	if err != nil {
		p.w.t.Fatal(err)
	}
}

// A member who lies about a hash is shown as lying, and its proposal is not
// shown.
func TestRoomLiar(t *testing.T) {
	w := newNeighbours(t)
	alice, bob := w.join("alice"), w.join("bob")
	safe := w.safe(1, alice, bob)
	ra := alice.open(safe)
	rb := bob.find(safe)
	shown := &Transaction{To: alice.address(), Value: *uint256.NewInt(1)}
	meant := &Transaction{To: alice.address(), Value: *uint256.MustFromBig(ether(10))}
	alice.raw(ra, &Item{Account: ra.Account(), Proposal: &Proposal{Transaction: *shown, Claimed: meant.Hash(ra.Account())}})
	w.eventually("bob does not see the lie", func() bool {
		if err := rb.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(rb.Faults()) == 1
	})
	var lie *LieError
	if f := rb.Faults()[0]; !errors.As(f.Err, &lie) || lie.From != alice.address() || lie.Claimed != meant.Hash(ra.Account()) || lie.Computed != shown.Hash(ra.Account()) {
		t.Errorf("the fault is %+v", f)
	}
	if all := rb.Transactions(); len(all) != 0 {
		t.Errorf("bob sees %+v", all)
	}
}

// A member who is not an owner adds nothing: no proposal, no signature and no
// rejection of its is shown or counted.
func TestRoomNonOwner(t *testing.T) {
	w := newNeighbours(t)
	alice, bob, mallory := w.join("alice"), w.join("bob"), w.join("mallory")
	safe := w.safe(1, alice, bob, mallory)
	ra := alice.open(safe)
	rb, rm := bob.find(safe), mallory.find(safe)
	account := ra.Account()
	good := &Transaction{To: bob.address(), Value: *uint256.NewInt(1)}
	e, err := ra.Propose(t.Context(), good, ProposeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mallory.sees(rm, e.Hash, "the proposal", status(Waiting))
	// The owners remove mallory on the chain. Nobody's client has looked since, so
	// that mallory is a member of the group still, and writes to it.
	w.does(safe, &Transaction{To: safe, Data: must(safeABI.Pack("removeOwner", bob.address(), mallory.address(), bigUint(1)))}, alice)
	evil := &Transaction{To: mallory.address(), Value: *uint256.NewInt(2), Nonce: *uint256.NewInt(1)}
	next := &Transaction{To: bob.address(), Value: *uint256.NewInt(3), Nonce: *uint256.NewInt(1)}
	no, err := Sign(t.Context(), mallory.wallet, RejectionTypedData(account, next.Hash(account)), RejectionHash(account, next.Hash(account)))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []*Item{
		{Proposal: &Proposal{Transaction: *evil, Claimed: evil.Hash(account)}},
		{Signature: &SignatureItem{evil.Hash(account), mallory.signs(account, evil)}},
		{Signature: &SignatureItem{next.Hash(account), mallory.signs(account, next)}},
		{Rejection: &Rejection{next.Hash(account), no}},
	} {
		i.Account = account
		mallory.raw(rm, i)
	}
	alice.raw(ra, &Item{Account: account, Proposal: &Proposal{Transaction: *next, Claimed: next.Hash(account)}})
	w.eventually("bob has not got all that mallory and alice sent", func() bool {
		if err := rb.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		e, err := rb.Transaction(next.Hash(account))
		return err == nil && len(e.Confirmations) == 1 && len(e.Rejections) == 1
	})
	shown, err := rb.Transaction(next.Hash(account))
	if err != nil {
		t.Fatal(err)
	}
	if shown.Status != Waiting || shown.Missing != 1 || len(shown.Signatures()) != 0 || shown.Confirmations[0].Counts || shown.Rejections[0].Counts {
		t.Errorf("bob sees %+v", shown)
	}
	if e, err := rb.Transaction(evil.Hash(account)); !errors.Is(err, ErrUnknownTransaction) {
		t.Errorf("bob sees what mallory proposes: %+v, %v", e, err)
	}
	data, err := CallData(evil, []Signature{mallory.signs(account, evil)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.chain.Check(t.Context(), safe, alice.address(), data); !errors.Is(err, ErrRefused) {
		t.Errorf("the Safe takes mallory's signature: %v", err)
	}
	if _, err := Open(t.Context(), mallory, w.chain, safe, OpenOptions{}); !errors.Is(err, ErrNotOwner) {
		t.Errorf("mallory opens: %v", err)
	}
}

// The group follows the owners: who is none any more is removed and reads
// nothing, who becomes one is brought in and gets what is open, and nothing is
// said while a stranger listens.
func TestRoomFollowsOwners(t *testing.T) {
	w := newNeighbours(t)
	alice, bob, carol, dave := w.join("alice"), w.join("bob"), w.join("carol"), w.join("dave")
	safe := w.safe(1, alice, bob, carol)
	ctx := t.Context()
	ra := alice.open(safe)
	rb, rc := bob.find(safe), carol.find(safe)
	open := &Transaction{To: bob.address(), Nonce: *uint256.NewInt(9)}
	e, err := rb.Propose(ctx, open, ProposeOptions{Note: "for later", Signatures: []Signature{bob.signs(rb.Account(), open)}})
	if err != nil {
		t.Fatal(err)
	}
	carol.sees(rc, e.Hash, "the proposal", status(Ready))
	alice.sees(ra, e.Hash, "the proposal", status(Ready))

	// Carol is replaced by dave on the chain.
	prev := sentinel
	if owners := ra.Snapshot().Owners; owners[0] != carol.address() {
		prev = owners[slices.Index(owners, carol.address())-1]
	}
	w.does(safe, &Transaction{To: safe, Data: must(safeABI.Pack("swapOwner", prev, carol.address(), dave.address()))}, alice)

	// Bob cannot write while carol listens, and says so; alice's client makes it good.
	if err := rb.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	var strangers *StrangersError
	if _, err := rb.Propose(ctx, &Transaction{}, ProposeOptions{}); !errors.As(err, &strangers) || !slices.Equal(strangers.Members, []common.Address{carol.address()}) {
		t.Fatalf("bob writes: %v", err)
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		watched <- ra.Watch(watching, time.Second, func() {}, func(err error) { t.Errorf("watch: %v", err) })
	}()
	rd := dave.find(safe)
	got := dave.sees(rd, e.Hash, "the open proposal", status(Ready))
	if got.Note != "for later" || len(got.Confirmations) != 1 || len(got.Proposers) != 0 {
		t.Errorf("dave sees %+v", got)
	}
	secret := &Transaction{To: alice.address(), Nonce: *uint256.NewInt(10)}
	w.eventually("bob cannot write again", func() bool {
		if err := rb.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		_, err := rb.Propose(ctx, secret, ProposeOptions{})
		return err == nil
	})
	dave.sees(rd, secret.Hash(rb.Account()), "what is said now", status(Waiting))
	stop()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.eventually("carol is not removed", func() bool {
		g, err := carol.Group(ctx, ra.groups[0].ID)
		return err == nil && g.Status == "removed"
	})
	if err := rc.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if e, err := rc.Transaction(secret.Hash(rb.Account())); !errors.Is(err, ErrUnknownTransaction) {
		t.Errorf("carol sees %+v, %v", e, err)
	}
	if _, err := rc.Propose(ctx, secret, ProposeOptions{}); !errors.Is(err, ErrNotOwner) {
		t.Errorf("carol writes: %v", err)
	}

	// The creator herself goes: those who stay make another group.
	prev = sentinel
	if owners := ra.Snapshot().Owners; owners[0] != alice.address() {
		prev = owners[slices.Index(owners, alice.address())-1]
	}
	w.does(safe, &Transaction{To: safe, Data: must(safeABI.Pack("removeOwner", prev, alice.address(), big.NewInt(1)))}, bob)
	rb = bob.open(safe)
	if g, err := rb.Group(); err != nil || !g.Creator || len(g.Members) != 2 || g.Name != "treasury (2)" {
		t.Fatalf("the new group is %+v, %v", g, err)
	}
	last := &Transaction{To: bob.address(), Nonce: *uint256.NewInt(11)}
	if _, err := rb.Propose(ctx, last, ProposeOptions{}); err != nil {
		t.Fatal(err)
	}
	dave.sees(rd, last.Hash(rb.Account()), "what is said in the new group", status(Waiting))
	dave.sees(rd, e.Hash, "the open proposal", status(Ready))
}
