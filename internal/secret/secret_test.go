package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func TestKeyDoesNotPrint(t *testing.T) {
	k := Copy([]byte("open sesame open sesame"))
	type holder struct{ Inner Key }
	type hider struct {
		inner Key
		list  []Key
		named map[string]Key
	}
	hidden := hider{k, []Key{k}, map[string]Key{"k": k}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "holder", holder{k})
	out := []string{log.String(), k.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d", "%X"} {
		out = append(out, fmt.Sprintf(verb, k), fmt.Sprintf(verb, &k), fmt.Sprintf(verb, holder{k}),
			fmt.Sprintf(verb, hidden), fmt.Sprintf(verb, &hidden), fmt.Sprintf(verb, []any{hidden}))
	}
	for _, s := range out {
		if strings.Contains(s, "sesame") || strings.Contains(strings.ToLower(s), "736573616d65") || strings.Contains(s, "115 101") || strings.Contains(s, "0x73, 0x65") {
			t.Errorf("secret in %q", s)
		}
	}
}

func TestKeyDoesNotMarshal(t *testing.T) {
	k := Random(32)
	if _, err := json.Marshal(struct{ K Key }{k}); !errors.Is(err, ErrMarshal) {
		t.Errorf("json: %v", err)
	}
	if err := gob.NewEncoder(new(bytes.Buffer)).Encode(k); err == nil {
		t.Error("gob encoded a key")
	}
	if _, err := k.MarshalText(); !errors.Is(err, ErrMarshal) {
		t.Errorf("text: %v", err)
	}
}

func TestKeyIsNotComparable(t *testing.T) {
	if reflect.TypeFor[Key]().Comparable() {
		t.Fatal("Key can be compared with ==")
	}
}

func TestEqualAndErase(t *testing.T) {
	k := Random(32)
	c := k.Clone()
	if !k.Equal(c) || k.Equal(Random(32)) || k.Equal(Key{}) {
		t.Fatal("Equal is wrong")
	}
	view := k.Bytes()
	k.Erase()
	if !k.IsZero() || !bytes.Equal(view, make([]byte, 32)) {
		t.Fatal("Erase left the bytes")
	}
	k.Erase() // once more, and of a Key that was never set
	new(Key).Erase()
	if c.IsZero() || k.Equal(c) {
		t.Fatal("Erase reached a clone")
	}
}

func TestCloneAll(t *testing.T) {
	a, b, empty := Random(32), Random(64), Key{}
	x, y := a, b
	CloneAll(&x, &empty, &y)
	if !x.Equal(a) || !y.Equal(b) || !empty.IsZero() {
		t.Fatal("a copy differs")
	}
	if view := x.Bytes(); cap(view) != len(view) {
		t.Error("a copy can be appended to")
	}
	x.Erase()
	if !y.Equal(b) || a.Equal(Copy(make([]byte, 32))) {
		t.Error("erasing a copy reached another, or what it was made of")
	}
	b.Erase()
	if y.Equal(Copy(make([]byte, 64))) || y.Len() != 64 {
		t.Error("erasing a key reached its copy")
	}
	CloneAll()
}
