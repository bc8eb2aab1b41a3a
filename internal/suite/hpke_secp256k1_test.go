package suite

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/vectors"
)

// exportOnly stands for AEAD 0xFFFF, of which only the exporter can be tested.
var exportOnly = &AEAD{id: 0xFFFF}

func mustDerive(t *testing.T, ikm, wantPrivate, wantPublic []byte) HPKEKey {
	t.Helper()
	k, err := kemSecp256k1.derive(ikm)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(k.Bytes().Bytes(), wantPrivate) || !bytes.Equal(k.Public(), wantPublic) {
		t.Fatalf("DeriveKeyPair(%x) gives %x, want %x", ikm, k.Public(), wantPublic)
	}
	return k
}

// checkKEM encapsulates with a fixed ephemeral key, decapsulates, and returns
// the shared secret after comparing it.
func checkKEM(t *testing.T, e, r HPKEKey, want []byte) []byte {
	t.Helper()
	enc, shared, err := kemSecp256k1.encapWith(e.(dhKey), r.Public())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(enc, e.Public()) || !bytes.Equal(shared, want) {
		t.Fatalf("Encap gives %x, want %x", shared, want)
	}
	shared, err = kemSecp256k1.decap(r, enc)
	if err != nil || !bytes.Equal(shared, want) {
		t.Fatalf("Decap gives %x, %v, want %x", shared, err, want)
	}
	return shared
}

func TestHPKESecp256k1Draft(t *testing.T) {
	var cases []struct {
		AEAD, Mode                               string
		Info, IKME, SkEm, PkEm, IKMR, SkRm, PkRm vectors.Hex
		Shared                                   vectors.Hex `json:"shared_secret"`
		Key                                      vectors.Hex
		Nonce                                    vectors.Hex `json:"base_nonce"`
		Exporter                                 vectors.Hex `json:"exporter_secret"`
	}
	vectors.JSON(t, "hpke-secp256k1/draft-wahby-01-vectors.json", &cases)
	aeads := map[string]*AEAD{"AES-128-GCM": aes128GCM, "AES-256-GCM": aes256GCM, "ChaCha20-Poly1305": chaCha20Poly1305}
	ran, skipped := 0, 0
	for i, c := range cases {
		if c.Mode != "Base" {
			skipped++
			continue // we have no other
		}
		ran++
		s := ownHPKE{kemSecp256k1, hkdfSHA256, aeads[c.AEAD]}
		shared := checkKEM(t, mustDerive(t, c.IKME, c.SkEm, c.PkEm), mustDerive(t, c.IKMR, c.SkRm, c.PkRm), c.Shared)
		key, nonce := s.keys(bytes.Clone(shared), s.context(c.Info))
		exporter := s.exporter(bytes.Clone(shared), s.context(c.Info))
		if !bytes.Equal(key.Bytes(), c.Key) || !bytes.Equal(nonce, c.Nonce) || !bytes.Equal(exporter, c.Exporter) {
			t.Errorf("case %d: the key schedule differs", i)
		}
	}
	t.Logf("%d cases ran, %d of other modes did not", ran, skipped)
	if ran != 9 {
		t.Fatalf("%d cases ran, not 9", ran)
	}
}

func TestHPKESecp256k1Payjoin(t *testing.T) {
	var cases []struct {
		Mode                                     int
		KEM                                      uint16 `json:"kem_id"`
		KDF                                      uint16 `json:"kdf_id"`
		AEAD                                     uint16 `json:"aead_id"`
		Info, IKME, SkEm, PkEm, IKMR, SkRm, PkRm vectors.Hex
		Shared                                   vectors.Hex `json:"shared_secret"`
		Exporter                                 vectors.Hex `json:"exporter_secret"`
		Nonce                                    vectors.Hex `json:"base_nonce"`
		Encryptions                              []struct{ PT, AAD, CT vectors.Hex }
		Exports                                  []struct {
			Context vectors.Hex `json:"exporter_context"`
			L       int
			Value   vectors.Hex `json:"exported_value"`
		}
	}
	vectors.JSON(t, "hpke-secp256k1/payjoin-test-vectors-k256.json", &cases)
	aeads := map[uint16]*AEAD{1: aes128GCM, 2: aes256GCM, 3: chaCha20Poly1305, 0xFFFF: exportOnly}
	ran, skipped, sealed, exported := 0, 0, 0, 0
	for i, c := range cases {
		if c.Mode != 0 {
			skipped++
			continue // we have no other
		}
		if c.KEM != kemSecp256k1.id || c.KDF != hkdfSHA256.id || aeads[c.AEAD] == nil {
			t.Fatalf("case %d: KEM %#x, KDF %#x, AEAD %#x", i, c.KEM, c.KDF, c.AEAD)
		}
		ran++
		s := ownHPKE{kemSecp256k1, hkdfSHA256, aeads[c.AEAD]}
		r := mustDerive(t, c.IKMR, c.SkRm, c.PkRm)
		e := mustDerive(t, c.IKME, c.SkEm, c.PkEm)
		shared := checkKEM(t, e, r, c.Shared)
		key, nonce := s.keys(bytes.Clone(shared), s.context(c.Info))
		exporter := s.exporter(bytes.Clone(shared), s.context(c.Info))
		if !bytes.Equal(exporter, c.Exporter) || (s.aead != exportOnly && !bytes.Equal(nonce, c.Nonce)) {
			t.Errorf("case %d: the key schedule differs", i)
		}
		for n, x := range c.Encryptions {
			// The file's own nonces are each that of the encryption after.
			at := bytes.Clone(nonce)
			binary.BigEndian.PutUint64(at[4:], binary.BigEndian.Uint64(at[4:])^uint64(n))
			if got := s.aead.Seal(nil, key, at, x.PT, x.AAD); !bytes.Equal(got, x.CT) {
				t.Errorf("case %d, encryption %d: %x, want %x", i, n, got, x.CT)
			}
			if n > 0 {
				continue // only the first can be opened: we have single-shot contexts
			}
			sealed++
			got, err := s.open(r, e.Public(), c.Info, x.AAD, x.CT)
			if err != nil || !bytes.Equal(got, x.PT) {
				t.Errorf("case %d: open: %x, %v", i, got, err)
			}
		}
		for n, x := range c.Exports {
			exported++
			got, err := s.exportFrom(r, e.Public(), c.Info, string(x.Context), x.L)
			if err != nil || !bytes.Equal(got, x.Value) {
				t.Errorf("case %d, export %d: %x, %v, want %x", i, n, got, err, x.Value)
			}
		}
	}
	t.Logf("%d cases ran, with %d encryptions and %d exports; %d of other modes did not", ran, sealed, exported, skipped)
	if ran != 4 || sealed != 3 || exported == 0 {
		t.Fatalf("%d cases, %d first encryptions, %d exports ran", ran, sealed, exported)
	}
}

// A key made for another use of the same curve is the same key.
func TestSecp256k1KeysAreShared(t *testing.T) {
	s, err := ByID(Secp256k1ChaCha20Poly1305)
	if err != nil {
		t.Fatal(err)
	}
	k, err := secp.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	if got := Secp256k1SigningKey(k).Public(); !bytes.Equal(got, k.PublicKey().Bytes()) || len(got) != 33 {
		t.Errorf("signature key %x", got)
	}
	own := Secp256k1HPKEKey(k)
	if got := own.Public(); !bytes.Equal(got, k.PublicKey().Uncompressed()) || len(got) != 65 {
		t.Errorf("HPKE key %x", got)
	}
	again, err := s.NewHPKEKey(own.Bytes().Bytes())
	if err != nil || !bytes.Equal(again.Public(), own.Public()) {
		t.Errorf("stored and read: %v", err)
	}
	enc, ct, err := s.SealBase(own.Public(), []byte("info"), []byte("aad"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.OpenBase(again, enc, []byte("info"), []byte("aad"), ct); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	low, err := s.SignWithLabel(Secp256k1SigningKey(k), "x", []byte("content"))
	if err != nil || len(low) != 64 {
		t.Fatalf("a signature of %d bytes, %v", len(low), err)
	}
}
