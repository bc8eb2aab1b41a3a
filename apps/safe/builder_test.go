package safe

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

func batch(transactions string) []byte {
	return []byte(`{"version":"1.0","chainId":"1","createdAt":1,"meta":{"name":"Transactions Batch","createdFromSafeAddress":"` +
		testAccount.Address.Hex() + `","checksum":"0x00"},"transactions":[` + transactions + `]}`)
}

const callOfTransfer = `{"to":"0x00000000000000000000000000000000000000C0","value":"0","data":null,"contractMethod":{"name":"transfer","payable":false,
	"inputs":[{"internalType":"address","name":"to","type":"address"},{"internalType":"uint256","name":"amount","type":"uint256"}]},
	"contractInputsValues":{"to":"0x00000000000000000000000000000000000000b2","amount":"5"}}`

func TestReadBuilder(t *testing.T) {
	one, err := ReadBuilder(batch(callOfTransfer), testAccount, V141)
	want := EncodeTransfer(common.HexToAddress("0xb2"), uint256.NewInt(5))
	if err != nil || one.To != common.HexToAddress("0xc0") || one.Operation != Call || !bytes.Equal(one.Data, want) {
		t.Fatalf("%+v, %v", one, err)
	}
	two, err := ReadBuilder(batch(callOfTransfer+`,{"to":"0x00000000000000000000000000000000000000b2","value":"7","data":"0x0102"}`), testAccount, V130)
	if err != nil || two.To != multiSendCallOnly[V130][0] || two.Operation != DelegateCall {
		t.Fatalf("%+v, %v", two, err)
	}
	calls := Decode(two.Data).Calls
	if len(calls) != 2 || !bytes.Equal(calls[0].Data, want) || calls[1].Value.Uint64() != 7 || !bytes.Equal(calls[1].Data, []byte{1, 2}) {
		t.Errorf("calls are %+v", calls)
	}
	all, err := ReadBuilder(batch(`{"to":"0x00000000000000000000000000000000000000b2","value":"","data":null,"contractMethod":{"name":"f","inputs":[
		{"name":"a","type":"uint8"},{"name":"b","type":"int64"},{"name":"c","type":"bool"},{"name":"d","type":"string"},{"name":"e","type":"bytes"},
		{"name":"f","type":"bytes4"},{"name":"g","type":"uint256[]"},{"name":"h","type":"address[2]"}]},"contractInputsValues":{"a":"255","b":"-1","c":"True",
		"d":"hi","e":"0x01","f":"0x01020304","g":"[1, \"2\"]","h":"[\"0x00000000000000000000000000000000000000b2\",\"0x00000000000000000000000000000000000000b2\"]"}}`), testAccount, V141)
	if err != nil || len(all.Data) != 4+32*16 {
		t.Errorf("%d bytes, %v", len(all.Data), err)
	}
	bad := map[string][]byte{
		"no JSON":         []byte("hello"),
		"another chain":   bytes.Replace(batch(callOfTransfer), []byte(`"chainId":"1"`), []byte(`"chainId":"5"`), 1),
		"another Safe":    bytes.Replace(batch(callOfTransfer), []byte(testAccount.Address.Hex()), []byte("0x00000000000000000000000000000000000000b2"), 1),
		"no transactions": batch(""),
		"too many":        batch(strings.Repeat(callOfTransfer+",", maxCalls) + callOfTransfer),
		"no address":      batch(`{"to":"hello","value":"0"}`),
		"no number":       batch(`{"to":"0x00000000000000000000000000000000000000b2","value":"-1"}`),
		"no hex":          batch(`{"to":"0x00000000000000000000000000000000000000b2","value":"0","data":"0x1"}`),
		"no value":        batch(strings.Replace(callOfTransfer, `"amount":"5"`, `"x":"5"`, 1)),
		"out of range":    batch(strings.Replace(callOfTransfer, `"amount":"5"`, `"amount":"-5"`, 1)),
		"unknown type":    batch(strings.Replace(callOfTransfer, `"type":"uint256"`, `"type":"uint257x"`, 1)),
		"too large":       batch(`{"to":"0x00000000000000000000000000000000000000b2","value":"0","data":"0x` + strings.Repeat("00", MaxData+1) + `"}`),
	}
	for name, b := range bad {
		if got, err := ReadBuilder(b, testAccount, V141); !errors.Is(err, ErrBuilder) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzReadBuilder(f *testing.F) {
	f.Add(batch(callOfTransfer))
	f.Add(batch(callOfTransfer + `,{"to":"0x00000000000000000000000000000000000000b2","value":"7","data":"0x0102"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		tx, err := ReadBuilder(b, testAccount, V141)
		switch {
		case err != nil && !errors.Is(err, ErrBuilder):
			t.Error(err)
		case err == nil && len(tx.Data) > MaxData:
			t.Errorf("%d bytes", len(tx.Data))
		}
	})
}

const hashFile = `{"chainId":1,"safe":"0x1c8b9b78e3085866521fe206fa4c1a67f49f153a","version":"1.4.1+L2","to":"0x00dec0de00000000000000000000000000000001",
	"value":"0x0","data":null,"operation":"CALL","safeTxGas":0,"baseGas":"0","gasPrice":"0","gasToken":"0x0000000000000000000000000000000000000000",
	"refundReceiver":"0x0000000000000000000000000000000000000000","nonce":"1"}`

func TestReadHashFile(t *testing.T) {
	a, tx, err := ReadHashFile([]byte(hashFile))
	if err != nil || tx.Hash(a).Hex() != "0x8621b211eff4af126689de49ee4d9ab02dc029631083e4a35125d59fd870b400" { // see TestKnownHashes
		t.Fatalf("%v, %+v, %v", a, tx, err)
	}
	change := func(from, to string) string {
		if !strings.Contains(hashFile, from) {
			t.Fatalf("no %s", from)
		}
		return strings.Replace(hashFile, from, to, 1)
	}
	for name, s := range map[string]string{
		"empty":           "",
		"no object":       "[]",
		"more behind":     hashFile + "{}",
		"missing":         change(`"nonce":"1"`, `"n":"1"`),
		"unknown":         change(`"nonce":"1"`, `"nonce":"1","x":1`),
		"twice":           change(`"nonce":"1"`, `"nonce":"1","nonce":"2"`),
		"negative":        change(`"nonce":"1"`, `"nonce":-1`),
		"exponent":        change(`"nonce":"1"`, `"nonce":1e3`),
		"leading zero":    change(`"nonce":"1"`, `"nonce":"01"`),
		"empty number":    change(`"nonce":"1"`, `"nonce":""`),
		"null number":     change(`"nonce":"1"`, `"nonce":null`),
		"257 bits":        change(`"nonce":"1"`, `"nonce":"115792089237316195423570985008687907853269984665640564039457584007913129639936"`),
		"no chain":        change(`"chainId":1`, `"chainId":0`),
		"a long chain id": change(`"chainId":1`, `"chainId":"18446744073709551616"`),
		"checksum":        change("0x1c8b9b", "0x1C8b9b"),
		"short address":   change("0x1c8b9b", "0x1c8b"),
		"odd data":        change(`"data":null`, `"data":"0x1"`),
		"no data":         change(`"data":null`, `"data":7`),
		"operation":       change(`"CALL"`, `2`),
		"operation name":  change(`"CALL"`, `"call"`),
		"null version":    change(`"1.4.1+L2"`, `null`),
	} {
		if _, _, err := ReadHashFile([]byte(s)); !errors.Is(err, ErrHashFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := ReadHashFile([]byte(change("1.4.1+L2", "1.1.1"))); !errors.Is(err, ErrVersion) {
		t.Errorf("old version: %v", err)
	}
}

func FuzzReadHashFile(f *testing.F) {
	f.Add([]byte(hashFile))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, err := ReadHashFile(b)
		if err != nil && !errors.Is(err, ErrHashFile) && !errors.Is(err, ErrVersion) {
			t.Error(err)
		}
	})
}
