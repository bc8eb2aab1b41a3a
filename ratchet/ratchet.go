// Package ratchet is pairwise sessions: a post-quantum handshake in the manner
// of PQXDH (secp256k1 and ML-KEM-768) and a double ratchet with encrypted
// headers over it.
//
// A sender takes the peer's [PrekeyBundle] and calls [Initiate]; the receiver
// of a first message calls [PeekFirst], judges the hello it finds there, and
// calls [First.Accept]. From then on both sides call [Session.Encrypt] and
// [Session.Decrypt].
//
// The package is pure: no clock, goroutine or storage. Every operation that
// changes a session returns the next state and leaves the receiver as it was,
// so that a caller can write the step, and what came of it, in one transaction
// and call [Session.Erase] on the old state afterwards. An operation that fails
// changes nothing. A ciphertext must leave only after the next state is stored.
//
// Accounts and devices are opaque bytes here. That a device belongs to an
// account is for the caller to verify, from the hello.
package ratchet

import (
	"errors"
	"fmt"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/wire"
)

// Sizes in bytes.
const (
	AcctSize       = 52   // address || uint256 chain id
	DevSize        = 32   // digest of the link that authorises the device
	IdentitySize   = 150  // acct || dev || ik || sk
	TagSize        = 16   // what an envelope is found by
	IDSize         = 32   // session id
	InboxKeySize   = 32   // from the bundle
	KEMPublicSize  = 1184 // ML-KEM-768 encapsulation key
	KEMPrivateSize = 64   // ML-KEM-768 seed d || z
)

// Version is the protocol's version, the first byte of preambles and headers.
const Version = 1

var (
	// ErrDecrypt is returned for a message that does not open, whatever the
	// reason: a key that does not fit, a flipped bit, garbage.
	ErrDecrypt = errors.New("ratchet: message does not open")
	// ErrReplay is returned for a message whose header is genuine and whose
	// key was used or has expired.
	ErrReplay = errors.New("ratchet: message was read before, or its key has expired")
	// ErrTooFarAhead is returned for a message that would skip more than
	// [MaxSkip] messages of a chain.
	ErrTooFarAhead = errors.New("ratchet: message is too far ahead")
	// ErrBundle is returned by [Initiate] for a bundle with a missing or
	// malformed key.
	ErrBundle = errors.New("ratchet: bad prekey bundle")
	// ErrPrekey is returned by [First.Accept] when a prekey that the message
	// names is not there any more, or never was.
	ErrPrekey = errors.New("ratchet: unknown prekey")
	// ErrVersion is returned for a message or a stored state of another
	// version of the protocol.
	ErrVersion = errors.New("ratchet: unsupported version")
	// ErrTooLarge is returned for a plaintext longer than
	// [Session.MaxPlaintext] or a hello longer than [MaxHello].
	ErrTooLarge = errors.New("ratchet: content is too large")
	// ErrExhausted is returned by [Session.Encrypt] after 2^32-1 messages
	// without an answer.
	ErrExhausted = errors.New("ratchet: sending chain is exhausted")
	// ErrState is returned by [ParseSession] and [ParseSkippedKey] for bytes
	// that [Session.Marshal] and [SkippedKey.Marshal] do not make.
	ErrState = errors.New("ratchet: malformed stored state")
)

// Tag is what a receiver finds the key of an envelope by.
type Tag [TagSize]byte

// ID names a session: the hash T of its handshake, the same on both sides.
type ID [IDSize]byte

// Identity is one device as the handshake binds it. Acct and Dev are opaque.
type Identity struct {
	Acct [AcctSize]byte
	Dev  [DevSize]byte
	IK   secp.PublicKey // DH identity key of the device
	SK   secp.PublicKey // signing key of the device; only bound, never used here
}

// Equal reports whether both are the same device with the same keys.
func (id Identity) Equal(other Identity) bool {
	return id.Acct == other.Acct && id.Dev == other.Dev && id.IK.Equal(other.IK) && id.SK.Equal(other.SK)
}

// valid reports whether both keys are set.
func (id Identity) valid() bool { return !id.IK.IsZero() && !id.SK.IsZero() }

// append writes the 150 bytes acct || dev || ik || sk.
func (id Identity) append(b []byte) []byte {
	b = append(append(b, id.Acct[:]...), id.Dev[:]...)
	return append(append(b, id.IK.Bytes()...), id.SK.Bytes()...)
}

// readIdentity reads what [Identity.append] wrote and checks the keys.
func readIdentity(r *wire.Reader) (id Identity) {
	r.Copy(id.Acct[:])
	r.Copy(id.Dev[:])
	id.IK = readPoint(r)
	id.SK = readPoint(r)
	return id
}

// readPoint reads a compressed point and checks that it is on the curve.
func readPoint(r *wire.Reader) secp.PublicKey {
	b := r.Bytes(secp.PublicKeySize)
	if b == nil {
		return secp.PublicKey{}
	}
	p, err := secp.ParsePublicKey(b)
	if err != nil {
		r.Fail(fmt.Errorf("%w: %w", wire.ErrValue, err))
	}
	return p
}

// Message is what travels: the tag goes into the envelope, the body is its
// content. The length of Body is always one of [BodySizes]: it is padded under
// the encryption, and needs no padding by what carries it.
type Message struct {
	Tag  Tag
	Body []byte
}
