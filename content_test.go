package parley

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleContents() map[string]Content {
	ref := MessageID{1, 2, 3}
	all := map[string]Content{
		"text":        Text("hello"),
		"reply":       Reply(ref, "yes"),
		"reaction":    Reaction(ref, "👍"),
		"unreaction":  Reaction(ref, ""),
		"edit":        Edit(ref, "hallo"),
		"delete":      Delete(ref),
		"receipt":     {Kind: KindReceipt, Refs: []MessageID{ref, {9}}},
		"read":        {Kind: KindReceipt, Refs: []MessageID{ref}, Read: true},
		"attachment":  Attachment("a.txt", "text/plain", []byte("x")),
		"application": Application("im.parley.test/one", []byte{0, 1}),
		"expiring":    {Kind: KindText, Text: "soon gone", Expires: 1 << 40},
		"numbered":    {Kind: KindText, Text: "n", Seq: 7, Base: 5},
		"welcome":     {Kind: kindWelcome, Text: "ops", Data: []byte("mls")},
		"logs":        {Kind: kindLogs, Data: []byte("logs")},
		"purpose":     {Kind: kindWelcome, Text: "ops", Type: "im.parley.test/1", Data: []byte("mls")},
		"with logs":   {Kind: kindWelcome, Text: "ops", Data: []byte("mls"), Logs: []byte("logs")},
		"part":        {Kind: kindPart, Ref: &ref, Data: []byte("p"), Index: 1, Total: 2},
	}
	for name, c := range all {
		c.ID = MessageID{0xaa}
		all[name] = c
	}
	return all
}

func TestContentRoundTrip(t *testing.T) {
	for name, c := range sampleContents() {
		b, err := c.Marshal()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := ParseContent(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		for n := range b {
			if _, err := ParseContent(b[:n]); !errors.Is(err, ErrContent) {
				t.Fatalf("%s: prefix of %d bytes: %v, want ErrContent", name, n, err)
			}
		}
		if _, err := ParseContent(append(bytes.Clone(b), 0)); !errors.Is(err, ErrContent) {
			t.Fatalf("%s: trailing byte: %v, want ErrContent", name, err)
		}
	}
}

func TestContentRefused(t *testing.T) {
	ref := MessageID{1}
	for name, c := range map[string]Content{
		"no kind":                {Text: "x"},
		"unknown kind":           {Kind: 40, Text: "x"},
		"empty text":             {Kind: KindText},
		"text not UTF-8":         {Kind: KindText, Text: "\xff"},
		"edit of nothing":        {Kind: KindEdit, Text: "x"},
		"delete with text":       {Kind: KindDelete, Ref: &ref, Text: "x"},
		"long reaction":          {Kind: KindReaction, Ref: &ref, Text: strings.Repeat("x", MaxReaction+1)},
		"empty receipt":          {Kind: KindReceipt},
		"long receipt":           {Kind: KindReceipt, Refs: make([]MessageID, MaxReceipt+1)},
		"read text":              {Kind: KindText, Text: "x", Read: true},
		"attachment, no type":    {Kind: KindAttachment, Data: []byte("x")},
		"long type":              {Kind: KindApplication, Type: strings.Repeat("x", MaxTypeName+1), Data: []byte("x")},
		"part out of range":      {Kind: kindPart, Ref: &ref, Data: []byte("x"), Index: 2, Total: 2},
		"more parts than bound":  {Kind: kindPart, Ref: &ref, Data: []byte("x"), Total: maxParts + 1},
		"part of nothing":        {Kind: kindPart, Data: []byte("x"), Total: 2},
		"text pretending a part": {Kind: KindText, Text: "x", Total: 2},
		"text with logs":         {Kind: KindText, Text: "x", Logs: []byte("x")},
		"logs without data":      {Kind: kindLogs},
		"base beyond seq":        {Kind: KindText, Text: "x", Seq: 1, Base: 2},
	} {
		if _, err := c.Marshal(); !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v, want ErrContent", name, err)
		}
	}
	if _, err := Attachment("big", "x/y", make([]byte, MaxContent)).Marshal(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v, want ErrTooLarge", err)
	}
}

// RFC 8949, Section 4.2.1: keys in order, shortest forms, nothing twice.
func TestContentCanonical(t *testing.T) {
	for name, b := range map[string]string{
		"keys out of order": "\xa3\x02\x50" + strings.Repeat("\xaa", 16) + "\x01\x01\x03\x61x",
		"long form integer": "\xa3\x01\x18\x01\x02\x50" + strings.Repeat("\xaa", 16) + "\x03\x61x",
		"key twice":         "\xa4\x01\x01\x02\x50" + strings.Repeat("\xaa", 16) + "\x03\x61x\x03\x61x",
		"unknown key":       "\xa4\x01\x01\x02\x50" + strings.Repeat("\xaa", 16) + "\x03\x61x\x18\x63\x01",
		"indefinite length": "\xbf\x01\x01\x02\x50" + strings.Repeat("\xaa", 16) + "\x03\x61x\xff",
		"short id":          "\xa3\x01\x01\x02\x41\xaa\x03\x61x",
	} {
		if _, err := ParseContent([]byte(b)); !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v, want ErrContent", name, err)
		}
	}
	good := "\xa3\x01\x01\x02\x50" + strings.Repeat("\xaa", 16) + "\x03\x61x"
	if _, err := ParseContent([]byte(good)); err != nil {
		t.Errorf("the canonical form: %v", err)
	}
}

// What a newer version says has a place among its author's messages; what has
// no place of its own has none.
func TestPlaceOfUnknownContent(t *testing.T) {
	id := MessageID{0xaa}
	newer, err := contentEncoding.Marshal(map[int]any{1: 99, 2: id[:], 10: 7, 11: 5, 70: []string{"new"}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := parsePlace(newer); err != nil || c.Seq != 7 || c.Base != 5 || c.ID != id {
		t.Errorf("place %+v, %v", c, err)
	}
	for name, m := range map[string]map[int]any{
		"no seq":          {1: 99, 2: id[:]},
		"seq beyond":      {1: 99, 2: id[:], 10: uint64(maxSeq) + 1},
		"base beyond seq": {1: 99, 2: id[:], 10: 7, 11: 8},
		"seq is a text":   {1: 99, 2: id[:], 10: "7"},
	} {
		b, err := contentEncoding.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := parsePlace(b); !errors.Is(err, ErrContent) {
			t.Errorf("%s: place %+v, %v, want ErrContent", name, c, err)
		}
	}
	for n := range newer {
		if _, err := parsePlace(newer[:n]); !errors.Is(err, ErrContent) {
			t.Fatalf("prefix of %d bytes: %v, want ErrContent", n, err)
		}
	}
}

func TestParseMessageID(t *testing.T) {
	id := NewMessageID()
	if got, err := ParseMessageID(id.String()); err != nil || got != id {
		t.Errorf("round trip: %v, %v", got, err)
	}
	for _, s := range []string{"", "00", id.String() + "0", strings.Repeat("x", 32)} {
		if _, err := ParseMessageID(s); !errors.Is(err, ErrContent) {
			t.Errorf("%q: %v, want ErrContent", s, err)
		}
	}
}

func FuzzParseContent(f *testing.F) {
	for _, c := range sampleContents() {
		b, err := c.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		place, placeErr := parsePlace(b)
		if placeErr == nil && (place.Seq == 0 || place.Seq > maxSeq || place.Base > place.Seq) {
			t.Fatalf("%x has place %d, base %d", b, place.Seq, place.Base)
		}
		c, err := ParseContent(b)
		if err != nil {
			return
		}
		if c.Seq > 0 && (placeErr != nil || place.ID != c.ID || place.Seq != c.Seq || place.Base != c.Base) {
			t.Fatalf("%x: place %v, %v", b, place, placeErr)
		}
		again, err := c.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x parses and encodes as %x (%v)", b, again, err)
		}
	})
}
