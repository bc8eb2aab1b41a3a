package identity

import (
	"bytes"
	"context"
	"crypto/mlkem"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-im/parley/internal/secp"
)

// The time that tests take for now.
var testNow = time.Unix(1_750_000_000, 0)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(string, ...any)
}

func noError(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func wantError(t tester, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// testWallet is the account 0x2c7536E3605D9C16a7a3D7b1898e529396a65c23, whose
// key is in many a tutorial.
func testWallet(t tester) *KeyWallet {
	t.Helper()
	w, err := ParseHexKey("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
	noError(t, err)
	return w
}

// testDevice returns the device whose keys are seed, seed+1 and seed+2.
func testDevice(t tester, seed byte) *Device {
	t.Helper()
	key := func(v byte) *secp.PrivateKey {
		k, err := secp.NewPrivateKey(append(make([]byte, 31), v))
		noError(t, err)
		return k
	}
	return &Device{Signing: key(seed), DH: key(seed + 1), Host: key(seed + 2)}
}

func authorize(t tester, l *Log, w Wallet, d *Device) *Log {
	t.Helper()
	l, err := AuthorizeDevice(context.Background(), l, w, d, Authorization{Name: "laptop"})
	noError(t, err)
	return l
}

func revoke(t tester, l *Log, w Wallet, d *Device) *Log {
	t.Helper()
	l, err := RevokeDevice(context.Background(), l, w, d.Signing.PublicKey(), ReasonLost, testNow, false)
	noError(t, err)
	return l
}

// signed has the link signed as it stands, without any check of its place.
func signed(t tester, k *Link, w Wallet, d *Device) *Link {
	t.Helper()
	k.Scheme = SchemeTypedData
	k.SigningKey = d.Signing.PublicKey().Compressed()
	if k.Type == LinkAuthorize {
		k.DHKey = d.DH.PublicKey().Compressed()
		if k.NotAfter == 0 {
			k.NotAfter = maxTime
		}
	}
	account := KeyAccount(w.Address())
	digest := k.Digest(account)
	if k.Type == LinkAuthorize {
		k.DeviceSignature = d.Signing.Sign(labelDevice, digest[:])
	}
	sig, err := w.SignTypedData(context.Background(), k.TypedData(account))
	noError(t, err)
	copy(k.WalletSignature[:], sig)
	k.WalletSignature[64] -= 27
	return k
}

// rawLog encodes links without any check, sorted as a log has them.
func rawLog(account Account, links ...*Link) []byte {
	l := &Log{account: account}
	for _, k := range links {
		l.entries = append(l.entries, entry{k, k.Digest(account)})
	}
	slices.SortFunc(l.entries, entry.compare)
	return l.Marshal()
}

// testBundle returns a signed bundle of the device, with something in every
// field.
func testBundle(t tester, l *Log, d *Device) *Bundle {
	t.Helper()
	dk, err := mlkem.NewDecapsulationKey768(bytes.Repeat([]byte{7}, 64))
	noError(t, err)
	b := &Bundle{
		Account:     l.Account(),
		Seq:         3,
		Expiry:      uint64(testNow.Add(7 * 24 * time.Hour).Unix()),
		Prekey:      Prekey{ID: 1, Key: d.DH.PublicKey().Compressed()},
		KEMPrekey:   KEMPrekey{ID: 2, Key: [KEMKeySize]byte(dk.EncapsulationKey().Bytes())},
		OneTime:     []Prekey{{10, d.Signing.PublicKey().Compressed()}, {11, d.Host.PublicKey().Compressed()}},
		KeyPackages: [][]byte{[]byte("key package")},
		InboxKey:    [InboxKeySize]byte{1, 2, 3},
		Addrs:       []string{"/ip4/127.0.0.1/udp/4001/quic-v1"},
		Mailboxes:   []string{"/dns4/box.example/tcp/443/tls/ws"},
	}
	for _, dev := range l.devices {
		if dev.SigningKey.Equal(d.Signing.PublicKey()) {
			b.Link = dev.Link
		}
	}
	noError(t, SignBundle(b, d))
	return b
}

// prefixesFail checks that parse refuses every strict prefix of b, and b with a
// byte more.
func prefixesFail(t *testing.T, b []byte, want error, parse func([]byte) error) {
	t.Helper()
	noError(t, parse(b))
	for n := range len(b) {
		if err := parse(b[:n:n]); !errors.Is(err, want) {
			t.Fatalf("prefix of %d of %d bytes: %v", n, len(b), err)
		}
	}
	wantError(t, parse(append(slices.Clone(b), 0)), want)
}
