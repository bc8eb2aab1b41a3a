package safe

import (
	"bytes"
	"encoding/json"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
)

// Operation is how a Safe runs a transaction.
type Operation uint8

// The operations. With DelegateCall the target's code runs with all the powers
// of the Safe.
const (
	Call         Operation = 0
	DelegateCall Operation = 1
)

// Transaction is the ten fields that a Safe's owners sign.
type Transaction struct {
	To             common.Address
	Value          uint256.Int // wei
	Data           []byte
	Operation      Operation
	SafeTxGas      uint256.Int
	BaseGas        uint256.Int
	GasPrice       uint256.Int // zero: the executor pays, and is not refunded
	GasToken       common.Address
	RefundReceiver common.Address
	Nonce          uint256.Int
}

// transactionTypeHash is of SafeTx(address to,uint256 value,bytes data,uint8
// operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,address
// gasToken,address refundReceiver,uint256 nonce).
var transactionTypeHash = crypto.Keccak256([]byte("SafeTx(address to,uint256 value,bytes data,uint8 operation," +
	"uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"))

// MessageHash returns the EIP-712 struct hash, which a hardware wallet shows
// beside the domain hash.
func (t *Transaction) MessageHash() common.Hash {
	number := func(x uint256.Int) []byte { b := x.Bytes32(); return b[:] }
	var op [32]byte
	op[31] = byte(t.Operation)
	return crypto.Keccak256Hash(transactionTypeHash, word(t.To), number(t.Value), crypto.Keccak256(t.Data), op[:],
		number(t.SafeTxGas), number(t.BaseGas), number(t.GasPrice), word(t.GasToken), word(t.RefundReceiver), number(t.Nonce))
}

// Hash returns the transaction's safeTxHash in a Safe: what its owners sign.
func (t *Transaction) Hash(a Account) common.Hash { return a.digest(t.MessageHash()) }

// Equal reports whether the two are the same in every field.
func (t *Transaction) Equal(o *Transaction) bool {
	return bytes.Equal(t.Data, o.Data) && t.MessageHash() == o.MessageHash()
}

// MarshalJSON writes the fields by their names in EIP-712; numbers are decimal
// strings.
func (t Transaction) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		To             common.Address `json:"to"`
		Value          string         `json:"value"`
		Data           hexutil.Bytes  `json:"data"`
		Operation      Operation      `json:"operation"`
		SafeTxGas      string         `json:"safeTxGas"`
		BaseGas        string         `json:"baseGas"`
		GasPrice       string         `json:"gasPrice"`
		GasToken       common.Address `json:"gasToken"`
		RefundReceiver common.Address `json:"refundReceiver"`
		Nonce          string         `json:"nonce"`
	}{
		t.To, t.Value.Dec(), t.Data, t.Operation, t.SafeTxGas.Dec(), t.BaseGas.Dec(), t.GasPrice.Dec(), t.GasToken, t.RefundReceiver, t.Nonce.Dec(),
	})
}
