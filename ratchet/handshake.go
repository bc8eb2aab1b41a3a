package ratchet

import (
	"crypto/mlkem"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// suiteName stands for every choice of algorithm in this package. There is one
// suite and no negotiation; the name is in the transcript all the same.
const suiteName = "PQXDH-secp256k1-MLKEM768-SHA256-ChaCha20Poly1305"

var errKeyMismatch = errors.New("ratchet: private key is not that of the identity")

// Initiate starts a session with the device of bundle, which the caller has
// verified. hello is an opaque blob (the caller's account log and device), at
// most [MaxHello] bytes, that travels sealed in every message until the first
// answer. It returns [ErrBundle] for a bundle with a missing or malformed key
// and for our own, and [ErrTooLarge] for the hello.
func Initiate(us Identity, ik *secp.PrivateKey, bundle PrekeyBundle, hello []byte, now time.Time) (*Session, error) {
	ephemeral, err := secp.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("ratchet: %w", err)
	}
	first, err := secp.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("ratchet: %w", err)
	}
	s, err := initiate(us, ik, bundle, hello, ephemeral, first)
	if err != nil {
		return nil, err
	}
	s.begin(now)
	return s, nil
}

// initiate is Initiate with its key pairs given: EK_A and the first ratchet key.
func initiate(us Identity, ik *secp.PrivateKey, bundle PrekeyBundle, hello []byte, ephemeral, first *secp.PrivateKey) (*Session, error) {
	if err := checkIdentity(us, ik); err != nil {
		return nil, err
	}
	if err := bundle.check(); err != nil {
		return nil, err
	}
	them := bundle.Identity
	if us.IK.Equal(them.IK) {
		return nil, fmt.Errorf("%w: it is our own", ErrBundle)
	}
	if len(hello) > MaxHello {
		return nil, fmt.Errorf("%w: hello of %d bytes, limit %d", ErrTooLarge, len(hello), MaxHello)
	}
	ek, err := mlkem.NewEncapsulationKey768(bundle.EK)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	ss, ct := ek.Encapsulate()

	t := transcript{
		a: us, b: them, ek: ephemeral.PublicKey(),
		spkID: bundle.SPKID, spk: bundle.SPK, opk: bundle.OPK, kemID: bundle.EKID, kem: bundle.EK, ct: ct,
	}
	dhs := []dh{{ik, bundle.SPK}, {ephemeral, them.IK}, {ephemeral, bundle.SPK}}
	pre := &preamble{
		id: t.hash(), from: us, ek: ephemeral.PublicKey(), spkID: bundle.SPKID, kemID: bundle.EKID,
		hello: append([]byte(nil), hello...), inboxKey: bundle.InboxKey,
	}
	copy(pre.ct[:], ct)
	if bundle.OPK != nil {
		dhs = append(dhs, dh{ephemeral, bundle.OPK.Key})
		id := bundle.OPK.ID
		pre.opkID = &id
	}
	rk, hkA, nhkB, err := handshakeKeys(pre.id, dhs, ss, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	// A's first sending chain is under HK_A, so it stands where the send step
	// looks for the next header key.
	s := &Session{origin: &origin{id: pre.id, peer: them}, rk: rk, nhks: hkA, nhkr: nhkB, dhr: bundle.SPK.Compressed(), pre: pre}
	if err := s.sendStepWith(first); err != nil {
		return nil, err
	}
	return s, nil
}

// respond is the other side: the session before its first receive step.
func respond(t transcript, ik, spk, opk *secp.PrivateKey, ss []byte, watch *meter) (*Session, error) {
	dhs := []dh{{spk, t.a.IK}, {ik, t.ek}, {spk, t.ek}}
	if opk != nil {
		dhs = append(dhs, dh{opk, t.ek})
	}
	id := t.hash()
	rk, hkA, nhkB, err := handshakeKeys(id, dhs, ss, watch)
	if err != nil {
		return nil, err
	}
	s := &Session{origin: &origin{id: id, peer: t.a}, rk: rk, nhkr: hkA, nhks: nhkB, dhs: spk.Bytes(), meter: watch}
	// The ML-KEM key of the handshake serves everybody for a week and is kept for
	// 30 days. So that the session does not rest on it for longer than a turn, our
	// first message offers a key of its own.
	s.pq.sent = OfferMessages
	return s, nil
}

// check returns ErrBundle unless every key is there. Points were checked when
// they were parsed, the KEM key is checked when it is used.
func (b *PrekeyBundle) check() error {
	switch {
	case !b.Identity.valid():
		return fmt.Errorf("%w: identity key missing", ErrBundle)
	case b.SPK.IsZero() || b.OPK != nil && b.OPK.Key.IsZero():
		return fmt.Errorf("%w: prekey missing", ErrBundle)
	case len(b.EK) != KEMPublicSize:
		return fmt.Errorf("%w: ML-KEM key of %d bytes", ErrBundle, len(b.EK))
	}
	return nil
}

// checkIdentity refuses a private key that is not us.IK's: a mistake of the caller.
func checkIdentity(us Identity, ik *secp.PrivateKey) error {
	if !us.valid() || ik == nil || !ik.PublicKey().Equal(us.IK) {
		return errKeyMismatch
	}
	return nil
}

// transcript is everything that both sides must agree on.
type transcript struct {
	a, b  Identity
	ek    secp.PublicKey // EK_A
	spkID uint32
	spk   secp.PublicKey
	opk   *OneTimePrekey // nil if none
	kemID uint32
	kem   []byte
	ct    []byte
}

// hash is T, the session's id:
//
//	SHA-256(LP("parley/1") || LP(suite) || LP(acctA) || LP(devA) || LP(IK_A) ||
//	  LP(SK_A) || LP(acctB) || LP(devB) || LP(IK_B) || LP(SK_B) || LP(EK_A) ||
//	  LP(idSPK || SPK) || LP(idOPK || OPK or "") || LP(idEK || ek) || LP(ct))
func (t *transcript) hash() ID {
	b := make([]byte, 0, 3<<10)
	b = wire.AppendLP(b, []byte("parley/1"))
	b = wire.AppendLP(b, []byte(suiteName))
	for _, p := range []*Identity{&t.a, &t.b} {
		b = wire.AppendLP(b, p.Acct[:])
		b = wire.AppendLP(b, p.Dev[:])
		b = wire.AppendLP(b, p.IK.Bytes())
		b = wire.AppendLP(b, p.SK.Bytes())
	}
	b = wire.AppendLP(b, t.ek.Bytes())
	b = wire.AppendLP(b, numbered(t.spkID, t.spk.Bytes()))
	if t.opk != nil {
		b = wire.AppendLP(b, numbered(t.opk.ID, t.opk.Key.Bytes()))
	} else {
		b = wire.AppendLP(b, nil)
	}
	b = wire.AppendLP(b, numbered(t.kemID, t.kem))
	b = wire.AppendLP(b, t.ct)
	return sha256.Sum256(b)
}

func numbered(id uint32, key []byte) []byte { return append(wire.AppendUint32(nil, id), key...) }

// dh is one Diffie-Hellman of the handshake.
type dh struct {
	private *secp.PrivateKey
	public  secp.PublicKey
}

// handshakeKeys is RK || HK_A || NHK_B = HKDF-SHA256(salt = 0, ikm = DH1 || DH2
// || DH3 || [DH4] || ss, info = "parley/1 pqxdh" || T).
func handshakeKeys(id ID, dhs []dh, ss []byte, watch *meter) (rk, hkA, nhkB secret.Key, err error) {
	ikm := make([]byte, 0, 5*keySize)
	defer func() { clear(ikm); clear(ss) }()
	for _, d := range dhs {
		watch.add(countDH)
		shared, err := d.private.ECDH(d.public)
		if err != nil {
			return rk, hkA, nhkB, fmt.Errorf("ratchet: %w", err)
		}
		ikm = append(ikm, shared.Bytes()...)
		shared.Erase()
	}
	ikm = append(ikm, ss...)
	rk, hkA, nhkB = kdf3(nil, ikm, labelHandshake+string(id[:]))
	return rk, hkA, nhkB, nil
}
