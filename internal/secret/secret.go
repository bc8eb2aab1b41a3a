// Package secret holds the one type for keys and chain secrets. A [Key] neither
// prints, compares with ==, nor marshals by accident.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// ErrMarshal is returned by every standard marshalling interface of a [Key]:
// what must be stored is taken out with [Key.Bytes], on purpose.
var ErrMarshal = errors.New("secret: a key does not marshal itself")

const redacted = "secret.Key(redacted)"

// Key is a secret byte string: a private key, a chain key, a derived secret.
// The zero Key is empty. A Key is copied by reference: [Key.Erase] on one copy
// overwrites the bytes of all of them.
type Key struct {
	_ [0]func() // makes == an error
	// p leads to the bytes, or is nil if there are none. fmt calls no methods of
	// what it finds in an unexported field: it would print a slice that it finds
	// there, and for some verbs what a pointer points to, but not further.
	p **[]byte
}

// cell is what the pointer of a Key leads to.
type cell struct {
	bytes []byte
	to    *[]byte // bytes
}

func (c *cell) key(b []byte) Key {
	c.bytes, c.to = b, &c.bytes
	return Key{p: &c.to}
}

// New returns a Key that owns b: the caller must not use b afterwards.
func New(b []byte) Key {
	if len(b) == 0 {
		return Key{}
	}
	return new(cell).key(b)
}

// CloneAll makes each Key an independent copy of itself. The copies lie in one
// piece of memory, which costs less than one for each; erasing one leaves the
// others alone.
func CloneAll(keys ...*Key) {
	size := 0
	for _, k := range keys {
		size += k.Len()
	}
	store, cells := make([]byte, 0, size), make([]cell, len(keys))
	for i, k := range keys {
		if k.IsZero() {
			continue
		}
		from := len(store)
		store = append(store, k.Bytes()...)
		*k = cells[i].key(store[from:len(store):len(store)])
	}
}

// Copy returns a Key over a copy of b.
func Copy(b []byte) Key { return New(append([]byte(nil), b...)) }

// Random returns a Key of n bytes from crypto/rand.
func Random(n int) Key {
	b := make([]byte, n)
	rand.Read(b) // never fails, by its documentation
	return New(b)
}

// Bytes returns the secret as a view, valid until [Key.Erase]; nil if there is
// none.
func (k Key) Bytes() []byte {
	if k.p == nil {
		return nil
	}
	return **k.p
}

// Clone returns an independent copy.
func (k Key) Clone() Key { return Copy(k.Bytes()) }

// Len returns the length in bytes.
func (k Key) Len() int { return len(k.Bytes()) }

// IsZero reports whether the Key is empty: never set, or erased through this
// very variable.
func (k Key) IsZero() bool { return k.p == nil }

// Equal compares in constant time for keys of the same length.
func (k Key) Equal(other Key) bool {
	return subtle.ConstantTimeCompare(k.Bytes(), other.Bytes()) == 1
}

// Erase overwrites the bytes with zeros and empties k. It is best effort: the
// runtime may have copied them before.
func (k *Key) Erase() {
	clear(k.Bytes())
	k.p = nil
}

// String returns a constant.
func (k Key) String() string { return redacted }

// GoString returns a constant.
func (k Key) GoString() string { return redacted }

// Format writes a constant, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns a constant.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [ErrMarshal].
func (k Key) MarshalText() ([]byte, error) { return nil, ErrMarshal }

// MarshalJSON returns [ErrMarshal].
func (k Key) MarshalJSON() ([]byte, error) { return nil, ErrMarshal }

// MarshalBinary returns [ErrMarshal].
func (k Key) MarshalBinary() ([]byte, error) { return nil, ErrMarshal }
