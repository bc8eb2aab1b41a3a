package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"testing"

	"github.com/parley-im/parley/internal/vectors"
)

func TestWycheproofAEAD(t *testing.T) {
	for name, c := range map[string]struct {
		open      func(key, nonce, ct, aad []byte) ([]byte, error)
		nonceSize int
	}{
		"chacha20_poly1305": {func(key, nonce, ct, aad []byte) ([]byte, error) {
			return aead(key).Open(nil, nonce, ct, aad)
		}, 12},
		"xchacha20_poly1305": {func(key, nonce, ct, aad []byte) ([]byte, error) {
			return xaead(key).Open(nil, nonce, ct, aad)
		}, nonceSize},
	} {
		t.Run(name, func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					Tests []struct {
						TcID                       int
						Key, IV, AAD, Msg, CT, Tag vectors.Hex
						Result                     string
					}
				}
			}
			vectors.JSON(t, "wycheproof/"+name+"_test.json", &file)
			valid, invalid := 0, 0
			for _, g := range file.TestGroups {
				for _, v := range g.Tests {
					if len(v.IV) != c.nonceSize {
						continue // a nonce that the protocol does not have
					}
					got, err := c.open(v.Key, v.IV, append(v.CT, v.Tag...), v.AAD)
					if v.Result == "valid" {
						valid++
						if err != nil || !bytes.Equal(got, v.Msg) {
							t.Errorf("%d: %v", v.TcID, err)
						}
					} else {
						invalid++
						if err == nil {
							t.Errorf("%d: opened", v.TcID)
						}
					}
				}
			}
			if valid < 100 || invalid < 20 {
				t.Errorf("only %d valid and %d invalid cases were run", valid, invalid)
			}
		})
	}
}

func TestWycheproofMLKEM(t *testing.T) {
	var file struct {
		TestGroups []struct {
			Tests []struct {
				TcID              int
				Seed, M, EK, C, K vectors.Hex
				Result            string
			}
		}
	}
	run := func(t *testing.T, name string, check func(random, ek, c, k []byte) bool) {
		t.Helper()
		file.TestGroups = nil
		vectors.JSON(t, "wycheproof/"+name+"_test.json", &file)
		ran := 0
		for _, g := range file.TestGroups {
			for _, v := range g.Tests {
				ran++
				random := v.Seed
				if len(v.M) > 0 {
					random = v.M
				}
				if got := check(random, v.EK, v.C, v.K); got != (v.Result == "valid") {
					t.Errorf("%s %d: accepted is %v, want %s", name, v.TcID, got, v.Result)
				}
			}
		}
		if ran < 100 {
			t.Errorf("%s: only %d cases", name, ran)
		}
	}
	run(t, "mlkem_768", func(seed, ek, c, k []byte) bool {
		key, err := NewKEMKey(seed)
		if err != nil {
			return false
		}
		ss, err := key.dk.Decapsulate(c)
		return err == nil && bytes.Equal(ss, k) && (len(ek) == 0 || bytes.Equal(key.Public(), ek))
	})
	run(t, "mlkem_768_keygen_seed", func(seed, ek, _, _ []byte) bool {
		key, err := NewKEMKey(seed)
		return err == nil && bytes.Equal(key.Public(), ek) && bytes.Equal(key.Bytes().Bytes(), seed)
	})
	run(t, "mlkem_768_encaps", func(m, ek, c, k []byte) bool {
		key, err := mlkem.NewEncapsulationKey768(ek)
		if err != nil {
			return false
		}
		ss, ct, err := mlkemtest.Encapsulate768(key, m)
		return err == nil && bytes.Equal(ss, k) && bytes.Equal(ct, c)
	})
}

func TestWycheproofHMAC(t *testing.T) {
	var file struct {
		TestGroups []struct {
			TagSize int
			Tests   []struct {
				TcID          int
				Key, Msg, Tag vectors.Hex
				Result        string
			}
		}
	}
	vectors.JSON(t, "wycheproof/hmac_sha256_test.json", &file)
	valid, invalid := 0, 0
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			if len(v.Key) > sha256.BlockSize {
				continue // keys here have 32 bytes
			}
			sum := hmacSum(v.Key, v.Msg)
			got := bytes.Equal(sum[:g.TagSize/8], v.Tag)
			if got != (v.Result == "valid") {
				t.Errorf("%d: accepted is %v, want %s", v.TcID, got, v.Result)
			}
			if v.Result == "valid" {
				valid++
			} else {
				invalid++
			}
		}
	}
	if valid < 50 || invalid < 50 {
		t.Errorf("only %d valid and %d invalid cases", valid, invalid)
	}
}

// HKDF is Extract, which is one HMAC, and what [expand] does.
func TestWycheproofHKDF(t *testing.T) {
	var file struct {
		TestGroups []struct {
			Tests []struct {
				TcID            int
				IKM, Salt, Info vectors.Hex
				Size            int
				OKM             vectors.Hex
				Result          string
			}
		}
	}
	vectors.JSON(t, "wycheproof/hkdf_sha256_test.json", &file)
	ran, three := 0, 0
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			if v.Result != "valid" {
				continue // more than HKDF can give, which nothing here asks for
			}
			ran++
			prk := hmacSum(v.Salt, v.IKM)
			if got := expand(nil, prk[:], "", v.Info, v.Size); !bytes.Equal(got, v.OKM) {
				t.Errorf("%d: output differs", v.TcID)
			}
			if v.Size >= 3*keySize { // the first bytes do not depend on how many are asked for
				three++
				a, b, c := kdf3(v.Salt, v.IKM, string(v.Info))
				if !bytes.Equal(cat(a.Bytes(), b.Bytes(), c.Bytes()), v.OKM[:3*keySize]) {
					t.Errorf("%d: three keys differ", v.TcID)
				}
			}
		}
	}
	if ran < 80 || three < 4 {
		t.Errorf("only %d cases, %d of three keys", ran, three)
	}
}
