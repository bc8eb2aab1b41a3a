package ratchet

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// hmacSum is HMAC-SHA256 (RFC 2104) of the parts, joined. A message takes seven of these, and crypto/hmac allocates five objects
// for each, which is more than the hashing costs. Wycheproof's vectors hold it,
// and [expand] over it, to the standards.
func hmacSum(key []byte, parts ...[]byte) (sum [sha256.Size]byte) {
	if len(key) > sha256.BlockSize {
		short := sha256.Sum256(key)
		key = short[:]
	}
	const (
		ipad = 0x3636363636363636
		opad = 0x5c5c5c5c5c5c5c5c
	)
	// Room for all that is hashed here; a longer one goes to the heap.
	var inner [3 * sha256.BlockSize]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(inner[:], key)
	for i := 0; i < sha256.BlockSize; i += 8 {
		k := binary.NativeEndian.Uint64(inner[i:])
		binary.NativeEndian.PutUint64(inner[i:], k^ipad)
		binary.NativeEndian.PutUint64(outer[i:], k^opad)
	}
	b := inner[:sha256.BlockSize]
	for _, p := range parts {
		b = append(b, p...)
	}
	sum = sha256.Sum256(b)
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	clear(inner[:])
	clear(outer[:])
	return sum
}

// expand appends to dst n bytes of HKDF-Expand (RFC 5869) of SHA-256, at most
// 255 * 32. The info is given in two parts.
func expand(dst, prk []byte, label string, info []byte, n int) []byte {
	var context [64]byte // of what is expanded here; a longer one goes to the heap
	in := append(append(context[:0], label...), info...)
	dst = slices.Grow(dst, n)
	var t [sha256.Size]byte
	var last []byte
	for i := byte(1); n > 0; i++ {
		t = hmacSum(prk, last, in, []byte{i})
		last = t[:]
		k := min(n, len(t))
		dst = append(dst, t[:k]...)
		n -= k
	}
	clear(t[:])
	return dst
}
