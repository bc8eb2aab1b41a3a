package ratchet

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secret"
)

// Labels: the info strings of HKDF.
const (
	labelHandshake = "parley/1 pqxdh"
	labelRatchet   = "parley/1 ratchet"
	labelMessage   = "parley/1 msg"
	labelTag       = "parley/1 tag"
	labelFirst     = "parley/1 first"
	labelFirstSeal = "parley/1 first seal"
)

const keySize = 32 // of every symmetric secret here

// kdf3 is HKDF-SHA256 to 96 bytes, cut into three keys.
func kdf3(salt, ikm []byte, info string) (a, b, c secret.Key) {
	out, err := hkdf.Key(sha256.New, ikm, salt, info, 3*keySize)
	if err != nil {
		panic("ratchet: " + err.Error()) // 96 bytes are always to be had
	}
	a = secret.Copy(out[:keySize])
	b = secret.Copy(out[keySize : 2*keySize])
	c = secret.Copy(out[2*keySize:])
	clear(out)
	return a, b, c
}

// kdfRK is the step of the root chain: the next root key, a chain key and the
// next header key of the same direction, from the Diffie-Hellman and, if the
// chain has one, the post-quantum secret ss.
func kdfRK(rk, dh secret.Key, ss []byte) (nextRK, ck, nhk secret.Key) {
	ikm := make([]byte, 0, 2*keySize)
	ikm = append(append(ikm, dh.Bytes()...), ss...)
	defer clear(ikm)
	return kdf3(rk.Bytes(), ikm, labelRatchet)
}

// kdfCK is the step of a sending or receiving chain: the message key and the
// next chain key.
func kdfCK(ck secret.Key) (mk, next [keySize]byte) {
	return hmacSum(ck.Bytes(), []byte{1}), hmacSum(ck.Bytes(), []byte{2})
}

// messageKey appends to dst the AEAD key of one message, of 32 bytes, and its
// nonce, of 12. The random hn is in it so that a state restored from a backup,
// which sends under the same mk again, does not repeat a key and nonce.
func messageKey(dst, mk, hn []byte) []byte {
	return expand(dst, mk, labelMessage, hn, messageKeySize)
}

const messageKeySize = keySize + chacha20poly1305.NonceSize

// tagKey is the key of a chain's tags and frame masks.
func tagKey(hk secret.Key) secret.Key {
	return secret.New(expand(nil, hk.Bytes(), labelTag, nil, keySize))
}

// messageTag is the tag of message n of a chain.
func messageTag(tagKey secret.Key, n uint32) (t Tag) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	sum := hmacSum(tagKey.Bytes(), b[:])
	copy(t[:], sum[:])
	return t
}

const week = 7 * 24 * 60 * 60 // seconds

// weekOf is the number of the week that now is in, 0 before 1970.
func weekOf(now time.Time) uint32 {
	return uint32(unix(now) / week)
}

func firstTag(inboxKey [InboxKeySize]byte, week uint32) (t Tag) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], week)
	sum := hmacSum(inboxKey[:], b[:])
	copy(t[:], sum[:])
	return t
}

// FirstTag returns the tag of first messages to the owner of inboxKey in the
// week of now (seconds since 1970 divided by 604800).
func FirstTag(inboxKey [InboxKeySize]byte, now time.Time) Tag {
	return firstTag(inboxKey, weekOf(now))
}

// FirstTags returns the tags a receiver accepts first messages under: that of
// the week after now, for clocks that differ, that of the week of now, and those
// of the [LateWeeks] before.
func FirstTags(inboxKey [InboxKeySize]byte, now time.Time) (tags [LateWeeks + 2]Tag) {
	w := weekOf(now) + 1
	for i := range tags {
		tags[i] = firstTag(inboxKey, w-uint32(i))
	}
	return tags
}
