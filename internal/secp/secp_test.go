package secp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"pgregory.net/rapid"
)

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustGenerate(t testing.TB) *PrivateKey {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// SEC 2: the generator is the public key of the scalar one.
func TestGenerator(t *testing.T) {
	k, err := NewPrivateKey(append(make([]byte, 31), 1))
	if err != nil {
		t.Fatal(err)
	}
	const want = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
	if got := k.PublicKey().String(); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

func TestPrivateKeyRange(t *testing.T) {
	below := new(big.Int).Sub(order, big.NewInt(1)).Bytes()
	for name, c := range map[string]struct {
		scalar []byte
		want   error
	}{
		"one":             {append(make([]byte, 31), 1), nil},
		"order less one":  {below, nil},
		"zero":            {make([]byte, 32), ErrPrivateKey},
		"the order":       {order.Bytes(), ErrPrivateKey},
		"above the order": {bytes.Repeat([]byte{0xff}, 32), ErrPrivateKey},
		"empty":           {nil, ErrPrivateKey},
		"31 bytes":        {below[:31], ErrPrivateKey},
		"33 bytes":        {append([]byte{0}, below...), ErrPrivateKey},
	} {
		k, err := NewPrivateKey(c.scalar)
		if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil && !bytes.Equal(k.Bytes().Bytes(), c.scalar) {
			t.Errorf("%s: %x comes back as %x", name, c.scalar, k.Bytes().Bytes())
		}
	}
}

func TestPublicKeyParsing(t *testing.T) {
	k := mustGenerate(t).PublicKey()
	c, u := k.Bytes(), k.Uncompressed()
	if p, err := ParsePublicKey(c); err != nil || !p.Equal(k) || p.Compressed() != k.Compressed() {
		t.Error(err)
	}
	if p, err := ParseUncompressed(u); err != nil || !p.Equal(k) || p.IsZero() {
		t.Error(err)
	}
	with := func(b []byte, at int, v byte) []byte {
		out := bytes.Clone(b)
		out[at] = v
		return out
	}
	prime := mustHex(t, "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f")
	noSuchX := append([]byte{2}, append(make([]byte, 31), 5)...) // 5^3 + 7 is not a square
	for name, bad := range map[string][]byte{
		"empty": nil, "infinity": {0}, "uncompressed": u, "short": c[:32], "long": append(bytes.Clone(c), 0),
		"prefix 0": with(c, 0, 0), "prefix 1": with(c, 0, 1), "prefix 4": with(c, 0, 4), "prefix 5": with(c, 0, 5),
		"x is the prime": append([]byte{2}, prime...), "x not on the curve": noSuchX,
	} {
		if _, err := ParsePublicKey(bad); !errors.Is(err, ErrPublicKey) {
			t.Errorf("compressed, %s: %v", name, err)
		}
		if err := CheckPublicKey(bad); !errors.Is(err, ErrPublicKey) {
			t.Errorf("compressed, %s, is no error", name)
		}
		digest := [DigestSize]byte{1}
		if err := VerifyDigest(bad, digest, make([]byte, SignatureSize)); !errors.Is(err, ErrSignature) {
			t.Errorf("a signature by %s: %v", name, err)
		}
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "compressed": c, "short": u[:64], "long": append(bytes.Clone(u), 0),
		"hybrid 6": with(u, 0, 6), "hybrid 7": with(u, 0, 7), "prefix 2": with(u, 0, 2), "prefix 0": with(u, 0, 0),
		"off the curve": with(u, 64, u[64]^1), "origin": append([]byte{4}, make([]byte, 64)...),
		"x is the prime": append(append([]byte{4}, prime...), u[33:]...),
	} {
		if _, err := ParseUncompressed(bad); !errors.Is(err, ErrPublicKey) {
			t.Errorf("uncompressed, %s: %v", name, err)
		}
	}
	if !(PublicKey{}).IsZero() || (PublicKey{}).Equal(k) {
		t.Error("the zero value is a key")
	}
}

func TestECDHAgrees(t *testing.T) {
	a, b, c := mustGenerate(t), mustGenerate(t), mustGenerate(t)
	ab, err := a.ECDH(b.PublicKey())
	if err != nil || ab.Len() != SharedSize {
		t.Fatal(err)
	}
	if ba, err := b.ECDH(a.PublicKey()); err != nil || !ba.Equal(ab) {
		t.Errorf("the two sides differ: %v", err)
	}
	if ac, err := a.ECDH(c.PublicKey()); err != nil || ac.Equal(ab) {
		t.Errorf("another peer gives the same: %v", err)
	}
	if _, err := a.ECDH(PublicKey{}); !errors.Is(err, ErrPublicKey) {
		t.Errorf("no peer: %v", err)
	}
}

// A deterministic signature known from outside: key 1, message "Satoshi
// Nakamoto", RFC 6979 with SHA-256.
func TestRFC6979(t *testing.T) {
	k, err := NewPrivateKey(append(make([]byte, 31), 1))
	if err != nil {
		t.Fatal(err)
	}
	const want = "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8" +
		"2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
	if got := k.SignDigest(sha256.Sum256([]byte("Satoshi Nakamoto"))); hex.EncodeToString(got[:]) != want {
		t.Errorf("%x, want %s", got, want)
	}
}

func TestSignatures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, err := GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		label, m := rapid.String().Draw(t, "label"), rapid.SliceOf(rapid.Byte()).Draw(t, "message")
		sig := k.Sign(label, m)
		pub := k.PublicKey()
		if err := pub.Verify(label, m, sig[:]); err != nil || highS(sig[:]) {
			t.Fatal(err)
		}
		if sig != k.Sign(label, m) {
			t.Fatal("not deterministic")
		}
		at := rapid.IntRange(0, 8*len(sig)-1).Draw(t, "bit")
		flipped := sig
		flipped[at/8] ^= 1 << (at % 8)
		high := sig
		new(big.Int).Sub(order, new(big.Int).SetBytes(sig[32:])).FillBytes(high[32:])
		for name, err := range map[string]error{
			"flipped":         pub.Verify(label, m, flipped[:]),
			"high s":          pub.Verify(label, m, high[:]),
			"another label":   pub.Verify(label+"x", m, sig[:]),
			"moved boundary":  pub.Verify(label+"x", append([]byte("x"), m...), sig[:]),
			"another message": pub.Verify(label, append(m, 0), sig[:]),
			"short":           pub.Verify(label, m, sig[:63]),
			"recoverable":     pub.Verify(label, m, append(sig[:], 0)),
			"empty":           pub.Verify(label, m, nil),
			"no key":          PublicKey{}.Verify(label, m, sig[:]),
		} {
			if !errors.Is(err, ErrSignature) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

func TestRecover(t *testing.T) {
	for range 20 {
		k := mustGenerate(t)
		digest := sha256.Sum256(k.PublicKey().Bytes())
		sig := k.SignRecoverable(digest)
		if got, err := Recover(digest, sig[:]); err != nil || !got.Equal(k.PublicKey()) {
			t.Fatalf("recovers %v, %v", got, err)
		}
		other := sig
		other[64] ^= 1
		if got, err := Recover(digest, other[:]); err == nil && got.Equal(k.PublicKey()) {
			t.Error("both parities recover one key")
		}
		high := sig
		new(big.Int).Sub(order, new(big.Int).SetBytes(sig[32:64])).FillBytes(high[32:64])
		high[64] ^= 1
		for name, bad := range map[string][]byte{
			"empty": nil, "64 bytes": sig[:64], "66 bytes": append(sig[:], 0), "v of 27": append(bytes.Clone(sig[:64]), 27),
			"v of 2": append(bytes.Clone(sig[:64]), 2), "zeros": make([]byte, 65), "high s": high[:],
		} {
			if _, err := Recover(digest, bad); !errors.Is(err, ErrSignature) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// With v of 2 or 3 the x coordinate of the nonce's point is r plus the group
// order: by chance that never happens, but whoever chooses r finds one.
func TestRecoverBeyondTheOrder(t *testing.T) {
	digest := sha256.Sum256([]byte("m"))
	found := 0
	for r := range byte(100) {
		sig := make([]byte, RecoverableSignatureSize)
		sig[31], sig[63] = r, 1
		for v := range byte(2) {
			sig[64] = v + 2
			if _, err := crypto.Ecrecover(digest[:], sig); err != nil {
				continue
			}
			found++
			if _, err := Recover(digest, sig); !errors.Is(err, ErrSignature) {
				t.Errorf("r %d, v %d: %v", r, v+2, err)
			}
		}
	}
	if found == 0 {
		t.Fatal("no such signature was found")
	}
}

func TestKeyDoesNotPrint(t *testing.T) {
	k := mustGenerate(t)
	scalar := fmt.Sprintf("%x", k.Bytes().Bytes())
	listed := strings.Trim(fmt.Sprint(k.Bytes().Bytes()), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
		out := strings.ToLower(fmt.Sprintf(verb, k) + fmt.Sprintf(verb, struct{ K *PrivateKey }{k}))
		if strings.Contains(out, scalar) || strings.Contains(out, listed) {
			t.Errorf("%s prints the scalar", verb)
		}
	}
}

// A point that parses comes back as the same bytes, in both forms.
func FuzzPublicKey(f *testing.F) {
	k := mustGenerate(f).PublicKey()
	f.Add(k.Bytes())
	f.Add(k.Uncompressed())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePublicKey(b)
		if check := CheckPublicKey(b); (check == nil) != (err == nil) {
			t.Fatalf("%x: parsed %v, checked %v", b, err, check)
		}
		if err == nil {
			if !bytes.Equal(p.Bytes(), b) {
				t.Fatalf("%x comes back as %x", b, p.Bytes())
			}
			if q, err := ParseUncompressed(p.Uncompressed()); err != nil || !q.Equal(p) {
				t.Fatal("the uncompressed form does not parse back")
			}
		}
		if p, err := ParseUncompressed(b); err == nil && !bytes.Equal(p.Uncompressed(), b) {
			t.Fatalf("%x comes back as %x", b, p.Uncompressed())
		}
	})
}

// Whatever is recovered also verifies; nothing panics.
func FuzzSignature(f *testing.F) {
	k := mustGenerate(f)
	digest := sha256.Sum256([]byte("m"))
	sig := k.SignRecoverable(digest)
	f.Add(digest[:], sig[:])
	f.Fuzz(func(t *testing.T, m, sig []byte) {
		digest := sha256.Sum256(m)
		if err := k.PublicKey().VerifyDigest(digest, sig); err == nil {
			t.Fatalf("forged: %x over %x", sig, digest)
		}
		if p, err := Recover(digest, sig); err == nil {
			if err := p.VerifyDigest(digest, sig[:SignatureSize]); err != nil {
				t.Fatalf("recovered but not valid: %v", err)
			}
		}
	})
}
