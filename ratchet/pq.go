package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// The post-quantum ratchet: from time to time a side offers a fresh ML-KEM-768
// encapsulation key, in every header until it is answered. The peer answers
// with its next sending chain: it encapsulates to the key, mixes the shared
// secret into the root key beside that chain's Diffie-Hellman, and puts the
// ciphertext into every header of the chain. Both sides do so, each at its own
// pace. docs/spec.md, "Post-quantum ratchet", has the reasons.

// Extensions of the header. Both have a fixed size.
const (
	extOffer  uint16 = 1 // uint32 number || encapsulation key
	extAnswer uint16 = 2 // uint32 number || ciphertext; announced by flagAnswer

	offerSize  = 4 + KEMPublicSize
	answerSize = 4 + kemCTSize

	// pqRoom is what both extensions add to a header, in bytes.
	pqRoom = 2*(2+4) + offerSize + answerSize
)

// flagAnswer says that the root key of this chain has a post-quantum secret in
// it, which a receiver must understand.
const flagAnswer uint8 = 1

// heldKind says what pqState.held is.
type heldKind uint8

const (
	heldNothing heldKind = 0
	heldOffer   heldKind = 1 // the peer's encapsulation key, for our next sending chain
	heldAnswer  heldKind = 2 // the ciphertext of our current sending chain
)

// size is how many bytes are held.
func (k heldKind) size() int { return [...]int{0, KEMPublicSize, kemCTSize}[k] }

// pqState is a session's part of the post-quantum ratchet. One offer of ours is
// open at a time, and the peer makes its next only after it has read the answer
// to the last, so that what we hold of it is one key or one ciphertext.
type pqState struct {
	offered uint32     // number of our last offer; they count from 1
	seed    secret.Key // of the open offer, 64 bytes; empty if none is
	ek      []byte     // its public half; not stored, and never changed, so shared
	sent    uint32     // messages sent since our last offer was answered
	since   int64      // when that was, or when this side made the session; Unix seconds

	taken uint32 // number of the peer's last offer that was taken
	kind  heldKind
	held  []byte // never changed, so shared
}

// due reports whether a message sent now opens an offer.
func (p *pqState) due(now time.Time) bool {
	return p.seed.IsZero() && p.offered < math.MaxUint32 &&
		(p.sent >= OfferMessages || unix(now)-p.since >= int64(OfferInterval/time.Second))
}

// open makes a fresh key and offers it from now on.
func (p *pqState) open() error {
	dk, err := mlkem.GenerateKey768()
	if err != nil {
		return fmt.Errorf("ratchet: %w", err)
	}
	p.offered++
	p.seed = secret.New(dk.Bytes())
	p.ek = dk.EncapsulationKey().Bytes()
	return nil
}

// restore derives the public half of an open offer after the state was stored.
func (p *pqState) restore() error {
	dk, err := mlkem.NewDecapsulationKey768(p.seed.Bytes())
	if err != nil {
		return stateError(err)
	}
	p.ek = dk.EncapsulationKey().Bytes()
	return nil
}

// exts are the extensions of a message sent now.
func (p *pqState) exts() (list []ext) {
	if !p.seed.IsZero() {
		list = append(list, ext{extOffer, append(wire.AppendUint32(nil, p.offered), p.ek...)})
	}
	if p.kind == heldAnswer {
		list = append(list, ext{extAnswer, append(wire.AppendUint32(nil, p.taken), p.held...)})
	}
	return list
}

// answer is the sender's half of a step: it encapsulates to the key that the
// peer has offered, if there is one, and returns the secret, nil if there is
// none. The ciphertext is held for the headers of the chain.
func (p *pqState) answer(m *meter) (ss []byte, err error) {
	if p.kind != heldOffer {
		return nil, nil
	}
	m.add(countKEM)
	ek, err := mlkem.NewEncapsulationKey768(p.held)
	if err != nil {
		return nil, stateError(err)
	}
	ss, ct := ek.Encapsulate()
	p.kind, p.held = heldAnswer, ct
	return ss, nil
}

// chainEnded forgets the ciphertext of our sending chain, which has been read.
func (p *pqState) chainEnded() {
	if p.kind == heldAnswer {
		p.kind, p.held = heldNothing, nil
	}
}

// read is the receiver's half: it returns the secret of the chain that h begins,
// nil if h has none. The key it opens has served then, and is erased. It returns
// [ErrDecrypt] for an answer to what is not open.
func (p *pqState) read(h *header, m *meter, now time.Time) (ss []byte, err error) {
	number, ct := h.numbered(extAnswer)
	if ct == nil {
		return nil, nil
	}
	if p.seed.IsZero() || number != p.offered {
		return nil, ErrDecrypt
	}
	m.add(countKEM)
	dk, err := mlkem.NewDecapsulationKey768(p.seed.Bytes())
	if err != nil {
		return nil, stateError(err)
	}
	if ss, err = dk.Decapsulate(ct); err != nil {
		return nil, ErrDecrypt
	}
	p.seed.Erase()
	p.ek, p.sent, p.since = nil, 0, unix(now)
	return ss, nil
}

// take keeps the key that h offers for our next sending chain. It is called when
// the content of h has opened. What was taken before, answered or not, is not
// taken again, in whatever order messages come; and a peer that offers another
// key before it has read our answer is not listened to. It returns [ErrDecrypt]
// for a new key that is none.
func (p *pqState) take(h *header, m *meter) error {
	number, ek := h.numbered(extOffer)
	if ek == nil || number <= p.taken || p.kind != heldNothing {
		return nil
	}
	m.add(countKEM)
	if _, err := mlkem.NewEncapsulationKey768(ek); err != nil {
		return ErrDecrypt
	}
	p.taken, p.kind, p.held = number, heldOffer, bytes.Clone(ek)
	return nil
}

// fits reports whether an extension has the size that its type demands.
func (e *ext) fits() bool {
	switch e.typ {
	case extOffer:
		return len(e.data) == offerSize
	case extAnswer:
		return len(e.data) == answerSize
	}
	return true
}

// numbered returns the two parts of one of our extensions, nil if h is without.
func (h *header) numbered(typ uint16) (number uint32, data []byte) {
	for i := range h.ext {
		if h.ext[i].typ == typ && h.ext[i].fits() {
			return binary.BigEndian.Uint32(h.ext[i].data), h.ext[i].data[4:]
		}
	}
	return 0, nil
}

func (h *header) flags() uint8 {
	if _, ct := h.numbered(extAnswer); ct != nil {
		return flagAnswer
	}
	return 0
}
