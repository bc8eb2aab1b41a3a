package secp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/parley-im/parley/internal/vectors"
)

// base64URL is a byte string as JSON web keys have it.
type base64URL []byte

func (u *base64URL) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	out, err := base64.RawURLEncoding.DecodeString(s)
	*u = out
	return err
}

type wycheproofECDSA struct {
	TestGroups []struct {
		PublicKey struct{ Uncompressed vectors.Hex } `json:"publicKey"`
		Tests     []struct {
			TcID     int `json:"tcId"`
			Comment  string
			Msg, Sig vectors.Hex
			Result   string
		}
	} `json:"testGroups"`
}

var order, _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)

// highS reports whether a 64-byte signature has an s above half the order,
// which this package refuses, and the vectors in plain r||s do not.
func highS(sig []byte) bool {
	s := new(big.Int).SetBytes(sig[32:])
	return s.Lsh(s, 1).Cmp(order) > 0
}

func TestWycheproofECDSA(t *testing.T) {
	var file wycheproofECDSA
	vectors.JSON(t, "wycheproof/ecdsa_secp256k1_sha256_p1363_test.json", &file)
	good, bad, high := 0, 0, 0
	for _, g := range file.TestGroups {
		k, err := ParseUncompressed(g.PublicKey.Uncompressed)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Tests {
			want := c.Result == "valid"
			if want && highS(c.Sig) {
				want = false
				high++
			}
			err := k.VerifyDigest(sha256.Sum256(c.Msg), c.Sig)
			if (err == nil) != want || (err != nil && !errors.Is(err, ErrSignature)) {
				t.Errorf("%d (%s): %v, want valid %v", c.TcID, c.Comment, err, want)
			}
			if want {
				good++
			} else {
				bad++
			}
		}
	}
	t.Logf("%d valid, %d invalid, of which %d for a high s", good, bad, high)
	if good == 0 || bad == 0 || high == 0 {
		t.Fatal("a kind of case is missing")
	}
}

// The Bitcoin file demands a low s, as we do, in DER, which we do not have: what
// strict DER can express is tried as r||s.
func TestWycheproofECDSALowS(t *testing.T) {
	var file wycheproofECDSA
	vectors.JSON(t, "wycheproof/ecdsa_secp256k1_sha256_bitcoin_test.json", &file)
	good, bad, inexpressible := 0, 0, 0
	for _, g := range file.TestGroups {
		k, err := ParseUncompressed(g.PublicKey.Uncompressed)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Tests {
			sig, ok := fromDER(c.Sig)
			if !ok {
				inexpressible++
				if c.Result == "valid" {
					t.Errorf("%d (%s): a valid signature is not read", c.TcID, c.Comment)
				}
				continue
			}
			if err := k.VerifyDigest(sha256.Sum256(c.Msg), sig); (err == nil) != (c.Result == "valid") {
				t.Errorf("%d (%s): %v, want %s", c.TcID, c.Comment, err, c.Result)
			}
			if c.Result == "valid" {
				good++
			} else {
				bad++
			}
		}
	}
	t.Logf("%d valid, %d invalid, %d not expressible", good, bad, inexpressible)
	if good == 0 || bad == 0 {
		t.Fatal("a kind of case is missing")
	}
}

func fromDER(der []byte) ([]byte, bool) {
	var inner cryptobyte.String
	r, s := new(big.Int), new(big.Int)
	in := cryptobyte.String(der)
	if !in.ReadASN1(&inner, asn1.SEQUENCE) || !in.Empty() || !inner.ReadASN1Integer(r) || !inner.ReadASN1Integer(s) ||
		!inner.Empty() || r.Sign() < 0 || s.Sign() < 0 || r.BitLen() > 256 || s.BitLen() > 256 {
		return nil, false
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), true
}

func TestWycheproofECDH(t *testing.T) {
	var file struct {
		TestGroups []struct {
			Tests []struct {
				TcID    int `json:"tcId"`
				Comment string
				Public  struct {
					Crv  string
					X, Y base64URL
				}
				Private struct {
					D, X, Y base64URL
				}
				Shared vectors.Hex
				Result string
			}
		} `json:"testGroups"`
	}
	vectors.JSON(t, "wycheproof/ecdh_secp256k1_webcrypto_test.json", &file)
	good, bad := 0, 0
	for _, g := range file.TestGroups {
		for _, c := range g.Tests {
			// A key on another curve is told from one on ours by its name, which
			// our encoding does not have; its point must then not parse.
			if c.Public.Crv != "P-256K" && c.Shared != nil && len(c.Shared) > 0 {
				continue // made to be on both curves
			}
			k, err := NewPrivateKey(leftPad(c.Private.D))
			if err != nil {
				t.Fatalf("%d: %v", c.TcID, err)
			}
			if got, want := k.PublicKey().Uncompressed(), slices.Concat([]byte{4}, leftPad(c.Private.X), leftPad(c.Private.Y)); !slices.Equal(got, want) {
				t.Errorf("%d: public key %x, want %x", c.TcID, got, want)
			}
			peer, err := ParseUncompressed(slices.Concat([]byte{4}, c.Public.X, c.Public.Y))
			if c.Result != "valid" {
				bad++
				if !errors.Is(err, ErrPublicKey) {
					t.Errorf("%d (%s): %v", c.TcID, c.Comment, err)
				}
				continue
			}
			good++
			if err != nil {
				t.Errorf("%d (%s): %v", c.TcID, c.Comment, err)
				continue
			}
			if got, err := k.ECDH(peer); err != nil || !slices.Equal(got.Bytes(), c.Shared) {
				t.Errorf("%d (%s): %v", c.TcID, c.Comment, err)
			}
			compressed, err := ParsePublicKey(peer.Bytes())
			if err != nil || !compressed.Equal(peer) {
				t.Errorf("%d: the compressed form does not parse back: %v", c.TcID, err)
			}
		}
	}
	t.Logf("%d valid, %d invalid", good, bad)
	if good == 0 || bad == 0 {
		t.Fatal("a kind of case is missing")
	}
}

// leftPad brings a number of a JSON web key to 32 bytes.
func leftPad(b []byte) []byte {
	return new(big.Int).SetBytes(b).FillBytes(make([]byte, 32))
}
