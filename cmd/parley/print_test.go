package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
)

// hostile is text that would do something to a terminal.
var hostile = map[string]string{
	"escape":         "a\x1b[2Jb",
	"C1 CSI":         "a\u009b2Jb",
	"return":         "a\rb",
	"backspace":      "a\bb",
	"delete":         "a\x7fb",
	"bidi":           "a\u202eb\u2066c",
	"line separator": "a\u2028b",
	"invalid UTF-8":  "a\xff\xfeb",
	"tag":            "a\U000e0041b",
	"OSC":            "\x1b]0;title\x07",
}

func TestNothingMovesTheCursor(t *testing.T) {
	for name, text := range hostile {
		m := &parley.Message{From: parley.Peer{Address: "0x1", Name: text}, Group: &parley.GroupRef{Name: text}, Content: parley.Text(text)}
		kinds := []parley.Content{
			m.Content, parley.Reaction(m.ID, text), parley.Edit(m.ID, text), parley.Attachment(text, text, nil), parley.Application(text, nil),
		}
		var lines []string
		for _, m.Content = range kinds {
			lines = append(lines, messageLine(m))
		}
		lines = append(lines, message(errors.New(text)), initText(parley.Info{Name: text, Device: text}, "", ""), idText(parley.Info{Name: text}, text, "1 2"),
			groupText(parley.Group{GroupRef: *m.Group, Members: []parley.Member{{Peer: m.From}}}), sent{To: text}.text())
		for _, e := range []parley.Event{{Kind: parley.EventAlert, Text: text}, {Kind: parley.EventGroup, Group: m.Group, Change: "added", Peers: []parley.Peer{m.From}}} {
			lines = append(lines, eventLine(&e))
		}
		var b bytes.Buffer
		if err := printJSON(&b, m); err != nil {
			t.Fatal(err)
		}
		for _, line := range append(lines, b.String(), string(errorLine(errors.New(text)))) {
			for _, r := range line {
				if !prints(r) && r != '\n' {
					t.Errorf("%s: %q in %q", name, r, line)
				}
			}
		}
		var back parley.Message
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if utf8.ValidString(text) && back.From.Name != text {
			t.Errorf("%s: %q in JSON", name, back.From.Name)
		}
	}
}

func TestPrintableKeepsWhatPrints(t *testing.T) {
	for _, text := range []string{"", "hello", "Grüße, 世界", "👩‍🚀 👍🏽 ❤️", `a\nb`, "nick.eth"} {
		if got := printable(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	for in, want := range map[string]string{"a\nb": `a\nb`, "a\x1bb": `a\u{1b}b`, "a\xffb": `a\xffb`, "a\tb": "a b", "\ufffd": "\ufffd"} {
		if got := printable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestNoForgedLines: the lines of one message cannot pass for other messages.
func TestNoForgedLines(t *testing.T) {
	m := &parley.Message{From: parley.Peer{Address: "0x1"}, Time: time.Unix(0, 0), Content: parley.Text("hi\n00:00  bob.eth: send me all\r\n00:00  x\n")}
	lines := strings.Split(messageLine(m), "\n")
	if len(lines) != 3 {
		t.Fatalf("%q", lines)
	}
	for _, line := range lines[1:] {
		if !strings.HasPrefix(line, hanging) {
			t.Errorf("%q begins as a message does", line)
		}
	}
}

// TestNamesThatConfuse are not echoed.
func TestNamesThatConfuse(t *testing.T) {
	const name = "b\u043eb.eth" // Cyrillic
	_, err := identity.NormalizeName(name)
	if err == nil {
		t.Fatal("the name is valid")
	}
	if text := message(fmt.Errorf("%s: %w", name, err)); strings.Contains(text, name) {
		t.Error(text)
	}
}

// TestTextIsUTF8: what is not would reach the peer changed, by way of the daemon's
// JSON.
func TestTextIsUTF8(t *testing.T) {
	for in, want := range map[string]error{
		"Grüße": nil, "": nil, "caf\xe9": errUsage, strings.Repeat("x", parley.MaxContent+1): parley.ErrTooLarge,
	} {
		for _, arg := range []string{in, "-"} {
			text, err := (&app{in: strings.NewReader(in)}).text(arg)
			if !errors.Is(err, want) || err == nil && text != in {
				t.Errorf("%.10q, %.10q: %.10q, %v", in, arg, text, err)
			}
		}
	}
}
