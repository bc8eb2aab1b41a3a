package ratchet

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// A first message is
//
//	fn(24) || XChaCha20-Poly1305(seal key of the inbox key, fn, version || tag,
//	  enc(65) || LP(HPKE-sealed preamble) || message)
//
// The outer layer hides nothing from who knows the recipient's bundle, who
// recognises the tag anyway. From everyone else it hides that there is an HPKE
// point at all, so that first messages look like any other, and it spares the
// recipient a point operation for what others send.
const (
	hpkeEncSize  = secp.UncompressedSize
	kemCTSize    = 1088
	preambleSize = 1 + IDSize + TagSize + IdentitySize + secp.PublicKeySize + 4 + 1 + 4 + kemCTSize + 4 // without OPK id and hello
	maxPreamble  = preambleSize + 4 + MaxHello
	firstSize    = nonceSize + hpkeEncSize + 4 + aeadTag + aeadTag // without preamble and message
)

// preamble is what an initiator tells the responder in every message until the
// first answer.
//
//	struct {
//	  uint8 version = 1;
//	  opaque id[32];         // T
//	  opaque tag[16];        // of the message inside
//	  opaque acct[52]; opaque dev[32]; opaque ik[33]; opaque sk[33];
//	  opaque ek[33];         // EK_A
//	  uint32 spk_id;
//	  optional<uint32> opk_id;
//	  uint32 kem_id;
//	  opaque ct[1088];
//	  LP hello;
//	} Preamble;
type preamble struct {
	id    ID
	tag   Tag
	from  Identity
	ek    secp.PublicKey
	spkID uint32
	opkID *uint32
	kemID uint32
	ct    [kemCTSize]byte
	hello []byte

	inboxKey [InboxKeySize]byte // the responder's; not in the wire form
}

func (p *preamble) size() int {
	if p.opkID != nil {
		return preambleSize + 4 + len(p.hello)
	}
	return preambleSize + len(p.hello)
}

// overhead is what the preamble adds to a message, in bytes.
func (p *preamble) overhead() int { return firstSize + p.size() }

func (p *preamble) marshal() []byte {
	b := make([]byte, 0, p.size())
	b = append(b, Version)
	b = append(append(b, p.id[:]...), p.tag[:]...)
	b = p.from.append(b)
	b = append(b, p.ek.Bytes()...)
	b = wire.AppendUint32(b, p.spkID)
	b = wire.AppendOptional(b, p.opkID != nil)
	if p.opkID != nil {
		b = wire.AppendUint32(b, *p.opkID)
	}
	b = wire.AppendUint32(b, p.kemID)
	b = append(b, p.ct[:]...)
	return wire.AppendLP(b, p.hello)
}

func parsePreamble(b []byte) (*preamble, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != Version {
		return nil, fmt.Errorf("%w: preamble has version %d", ErrVersion, v)
	}
	p := new(preamble)
	r.Copy(p.id[:])
	r.Copy(p.tag[:])
	p.from = readIdentity(r)
	p.ek = readPoint(r)
	p.spkID = r.Uint32()
	if r.Optional() {
		id := r.Uint32()
		p.opkID = &id
	}
	p.kemID = r.Uint32()
	r.Copy(p.ct[:])
	p.hello = append([]byte(nil), r.LP(MaxHello)...)
	if err := r.Done(); err != nil {
		return nil, ErrDecrypt
	}
	return p, nil
}

// firstInfo is the HPKE info of first messages to a device.
func firstInfo(to *Identity) []byte {
	b := wire.AppendLP([]byte(labelFirst), to.Acct[:])
	return wire.AppendLP(b, to.Dev[:])
}

// firstAD is the additional data of both layers: version || tag.
func firstAD(tag Tag) []byte { return append([]byte{Version}, tag[:]...) }

// hpkeSuite is DHKEM(secp256k1, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
func hpkeSuite() *suite.Suite {
	s, err := suite.ByID(suite.Secp256k1ChaCha20Poly1305)
	if err != nil {
		panic("ratchet: " + err.Error())
	}
	return s
}

// seal makes a first message to the device of m, a message of the session.
func (p *preamble) seal(to *Identity, m Message, now time.Time, watch *meter) (Message, error) {
	tag := FirstTag(p.inboxKey, now)
	with := *p
	with.tag = m.Tag
	enc, sealed, err := hpkeSuite().SealBase(to.IK.Uncompressed(), firstInfo(to), firstAD(tag), with.marshal())
	if err != nil {
		return Message{}, fmt.Errorf("ratchet: %w", err)
	}
	inner := make([]byte, 0, len(enc)+4+len(sealed)+len(m.Body))
	inner = append(inner, enc...)
	inner = wire.AppendLP(inner, sealed)
	inner = append(inner, m.Body...)

	body := make([]byte, nonceSize, nonceSize+len(inner)+aeadTag)
	rand.Read(body)
	key := expand(nil, p.inboxKey[:], labelFirstSeal, nil, keySize)
	watch.seal(key, body)
	return Message{Tag: tag, Body: xaead(key).Seal(body, body, inner, firstAD(tag))}, nil
}

// First is a first message that has been unsealed but not yet believed.
// Whoever knows the recipient's bundle can make one that claims anything; only
// Accept proves that the sender holds the key From.IK.
type First struct {
	ID    ID       // of the session it belongs to, as claimed; Accept verifies it
	From  Identity // the sender, as claimed
	Hello []byte   // the sender's opaque blob
	SPKID uint32   // the prekeys used
	OPKID *uint32  // nil if none
	EKID  uint32
	// Message is the message inside, with the tag it has in its session. If
	// the session ID exists already, it goes to [Session.Decrypt] like any
	// other, and a skipped key is looked up by its tag.
	Message Message

	pre   *preamble
	meter *meter
}

// PeekFirst unseals the preamble of a message that came under one of
// [FirstTags]. It needs no prekey. It returns [ErrDecrypt] or [ErrVersion].
//
// The caller then looks for a session with First.ID and gives it
// First.Message; if there is none, and First.ID is not among those seen
// before, it verifies Hello and calls [First.Accept].
func PeekFirst(us Identity, ik *secp.PrivateKey, inboxKey [InboxKeySize]byte, m Message, now time.Time) (*First, error) {
	return peekFirst(us, ik, inboxKey, m, now, nil)
}

func peekFirst(us Identity, ik *secp.PrivateKey, inboxKey [InboxKeySize]byte, m Message, now time.Time, watch *meter) (*First, error) {
	if err := checkIdentity(us, ik); err != nil {
		return nil, err
	}
	tags := FirstTags(inboxKey, now)
	if !slices.Contains(tags[:], m.Tag) {
		return nil, ErrDecrypt
	}
	if len(m.Body) < firstSize+preambleSize+messageOverhead || len(m.Body) > MaxBody {
		return nil, ErrDecrypt
	}
	key := expand(nil, inboxKey[:], labelFirstSeal, nil, keySize)
	inner, err := xaead(key).Open(nil, m.Body[:nonceSize], m.Body[nonceSize:], firstAD(m.Tag))
	if err != nil {
		return nil, ErrDecrypt
	}
	r := wire.NewReader(inner)
	enc := r.Bytes(hpkeEncSize)
	sealed := r.LP(maxPreamble + aeadTag)
	message := r.Rest()
	if r.Done() != nil {
		return nil, ErrDecrypt
	}
	watch.add(countHPKE)
	plain, err := hpkeSuite().OpenBase(suite.Secp256k1HPKEKey(ik), enc, firstInfo(&us), firstAD(m.Tag), sealed)
	if err != nil {
		return nil, ErrDecrypt
	}
	p, err := parsePreamble(plain)
	if err != nil {
		return nil, err
	}
	if p.from.IK.Equal(us.IK) {
		return nil, ErrDecrypt // our own words, sent back
	}
	return &First{
		ID: p.id, From: p.from, Hello: p.hello, SPKID: p.spkID, OPKID: p.opkID, EKID: p.kemID,
		Message: Message{Tag: p.tag, Body: message}, pre: p, meter: watch,
	}, nil
}

// Accept completes the handshake and reads the message. The caller stores the
// session, deletes the one-time prekey OPKID, and remembers ID for as long as
// the prekeys SPKID and EKID live, to refuse replays. On an error
// ([ErrPrekey], [ErrDecrypt], [ErrVersion], [ErrTooFarAhead]) nothing has
// changed.
func (f *First) Accept(us Identity, ik *secp.PrivateKey, keys Prekeys, appAD []byte, now time.Time) (*Opened, error) {
	if err := checkIdentity(us, ik); err != nil {
		return nil, err
	}
	p := f.pre
	spk, err := keys.SignedPrekey(p.spkID)
	if err != nil || spk == nil {
		return nil, prekeyError("signed prekey", p.spkID, err)
	}
	kem, err := keys.KEMKey(p.kemID)
	if err != nil || kem == nil {
		return nil, prekeyError("ML-KEM key", p.kemID, err)
	}
	t := transcript{
		a: p.from, b: us, ek: p.ek, spkID: p.spkID, spk: spk.PublicKey(),
		kemID: p.kemID, kem: kem.Public(), ct: p.ct[:],
	}
	var opk *secp.PrivateKey
	if p.opkID != nil {
		if opk, err = keys.OneTimePrekey(*p.opkID); err != nil || opk == nil {
			return nil, prekeyError("one-time prekey", *p.opkID, err)
		}
		t.opk = &OneTimePrekey{ID: *p.opkID, Key: opk.PublicKey()}
	}
	if t.hash() != p.id {
		return nil, ErrDecrypt
	}
	f.meter.add(countKEM)
	ss, err := kem.dk.Decapsulate(p.ct[:])
	if err != nil {
		return nil, ErrDecrypt
	}
	s, err := respond(t, ik, spk, opk, ss, f.meter)
	if err != nil {
		return nil, err
	}
	defer s.Erase()
	s.begin(now)
	return s.Decrypt(Incoming{Tag: f.Message.Tag, Body: f.Message.Body, AppAD: appAD}, now)
}

// prekeyError reports a prekey that is not there.
func prekeyError(kind string, id uint32, cause error) error {
	if cause == nil {
		return fmt.Errorf("%w: %s %d", ErrPrekey, kind, id)
	}
	return fmt.Errorf("%w: %s %d: %w", ErrPrekey, kind, id, cause)
}
