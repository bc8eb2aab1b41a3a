package identity

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/parley-im/parley/internal/secret"
)

func TestParseHexKey(t *testing.T) {
	const key = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
	for _, in := range []string{key, "0x" + key, "  0x" + strings.ToUpper(key) + "\n"} {
		w, err := ParseHexKey(in)
		noError(t, err)
		if w.Address() != testWallet(t).Address() {
			t.Errorf("%q: wrong address", in)
		}
	}
	for _, in := range []string{
		"", "0x", key[:63], key + "0", key[:62] + "zz", strings.Repeat("0", 64),
		"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", // the order
	} {
		_, err := ParseHexKey(in)
		wantError(t, err, ErrHexKey)
		if len(in) > 8 && strings.Contains(err.Error(), in[:8]) {
			t.Error("the error echoes the key")
		}
	}
}

func TestWalletsDoNotPrintKeys(t *testing.T) {
	w := testWallet(t)
	d := testDevice(t, 1)
	d.Signing = w.key
	for _, s := range []string{fmt.Sprintf("%v %+v %x", w, w, w), fmt.Sprintf("%#v", w), fmt.Sprintf("%v %+v %#v %x", d, d, d, d)} {
		if strings.Contains(strings.ToLower(s), "4c0883a6") || strings.Contains(s, "0x4c, 0x8, 0x83") {
			t.Errorf("prints its key: %s", s)
		}
	}
}

// What ethers 6.17 signs with the same key.
func TestWalletSignsLikeEthers(t *testing.T) {
	w := testWallet(t)
	link, account := knownLink(), KeyAccount(w.Address())
	sig, err := w.SignTypedData(context.Background(), link.TypedData(account))
	noError(t, err)
	if got := hex.EncodeToString(sig); got != ethersTypedSignature {
		t.Errorf("typed data: got %s", got)
	}
	sig, err = w.SignText(context.Background(), LinkText(link.Digest(account)))
	noError(t, err)
	if got := hex.EncodeToString(sig); got != ethersTextSignature {
		t.Errorf("text: got %s", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = w.SignTypedData(ctx, link.TypedData(account))
	wantError(t, err, context.Canceled)
	_, err = w.SignText(ctx, nil)
	wantError(t, err, context.Canceled)
}

func TestDeviceMarshal(t *testing.T) {
	d, err := NewDevice()
	noError(t, err)
	b := d.Marshal()
	back, err := UnmarshalDevice(b)
	noError(t, err)
	if !back.Signing.Bytes().Equal(d.Signing.Bytes()) || !back.DH.Bytes().Equal(d.DH.Bytes()) || !back.Host.Bytes().Equal(d.Host.Bytes()) {
		t.Fatal("keys change when stored")
	}
	if d.Signing.PublicKey().Equal(d.DH.PublicKey()) || d.DH.PublicKey().Equal(d.Host.PublicKey()) {
		t.Fatal("one key for two purposes")
	}
	prefixesFail(t, b.Bytes(), ErrDevice, func(b []byte) error { _, err := UnmarshalDevice(secret.Copy(b)); return err })
	for _, i := range []int{0, 1, 33, 65} {
		bad := b.Clone()
		if i == 0 {
			bad.Bytes()[0] = 9
		} else {
			clear(bad.Bytes()[i : i+32]) // zero is no key
		}
		_, err := UnmarshalDevice(bad)
		wantError(t, err, ErrDevice)
	}
}

func FuzzUnmarshalDevice(f *testing.F) {
	k := testDevice(f, 1).Marshal()
	f.Add(k.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		if d, err := UnmarshalDevice(secret.Copy(in)); err == nil && !d.Marshal().Equal(secret.Copy(in)) {
			t.Fatal("re-encodes differently")
		}
	})
}

func TestSignTransaction(t *testing.T) {
	w, err := GenerateWallet()
	if err != nil {
		t.Fatal(err)
	}
	chain := big.NewInt(11155111)
	to := common.HexToAddress("0x52b7d2dcc80cd2e4000000c6c5b5e4b5a3d3a1b1")
	for _, inner := range []types.TxData{
		&types.DynamicFeeTx{ChainID: chain, Nonce: 7, GasFeeCap: big.NewInt(9), Gas: 21000, To: &to, Value: big.NewInt(1)},
		&types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(9), Gas: 21000, To: &to},
	} {
		signed, err := w.SignTransaction(t.Context(), types.NewTx(inner), chain)
		if err != nil {
			t.Fatal(err)
		}
		from, err := types.Sender(types.LatestSignerForChainID(chain), signed)
		if err != nil || Address(from) != w.Address() {
			t.Errorf("type %d: signed by %v, %v", signed.Type(), from, err)
		}
		if _, err := types.Sender(types.LatestSignerForChainID(big.NewInt(1)), signed); err == nil {
			t.Errorf("type %d: valid on another chain", signed.Type())
		}
	}
}
