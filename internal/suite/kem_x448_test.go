package suite

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloudflare/circl/dh/x448"
)

// little returns the bytes of a hexadecimal number from its least digit on.
func little(t *testing.T, number string) []byte {
	t.Helper()
	b, err := hex.DecodeString(number)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(b)
	return b
}

// A key of low order makes the shared secret zero whatever the other key is: it
// is refused where it comes in, and where it is used.
func TestLowOrderPoints(t *testing.T) {
	f := strings.Repeat("f", 56)
	p448 := f[1:] + "e" + f // 2^448 - 2^224 - 1
	points := map[ID][]string{
		X448AES256GCMEd448: {
			strings.Repeat("0", 112),       // 0
			strings.Repeat("0", 111) + "1", // 1
			p448[:111] + "e",               // p - 1
			p448,                           // p, and p + 1, which are not reduced
			f + strings.Repeat("0", 56),
		},
		X25519AES128GCMEd25519: {
			strings.Repeat("0", 64),
			strings.Repeat("0", 63) + "1",
			"00b8495f16056286fdb1329ceb8d09da6ac49ff1fae35616aeb8413b7c7aebe0", // of order 8
			"57119fd0dd4e22d8868e1c58c45c44045bef839c55b1d0b1248c50a3bc959c5f",
			"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec", // p - 1, p, p + 1
			"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
			"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffee",
		},
	}
	for _, number := range points[X25519AES128GCMEd25519] { // the highest bit does not count
		points[X25519AES128GCMEd25519] = append(points[X25519AES128GCMEd25519], fmt.Sprintf("%x", (number[0]-48)|8)+number[1:])
	}
	points[X448ChaCha20Ed448] = points[X448AES256GCMEd448]
	points[X25519ChaCha20Ed25519] = points[X25519AES128GCMEd25519]
	for id, list := range points {
		s, err := ByID(id)
		if err != nil {
			t.Fatal(err)
		}
		k, err := s.GenerateHPKEKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckHPKEKey(k.Public()); err != nil {
			t.Fatal(err)
		}
		for _, number := range list {
			bad := little(t, number)
			if len(bad) != len(k.Public()) {
				t.Fatalf("%s: %d bytes", number, len(bad))
			}
			if err := s.CheckHPKEKey(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%s as a key: %v", number, err)
			}
			if _, _, err := s.SealBase(bad, nil, nil, nil); !errors.Is(err, ErrKey) {
				t.Errorf("sealing to %s: %v", number, err)
			}
			if _, _, err := s.NewEncrypter("", nil).Encrypt(bad, nil); !errors.Is(err, ErrKey) {
				t.Errorf("encrypting to %s among many: %v", number, err)
			}
			if _, _, err := s.ExportTo(bad, nil, "", 32); !errors.Is(err, ErrKey) {
				t.Errorf("exporting to %s: %v", number, err)
			}
			if _, err := s.OpenBase(k, bad, nil, nil, make([]byte, 32)); !errors.Is(err, ErrOpen) {
				t.Errorf("%s as enc: %v", number, err)
			}
			if _, err := s.ExportFrom(k, bad, nil, "", 32); !errors.Is(err, ErrOpen) {
				t.Errorf("exporting from %s: %v", number, err)
			}
			if len(bad) == x448.Size {
				var shared x448.Key
				sk, pk := x448.Key(k.Bytes().Bytes()), x448.Key(bad)
				x448.Shared(&shared, &sk, &pk)
				if shared != (x448.Key{}) {
					t.Errorf("%s is not of low order", number)
				}
			}
		}
	}
}

// RFC 7748, Section 6.2.
func TestX448(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	alice, errA := x448Group{}.parse(unhex("9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b"))
	bob, errB := x448Group{}.parse(unhex("1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d"))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if want := unhex("9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0"); !bytes.Equal(alice.Public(), want) {
		t.Errorf("public key %x", alice.Public())
	}
	want := unhex("07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d")
	for _, pair := range [][2]dhKey{{alice, bob}, {bob, alice}} {
		if got, err := pair[0].dh(pair[1].Public()); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%x, %v", got.Bytes(), err)
		}
	}
}
