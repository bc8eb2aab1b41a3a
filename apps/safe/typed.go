package safe

import (
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
)

// rejectionType is the EIP-712 struct by which an owner says that it will not
// sign. No contract knows it, so it can be used for nothing else.
const rejectionType = "Rejection"

var rejectionTypeHash = crypto.Keccak256([]byte("Rejection(bytes32 safeTxHash)"))

// RejectionHash returns what an owner signs to reject the transaction, or the
// message, of a hash.
func RejectionHash(a Account, hash common.Hash) common.Hash {
	return a.digest(crypto.Keccak256Hash(rejectionTypeHash, hash[:]))
}

// RejectionTypedData is what a wallet is asked to sign for RejectionHash.
func RejectionTypedData(a Account, hash common.Hash) apitypes.TypedData {
	return a.typedData(rejectionType, []apitypes.Type{{Name: "safeTxHash", Type: "bytes32"}},
		apitypes.TypedDataMessage{"safeTxHash": hash.Hex()})
}

// TypedData is what a wallet is asked to sign for [Transaction.Hash].
func (t *Transaction) TypedData(a Account) apitypes.TypedData {
	return a.typedData("SafeTx", []apitypes.Type{
		{Name: "to", Type: "address"},
		{Name: "value", Type: "uint256"},
		{Name: "data", Type: "bytes"},
		{Name: "operation", Type: "uint8"},
		{Name: "safeTxGas", Type: "uint256"},
		{Name: "baseGas", Type: "uint256"},
		{Name: "gasPrice", Type: "uint256"},
		{Name: "gasToken", Type: "address"},
		{Name: "refundReceiver", Type: "address"},
		{Name: "nonce", Type: "uint256"},
	}, apitypes.TypedDataMessage{
		"to":             t.To.Hex(),
		"value":          t.Value.Dec(),
		"data":           hexutil.Encode(t.Data),
		"operation":      strconv.Itoa(int(t.Operation)),
		"safeTxGas":      t.SafeTxGas.Dec(),
		"baseGas":        t.BaseGas.Dec(),
		"gasPrice":       t.GasPrice.Dec(),
		"gasToken":       t.GasToken.Hex(),
		"refundReceiver": t.RefundReceiver.Hex(),
		"nonce":          t.Nonce.Dec(),
	})
}

// typedData is a struct in the Safe's domain.
func (a Account) typedData(primary string, fields []apitypes.Type, message apitypes.TypedDataMessage) apitypes.TypedData {
	return apitypes.TypedData{
		Types: apitypes.Types{
			"EIP712Domain": {{Name: "chainId", Type: "uint256"}, {Name: "verifyingContract", Type: "address"}},
			primary:        fields,
		},
		PrimaryType: primary,
		Domain: apitypes.TypedDataDomain{
			ChainId:           (*math.HexOrDecimal256)(bigUint(a.ChainID)),
			VerifyingContract: a.Address.Hex(),
		},
		Message: message,
	}
}
