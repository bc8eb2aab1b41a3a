package ratchet

import (
	"bytes"
	"crypto/hmac"
	"crypto/mlkem"
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
	if !bytes.Equal(mk.Bytes(), unhex("message_seed")) {
		t.Error("message key differs")
	}
	if !bytes.Equal(next.Bytes(), unhex("next_chain_key")) {
		t.Error("next chain key differs")
	}
}

// Below is a second implementation of the receiving side, as small as it can
// be, from the specification alone: HKDF written out over HMAC, offsets as
// numbers. It shares with the package only the primitives.

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

// TestSecondImplementation reads alice's first message, and the answer to it,
// with nothing but bob's (and then alice's) private keys.
func TestSecondImplementation(t *testing.T) {
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	ephemeral, ratchetA := must(secp.GenerateKey()), must(secp.GenerateKey())
	s, err := initiate(a.id, a.ik, b.bundle(), []byte("hello"), ephemeral, ratchetA)
	if err != nil {
		t.Fatal(err)
	}
	s, m0, err := s.Encrypt([]byte("zero"), []byte("ad0"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	s, m1, err := s.Encrypt([]byte("one"), []byte("ad1"), testTime)
	if err != nil {
		t.Fatal(err)
	}

	// The first message, by offsets.
	wantTag := mac(b.inboxKey[:], []byte{0, 0, 1_800_000_000 / 604800 >> 8, 1_800_000_000 / 604800 & 0xff})[:16]
	if !bytes.Equal(m0.Tag[:], wantTag) {
		t.Error("first tag differs")
	}
	open1 := func(m Message) (preamble, inner []byte) {
		x, _ := chacha20poly1305.NewX(plainHKDFExpand(b.inboxKey[:], []byte("parley/1 first seal"), 32))
		plain, err := x.Open(nil, m.Body[:24], m.Body[24:], cat([]byte{1}, m.Tag[:]))
		if err != nil {
			t.Fatal(err)
		}
		n := binary.BigEndian.Uint32(plain[65:])
		info := cat([]byte("parley/1 first"), lp(b.id.Acct[:], b.id.Dev[:]))
		preamble = plainHPKEOpen(t, b.ik, plain[:65], info, cat([]byte{1}, m.Tag[:]), plain[69:69+n])
		return preamble, plain[69+n:]
	}
	p, inner0 := open1(m0)
	_, inner1 := open1(m1)
	id, innerTag, from, ek, ct := p[1:33], p[33:49], p[49:199], p[199:232], p[245:245+1088]
	if p[0] != 1 || !bytes.Equal(p[232:236], []byte{0, 0, 0, 7}) || !bytes.Equal(p[236:241], []byte{1, 0, 0, 0, 100}) ||
		!bytes.Equal(p[241:245], []byte{0, 0, 0, 9}) || !bytes.Equal(p[245+1088:], lp([]byte("hello"))) {
		t.Fatalf("preamble differs: %x", p)
	}
	if !bytes.Equal(ek, ephemeral.PublicKey().Bytes()) {
		t.Fatal("EK_A differs")
	}

	// The handshake.
	spk, opk, kem := b.spk[7], b.opk[100], b.kem[9]
	T := sha256.Sum256(cat(
		lp([]byte("parley/1"), []byte("PQXDH-secp256k1-MLKEM768-SHA256-ChaCha20Poly1305")),
		lp(from[:52], from[52:84], from[84:117], from[117:150]),
		lp(b.id.Acct[:], b.id.Dev[:], b.id.IK.Bytes(), b.id.SK.Bytes()),
		lp(ek, cat([]byte{0, 0, 0, 7}, spk.PublicKey().Bytes()), cat([]byte{0, 0, 0, 100}, opk.PublicKey().Bytes()),
			cat([]byte{0, 0, 0, 9}, kem.Public()), ct)))
	if !bytes.Equal(T[:], id) {
		t.Fatal("T differs")
	}
	dk := must(mlkem.NewDecapsulationKey768(kem.Bytes().Bytes()))
	ss := must(dk.Decapsulate(ct))
	ikm := cat(scalarX(spk, from[84:117]), scalarX(b.ik, ek), scalarX(spk, ek), scalarX(opk, ek), ss)
	out := plainHKDF(make([]byte, 32), ikm, cat([]byte("parley/1 pqxdh"), T[:]), 96)
	rk, hkA, nhkB := out[:32], out[32:64], out[64:]

	read := func(tag, body, hk, ck []byte, n uint32, appAD string) (dh []byte, pt, nextCK []byte) {
		t.Helper()
		tk := plainHKDFExpand(hk, []byte("parley/1 tag"), 32)
		if !bytes.Equal(tag, mac(tk, binary.BigEndian.AppendUint64(nil, uint64(n)))[:16]) {
			t.Fatal("tag differs")
		}
		mask := mac(tk, body[:24])
		if body[28]^mask[4]|body[29]^mask[5]|body[30]^mask[6]|body[31]^mask[7] != 0 {
			t.Fatal("mask differs")
		}
		size := binary.BigEndian.Uint32(body[24:]) ^ binary.BigEndian.Uint32(mask)
		if size != 63 {
			t.Fatalf("sealed header of %d bytes", size)
		}
		x, _ := chacha20poly1305.NewX(hk)
		h, err := x.Open(nil, body[:24], body[32:95], cat(T[:], body[95:]))
		if err != nil {
			t.Fatal(err)
		}
		if h[0] != 1 || h[1] != 0 || binary.BigEndian.Uint32(h[39:]) != n || !bytes.Equal(h[43:], make([]byte, 4)) {
			t.Fatalf("header differs: %x", h)
		}
		if ck == nil {
			return h[2:35], nil, nil
		}
		kn := plainHKDFExpand(mac(ck, []byte{1}), cat([]byte("parley/1 msg"), body[:24]), 44)
		c, _ := chacha20poly1305.New(kn[:32])
		padded, err := c.Open(nil, kn[32:], body[95:], cat(T[:], lp(cat(body[:24], h), []byte(appAD))))
		if err != nil {
			t.Fatal(err)
		}
		pt = bytes.TrimRight(padded, "\x00")
		if pt[len(pt)-1] != 0x80 {
			t.Fatal("padding differs")
		}
		return h[2:35], pt[:len(pt)-1], mac(ck, []byte{2})
	}

	dhA, _, _ := read(innerTag, inner0, hkA, nil, 0, "")
	out = plainHKDF(rk, scalarX(spk, dhA), []byte("parley/1 ratchet"), 96)
	rk, ck, nhkA := out[:32], out[32:64], out[64:]
	_, pt0, ck1 := read(innerTag, inner0, hkA, ck, 0, "ad0")
	tk := plainHKDFExpand(hkA, []byte("parley/1 tag"), 32)
	_, pt1, _ := read(mac(tk, binary.BigEndian.AppendUint64(nil, 1))[:16], inner1, hkA, ck1, 1, "ad1")
	if string(pt0) != "zero" || string(pt1) != "one" {
		t.Fatalf("read %q and %q", pt0, pt1)
	}

	// The answer, which bob's package writes, read as alice.
	f := must(PeekFirst(b.id, b.ik, b.inboxKey, m0, testTime))
	o := must(f.Accept(b.id, b.ik, b, []byte("ad0"), testTime))
	_, answer, err := o.Session.Encrypt([]byte("two"), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	hkB := bytes.Clone(nhkB)
	dhB, _, _ := read(answer.Tag[:], answer.Body, hkB, nil, 0, "")
	out = plainHKDF(rk, scalarX(ratchetA, dhB), []byte("parley/1 ratchet"), 96)
	rk, ck, nhkB = out[:32], out[32:64], out[64:]
	if _, pt, _ := read(answer.Tag[:], answer.Body, hkB, ck, 0, ""); string(pt) != "two" {
		t.Fatalf("read %q", pt)
	}

	// And alice's package comes to the same keys.
	oa := must(s.Decrypt(Incoming{Tag: answer.Tag, Body: answer.Body}, testTime))
	if !bytes.Equal(oa.Session.rk.Bytes(), rk) || !bytes.Equal(oa.Session.nhkr.Bytes(), nhkB) || !bytes.Equal(oa.Session.nhks.Bytes(), nhkA) {
		t.Error("keys after the answer differ")
	}
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
		return Message{messageTag(tagKey(s.hks), h.n), (*meter)(nil).sealMessage(s.hks, mk, id, h, []byte("x"), []byte("ad"), 1024)}
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
