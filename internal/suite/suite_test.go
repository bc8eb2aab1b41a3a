package suite

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/parley-im/parley/internal/secret"
)

func eachSuite(t *testing.T, f func(t *testing.T, s *Suite)) {
	for _, s := range All() {
		t.Run(fmt.Sprintf("%04x", uint16(s.ID())), func(t *testing.T) { f(t, s) })
	}
}

func flip(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1
	return c
}

func TestByID(t *testing.T) {
	if len(All()) == 0 {
		t.Fatal("no suites")
	}
	for _, s := range All() {
		if got, err := ByID(s.ID()); err != nil || got != s || got.String() == "" {
			t.Errorf("%v: %v, %v", s.ID(), got, err)
		}
	}
	for _, id := range []ID{1, 2, 3, 4, 5, 6, 7, 0xF0E1, 0xF0E2} { // docs/spec.md
		if _, err := ByID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []ID{0, 8, 0xFFFF, 0xF0E0, 0xF0E3} {
		if _, err := ByID(id); !errors.Is(err, ErrUnknown) {
			t.Errorf("suite %d: %v", id, err)
		}
	}
}

func TestHPKE(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		k, err := s.GenerateHPKEKey()
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.GenerateHPKEKey()
		if err != nil {
			t.Fatal(err)
		}
		pub := k.Public()
		if err := s.CheckHPKEKey(pub); err != nil {
			t.Error(err)
		}
		msg := []byte("a path secret")
		enc, ct, err := s.SealBase(pub, []byte("info"), []byte("aad"), msg)
		if err != nil {
			t.Fatal(err)
		}
		open := func(k HPKEKey, enc []byte, info, aad string, ct []byte) error {
			got, err := s.OpenBase(k, enc, []byte(info), []byte(aad), ct)
			if err == nil && !bytes.Equal(got, msg) {
				return errors.New("opens to something else")
			}
			return err
		}
		if err := open(k, enc, "info", "aad", ct); err != nil {
			t.Error(err)
		}
		for name, err := range map[string]error{
			"another key":       open(other, enc, "info", "aad", ct),
			"another info":      open(k, enc, "inf", "aad", ct),
			"another aad":       open(k, enc, "info", "aa", ct),
			"flipped tag":       open(k, enc, "info", "aad", flip(ct, len(ct)-1)),
			"flipped text":      open(k, enc, "info", "aad", flip(ct, 0)),
			"flipped enc":       open(k, flip(enc, len(enc)-1), "info", "aad", ct),
			"truncated enc":     open(k, enc[:len(enc)-1], "info", "aad", ct),
			"empty enc":         open(k, nil, "info", "aad", ct),
			"longer enc":        open(k, append(bytes.Clone(enc), 0), "info", "aad", ct),
			"truncated":         open(k, enc, "info", "aad", ct[:len(ct)-1]),
			"shorter than tag":  open(k, enc, "info", "aad", ct[:3]),
			"empty":             open(k, enc, "info", "aad", nil),
			"zero enc":          open(k, make([]byte, len(enc)), "info", "aad", ct),
			"a key of no suite": open(k, bytes.Repeat([]byte{0xff}, len(enc)), "info", "aad", ct),
		} {
			if !errors.Is(err, ErrOpen) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, bad := range map[string][]byte{
			"empty": nil, "short": pub[:len(pub)-1], "long": append(bytes.Clone(pub), 0),
		} {
			if err := s.CheckHPKEKey(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%s public key: %v", name, err)
			}
			if _, _, err := s.SealBase(bad, nil, nil, msg); !errors.Is(err, ErrKey) {
				t.Errorf("sealing to a %s public key: %v", name, err)
			}
			if _, _, err := s.ExportTo(bad, nil, "x", 32); !errors.Is(err, ErrKey) {
				t.Errorf("exporting to a %s public key: %v", name, err)
			}
		}
		// All zeros is no point, and on X25519 a point of low order.
		if err := s.CheckHPKEKey(make([]byte, len(pub))); !errors.Is(err, ErrKey) {
			t.Errorf("zeros as a public key: %v", err)
		}
		if _, _, err := s.SealBase(make([]byte, len(pub)), nil, nil, msg); !errors.Is(err, ErrKey) {
			t.Errorf("sealing to zeros: %v", err)
		}

		stored, err := s.NewHPKEKey(k.Bytes().Bytes())
		if err != nil || !bytes.Equal(stored.Public(), pub) {
			t.Errorf("a stored key: %v", err)
		}
		for name, bad := range map[string][]byte{"empty": nil, "short": k.Bytes().Bytes()[1:], "long": append(k.Bytes().Bytes(), 0)} {
			if _, err := s.NewHPKEKey(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%s private key: %v", name, err)
			}
		}

		enc, sent, err := s.ExportTo(pub, []byte("info"), "context", 48)
		if err != nil || sent.Len() != 48 {
			t.Fatal(err)
		}
		if got, err := s.ExportFrom(k, enc, []byte("info"), "context", 48); err != nil || !got.Equal(sent) {
			t.Errorf("ExportFrom: %v", err)
		}
		if got, err := s.ExportFrom(k, enc, []byte("info"), "other", 48); err != nil || got.Equal(sent) {
			t.Errorf("another context exports the same: %v", err)
		}
		if got, err := s.ExportFrom(other, enc, []byte("info"), "context", 48); err == nil && got.Equal(sent) {
			t.Error("another key exports the same")
		}
		if _, err := s.ExportFrom(k, enc[1:], []byte("info"), "context", 48); !errors.Is(err, ErrOpen) {
			t.Errorf("truncated enc: %v", err)
		}
	})
}

func TestDeriveHPKEKey(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		ikm := secret.Random(s.HashSize())
		a, errA := s.DeriveHPKEKey(ikm)
		b, errB := s.DeriveHPKEKey(ikm.Clone())
		c, errC := s.DeriveHPKEKey(secret.Random(s.HashSize()))
		if err := errors.Join(errA, errB, errC); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Public(), b.Public()) || bytes.Equal(a.Public(), c.Public()) {
			t.Error("DeriveKeyPair is not a function of its input")
		}
	})
}

func TestSignatures(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		k, err := s.GenerateSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.GenerateSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		pub, content := k.Public(), []byte("content")
		if err := s.CheckSignatureKey(pub); err != nil {
			t.Error(err)
		}
		sig, err := s.SignWithLabel(k, "label", content)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.VerifyWithLabel(pub, "label", content, sig); err != nil {
			t.Error(err)
		}
		for name, err := range map[string]error{
			"another key":     s.VerifyWithLabel(other.Public(), "label", content, sig),
			"another label":   s.VerifyWithLabel(pub, "labe", append([]byte("l"), content...), sig),
			"another content": s.VerifyWithLabel(pub, "label", flip(content, 0), sig),
			"flipped":         s.VerifyWithLabel(pub, "label", content, flip(sig, len(sig)-1)),
			"truncated":       s.VerifyWithLabel(pub, "label", content, sig[:len(sig)-1]),
			"longer":          s.VerifyWithLabel(pub, "label", content, append(bytes.Clone(sig), 0)),
			"empty":           s.VerifyWithLabel(pub, "label", content, nil),
			"zeros":           s.VerifyWithLabel(pub, "label", content, make([]byte, len(sig))),
			"empty key":       s.VerifyWithLabel(nil, "label", content, sig),
			"truncated key":   s.VerifyWithLabel(pub[:len(pub)-1], "label", content, sig),
		} {
			if !errors.Is(err, ErrSignature) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, bad := range map[string][]byte{"empty": nil, "short": pub[1:], "long": append(bytes.Clone(pub), 0)} {
			if err := s.CheckSignatureKey(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%s public key: %v", name, err)
			}
		}
		stored, err := s.NewSigningKey(k.Bytes().Bytes())
		if err != nil || !bytes.Equal(stored.Public(), pub) {
			t.Errorf("a stored key: %v", err)
		}
		for name, bad := range map[string][]byte{"empty": nil, "short": k.Bytes().Bytes()[1:], "long": append(k.Bytes().Bytes(), 0)} {
			if _, err := s.NewSigningKey(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%s private key: %v", name, err)
			}
		}
	})
}

// Keys of a suite do not print themselves, nor are printed by what holds them
// in a field where fmt calls no methods.
func TestKeysDoNotPrint(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		sk, err := s.GenerateSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		hk, err := s.GenerateHPKEKey()
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			for _, k := range []interface{ Bytes() secret.Key }{sk, hk} {
				out := strings.ToLower(fmt.Sprintf(verb+verb, k, struct{ hidden any }{k}))
				private := k.Bytes().Bytes()
				hexed, listed := fmt.Sprintf("%x", private), strings.Trim(fmt.Sprint(private), "[]")
				if strings.Contains(out, hexed) || strings.Contains(out, listed) || strings.Contains(out, hexed[2:20]) {
					t.Errorf("%s prints a private key of %T", verb, k)
				}
			}
		}
	})
}

func TestAEADAndMAC(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		a := s.AEAD()
		key, nonce := secret.Random(a.KeySize()), make([]byte, NonceSize)
		dst := append(make([]byte, 0, 100), "head"...)
		ct := a.Seal(dst, key, nonce, []byte("text"), []byte("aad"))
		if len(ct) != 4+4+TagSize || string(ct[:4]) != "head" {
			t.Fatalf("%x", ct)
		}
		if got, err := a.Open(nil, key, nonce, ct[4:], []byte("aad")); err != nil || string(got) != "text" {
			t.Errorf("%q, %v", got, err)
		}
		for at := range ct[4:] {
			if _, err := a.Open(nil, key, nonce, flip(ct[4:], at), []byte("aad")); !errors.Is(err, ErrOpen) {
				t.Errorf("byte %d flipped: %v", at, err)
			}
			if _, err := a.Open(nil, key, nonce, ct[4:4+at], []byte("aad")); !errors.Is(err, ErrOpen) {
				t.Errorf("prefix of %d: %v", at, err)
			}
		}
		if _, err := a.Open(nil, key, nonce, ct[4:], []byte("other")); !errors.Is(err, ErrOpen) {
			t.Errorf("another aad: %v", err)
		}
		if _, err := a.Open(nil, secret.Random(a.KeySize()), nonce, ct[4:], []byte("aad")); !errors.Is(err, ErrOpen) {
			t.Errorf("another key: %v", err)
		}
		tag := s.MAC(key, []byte("data"))
		if len(tag) != s.HashSize() || !s.VerifyMAC(key, []byte("data"), tag) || s.VerifyMAC(key, []byte("datum"), tag) ||
			s.VerifyMAC(key, []byte("data"), flip(tag, 0)) || s.VerifyMAC(key, []byte("data"), tag[1:]) || s.VerifyMAC(key, []byte("data"), nil) {
			t.Error("MAC is wrong")
		}
		h := s.NewHash()
		h.Write([]byte("ab"))
		if !bytes.Equal(h.Sum(nil), s.Hash([]byte("a"), []byte("b"))) {
			t.Error("Hash is not NewHash of the concatenation")
		}
		if got := s.Extract(secret.Key{}, key); !got.Equal(s.Extract(secret.New(make([]byte, s.HashSize())), key)) {
			t.Error("an empty salt is not a string of zeros")
		}
	})
}

// Bytes from a peer only ever earn an error.
func FuzzPeerBytes(f *testing.F) {
	for _, s := range All() {
		k, err := s.GenerateHPKEKey()
		if err != nil {
			f.Fatal(err)
		}
		enc, ct, err := s.SealBase(k.Public(), nil, nil, []byte("x"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(s.ID()), k.Public(), enc, ct)
	}
	type keys struct {
		hpke HPKEKey
		sig  SigningKey
	}
	own := map[ID]keys{}
	clamps := map[ID]bool{1: true, 3: true, 4: true, 6: true} // SerializePrivateKey does (RFC 9180, Section 7.1.2)
	for _, s := range All() {
		h, err := s.GenerateHPKEKey()
		if err != nil {
			f.Fatal(err)
		}
		k, err := s.GenerateSigningKey()
		if err != nil {
			f.Fatal(err)
		}
		own[s.ID()] = keys{h, k}
	}
	f.Fuzz(func(t *testing.T, id uint16, a, b, c []byte) {
		s, err := ByID(ID(id))
		if err != nil {
			return
		}
		if err := s.CheckHPKEKey(a); err != nil && !errors.Is(err, ErrKey) {
			t.Error(err)
		}
		if err := s.CheckSignatureKey(a); err != nil && !errors.Is(err, ErrKey) {
			t.Error(err)
		}
		if s.CheckHPKEKey(a) == nil { // then a whole group relies on it
			if _, _, err := s.SealBase(a, nil, nil, nil); err != nil {
				t.Errorf("a good key to which nothing can be sealed: %v", err)
			}
		}
		if k, err := s.NewHPKEKey(a); err == nil && !bytes.Equal(k.Bytes().Bytes(), a) && !clamps[s.ID()] {
			t.Errorf("private key %x becomes %x", a, k.Bytes().Bytes())
		}
		if k, err := s.NewSigningKey(a); err == nil && !bytes.Equal(k.Bytes().Bytes(), a) {
			t.Errorf("private key %x becomes %x", a, k.Bytes().Bytes())
		}
		if _, err := s.OpenBase(own[s.ID()].hpke, b, nil, nil, c); !errors.Is(err, ErrOpen) {
			t.Errorf("OpenBase: %v", err)
		}
		if got, err := s.ExportFrom(own[s.ID()].hpke, b, nil, "", 32); (err != nil && !errors.Is(err, ErrOpen)) || (err == nil && got.Len() != 32) {
			t.Errorf("ExportFrom: %v", err)
		}
		if err := s.VerifyWithLabel(own[s.ID()].sig.Public(), "label", b, c); !errors.Is(err, ErrSignature) {
			t.Errorf("VerifyWithLabel: %v", err)
		}
		if err := s.VerifyWithLabel(a, "label", b, c); err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("VerifyWithLabel: %v", err)
		}
	})
}

// An Encrypter is EncryptWithLabel to each of many keys.
func TestEncrypter(t *testing.T) {
	for _, s := range All() {
		context, plain := []byte("some context"), secret.Random(s.HashSize()).Bytes()
		e := s.NewEncrypter("Welcome", context)
		for range 3 {
			k, err := s.GenerateHPKEKey()
			if err != nil {
				t.Fatal(err)
			}
			enc, ct, err := e.Encrypt(k.Public(), plain)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.DecryptWithLabel(k, "Welcome", context, enc, ct)
			if err != nil || !bytes.Equal(got.Bytes(), plain) {
				t.Errorf("%v: %v", s, err)
			}
			for label, context := range map[string][]byte{"welcome": context, "Welcome": context[1:]} {
				if _, err := s.DecryptWithLabel(k, label, context, enc, ct); !errors.Is(err, ErrOpen) {
					t.Errorf("%v: label %q, context %q: %v", s, label, context, err)
				}
			}
			for _, bad := range [][]byte{nil, k.Public()[1:], make([]byte, len(k.Public()))} {
				if _, _, err := e.Encrypt(bad, plain); !errors.Is(err, ErrKey) {
					t.Errorf("%v: encrypting to %x: %v", s, bad, err)
				}
			}
		}
	}
}

// A key is refused where it comes in if, and only if, encrypting to it fails.
func FuzzX25519Key(f *testing.F) {
	s, err := ByID(X25519AES128GCMEd25519)
	if err != nil {
		f.Fatal(err)
	}
	k, err := s.GenerateHPKEKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(k.Public())
	for low := range lowOrders25519 {
		f.Add(low[:])
		for _, at := range []int{0, 15, 31} {
			near := low
			near[at]++
			f.Add(near[:])
		}
	}
	f.Fuzz(func(t *testing.T, public []byte) {
		_, _, err := s.SealBase(public, nil, nil, nil)
		if _, _, many := s.NewEncrypter("", nil).Encrypt(public, nil); (many == nil) != (err == nil) {
			t.Errorf("%x: %v alone, %v among many", public, err, many)
		}
		if check := s.CheckHPKEKey(public); (check == nil) != (err == nil) {
			t.Errorf("%x: %v where it comes in, %v where it is used", public, check, err)
		}
	})
}
