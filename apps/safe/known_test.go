package safe

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// Hashes that ethers 6.17.0 gives: TypedDataEncoder.hashDomain, hashStruct and
// hash over the types SafeTx and SafeMessage.
func TestKnownHashes(t *testing.T) {
	address := common.HexToAddress("0x1c8b9b78e3085866521fe206fa4c1a67f49f153a")
	full := Transaction{
		To: common.HexToAddress("0x00dec0de00000000000000000000000000000001"), Value: *uint256.NewInt(1e18), Data: common.FromHex("0xa9059cbb00"),
		Operation: DelegateCall, SafeTxGas: *uint256.NewInt(100000), BaseGas: *uint256.NewInt(21000), GasPrice: *uint256.NewInt(7),
		GasToken:       common.HexToAddress("0x00dec0de00000000000000000000000000000002"),
		RefundReceiver: common.HexToAddress("0x00dec0de00000000000000000000000000000003"),
	}
	full.Nonce.SetAllOne()
	for _, c := range []struct {
		chain                 uint64
		t                     Transaction
		domain, message, hash string
	}{
		{
			1,
			Transaction{To: full.To, Nonce: *uint256.NewInt(1)},
			"0x6e0880de6d2ff4ac3e4adfd7d93492aa41477c8a2fc2968f1116e8431a3067c6",
			"0x56ef7005230fa5e6093093b2a22037b097465a5219b121e79548e12b2da0843a",
			"0x8621b211eff4af126689de49ee4d9ab02dc029631083e4a35125d59fd870b400",
		},
		{
			11155111, full,
			"0x5440f9e568b66eb562f81736bfeeec5fbe6af333b23dd099187f02003d5d3f1d",
			"0x40057899caea6a2937ed38346bd8d9506a0e4bdeac2cfc5c818133d1b0982440",
			"0x8b55ce3cd7d2fceecdffb32ce4ade70e2d2e21f8de23d2025f51177870d287fc",
		},
	} {
		a := Account{c.chain, address}
		if a.DomainHash().Hex() != c.domain || c.t.MessageHash().Hex() != c.message || c.t.Hash(a).Hex() != c.hash {
			t.Errorf("chain %d: %s, %s, %s", c.chain, a.DomainHash(), c.t.MessageHash(), c.t.Hash(a))
		}
	}
	a := Account{1, address}
	text, err := TextMessage("we agree")
	if err != nil || text.Hash(a).Hex() != "0x61bf734c09fed739d77cb8527f675d88b379841cc555193412388b615d987f7f" {
		t.Errorf("text: %s, %v", text.Hash(a), err)
	}
	typed, err := ParseTypedMessage([]byte(`{"domain":{"name":"Order","chainId":1},"primaryType":"Order","message":{"what":"apples","n":7},
		"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"chainId","type":"uint256"}],
			"Order":[{"name":"what","type":"string"},{"name":"n","type":"uint256"}]}}`))
	if err != nil || typed.Hash(a).Hex() != "0x66398fb30709885737642b18a84f58cd623a9cb75add4b0bb888d762fe1b8370" {
		t.Errorf("typed data: %s, %v", typed.Hash(a), err)
	}
}
