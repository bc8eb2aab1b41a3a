package identity

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheckPin(t *testing.T) {
	first := time.Unix(1_700_000_000, 0)
	later := first.Add(time.Hour)
	a, b := Address{1}, Address{2}

	pin, err := CheckPin(nil, "alice.eth", a, first)
	if want := (Pin{Name: "alice.eth", Address: a, FirstSeen: first}); err != nil || pin != want {
		t.Fatalf("first sight: %v, %v", pin, err)
	}
	if again, err := CheckPin(&pin, "alice.eth", a, later); err != nil || again != pin {
		t.Errorf("same address: %v, %v", again, err)
	}

	kept, err := CheckPin(&pin, "alice.eth", b, later)
	var changed *PinChangedError
	if !errors.As(err, &changed) || kept != pin {
		t.Fatalf("another address: %v, %v", kept, err)
	}
	if changed.Name != "alice.eth" || changed.Old != pin || changed.New != b {
		t.Errorf("the error says %+v", changed)
	}
	for _, s := range []string{"alice.eth", a.String(), b.String()} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %s", err, s)
		}
	}
	accepted := changed.Accept(later)
	if want := (Pin{Name: "alice.eth", Address: b, FirstSeen: later}); accepted != want {
		t.Errorf("accepted pin is %v", accepted)
	}
	if _, err := CheckPin(&accepted, "alice.eth", b, later); err != nil {
		t.Error("the accepted address is refused:", err)
	}
	if _, err := CheckPin(&accepted, "alice.eth", a, later); !errors.As(err, &changed) {
		t.Error("the old address is taken again:", err)
	}

	if kept, err := CheckPin(&pin, "bob.eth", a, later); !errors.Is(err, ErrPinName) || kept != pin {
		t.Errorf("another name's pin: %v, %v", kept, err)
	}
}
