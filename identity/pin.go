package identity

import (
	"errors"
	"fmt"
	"time"
)

// ErrPinName is returned by [CheckPin] for a pin that is another name's.
var ErrPinName = errors.New("identity: pin belongs to another name")

// Pin is the first address that was seen for a name. Whoever controls a name, or
// the RPC endpoint that resolves it, can point it elsewhere at any time; the pin
// makes that visible. It is comparable.
type Pin struct {
	// Name is in the form that [NormalizeName] returns.
	Name    string
	Address Address
	// FirstSeen is when Address was first seen for Name, or accepted for it.
	FirstSeen time.Time
}

// PinChangedError is returned by [CheckPin] when a name resolves to another
// address than the pinned one. A person decides: [PinChangedError.Accept] makes
// the pin of the new address, doing nothing keeps the old.
type PinChangedError struct {
	Name string
	Old  Pin
	New  Address
}

func (e *PinChangedError) Error() string {
	return fmt.Sprintf("identity: %s was %s and is now %s", e.Name, e.Old.Address, e.New)
}

// Accept returns the pin that replaces the old one after a person has said yes.
func (e *PinChangedError) Accept(now time.Time) Pin {
	return Pin{Name: e.Name, Address: e.New, FirstSeen: now}
}

// CheckPin compares what a normalised name resolves to with its pin, nil if it
// has none yet, and returns the pin to keep: a new one at first sight, else the
// old one unchanged. It fails with *[PinChangedError], and still returns the old
// pin, when the address is another.
func CheckPin(old *Pin, name string, addr Address, now time.Time) (Pin, error) {
	switch {
	case old == nil:
		return Pin{Name: name, Address: addr, FirstSeen: now}, nil
	case old.Name != name:
		return *old, ErrPinName
	case old.Address != addr:
		return *old, &PinChangedError{Name: name, Old: *old, New: addr}
	}
	return *old, nil
}
