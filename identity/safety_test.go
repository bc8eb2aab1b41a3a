package identity

import (
	"context"
	"regexp"
	"slices"
	"testing"
)

func TestSafetyNumber(t *testing.T) {
	alice, bob := testWallet(t), func() *KeyWallet { w, err := ParseHexKey(ethersRevokeDigest); noError(t, err); return w }()
	a := authorize(t, NewLog(KeyAccount(alice.Address())), alice, testDevice(t, 1))
	b := authorize(t, NewLog(KeyAccount(bob.Address())), bob, testDevice(t, 11))

	number := SafetyNumber(a, b)
	if !regexp.MustCompile(`^\d{5}( \d{5}){11}$`).MatchString(number) {
		t.Fatalf("not 12 groups of 5 digits: %q", number)
	}
	if SafetyNumber(b, a) != number {
		t.Error("the two sides see different numbers")
	}
	code := SafetyCode(a, b)
	noError(t, CheckSafetyCode(code, b, a))
	wantError(t, CheckSafetyCode(code, a, b), ErrSafetyMismatch) // one's own code
	if len(code) != SafetyCodeSize {
		t.Errorf("the code has %d bytes", len(code))
	}
	for i := range code {
		bad := slices.Clone(code)
		bad[i] ^= 1
		wantError(t, CheckSafetyCode(bad, b, a), ErrSafetyMismatch)
	}
	wantError(t, CheckSafetyCode(nil, b, a), ErrSafetyMismatch)

	// What changes the devices changes the number.
	more := authorize(t, a, alice, testDevice(t, 21))
	less := revoke(t, more, alice, testDevice(t, 21))
	if SafetyNumber(more, b) == number || !SafetyChanged(a, more) {
		t.Error("a new device does not show")
	}
	if SafetyNumber(less, b) != number || SafetyChanged(a, less) {
		t.Error("a device that came and went shows")
	}
	other := testDevice(t, 1)
	other.DH = testDevice(t, 30).DH
	rekeyed := authorize(t, a, alice, other)
	if SafetyNumber(rekeyed, b) == number || !SafetyChanged(a, rekeyed) {
		t.Error("a new DH key does not show")
	}
	// What does not touch keys does not: a new name, an end of validity.
	renamed, err := AuthorizeDevice(context.Background(), a, alice, testDevice(t, 1), Authorization{Name: "desk", NotAfter: testNow})
	noError(t, err)
	if SafetyNumber(renamed, b) != number {
		t.Error("a new name shows")
	}
	if number != knownSafetyNumber {
		t.Errorf("got %s", number)
	}
}

// Made from the specification by a program in another language.
const knownSafetyNumber = "35505 68327 33968 82913 23815 02096 87190 53345 81343 96980 69112 40126"
