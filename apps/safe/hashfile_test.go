package safe

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// hashFile is a file with something in every field.
const hashFile = `{"chainId": 1, "safe": "0x29fcB43b46531BcA003ddC8FCB67FFE91900C762", "version": "1.4.1",
	"to": "0x6B175474E89094C44Da98b954EedeAC495271d0F", "value": "0x10", "data": "0xa9059cbb", "operation": 1, "safeTxGas": "1", "baseGas": 2,
	"gasPrice": "115792089237316195423570985008687907853269984665640564039457584007913129639935",
	"gasToken": "0x6b175474e89094c44da98b954eedeac495271d0f", "refundReceiver": "0x0000000000000000000000000000000000000001", "nonce": "0x07"}`

func TestReadHashFile(t *testing.T) {
	a, v, tx, err := ReadHashFile(strings.NewReader(hashFile))
	if err != nil {
		t.Fatal(err)
	}
	dai := common.HexToAddress("0x6B175474E89094C44Da98b954EedeAC495271d0F")
	want := Transaction{
		To: dai, Value: *uint256.NewInt(16), Data: common.FromHex("a9059cbb"), Operation: DelegateCall,
		SafeTxGas: *uint256.NewInt(1), BaseGas: *uint256.NewInt(2), GasPrice: *new(uint256.Int).SetAllOne(),
		GasToken: dai, RefundReceiver: common.HexToAddress("0x01"), Nonce: *uint256.NewInt(7),
	}
	if !tx.Equal(&want) || v != V141 || a != (Account{1, common.HexToAddress("0x29fcB43b46531BcA003ddC8FCB67FFE91900C762")}) {
		t.Errorf("%v %v %+v", a, v, tx)
	}
}

// TestReadHashFileFields leaves each field out, and puts into each what does not
// belong there: the error must name it.
func TestReadHashFileFields(t *testing.T) {
	optional := map[string]bool{"operation": true, "safeTxGas": true, "baseGas": true, "gasPrice": true, "gasToken": true, "refundReceiver": true}
	number := []string{
		`null`, `-1`, `1.5`, `1e3`, `"1e3"`, `""`, `"0x"`, `" 1"`, `"+1"`, `"1_000"`, `"0b1"`, `"0xg"`, `true`, `[1]`, `{}`,
		`"115792089237316195423570985008687907853269984665640564039457584007913129639936"`, `"0x1` + strings.Repeat("0", 64) + `"`,
	}
	address := []string{
		`null`, `""`, `1`, `"0x"`, `"6b175474e89094c44da98b954eedeac495271d0f"`, `"0x6B175474E89094C44Da98b954EedeAC495271d0f"`,
		`"0x6b175474e89094c44da98b954eedeac495271d0"`, `"0x6b175474e89094c44da98b954eedeac495271d0g"`, `"0X6b175474e89094c44da98b954eedeac495271d0f"`,
	}
	bad := map[string][]string{
		"chainId": append(number, `0`, `"18446744073709551616"`), "safe": append(address, `"0x0000000000000000000000000000000000000000"`),
		"version": {`null`, `1.4`, `"1.2.0"`, `""`}, "to": address, "value": number, "data": {`null`, `""`, `"a9"`, `"0xa"`, `"0xzz"`, `1`},
		"operation": append(number, `2`), "safeTxGas": number, "baseGas": number, "gasPrice": number, "gasToken": address,
		"refundReceiver": address, "nonce": number,
	}
	with := func(name string, value json.RawMessage) []byte {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(hashFile), &fields); err != nil {
			t.Fatal(err)
		}
		if fields[name] == nil {
			t.Fatalf("no field %s", name)
		}
		if fields[name] = value; value == nil {
			delete(fields, name)
		}
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, values := range bad {
		for _, value := range values {
			_, _, _, err := ReadHashFile(bytes.NewReader(with(name, json.RawMessage(value))))
			if !errors.Is(err, ErrHashFile) || !strings.Contains(err.Error(), name+":") {
				t.Errorf("%s %s: %v", name, value, err)
			}
		}
		_, _, tx, err := ReadHashFile(bytes.NewReader(with(name, nil)))
		switch {
		case optional[name] && err != nil:
			t.Errorf("without %s: %v", name, err)
		case optional[name] && tx.Hash(Account{}) == (&Transaction{}).Hash(Account{}):
			t.Errorf("without %s: nothing was read", name)
		case !optional[name] && (!errors.Is(err, ErrHashFile) || !strings.Contains(err.Error(), name+" is missing")):
			t.Errorf("without %s: %v", name, err)
		}
	}
	if _, _, _, err := ReadHashFile(bytes.NewReader(with("version", json.RawMessage(`"1.1.1"`)))); !errors.Is(err, ErrVersion) {
		t.Errorf("an old version: %v", err)
	}
}

func TestReadHashFileForm(t *testing.T) {
	body := strings.TrimSuffix(hashFile, "}")
	for what, file := range map[string]string{
		"empty": "", "a list": "[]", "cut off": body, "two": hashFile + hashFile, "unknown": body + `,"Nonce":8}`,
		"twice": body + `,"nonce":8}`, "twice, escaped": body + `,"non\u0063e":8}`, "not UTF-8": strings.Replace(hashFile, "1.4.1", "\xff", 1),
		"deep": strings.Repeat("[", 100) + strings.Repeat("]", 100), "large": hashFile + strings.Repeat(" ", maxHashFile),
	} {
		if _, _, _, err := ReadHashFile(strings.NewReader(file)); !errors.Is(err, ErrHashFile) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzReadHashFile(f *testing.F) {
	f.Add([]byte(hashFile))
	f.Add([]byte(`{"chainId":[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, v, tx, err := ReadHashFile(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrHashFile) {
				t.Error(err)
			}
			return
		}
		if _, err := ParseVersion(string(v)); err != nil || a.ChainID == 0 || tx.Operation > DelegateCall {
			t.Errorf("%v %v %v", a, v, tx)
		}
	})
}
