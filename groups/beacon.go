package groups

import (
	"fmt"

	"github.com/parley-im/parley/internal/secp"
)

// labelBeacon is the exporter's label of an epoch's beacon key.
const labelBeacon = "parley/1 beacon"

// Beacon returns the key with which a member of the epoch shows to those who are
// not in it that it has its secrets (docs/spec.md, "What members sign"): the same
// for all members, on secp256k1 in every suite. Its scalar is MLS-Exporter("parley/1
// beacon", uint8 i, 32) with the lowest i from 0 on that gives one, as in
// DeriveKeyPair of RFC 9180, Section 7.1.3.
func (g *Group) Beacon() (*secp.PrivateKey, error) {
	for i := range 256 {
		scalar := g.Export(labelBeacon, []byte{byte(i)}, secp.PrivateKeySize)
		key, err := secp.NewPrivateKey(scalar.Bytes())
		scalar.Erase()
		if err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: no beacon key", ErrState) // the chance is 2^-32000
}
