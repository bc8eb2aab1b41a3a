package safe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// multiSendCallOnly is where the contract of this name is on most chains, and on
// those that demand signed chain ids of deployments: by safe-deployments.
var multiSendCallOnly = map[Version][]common.Address{
	V130: {common.HexToAddress("0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"), common.HexToAddress("0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B")},
	V141: {common.HexToAddress("0x9641d764fc13c8B624c04430C7356C1C7C8102e2")},
	V150: {common.HexToAddress("0xA83c336B20401Af773B6219BA5027174338D1836")},
}

// ErrBuilder is returned for a file that is no batch of the Transaction Builder,
// or none for the Safe.
var ErrBuilder = errors.New("safe: not a Transaction Builder batch")

// Batch is what a file of the Transaction Builder, an app of the Safe's web
// interface, asks for.
type Batch struct {
	ChainID     uint64
	Name        string // empty if it has none
	Description string
	Safe        common.Address // which it was made for; zero if it does not say
	Checksum    bool           // there is one, and it holds
	Calls       []InnerCall    // at least one, at most 256
}

// ReadBuilder reads a batch. A call's data is encoded from contractMethod and
// contractInputsValues where the file has none. It returns [ErrBuilder].
func ReadBuilder(r io.Reader) (*Batch, error) {
	b, err := readBuilder(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBuilder, err)
	}
	return b, nil
}

func readBuilder(r io.Reader) (*Batch, error) {
	text, err := readAll(r, maxBuilder)
	if err != nil {
		return nil, err
	}
	v, err := strictJSON(text)
	if err != nil {
		return nil, err
	}
	file, ok := v.(map[string]any)
	calls, isList := file["transactions"].([]any)
	switch {
	case !ok:
		return nil, errors.New("not a JSON object")
	case !isList || len(calls) == 0 || len(calls) > maxCalls:
		return nil, fmt.Errorf("transactions: a batch is a list of 1 to %d", maxCalls)
	}
	b := &Batch{}
	chain, err := jsonNumber(file["chainId"])
	if err != nil || !chain.IsUint64() || chain.IsZero() {
		return nil, errors.New("chainId: a chain's id is from 1 to 2⁶⁴-1")
	}
	b.ChainID = chain.Uint64()
	if meta, ok := file["meta"].(map[string]any); ok {
		b.Name, _ = meta["name"].(string)
		b.Description, _ = meta["description"].(string)
		if s, _ := meta["createdFromSafeAddress"].(string); s != "" {
			if b.Safe, err = jsonAddress(s); err != nil {
				return nil, fmt.Errorf("createdFromSafeAddress: %w", err)
			}
		}
		if sum, ok := meta["checksum"]; ok && sum != nil && sum != "" {
			delete(meta, "checksum")
			if sum != builderChecksum(file).Hex() {
				return nil, errors.New("checksum: does not hold; the file was changed after it was made")
			}
			b.Checksum = true
		}
	}
	for i, v := range calls {
		c, err := builderCall(v)
		if err != nil {
			return nil, fmt.Errorf("transactions[%d]: %w", i, err)
		}
		b.Calls = append(b.Calls, c)
	}
	return b, nil
}

// Transaction is the batch as one transaction of a Safe, without nonce: a single
// call is itself, several are run by the code at multiSend, for which see
// [Chain.MultiSendCallOnly]. It returns [ErrBuilder] for a batch of another chain
// or Safe, or a too large one.
func (b *Batch) Transaction(a Account, multiSend common.Address) (Transaction, error) {
	switch {
	case b.ChainID != a.ChainID:
		return Transaction{}, fmt.Errorf("%w: it is for chain %d", ErrBuilder, b.ChainID)
	case b.Safe != common.Address{} && b.Safe != a.Address:
		return Transaction{}, fmt.Errorf("%w: it is for the Safe %s", ErrBuilder, b.Safe)
	}
	t := Transaction{To: b.Calls[0].To, Value: b.Calls[0].Value, Data: b.Calls[0].Data}
	if len(b.Calls) > 1 {
		t = Transaction{To: multiSend, Operation: DelegateCall, Data: EncodeMultiSend(b.Calls)}
	}
	if len(t.Data) > MaxData {
		return Transaction{}, fmt.Errorf("%w: calldata of %d bytes, %d are the most", ErrBuilder, len(t.Data), MaxData)
	}
	return t, nil
}

func builderCall(v any) (c InnerCall, err error) {
	call, ok := v.(map[string]any)
	if !ok {
		return c, errors.New("not an object")
	}
	if c.To, err = jsonAddress(call["to"]); err != nil {
		return c, fmt.Errorf("to: %w", err)
	}
	if c.Value, err = jsonNumber(call["value"]); err != nil {
		return c, fmt.Errorf("value: %w", err)
	}
	if v := call["operation"]; v != nil { // none of the format; it must not be lost silently
		if n, err := jsonNumber(v); err != nil || !n.IsZero() {
			return c, errors.New("operation: a batch has calls alone")
		}
	}
	method, named := call["contractMethod"].(map[string]any)
	var encoded []byte
	var encoding error
	if named {
		values, _ := call["contractInputsValues"].(map[string]any)
		encoded, encoding = builderData(method, values)
	}
	switch data := call["data"]; {
	case data != nil:
		if c.Data, err = jsonBytes(data); err != nil {
			return c, fmt.Errorf("data: %w", err)
		}
		if named && encoding == nil && call["contractInputsValues"] != nil && !bytes.Equal(encoded, c.Data) {
			return c, errors.New("data: is not what contractMethod and contractInputsValues say")
		}
	case !named && call["contractMethod"] != nil:
		return c, errors.New("contractMethod: not an object")
	case encoding != nil:
		return c, encoding
	default:
		c.Data = encoded // nil for a transfer of ether
	}
	c.Decoded = Decode(c.Data)
	return c, nil
}

// identifier is a name in Solidity.
var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]{0,127}$`)

// builderData encodes a call of a method with values by their names, or by their
// places where they have none.
func builderData(method, values map[string]any) (data []byte, err error) {
	defer func() { // types that the library takes and cannot make
		if p := recover(); p != nil {
			data, err = nil, errors.New("contractMethod: cannot be encoded")
		}
	}()
	name, _ := method["name"].(string)
	if name == "receive" || name == "fallback" {
		return nil, nil
	}
	if !identifier.MatchString(name) {
		return nil, errors.New("contractMethod: no function's name")
	}
	b, err := json.Marshal(orList(method["inputs"]))
	if err != nil {
		return nil, err
	}
	var marshaled []abi.ArgumentMarshaling
	if err := json.Unmarshal(b, &marshaled); err != nil || len(marshaled) > 64 {
		return nil, errors.New("contractMethod: inputs are a list of at most 64 parameters")
	}
	var args abi.Arguments
	var packed []any
	for i, in := range marshaled {
		if len(in.Type) > 128 {
			return nil, errors.New("contractMethod: a type's name is too long")
		}
		typ, err := abi.NewType(in.Type, in.InternalType, in.Components)
		if err != nil {
			return nil, fmt.Errorf("contractMethod: %w", err)
		}
		key := in.Name
		if key == "" {
			key = strconv.Itoa(i)
		}
		v, ok := values[key]
		if !ok {
			return nil, fmt.Errorf("contractInputsValues: %.64q is missing", key)
		}
		value, err := builderValue(&typ, v)
		if err != nil {
			return nil, fmt.Errorf("contractInputsValues: %.64q: %w", key, err)
		}
		args, packed = append(args, abi.Argument{Name: in.Name, Type: typ}), append(packed, value.Interface())
	}
	m := abi.NewMethod(name, name, abi.Function, "nonpayable", false, false, args, nil)
	data, err = args.Pack(packed...)
	if err != nil {
		return nil, fmt.Errorf("contractInputsValues: %w", err)
	}
	return slices.Concat(m.ID, data), nil
}

func orList(v any) any {
	if v == nil {
		return []any{}
	}
	return v
}

// builderValue is a value as package abi has it: lists and tuples are JSON, or
// JSON in a string.
func builderValue(t *abi.Type, v any) (reflect.Value, error) {
	fail := func(err error) (reflect.Value, error) { return reflect.Value{}, fmt.Errorf("%s: %w", t, err) }
	s, isString := v.(string)
	switch t.T {
	case abi.SliceTy, abi.ArrayTy, abi.TupleTy:
		return builderList(t, v)
	case abi.StringTy:
		if !isString {
			return fail(errors.New("not a string"))
		}
		return reflect.ValueOf(s), nil
	case abi.AddressTy:
		a, err := jsonAddress(v)
		if err != nil {
			return fail(err)
		}
		return reflect.ValueOf(a), nil
	case abi.BoolTy:
		b, ok := v.(bool)
		if isString {
			b, ok = strings.EqualFold(s, "true"), strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
		}
		if !ok {
			return fail(errors.New("neither true nor false"))
		}
		return reflect.ValueOf(b), nil
	case abi.BytesTy, abi.FixedBytesTy:
		b, err := jsonBytes(v)
		if err == nil && t.T == abi.FixedBytesTy && len(b) != t.Size {
			err = fmt.Errorf("%d bytes", len(b))
		}
		if err != nil {
			return fail(err)
		}
		if t.T == abi.BytesTy {
			return reflect.ValueOf(b), nil
		}
		out := reflect.New(t.GetType()).Elem()
		reflect.Copy(out, reflect.ValueOf(b))
		return out, nil
	case abi.IntTy, abi.UintTy:
		return builderNumber(t, v)
	}
	return fail(errors.New("such values are not known"))
}

func builderNumber(t *abi.Type, v any) (reflect.Value, error) {
	if n, ok := v.(json.Number); ok {
		v = n.String()
	}
	s, _ := v.(string)
	digits, negative := strings.CutPrefix(s, "-")
	n, err := jsonNumber(digits)
	if err != nil {
		return reflect.Value{}, fmt.Errorf("%s: %w", t, err)
	}
	x := n.ToBig()
	if negative {
		x.Neg(x)
	}
	fits := x.Sign() >= 0 && x.BitLen() <= t.Size
	if t.T == abi.IntTy { // -2ⁿ⁻¹ to 2ⁿ⁻¹-1
		y := new(big.Int).Set(x)
		if x.Sign() < 0 {
			y.Not(x)
		}
		fits = y.BitLen() < t.Size
	}
	if !fits || t.Size%8 != 0 || t.Size > 256 {
		return reflect.Value{}, fmt.Errorf("%s: the number is out of range", t)
	}
	out := reflect.New(t.GetType()).Elem()
	switch {
	case out.CanUint():
		out.SetUint(x.Uint64())
	case out.CanInt():
		out.SetInt(x.Int64())
	default:
		out.Set(reflect.ValueOf(x))
	}
	return out, nil
}

func builderList(t *abi.Type, v any) (reflect.Value, error) {
	if s, ok := v.(string); ok {
		var err error
		if v, err = strictJSON([]byte(s)); err != nil {
			return reflect.Value{}, fmt.Errorf("%s: %w", t, err)
		}
	}
	list, ok := v.([]any)
	if object, isObject := v.(map[string]any); isObject && t.T == abi.TupleTy && len(object) == len(t.TupleRawNames) {
		ok = true
		for _, name := range t.TupleRawNames {
			v, there := object[name]
			ok = ok && there
			list = append(list, v)
		}
	}
	if !ok || t.T == abi.ArrayTy && len(list) != t.Size || t.T == abi.TupleTy && len(list) != len(t.TupleElems) {
		return reflect.Value{}, fmt.Errorf("%s: not a list of as many values", t)
	}
	values := make([]reflect.Value, len(list)) // before the list's memory, which the type alone can make large
	for i, v := range list {
		elem := t.Elem
		if t.T == abi.TupleTy {
			elem = t.TupleElems[i]
		}
		var err error
		if values[i], err = builderValue(elem, v); err != nil {
			return reflect.Value{}, err
		}
	}
	out := reflect.New(t.GetType()).Elem()
	if t.T == abi.SliceTy {
		out.Set(reflect.MakeSlice(t.GetType(), len(list), len(list)))
	}
	for i, v := range values {
		if t.T == abi.TupleTy {
			out.Field(i).Set(v)
		} else {
			out.Index(i).Set(v)
		}
	}
	return out, nil
}

// builderChecksum is the Transaction Builder's checksum of a file without its
// field checksum: Keccak-256 of the values in a form of its own, in which an
// object is the JSON list of its sorted keys and then its values, each with a
// comma behind.
func builderChecksum(file any) common.Hash {
	return crypto.Keccak256Hash(appendChecked(nil, file))
}

func appendChecked(b []byte, v any) []byte {
	switch v := v.(type) {
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendChecked(b, e)
		}
		return append(b, ']')
	case map[string]any:
		keys := slices.SortedFunc(maps.Keys(v), func(x, y string) int { // as ECMAScript sorts
			return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(y)))
		})
		b = append(b, "{["...)
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, k)
		}
		b = append(b, ']')
		for _, k := range keys {
			b = append(appendChecked(b, v[k]), ',')
		}
		return append(b, '}')
	case string:
		return appendQuoted(b, v)
	case json.Number:
		f, err := v.Float64()
		switch { // ECMAScript has numbers of this kind alone, and writes neither -0 nor infinity
		case err != nil:
			return append(b, "null"...)
		case f == 0:
			return append(b, '0')
		}
		return append(b, must(json.Marshal(f))...)
	}
	return append(b, must(json.Marshal(v))...)
}

// appendQuoted writes a string as ECMAScript's JSON.stringify does.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch i := strings.IndexRune("\b\f\n\r\t\"\\", r); {
		case i >= 0:
			b = append(b, '\\', `bfnrt"\`[i])
		case r < 0x20:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
