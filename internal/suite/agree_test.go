package suite

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha3"
	"errors"
	"fmt"
	"testing"

	circl "github.com/cloudflare/circl/hpke"

	"github.com/parley-im/parley/internal/secret"
)

// p256Group puts P-256 in the place of secp256k1: what is then built on it is
// what crypto/hpke has too.
var p256Group = ecdhGroup{ecdh.P256()}

var kemMLKEM768P256 = hybridKEM{id: 0x0050, label: "MLKEM768-P256", group: p256Group, pointSize: 65, scalarSize: 32}

// standard is crypto/hpke by the numbers of the registries.
func standard(t testing.TB, kem, kdf, aead uint16) stdHPKE {
	t.Helper()
	k, errKEM := hpke.NewKEM(kem)
	f, errKDF := hpke.NewKDF(kdf)
	a, errAEAD := hpke.NewAEAD(aead)
	if err := errors.Join(errKEM, errKDF, errAEAD); err != nil {
		t.Fatal(err)
	}
	return stdHPKE{k, f, a}
}

// agree checks that two implementations are one: keys derived and parsed, what
// either seals the other opens, what either exports the other exports, and what
// either refuses the other refuses.
func agree(t *testing.T, a, b hpkeScheme, ikmSize int) {
	t.Helper()
	const rounds = 20
	for _, pair := range [][2]hpkeScheme{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		for range 4 {
			ikm := secret.Random(ikmSize).Bytes()
			k, err := from.derive(ikm)
			if err != nil {
				t.Fatal(err)
			}
			other, err := to.derive(ikm)
			if err != nil || !bytes.Equal(other.Public(), k.Public()) {
				t.Fatalf("DeriveKeyPair(%x): %v", ikm, err)
			}
		}
		k, err := from.generate()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := to.parse(k.Bytes().Bytes())
		if err != nil || !bytes.Equal(theirs.Public(), k.Public()) {
			t.Fatalf("a private key: %v", err)
		}
		if err := to.checkPublic(k.Public()); err != nil {
			t.Fatal(err)
		}
		for n := range rounds {
			info, aad, msg := secret.Random(n*n).Bytes(), secret.Random(n).Bytes(), secret.Random(3*n).Bytes()
			enc, ct, err := from.seal(k.Public(), info, aad, msg)
			if err != nil {
				t.Fatal(err)
			}
			got, err := to.open(theirs, enc, info, aad, ct)
			if err != nil || !bytes.Equal(got, msg) {
				t.Fatalf("sealed by %T, opened by %T: %v", from, to, err)
			}
			if _, err := to.open(theirs, enc, info, aad, flip(ct, n%len(ct))); !errors.Is(err, ErrOpen) {
				t.Fatalf("a flipped ciphertext: %v", err)
			}
			enc, sent, err := from.exportTo(k.Public(), info, string(aad), n+1)
			if err != nil {
				t.Fatal(err)
			}
			got, err = to.exportFrom(theirs, enc, info, string(aad), n+1)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("exported by %T, then by %T: %v", from, to, err)
			}
			bad := flip(enc, n*len(enc)/rounds) // ML-KEM refuses none, a curve most
			ours, err := from.exportFrom(k, bad, info, "", 32)
			got, errTo := to.exportFrom(theirs, bad, info, "", 32)
			if !bytes.Equal(ours, got) || (err == nil) != (errTo == nil) || (err != nil && !errors.Is(errTo, ErrOpen)) {
				t.Fatalf("a flipped enc: %x, %v, and %x, %v", ours, err, got, errTo)
			}
			bad = flip(k.Public(), n*len(k.Public())/rounds)
			if errA, errB := from.checkPublic(bad), to.checkPublic(bad); (errA == nil) != (errB == nil) {
				t.Fatalf("a flipped public key: %v, %v", errA, errB)
			}
		}
	}
}

// What crypto/hpke has is what the table says, number by number.
func TestAgreesWithStandardLibrary(t *testing.T) {
	for id, n := range map[ID][3]uint16{ // KEM, KDF, AEAD of RFC 9420, Section 17.1
		1: {0x0020, 0x0001, 0x0001},
		2: {0x0010, 0x0001, 0x0001},
		3: {0x0020, 0x0001, 0x0003},
		5: {0x0012, 0x0003, 0x0002},
		7: {0x0011, 0x0002, 0x0002},
	} {
		t.Run(fmt.Sprintf("suite %d", id), func(t *testing.T) {
			s, err := ByID(id)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, s.hpke, standard(t, n[0], n[1], n[2]), s.HashSize())
			agree(t, s.many, standard(t, n[0], n[1], n[2]), s.HashSize())
		})
	}
	for _, a := range []*AEAD{aes128GCM, aes256GCM, chaCha20Poly1305} {
		t.Run(fmt.Sprintf("own P-256, AEAD %d", a.id), func(t *testing.T) {
			agree(t, ownHPKE{kemP256, hkdfSHA256, a}, standard(t, 0x0010, 0x0001, a.id), 32)
		})
		t.Run(fmt.Sprintf("own MLKEM768-P256, AEAD %d", a.id), func(t *testing.T) {
			agree(t, ownHPKE{kemMLKEM768P256, hkdfSHA256, a}, standard(t, 0x0050, 0x0001, a.id), 32)
			agree(t, ownHPKE{kemMLKEM768P256, hkdfSHA512, a}, standard(t, 0x0050, 0x0003, a.id), 64)
		})
	}
}

// A scalar that is refused is followed by the next, as in crypto/hpke, where
// the chance of seeing one is too small for a test.
func TestRefusedCandidates(t *testing.T) {
	for refused := range 4 {
		g := &picky{p256Group, refused}
		ikm := secret.Random(32).Bytes()
		kem := kemP256
		kem.group = g
		k, err := kem.derive(ikm)
		if err != nil {
			t.Fatal(err)
		}
		prk := hkdfSHA256.extract(kem.suiteID(), nil, "dkp_prk", ikm)
		if want := hkdfSHA256.expand(kem.suiteID(), prk, "candidate", []byte{byte(refused)}, 32); !bytes.Equal(k.Bytes().Bytes(), want) {
			t.Errorf("DHKEM, %d refused: another scalar", refused)
		}

		g.refuse = refused
		hybrid := kemMLKEM768P256
		hybrid.group = g
		seed := secret.Random(hybridSeedSize)
		h := hybrid.expand(seed.Clone())
		stream := make([]byte, 64+32*(refused+1))
		x := sha3.NewSHAKE256()
		x.Write(seed.Bytes())
		x.Read(stream)
		if !bytes.Equal(h.t.Bytes().Bytes(), stream[64+32*refused:]) || !bytes.Equal(h.pq.Bytes(), stream[:64]) {
			t.Errorf("hybrid, %d refused: other keys", refused)
		}
	}
	kem := kemP256
	kem.group = &picky{p256Group, 1000}
	if _, err := kem.derive(nil); !errors.Is(err, ErrKey) {
		t.Errorf("all refused: %v", err)
	}
}

// picky refuses the next keys it is asked to parse.
type picky struct {
	ecdhGroup
	refuse int
}

func (g *picky) parse(private []byte) (dhKey, error) {
	if g.refuse > 0 {
		g.refuse--
		return nil, ErrKey
	}
	return g.ecdhGroup.parse(private)
}

// circlHPKE is the HPKE of circl, which has X448.
type circlHPKE struct {
	kem   circl.KEM
	suite circl.Suite
}

func (s circlHPKE) derive(ikm []byte) (HPKEKey, error) {
	_, k := s.kem.Scheme().DeriveKeyPair(ikm)
	b, err := k.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return s.parse(b)
}

func (s circlHPKE) parse(private []byte) (HPKEKey, error) {
	k, err := s.kem.Scheme().UnmarshalBinaryPrivateKey(private)
	if err != nil {
		return nil, ErrKey
	}
	public, err := k.Public().MarshalBinary()
	return fixedKey{public, private}, err
}

func (s circlHPKE) generate() (HPKEKey, error) {
	return s.derive(secret.Random(s.kem.Scheme().SeedSize()).Bytes())
}

// fixedKey is the two halves of a key as they are serialised.
type fixedKey struct{ public, private []byte }

func (k fixedKey) Public() []byte    { return k.public }
func (k fixedKey) Bytes() secret.Key { return secret.Copy(k.private) }

func (s circlHPKE) sender(public, info []byte) ([]byte, circl.Sealer, error) {
	pk, err := s.kem.Scheme().UnmarshalBinaryPublicKey(public)
	if err != nil {
		return nil, nil, ErrKey
	}
	sender, err := s.suite.NewSender(pk, info)
	if err != nil {
		return nil, nil, err
	}
	enc, sealer, err := sender.Setup(nil)
	if err != nil {
		return nil, nil, ErrKey
	}
	return enc, sealer, nil
}

func (s circlHPKE) opener(k HPKEKey, enc, info []byte) (circl.Opener, error) {
	sk, err := s.kem.Scheme().UnmarshalBinaryPrivateKey(k.Bytes().Bytes())
	if err != nil {
		return nil, err
	}
	r, err := s.suite.NewReceiver(sk, info)
	if err != nil {
		return nil, err
	}
	o, err := r.Setup(enc)
	if err != nil {
		return nil, ErrOpen
	}
	return o, nil
}

func (s circlHPKE) checkPublic(public []byte) error {
	_, _, err := s.sender(public, nil)
	return err
}

func (s circlHPKE) seal(public, info, aad, plaintext []byte) (enc, ciphertext []byte, err error) {
	enc, sealer, err := s.sender(public, info)
	if err != nil {
		return nil, nil, err
	}
	ciphertext, err = sealer.Seal(plaintext, aad)
	return enc, ciphertext, err
}

func (s circlHPKE) open(k HPKEKey, enc, info, aad, ciphertext []byte) ([]byte, error) {
	o, err := s.opener(k, enc, info)
	if err != nil {
		return nil, err
	}
	out, err := o.Open(ciphertext, aad)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

func (s circlHPKE) exportTo(public, info []byte, context string, n int) ([]byte, []byte, error) {
	enc, sealer, err := s.sender(public, info)
	if err != nil {
		return nil, nil, err
	}
	return enc, sealer.Export([]byte(context), uint(n)), nil
}

func (s circlHPKE) exportFrom(k HPKEKey, enc, info []byte, context string, n int) ([]byte, error) {
	o, err := s.opener(k, enc, info)
	if err != nil {
		return nil, err
	}
	return o.Export([]byte(context), uint(n)), nil
}

func TestAgreesWithCircl(t *testing.T) {
	for id, aead := range map[ID]circl.AEAD{4: circl.AEAD_AES256GCM, 6: circl.AEAD_ChaCha20Poly1305} {
		s, err := ByID(id)
		if err != nil {
			t.Fatal(err)
		}
		other := circlHPKE{kem: circl.KEM_X448_HKDF_SHA512, suite: circl.NewSuite(circl.KEM_X448_HKDF_SHA512, circl.KDF_HKDF_SHA512, aead)}
		agree(t, s.hpke, other, 56)
	}
}

// Of a peer's key and enc the hybrid construction makes what crypto/hpke makes.
func FuzzHybridAgainstStandardLibrary(f *testing.F) {
	own := ownHPKE{kemMLKEM768P256, hkdfSHA256, chaCha20Poly1305}
	std := standard(f, 0x0050, 0x0001, 0x0003)
	seed := bytes.Repeat([]byte{7}, hybridSeedSize)
	ours, errOurs := own.parse(seed)
	theirs, errTheirs := std.parse(seed)
	if err := errors.Join(errOurs, errTheirs); err != nil {
		f.Fatal(err)
	}
	enc, _, err := std.exportTo(ours.Public(), nil, "", 32)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ours.Public(), enc)
	f.Add(flip(ours.Public(), 1200), flip(enc, 3))
	f.Add(bytes.Repeat([]byte{0xff}, 1249), flip(enc, 1152))
	f.Fuzz(func(t *testing.T, public, enc []byte) {
		if a, b := own.checkPublic(public), std.checkPublic(public); (a == nil) != (b == nil) {
			t.Errorf("public key: %v, crypto/hpke %v", a, b)
		}
		a, errA := own.exportFrom(ours, enc, nil, "", 32)
		b, errB := std.exportFrom(theirs, enc, nil, "", 32)
		if !bytes.Equal(a, b) || (errA == nil) != (errB == nil) {
			t.Errorf("enc: %x, %v, crypto/hpke %x, %v", a, errA, b, errB)
		}
	})
}
