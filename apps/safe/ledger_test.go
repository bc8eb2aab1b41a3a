package safe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

var testTime = time.Unix(1790000000, 0).UTC()

// The ledger is a set: whoever has the same items, in whatever order and number,
// sees the same.
func TestLedgerIsASet(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		type told struct {
			*Item
			from common.Address
			at   time.Time
		}
		var all []told
		for n, i := range randomItems(t, rng) {
			for range 1 + rng.IntN(2) {
				from := []common.Address{testOwner, testStranger}[rng.IntN(2)]
				all = append(all, told{i, from, testTime.Add(time.Duration(n+rng.IntN(3)) * time.Second)})
			}
		}
		var want string
		for range 6 {
			l := NewLedger(testAccount)
			for _, x := range all {
				if err := l.Add(x.Item, x.from, x.at); err != nil {
					t.Fatal(err)
				}
				if rng.IntN(4) == 0 { // again
					if err := l.Add(x.Item, x.from, x.at); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := ledgerText(t, l)
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("seed %d: the order matters: %s", seed, firstDifference(got, want))
			}
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		// An export says the same to who has nothing.
		l := NewLedger(testAccount)
		for _, x := range all {
			if err := l.Add(x.Item, x.from, x.at); err != nil {
				t.Fatal(err)
			}
		}
		lines, err := Export(l.Items(), 0)
		if err != nil {
			t.Fatal(err)
		}
		items, unknown, err := ParseExport([]byte(lines[0]))
		if err != nil || unknown != 0 {
			t.Fatal(err)
		}
		other := NewLedger(testAccount)
		for _, i := range items {
			if err := other.Add(i, testOwner, testTime); err != nil {
				t.Fatal(err)
			}
		}
		again, err := Export(other.Items(), 0)
		if err != nil || again[0] != lines[0] {
			t.Fatalf("seed %d: an export of an export differs: %v", seed, err)
		}
	}
}

func ledgerText(t *testing.T, l *Ledger) string {
	t.Helper()
	var out []byte
	for _, v := range []ChainView{{}, {Snapshot: testSnapshot}} {
		b, err := json.Marshal(struct {
			Transactions []*Entry
			Messages     []*MessageEntry
			Faults       []Fault
		}{l.Transactions(v), l.Messages(v), l.Faults()})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	lines, err := Export(l.Items(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + lines[0]
}

func firstDifference(a, b string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("…%.80s is …%.80s", a[max(0, i-20):], b[max(0, i-20):])
		}
	}
	return "one is longer"
}

func TestLedgerRefuses(t *testing.T) {
	l := NewLedger(testAccount)
	tx, hash, sigs := signed(t)
	forged := sigs[0]
	forged.Owner = testOwner
	bad := map[string]struct {
		item *Item
		want error
	}{
		"another Safe":       {&Item{Account: Account{2, testAccount.Address}, Proposal: &Proposal{Transaction: *tx}}, ErrOtherSafe},
		"a lie":              {&Item{Account: testAccount, Proposal: &Proposal{Transaction: *tx, Claimed: common.Hash{1}}}, ErrLie},
		"a forged signature": {&Item{Account: testAccount, Signature: &SignatureItem{hash, forged}}, ErrSignature},
		"over another hash":  {&Item{Account: testAccount, Signature: &SignatureItem{common.Hash{1}, sigs[0]}}, ErrSignature},
		"no rejection":       {&Item{Account: testAccount, Rejection: &Rejection{hash, sigs[0]}}, ErrSignature},
		"nothing":            {&Item{Account: testAccount}, ErrItem},
	}
	for name, c := range bad {
		if err := l.Add(c.item, testStranger, testTime); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(l.Items()); n != 0 || len(l.Transactions(ChainView{})) != 0 {
		t.Errorf("%d items are kept", n)
	}
	if n := len(l.Faults()); n != len(bad)-1 { // about another Safe is no fault
		t.Errorf("%d faults", n)
	}
	for n := range 3 * maxFaults {
		_ = l.Add(&Item{Account: testAccount, Proposal: &Proposal{Claimed: common.Hash{byte(n)}}}, testOwner, testTime)
	}
	if n := len(l.faults[testOwner]); n != maxFaults {
		t.Errorf("%d faults of one member are kept", n)
	}
}

// Only owners have a say, and one member's false claim hides nobody's true one.
func TestLedgerCountsOwners(t *testing.T) {
	l := NewLedger(testAccount)
	tx, hash, sigs := signed(t)
	proposal := &Item{Account: testAccount, Proposal: &Proposal{Transaction: *tx, Claimed: hash}}
	if err := l.Add(proposal, testStranger, testTime); err != nil {
		t.Fatal(err)
	}
	owners := *testSnapshot
	owners.Threshold, owners.Nonce = 2, 0
	owners.Owners = []common.Address{sigs[0].Owner, sigs[2].Owner, testOwner}
	view := ChainView{Snapshot: &owners, Claim: func(_ common.Hash, s *Signature) error {
		if s.Kind == Contract && string(s.Data) == string(sigs[2].Data) {
			return nil
		}
		return ErrSignature
	}}
	if all := l.Transactions(view); len(all) != 0 {
		t.Fatalf("a stranger's proposal is shown: %+v", all[0])
	}
	give := func(s Signature, from common.Address) {
		t.Helper()
		if err := l.Add(&Item{Account: testAccount, Signature: &SignatureItem{hash, s}}, from, testTime); err != nil {
			t.Fatal(err)
		}
	}
	give(sigs[1], testStranger) // of no owner
	if all := l.Transactions(view); len(all) != 0 {
		t.Fatal("a stranger's signature counts")
	}
	give(sigs[0], testStranger) // an owner's, whoever brings it
	if e := l.Transactions(view)[0]; e.Status != Waiting || e.Missing != 1 || len(e.Confirmations) != 2 {
		t.Fatalf("%+v", e)
	}
	give(Signature{sigs[2].Owner, Contract, []byte{0}}, testStranger) // false, and less than the true one
	give(sigs[2], testOwner)
	e := l.Transactions(view)[0]
	if e.Status != Ready || e.Missing != 0 {
		t.Fatalf("%+v", e)
	}
	packed, err := PackSignatures(e.Signatures())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSignatures(hash, packed); err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	view.Outcomes = map[common.Hash]*Outcome{hash: {Success: true}}
	owners.Nonce = 1
	if e := l.Transactions(view)[0]; e.Status != Executed {
		t.Errorf("%s", e.Status)
	}
	view.Outcomes[hash].Success = false
	if e := l.Transactions(view)[0]; e.Status != Failed {
		t.Errorf("%s", e.Status)
	}
	view.Outcomes = nil
	if e := l.Transactions(view)[0]; e.Status != Superseded {
		t.Errorf("%s", e.Status)
	}
}

func TestLedgerRejections(t *testing.T) {
	l := NewLedger(testAccount)
	tx := &Transaction{To: testStranger, Nonce: *uint256.NewInt(5)}
	hash := tx.Hash(testAccount)
	s := *testSnapshot
	s.Owners, s.Threshold = nil, 2
	add := func(i *Item) {
		t.Helper()
		i.Account = testAccount
		if err := l.Add(i, s.Owners[0], testTime); err != nil {
			t.Fatal(err)
		}
	}
	var no []Signature
	for range 3 {
		w := testWallet(t)
		sig, err := Sign(t.Context(), w, RejectionTypedData(testAccount, hash), RejectionHash(testAccount, hash))
		if err != nil {
			t.Fatal(err)
		}
		no = append(no, sig)
		s.Owners = append(s.Owners, sig.Owner)
	}
	status := func() Status { return l.Transactions(ChainView{Snapshot: &s})[0].Status }
	add(&Item{Proposal: &Proposal{Transaction: *tx, Claimed: hash}})
	add(&Item{Rejection: &Rejection{hash, no[0]}})
	if status() != Waiting {
		t.Errorf("one of three rejects: %s", status())
	}
	add(&Item{Rejection: &Rejection{hash, no[1]}})
	if status() != Rejected {
		t.Errorf("two of three reject: %s", status())
	}
	// Who reads a transcript has not heard the proposer; an owner's rejection says
	// that it was proposed, and nobody else's does.
	passed := NewLedger(testAccount)
	for _, i := range l.Items() {
		if err := passed.Add(i, testStranger, testTime); err != nil {
			t.Fatal(err)
		}
	}
	if all := passed.Transactions(ChainView{Snapshot: &s}); len(all) != 1 || all[0].Status != Rejected || len(all[0].Proposers) != 0 {
		t.Errorf("from a transcript: %+v", all)
	}
	s.Owners = s.Owners[2:]
	if all := passed.Transactions(ChainView{Snapshot: &s}); len(all) != 0 {
		t.Errorf("rejected by strangers: %+v", all)
	}
}
