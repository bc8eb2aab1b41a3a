package identity

import (
	"bytes"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/wire"
)

const (
	// SafetyIterations is how often the hash of a fingerprint is repeated. Half a
	// safety number is 100 bits; the repetition makes a search for other keys
	// with the same digits as costly as 112.
	SafetyIterations = 5200
	// SafetyCodeSize is the size of the bytes in a QR code:
	// version(1) || own fingerprint(32) || the other's fingerprint(32).
	SafetyCodeSize = 1 + 2*fingerprintSize

	fingerprintSize   = 32
	safetyCodeVersion = 1
	safetyGroups      = 6 // of five digits, for one account
)

// ErrSafetyMismatch is returned for a safety code of other keys than expected.
var ErrSafetyMismatch = errors.New("identity: the safety codes do not match")

// fingerprint is a slow hash of an account and the keys of its devices:
// H(0) = SHA-512(m), H(i) = SHA-512(H(i-1) || m), H(SafetyIterations) cut to 32
// bytes, with m = LP("parley/1 safety") || account || the signing key and DH key
// of each device, sorted by signing key.
//
// It covers devices outside their time of validity: two people whose clocks
// differ see the same digits.
func (l *Log) fingerprint() [fingerprintSize]byte {
	m := l.account.append(wire.AppendLP(nil, []byte("parley/1 safety")))
	m = append(m, l.deviceKeys()...)

	h := sha512.Sum512(m)
	buf := make([]byte, sha512.Size+len(m))
	copy(buf[sha512.Size:], m)
	for range SafetyIterations {
		copy(buf, h[:])
		h = sha512.Sum512(buf)
	}
	return [fingerprintSize]byte(h[:])
}

// deviceKeys is what a fingerprint covers: the signing key and DH key of each
// device, sorted by signing key.
func (l *Log) deviceKeys() []byte {
	keys := make([][]byte, 0, len(l.devices))
	for _, d := range l.devices {
		keys = append(keys, append(d.SigningKey.Bytes(), d.DHKey.Bytes()...))
	}
	slices.SortFunc(keys, func(a, b []byte) int {
		return bytes.Compare(a[:secp.PublicKeySize], b[:secp.PublicKeySize])
	})
	return bytes.Join(keys, nil)
}

// SafetyChanged reports whether safety numbers with an account differ between two
// of its logs.
func SafetyChanged(before, after *Log) bool {
	return !bytes.Equal(before.deviceKeys(), after.deviceKeys())
}

// SafetyNumber returns the 60 digits, in 12 groups of 5 with spaces between,
// that two people compare to be sure of each other's devices. It is the same
// whichever log comes first, and covers the keys of every device that is
// authorised and not revoked, whatever the time.
//
// Each account's half is its fingerprint: bytes 0 to 4, 5 to 9 and so on to 29
// as big-endian numbers modulo 100000. The smaller half comes first.
func SafetyNumber(a, b *Log) string {
	half := func(l *Log) string {
		fp := l.fingerprint()
		groups := make([]string, safetyGroups)
		for i := range groups {
			var v uint64
			for _, c := range fp[5*i : 5*i+5] {
				v = v<<8 | uint64(c)
			}
			groups[i] = fmt.Sprintf("%05d", v%100000)
		}
		return strings.Join(groups, " ")
	}
	x, y := half(a), half(b)
	if y < x {
		x, y = y, x
	}
	return x + " " + y
}

// SafetyCode returns the bytes of the QR code that the owner of mine shows to
// the owner of theirs, [SafetyCodeSize] of them.
func SafetyCode(mine, theirs *Log) []byte {
	m, t := mine.fingerprint(), theirs.fingerprint()
	return slices.Concat([]byte{safetyCodeVersion}, m[:], t[:])
}

// CheckSafetyCode compares the code on the other person's screen with the logs
// known here. It returns [ErrSafetyMismatch] unless both sides agree on the
// devices of both.
func CheckSafetyCode(code []byte, mine, theirs *Log) error {
	if subtle.ConstantTimeCompare(code, SafetyCode(theirs, mine)) != 1 {
		return ErrSafetyMismatch
	}
	return nil
}
