package groups

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/wire"
)

// Class says which of a sender's counters numbers an envelope.
type Class uint8

// Classes of envelopes.
const (
	ClassApplication Class = 1 // n is the message's AppHeader.N
	ClassHandshake   Class = 2 // n is counted by NextHandshake
)

// TagSize is the size of an envelope's tag in bytes.
const TagSize = sha256.Size / 2

// envelopeVersion is the first byte of an envelope, which its body is bound to.
const envelopeVersion = 1

// EnvelopeOverhead is what sealing adds to an MLSMessage, in bytes, before
// padding.
const EnvelopeOverhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead + 4

// Sealed is an envelope's content: how it is found, and what it holds.
type Sealed struct {
	Tag  [TagSize]byte
	Body []byte // nonce(24) || XChaCha20-Poly1305 of LP(MLSMessage) || zeros
}

// Tag returns the tag of a member's n-th envelope of a class in this epoch.
// Receivers index a window of them.
func (g *Group) Tag(class Class, leaf LeafIndex, n uint64) [TagSize]byte {
	return g.envelopeTag(class, leaf, n)
}

// Open returns the MLSMessage in an envelope of this epoch. Whether the tag is
// the sender's is not checked here. It returns [ErrDecrypt].
func (g *Group) Open(tag [TagSize]byte, body []byte) ([]byte, error) {
	return g.openEnvelope(tag, body)
}

func (e *epoch) envelopeTag(class Class, leaf LeafIndex, n uint64) [TagSize]byte {
	key := e.tagKey
	if class == ClassHandshake {
		key = e.handshakeKey
	}
	mac := hmac.New(sha256.New, key.Bytes())
	mac.Write(wire.AppendUint64(wire.AppendUint32(nil, uint32(leaf)), n))
	return [TagSize]byte(mac.Sum(nil)[:TagSize])
}

func (e *epoch) openEnvelope(tag [TagSize]byte, body []byte) ([]byte, error) {
	if len(body) < chacha20poly1305.NonceSizeX {
		return nil, ErrDecrypt
	}
	aead, err := chacha20poly1305.NewX(e.envelopeKey.Bytes())
	if err != nil {
		return nil, err
	}
	nonce, ciphertext := body[:chacha20poly1305.NonceSizeX], body[chacha20poly1305.NonceSizeX:]
	plain, err := aead.Open(nil, nonce, ciphertext, envelopeAAD(tag))
	if err != nil {
		return nil, ErrDecrypt
	}
	r := wire.NewReader(plain)
	msg := r.LP(MaxMessageSize)
	for _, b := range r.Rest() {
		if b != 0 {
			r.Fail(wire.ErrValue)
		}
	}
	if err := r.Done(); err != nil {
		return nil, malformed(err)
	}
	return msg, nil
}

func envelopeAAD(tag [TagSize]byte) []byte { return append([]byte{envelopeVersion}, tag[:]...) }

// Seal hides a message of this epoch. n numbers the envelopes of this member
// and class within the epoch: for an application message it is its header's N,
// for a handshake what [Group.NextHandshake] returned. size maps the length of
// an unpadded body to the length it is to have, and may be nil. A commit is
// sealed by the group it ends, numbered before it is merged.
func (g *Group) Seal(class Class, n uint64, msg []byte, size func(int) int) (*Sealed, error) {
	length := EnvelopeOverhead + len(msg)
	if size != nil {
		length = size(length)
	}
	if len(msg) > MaxMessageSize || length < EnvelopeOverhead+len(msg) {
		return nil, fmt.Errorf("%w: %d bytes do not fit an envelope", ErrMalformed, len(msg))
	}
	aead, err := chacha20poly1305.NewX(g.envelopeKey.Bytes())
	if err != nil {
		return nil, err
	}
	plain := make([]byte, length-chacha20poly1305.NonceSizeX-chacha20poly1305.Overhead)
	wire.AppendLP(plain[:0], msg)
	s := &Sealed{Tag: g.Tag(class, g.self, n), Body: make([]byte, chacha20poly1305.NonceSizeX, length)}
	rand.Read(s.Body)
	s.Body = aead.Seal(s.Body, s.Body, plain, envelopeAAD(s.Tag))
	return s, nil
}

// NextHandshake returns the number of the next handshake envelope of this
// member in this epoch, and counts it.
func (g *Group) NextHandshake(rows Rows) (uint64, error) {
	row, err := rows.Get(g.cid, rowKey(rowHandshakes))
	if err != nil {
		return 0, err
	}
	var n uint64
	if row != nil {
		r := wire.NewReader(row)
		if n = r.Uint64(); r.Done() != nil {
			return 0, fmt.Errorf("%w: counter row", ErrState)
		}
	}
	return n, rows.Put(g.cid, rowKey(rowHandshakes), wire.AppendUint64(nil, n+1))
}
