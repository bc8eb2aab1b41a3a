package safe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/parley-im/parley/identity"
)

// Sign has a wallet sign typed data in a Safe's domain whose hash is given, by
// EIP-712. A wallet that cannot signs the hash as eth_sign does, which a Safe
// takes too. The signature is verified: what a wallet gives back for another hash
// is [ErrSignature].
func Sign(ctx context.Context, w identity.Wallet, data apitypes.TypedData, hash common.Hash) (Signature, error) {
	b, err := w.SignTypedData(ctx, data)
	if errors.Is(err, identity.ErrNoTypedData) {
		return SignEthSign(ctx, w, hash)
	}
	if err != nil {
		return Signature{}, err
	}
	return walletSignature(w, EIP712, b, hash)
}

// SignEthSign has a wallet sign a hash by EIP-191. It returns
// [identity.ErrNoTypedData] for a wallet that cannot.
func SignEthSign(ctx context.Context, w identity.Wallet, hash common.Hash) (Signature, error) {
	t, ok := w.(identity.TextWallet)
	if !ok {
		return Signature{}, fmt.Errorf("%w, nor text", identity.ErrNoTypedData)
	}
	b, err := t.SignText(ctx, hash[:])
	if err != nil {
		return Signature{}, err
	}
	return walletSignature(w, EthSign, b, hash)
}

// walletSignature puts v as a Safe has it.
func walletSignature(w identity.Wallet, kind SignatureKind, b []byte, hash common.Hash) (Signature, error) {
	if len(b) != staticSize {
		return Signature{}, fmt.Errorf("%w: the wallet gave %d bytes", ErrSignature, len(b))
	}
	s := Signature{Owner: common.Address(w.Address()), Kind: kind, Data: append([]byte(nil), b...)}
	v := &s.Data[64]
	if *v < 27 {
		*v += 27
	}
	if kind == EthSign {
		*v += 4
	}
	return s, s.Check(hash)
}

// MarshalJSON writes the kind by its name and the bytes in hex.
func (s Signature) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Owner common.Address `json:"owner"`
		Kind  string         `json:"signatureType"`
		Data  hexutil.Bytes  `json:"data"`
	}{s.Owner, s.Kind.String(), s.Data})
}
