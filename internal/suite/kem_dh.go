package suite

import (
	"encoding/binary"
	"slices"

	"github.com/parley-im/parley/internal/secret"
)

// dhGroup is a Diffie-Hellman group with its serialised keys.
type dhGroup interface {
	generate() (dhKey, error)
	parse(private []byte) (dhKey, error) // ErrKey
	checkPublic(public []byte) error     // ErrKey
}

// dhKey is a private key of a [dhGroup], which by itself is a key of its DHKEM.
type dhKey interface {
	HPKEKey
	// dh returns the Diffie-Hellman value in constant time, or ErrKey unless
	// public is a key with which there is one.
	dh(public []byte) (secret.Key, error)
}

// dhKEM is DHKEM(group, kdf) of RFC 9180, Section 4.1, for groups in which
// Nsecret is Nh.
type dhKEM struct {
	id          uint16
	kdf         kdf
	group       dhGroup
	privateSize int  // Nsk
	bitmask     byte // with which DeriveKeyPair tries candidates; zero if it does not
}

func (d dhKEM) kemID() uint16                         { return d.id }
func (d dhKEM) generate() (HPKEKey, error)            { return asHPKE(d.group.generate()) }
func (d dhKEM) parse(private []byte) (HPKEKey, error) { return asHPKE(d.group.parse(private)) }
func (d dhKEM) checkPublic(public []byte) error       { return d.group.checkPublic(public) }

// asHPKE keeps a nil key from becoming an interface that is not nil.
func asHPKE(k dhKey, err error) (HPKEKey, error) {
	if err != nil {
		return nil, err
	}
	return k, nil
}

// derive is DeriveKeyPair (Section 7.1.3).
func (d dhKEM) derive(ikm []byte) (HPKEKey, error) {
	prk := d.kdf.extract(d.suiteID(), nil, "dkp_prk", ikm)
	defer clear(prk)
	if d.bitmask == 0 {
		b := d.kdf.expand(d.suiteID(), prk, "sk", nil, d.privateSize)
		defer clear(b)
		return d.parse(b)
	}
	for counter := range 256 {
		b := d.kdf.expand(d.suiteID(), prk, "candidate", []byte{byte(counter)}, d.privateSize)
		b[0] &= d.bitmask
		k, err := d.parse(b)
		clear(b)
		if err == nil {
			return k, nil
		}
	}
	return nil, ErrKey // DeriveKeyPairError: less likely than 2^-8000 on the curves here
}

func (d dhKEM) encap(public []byte) (enc, shared []byte, err error) {
	e, err := d.group.generate()
	if err != nil {
		return nil, nil, err
	}
	return d.encapWith(e, public)
}

func (d dhKEM) encapWith(e dhKey, public []byte) (enc, shared []byte, err error) {
	dh, err := e.dh(public)
	if err != nil {
		return nil, nil, err
	}
	enc = e.Public()
	return enc, d.extractAndExpand(dh, enc, public), nil
}

func (d dhKEM) decap(k HPKEKey, enc []byte) ([]byte, error) {
	own, ok := k.(dhKey)
	if !ok {
		return nil, ErrKey
	}
	dh, err := own.dh(enc)
	if err != nil {
		return nil, ErrOpen
	}
	return d.extractAndExpand(dh, enc, own.Public()), nil
}

// extractAndExpand is ExtractAndExpand with kem_context = enc || pkR. It erases
// dh.
func (d dhKEM) extractAndExpand(dh secret.Key, enc, public []byte) []byte {
	defer dh.Erase()
	prk := d.kdf.extract(d.suiteID(), nil, "eae_prk", dh.Bytes())
	defer clear(prk)
	return d.kdf.expand(d.suiteID(), prk, "shared_secret", slices.Concat(enc, public), d.kdf.size)
}

func (d dhKEM) suiteID() []byte { return binary.BigEndian.AppendUint16([]byte("KEM"), d.id) }
