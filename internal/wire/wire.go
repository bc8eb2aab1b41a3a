// Package wire is the TLS presentation language codec (RFC 8446, Section 3)
// with the variable-size vectors of RFC 9420, Section 2.1.2.
//
// Encoding is by append functions that extend a slice. Decoding is by [Reader],
// whose error is sticky: read every field, then look at the error once. A
// Reader never allocates for a length it has been told by the input; what it
// returns are views into the input, so a decoder that keeps bytes clones them.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// MaxVector is the largest variable-size vector that can be encoded, in bytes
// (RFC 9420, Section 2.1.2: 30 bits of length).
const MaxVector = 1<<30 - 1

var (
	// ErrTruncated is returned when the input ends inside a field.
	ErrTruncated = errors.New("wire: input is truncated")
	// ErrTrailing is returned by [Reader.Done] when bytes are left over.
	ErrTrailing = errors.New("wire: trailing bytes")
	// ErrLength is returned for a vector length that is not encoded in the
	// fewest bytes, or that exceeds the limit of its field.
	ErrLength = errors.New("wire: bad vector length")
	// ErrValue is returned for a field whose value its type does not have,
	// such as the presence octet 2 of an optional.
	ErrValue = errors.New("wire: value out of range")
)

// AppendUint8 appends v.
func AppendUint8(b []byte, v uint8) []byte { return append(b, v) }

// AppendUint16 appends v, big-endian.
func AppendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }

// AppendUint32 appends v, big-endian.
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendUint64 appends v, big-endian.
func AppendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendVarint appends n in the variable-length encoding of RFC 9420, Section
// 2.1.2. It panics if n exceeds [MaxVector], which no value of ours does.
func AppendVarint(b []byte, n int) []byte {
	switch {
	case n < 0 || n > MaxVector:
		panic("wire: vector too long")
	case n < 1<<6:
		return append(b, byte(n))
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(b, uint16(n)|0x4000)
	default:
		return binary.BigEndian.AppendUint32(b, uint32(n)|0x80000000)
	}
}

// AppendVec appends opaque data<V>: the variable-length size, then data.
func AppendVec(b, data []byte) []byte {
	return append(AppendVarint(b, len(data)), data...)
}

// AppendVecFunc appends a vector<V> whose content is what body appends. It
// costs one move of the content when its length needs more than one byte.
func AppendVecFunc(b []byte, body func([]byte) []byte) []byte {
	start := len(b)
	b = body(append(b, 0))
	n := len(b) - start - 1
	var header [4]byte
	h := AppendVarint(header[:0], n)
	if len(h) > 1 {
		b = slices.Insert(b, start+1, h[1:]...)
	}
	b[start] = h[0]
	return b
}

// AppendOptional appends the presence octet of RFC 9420, Section 2.1.1. The
// caller appends the value when present is true.
func AppendOptional(b []byte, present bool) []byte {
	if present {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendLP appends LP(data): a 4-byte big-endian length and data. It is the
// framing of everything in Parley that is not MLS.
func AppendLP(b, data []byte) []byte {
	return append(AppendUint32(b, uint32(len(data))), data...)
}

// Reader decodes a byte string from its front. After the first error every
// further read returns zero values; the zero Reader is an empty input.
type Reader struct {
	rest []byte
	err  error
}

// NewReader returns a Reader over b, which it does not copy.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

// Err returns the first error met.
func (r *Reader) Err() error { return r.err }

// Fail records err as the first error, unless there already is one. Decoders
// use it for rules of their own.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
		r.rest = nil
	}
}

// Done returns the first error met, or [ErrTrailing] if input is left over.
func (r *Reader) Done() error {
	if r.err == nil && len(r.rest) > 0 {
		r.Fail(ErrTrailing)
	}
	return r.err
}

// More reports whether another element can be read: input is left and no error
// has been met. It is the condition of the loop over a vector's elements.
func (r *Reader) More() bool { return r.err == nil && len(r.rest) > 0 }

// Len returns the number of bytes left.
func (r *Reader) Len() int { return len(r.rest) }

// Rest returns, as a view, everything that is left, and consumes it.
func (r *Reader) Rest() []byte { return r.Bytes(len(r.rest)) }

// Bytes returns the next n bytes as a view, nil after an error.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.rest) {
		r.Fail(ErrTruncated)
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

// Copy fills dst with the next len(dst) bytes.
func (r *Reader) Copy(dst []byte) { copy(dst, r.Bytes(len(dst))) }

// Uint8 reads one byte.
func (r *Reader) Uint8() uint8 {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads a big-endian 16-bit value.
func (r *Reader) Uint16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint32 reads a big-endian 32-bit value.
func (r *Reader) Uint32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads a big-endian 64-bit value.
func (r *Reader) Uint64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Varint reads a length of RFC 9420, Section 2.1.2. A length that could have
// been written in fewer bytes is [ErrLength], as the section demands.
func (r *Reader) Varint() int {
	first := r.Uint8()
	switch first >> 6 {
	case 0:
		return int(first)
	case 1:
		n := int(first&0x3f)<<8 | int(r.Uint8())
		if r.err == nil && n < 1<<6 {
			r.Fail(ErrLength)
			return 0
		}
		return n
	case 2:
		tail := r.Bytes(3)
		if tail == nil {
			return 0
		}
		n := int(first&0x3f)<<24 | int(tail[0])<<16 | int(tail[1])<<8 | int(tail[2])
		if n < 1<<14 {
			r.Fail(ErrLength)
			return 0
		}
		return n
	default:
		r.Fail(ErrLength)
		return 0
	}
}

// Vec reads opaque data<V> as a view. It is bounded by the input itself.
func (r *Reader) Vec() []byte { return r.Bytes(r.Varint()) }

// VecMax reads opaque data<V> of at most limit bytes as a view; a longer one
// is [ErrLength].
func (r *Reader) VecMax(limit int) []byte {
	n := r.Varint()
	if n > limit {
		r.Fail(fmt.Errorf("%w: %d bytes, limit %d", ErrLength, n, limit))
		return nil
	}
	return r.Bytes(n)
}

// Sub reads a vector<V> and returns a Reader over its content. The caller
// reads the elements while [Reader.More] and hands the sub-reader's error
// back with [Reader.Fail] (a nil error is ignored by [Reader.Join]).
func (r *Reader) Sub() *Reader {
	content := r.Vec() // first: it may set err
	return &Reader{rest: content, err: r.err}
}

// Join takes over the outcome of a sub-reader: its error, or [ErrTrailing].
func (r *Reader) Join(sub *Reader) {
	if err := sub.Done(); err != nil {
		r.Fail(err)
	}
}

// Optional reads a presence octet; a value other than 0 and 1 is [ErrValue].
func (r *Reader) Optional() bool {
	switch r.Uint8() {
	case 0:
		return false
	case 1:
		return true
	default:
		r.Fail(ErrValue)
		return false
	}
}

// LP reads LP(data) of at most limit bytes as a view.
func (r *Reader) LP(limit int) []byte {
	n := r.Uint32()
	if uint64(n) > uint64(limit) {
		r.Fail(fmt.Errorf("%w: %d bytes, limit %d", ErrLength, n, limit))
		return nil
	}
	return r.Bytes(int(n))
}
