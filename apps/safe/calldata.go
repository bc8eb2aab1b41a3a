package safe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/holiman/uint256"
)

// Limits on what is decoded of calldata: a multisend can hold multisends.
const (
	maxDepth = 4
	maxCalls = 256
)

// Decoded is calldata as far as it is understood.
type Decoded struct {
	// Method is the signature of a known function, such as
	// "transfer(address,uint256)"; empty for a transfer of ether without data,
	// and for what is not known.
	Method string `json:"method,omitempty"`
	// Selector is the function's, 4 bytes in hex, known or not.
	Selector  string     `json:"selector,omitempty"`
	Arguments []Argument `json:"arguments,omitempty"`
	// Calls are what a multisend runs, or an execTransaction within.
	Calls []InnerCall `json:"calls,omitempty"`
	Size  int         `json:"size"` // of the data, in bytes
	// Problem says why data that begins as a known call is none.
	Problem string `json:"problem,omitempty"`
}

// Argument is one of a call's.
type Argument struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

// InnerCall is a call within another.
type InnerCall struct {
	Operation Operation      `json:"operation"`
	To        common.Address `json:"to"`
	// Self says that To is the zero address in a multisend, whose 1.5.0 takes it
	// for whoever runs it: the Safe itself.
	Self    bool        `json:"self,omitempty"`
	Value   uint256.Int `json:"value"`
	Data    []byte      `json:"-"`
	Decoded *Decoded    `json:"decoded"`
}

// Decode reads calldata by the functions of ERC-20, of Safes and of multisends.
// That a contract has a function of that name does not say that it does what the
// name says. What is a call's must be all there is: data that encoding the
// arguments again does not give is shown as a problem.
func Decode(data []byte) *Decoded {
	left := maxCalls
	return decode(data, 0, &left)
}

func decode(data []byte, depth int, left *int) *Decoded {
	d := &Decoded{Size: len(data)}
	if len(data) == 0 {
		return d
	}
	if len(data) < 4 {
		d.Problem = "shorter than a function's selector"
		return d
	}
	d.Selector = hexutil.Encode(data[:4])
	m, ok := knownMethod(data[:4])
	if !ok {
		return d
	}
	values, err := unpackStrict(m.Inputs, data[4:])
	if err != nil {
		d.Problem = fmt.Sprintf("begins as %s, and is none: %v", m.Sig, err)
		return d
	}
	d.Method = m.Sig
	for i, in := range m.Inputs {
		d.Arguments = append(d.Arguments, Argument{in.Name, in.Type.String(), show(values[i])})
	}
	switch m.RawName {
	case "multiSend":
		if d.Calls, err = splitMultiSend(values[0].([]byte), depth, left); err != nil {
			d.Problem = err.Error()
		}
	case "execTransaction", "execTransactionFromModule":
		c := InnerCall{Operation: Operation(values[3].(uint8)), To: values[0].(common.Address), Data: values[2].([]byte)}
		c.Value.SetFromBig(values[1].(*big.Int))
		if c.Operation > DelegateCall {
			d.Problem = fmt.Sprintf("the call within has the operation %d, which there is not", c.Operation)
			break
		}
		if depth+1 >= maxDepth || *left == 0 {
			d.Problem = "calls within calls go too deep to be shown"
			break
		}
		*left--
		c.Decoded = decode(c.Data, depth+1, left)
		d.Calls = []InnerCall{c}
	}
	return d
}

// knownMethod finds a function that changes something by its selector.
func knownMethod(selector []byte) (*abi.Method, bool) {
	for _, known := range []*abi.ABI{&tokenABI, &safeABI} {
		if m, err := known.MethodById(selector); err == nil && !m.IsConstant() {
			return m, true
		}
	}
	return nil, false
}

// unpackStrict decodes arguments and requires that they are all there is.
func unpackStrict(args abi.Arguments, data []byte) (values []any, err error) {
	defer func() { // lengths in the data are the library's to check; it is not ours to trust
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed")
		}
	}()
	values, err = args.Unpack(data)
	if err != nil {
		return nil, err
	}
	again, err := args.Pack(values...)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, fmt.Errorf("there is more to it than its arguments")
	}
	return values, nil
}

// splitMultiSend takes a multisend's packed calls apart.
func splitMultiSend(b []byte, depth int, left *int) ([]InnerCall, error) {
	const head = 1 + 20 + 32 + 32
	var all []InnerCall
	for len(b) > 0 {
		if len(b) < head {
			return all, fmt.Errorf("the last call is cut off")
		}
		if *left == 0 || depth+1 >= maxDepth {
			return all, fmt.Errorf("there are more calls than are shown")
		}
		*left--
		c := InnerCall{Operation: Operation(b[0]), To: common.Address(b[1:21]), Self: allZero(b[1:21])}
		c.Value.SetBytes(b[21:53])
		size := binary.BigEndian.Uint64(b[77:85])
		if !allZero(b[53:77]) || size > uint64(len(b)-head) {
			return all, fmt.Errorf("a call's data is cut off")
		}
		c.Data = b[head : head+size]
		if c.Operation > DelegateCall {
			return all, fmt.Errorf("a call has the operation %d, which there is not", c.Operation)
		}
		c.Decoded = decode(c.Data, depth+1, left)
		all = append(all, c)
		b = b[head+size:]
	}
	return all, nil
}

// EncodeMultiSend packs calls as multiSend takes them, and returns the call of
// it.
func EncodeMultiSend(calls []InnerCall) []byte {
	var b []byte
	for _, c := range calls {
		value := c.Value.Bytes32()
		b = append(b, byte(c.Operation))
		b = append(append(b, c.To[:]...), value[:]...)
		b = append(append(b, number(len(c.Data))...), c.Data...)
	}
	return must(safeABI.Pack("multiSend", orEmpty(b)))
}

// EncodeTransfer returns the call of an ERC-20 token's transfer.
func EncodeTransfer(to common.Address, amount *uint256.Int) []byte {
	return must(tokenABI.Pack("transfer", to, amount.ToBig()))
}

// show writes a value for people: addresses with their checksum, numbers in
// decimal, bytes in hex and cut.
func show(v any) string {
	switch v := v.(type) {
	case common.Address:
		return v.Hex()
	case *big.Int:
		return v.String()
	case []byte:
		const most = 64
		if len(v) > most {
			return fmt.Sprintf("%s… (%d bytes)", hexutil.Encode(v[:most]), len(v))
		}
		return hexutil.Encode(v)
	case [32]byte:
		return hexutil.Encode(v[:])
	case []common.Address:
		all := make([]string, 0, len(v))
		for _, a := range v[:min(len(v), maxCalls)] {
			all = append(all, a.Hex())
		}
		return strings.Join(all, ", ")
	}
	return fmt.Sprint(v)
}

// String is the call in one line.
func (d *Decoded) String() string {
	switch {
	case d.Problem != "" && d.Method == "":
		return d.Problem
	case d.Size == 0:
		return "no data"
	case d.Method == "":
		return fmt.Sprintf("unknown function %s, %d bytes", d.Selector, d.Size)
	case len(d.Calls) > 0:
		return fmt.Sprintf("%s with %d calls", name(d.Method), len(d.Calls))
	}
	args := make([]string, len(d.Arguments))
	for i, a := range d.Arguments {
		args[i] = a.Name + " " + a.Value
	}
	return fmt.Sprintf("%s(%s)", name(d.Method), strings.Join(args, ", "))
}

func name(sig string) string {
	n, _, _ := strings.Cut(sig, "(")
	return n
}
