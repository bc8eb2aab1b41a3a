package safe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// builderBatch is the batch of the Transaction Builder's own test of checksums
// (safe-react-apps, apps/tx-builder/src/lib/checksum.test.js).
const builderBatch = `{"version":"1.0","chainId":"4","createdAt":1646321521061,"meta":{"name":"test batch file","txBuilderVersion":"1.4.0",%s
	"createdFromSafeAddress":"0xDF8a1Ce35c9a6ACE153B4e0767942f1E2291a1Aa","createdFromOwnerAddress":"0x49d4450977E2c95362C13D3a31a09311E0Ea26A6"},
	"transactions":[{"to":"0x49d4450977E2c95362C13D3a31a09311E0Ea26A6","value":"0","contractMethod":{"inputs":[{"internalType":"address",
	"name":"paramAddress","type":"address"}],"name":"testAddress","payable":false},"contractInputsValues":{"paramAddress":
	"0x49d4450977E2c95362C13D3a31a09311E0Ea26A6"}},{"to":"0x49d4450977E2c95362C13D3a31a09311E0Ea26A6","value":"0","contractMethod":{"inputs":
	[{"internalType":"bool","name":"paramBool","type":"bool"}],"name":"testBool","payable":false},"contractInputsValues":{"paramAddress":"",
	"paramBool":"false"}},{"to":"0x49d4450977E2c95362C13D3a31a09311E0Ea26A6","value":"2000000000000000000",
	"data":"0x42f4579000000000000000000000000049d4450977e2c95362c13d3a31a09311e0ea26a6"}]}`

func TestReadBuilder(t *testing.T) {
	file, err := strictJSON(fmt.Appendf(nil, builderBatch, `"checksum":"",`))
	if err != nil {
		t.Fatal(err)
	}
	if sum := builderChecksum(file).Hex(); sum != "0x832ecdb6653751ed00b79dede73864163e46e71815b72e11e506d6399bedffc9" {
		t.Errorf("the checksum is %s", sum)
	}
	if file, err = strictJSON(fmt.Appendf(nil, builderBatch, "")); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(builderBatch, fmt.Sprintf(`"checksum":%q,`, builderChecksum(file).Hex()))
	b, err := ReadBuilder(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	safe := common.HexToAddress("0xDF8a1Ce35c9a6ACE153B4e0767942f1E2291a1Aa")
	if !b.Checksum || b.ChainID != 4 || b.Name != "test batch file" || b.Safe != safe || len(b.Calls) != 3 {
		t.Errorf("%+v", b)
	}
	// The builder's own encoding of testAddress is the third call's data.
	if args := b.Calls[0].Data[4:]; !bytes.Equal(args, b.Calls[2].Data[4:]) || b.Calls[2].Value.Dec() != "2000000000000000000" {
		t.Errorf("%x, %+v", args, b.Calls[2])
	}
	if _, err := ReadBuilder(strings.NewReader(strings.Replace(text, `"value":"0"`, `"value":"1"`, 1))); !errors.Is(err, ErrBuilder) {
		t.Errorf("changed: %v", err)
	}
	for _, multiSend := range []string{
		"0x40A2aCCbd92BCA938b02010E17A5b8929b49130D", "0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B", // 1.3.0
		"0x9641d764fc13c8B624c04430C7356C1C7C8102e2", "0xA83c336B20401Af773B6219BA5027174338D1836", // 1.4.1, 1.5.0
	} {
		to := common.HexToAddress(multiSend)
		tx, err := b.Transaction(Account{4, safe}, to)
		if err != nil {
			t.Fatal(err)
		}
		d := Decode(tx.Data)
		if tx.To != to || tx.Operation != DelegateCall || len(d.Calls) != 3 || !bytes.Equal(d.Calls[2].Data, b.Calls[2].Data) {
			t.Errorf("%s: %+v", to, tx)
		}
		if len(Warnings(Account{4, safe}, nil, &tx, nil)) != 0 {
			t.Errorf("%s: a harmless batch warns", to)
		}
	}
	one := *b
	one.Calls = one.Calls[2:]
	if tx, err := one.Transaction(Account{4, safe}, multiSendCallOnly[V141][0]); err != nil || tx.Operation != Call || tx.To != b.Calls[2].To ||
		!bytes.Equal(tx.Data, b.Calls[2].Data) || tx.Value != b.Calls[2].Value {
		t.Errorf("one call: %+v, %v", tx, err)
	}
	large := *b
	large.Calls = []InnerCall{{Data: make([]byte, MaxData)}, {}}
	for what, err := range map[string]error{
		"another chain": second(b.Transaction(Account{1, safe}, multiSendCallOnly[V141][0])), "another Safe": second(b.Transaction(Account{ChainID: 4}, multiSendCallOnly[V141][0])),
		"large": second(large.Transaction(Account{4, safe}, multiSendCallOnly[V141][0])),
	} {
		if !errors.Is(err, ErrBuilder) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func batchOf(tx string) string { return `{"chainId":1,"transactions":[` + tx + `]}` }

// TestBuilderEncoding is of one parameter of every kind. The answer is of
// ethers 6.17.0: new Interface(["function f(uint8,int16,bytes3,uint256[2],
// (address,string)[],bool,bytes)"]).encodeFunctionData("f", […]).
func TestBuilderEncoding(t *testing.T) {
	const want = "0x1fe8b52400000000000000000000000000000000000000000000000000000000000000fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0102030000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000180000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000100000000000000000000000000000000000000000000000000000000000000000100000000000000000000000000000000000000000000000000000000000001c0000000000000000000000000000000000000000000000000000000000000000100000000000000000000000000000000000000000000000000000000000000200000000000000000000000006b175474e89094c44da98b954eedeac495271d0f0000000000000000000000000000000000000000000000000000000000000040000000000000000000000000000000000000000000000000000000000000000268690000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001ff00000000000000000000000000000000000000000000000000000000000000"
	const inputs = `{"name":"a","type":"uint8"},{"name":"b","type":"int16"},{"name":"c","type":"bytes3"},{"name":"d","type":"uint256[2]"},
		{"name":"e","type":"tuple[]","components":[{"name":"x","type":"address"},{"name":"y","type":"string"}]},{"name":"","type":"bool"},{"name":"h","type":"bytes"}`
	values := map[string]any{
		"a": "255", "b": "-2", "c": "0x010203", "d": `[1,"57896044618658097711785492504343953926634992332820282019728792003956564819968"]`,
		"e": `[["0x6B175474E89094C44Da98b954EedeAC495271d0F","hi"]]`, "5": "true", "h": "0xff",
	}
	read := func(values map[string]any) (*Batch, error) {
		return ReadBuilder(strings.NewReader(batchOf(`{"to":"0x6B175474E89094C44Da98b954EedeAC495271d0F","value":"0","data":null,"contractMethod":{"name":"f","inputs":[` +
			inputs + `]},"contractInputsValues":` + string(must(json.Marshal(values))) + `}`)))
	}
	b, err := read(values)
	if err != nil {
		t.Fatal(err)
	}
	if got := hexutil.Encode(b.Calls[0].Data); got != want {
		t.Error(got)
	}
	for name, bad := range map[string][]any{
		"a": {"256", "-1", "", "1.5", nil, []int{1}}, "b": {"32768", "-32769", "--1", "x"}, "c": {"0x0102", "0x01020304", "010203"},
		"d": {"[1]", "[1,2,3]", "1", "[", nil, "[1,-1]"}, "e": {`[[]]`, `[["0x6B175474E89094C44Da98b954EedeAC495271d0F"]]`, `[["0x01","hi"]]`, `[{}]`},
		"5": {"yes", "", 1}, "h": {"ff", "0xf", nil},
	} {
		for _, v := range bad {
			old := values[name]
			values[name] = v
			if _, err := read(values); !errors.Is(err, ErrBuilder) {
				t.Errorf("%s %v: %v", name, v, err)
			}
			values[name] = old
		}
		old := values[name]
		delete(values, name)
		if _, err := read(values); !errors.Is(err, ErrBuilder) {
			t.Errorf("without %s: %v", name, err)
		}
		values[name] = old
	}
}

func TestReadBuilderRefuses(t *testing.T) {
	const good = `"to":"0x6B175474E89094C44Da98b954EedeAC495271d0F","value":"1"`
	if _, err := ReadBuilder(strings.NewReader(batchOf(`{` + good + `}`))); err != nil {
		t.Fatal(err)
	}
	method := func(name, typ, value string) string {
		return batchOf(fmt.Sprintf(`{%s,"contractMethod":{"name":%q,"inputs":[{"name":"a","type":%q}]},"contractInputsValues":{"a":%s}}`, good, name, typ, value))
	}
	if _, err := ReadBuilder(strings.NewReader(method("f", "uint256", `"1"`))); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"empty": "", "a list": "[]", "no calls": `{"chainId":1,"transactions":[]}`, "no chain": `{"transactions":[{` + good + `}]}`,
		"chain 0": `{"chainId":0,"transactions":[{` + good + `}]}`, "not a call": batchOf("1"), "no address": batchOf(`{"value":"1"}`),
		"no value":   batchOf(`{"to":"0x6B175474E89094C44Da98b954EedeAC495271d0F"}`),
		"too many":   batchOf(strings.Repeat(`{`+good+`},`, maxCalls) + `{` + good + `}`),
		"twice":      batchOf(`{` + good + `,"value":"2"}`),
		"operation":  batchOf(`{` + good + `,"operation":1}`),
		"bad data":   batchOf(`{` + good + `,"data":"0xa"}`),
		"bad method": batchOf(`{` + good + `,"contractMethod":1}`),
		"other data": strings.Replace(method("f", "uint256", `"1"`), `"value"`, `"data":"0xffffffff","value"`, 1),
		"no name":    method("", "uint256", `"1"`), "a name of more": method("f(uint256", "uint256", `"1"`), "no type": method("f", "", `"1"`),
		"unknown type": method("f", "fixed128x18", `"1"`), "odd size": method("f", "uint7", `"1"`), "huge": method("f", "uint256[2000000000]", `"[]"`),
		"huge within": method("f", "uint256[2000000000][1]", `"[[]]"`), "a long type": method("f", "uint256"+strings.Repeat("[]", 64), `"[]"`),
		"checksum": `{"chainId":1,"meta":{"checksum":"0x00"},"transactions":[{` + good + `}]}`,
		"bad Safe": `{"chainId":1,"meta":{"createdFromSafeAddress":"x"},"transactions":[{` + good + `}]}`,
		"large":    batchOf(`{` + good + `}` + strings.Repeat(" ", maxBuilder)),
	} {
		if _, err := ReadBuilder(strings.NewReader(text)); !errors.Is(err, ErrBuilder) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestBuilderChecksumText is of text that JSON encoders write in several ways.
// The answer is of JSON.stringify.
func TestBuilderChecksumText(t *testing.T) {
	v, err := strictJSON([]byte(`["\u0000\b\t\n\f\r\"\\\/<>&\u2028\u007f😀", 1.50, 1e21, 1E-7, -0, 100, true, null]`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(appendChecked(nil, v)), `["\u0000\b\t\n\f\r\"\\/<>&`+"\u2028\u007f"+`😀",1.5,1e+21,1e-7,0,100,true,null]`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func FuzzReadBuilder(f *testing.F) {
	f.Add(fmt.Appendf(nil, builderBatch, ""))
	f.Add([]byte(batchOf(`{"to":"0x6B175474E89094C44Da98b954EedeAC495271d0F","value":"0","contractMethod":{"name":"f","inputs":[{"name":"a","type":"tuple[2][]","components":[{"name":"x","type":"int24"}]}]},"contractInputsValues":{"a":"[[[1],[2]]]"}}`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := ReadBuilder(bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, ErrBuilder) {
				t.Error(err)
			}
			return
		}
		tx, err := b.Transaction(Account{b.ChainID, b.Safe}, multiSendCallOnly[V141][0])
		if err != nil {
			return
		}
		if d := Decode(tx.Data); len(b.Calls) > 1 && d.Problem == "" && len(d.Calls) != len(b.Calls) {
			t.Errorf("%+v", d)
		}
	})
}
