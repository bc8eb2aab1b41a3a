package safe

import "github.com/ethereum/go-ethereum/common"

// multiSendCallOnly is where the contract of this name is on most chains, and on
// those that demand signed chain ids of deployments: by safe-deployments.
var multiSendCallOnly = map[Version][]common.Address{
	V130: {common.HexToAddress("0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"), common.HexToAddress("0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B")},
	V141: {common.HexToAddress("0x9641d764fc13c8B624c04430C7356C1C7C8102e2")},
	V150: {common.HexToAddress("0xA83c336B20401Af773B6219BA5027174338D1836")},
}
