package safe

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// maxNesting bounds how deep objects and lists of a file are in each other.
const maxNesting = 32

// readAll reads at most a number of bytes and refuses more.
func readAll(r io.Reader, most int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > most {
		return nil, fmt.Errorf("more than %d bytes", most)
	}
	return b, nil
}

// strictJSON reads one value: map[string]any, []any, string, json.Number, bool or
// nil. A key that is in an object twice is refused, since two programs could read
// two things; so is text that is not UTF-8, and what follows the value.
func strictJSON(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	var syntax json.RawMessage
	if err := json.Unmarshal(b, &syntax); err != nil { // and nothing behind it
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return strictValue(d, 0)
}

func strictValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth == maxNesting {
		return nil, errors.New("nested too deep")
	}
	list, object := []any{}, map[string]any{}
	for d.More() {
		if open == '[' {
			v, err := strictValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
			continue
		}
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		k := key.(string) // by the syntax, which was checked
		if _, twice := object[k]; twice {
			return nil, fmt.Errorf("%.64q is there twice", k)
		}
		if object[k], err = strictValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if open == '[' {
		return list, nil
	}
	return object, nil
}

// jsonAddress reads an address: in mixed case its checksum (EIP-55) must hold.
func jsonAddress(v any) (common.Address, error) {
	s, ok := v.(string)
	if !ok || len(s) != 42 || !strings.HasPrefix(s, "0x") || !common.IsHexAddress(s) {
		return common.Address{}, errors.New("an address is a string of 0x and 40 hex digits")
	}
	a := common.HexToAddress(s)
	if digits := s[2:]; digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && s != a.Hex() {
		return common.Address{}, errors.New("the address's checksum (EIP-55) does not hold")
	}
	return a, nil
}

// jsonNumber reads an integer of at most 256 bits: a number, or a string of
// decimal digits or of 0x and hex digits.
func jsonNumber(v any) (uint256.Int, error) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case json.Number:
		s = v.String()
	}
	digits, base, allowed := s, 10, "0123456789"
	if hexDigits, ok := strings.CutPrefix(s, "0x"); ok {
		digits, base, allowed = hexDigits, 16, "0123456789abcdefABCDEF"
	}
	if digits == "" || strings.Trim(digits, allowed) != "" {
		return uint256.Int{}, errors.New("a number is an integer, or a string of decimal digits or of 0x and hex digits")
	}
	if digits = strings.TrimLeft(digits, "0"); len(digits) > 78 { // 2²⁵⁶ has as many
		return uint256.Int{}, errors.New("the number exceeds 256 bits")
	}
	var n uint256.Int
	if digits == "" {
		return n, nil
	}
	if x, _ := new(big.Int).SetString(digits, base); n.SetFromBig(x) {
		return uint256.Int{}, errors.New("the number exceeds 256 bits")
	}
	return n, nil
}

// jsonBytes reads a string of 0x and an even number of hex digits.
func jsonBytes(v any) ([]byte, error) {
	s, ok := v.(string)
	digits, prefixed := strings.CutPrefix(s, "0x")
	b, err := hex.DecodeString(digits)
	if !ok || !prefixed || err != nil {
		return nil, errors.New("data is a string of 0x and an even number of hex digits")
	}
	return b, nil
}
