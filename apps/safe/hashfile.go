package safe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/identity"
)

// ErrHashFile is returned for JSON that is not a transaction to be hashed; it
// names the field.
var ErrHashFile = errors.New("safe: not a transaction")

// hashFields are the fields of a transaction to be hashed, each of which must be
// there.
var hashFields = []string{
	"chainId", "safe", "version", "to", "value", "data", "operation", "safeTxGas", "baseGas", "gasPrice", "gasToken", "refundReceiver", "nonce",
}

// ReadHashFile reads a transaction with its Safe from a JSON object of thirteen
// fields: chainId, safe, version and the ten that owners sign. Numbers are
// decimal or 0x strings, or JSON numbers; data is hex; addresses in mixed case
// must have a valid EIP-55 checksum; operation may be a name, "CALL" or
// "DELEGATECALL". It returns [ErrHashFile] for a field that is missing, unknown,
// there twice, or out of range, and [ErrVersion].
func ReadHashFile(b []byte) (Account, *Transaction, error) {
	fields, err := uniqueFields(b)
	if err != nil {
		return Account{}, nil, fmt.Errorf("%w: %w", ErrHashFile, err)
	}
	known := map[string]bool{}
	for _, f := range hashFields {
		known[f] = true
		if _, ok := fields[f]; !ok {
			return Account{}, nil, fmt.Errorf("%w: %q is missing", ErrHashFile, f)
		}
	}
	for f := range fields {
		if !known[f] {
			return Account{}, nil, fmt.Errorf("%w: unknown field %q", ErrHashFile, f)
		}
	}
	r := &fieldReader{fields: fields}
	var a Account
	var t Transaction
	chain := r.number("chainId")
	if r.err == nil && (!chain.IsUint64() || chain.IsZero()) {
		r.fail("chainId", errors.New("out of range"))
	}
	a.ChainID, a.Address = chain.Uint64(), r.address("safe")
	version := r.text("version")
	t.To, t.Value, t.Data, t.Operation = r.address("to"), r.number("value"), r.bytes("data"), r.operation("operation")
	t.SafeTxGas, t.BaseGas, t.GasPrice = r.number("safeTxGas"), r.number("baseGas"), r.number("gasPrice")
	t.GasToken, t.RefundReceiver, t.Nonce = r.address("gasToken"), r.address("refundReceiver"), r.number("nonce")
	if r.err != nil {
		return Account{}, nil, r.err
	}
	if _, err := ParseVersion(version); err != nil {
		return Account{}, nil, err
	}
	return a, &t, nil
}

// uniqueFields reads an object and requires that no key is there twice.
func uniqueFields(b []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		fields[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more behind the object")
	}
	return fields, nil
}

// fieldReader reads fields until one is wrong.
type fieldReader struct {
	fields map[string]json.RawMessage
	err    error
}

func (r *fieldReader) fail(name string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s: %w", ErrHashFile, name, err)
	}
}

func (r *fieldReader) text(name string) (s string) {
	if err := json.Unmarshal(r.fields[name], &s); err != nil || string(r.fields[name]) == "null" {
		r.fail(name, errors.New("not a string"))
	}
	return s
}

// A number is decimal or 0x and hex, without sign, point or exponent; in a string
// or not.
var numberForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,77}|0x[0-9a-fA-F]{1,64})$`)

func (r *fieldReader) number(name string) (n uint256.Int) {
	s := string(r.fields[name])
	if len(s) > 1 && s[0] == '"' {
		s = r.text(name)
	}
	if !numberForm.MatchString(s) {
		r.fail(name, errors.New("not a number: decimal digits, or 0x and hex"))
		return n
	}
	v, _ := new(big.Int).SetString(s, 0)
	if n.SetFromBig(v) {
		r.fail(name, errors.New("exceeds 256 bits"))
	}
	return n
}

func (r *fieldReader) address(name string) common.Address {
	a, err := identity.ParseAddress(r.text(name))
	if err != nil {
		r.fail(name, err)
	}
	return common.Address(a)
}

func (r *fieldReader) bytes(name string) []byte {
	if string(r.fields[name]) == "null" { // of no data, as services have it
		return nil
	}
	s := r.text(name)
	if s == "" || s == "0x" {
		return nil
	}
	b, err := hexutil.Decode(s)
	if err != nil {
		r.fail(name, err)
	}
	return b
}

func (r *fieldReader) operation(name string) Operation {
	switch string(r.fields[name]) {
	case `"CALL"`:
		return Call
	case `"DELEGATECALL"`:
		return DelegateCall
	}
	n := r.number(name)
	if n.GtUint64(uint64(DelegateCall)) {
		r.fail(name, errors.New("0 is a call and 1 a delegatecall; there is no other"))
	}
	return Operation(n.Uint64())
}
