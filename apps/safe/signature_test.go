package safe

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/identity"
)

func testWallet(t testing.TB) *identity.KeyWallet {
	t.Helper()
	w, err := identity.GenerateWallet()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// signed is a transaction with a signature of each kind.
func signed(t testing.TB) (tx *Transaction, hash common.Hash, all []Signature) {
	t.Helper()
	tx = &Transaction{To: testStranger, Value: *uint256.NewInt(7)}
	hash = tx.Hash(testAccount)
	typed, err := Sign(t.Context(), testWallet(t), tx.TypedData(testAccount), hash)
	if err != nil {
		t.Fatal(err)
	}
	text, err := SignEthSign(t.Context(), testWallet(t), hash)
	if err != nil {
		t.Fatal(err)
	}
	return tx, hash, []Signature{
		typed, text,
		{Owner: common.HexToAddress("0xc1"), Kind: Contract, Data: []byte("what the contract takes")},
		{Owner: common.HexToAddress("0xc2"), Kind: Contract, Data: []byte{}},
		{Owner: common.HexToAddress("0xa9"), Kind: Approved},
	}
}

func TestSignaturesRoundTrip(t *testing.T) {
	_, hash, all := signed(t)
	packed, err := PackSignatures(all)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSignatures(hash, packed)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b Signature) int { return a.Owner.Cmp(b.Owner) })
	if len(got) != len(all) {
		t.Fatalf("%d signatures", len(got))
	}
	for i := range all {
		if !got[i].equal(&all[i]) {
			t.Errorf("%d: %+v, want %+v", i, got[i], all[i])
		}
	}
	for n := range packed { // every prefix that is not whole signatures fails
		if got, err := ParseSignatures(hash, packed[:n]); err == nil && len(got) == len(all) {
			t.Errorf("%d of %d bytes are taken for all", n, len(packed))
		}
	}
	// A wallet's v of 0 and 1.
	for _, s := range all {
		if s.Kind == EIP712 {
			b := bytes.Clone(s.Data)
			b[64] -= 27
			if got, err := ParseSignatures(hash, b); err != nil || len(got) != 1 || !got[0].equal(&s) {
				t.Errorf("v %d: %+v, %v", b[64], got, err)
			}
		}
	}
}

func TestSignatureRefusals(t *testing.T) {
	_, hash, all := signed(t)
	good := all[0]
	change := func(f func(b []byte)) Signature {
		b := bytes.Clone(good.Data)
		f(b)
		return Signature{good.Owner, good.Kind, b}
	}
	order := common.FromHex("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	bad := map[string]Signature{
		"a flipped bit":     change(func(b []byte) { b[40] ^= 1 }),
		"the other v":       change(func(b []byte) { b[64] ^= 27 ^ 28 }),
		"v of eth_sign":     change(func(b []byte) { b[64] += 4 }),
		"v of a wallet":     change(func(b []byte) { b[64] -= 27 }),
		"r of zero":         change(func(b []byte) { clear(b[:32]) }),
		"s of zero":         change(func(b []byte) { clear(b[32:64]) }),
		"r of the order":    change(func(b []byte) { copy(b, order) }),
		"high s":            change(func(b []byte) { negate(b[32:64]); b[64] ^= 27 ^ 28 }),
		"another's":         {testOwner, EIP712, good.Data},
		"cut off":           {good.Owner, EIP712, good.Data[:64]},
		"too long":          {good.Owner, EIP712, append(bytes.Clone(good.Data), 0)},
		"of no kind":        {good.Owner, 0, good.Data},
		"of a contract":     all[2],
		"an approval":       all[4],
		"typed as eth_sign": {good.Owner, EthSign, good.Data},
	}
	for name, s := range bad {
		if err := s.Check(hash); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := good.Check(common.Hash{1}); !errors.Is(err, ErrSignature) {
		t.Errorf("over another hash: %v", err)
	}
	if _, err := PackSignatures(nil); !errors.Is(err, ErrSignatures) {
		t.Errorf("none: %v", err)
	}
	if _, err := PackSignatures([]Signature{good, good}); !errors.Is(err, ErrSignatures) {
		t.Errorf("two of one owner: %v", err)
	}
	if _, err := PackSignatures([]Signature{{testOwner, Contract, make([]byte, MaxContractSignature+1)}}); !errors.Is(err, ErrSignature) {
		t.Errorf("a long one: %v", err)
	}
	if _, err := ParseSignatures(hash, make([]byte, maxSignatures+1)); !errors.Is(err, ErrSignature) {
		t.Errorf("too many: %v", err)
	}
}

// negate makes the other of the two s that a signature can have.
func negate(s []byte) {
	order := new(uint256.Int).SetBytes(common.FromHex("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"))
	b := order.Sub(order, new(uint256.Int).SetBytes(s)).Bytes32()
	copy(s, b[:])
}

func FuzzParseSignatures(f *testing.F) {
	_, hash, all := signed(f)
	packed, err := PackSignatures(all)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(all[0].Data)
	f.Add(make([]byte, staticSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseSignatures(hash, b)
		if err != nil {
			if !errors.Is(err, ErrSignature) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, s := range got {
			if err := s.checkForm(); err != nil {
				t.Error(err)
			}
			if err := s.Check(hash); !s.OnChain() && err != nil {
				t.Error(err)
			}
		}
	})
}

// randomItems is what some members may say, some of it about the same hashes.
func randomItems(t testing.TB, rng *rand.Rand) []*Item {
	tx, hash, sigs := signed(t)
	text, err := TextMessage("we agree")
	if err != nil {
		t.Fatal(err)
	}
	typed, err := ParseTypedMessage([]byte(`{"domain":{"chainId":1},"primaryType":"A","message":{"n":7},"types":{"EIP712Domain":[{"name":"chainId","type":"uint256"}],"A":[{"name":"n","type":"uint256"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	w := testWallet(t)
	no, err := Sign(t.Context(), w, RejectionTypedData(testAccount, hash), RejectionHash(testAccount, hash))
	if err != nil {
		t.Fatal(err)
	}
	var items []*Item
	add := func(i Item) {
		i.Account = testAccount
		items = append(items, &i)
	}
	for n := range 1 + rng.IntN(3) {
		other := Transaction{To: testOwner, Data: []byte{byte(n)}, Operation: DelegateCall, Nonce: *new(uint256.Int).SetAllOne(), GasToken: testStranger}
		add(Item{Proposal: &Proposal{Transaction: other, Claimed: other.Hash(testAccount), Note: "a note", Origin: "test", Relayed: n%2 == 1}})
	}
	add(Item{Proposal: &Proposal{Transaction: *tx, Claimed: hash}})
	for _, m := range []Message{text, typed} {
		add(Item{Message: &MessageProposal{Message: m, Claimed: m.Hash(testAccount), Note: "why"}})
	}
	for _, s := range sigs {
		add(Item{Signature: &SignatureItem{hash, s}})
	}
	again, err := SignEthSign(t.Context(), w, hash)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Sign(t.Context(), w, tx.TypedData(testAccount), hash)
	if err != nil {
		t.Fatal(err)
	}
	add(Item{Signature: &SignatureItem{hash, again}})
	add(Item{Signature: &SignatureItem{hash, other}})
	add(Item{Rejection: &Rejection{hash, no}})
	add(Item{Owners: &OwnersNotice{77}})
	return items
}
