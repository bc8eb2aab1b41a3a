package transport

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/parley-im/parley/internal/wire"
)

// Version is the first byte of every envelope.
const Version = 1

// Sizes of an envelope's fields, in bytes.
const (
	NonceSize  = 8
	TagSize    = 16
	WorkSize   = 8
	HeaderSize = 1 + NonceSize + TagSize + WorkSize
)

var (
	// ErrVersion is returned for an envelope of a version this package does not know.
	ErrVersion = errors.New("transport: unknown envelope version")
	// ErrSize is returned for a body that has none of the five sizes, and for
	// content that does not fit the largest.
	ErrSize = errors.New("transport: bad body size")
	// ErrWork is returned for an envelope whose proof of work is not what the
	// network asks for.
	ErrWork = errors.New("transport: bad proof of work")
)

// Tag is by what a receiver finds the key for an envelope. It looks random to
// everyone else and is used for one message, or for first messages for a week.
type Tag [TagSize]byte

// Envelope is what the network sees: nothing in it names a sender, a receiver
// or a conversation.
//
//	struct {
//	    uint8  version = 1;
//	    opaque nonce[8];
//	    opaque tag[16];
//	    uint64 work;
//	    opaque body[N];   // N is 256, 1024, 4096, 16384 or 61440
//	} Envelope;
type Envelope struct {
	// Nonce is fresh for every time the envelope is sent: gossipsub drops what
	// it has seen.
	Nonce [NonceSize]byte
	Tag   Tag
	// Work is the proof of work, zero in a network that asks for none.
	Work uint64
	// Body is ciphertext of one of the five sizes.
	Body []byte
}

// NewEnvelope returns an envelope with a fresh nonce and no work. It keeps body
// and returns ErrSize unless it has one of the five sizes.
func NewEnvelope(tag Tag, body []byte) (Envelope, error) {
	if !isSize(len(body)) {
		return Envelope{}, fmt.Errorf("%w: %d bytes", ErrSize, len(body))
	}
	e := Envelope{Tag: tag, Body: body}
	rand.Read(e.Nonce[:])
	return e, nil
}

// Marshal returns the wire form: HeaderSize bytes and the body.
func (e Envelope) Marshal() []byte {
	b := make([]byte, 0, HeaderSize+len(e.Body))
	b = wire.AppendUint8(b, Version)
	b = append(b, e.Nonce[:]...)
	b = append(b, e.Tag[:]...)
	b = wire.AppendUint64(b, e.Work)
	return append(b, e.Body...)
}

// Parse reads the wire form and copies the body. It returns wire.ErrTruncated,
// ErrVersion or ErrSize. It does not check the proof of work, see
// Envelope.CheckWork.
func Parse(b []byte) (Envelope, error) {
	e, err := parse(b)
	if err != nil {
		return Envelope{}, err
	}
	e.Body = bytes.Clone(e.Body)
	return e, nil
}

// parse is Parse whose body is a view of b.
func parse(b []byte) (Envelope, error) {
	var e Envelope
	r := wire.NewReader(b)
	version := r.Uint8()
	r.Copy(e.Nonce[:])
	r.Copy(e.Tag[:])
	e.Work = r.Uint64()
	e.Body = r.Rest()
	if err := r.Done(); err != nil {
		return Envelope{}, fmt.Errorf("transport: envelope: %w", err)
	}
	if version != Version {
		return Envelope{}, fmt.Errorf("%w %d", ErrVersion, version)
	}
	if !isSize(len(e.Body)) {
		return Envelope{}, fmt.Errorf("%w: %d bytes", ErrSize, len(e.Body))
	}
	return e, nil
}

// ContentHash is SHA-256 over version, tag and body. It is the same for every
// nonce and work, so a receiver uses it to know a retry from a new message.
func (e Envelope) ContentHash() [32]byte {
	h := sha256.New()
	h.Write([]byte{Version})
	h.Write(e.Tag[:])
	h.Write(e.Body)
	return [32]byte(h.Sum(nil))
}

// Reseal returns the same ciphertext under a fresh nonce and without work, for
// sending it again. Both share the body.
func (e Envelope) Reseal() Envelope {
	rand.Read(e.Nonce[:])
	e.Work = 0
	return e
}
