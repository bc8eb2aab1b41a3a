package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-im/parley/transport"
)

// The eavesdropper's step passes on the story as it is, and fails when a single
// envelope says more than it should.
func TestEavesdropperFinds(t *testing.T) {
	s := newPlay(t, len(chapters))
	herald, err := bareNode(t.Context(), transport.Options{Listen: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer herald.Close()
	if err := herald.Connect(t.Context(), s.w.tap.node.Addrs()...); err != nil {
		t.Fatal(err)
	}
	if err := herald.WaitPeers(t.Context(), 0, 1); err != nil {
		t.Fatal(err)
	}
	clean := s.w.tap.since(0)
	restore := func() {
		s.w.tap.mu.Lock()
		defer s.w.tap.mu.Unlock()
		s.w.tap.captured = clean
	}
	raw := s.w.bob.address()
	for _, c := range []struct{ name, secret, found string }{
		{"what was said", s.spoken[3].text, s.spoken[3].text},
		{"a word in base64", base64.StdEncoding.EncodeToString([]byte("to the lighthouse")), "lighthouse"},
		{"a name", "bob.eth", "bob.eth"},
		{"an address", raw.String(), raw.String()},
		{"a raw address", string(raw[:]), raw.String()},
		{"a group id", s.groupID, s.groupID},
		{"a peer id", s.w.carol.info.PeerID, "carol's peer id"},
		{"padding in the clear", strings.Repeat("\x00", 32), "equal bytes in a row"},
	} {
		restore()
		mark := s.w.tap.mark()
		body := make([]byte, transport.Sizes()[0])
		rand.Read(body)
		copy(body[100:], c.secret)
		var tag transport.Tag
		rand.Read(tag[:])
		e, err := transport.NewEnvelope(tag, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := herald.Publish(t.Context(), 0, e); err != nil {
			t.Fatal(err)
		}
		for s.w.tap.mark() == mark {
			if t.Context().Err() != nil {
				t.Fatal("the envelope does not arrive")
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := s.eavesdropper(t.Context()); err == nil || !strings.Contains(err.Error(), c.found) {
			t.Errorf("%s on the wire: error is %v", c.name, err)
		}
	}
	restore()
	if _, err := s.eavesdropper(t.Context()); err != nil {
		t.Errorf("without them: %v", err)
	}

	// An eavesdropper who missed something of a group proves nothing.
	group, _, err := s.overheard(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	missed := map[[32]byte]bool{} // the last three: now and then one travels that need not have
	for _, e := range group[len(group)-3:] {
		missed[e.ContentHash()] = true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s.w.tap.mu.Lock()
	s.w.tap.captured = slices.DeleteFunc(slices.Clone(clean), func(c capture) bool { return missed[c.env.ContentHash()] })
	s.w.tap.mu.Unlock()
	if _, err := s.eavesdropper(ctx); err == nil {
		t.Error("envelopes are missing from the capture, and the step passes")
	}
	restore()
	odd := clean[0]
	odd.env.Body = append(bytes.Clone(odd.env.Body), 0)
	s.w.tap.mu.Lock()
	s.w.tap.captured = append(clean[:len(clean):len(clean)], odd)
	s.w.tap.mu.Unlock()
	if _, err := s.eavesdropper(t.Context()); err == nil || !strings.Contains(err.Error(), "an envelope has") {
		t.Errorf("a body of an odd size: error is %v", err)
	}
	restore()
}

func TestNeedles(t *testing.T) {
	n := new(needles)
	n.text(kindName, "Bob", "Bob") // as it is, too short to mean anything
	n.text(kindText, "Lighthouse", "Lighthouse")
	n.raw(kindKey, "a key", []byte{0xde, 0xad, 0xbe, 0xef, 0x01, 0x02, 0x03})
	n.words(kindWord, "Lighthouse, ahoy: sailors!")
	if got := n.count(); got[kindText] != 1 || got[kindKey] != 1 || got[kindWord] != 1 {
		t.Errorf("counts are %v", got)
	}
	for _, hay := range []string{
		"xxLighthousexx", "xxlighthousexx", "LIGHTHOUSE", "L\x00i\x00g\x00h\x00t\x00h\x00o\x00u\x00s\x00e\x00",
		hex.EncodeToString([]byte("Lighthouse")), "..\xde\xad\xbe\xef\x01\x02\x03..", "\x03\x02\x01\xef\xbe\xad\xde",
		"0xDEADBEEF010203", "sailors",
		base64.StdEncoding.EncodeToString([]byte("Lighthouse")), base64.StdEncoding.EncodeToString([]byte("1Lighthouse2")),
		base64.StdEncoding.EncodeToString([]byte("12Lighthouse345")), base64.StdEncoding.EncodeToString([]byte("123Lighthouse45")),
	} {
		if len(find([][]byte{{}, []byte(hay)}, n.all)) == 0 {
			t.Errorf("nothing is found in %q", hay)
		}
	}
	for _, hay := range []string{"", "bob", "Bob", "Lighthous", "\xde\xad\xbe\xef\x01\x02", "ahoy"} {
		if found := find([][]byte{[]byte(hay)}, n.all); len(found) > 0 {
			t.Errorf("in %q there is %q", hay, found[0].bytes)
		}
	}
	if err := controlSearch(nil, n.all); err == nil {
		t.Error("the control passes with no capture")
	}
	if err := controlSearch([][]byte{make([]byte, 8)}, n.all); err == nil {
		t.Error("the control passes with a capture that is too small for what is sought")
	}
}
