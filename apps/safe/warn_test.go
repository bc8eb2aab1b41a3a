package safe

import (
	"math/big"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

var (
	testAccount  = Account{1, common.HexToAddress("0x1c8b9b78e3085866521fe206fa4c1a67f49f153a")}
	testOwner    = common.HexToAddress("0x00000000000000000000000000000000000000a1")
	testStranger = common.HexToAddress("0x00000000000000000000000000000000000000b2")
	testSnapshot = &Snapshot{Account: testAccount, Version: V141, Owners: []common.Address{testOwner}, Threshold: 1, Nonce: 5}
)

func codesOf(all []Warning) []string {
	var out []string
	for _, w := range all {
		out = append(out, w.Code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Every warning is earned, also inside of a multisend, and by nothing else.
func TestWarnings(t *testing.T) {
	next := *uint256.NewInt(5)
	self := func(method string, args ...any) []byte { return must(safeABI.Pack(method, args...)) }
	within := func(to common.Address, data []byte) Transaction {
		return Transaction{To: multiSendCallOnly[V141][0], Operation: DelegateCall, Nonce: next, Data: EncodeMultiSend([]InnerCall{
			{To: testStranger}, {To: to, Data: data},
		})}
	}
	one := big.NewInt(1)
	token := common.HexToAddress("0xc0")
	huge := new(big.Int).Lsh(one, 255)
	none := common.Address{}
	cases := map[string]struct {
		t    Transaction
		want []string
	}{
		"ether":                    {Transaction{To: testStranger, Nonce: next}, nil},
		"a token":                  {Transaction{To: token, Data: EncodeTransfer(testStranger, uint256.NewInt(1)), Nonce: next}, nil},
		"a multisend":              {within(token, EncodeTransfer(testStranger, uint256.NewInt(1))), nil},
		"delegatecall":             {Transaction{To: testStranger, Operation: DelegateCall, Nonce: next}, []string{"delegatecall"}},
		"addOwner":                 {Transaction{To: testAccount.Address, Data: self("addOwnerWithThreshold", testStranger, one), Nonce: next}, []string{"owner-change"}},
		"removeOwner":              {Transaction{To: testAccount.Address, Data: self("removeOwner", sentinel, testOwner, one), Nonce: next}, []string{"owner-change"}},
		"swapOwner":                {Transaction{To: testAccount.Address, Data: self("swapOwner", sentinel, testOwner, testStranger), Nonce: next}, []string{"owner-change"}},
		"changeThreshold":          {Transaction{To: testAccount.Address, Data: self("changeThreshold", one), Nonce: next}, []string{"threshold-change"}},
		"enableModule":             {Transaction{To: testAccount.Address, Data: self("enableModule", testStranger), Nonce: next}, []string{"module-change"}},
		"disableModule":            {Transaction{To: testAccount.Address, Data: self("disableModule", sentinel, testStranger), Nonce: next}, []string{"module-change"}},
		"setGuard":                 {Transaction{To: testAccount.Address, Data: self("setGuard", testStranger), Nonce: next}, []string{"guard-change"}},
		"setModuleGuard":           {Transaction{To: testAccount.Address, Data: self("setModuleGuard", testStranger), Nonce: next}, []string{"guard-change"}},
		"setFallbackHandler":       {Transaction{To: testAccount.Address, Data: self("setFallbackHandler", testStranger), Nonce: next}, []string{"fallback-handler-change"}},
		"unknown to itself":        {Transaction{To: testAccount.Address, Data: []byte{1, 2, 3, 4}, Nonce: next}, []string{"self-call"}},
		"nothing to itself":        {Transaction{To: testAccount.Address, Nonce: next}, nil},
		"enableModule elsewhere":   {Transaction{To: testStranger, Data: self("enableModule", testStranger), Nonce: next}, nil},
		"enableModule within":      {within(testAccount.Address, self("enableModule", testStranger)), []string{"module-change"}},
		"enableModule of nobody":   {within(none, self("enableModule", testStranger)), []string{"module-change"}}, // 1.5.0: to itself
		"approval within":          {within(token, must(tokenABI.Pack("approve", testStranger, huge))), []string{"unlimited-approval"}},
		"approval":                 {Transaction{To: token, Data: must(tokenABI.Pack("approve", testStranger, new(big.Int).Lsh(one, 95))), Nonce: next}, []string{"unlimited-approval"}},
		"small approval":           {Transaction{To: token, Data: must(tokenABI.Pack("approve", testStranger, one)), Nonce: next}, nil},
		"more behind":              {Transaction{To: token, Data: append(EncodeTransfer(testStranger, uint256.NewInt(1)), 0), Nonce: next}, []string{"undecodable"}},
		"refund":                   {Transaction{To: token, GasPrice: *uint256.NewInt(1), Nonce: next}, []string{"refund"}},
		"refund to an owner":       {Transaction{To: token, GasPrice: *uint256.NewInt(1), RefundReceiver: testOwner, Nonce: next}, nil},
		"refund to a stranger":     {Transaction{To: token, GasPrice: *uint256.NewInt(1), RefundReceiver: testStranger, Nonce: next}, []string{"refund-to-stranger"}},
		"huge refund":              {Transaction{To: token, GasPrice: *new(uint256.Int).SetAllOne(), BaseGas: *uint256.NewInt(9), RefundReceiver: testOwner, Nonce: next}, []string{"refund-huge"}},
		"nonce taken":              {Transaction{To: token, Nonce: *uint256.NewInt(4)}, []string{"nonce-taken"}},
		"nonce gap":                {Transaction{To: token, Nonce: *uint256.NewInt(7)}, []string{"nonce-gap"}},
		"nonce conflict":           {Transaction{To: token, Nonce: *uint256.NewInt(6)}, []string{"nonce-conflict", "nonce-gap"}},
		"nonce of 2^256-1":         {Transaction{To: token, Nonce: *new(uint256.Int).SetAllOne()}, []string{"nonce-gap"}},
		"a call of the multisend":  {Transaction{To: multiSendCallOnly[V141][0], Nonce: next, Data: EncodeMultiSend([]InnerCall{{To: testAccount.Address, Data: self("enableModule", testStranger)}})}, []string{"module-change", "multisend-called"}},
		"its own execTransaction":  {Transaction{To: testAccount.Address, Nonce: next, Data: self("execTransaction", testAccount.Address, new(big.Int), self("enableModule", testStranger), uint8(0), new(big.Int), new(big.Int), new(big.Int), none, none, []byte{})}, []string{"module-change", "self-call"}},
		"delegatecall in the send": {Transaction{To: multiSendCallOnly[V130][1], Operation: DelegateCall, Nonce: next, Data: EncodeMultiSend([]InnerCall{{Operation: DelegateCall, To: testStranger}})}, []string{"delegatecall"}},
	}
	rival := &Transaction{To: testStranger, Nonce: *uint256.NewInt(6)}
	for name, c := range cases {
		if got := codesOf(Warnings(testAccount, testSnapshot, &c.t, []*Transaction{rival})); !slices.Equal(got, c.want) {
			t.Errorf("%s: warnings %v, want %v", name, got, c.want)
		}
	}
	// Without a chain nothing is said of nonces and owners.
	if got := codesOf(Warnings(testAccount, nil, &Transaction{Nonce: *uint256.NewInt(99)}, nil)); len(got) != 0 {
		t.Errorf("offline: %v", got)
	}
}

// Calls within calls end somewhere.
func TestDecodeIsBounded(t *testing.T) {
	data := EncodeTransfer(testStranger, uint256.NewInt(1))
	for range 10 {
		data = EncodeMultiSend([]InnerCall{{To: testStranger, Data: data}})
	}
	depth := 0
	for d := Decode(data); len(d.Calls) > 0; d = d.Calls[0].Decoded {
		if depth++; depth > maxDepth {
			t.Fatal("goes on")
		}
	}
	many := make([]InnerCall, 3*maxCalls)
	d := Decode(EncodeMultiSend(many))
	if len(d.Calls) != maxCalls || d.Problem == "" {
		t.Errorf("%d calls, problem %q", len(d.Calls), d.Problem)
	}
	if got := codesOf(Warnings(testAccount, nil, &Transaction{Data: EncodeMultiSend(many)}, nil)); !slices.Equal(got, []string{"undecodable"}) {
		t.Errorf("warnings %v", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(EncodeTransfer(testStranger, uint256.NewInt(1)))
	f.Add(EncodeMultiSend([]InnerCall{{To: testStranger, Data: EncodeTransfer(testOwner, uint256.NewInt(7))}}))
	f.Add(must(safeABI.Pack("enableModule", testStranger)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Decode(data)
		_ = d.String()
		if d.Method != "" && d.Problem == "" && len(d.Arguments) == 0 {
			t.Errorf("%s without arguments", d.Method)
		}
		Warnings(testAccount, testSnapshot, &Transaction{To: testAccount.Address, Data: data}, nil)
		Warnings(testAccount, testSnapshot, &Transaction{To: testStranger, Operation: DelegateCall, Data: data}, nil)
	})
}
