package ratchet

import (
	"bytes"
	"crypto/mlkem"
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
				TcID           int
				Seed, EK, C, K vectors.Hex
				Result         string
			}
		}
	}
	run := func(t *testing.T, name string, check func(seed, ek, c, k []byte) bool) {
		t.Helper()
		file.TestGroups = nil
		vectors.JSON(t, "wycheproof/"+name+"_test.json", &file)
		ran := 0
		for _, g := range file.TestGroups {
			for _, v := range g.Tests {
				ran++
				if got := check(v.Seed, v.EK, v.C, v.K); got != (v.Result == "valid") {
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
	// The encapsulation vectors fix the randomness, which crypto/mlkem does not
	// take; what they say about which keys are acceptable is what we need.
	run(t, "mlkem_768_encaps", func(_, ek, _, _ []byte) bool {
		_, err := mlkem.NewEncapsulationKey768(ek)
		return err == nil
	})
}
