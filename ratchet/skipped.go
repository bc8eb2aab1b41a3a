package ratchet

import (
	"time"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// Delta is what a step changes in the table of skipped keys.
type Delta struct {
	New   []SkippedKey // to be stored
	Used  *Tag         // to be deleted: its message was read; nil if none
	Evict int          // to be deleted before New is stored: so many of the session's oldest
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

// Expired reports whether the key may not be used any more.
func (k *SkippedKey) Expired(now time.Time) bool { return now.Sub(k.Created) > SkippedLifetime }

// Erase overwrites the keys with zeros.
func (k *SkippedKey) Erase() {
	k.HeaderKey.Erase()
	k.MessageKey.Erase()
}

// Marshal returns the row's content, 93 bytes, secrets included.
//
//	struct {
//	  uint8 version = 1;
//	  opaque tag[16];
//	  uint32 n;
//	  opaque header_key[32];
//	  opaque message_key[32];
//	  uint64 created;  // Unix seconds
//	} SkippedKey;
func (k *SkippedKey) Marshal() secret.Key {
	b := make([]byte, 0, 1+TagSize+4+2*keySize+8)
	b = append(append(b, stateVersion), k.Tag[:]...)
	b = wire.AppendUint32(b, k.N)
	b = append(append(b, k.HeaderKey.Bytes()...), k.MessageKey.Bytes()...)
	return secret.New(wire.AppendUint64(b, uint64(unix(k.Created))))
}

// ParseSkippedKey returns the key that [SkippedKey.Marshal] gave. It returns
// [ErrState] or [ErrVersion].
func ParseSkippedKey(b []byte) (*SkippedKey, error) {
	r := wire.NewReader(b)
	if err := readStateVersion(r); err != nil {
		return nil, err
	}
	k := new(SkippedKey)
	r.Copy(k.Tag[:])
	k.N = r.Uint32()
	header, message := r.Bytes(keySize), r.Bytes(keySize)
	created := readUnix(r)
	if err := r.Done(); err != nil {
		return nil, stateError(err)
	}
	k.HeaderKey, k.MessageKey = secret.Copy(header), secret.Copy(message)
	k.Created = time.Unix(created, 0)
	return k, nil
}
