package ratchet

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/vectors"
)

// The chain step is Signal's, so its published numbers hold here.
func TestChainKeyVector(t *testing.T) {
	var v map[string]string
	vectors.JSON(t, "ratchet/signal_chainkey_kat.json", &v)
	unhex := func(name string) []byte {
		b, err := hex.DecodeString(v[name])
		if err != nil || len(b) != keySize {
			t.Fatalf("%s: %d bytes, %v", name, len(b), err)
		}
		return b
	}
	mk, next := kdfCK(secret.New(unhex("chain_key")))
	if !bytes.Equal(mk[:], unhex("message_seed")) {
		t.Error("message key differs")
	}
	if !bytes.Equal(next[:], unhex("next_chain_key")) {
		t.Error("next chain key differs")
	}
}

// Below is what the second implementation stands on, which reads the vectors: as
// small as it can be, from the specification alone, HKDF written out over HMAC,
// offsets as numbers. It shares with the package only the primitives.

func mac(key []byte, data ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

func plainHKDFExpand(prk, info []byte, n int) (out []byte) {
	var t []byte
	for i := byte(1); len(out) < n; i++ {
		t = mac(prk, t, info, []byte{i})
		out = append(out, t...)
	}
	return out[:n]
}

func plainHKDF(salt, ikm, info []byte, n int) []byte {
	return plainHKDFExpand(mac(salt, ikm), info, n)
}

func lp(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func scalarX(k *secp.PrivateKey, p []byte) []byte {
	return must(k.ECDH(must(secp.ParsePublicKey(p)))).Bytes()
}

// plainHPKEOpen is RFC 9180 in base mode for DHKEM(secp256k1, HKDF-SHA256),
// HKDF-SHA256 and ChaCha20-Poly1305.
func plainHPKEOpen(t *testing.T, k *secp.PrivateKey, enc, info, aad, ct []byte) []byte {
	t.Helper()
	labeled := func(suite []byte) (extract func(salt []byte, label string, ikm []byte) []byte, expand func(prk []byte, label string, info []byte, n int) []byte) {
		extract = func(salt []byte, label string, ikm []byte) []byte {
			return mac(salt, []byte("HPKE-v1"), suite, []byte(label), ikm)
		}
		expand = func(prk []byte, label string, info []byte, n int) []byte {
			return plainHKDFExpand(prk, cat([]byte{byte(n >> 8), byte(n)}, []byte("HPKE-v1"), suite, []byte(label), info), n)
		}
		return extract, expand
	}
	extract, expand := labeled([]byte{'K', 'E', 'M', 0x00, 0x16})
	pk := must(secp.ParseUncompressed(enc))
	dh := must(k.ECDH(pk)).Bytes()
	shared := expand(extract(nil, "eae_prk", dh), "shared_secret", cat(enc, k.PublicKey().Uncompressed()), 32)
	extract, expand = labeled([]byte{'H', 'P', 'K', 'E', 0x00, 0x16, 0x00, 0x01, 0x00, 0x03})
	context := cat([]byte{0}, extract(nil, "psk_id_hash", nil), extract(nil, "info_hash", info))
	prk := extract(shared, "secret", nil)
	c, _ := chacha20poly1305.New(expand(prk, "key", context, 32))
	out, err := c.Open(nil, expand(prk, "base_nonce", context, 12), ct, aad)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWeeks(t *testing.T) {
	var key [InboxKeySize]byte
	at := func(unix int64) Tag { return FirstTag(key, time.Unix(unix, 0)) }
	if at(604799) != at(0) || at(604800) == at(0) || at(-5) != at(0) {
		t.Error("weeks do not begin at multiples of 604800 seconds")
	}
	tags := FirstTags(key, time.Unix(9*604800, 0))
	for i, tag := range tags {
		if tag != at(int64(10-i)*604800) {
			t.Errorf("tag %d of a receiver is of another week", i)
		}
	}
}

func TestHeaderExtensions(t *testing.T) {
	a, b, id := pair(t)
	s := a.load(id)
	seal := func(h *header) Message {
		h.dh, h.pn, h.n = s.dhsPub, s.pn, uint32(s.ns)
		mk, _ := kdfCK(s.cks)
		return Message{messageTag(tagKey(s.hks), h.n), (*meter)(nil).sealMessage(s.hks, tagKey(s.hks), mk[:], id, h, []byte("x"), []byte("ad"), 1024)}
	}
	for name, c := range map[string]struct {
		ext  []ext
		want error
	}{
		"none":       {nil, nil},
		"unknown":    {[]ext{{0, nil}, {0xfffe, []byte("data")}}, nil},
		"descending": {[]ext{{4, nil}, {3, nil}}, ErrDecrypt},
		"twice":      {[]ext{{3, nil}, {3, nil}}, ErrDecrypt},
	} {
		m := seal(&header{ext: c.ext})
		o, err := b.load(id).Decrypt(Incoming{Tag: m.Tag, Body: m.Body, AppAD: []byte("ad")}, testTime)
		if !errors.Is(err, c.want) || err == nil && string(o.Plaintext) != "x" {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestHeaderVersion(t *testing.T) {
	good := (&header{pn: 1, n: 2, ext: []ext{{3, []byte("e")}}}).marshal()
	for i, want := range map[int]error{0: ErrVersion, 1: ErrVersion} {
		bad := bytes.Clone(good)
		bad[i] += 2
		if _, err := parseHeader(bad); !errors.Is(err, want) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for n := range good {
		if _, err := parseHeader(good[:n]); !errors.Is(err, ErrDecrypt) {
			t.Errorf("prefix of %d bytes: %v", n, err)
		}
	}
	if h, err := parseHeader(good); err != nil || !bytes.Equal(h.marshal(), good) {
		t.Errorf("round trip: %v", err)
	}
	if _, err := parseHeader((&header{ext: []ext{{3, make([]byte, MaxExt)}}}).marshal()); !errors.Is(err, ErrDecrypt) {
		t.Errorf("oversized extensions: %v", err)
	}
}
