package suite

import (
	"bytes"
	"crypto/mlkem"
	"crypto/sha3"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// kemMLKEM768Secp256k1 is KEM 0xF0E2: MLKEM768-P256 of draft-ietf-hpke-pq, as
// crypto/hpke has it, with secp256k1 in place of P-256 (docs/spec.md).
var kemMLKEM768Secp256k1 = hybridKEM{id: 0xF0E2, label: "MLKEM768-secp256k1", group: secpGroup{}, pointSize: secp.UncompressedSize, scalarSize: secp.PrivateKeySize}

// hybridKEM is ML-KEM-768 and Diffie-Hellman in a group, secret while either
// is. A public key is that of ML-KEM and a point, enc a ciphertext of ML-KEM and
// a point, and the private key a seed of both.
type hybridKEM struct {
	id                    uint16
	label                 string
	group                 dhGroup
	pointSize, scalarSize int
}

const hybridSeedSize = 32

type hybridKey struct {
	seed   secret.Key
	pq     *mlkem.DecapsulationKey768
	t      dhKey
	public []byte
}

func (k *hybridKey) Public() []byte             { return bytes.Clone(k.public) }
func (k *hybridKey) Bytes() secret.Key          { return k.seed.Clone() }
func (k *hybridKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "suite.HPKEKey(redacted)") }

func (h hybridKEM) kemID() uint16 { return h.id }

func (h hybridKEM) generate() (HPKEKey, error) { return h.expand(secret.Random(hybridSeedSize)), nil }

func (h hybridKEM) parse(private []byte) (HPKEKey, error) {
	if len(private) != hybridSeedSize {
		return nil, ErrKey
	}
	return h.expand(secret.Copy(private)), nil
}

// derive is DeriveKeyPair: the seed is SHAKE256.LabeledDerive of ikm.
func (h hybridKEM) derive(ikm []byte) (HPKEKey, error) {
	const label = "DeriveKeyPair"
	x := sha3.NewSHAKE256()
	x.Write(ikm)
	x.Write([]byte("HPKE-v1"))
	x.Write(binary.BigEndian.AppendUint16([]byte("KEM"), h.id))
	x.Write(binary.BigEndian.AppendUint16(nil, uint16(len(label))))
	x.Write([]byte(label))
	x.Write(binary.BigEndian.AppendUint16(nil, hybridSeedSize))
	seed := make([]byte, hybridSeedSize)
	x.Read(seed)
	return h.expand(secret.New(seed)), nil
}

// expand makes both keys from one SHAKE256 stream of the seed, which it takes:
// 64 bytes are the seed of ML-KEM, and the next that are a scalar the other key.
func (h hybridKEM) expand(seed secret.Key) *hybridKey {
	x := sha3.NewSHAKE256()
	x.Write(seed.Bytes())
	b := make([]byte, mlkem.SeedSize)
	defer clear(b)
	x.Read(b)
	pq, err := mlkem.NewDecapsulationKey768(b)
	if err != nil {
		panic("suite: 64 bytes are the seed of an ML-KEM key")
	}
	scalar := b[:h.scalarSize]
	for {
		x.Read(scalar)
		if t, err := h.group.parse(scalar); err == nil {
			return &hybridKey{seed, pq, t, slices.Concat(pq.EncapsulationKey().Bytes(), t.Public())}
		}
	}
}

// split returns the two halves of a public key: the one parsed, the other to be
// checked by its group.
func (h hybridKEM) split(public []byte) (*mlkem.EncapsulationKey768, []byte, error) {
	if len(public) != mlkem.EncapsulationKeySize768+h.pointSize {
		return nil, nil, ErrKey
	}
	pq, err := mlkem.NewEncapsulationKey768(public[:mlkem.EncapsulationKeySize768])
	if err != nil { // a coefficient is not reduced (FIPS 203, Section 7.2)
		return nil, nil, ErrKey
	}
	return pq, public[mlkem.EncapsulationKeySize768:], nil
}

func (h hybridKEM) checkPublic(public []byte) error {
	_, t, err := h.split(public)
	if err != nil {
		return err
	}
	return h.group.checkPublic(t)
}

func (h hybridKEM) encap(public []byte) (enc, shared []byte, err error) {
	pq, t, err := h.split(public)
	if err != nil {
		return nil, nil, err
	}
	e, err := h.group.generate()
	if err != nil {
		return nil, nil, err
	}
	ssPQ, ctPQ := pq.Encapsulate()
	return h.encapWith(e, ssPQ, ctPQ, t)
}

func (h hybridKEM) encapWith(e dhKey, ssPQ, ctPQ, t []byte) (enc, shared []byte, err error) {
	ssT, err := e.dh(t)
	if err != nil {
		return nil, nil, err
	}
	ctT := e.Public()
	return slices.Concat(ctPQ, ctT), h.combine(ssPQ, ssT, ctT, t), nil
}

// decap does not learn whether the ciphertext of ML-KEM is of this key: the
// shared secret is then another (FIPS 203, Section 6.3).
func (h hybridKEM) decap(k HPKEKey, enc []byte) ([]byte, error) {
	own, ok := k.(*hybridKey)
	if !ok {
		return nil, ErrKey
	}
	if len(enc) != mlkem.CiphertextSize768+h.pointSize {
		return nil, ErrOpen
	}
	ctPQ, ctT := enc[:mlkem.CiphertextSize768], enc[mlkem.CiphertextSize768:]
	ssT, err := own.t.dh(ctT)
	if err != nil {
		return nil, ErrOpen
	}
	ssPQ, err := own.pq.Decapsulate(ctPQ)
	if err != nil {
		return nil, ErrOpen
	}
	return h.combine(ssPQ, ssT, ctT, own.public[mlkem.EncapsulationKeySize768:]), nil
}

// combine is SHA3-256(ss_PQ || ss_T || ct_T || ek_T || label). It erases both
// secrets.
func (h hybridKEM) combine(ssPQ []byte, ssT secret.Key, ctT, ekT []byte) []byte {
	defer clear(ssPQ)
	defer ssT.Erase()
	d := sha3.New256()
	for _, b := range [][]byte{ssPQ, ssT.Bytes(), ctT, ekT, []byte(h.label)} {
		d.Write(b)
	}
	return d.Sum(nil)
}
