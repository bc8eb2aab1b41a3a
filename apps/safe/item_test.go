package safe

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestItemsRoundTrip(t *testing.T) {
	for _, i := range randomItems(t, rand.New(rand.NewPCG(1, 2))) {
		typ, body, err := i.marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseItem(typ, body)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		again, b, err := got.marshal()
		if err != nil || again != typ || string(b) != string(body) {
			t.Errorf("%s: is not what it was: %v", typ, err)
		}
		for n := range body {
			if _, err := parseItem(typ, body[:n]); !errors.Is(err, ErrItem) {
				t.Errorf("%s: %d of %d bytes: %v", typ, n, len(body), err)
			}
		}
		if _, err := parseItem(typ, append(body, 0)); !errors.Is(err, ErrItem) {
			t.Errorf("%s: a byte behind: %v", typ, err)
		}
	}
	if _, err := parseItem(typePrefix+"later", nil); !errors.Is(err, ErrItemType) {
		t.Errorf("unknown type: %v", err)
	}
}

func TestItemLimits(t *testing.T) {
	fine := func() *Item { return &Item{Account: testAccount, Proposal: &Proposal{}} }
	bad := map[string]func(i *Item){
		"nothing":        func(i *Item) { i.Proposal = nil },
		"two statements": func(i *Item) { i.Owners = &OwnersNotice{} },
		"no chain":       func(i *Item) { i.Account.ChainID = 0 },
		"no Safe":        func(i *Item) { i.Account.Address = [20]byte{} },
		"operation":      func(i *Item) { i.Proposal.Transaction.Operation = 2 },
		"data":           func(i *Item) { i.Proposal.Transaction.Data = make([]byte, MaxData+1) },
		"note":           func(i *Item) { i.Proposal.Note = strings.Repeat("x", MaxNote+1) },
		"note's UTF-8":   func(i *Item) { i.Proposal.Note = "\xff" },
		"origin":         func(i *Item) { i.Proposal.Origin = strings.Repeat("x", MaxOrigin+1) },
		"origin's lines": func(i *Item) { i.Proposal.Origin = "a\nb" },
		"contract's rejection": func(i *Item) {
			i.Proposal, i.Rejection = nil, &Rejection{Signature: Signature{testOwner, Contract, nil}}
		},
	}
	if _, _, err := fine().marshal(); err != nil {
		t.Fatal(err)
	}
	for name, f := range bad {
		i := fine()
		f(i)
		if _, _, err := i.marshal(); !errors.Is(err, ErrItem) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := TextMessage(strings.Repeat("x", MaxMessage+1)); !errors.Is(err, ErrMessage) {
		t.Errorf("a long text: %v", err)
	}
	for _, s := range []string{"", "{}", "[]", `{"types":{},"primaryType":"A","domain":{},"message":{}}`, strings.Repeat(" ", MaxMessage+1)} {
		if _, err := ParseTypedMessage([]byte(s)); !errors.Is(err, ErrMessage) {
			t.Errorf("typed data %.40q: %v", s, err)
		}
	}
}

func FuzzItem(f *testing.F) {
	for _, i := range randomItems(f, rand.New(rand.NewPCG(1, 2))) {
		typ, body, err := i.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(typ, body)
	}
	f.Fuzz(func(t *testing.T, typ string, body []byte) {
		i, err := parseItem(typ, body)
		if err != nil {
			return
		}
		again, b, err := i.marshal()
		if err != nil || again != typ || string(b) != string(body) {
			t.Errorf("is not what it was: %v", err)
		}
		l := NewLedger(i.Account)
		_ = l.Add(i, testOwner, testTime)
		_ = l.Transactions(ChainView{})
		_ = l.Messages(ChainView{Snapshot: testSnapshot})
	})
}

func FuzzTypedMessage(f *testing.F) {
	f.Add([]byte(`{"domain":{"chainId":1},"primaryType":"A","message":{"n":7},"types":{"EIP712Domain":[{"name":"chainId","type":"uint256"}],"A":[{"name":"n","type":"uint256"}]}}`))
	f.Add([]byte(`{"domain":{},"primaryType":"A","message":{"n":[{"b":"0x01"}]},"types":{"EIP712Domain":[],"A":[{"name":"n","type":"B[]"}],"B":[{"name":"b","type":"bytes1"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseTypedMessage(b)
		if err != nil {
			return
		}
		again, err := ParseTypedMessage(m.TypedJSON())
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("is not what it was: %v", err)
		}
	})
}
