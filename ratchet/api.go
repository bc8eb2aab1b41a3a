package ratchet

import (
	"errors"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

var errTODO = errors.New("ratchet: not yet")

// Session is one side of a pairwise session. It is immutable: methods that
// advance it return the next state. It does not print its keys.
type Session struct {
	peer Identity
	id   ID
}

// Initiate starts a session with the device of bundle, which the caller has
// verified. hello is an opaque blob (the caller's account log and device), at
// most [MaxHello] bytes, that travels sealed in every message until the first
// answer. It returns [ErrBundle] or [ErrTooLarge].
func Initiate(us Identity, ik *secp.PrivateKey, bundle PrekeyBundle, hello []byte, now time.Time) (*Session, error) {
	return nil, errTODO
}

// ID returns the session's id, the same on both sides.
func (s *Session) ID() ID { return s.id }

// Peer returns the other device.
func (s *Session) Peer() Identity { return s.peer }

// Answered reports whether something from the peer was read in this session.
// Until then every message of an initiator carries the preamble.
func (s *Session) Answered() bool { return false }

// MaxPlaintext returns the largest plaintext, in bytes, that the next Encrypt takes.
func (s *Session) MaxPlaintext() int { return 0 }

// Encrypt returns the next state and the message. appAD is authenticated and
// does not travel. It returns [ErrTooLarge] or [ErrExhausted].
func (s *Session) Encrypt(plaintext, appAD []byte, now time.Time) (next *Session, m Message, err error) {
	return nil, Message{}, errTODO
}

// Incoming is a message as it arrived, with what the caller has stored for it.
type Incoming struct {
	Tag     Tag
	Body    []byte      // zero bytes after it are allowed
	AppAD   []byte      // as the sender gave it
	Skipped *SkippedKey // the session's stored key with this tag, nil if there is none
	Stored  int         // how many skipped keys are stored for the session
}

// Opened is what reading a message gives. The caller stores Session and
// applies Delta in one transaction with Plaintext.
type Opened struct {
	Session   *Session // the next state
	Plaintext []byte
	Delta     Delta
}

// Decrypt opens a message. On any error (ErrDecrypt, ErrReplay,
// ErrTooFarAhead, ErrVersion) nothing has changed.
func (s *Session) Decrypt(in Incoming, now time.Time) (*Opened, error) { return nil, errTODO }

// Erase overwrites the session's keys with zeros. It is called on a state
// after the next one was stored.
func (s *Session) Erase() {}

// Marshal returns the state to be stored: at most [MaxSessionSize] bytes,
// secrets included.
func (s *Session) Marshal() secret.Key { return secret.Key{} }

// ParseSession returns the session that [Session.Marshal] gave. It returns
// [ErrState] or [ErrVersion].
func ParseSession(b []byte) (*Session, error) { return nil, errTODO }

// Preferred returns that of two sessions with one peer that both sides send on
// when both started at the same time: the one with the smaller ID.
func Preferred(a, b *Session) *Session { return a }

// Delta is what a step changes in the table of skipped keys.
type Delta struct {
	New   []SkippedKey // to be stored
	Used  *Tag         // to be deleted: its message was read
	Evict int          // to be deleted: so many of the session's oldest, before New is stored
}

// SkippedKey is the key of a message that has not come yet. The caller stores
// it as a row of its session, found by Tag, until it is used, evicted, or
// older than [SkippedLifetime].
type SkippedKey struct {
	Tag        Tag
	N          uint32
	HeaderKey  secret.Key // 32 bytes
	MessageKey secret.Key // 32 bytes
	Created    time.Time  // to the second
}

// Marshal returns the row's content, secrets included.
func (k *SkippedKey) Marshal() secret.Key { return secret.Key{} }

// ParseSkippedKey returns the key that [SkippedKey.Marshal] gave, or [ErrState].
func ParseSkippedKey(b []byte) (*SkippedKey, error) { return nil, errTODO }

// TagEntry is a tag that a session expects.
type TagEntry struct {
	Tag   Tag
	Chain uint32 // number of the receiving chain, from 1
	N     uint32 // number of the message in it
}

// ReceiveTags returns the tags of the next window messages of the current
// receiving chain and of the one after it, for an index from tags to sessions.
func (s *Session) ReceiveTags(window int) []TagEntry { return nil }

// TagDiff returns what to add to and drop from an index that holds
// old.ReceiveTags(window), to make it hold s.ReceiveTags(window).
func (s *Session) TagDiff(old *Session, window int) (add, drop []TagEntry) { return nil, nil }

// FirstTag returns the tag of first messages to the owner of inboxKey in the
// week of now.
func FirstTag(inboxKey [InboxKeySize]byte, now time.Time) Tag { return Tag{} }

// FirstTags returns the tags a receiver accepts first messages under: those of
// the week of now, the one before and the one after.
func FirstTags(inboxKey [InboxKeySize]byte, now time.Time) [3]Tag { return [3]Tag{} }

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
}

// PeekFirst unseals the preamble of a message that came under one of
// [FirstTags]. It needs no prekey. It returns [ErrDecrypt] or [ErrVersion].
//
// The caller then looks for a session with First.ID and gives it
// First.Message; if there is none, and First.ID is not among those seen
// before, it verifies Hello and calls [First.Accept].
func PeekFirst(us Identity, ik *secp.PrivateKey, inboxKey [InboxKeySize]byte, m Message, now time.Time) (*First, error) {
	return nil, errTODO
}

// Accept completes the handshake and reads the message. The caller stores the
// session, deletes the one-time prekey OPKID, and remembers ID for as long as
// the prekeys SPKID and EKID live, to refuse replays. On an error
// ([ErrPrekey], [ErrDecrypt], [ErrVersion], [ErrTooFarAhead]) nothing has
// changed.
func (f *First) Accept(us Identity, ik *secp.PrivateKey, keys Prekeys, appAD []byte, now time.Time) (*Opened, error) {
	return nil, errTODO
}
