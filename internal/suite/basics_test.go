package suite

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/vectors"
)

var loaders = map[string]vectors.Loader{"crypto-basics.json": loadCryptoBasics}

func TestVectors(t *testing.T) { vectors.MLS(t, "internal/suite", loaders) }

// TestOwnVectors is the same for the private suites.
func TestOwnVectors(t *testing.T) {
	var own []uint16
	for _, s := range All() {
		if s.ID() >= 0xF000 {
			own = append(own, uint16(s.ID()))
		}
	}
	vectors.Own(t, own, loaders, map[string]vectors.Maker{"crypto-basics.json": makeCryptoBasics})
}

// basics is a case of crypto-basics.json.
type basics struct {
	Suite   ID `json:"cipher_suite"`
	RefHash struct {
		Label string      `json:"label"`
		Value vectors.Hex `json:"value"`
		Out   vectors.Hex `json:"out"`
	} `json:"ref_hash"`
	Expand struct {
		Secret  vectors.Hex `json:"secret"`
		Label   string      `json:"label"`
		Context vectors.Hex `json:"context"`
		Length  int         `json:"length"`
		Out     vectors.Hex `json:"out"`
	} `json:"expand_with_label"`
	Derive struct {
		Secret vectors.Hex `json:"secret"`
		Label  string      `json:"label"`
		Out    vectors.Hex `json:"out"`
	} `json:"derive_secret"`
	Tree struct {
		Secret     vectors.Hex `json:"secret"`
		Label      string      `json:"label"`
		Generation uint32      `json:"generation"`
		Length     int         `json:"length"`
		Out        vectors.Hex `json:"out"`
	} `json:"derive_tree_secret"`
	Sign struct {
		Priv      vectors.Hex `json:"priv"`
		Pub       vectors.Hex `json:"pub"`
		Content   vectors.Hex `json:"content"`
		Label     string      `json:"label"`
		Signature vectors.Hex `json:"signature"`
	} `json:"sign_with_label"`
	Encrypt struct {
		Priv       vectors.Hex `json:"priv"`
		Pub        vectors.Hex `json:"pub"`
		Label      string      `json:"label"`
		Context    vectors.Hex `json:"context"`
		Plaintext  vectors.Hex `json:"plaintext"`
		KEMOutput  vectors.Hex `json:"kem_output"`
		Ciphertext vectors.Hex `json:"ciphertext"`
	} `json:"encrypt_with_label"`
}

func makeCryptoBasics(t *testing.T, id uint16) []any {
	t.Helper()
	s, err := ByID(ID(id))
	if err != nil {
		t.Fatal(err)
	}
	random := func(n int) []byte { return secret.Random(n).Bytes() }
	c := basics{Suite: s.ID()}
	c.RefHash.Label, c.RefHash.Value = "RefHash", random(64)
	c.RefHash.Out = s.RefHash(c.RefHash.Label, c.RefHash.Value)
	c.Expand.Secret, c.Expand.Label, c.Expand.Context, c.Expand.Length = random(s.HashSize()), "ExpandWithLabel", random(32), 16
	c.Expand.Out = s.ExpandWithLabel(secret.Copy(c.Expand.Secret), c.Expand.Label, c.Expand.Context, c.Expand.Length).Bytes()
	c.Derive.Secret, c.Derive.Label = random(s.HashSize()), "DeriveSecret"
	c.Derive.Out = s.DeriveSecret(secret.Copy(c.Derive.Secret), c.Derive.Label).Bytes()
	c.Tree.Secret, c.Tree.Label, c.Tree.Generation, c.Tree.Length = random(s.HashSize()), "DeriveTreeSecret", 0xA0A0A0A0, 16
	c.Tree.Out = s.DeriveTreeSecret(secret.Copy(c.Tree.Secret), c.Tree.Label, c.Tree.Generation, c.Tree.Length).Bytes()

	signer, err := s.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	c.Sign.Priv, c.Sign.Pub = signer.Bytes().Bytes(), signer.Public()
	c.Sign.Label, c.Sign.Content = "SignWithLabel", random(64)
	if c.Sign.Signature, err = s.SignWithLabel(signer, c.Sign.Label, c.Sign.Content); err != nil {
		t.Fatal(err)
	}
	key, err := s.GenerateHPKEKey()
	if err != nil {
		t.Fatal(err)
	}
	c.Encrypt.Priv, c.Encrypt.Pub = key.Bytes().Bytes(), key.Public()
	c.Encrypt.Label, c.Encrypt.Context, c.Encrypt.Plaintext = "EncryptWithLabel", random(32), random(64)
	c.Encrypt.KEMOutput, c.Encrypt.Ciphertext, err = s.EncryptWithLabel(c.Encrypt.Pub, c.Encrypt.Label, c.Encrypt.Context, c.Encrypt.Plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return []any{c}
}

func loadCryptoBasics(t *testing.T, data []byte) {
	var cases []basics
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	var count vectors.Cases
	for _, c := range cases {
		s, err := ByID(c.Suite)
		if !count.Take(t, uint16(c.Suite), err) {
			continue
		}
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
	count.Done(t)
}
