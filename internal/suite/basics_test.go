package suite

import (
	"bytes"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/vectors"
)

func TestMLSCryptoBasics(t *testing.T) {
	var cases []struct {
		Suite   ID `json:"cipher_suite"`
		RefHash struct {
			Label      string
			Value, Out vectors.Hex
		} `json:"ref_hash"`
		Expand struct {
			Secret, Context, Out vectors.Hex
			Label                string
			Length               int
		} `json:"expand_with_label"`
		Derive struct {
			Secret, Out vectors.Hex
			Label       string
		} `json:"derive_secret"`
		Tree struct {
			Secret, Out vectors.Hex
			Label       string
			Generation  uint32
			Length      int
		} `json:"derive_tree_secret"`
		Sign struct {
			Priv, Pub, Content, Signature vectors.Hex
			Label                         string
		} `json:"sign_with_label"`
		Encrypt struct {
			Priv, Pub, Context, Plaintext, Ciphertext vectors.Hex
			KEMOutput                                 vectors.Hex `json:"kem_output"`
			Label                                     string
		} `json:"encrypt_with_label"`
	}
	vectors.JSON(t, "mls/crypto-basics.json", &cases)
	ran := map[ID]int{}
	for _, c := range cases {
		s, err := ByID(c.Suite)
		if err != nil {
			t.Fatal(err)
		}
		ran[c.Suite]++
		equal := func(what string, got, want []byte) {
			t.Helper()
			if len(want) == 0 || !bytes.Equal(got, want) {
				t.Errorf("suite %d: %s is %x, want %x", c.Suite, what, got, want)
			}
		}
		equal("RefHash", s.RefHash(c.RefHash.Label, c.RefHash.Value), c.RefHash.Out)
		equal("ExpandWithLabel", s.ExpandWithLabel(secret.Copy(c.Expand.Secret), c.Expand.Label, c.Expand.Context, c.Expand.Length).Bytes(), c.Expand.Out)
		equal("DeriveSecret", s.DeriveSecret(secret.Copy(c.Derive.Secret), c.Derive.Label).Bytes(), c.Derive.Out)
		equal("DeriveTreeSecret", s.DeriveTreeSecret(secret.Copy(c.Tree.Secret), c.Tree.Label, c.Tree.Generation, c.Tree.Length).Bytes(), c.Tree.Out)

		if err := s.VerifyWithLabel(c.Sign.Pub, c.Sign.Label, c.Sign.Content, c.Sign.Signature); err != nil {
			t.Errorf("suite %d: VerifyWithLabel: %v", c.Suite, err)
		}
		if err := s.VerifyWithLabel(c.Sign.Pub, c.Sign.Label+"x", c.Sign.Content, c.Sign.Signature); err == nil {
			t.Errorf("suite %d: the signature is good under another label", c.Suite)
		}
		signer, err := s.NewSigningKey(c.Sign.Priv)
		if err != nil {
			t.Fatal(err)
		}
		equal("signature public key", signer.Public(), c.Sign.Pub)
		sig, err := s.SignWithLabel(signer, c.Sign.Label, c.Sign.Content)
		if err != nil || s.VerifyWithLabel(c.Sign.Pub, c.Sign.Label, c.Sign.Content, sig) != nil {
			t.Errorf("suite %d: SignWithLabel: %v", c.Suite, err)
		}

		key, err := s.NewHPKEKey(c.Encrypt.Priv)
		if err != nil {
			t.Fatal(err)
		}
		equal("HPKE public key", key.Public(), c.Encrypt.Pub)
		plain, err := s.DecryptWithLabel(key, c.Encrypt.Label, c.Encrypt.Context, c.Encrypt.KEMOutput, c.Encrypt.Ciphertext)
		if err != nil {
			t.Errorf("suite %d: DecryptWithLabel: %v", c.Suite, err)
		}
		equal("DecryptWithLabel", plain.Bytes(), c.Encrypt.Plaintext)
		enc, ct, err := s.EncryptWithLabel(c.Encrypt.Pub, c.Encrypt.Label, c.Encrypt.Context, c.Encrypt.Plaintext)
		if err != nil {
			t.Fatal(err)
		}
		plain, err = s.DecryptWithLabel(key, c.Encrypt.Label, c.Encrypt.Context, enc, ct)
		if err != nil {
			t.Errorf("suite %d: EncryptWithLabel: %v", c.Suite, err)
		}
		equal("EncryptWithLabel", plain.Bytes(), c.Encrypt.Plaintext)
	}
	t.Logf("%d cases ran", len(cases))
	for id := ID(1); id <= 7; id++ {
		if ran[id] == 0 {
			t.Errorf("no case of suite %d ran", id)
		}
	}
}
