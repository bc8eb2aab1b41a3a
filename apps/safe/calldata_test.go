package safe

import (
	"bytes"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
)

// TestDecodeKnown calls every function that is known, with a value of every type.
func TestDecodeKnown(t *testing.T) {
	values := map[string]any{
		"address": testStranger, "uint256": big.NewInt(1), "uint8": uint8(1), "bytes32": [32]byte{1}, "bytes": []byte{}, "address[]": []common.Address{testStranger, testOwner},
	}
	for _, known := range []abi.ABI{tokenABI, safeABI} {
		for _, m := range known.Methods {
			if m.IsConstant() {
				continue
			}
			var args []any
			for _, in := range m.Inputs {
				args = append(args, values[in.Type.String()])
			}
			data := must(known.Pack(m.Name, args...))
			d := Decode(data)
			if d.Method != m.Sig || d.Problem != "" || len(d.Arguments) != len(m.Inputs) || d.Size != len(data) {
				t.Errorf("%s: %+v", m.Sig, d)
			}
			for n := 1; n < len(data); n++ {
				if d := Decode(data[:n]); d.Problem == "" {
					t.Errorf("%s: %d bytes of %d are read", m.Sig, n, len(data))
					break
				}
			}
			if d := Decode(append(data, 0)); d.Problem == "" || d.Method != "" {
				t.Errorf("%s and a byte: %+v", m.Sig, d)
			}
		}
	}
}

func TestDecodeBounds(t *testing.T) {
	data := EncodeMultiSend(make([]InnerCall, maxCalls+1))
	if d := Decode(data); len(d.Calls) != maxCalls || d.Problem == "" {
		t.Errorf("%d calls, %q", len(d.Calls), d.Problem)
	}
	nested := []byte{}
	for range 2 * maxDepth {
		nested = EncodeMultiSend([]InnerCall{{To: testOwner, Data: nested}})
	}
	depth, d := 0, Decode(nested)
	for ; len(d.Calls) > 0; depth++ {
		d = d.Calls[0].Decoded
	}
	if depth != maxDepth-1 || d.Problem == "" {
		t.Errorf("depth %d, %q", depth, d.Problem)
	}
	if d := Decode(bytes.Repeat([]byte{0xff}, MaxData)); d.Method != "" || d.Selector != "0xffffffff" {
		t.Errorf("%+v", d)
	}
}
