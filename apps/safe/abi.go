package safe

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// safeABI is what a Safe, a contract that is its owner, and a multisend offer.
// Of two methods of one name the second is known by the name and 0.
var safeABI = must(abi.JSON(strings.NewReader(`[` + strings.Join([]string{
	view("VERSION", nil, "string"),
	view("getOwners", nil, "address[]"),
	view("getThreshold", nil, "uint256"),
	view("nonce", nil, "uint256"),
	view("getModulesPaginated", []string{"address start", "uint256 pageSize"}, "address[]", "address"),
	view("approvedHashes", []string{"address owner", "bytes32 hash"}, "uint256"),
	view("isValidSignature", []string{"bytes32 hash", "bytes signature"}, "bytes4"),
	view("isValidSignature", []string{"bytes data", "bytes signature"}, "bytes4"),
	function("execTransaction", "address to", "uint256 value", "bytes data", "uint8 operation", "uint256 safeTxGas", "uint256 baseGas",
		"uint256 gasPrice", "address gasToken", "address refundReceiver", "bytes signatures"),
	function("approveHash", "bytes32 hashToApprove"),
	function("simulateAndRevert", "address targetContract", "bytes calldataPayload"),
	function("addOwnerWithThreshold", "address owner", "uint256 threshold"),
	function("removeOwner", "address prevOwner", "address owner", "uint256 threshold"),
	function("swapOwner", "address prevOwner", "address oldOwner", "address newOwner"),
	function("changeThreshold", "uint256 threshold"),
	function("enableModule", "address module"),
	function("disableModule", "address prevModule", "address module"),
	function("setGuard", "address guard"),
	function("setModuleGuard", "address moduleGuard"),
	function("setFallbackHandler", "address handler"),
	function("execTransactionFromModule", "address to", "uint256 value", "bytes data", "uint8 operation"),
	function("setup", "address[] owners", "uint256 threshold", "address to", "bytes data", "address fallbackHandler", "address paymentToken",
		"uint256 payment", "address paymentReceiver"),
	function("multiSend", "bytes transactions"),
}, ",") + `]`)))

// tokenABI is ERC-20.
var tokenABI = must(abi.JSON(strings.NewReader(`[` + strings.Join([]string{
	function("transfer", "address to", "uint256 amount"),
	function("transferFrom", "address from", "address to", "uint256 amount"),
	function("approve", "address spender", "uint256 amount"),
	function("increaseAllowance", "address spender", "uint256 addedValue"),
	function("decreaseAllowance", "address spender", "uint256 subtractedValue"),
	view("symbol", nil, "string"),
	view("decimals", nil, "uint8"),
	view("balanceOf", []string{"address account"}, "uint256"),
}, ",") + `]`)))

func function(name string, params ...string) string { return method(name, "nonpayable", params, nil) }

func view(name string, params []string, results ...string) string {
	return method(name, "view", params, results)
}

// method is a function in the JSON of an ABI. A parameter is its type and name.
func method(name, mutability string, params, results []string) string {
	list := func(all []string) string {
		var out []string
		for _, p := range all {
			typ, name, _ := strings.Cut(p, " ")
			out = append(out, fmt.Sprintf(`{"type":%q,"name":%q}`, typ, name))
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	return fmt.Sprintf(`{"type":"function","name":%q,"stateMutability":%q,"inputs":%s,"outputs":%s}`, name, mutability, list(params), list(results))
}

func bigUint(n uint64) *big.Int { return new(big.Int).SetUint64(n) }

// unpack reads the first result of a method of safeABI into out, which is a
// pointer of its type; numbers go into a **big.Int.
func unpack(m abi.Method, reply []byte, out any) error {
	results, err := m.Outputs.Unpack(reply)
	if err != nil {
		return fmt.Errorf("%s: %w", m.RawName, err)
	}
	to, got := reflect.ValueOf(out).Elem(), reflect.ValueOf(results[0])
	if !got.Type().AssignableTo(to.Type()) {
		return fmt.Errorf("%s: returned a %s", m.RawName, got.Type())
	}
	to.Set(got)
	return nil
}

// RevertError is returned for a call that a contract has refused.
type RevertError struct {
	Reason string // of require and revert; empty if the contract gave none
	Data   []byte
}

func (e *RevertError) Error() string {
	if e.Reason == "" {
		return "safe: reverted without a reason"
	}
	return fmt.Sprintf("safe: reverted: %.200q", e.Reason)
}

// callError tells a contract's refusal from an endpoint that does not answer. A
// refusal comes with the data that the contract has reverted with, in hex, or is
// told in words.
func callError(err error) error {
	var data rpc.DataError
	if errors.As(err, &data) {
		s, _ := data.ErrorData().(string)
		if b, decodeErr := hexutil.Decode(s); decodeErr == nil && len(b) <= maxReply {
			reason, _ := abi.UnpackRevert(b) // "" for what is none
			return &RevertError{reason, b}
		}
		for _, words := range []string{"execution reverted", "invalid opcode", "invalid jump destination", "out of gas", "stack underflow", "write protection"} {
			if strings.Contains(err.Error(), words) {
				return &RevertError{}
			}
		}
	}
	return fmt.Errorf("%w: %w", ErrChain, err)
}
