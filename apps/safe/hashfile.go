package safe

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// ErrHashFile is returned for a file that does not say clearly which transaction
// of which Safe it is.
var ErrHashFile = errors.New("safe: not a file of a transaction")

// ReadHashFile reads a transaction and its Safe from a JSON object with the
// fields chainId, safe, version, to, value, data, operation, safeTxGas, baseGas,
// gasPrice, gasToken, refundReceiver and nonce. Numbers are integers, or strings
// of decimal digits or of 0x and hex digits. Operation and what is about gas are
// zero where they are not there, as wallets have it; nothing else may be left
// out, added or there twice. It returns [ErrHashFile], which names the field, and
// [ErrVersion] for a Safe of another version.
func ReadHashFile(r io.Reader) (Account, Version, Transaction, error) {
	a, v, t, err := readHashFile(r)
	if err != nil {
		return Account{}, "", Transaction{}, fmt.Errorf("%w: %w", ErrHashFile, err)
	}
	return a, v, t, nil
}

func readHashFile(r io.Reader) (a Account, version Version, t Transaction, err error) {
	b, err := readAll(r, maxHashFile)
	if err != nil {
		return a, "", t, err
	}
	v, err := strictJSON(b)
	if err != nil {
		return a, "", t, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return a, "", t, errors.New("not a JSON object")
	}
	address := func(to *common.Address) func(any) error {
		return func(v any) (err error) { *to, err = jsonAddress(v); return err }
	}
	number := func(to *uint256.Int) func(any) error {
		return func(v any) (err error) { *to, err = jsonNumber(v); return err }
	}
	var chain, operation uint256.Int
	fields := []struct {
		name     string
		required bool
		read     func(any) error
	}{
		{"chainId", true, number(&chain)},
		{"safe", true, address(&a.Address)},
		{"version", true, func(v any) (err error) {
			s, ok := v.(string)
			if !ok {
				return errors.New("a version is a string")
			}
			version, err = ParseVersion(s)
			return err
		}},
		{"to", true, address(&t.To)},
		{"value", true, number(&t.Value)},
		{"data", true, func(v any) (err error) { t.Data, err = jsonBytes(v); return err }},
		{"operation", false, number(&operation)},
		{"safeTxGas", false, number(&t.SafeTxGas)},
		{"baseGas", false, number(&t.BaseGas)},
		{"gasPrice", false, number(&t.GasPrice)},
		{"gasToken", false, address(&t.GasToken)},
		{"refundReceiver", false, address(&t.RefundReceiver)},
		{"nonce", true, number(&t.Nonce)},
	}
	for _, f := range fields {
		v, ok := object[f.name]
		delete(object, f.name)
		switch {
		case !ok && f.required:
			return a, "", t, fmt.Errorf("%s is missing", f.name)
		case !ok:
			continue
		}
		if err := f.read(v); err != nil {
			return a, "", t, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if len(object) > 0 {
		return a, "", t, fmt.Errorf("unknown field %.64q", slices.Sorted(maps.Keys(object))[0])
	}
	switch {
	case !chain.IsUint64() || chain.IsZero():
		return a, "", t, errors.New("chainId: a chain's id is from 1 to 2⁶⁴-1")
	case a.Address == common.Address{}:
		return a, "", t, errors.New("safe: is the zero address")
	case operation.GtUint64(uint64(DelegateCall)):
		return a, "", t, errors.New("operation: 0 (call) and 1 (delegatecall) are known")
	}
	a.ChainID, t.Operation = chain.Uint64(), Operation(operation.Uint64())
	return a, version, t, nil
}
