package parley

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
)

func TestApplications(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	const purpose = "im.parley.test/eip155:1:0x0123"
	g, err := alice.CreateGroup(t.Context(), "treasury", []string{"bob.eth"}, GroupOptions{Purpose: purpose})
	if err != nil || g.Purpose != purpose {
		t.Fatalf("%+v, %v", g, err)
	}
	bob.until("the group", changed("joined"))
	say := func(c Content) {
		t.Helper()
		if _, err := alice.SendGroup(t.Context(), "treasury", c, SendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	say(Application("im.parley.test/a", []byte("1")))
	say(Text("between"))
	say(Application("im.parley.other/a", []byte("2")))
	say(Application("im.parley.test/b", []byte("3")))
	say(Text("last"))
	w.eventually("bob has not heard all", func() bool { return bob.count(`SELECT COUNT(*) FROM messages`) == 5 })

	for _, who := range []*person{alice, bob} {
		if g, err := who.Group(t.Context(), "treasury"); err != nil || g.Purpose != purpose {
			t.Errorf("%s: %+v, %v", who.name, g, err)
		}
		var got []string
		var after Cursor
		for {
			page, err := who.ApplicationMessages(t.Context(), "treasury", "im.parley.test/", after, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			if len(page) > 1 || page[0].Cursor <= after {
				t.Fatalf("after %d comes %+v", after, page)
			}
			after = page[0].Cursor
			got = append(got, string(page[0].Content.Data))
		}
		if s := strings.Join(got, " "); s != "1 3" {
			t.Errorf("%s reads %q", who.name, s)
		}
	}

	// What an older schema stored has no type beside it.
	if err := bob.step(t.Context(), func(s *step) error {
		_, err := s.Exec(`UPDATE messages SET app = NULL`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if all, err := bob.ApplicationMessages(t.Context(), "treasury", "im.parley.test/", 0, 10); err != nil || len(all) != 2 {
		t.Errorf("%d messages, %v", len(all), err)
	}
}

func TestPurposePrints(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	for _, purpose := range []string{"two\nlines", "\u202e", strings.Repeat("x", MaxTypeName+1)} {
		if _, err := alice.CreateGroup(t.Context(), "ops", nil, GroupOptions{Purpose: purpose}); !errors.Is(err, ErrGroupName) {
			t.Errorf("%.20q: %v", purpose, err)
		}
	}
}

func TestAppData(t *testing.T) {
	w := newWorld(t)
	alice := w.join("alice")
	const app = "im.parley.test"
	want := func(key, value string) {
		t.Helper()
		if got, err := alice.AppData(t.Context(), app, key); string(got) != value || err != nil {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	set := func(app, key string, value []byte) error { return alice.SetAppData(t.Context(), app, key, value) }
	want("a", "")
	for key, value := range map[string]string{"a": "1", "b": "2"} {
		if err := set(app, key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := set("im.parley.other", "a", []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	want("a", "1")
	if err := set(app, "b", nil); err != nil {
		t.Fatal(err)
	}
	want("b", "")
	if err := set(app, "a", bytes.Repeat([]byte{1}, MaxAppData)); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < maxAppKeys; i++ {
		if err := set(app, strconv.Itoa(i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for name, err := range map[string]error{
		"a key too many": set(app, "more", []byte("x")),
		"no application": set("", "a", []byte("x")),
		"long name":      set(strings.Repeat("x", MaxTypeName+1), "a", []byte("x")),
		"no key":         set(app, "", []byte("x")),
		"long key":       set(app, strings.Repeat("x", maxAppKey+1), []byte("x")),
		"large value":    set(app, "a", make([]byte, MaxAppData+1)),
	} {
		if !errors.Is(err, ErrAppData) {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys, err := alice.AppDataKeys(t.Context(), app)
	if err != nil || len(keys) != maxAppKeys || keys[0] != "1" {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}
