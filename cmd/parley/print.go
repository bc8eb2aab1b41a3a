package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parley-im/parley"
)

// What peers write is printed, and a terminal obeys what is printed: escape
// sequences move the cursor, and bidirectional controls reorder a line, so that
// one message could pass for another's. Nothing that does not print reaches the
// terminal as it is.

// prints reports whether a rune may go to a terminal.
func prints(r rune) bool {
	const zeroWidthJoiner = '\u200d' // inside emoji, and in some scripts
	return unicode.IsPrint(r) || r == zeroWidthJoiner
}

// printable returns s with everything that does not print written out, on one
// line.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !prints(r) }) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case prints(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte(' ')
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

// paragraph returns a text of several lines for a terminal. Lines after the
// first begin with indent, so that none can pass for a line of ours.
func paragraph(s, indent string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n"+indent)
}

// escapeJSON writes out what does not print in a line of JSON. The meaning
// stays: outside of strings JSON has none of it.
func escapeJSON(b []byte) []byte {
	if bytes.IndexFunc(b, func(r rune) bool { return !prints(r) }) < 0 {
		return b
	}
	var out bytes.Buffer
	for _, r := range string(b) {
		switch {
		case prints(r) || r == '\n':
			out.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// printJSON writes a value as one line.
func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(escapeJSON(b), '\n'))
	return err
}

// contentLine says in words what a message says.
func contentLine(c parley.Content, indent string) string {
	switch c.Kind {
	case parley.KindText:
		return paragraph(c.Text, indent)
	case parley.KindReaction:
		if c.Text == "" {
			return "(takes back a reaction)"
		}
		return "(reacts) " + printable(c.Text)
	case parley.KindEdit:
		return "(edits) " + paragraph(c.Text, indent)
	case parley.KindDelete:
		return "(withdraws a message)"
	case parley.KindAttachment:
		return fmt.Sprintf("(file %s, %s, %d bytes)", printable(c.Text), printable(c.Type), len(c.Data))
	case parley.KindApplication:
		return fmt.Sprintf("(%s, %d bytes)", printable(c.Type), len(c.Data))
	}
	return "(" + printable(c.Kind.String()) + ")"
}

const (
	clock      = "15:04"
	hanging    = "       " // as wide as the clock and two spaces
	groupMark  = "#"
	alertMark  = "!"
	ownMessage = "you"
)

// messageLine is one message for a terminal.
func messageLine(m *parley.Message) string {
	var who string
	switch {
	case m.Own && m.Group != nil:
		who = groupMark + m.Group.Name + " " + ownMessage
	case m.Group != nil:
		who = groupMark + m.Group.Name + " " + m.From.String()
	case m.Own && m.To != nil:
		who = ownMessage + " → " + m.To.String()
	default:
		who = m.From.String()
	}
	return m.Time.Local().Format(clock) + "  " + printable(who) + ": " + contentLine(m.Content, hanging)
}

// eventLine is an event for a terminal, or "" for one that only programs want.
func eventLine(e *parley.Event) string {
	at := e.Time.Local().Format(clock) + "  "
	switch e.Kind {
	case parley.EventMessage:
		if e.Message == nil || e.Message.Content.Kind == parley.KindReceipt {
			return ""
		}
		return messageLine(e.Message)
	case parley.EventGroup:
		text := groupChange(e)
		if e.Group != nil {
			text = groupMark + e.Group.Name + ": " + text
		}
		return at + printable(text)
	case parley.EventAlert:
		return at + alertMark + " " + printable(e.Text)
	}
	return ""
}

// groupChange says in words what became of a group.
func groupChange(e *parley.Event) string {
	who := peerNames(e.Peers)
	switch e.Change {
	case "created":
		return "you made this group"
	case "joined":
		return who + " brought you in"
	case "added":
		return who + " was added"
	case "removed":
		return who + " was removed"
	case "left":
		return who + " left"
	case "updated":
		return who + " has new keys"
	case "gone":
		return "you are not in this group any more"
	}
	return strings.TrimSpace(e.Change + " " + who + " " + e.Text)
}

func peerNames(peers []parley.Peer) string {
	var names []string
	for _, p := range peers {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}
