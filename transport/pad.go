package transport

import (
	"errors"
	"fmt"
)

// MaxBody is the largest body of an envelope.
const MaxBody = 60 << 10

// sizes are the lengths a body can have. The largest leaves room in MaxMessage
// for the envelope's header and gossipsub's own framing.
var sizes = [...]int{256, 1 << 10, 4 << 10, 16 << 10, MaxBody}

// ErrPadding is returned by Unpad for bytes that Pad did not make.
var ErrPadding = errors.New("transport: bad padding")

// Sizes returns the lengths a body can have, in ascending order.
func Sizes() []int { return append([]int(nil), sizes[:]...) }

// SizeFor returns the smallest body that has room for n bytes. It returns
// ErrSize if n is negative or exceeds MaxBody.
func SizeFor(n int) (int, error) {
	if n >= 0 {
		for _, s := range sizes {
			if n <= s {
				return s, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: no body has room for %d bytes", ErrSize, n)
}

func isSize(n int) bool {
	for _, s := range sizes {
		if n == s {
			return true
		}
	}
	return false
}

// Pad returns a copy of content followed by 0x80 and zeros, so long that with
// overhead more bytes (nonces, headers, authentication tags) it is a body. It is
// meant for plaintext: padding that is sent in the clear hides no length. It
// returns ErrSize if the content does not fit.
func Pad(content []byte, overhead int) ([]byte, error) {
	if overhead < 0 || overhead > MaxBody {
		return nil, fmt.Errorf("%w: overhead of %d bytes", ErrSize, overhead)
	}
	size, err := SizeFor(len(content) + 1 + overhead)
	if err != nil {
		return nil, err
	}
	padded := make([]byte, size-overhead)
	copy(padded, content)
	padded[len(content)] = 0x80
	return padded, nil
}

// Unpad returns the content inside padded as a view. It returns ErrPadding if
// the last byte that is not zero is not 0x80. It is not constant time: it is
// called on what has been authenticated.
func Unpad(padded []byte) ([]byte, error) {
	for i := len(padded) - 1; i >= 0; i-- {
		switch padded[i] {
		case 0:
		case 0x80:
			return padded[:i], nil
		default:
			return nil, ErrPadding
		}
	}
	return nil, ErrPadding
}
