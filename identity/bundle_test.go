package identity

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-im/parley/internal/wire"
)

func TestBundle(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	l := authorize(t, NewLog(KeyAccount(w.Address())), w, d)
	b := testBundle(t, l, d)
	back, err := ParseBundle(b.Marshal())
	noError(t, err)
	dev, err := back.Verify(l, testNow)
	noError(t, err)
	if !dev.SigningKey.Equal(d.Signing.PublicKey()) || dev.Link != b.Link || back.HostKey != d.Host.PublicKey().Compressed() {
		t.Error("verified as of another device")
	}
	if got, want := fmt.Sprintf("%v", back), fmt.Sprintf("%v", b); got != want {
		t.Errorf("the bundle changes on the wire:\n%s\n%s", got, want)
	}
	prefixesFail(t, b.Marshal(), ErrBundle, func(b []byte) error { _, err := ParseBundle(b); return err })
}

// resign edits a bundle and signs it again, whatever the limits say.
func resign(b *Bundle, d *Device, edit func(*Bundle)) *Bundle {
	c := *b
	c.OneTime, c.KeyPackages = slices.Clone(b.OneTime), slices.Clone(b.KeyPackages)
	edit(&c)
	c.Signature = d.Signing.Sign(labelBundle, c.content())
	return &c
}

func TestBundleVerifyRejects(t *testing.T) {
	w, d, other := testWallet(t), testDevice(t, 1), testDevice(t, 11)
	l := authorize(t, NewLog(KeyAccount(w.Address())), w, d)
	l = authorize(t, l, w, other)
	b := testBundle(t, l, d)
	expiry := time.Unix(int64(b.Expiry), 0)
	thief, err := GenerateWallet()
	noError(t, err)
	revoked := revoke(t, l, w, d)
	renewed := authorize(t, l, w, d)

	for name, c := range map[string]struct {
		b    *Bundle
		log  *Log
		now  time.Time
		want error
	}{
		"good":               {b, l, testNow, nil},
		"last second":        {b, l, expiry.Add(-time.Second), nil},
		"expired":            {b, l, expiry, ErrBundleExpired},
		"long ago":           {b, l, time.Unix(0, 0), ErrBundleLifetime},
		"endless":            {resign(b, d, func(b *Bundle) { b.Expiry = maxTime }), l, testNow, ErrBundleLifetime},
		"longest":            {resign(b, d, func(b *Bundle) { b.Expiry = uint64(testNow.Add(MaxBundleLifetime).Unix()) }), l, testNow, nil},
		"another log":        {b, NewLog(KeyAccount(thief.Address())), testNow, ErrOtherAccount},
		"another account":    {resign(b, d, func(b *Bundle) { b.Account.Address[0] ^= 1 }), l, testNow, ErrOtherAccount},
		"no link":            {b, NewLog(l.account), testNow, ErrUnknownDevice},
		"another link":       {resign(b, d, func(b *Bundle) { b.Link[0] ^= 1 }), l, testNow, ErrUnknownDevice},
		"other device's":     {resign(b, d, func(b *Bundle) { b.Link = l.head }), l, testNow, ErrBundleSignature},
		"revoked":            {b, revoked, testNow, ErrDeviceRevoked},
		"of the former link": {b, renewed, testNow, ErrDeviceExpired},
		"other signs":        {resign(b, other, func(*Bundle) {}), l, testNow, ErrBundleSignature},
		"host did not sign":  {resign(b, d, func(b *Bundle) { b.HostSignature = [64]byte{} }), l, testNow, ErrBundleSignature},
		"stranger's host":    {resign(b, d, func(b *Bundle) { b.HostKey = other.Host.PublicKey().Compressed() }), l, testNow, ErrBundleSignature},
		"host, other label": {resign(b, d, func(b *Bundle) {
			b.HostSignature = d.Host.Sign(labelDevice, b.hostContent(d.Signing.PublicKey()))
		}), l, testNow, ErrBundleSignature},
	} {
		_, err := c.b.Verify(c.log, c.now)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// Every byte of a bundle is signed.
func TestBundleFlippedBits(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	l := authorize(t, NewLog(KeyAccount(w.Address())), w, d)
	in := testBundle(t, l, d).Marshal()
	rapid.Check(t, func(t *rapid.T) {
		bad := slices.Clone(in)
		bit := rapid.IntRange(0, 8*len(bad)-1).Draw(t, "bit")
		bad[bit/8] ^= 1 << (bit % 8)
		b, err := ParseBundle(bad)
		if err == nil {
			_, err = b.Verify(l, testNow)
		}
		if err == nil {
			t.Fatalf("bit %d is free", bit)
		}
	})
}

func TestBundleLimits(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	l := authorize(t, NewLog(KeyAccount(w.Address())), w, d)
	good := testBundle(t, l, d)
	prekeys := func(n int) []Prekey {
		out := make([]Prekey, n)
		for i := range out {
			out[i] = Prekey{uint32(i), good.Prekey.Key}
		}
		return out
	}
	long := "/" + strings.Repeat("a", MaxMultiaddrSize-1)
	edits := map[string]struct {
		edit func(*Bundle)
		ok   bool
	}{
		"most one-time":        {func(b *Bundle) { b.OneTime = prekeys(MaxOneTimePrekeys) }, true},
		"too many one-time":    {func(b *Bundle) { b.OneTime = prekeys(MaxOneTimePrekeys + 1) }, false},
		"same one-time id":     {func(b *Bundle) { b.OneTime = append(prekeys(1), prekeys(1)...) }, false},
		"bad one-time":         {func(b *Bundle) { b.OneTime[0].Key[0] = 9 }, false},
		"nothing optional":     {func(b *Bundle) { b.OneTime, b.KeyPackages, b.Addrs, b.Mailboxes = nil, nil, nil, nil }, true},
		"bad prekey":           {func(b *Bundle) { b.Prekey.Key = [33]byte{} }, false},
		"bad host key":         {func(b *Bundle) { b.HostKey[0] = 4 }, false},
		"bad KEM key":          {func(b *Bundle) { b.KEMPrekey.Key = [KEMKeySize]byte(bytes.Repeat([]byte{0xff}, KEMKeySize)) }, false},
		"most packages":        {func(b *Bundle) { b.KeyPackages = slices.Repeat([][]byte{{1}}, MaxKeyPackages) }, true},
		"too many packages":    {func(b *Bundle) { b.KeyPackages = slices.Repeat([][]byte{{1}}, MaxKeyPackages+1) }, false},
		"empty package":        {func(b *Bundle) { b.KeyPackages = [][]byte{{}} }, false},
		"largest package":      {func(b *Bundle) { b.KeyPackages = [][]byte{make([]byte, MaxKeyPackageSize)} }, true},
		"too large package":    {func(b *Bundle) { b.KeyPackages = [][]byte{make([]byte, MaxKeyPackageSize+1)} }, false},
		"too large in all":     {func(b *Bundle) { b.KeyPackages = slices.Repeat([][]byte{make([]byte, MaxKeyPackageSize)}, 8) }, false},
		"longest addresses":    {func(b *Bundle) { b.Addrs = slices.Repeat([]string{long}, MaxMultiaddrs) }, true},
		"too many addresses":   {func(b *Bundle) { b.Addrs = slices.Repeat([]string{"/a"}, MaxMultiaddrs+1) }, false},
		"too many mailboxes":   {func(b *Bundle) { b.Mailboxes = slices.Repeat([]string{"/a"}, MaxMultiaddrs+1) }, false},
		"too long address":     {func(b *Bundle) { b.Addrs = []string{long + "a"} }, false},
		"empty address":        {func(b *Bundle) { b.Addrs = []string{""} }, false},
		"not a multiaddr":      {func(b *Bundle) { b.Addrs = []string{"127.0.0.1:80"} }, false},
		"address with newline": {func(b *Bundle) { b.Mailboxes = []string{"/ip4/1.2.3.4\n"} }, false},
		"expiry overflows":     {func(b *Bundle) { b.Expiry = 1 << 63 }, false},
	}
	for name, c := range edits {
		_, err := ParseBundle(resign(good, d, c.edit).Marshal())
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrBundle)) {
			t.Errorf("%s: parsing gives %v", name, err)
		}
		b := *good
		b.OneTime = slices.Clone(good.OneTime)
		c.edit(&b)
		before := b
		err = SignBundle(&b, d)
		if name == "bad host key" {
			continue // SignBundle puts in the right one
		}
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrBundle)) {
			t.Errorf("%s: signing gives %v", name, err)
		}
		if err != nil && b.Signature != before.Signature {
			t.Errorf("%s: a bundle that was refused changed", name)
		}
	}
	_, err := ParseBundle(make([]byte, MaxBundleSize+1))
	wantError(t, err, ErrBundle)
	bad := good.Marshal()
	bad[0] = 2
	_, err = ParseBundle(bad)
	wantError(t, err, ErrBundle)
}

func TestRecord(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	l := authorize(t, NewLog(KeyAccount(w.Address())), w, d)
	b := testBundle(t, l, d)
	in := MarshalRecord(l, b)
	rec, err := VerifyRecord(in, l.account, testNow)
	noError(t, err)
	if rec.Device.Link != b.Link || rec.Bundle.Seq != b.Seq || rec.Log.Len() != 1 {
		t.Error("the record changes on the wire")
	}
	if !bytes.Equal(MarshalRecord(rec.Log, rec.Bundle), in) {
		t.Error("the record re-encodes differently")
	}
	verify := func(b []byte) error { _, err := VerifyRecord(b, l.account, testNow); return err }
	for n := range len(in) {
		wantError(t, verify(in[:n:n]), ErrRecord)
	}
	wantError(t, verify(append(slices.Clone(in), 0)), ErrRecord)
	wantError(t, verify([]byte{0xff, 0xff, 0xff, 0xff}), ErrRecord)
	wantError(t, verify(wire.AppendLP(wire.AppendLP(nil, nil), b.Marshal())), ErrLog)
	wantError(t, verify(wire.AppendLP(wire.AppendLP(nil, l.Marshal()), nil)), ErrBundle)
	wantError(t, verify(MarshalRecord(NewLog(l.account), b)), ErrUnknownDevice)
	wantError(t, verify(MarshalRecord(revoke(t, l, w, d), b)), ErrDeviceRevoked)

	_, err = VerifyRecord(in, Account{Address{1}, 0}, testNow)
	wantError(t, err, ErrOtherAccount)
	_, err = VerifyRecord(in, l.account, testNow.Add(8*24*time.Hour))
	wantError(t, err, ErrBundleExpired)

	x, y := authorize(t, l, w, testDevice(t, 11)), authorize(t, l, w, testDevice(t, 21))
	frozen, err := MergeLogs(x, y)
	noError(t, err)
	var conflict *ConflictError
	if !errors.As(verify(MarshalRecord(frozen, b)), &conflict) || conflict.Log.Account() != l.account {
		t.Error("a frozen log is not reported")
	}
}

func FuzzParseBundle(f *testing.F) {
	w, d := testWallet(f), testDevice(f, 1)
	l := authorize(f, NewLog(KeyAccount(w.Address())), w, d)
	f.Add(testBundle(f, l, d).Marshal())
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := ParseBundle(in)
		if err != nil {
			return
		}
		if !bytes.Equal(b.Marshal(), in) {
			t.Fatal("re-encodes differently")
		}
		_, _ = b.Verify(l, testNow)
	})
}

func FuzzVerifyRecord(f *testing.F) {
	w, d := testWallet(f), testDevice(f, 1)
	l := authorize(f, NewLog(KeyAccount(w.Address())), w, d)
	f.Add(MarshalRecord(l, testBundle(f, l, d)))
	f.Fuzz(func(t *testing.T, in []byte) {
		if r, err := VerifyRecord(in, l.account, testNow); err == nil && !bytes.Equal(MarshalRecord(r.Log, r.Bundle), in) {
			t.Fatal("re-encodes differently")
		}
	})
}
