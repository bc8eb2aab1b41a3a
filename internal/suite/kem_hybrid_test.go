package suite

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha3"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/vectors"
)

var update = flag.Bool("update", false, "write testdata/hpke-f0e2.json anew")

// hybridVectors is what a second implementation of suite 0xF0E2 can be tried
// on, in the manner of the test vectors of RFC 9180.
const hybridVectors = "testdata/hpke-f0e2.json"

type hybridCase struct {
	Mode        int         `json:"mode"`
	KEM         uint16      `json:"kem_id"`
	KDF         uint16      `json:"kdf_id"`
	AEAD        uint16      `json:"aead_id"`
	Info        vectors.Hex `json:"info"`
	IKMR        vectors.Hex `json:"ikmR"`
	SkRm        vectors.Hex `json:"skRm"`
	PkRm        vectors.Hex `json:"pkRm"`
	M           vectors.Hex `json:"m"`    // randomness of ML-KEM.Encaps
	SkEm        vectors.Hex `json:"skEm"` // ephemeral scalar
	Enc         vectors.Hex `json:"enc"`
	Shared      vectors.Hex `json:"shared_secret"`
	Key         vectors.Hex `json:"key"`
	Nonce       vectors.Hex `json:"base_nonce"`
	Exporter    vectors.Hex `json:"exporter_secret"`
	AAD         vectors.Hex `json:"aad"`
	PT          vectors.Hex `json:"pt"`
	CT          vectors.Hex `json:"ct"`
	Context     vectors.Hex `json:"exporter_context"`
	Exported    vectors.Hex `json:"exported_value"`
	OtherEnc    vectors.Hex `json:"altered_enc"` // enc with one bit of its ML-KEM half turned
	OtherShared vectors.Hex `json:"altered_shared_secret"`
}

// fill computes a case from its inputs: info, ikmR, m, skEm, aad, pt and
// exporter_context.
func (c *hybridCase) fill(t *testing.T) {
	t.Helper()
	s := ownHPKE{kemMLKEM768Secp256k1, hkdfSHA256, chaCha20Poly1305}
	c.KEM, c.KDF, c.AEAD = s.kemID(), s.kdf.id, s.aead.id
	r, err := s.derive(c.IKMR)
	if err != nil {
		t.Fatal(err)
	}
	c.SkRm, c.PkRm = r.Bytes().Bytes(), r.Public()

	pq, pkT, err := kemMLKEM768Secp256k1.split(c.PkRm)
	if err != nil {
		t.Fatal(err)
	}
	ssPQ, ctPQ, err := mlkemtest.Encapsulate768(pq, c.M)
	if err != nil {
		t.Fatal(err)
	}
	e, err := secpGroup{}.parse(c.SkEm)
	if err != nil {
		t.Fatal(err)
	}
	c.Enc, c.Shared, err = kemMLKEM768Secp256k1.encapWith(e, ssPQ, ctPQ, pkT)
	if err != nil {
		t.Fatal(err)
	}
	key, nonce := s.keys(bytes.Clone(c.Shared), s.context(c.Info))
	c.Key, c.Nonce, c.Exporter = key.Bytes(), nonce, s.exporter(bytes.Clone(c.Shared), s.context(c.Info))
	c.CT = s.aead.Seal(nil, key, nonce, c.PT, c.AAD)
	c.Exported = s.export(bytes.Clone(c.Shared), c.Info, string(c.Context), 32)
	c.OtherEnc = flip(c.Enc, 100)
	if c.OtherShared, err = s.decap(r, c.OtherEnc); err != nil {
		t.Fatal(err)
	}
}

func TestHybridVectors(t *testing.T) {
	if *update {
		var cases []hybridCase
		x := sha3.NewSHAKE256()
		x.Write([]byte("parley/1 test vectors of KEM 0xF0E2"))
		for range 3 {
			next := func() []byte { b := make([]byte, 32); x.Read(b); return b }
			c := hybridCase{
				Info: []byte("parley info"), IKMR: next(), M: next(), SkEm: next(),
				AAD: []byte("parley aad"), PT: []byte("a path secret"), Context: []byte("parley context"),
			}
			c.fill(t)
			cases = append(cases, c)
		}
		data, err := json.MarshalIndent(cases, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(hybridVectors, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(hybridVectors)
	if err != nil {
		t.Fatal(err)
	}
	var cases []hybridCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	s, err := ByID(MLKEM768Secp256k1ChaCha20Poly1305)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		again := hybridCase{Info: c.Info, IKMR: c.IKMR, M: c.M, SkEm: c.SkEm, AAD: c.AAD, PT: c.PT, Context: c.Context}
		again.fill(t)
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(again); err != nil || !bytes.Equal(got, want) {
			t.Errorf("case %d is now %s, %v", i, got, err)
		}
		// The same by what the package exports.
		k, err := s.NewHPKEKey(c.SkRm)
		if err != nil || !bytes.Equal(k.Public(), c.PkRm) {
			t.Fatalf("case %d: the key: %v", i, err)
		}
		if got, err := s.OpenBase(k, c.Enc, c.Info, c.AAD, c.CT); err != nil || !bytes.Equal(got, c.PT) {
			t.Errorf("case %d: opens to %q, %v", i, got, err)
		}
		if got, err := s.ExportFrom(k, c.Enc, c.Info, string(c.Context), 32); err != nil || !bytes.Equal(got.Bytes(), c.Exported) {
			t.Errorf("case %d: exports %x, %v", i, got.Bytes(), err)
		}
	}
	t.Logf("%d cases ran", len(cases))
}

// Everything that is not a key or an enc of the right sizes, with a reduced
// ML-KEM half and a point on the curve in the one encoding, is refused.
func TestHybridRefuses(t *testing.T) {
	s, err := ByID(MLKEM768Secp256k1ChaCha20Poly1305)
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.GenerateHPKEKey()
	if err != nil {
		t.Fatal(err)
	}
	const n = mlkem.EncapsulationKeySize768
	public := k.Public()
	enc, ct, err := s.SealBase(public, nil, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if len(public) != 1249 || len(enc) != 1153 || k.Bytes().Len() != 32 {
		t.Fatalf("sizes %d, %d, %d", len(public), len(enc), k.Bytes().Len())
	}
	point, err := secp.ParseUncompressed(public[n:])
	if err != nil {
		t.Fatal(err)
	}
	over := bytes.Clone(public)
	over[0], over[1] = 0x01, over[1]&0xf0|0x0d // the first coefficient is q = 3329
	atMost := bytes.Clone(public)
	atMost[0], atMost[1] = 0x00, atMost[1]&0xf0|0x0d // q - 1
	if err := s.CheckHPKEKey(atMost); err != nil {
		t.Errorf("a coefficient of q - 1: %v", err)
	}
	ends := func(b []byte) map[string][]byte { // what can be wrong with the point at the end of b
		half := b[:len(b)-secp.UncompressedSize]
		with := func(p []byte) []byte { return append(bytes.Clone(half), p...) }
		parity := with(point.Uncompressed())
		parity[len(half)] = 6 | parity[len(parity)-1]&1
		return map[string][]byte{
			"off the curve": flip(b, len(b)-1), "infinity": with([]byte{0}), "zeros": with(make([]byte, 65)),
			"compressed": with(point.Bytes()), "hybrid encoding": with(parity), "no point": with(nil),
			"x not reduced": with(bytes.Repeat([]byte{0xff}, 65)),
		}
	}
	badKeys := ends(public)
	badKeys["a coefficient of q"] = over
	badKeys["only a point"] = public[n:]
	badKeys["in the other order"] = append(point.Uncompressed(), public[:n]...)
	for name, bad := range badKeys {
		if err := s.CheckHPKEKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("key %s: %v", name, err)
		}
		if _, _, err := s.SealBase(bad, nil, nil, nil); !errors.Is(err, ErrKey) {
			t.Errorf("sealing to a key %s: %v", name, err)
		}
		if _, _, err := s.ExportTo(bad, nil, "", 32); !errors.Is(err, ErrKey) {
			t.Errorf("exporting to a key %s: %v", name, err)
		}
	}
	badEnc := ends(enc)
	badEnc["only a point"] = enc[len(enc)-65:]
	for name, bad := range badEnc {
		if _, err := s.OpenBase(k, bad, nil, nil, ct); !errors.Is(err, ErrOpen) {
			t.Errorf("enc %s: %v", name, err)
		}
		if _, err := s.ExportFrom(k, bad, nil, "", 32); !errors.Is(err, ErrOpen) {
			t.Errorf("exporting from enc %s: %v", name, err)
		}
	}
	for i := range enc {
		if _, err := s.OpenBase(k, enc[:i], nil, nil, ct); !errors.Is(err, ErrOpen) {
			t.Fatalf("%d bytes of enc: %v", i, err)
		}
	}
	for i := range public {
		if err := s.CheckHPKEKey(public[:i]); !errors.Is(err, ErrKey) {
			t.Fatalf("%d bytes of a key: %v", i, err)
		}
	}
	// A key of another suite is none of this one, nor the other way.
	classical, err := ByID(Secp256k1ChaCha20Poly1305)
	if err != nil {
		t.Fatal(err)
	}
	other, err := classical.GenerateHPKEKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenBase(other, enc, nil, nil, ct); !errors.Is(err, ErrKey) {
		t.Errorf("a key of 0xF0E1: %v", err)
	}
	if _, err := classical.OpenBase(k, enc, nil, nil, ct); !errors.Is(err, ErrKey) {
		t.Errorf("a key of 0xF0E2 in 0xF0E1: %v", err)
	}
}

// The secret depends on both halves, on the point, on the key's point and on
// the label.
func TestHybridCombines(t *testing.T) {
	k, err := kemMLKEM768Secp256k1.generate()
	if err != nil {
		t.Fatal(err)
	}
	other, err := kemMLKEM768Secp256k1.generate()
	if err != nil {
		t.Fatal(err)
	}
	enc, shared, err := kemMLKEM768Secp256k1.encap(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	enc2, _, err := kemMLKEM768Secp256k1.encap(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := kemMLKEM768Secp256k1.decap(k, enc); err != nil || !bytes.Equal(got, shared) {
		t.Fatalf("%x, %v, want %x", got, err, shared)
	}
	const n = mlkem.CiphertextSize768
	own, others := k.(*hybridKey), other.(*hybridKey)
	label := kemMLKEM768Secp256k1
	label.label += "x"
	for name, c := range map[string]struct {
		kem hybridKEM
		key HPKEKey
		enc []byte
	}{
		"another ciphertext of ML-KEM":       {kemMLKEM768Secp256k1, k, append(bytes.Clone(enc2[:n]), enc[n:]...)},
		"another point":                      {kemMLKEM768Secp256k1, k, append(bytes.Clone(enc[:n]), enc2[n:]...)},
		"another key of ML-KEM":              {kemMLKEM768Secp256k1, &hybridKey{pq: others.pq, t: own.t, public: own.public}, enc},
		"another scalar":                     {kemMLKEM768Secp256k1, &hybridKey{pq: own.pq, t: others.t, public: own.public}, enc},
		"another key's point in the context": {kemMLKEM768Secp256k1, &hybridKey{pq: own.pq, t: own.t, public: others.public}, enc},
		"another label":                      {label, k, enc},
	} {
		if got, err := c.kem.decap(c.key, c.enc); err != nil || bytes.Equal(got, shared) || len(got) != 32 {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

// ML-KEM-768 of the library, reached as the hybrid KEM reaches it.
func TestWycheproofMLKEM768(t *testing.T) {
	type file struct {
		TestGroups []struct {
			Tests []struct {
				TcID              int `json:"tcId"`
				Comment           string
				Seed, EK, C, K, M vectors.Hex
				Result            string
			}
		} `json:"testGroups"`
	}
	e, err := secpGroup{}.generate()
	if err != nil {
		t.Fatal(err)
	}
	point := e.Public()
	valid, invalid := 0, 0
	count := func(result string) bool {
		if result == "valid" {
			valid++
			return true
		}
		invalid++
		return false
	}
	h := kemMLKEM768Secp256k1
	wantShared := func(k []byte) []byte {
		ssT, err := e.dh(point)
		if err != nil {
			t.Fatal(err)
		}
		return h.combine(bytes.Clone(k), ssT, point, point)
	}

	var keys, decaps, encaps file
	vectors.JSON(t, "wycheproof/mlkem_768_keygen_seed_test.json", &keys)
	for _, g := range keys.TestGroups {
		for _, c := range g.Tests {
			k, err := mlkem.NewDecapsulationKey768(c.Seed)
			if (err == nil && bytes.Equal(k.EncapsulationKey().Bytes(), c.EK)) != count(c.Result) {
				t.Errorf("key %d (%s): %v", c.TcID, c.Comment, err)
			}
		}
	}
	vectors.JSON(t, "wycheproof/mlkem_768_test.json", &decaps)
	for _, g := range decaps.TestGroups {
		for _, c := range g.Tests {
			good := count(c.Result)
			pq, err := mlkem.NewDecapsulationKey768(c.Seed)
			if err != nil {
				if good {
					t.Errorf("decaps %d (%s): %v", c.TcID, c.Comment, err)
				}
				continue
			}
			k := &hybridKey{pq: pq, t: e, public: append(pq.EncapsulationKey().Bytes(), point...)}
			got, err := h.decap(k, append(bytes.Clone(c.C), point...))
			if good && (err != nil || !bytes.Equal(got, wantShared(c.K))) || !good && !errors.Is(err, ErrOpen) {
				t.Errorf("decaps %d (%s): %x, %v", c.TcID, c.Comment, got, err)
			}
		}
	}
	vectors.JSON(t, "wycheproof/mlkem_768_encaps_test.json", &encaps)
	for _, g := range encaps.TestGroups {
		for _, c := range g.Tests {
			good := count(c.Result)
			pq, pkT, err := h.split(append(bytes.Clone(c.EK), point...))
			if !good {
				if !errors.Is(err, ErrKey) {
					t.Errorf("encaps %d (%s): %v", c.TcID, c.Comment, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("encaps %d (%s): %v", c.TcID, c.Comment, err)
			}
			ss, ct, err := mlkemtest.Encapsulate768(pq, c.M)
			if err != nil || !bytes.Equal(ss, c.K) || !bytes.Equal(ct, c.C) {
				t.Fatalf("encaps %d (%s): %v", c.TcID, c.Comment, err)
			}
			enc, shared, err := h.encapWith(e, ss, ct, pkT)
			if err != nil || !bytes.Equal(enc, append(bytes.Clone(c.C), point...)) || !bytes.Equal(shared, wantShared(c.K)) {
				t.Errorf("encaps %d (%s): %v", c.TcID, c.Comment, err)
			}
		}
	}
	t.Logf("%d valid and %d invalid cases ran", valid, invalid)
	if valid == 0 || invalid == 0 {
		t.Fatal("a kind of case is missing")
	}
}
