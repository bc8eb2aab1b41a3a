package safe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/identity"
)

// ErrBuilder is returned for a file that is not a batch of the Transaction
// Builder, or one for another chain or Safe.
var ErrBuilder = errors.New("safe: not a batch of the Transaction Builder")

// multiSendCallOnly is where the contract of this name is on most chains, and on
// those that demand signed chain ids of deployments: by safe-deployments.
var multiSendCallOnly = map[Version][]common.Address{
	V130: {common.HexToAddress("0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"), common.HexToAddress("0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B")},
	V141: {common.HexToAddress("0x9641d764fc13c8B624c04430C7356C1C7C8102e2")},
	V150: {common.HexToAddress("0xA83c336B20401Af773B6219BA5027174338D1836")},
}

// batchFile is what of a batch matters here.
type batchFile struct {
	ChainID string `json:"chainId"`
	Meta    struct {
		Safe string `json:"createdFromSafeAddress"`
	} `json:"meta"`
	Transactions []batchCall `json:"transactions"`
}

type batchCall struct {
	To     string  `json:"to"`
	Value  string  `json:"value"`
	Data   *string `json:"data"`
	Method *struct {
		Name    string       `json:"name"`
		Payable bool         `json:"payable"`
		Inputs  []batchInput `json:"inputs"`
	} `json:"contractMethod"`
	Values map[string]string `json:"contractInputsValues"`
}

type batchInput struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// ReadBuilder reads a batch file of the Safe web app's Transaction Builder for a
// Safe of a version: one call is the transaction itself, several are run by the
// version's MultiSendCallOnly. The file's chain must be the Safe's, and its Safe,
// if it names one. The nonce is the caller's to choose. It returns [ErrBuilder].
func ReadBuilder(b []byte, a Account, v Version) (*Transaction, error) {
	var f batchFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBuilder, err)
	}
	switch {
	case f.ChainID != strconv.FormatUint(a.ChainID, 10):
		return nil, fmt.Errorf("%w: it is for chain %.20q, the Safe is on %d", ErrBuilder, f.ChainID, a.ChainID)
	case f.Meta.Safe != "" && common.HexToAddress(f.Meta.Safe) != a.Address:
		return nil, fmt.Errorf("%w: it was made for the Safe %.42q", ErrBuilder, f.Meta.Safe)
	case len(f.Transactions) == 0:
		return nil, fmt.Errorf("%w: it has no transactions", ErrBuilder)
	case len(f.Transactions) > maxCalls:
		return nil, fmt.Errorf("%w: it has %d transactions, %d are the most", ErrBuilder, len(f.Transactions), maxCalls)
	}
	calls := make([]InnerCall, len(f.Transactions))
	for i := range f.Transactions {
		c, err := f.Transactions[i].call()
		if err != nil {
			return nil, fmt.Errorf("%w: transaction %d: %w", ErrBuilder, i+1, err)
		}
		calls[i] = *c
	}
	t := &Transaction{To: calls[0].To, Value: calls[0].Value, Data: calls[0].Data}
	if len(calls) > 1 {
		t = &Transaction{To: multiSendCallOnly[v][0], Data: EncodeMultiSend(calls), Operation: DelegateCall}
	}
	if len(t.Data) > MaxData {
		return nil, fmt.Errorf("%w: %d bytes of calldata, %d are the most", ErrBuilder, len(t.Data), MaxData)
	}
	return t, nil
}

func (c *batchCall) call() (*InnerCall, error) {
	to, err := identity.ParseAddress(c.To)
	if err != nil {
		return nil, err
	}
	out := &InnerCall{To: common.Address(to)}
	if c.Value != "" {
		value, err := uint256.FromDecimal(c.Value)
		if err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
		out.Value = *value
	}
	switch {
	case c.Data != nil && *c.Data != "":
		if out.Data, err = hexutil.Decode(*c.Data); err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
	case c.Method != nil && c.Method.Name != "":
		if out.Data, err = c.encode(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Method.Name, err)
		}
	}
	return out, nil
}

// encode makes the calldata of a method and its values in words.
func (c *batchCall) encode() ([]byte, error) {
	if c.Method.Name == "fallback" || c.Method.Name == "receive" {
		return nil, nil
	}
	var args abi.Arguments
	var values []any
	for _, in := range c.Method.Inputs {
		if !abiType.MatchString(in.Type) {
			return nil, fmt.Errorf("values of type %.40q are not read; give the calldata", in.Type)
		}
		typ, err := abi.NewType(in.Type, "", nil)
		if err != nil {
			return nil, err
		}
		word, ok := c.Values[in.Name]
		if !ok {
			return nil, fmt.Errorf("no value for %q", in.Name)
		}
		value, err := abiValue(typ, word)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", in.Name, err)
		}
		args = append(args, abi.Argument{Name: in.Name, Type: typ})
		values = append(values, value)
	}
	m := abi.NewMethod(c.Method.Name, c.Method.Name, abi.Function, "", false, c.Method.Payable, args, nil)
	packed, err := args.Pack(values...)
	if err != nil {
		return nil, err
	}
	return append(m.ID, packed...), nil
}

// abiType is the types whose values are read: no tuples.
var abiType = regexp.MustCompile(`^(address|bool|string|bytes([1-9]|[12][0-9]|3[0-2])?|u?int(8|16|24|32|40|48|56|64|72|80|88|96|104|112|120|128|136|144|152|160|168|176|184|192|200|208|216|224|232|240|248|256)?)(\[[1-9]?[0-9]{0,3}\]){0,3}$`)

// abiValue reads a value as the Transaction Builder writes it: numbers and
// addresses as they are, arrays in JSON.
func abiValue(t abi.Type, s string) (any, error) {
	s = strings.TrimSpace(s)
	switch t.T {
	case abi.AddressTy:
		a, err := identity.ParseAddress(s)
		return common.Address(a), err
	case abi.BoolTy:
		return strconv.ParseBool(strings.ToLower(s))
	case abi.StringTy:
		return s, nil
	case abi.BytesTy:
		return hexutil.Decode(s)
	case abi.FixedBytesTy:
		b, err := hexutil.Decode(s)
		if err != nil || len(b) != t.Size {
			return nil, fmt.Errorf("not %d bytes in hex", t.Size)
		}
		v := reflect.New(t.GetType()).Elem()
		reflect.Copy(v, reflect.ValueOf(b))
		return v.Interface(), nil
	case abi.IntTy, abi.UintTy:
		return abiNumber(t, s)
	case abi.SliceTy, abi.ArrayTy:
		return abiList(t, s)
	}
	return nil, fmt.Errorf("values of type %s are not read; give the calldata", t)
}

// abiNumber reads a number into the type that the ABI packs: *big.Int, or Go's
// integer of 8 to 64 bits.
func abiNumber(t abi.Type, s string) (any, error) {
	n, ok := new(big.Int).SetString(s, 0)
	if !ok || len(s) > 80 {
		return nil, errors.New("not a number")
	}
	bits := t.Size
	if t.T == abi.IntTy {
		bits--
	}
	fits := n.BitLen() <= bits
	if n.Sign() < 0 { // -2^bits is the least
		fits = t.T == abi.IntTy && new(big.Int).Not(n).BitLen() <= bits
	}
	if !fits {
		return nil, fmt.Errorf("out of the range of %s", t)
	}
	goType := t.GetType()
	switch goType.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return reflect.ValueOf(n.Int64()).Convert(goType).Interface(), nil
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return reflect.ValueOf(n.Uint64()).Convert(goType).Interface(), nil
	}
	return n, nil
}

// abiList reads an array of JSON, whose elements are strings or bare words.
func abiList(t abi.Type, s string) (any, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(s), &raw); err != nil {
		return nil, fmt.Errorf("not an array: %w", err)
	}
	if t.T == abi.ArrayTy && len(raw) != t.Size || len(raw) > maxItems {
		return nil, fmt.Errorf("%d elements", len(raw))
	}
	list := reflect.New(t.GetType()).Elem()
	if t.T == abi.SliceTy {
		list.Set(reflect.MakeSlice(t.GetType(), len(raw), len(raw)))
	}
	for i, r := range raw {
		word := string(r)
		if len(word) > 0 && word[0] == '"' {
			if err := json.Unmarshal(r, &word); err != nil {
				return nil, err
			}
		}
		value, err := abiValue(*t.Elem, word)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i+1, err)
		}
		list.Index(i).Set(reflect.ValueOf(value))
	}
	return list.Interface(), nil
}
